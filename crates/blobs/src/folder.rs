//! The folder that plays the bucket of Daedalus on the embedded default.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use mnemosyne_domain::ports::{Health, SourceBucket, SourceError, SourceObject};
use mnemosyne_domain::{StoreError, StoreResult};
use rustix::fd::OwnedFd;
#[cfg(target_os = "linux")]
use rustix::fs::ResolveFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
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
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then_some(path)
}

/// How a file is opened: a pipe must not make us wait for its writer for ever.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Opens a file that really lies below the folder, whatever links lead to it; links that leave the folder are not followed.
fn open_below(root: &Path, path: &Path) -> Result<File, SourceError> {
    let folder = rustix::fs::openat(
        CWD,
        root,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| {
        let error = io::Error::from(error);
        SourceError::Unavailable(format!(
            "the folder of MNEMOSYNE_DAEDALUS_FOLDER cannot be read: {error}"
        ))
    })?;
    let opened = match open_beneath(&folder, path) {
        // An old kernel, a container that knows no such call, or another system.
        Err(Errno::NOSYS | Errno::PERM) => {
            let file = root.join(path).canonicalize().map_err(|error| refused(&error))?;
            let root = root.canonicalize().map_err(|error| refused(&error))?;
            if !file.starts_with(&root) {
                return Err(SourceError::NotFound);
            }
            rustix::fs::openat(CWD, &file, READ | OFlags::NOFOLLOW, Mode::empty())
        }
        other => other,
    };
    match opened {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO) => Err(SourceError::NotFound),
        Err(error) => Err(refused(&io::Error::from(error))),
    }
}

#[cfg(target_os = "linux")]
fn open_beneath(folder: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(folder, path, READ, Mode::empty(), resolve)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_folder: &OwnedFd, _path: &Path) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

fn refused(error: &io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceError::NotFound,
        _ => SourceError::Unavailable(format!("the object cannot be read: {error}")),
    }
}

#[async_trait::async_trait]
impl Health for FolderBucket {
    async fn check(&self) -> StoreResult<()> {
        let Some(root) = self.root.as_deref() else {
            return Ok(());
        };
        match tokio::fs::metadata(root).await {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(StoreError::Unavailable(format!(
                "{} is no folder",
                root.display()
            ))),
            Err(error) => Err(StoreError::Unavailable(format!("{}: {error}", root.display()))),
        }
    }
}

#[async_trait::async_trait]
impl SourceBucket for FolderBucket {
    async fn open(&self, key: &str) -> Result<SourceObject, SourceError> {
        let root = self.root.clone().ok_or(SourceError::NotConfigured)?;
        let path = relative(key).ok_or(SourceError::NotFound)?.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            let file = open_below(&root, &path)?;
            let found = file.metadata().map_err(|error| refused(&error))?;
            // Folders, pipes, sockets and devices are no objects.
            if found.is_file() {
                Ok((file, found.len()))
            } else {
                Err(SourceError::NotFound)
            }
        });
        let (file, size) = opening
            .await
            .map_err(|error| SourceError::Unavailable(error.to_string()))??;
        let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BLOCK);
        Ok(SourceObject {
            size,
            content: Box::pin(content),
        })
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
        std::os::unix::fs::symlink("inside.txt", folder.path().join("alias")).unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("up")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        rustix::fs::mknodat(
            CWD,
            folder.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let around = format!("up/{name}/inside.txt");
        let bucket = FolderBucket::new(Some(folder.path().to_owned()));
        assert_eq!(
            bucket.open("inside.txt").await.map(|object| object.size).ok(),
            Some(5)
        );
        assert_eq!(
            bucket.open("alias").await.map(|object| object.size).ok(),
            Some(5),
            "a link that stays inside"
        );
        for missing in [
            "link",
            "folder",
            "nothing.txt",
            "inside.txt/x",
            "pipe",
            "socket",
            "up",
            around.as_str(),
        ] {
            assert!(
                matches!(bucket.open(missing).await, Err(SourceError::NotFound)),
                "{missing}"
            );
        }
        assert!(matches!(
            FolderBucket::new(None).open("x").await,
            Err(SourceError::NotConfigured)
        ));
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_not_a_missing_object() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = FolderBucket::new(Some(folder.path().join("unmounted")));
        assert!(matches!(bucket.open("x").await, Err(SourceError::Unavailable(_))));
    }
}
