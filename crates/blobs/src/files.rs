//! Blobs as files, written atomically: into a draft, synced, renamed, and the folder synced. A killed writer leaves a draft,
//! never half a blob.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use mnemosyne_domain::ports::{BlobStore, ByteStream, Health, StoredBlob};
use mnemosyne_domain::{StoreError, StoreResult};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::layout;

/// Drafts older than this belong to no living writer.
const DRAFT_AGE: Duration = Duration::from_secs(3_600);
const READ_BLOCK: usize = 64 * 1024;

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
            let drafts = opened.join(layout::DRAFTS);
            make_folder(&drafts)?;
            for entry in std::fs::read_dir(&drafts)? {
                let entry = entry?;
                let written = entry.metadata()?.modified()?;
                let age = SystemTime::now().duration_since(written).unwrap_or_default();
                if age >= DRAFT_AGE {
                    // Another process may be tidying up too.
                    let _ = std::fs::remove_file(entry.path());
                }
            }
            Ok(())
        })
        .await?;
        Ok(Self { root })
    }

    fn file(&self, digest: &str) -> StoreResult<PathBuf> {
        layout::file_of(&self.root, digest).ok_or(StoreError::NotFound)
    }

    /// Puts a finished draft in its place.
    async fn keep(&self, draft: tempfile::NamedTempFile, digest: String, size: u64) -> StoreResult<StoredBlob> {
        let file = self.file(&digest)?;
        let root = Arc::clone(&self.root);
        blocking(move || {
            draft.as_file().sync_all()?;
            let folder = file.parent().unwrap_or(&root);
            make_folder(folder)?;
            if std::fs::metadata(&file).is_ok_and(|known| known.len() == size) {
                // The same content is there, whole: renaming over it would only cost.
                return Ok(());
            }
            draft.persist(&file).map_err(|failed| failed.error)?;
            std::fs::File::open(folder)?.sync_all()
        })
        .await?;
        Ok(StoredBlob { digest, size })
    }

    async fn draft(&self) -> StoreResult<tempfile::NamedTempFile> {
        let folder = self.root.join(layout::DRAFTS);
        blocking(move || tempfile::NamedTempFile::new_in(folder)).await
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> StoreResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(unavailable),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

fn unavailable(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound,
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
        let draft = self.draft().await?;
        let mut file = tokio::fs::File::from_std(draft.reopen().map_err(unavailable)?);
        let mut hasher = Sha256::new();
        let mut size = 0_u64;
        while let Some(bytes) = content.next().await {
            let bytes = bytes.map_err(unavailable)?;
            size += bytes.len() as u64;
            if size > limit {
                return Err(StoreError::Conflict("size"));
            }
            hasher.update(&bytes);
            file.write_all(&bytes).await.map_err(unavailable)?;
        }
        file.flush().await.map_err(unavailable)?;
        self.keep(draft, hex::encode(hasher.finalize()), size).await
    }

    async fn put_bytes(&self, content: Bytes) -> StoreResult<StoredBlob> {
        let limit = content.len() as u64;
        self.put(Box::pin(futures::stream::once(async move { Ok(content) })), limit).await
    }

    async fn exists(&self, digest: &str) -> StoreResult<bool> {
        let Ok(file) = self.file(digest) else { return Ok(false) };
        tokio::fs::try_exists(file).await.map_err(unavailable)
    }

    async fn open(&self, digest: &str) -> StoreResult<(u64, ByteStream)> {
        let file = tokio::fs::File::open(self.file(digest)?).await.map_err(unavailable)?;
        let size = file.metadata().await.map_err(unavailable)?.len();
        Ok((size, Box::pin(ReaderStream::with_capacity(file, READ_BLOCK).into_stream())))
    }

    async fn get(&self, digest: &str) -> StoreResult<Bytes> {
        tokio::fs::read(self.file(digest)?).await.map(Bytes::from).map_err(unavailable)
    }

    async fn local_file(&self, digest: &str) -> StoreResult<PathBuf> {
        let file = self.file(digest)?;
        tokio::fs::metadata(&file).await.map_err(unavailable)?;
        tokio::fs::canonicalize(file).await.map_err(unavailable)
    }

    async fn remove(&self, digest: &str) -> StoreResult<()> {
        match tokio::fs::remove_file(self.file(digest)?).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable(error)),
            _ => Ok(()),
        }
    }
}
