//! A cache in this process, bounded in bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mnemosyne_domain::ports::Cache;

/// The bound where none is given.
const DEFAULT_BYTES: u64 = 32 * 1024 * 1024;
/// What an entry costs beside its key and value.
const OVERHEAD: usize = 128;

#[derive(Clone, Debug)]
struct Entry {
    value: Bytes,
    keep: Duration,
}

struct OwnTime;

impl moka::Expiry<String, Entry> for OwnTime {
    fn expire_after_create(&self, _key: &String, entry: &Entry, _now: Instant) -> Option<Duration> {
        Some(entry.keep)
    }

    fn expire_after_update(
        &self,
        _key: &String,
        entry: &Entry,
        _now: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.keep)
    }
}

/// A cache in memory.
#[derive(Clone, Debug)]
pub struct MemoryCache {
    entries: moka::future::Cache<String, Entry>,
}

impl MemoryCache {
    /// A cache that holds at most about this many bytes.
    pub fn new(bytes: u64) -> Self {
        let entries = moka::future::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &String, entry: &Entry| {
                u32::try_from(key.len() + entry.value.len() + OVERHEAD).unwrap_or(u32::MAX)
            })
            .expire_after(OwnTime)
            .build();
        Self { entries }
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

#[async_trait::async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        self.entries.get(key).await.map(|entry| entry.value)
    }

    async fn put(&self, key: &str, value: Bytes, keep: Duration) {
        self.entries.insert(key.to_owned(), Entry { value, keep }).await;
    }

    async fn forget(&self, key: &str) {
        self.entries.invalidate(key).await;
    }
}
