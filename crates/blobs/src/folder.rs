//! The folder that plays the bucket of Daedalus on the embedded default.

use std::path::{Component, Path, PathBuf};

use mnemosyne_domain::ports::{SourceBucket, SourceError, SourceObject};
use tokio_util::io::ReaderStream;

const READ_BLOCK: usize = 64 * 1024;

/// A folder read as a bucket; keys are paths below it.
#[derive(Clone, Debug)]
pub struct FolderBucket {
    root: Option<PathBuf>,
}

impl FolderBucket {
    /// The bucket in this folder; `None` where none is configured.
    pub fn new(root: Option<PathBuf>) -> Self {
        Self { root }
    }
}

/// The path of a key, unless it could mean anything but a file below the folder.
fn relative(key: &str) -> Option<&Path> {
    if key.is_empty() || key.contains('\0') || key.contains('\\') {
        return None;
    }
    let path = Path::new(key);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

fn unavailable(error: &std::io::Error) -> SourceError {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => SourceError::NotFound,
        _ => SourceError::Unavailable(error.to_string()),
    }
}

#[async_trait::async_trait]
impl SourceBucket for FolderBucket {
    async fn open(&self, key: &str) -> Result<SourceObject, SourceError> {
        let root = self.root.as_ref().ok_or(SourceError::NotConfigured)?;
        let path = relative(key).ok_or(SourceError::NotFound)?;
        let root = tokio::fs::canonicalize(root).await.map_err(|error| {
            SourceError::Unavailable(format!("the folder of MNEMOSYNE_DAEDALUS_FOLDER cannot be read: {error}"))
        })?;
        // A link may point anywhere; only what really lies below the folder is in the bucket.
        let file = tokio::fs::canonicalize(root.join(path)).await.map_err(|error| unavailable(&error))?;
        if !file.starts_with(&root) {
            return Err(SourceError::NotFound);
        }
        // Before opening: a pipe would wait for its writer for ever.
        let found = tokio::fs::metadata(&file).await.map_err(|error| unavailable(&error))?;
        if !found.is_file() {
            return Err(SourceError::NotFound);
        }
        let opened = tokio::fs::File::open(&file).await.map_err(|error| unavailable(&error))?;
        let size = opened.metadata().await.map_err(|error| unavailable(&error))?.len();
        Ok(SourceObject { size, content: Box::pin(ReaderStream::with_capacity(opened, READ_BLOCK)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leads_out_of_the_folder() {
        assert!(relative("a/b c/ü.pdf").is_some());
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "./x"] {
            assert!(relative(bad).is_none(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn links_out_of_the_folder_and_what_is_no_file_are_not_in_the_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(folder.path().join("inside.txt"), "hello").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let bucket = FolderBucket::new(Some(folder.path().to_owned()));
        assert_eq!(bucket.open("inside.txt").await.map(|object| object.size).ok(), Some(5));
        for missing in ["link", "folder", "nothing.txt"] {
            assert!(matches!(bucket.open(missing).await, Err(SourceError::NotFound)), "{missing}");
        }
        assert!(matches!(FolderBucket::new(None).open("x").await, Err(SourceError::NotConfigured)));
    }
}
