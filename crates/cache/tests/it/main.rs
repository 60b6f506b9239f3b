//! The conformance of every cache.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::sync::Arc;

use mnemosyne_cache::memory::MemoryCache;
use mnemosyne_domain::ports::Cache;

async fn memory() -> Arc<dyn Cache> {
    Arc::new(MemoryCache::default())
}

mnemosyne_testkit::cache_conformance!(crate::memory);
