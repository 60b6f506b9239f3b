use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

use crate::error::StoreResult;

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Lower-case hexadecimal SHA-256 of the content: its name.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
}

/// A file on this machine that has a blob's content for as long as this value lives.
pub struct LocalFile {
    path: PathBuf,
    /// A copy goes with its last reader.
    _copy: Option<Box<dyn Any + Send + Sync>>,
}

impl LocalFile {
    /// The blob itself lies on this machine.
    pub fn stored(path: PathBuf) -> Self {
        Self { path, _copy: None }
    }

    /// A copy was made, which `guard` removes when it is dropped.
    pub fn copied(path: PathBuf, guard: impl Any + Send + Sync) -> Self {
        Self {
            path,
            _copy: Some(Box::new(guard)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for LocalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalFile").field(&self.path).finish()
    }
}

/// Content-addressed storage of whole files. Writing is atomic: a blob is there whole or not at all, also after a kill or
/// a power cut. Who needs which blob is written in the [`super::BlobLedger`].
#[async_trait::async_trait]
pub trait BlobStore: super::Health {
    /// Stores what the stream brings. Fails with `InvalidData` wrapped in the stream's own error, or with
    /// [`crate::StoreError::Unavailable`]; nothing remains then. More than `limit` bytes end it with
    /// [`crate::StoreError::Conflict`] of `"size"`.
    async fn put(&self, content: ByteStream, limit: u64) -> StoreResult<StoredBlob>;
    /// Stores bytes in memory.
    async fn put_bytes(&self, content: Bytes) -> StoreResult<StoredBlob>;
    /// Whether the blob is there.
    async fn exists(&self, digest: &str) -> StoreResult<bool>;
    /// Reads a blob as a stream, with its size.
    async fn open(&self, digest: &str) -> StoreResult<(u64, ByteStream)>;
    /// Reads a blob that is known to fit into memory.
    async fn get(&self, digest: &str) -> StoreResult<Bytes>;
    /// A file on this machine with the blob's content, for readers in other processes. It must not be changed.
    async fn local_file(&self, digest: &str) -> StoreResult<LocalFile>;
    /// Removes a blob; one that is not there is no error.
    async fn remove(&self, digest: &str) -> StoreResult<()>;
    /// The blobs whose digest begins with this byte and that were last stored longer ago than `age`, by the store's own
    /// clock. With the byte 0, what writers left unfinished longer ago than that is removed as well.
    async fn older_than(&self, first_byte: u8, age: Duration) -> StoreResult<Vec<String>>;
}

/// An object of the bucket that clients leave their files in.
pub struct SourceObject {
    /// Size in bytes, known before the first byte is read.
    pub size: u64,
    /// The content.
    pub content: ByteStream,
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such object, or a key that can name none.
    #[error("no such object")]
    NotFound,
    /// The server does not say whether there is one: the credentials may not read it, or may not be told what is missing.
    #[error("no such object, or the credentials may not read it")]
    Denied,
    /// The bucket cannot be read just now.
    #[error("{0}")]
    Unavailable(String),
    /// No bucket is configured.
    #[error("no bucket is configured")]
    NotConfigured,
}

/// The bucket that a client leaves its files in; read only.
#[async_trait::async_trait]
pub trait SourceBucket: super::Health {
    /// Opens an object. A key can never lead outside the bucket.
    async fn open(&self, key: &str) -> Result<SourceObject, SourceError>;
}
