use std::time::Duration;

use bytes::Bytes;

/// What came of the calls of a cache so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Values found.
    pub hits: u64,
    /// Values that were not there, those that could not be asked for included.
    pub misses: u64,
    /// Calls that failed: no answer in time, no connection, a refusal. Those that were not tried because the server had
    /// just failed are not among them.
    pub failures: u64,
    /// Calls that were not tried because the server had just failed.
    pub skipped: u64,
}

/// A cache that may forget anything at any time. It never fails: what cannot be read is a miss, what cannot be written
/// is dropped.
#[async_trait::async_trait]
pub trait Cache: super::Health {
    /// What was put under this key, unless it was forgotten or its time is over.
    async fn get(&self, key: &str) -> Option<Bytes>;
    /// Remembers a value for at most this long.
    async fn put(&self, key: &str, value: Bytes, keep: Duration);
    /// Forgets a key.
    async fn forget(&self, key: &str);
    /// What came of the calls so far; `None` where nothing can fail, and nothing is counted.
    fn counters(&self) -> Option<CacheCounters>;
}
