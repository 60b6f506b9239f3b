//! Blobs as files, written atomically: into a draft, synced, renamed, and the folder synced. A killed writer leaves a draft,
//! never half a blob.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use mnemosyne_domain::ports::{BlobStore, ByteStream, Health, LocalFile, StoredBlob};
use mnemosyne_domain::{StoreError, StoreResult};
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

use crate::layout;

/// Drafts older than this belong to no living writer.
const DRAFT_AGE: Duration = Duration::from_secs(3_600);
const READ_BLOCK: usize = 64 * 1024;
/// What is hashed and written in one go, away from the async executor.
const WRITE_BLOCK: usize = 256 * 1024;

/// What a writer has written so far. Dropping it removes its file.
struct Draft {
    file: tempfile::NamedTempFile,
    hasher: Sha256,
    size: u64,
}

impl Draft {
    fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.hasher.update(piece);
            self.file.write_all(piece)?;
            self.size += piece.len() as u64;
        }
        Ok(())
    }

    /// Puts the draft in its place: synced before it gets its name, and the name synced before anybody hears of it.
    fn keep(self, root: &Path) -> io::Result<StoredBlob> {
        let digest = hex::encode(self.hasher.finalize());
        let file = layout::file_of(root, &digest).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.as_file().sync_all()?;
        let folders: Vec<&Path> = file
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(root))
            .collect();
        make_folder(folders[0])?;
        // Over one of the same content too: it heals a file that was damaged, and its name may not be synced yet.
        self.file.persist(&file).map_err(|failed| failed.error)?;
        for folder in folders {
            std::fs::File::open(folder)?.sync_all()?;
        }
        Ok(StoredBlob {
            digest,
            size: self.size,
        })
    }
}

/// A folder of blobs.
#[derive(Clone, Debug)]
pub struct FileBlobs {
    root: Arc<Path>,
}

impl FileBlobs {
    /// Opens a folder, makes it where it is missing, and removes drafts that killed writers left.
    pub async fn open(folder: &Path) -> StoreResult<Self> {
        let root: Arc<Path> = folder.into();
        let opened = Arc::clone(&root);
        blocking(move || {
            make_folder(&opened.join(layout::DRAFTS))?;
            remove_drafts(&opened, DRAFT_AGE)
        })
        .await?;
        Ok(Self { root })
    }

    fn file(&self, digest: &str) -> StoreResult<PathBuf> {
        layout::file_of(&self.root, digest).ok_or(StoreError::NotFound)
    }

    async fn draft(&self) -> StoreResult<Draft> {
        let folder = self.root.join(layout::DRAFTS);
        blocking(move || {
            let file = tempfile::NamedTempFile::new_in(folder)?;
            Ok(Draft {
                file,
                hasher: Sha256::new(),
                size: 0,
            })
        })
        .await
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// The entries of a folder, none where it is missing or no folder.
fn entries(folder: &Path) -> io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(folder) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        listed => listed?.collect(),
    }
}

/// Whether a file was written longer ago than that; not where it is gone meanwhile.
fn is_older(entry: &std::fs::DirEntry, age: Duration) -> io::Result<bool> {
    let written = match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?.modified()?,
    };
    Ok(SystemTime::now().duration_since(written).unwrap_or_default() >= age)
}

fn remove_drafts(root: &Path, age: Duration) -> io::Result<()> {
    for entry in entries(&root.join(layout::DRAFTS))? {
        if is_older(&entry, age)? {
            // Another process may be tidying up too.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> StoreResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| unavailable(&error)),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

/// An error of reading a blob that may not be there.
fn missing(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound,
        _ => unavailable(&error),
    }
}

fn unavailable(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Unavailable(format!("the disk of the blob folder is full: {error}"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Unavailable(format!("the blob folder may not be used: {error}"))
        }
        _ => StoreError::Unavailable(format!("the blob folder: {error}")),
    }
}

#[async_trait::async_trait]
impl Health for FileBlobs {
    async fn check(&self) -> StoreResult<()> {
        self.draft().await.map(drop)
    }
}

#[async_trait::async_trait]
impl BlobStore for FileBlobs {
    async fn put(&self, mut content: ByteStream, limit: u64) -> StoreResult<StoredBlob> {
        let mut draft = self.draft().await?;
        let mut pieces = Vec::new();
        let mut waiting = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| {
                StoreError::Unavailable(format!("the content could not be read to its end: {error}"))
            })?;
            waiting += piece.len();
            if draft.size + waiting as u64 > limit {
                return Err(StoreError::Conflict("size"));
            }
            pieces.push(piece);
            if waiting >= WRITE_BLOCK {
                let block = std::mem::take(&mut pieces);
                waiting = 0;
                draft = blocking(move || draft.append(&block).map(|()| draft)).await?;
            }
        }
        let root = Arc::clone(&self.root);
        blocking(move || {
            draft.append(&pieces)?;
            draft.keep(&root)
        })
        .await
    }

    async fn put_bytes(&self, content: Bytes) -> StoreResult<StoredBlob> {
        let limit = content.len() as u64;
        self.put(Box::pin(futures::stream::once(async move { Ok(content) })), limit)
            .await
    }

    async fn exists(&self, digest: &str) -> StoreResult<bool> {
        let Ok(file) = self.file(digest) else {
            return Ok(false);
        };
        tokio::fs::try_exists(file)
            .await
            .map_err(|error| unavailable(&error))
    }

    async fn open(&self, digest: &str) -> StoreResult<(u64, ByteStream)> {
        let file = tokio::fs::File::open(self.file(digest)?).await.map_err(missing)?;
        let size = file.metadata().await.map_err(missing)?.len();
        Ok((size, Box::pin(ReaderStream::with_capacity(file, READ_BLOCK))))
    }

    async fn get(&self, digest: &str) -> StoreResult<Bytes> {
        tokio::fs::read(self.file(digest)?)
            .await
            .map(Bytes::from)
            .map_err(missing)
    }

    async fn local_file(&self, digest: &str) -> StoreResult<LocalFile> {
        let file = self.file(digest)?;
        tokio::fs::metadata(&file).await.map_err(missing)?;
        tokio::fs::canonicalize(file)
            .await
            .map(LocalFile::stored)
            .map_err(missing)
    }

    async fn remove(&self, digest: &str) -> StoreResult<()> {
        let Ok(file) = self.file(digest) else {
            return Ok(());
        };
        match tokio::fs::remove_file(file).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(&error)),
            _ => Ok(()),
        }
    }

    async fn older_than(&self, first_byte: u8, age: Duration) -> StoreResult<Vec<String>> {
        let root = Arc::clone(&self.root);
        blocking(move || {
            if first_byte == 0 {
                remove_drafts(&root, age)?;
            }
            let mut found = Vec::new();
            for folder in entries(&layout::folder_of(&root, first_byte))? {
                for file in entries(&folder.path())? {
                    let name = file.file_name();
                    let digest = name.to_str().filter(|name| layout::is_digest(name));
                    if let Some(digest) = digest
                        && is_older(&file, age)?
                    {
                        found.push(digest.to_owned());
                    }
                }
            }
            Ok(found)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_said_in_words() {
        // The one device that is always full; a draft on it fails as on a full disk.
        let failed = blocking(|| {
            std::fs::File::options()
                .write(true)
                .open("/dev/full")?
                .write_all(b"x")
        })
        .await;
        match failed {
            Err(StoreError::Unavailable(sentence)) => assert!(sentence.contains("is full"), "{sentence}"),
            other => panic!("{other:?}"),
        }
    }
}
