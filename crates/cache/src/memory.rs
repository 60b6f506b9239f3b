//! A cache in this process, bounded in bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{Cache, CacheCounters, Health};

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
impl Health for MemoryCache {
    async fn check(&self) -> StoreResult<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        self.entries.get(key).await.map(|entry| entry.value)
    }

    async fn put(&self, key: &str, value: Bytes, keep: Duration) {
        if keep.is_zero() {
            self.entries.invalidate(key).await;
            return;
        }
        self.entries.insert(key.to_owned(), Entry { value, keep }).await;
    }

    async fn forget(&self, key: &str) {
        self.entries.invalidate(key).await;
    }

    fn counters(&self) -> Option<CacheCounters> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_cache_stays_inside_its_bound() {
        let cache = MemoryCache::new(100_000);
        for number in 0..1_000 {
            cache
                .put(
                    &format!("{number}"),
                    Bytes::from(vec![0; 1_000]),
                    Duration::from_secs(60),
                )
                .await;
        }
        cache
            .put(
                "larger than all",
                Bytes::from(vec![0; 200_000]),
                Duration::from_secs(60),
            )
            .await;
        cache.entries.run_pending_tasks().await;
        assert!(
            cache.entries.weighted_size() <= 100_000,
            "{}",
            cache.entries.weighted_size()
        );
        assert!(
            cache.entries.entry_count() > 50,
            "{}",
            cache.entries.entry_count()
        );
    }
}
