//! Files on this machine that hold a blob on its way to or from the bucket. Each is locked by its process for as long as it
//! lives, so that files of killed processes can be told and removed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use mnemosyne_domain::{StoreError, StoreResult};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::layout;

/// Files older than this belong to no living process, unless they are locked.
const ABANDONED_AGE: Duration = Duration::from_secs(3_600);
/// Content up to this size needs no file.
const MEMORY_BYTES: u64 = 256 * 1024;
const READ_BLOCK: usize = 256 * 1024;

/// A folder for spool files.
#[derive(Clone, Debug)]
pub(super) struct SpoolFolder {
    path: PathBuf,
}

impl SpoolFolder {
    /// Makes the folder where it is missing, and removes files that killed processes left.
    pub(super) async fn open(path: PathBuf) -> StoreResult<Self> {
        blocking(move || {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)?;
            remove_abandoned(&path, ABANDONED_AGE)?;
            Ok(Self { path })
        })
        .await
    }

    /// Removes files that killed processes left longer ago than that.
    pub(super) async fn tidy(&self, age: Duration) -> StoreResult<()> {
        let path = self.path.clone();
        blocking(move || remove_abandoned(&path, age)).await
    }

    /// A new file, removed when it is dropped. Blocks.
    pub(super) fn file(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new()
            .prefix(layout::SPOOL_PREFIX)
            .tempfile_in(&self.path)?;
        // A file system without locks leaves the age alone to tell.
        let _ = file.as_file().try_lock();
        Ok(file)
    }
}

fn remove_abandoned(folder: &Path, age: Duration) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(layout::SPOOL_PREFIX));
        if !is_ours {
            continue;
        }
        // Another process may be tidying up too: what is gone meanwhile is no error.
        let Ok(written) = entry.metadata().and_then(|found| found.modified()) else {
            continue;
        };
        if SystemTime::now().duration_since(written).unwrap_or_default() < age {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Content on its way to the bucket, hashed as it comes.
pub(super) struct Spool {
    folder: SpoolFolder,
    hasher: Sha256,
    size: u64,
    content: Content,
}

enum Content {
    Memory(BytesMut),
    File(NamedTempFile),
}

/// Content that came to its end.
pub(super) struct Spooled {
    /// Its SHA-256 in lower-case hexadecimal.
    pub(super) digest: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Where it is.
    pub(super) source: Source,
}

/// Where content lies until it is sent.
pub(super) enum Source {
    /// In memory.
    Memory(Bytes),
    /// In a file, which is removed when this is dropped.
    File(NamedTempFile),
}

impl Spool {
    pub(super) fn new(folder: SpoolFolder) -> Self {
        Self {
            folder,
            hasher: Sha256::new(),
            size: 0,
            content: Content::Memory(BytesMut::new()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes what comes next. Blocks.
    pub(super) fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.hasher.update(piece);
            self.size += piece.len() as u64;
        }
        if let Content::Memory(begun) = &self.content
            && self.size > MEMORY_BYTES
        {
            let mut file = self.folder.file()?;
            file.write_all(begun)?;
            self.content = Content::File(file);
        }
        for piece in pieces {
            match &mut self.content {
                Content::Memory(begun) => begun.extend_from_slice(piece),
                Content::File(file) => file.write_all(piece)?,
            }
        }
        Ok(())
    }

    /// Ends the content.
    pub(super) fn finish(self) -> Spooled {
        Spooled {
            digest: hex::encode(self.hasher.finalize()),
            size: self.size,
            source: match self.content {
                Content::Memory(content) => Source::Memory(content.freeze()),
                Content::File(file) => Source::File(file),
            },
        }
    }
}

/// Hashes content in memory. Blocks.
pub(super) fn spooled(content: Bytes) -> Spooled {
    Spooled {
        digest: hex::encode(Sha256::digest(&content)),
        size: content.len() as u64,
        source: Source::Memory(content),
    }
}

/// SHA-256, in lower-case hexadecimal, of a part of a file. Blocks.
pub(super) fn digest_of_part(path: &Path, offset: u64, length: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut part = file.take(length);
    let mut hasher = Sha256::new();
    let mut block = vec![0; READ_BLOCK];
    loop {
        match part.read(&mut block)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&block[..count]),
        }
    }
}

/// Work on files, away from the async executor.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> StoreResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| unavailable(&error)),
        Err(error) => Err(StoreError::Unavailable(error.to_string())),
    }
}

/// A spool folder that cannot be used.
pub(super) fn unavailable(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Unavailable(format!("the disk of the spool folder is full: {error}"))
        }
        _ => StoreError::Unavailable(format!("the spool folder: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_said_in_words() {
        // The one device that is always full; a spool file fails as on a full disk.
        let failed = blocking(|| File::options().write(true).open("/dev/full")?.write_all(b"x")).await;
        match failed {
            Err(StoreError::Unavailable(sentence)) => assert!(sentence.contains("is full"), "{sentence}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn small_content_needs_no_file_and_large_content_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut spool = Spool::new(SpoolFolder::open(folder.path().to_owned()).await.unwrap());
        spool
            .append(&[Bytes::from(vec![1; MEMORY_BYTES as usize])])
            .unwrap();
        assert_eq!(count(), 0);
        spool.append(&[Bytes::from_static(b"more")]).unwrap();
        assert_eq!(count(), 1);
        let spooled = spool.finish();
        let mut whole = vec![1; MEMORY_BYTES as usize];
        whole.extend_from_slice(b"more");
        assert_eq!(spooled.digest, hex::encode(Sha256::digest(&whole)));
        assert_eq!(spooled.size, whole.len() as u64);
        let Source::File(file) = &spooled.source else {
            panic!("not in a file");
        };
        assert_eq!(std::fs::read(file.path()).unwrap(), whole);
        assert_eq!(
            digest_of_part(file.path(), MEMORY_BYTES, 2).unwrap(),
            hex::encode(Sha256::digest(b"mo"))
        );
        drop(spooled);
        assert_eq!(count(), 0);
    }

    #[tokio::test]
    async fn only_old_files_of_killed_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = SpoolFolder::open(folder.path().to_owned()).await.unwrap();
        let living = spool.file().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (old, young) = (
            file(&format!("{}old", layout::SPOOL_PREFIX)),
            file(&format!("{}young", layout::SPOOL_PREFIX)),
        );
        let of_others = file("of-others");
        for (path, age) in [
            (living.path(), 4_000),
            (&old, 3_700),
            (&young, 3_000),
            (&of_others, 4_000),
        ] {
            let file = File::options().create(true).append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
        }
        SpoolFolder::open(folder.path().to_owned()).await.unwrap();
        assert!(!old.exists());
        assert!(living.path().exists(), "its process lives");
        assert!(young.exists(), "its process may live");
        assert!(of_others.exists());
    }
}
