use std::time::Duration;

use bytes::Bytes;

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
}
