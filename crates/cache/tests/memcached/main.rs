//! A cache on a real Memcached.
//!
//! Run with `tests/services/run memcached -- cargo test -p mnemosyne-cache --features services --test memcached`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod away;
mod entries;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mnemosyne_cache::memcached::MemcachedCache;
use mnemosyne_domain::ports::Cache;

/// The real server, `host:port`.
fn server() -> String {
    std::env::var("MNEMOSYNE_TEST_MEMCACHED").unwrap_or_else(|_| {
        panic!(
            "MNEMOSYNE_TEST_MEMCACHED is not set: run this with a server, `tests/services/run memcached -- cargo test \
             -p mnemosyne-cache --features services --test memcached`"
        )
    })
}

/// A prefix that no other test has, so that its cache is empty.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!("test-{}-{count}", since.as_micros())
}

fn empty() -> MemcachedCache {
    MemcachedCache::open(&server(), &prefix()).unwrap()
}

async fn memcached() -> Arc<dyn Cache> {
    Arc::new(empty())
}

mnemosyne_testkit::cache_conformance!(crate::memcached);
