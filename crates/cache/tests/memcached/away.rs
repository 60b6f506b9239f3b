//! Servers that are away, silent, or back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mnemosyne_cache::memcached::MemcachedCache;
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{Cache, Health};
use tokio::net::{TcpListener, TcpStream};

use crate::{prefix, server};

const LONG: Duration = Duration::from_secs(3_600);

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Asks a thousand times; every answer is a miss, and few calls were tried.
async fn misses_quickly(cache: &MemcachedCache) {
    cache.put("k", Bytes::from_static(b"v"), LONG).await;
    for _ in 0..1_000 {
        assert_eq!(cache.get("k").await, None);
    }
    cache.forget("k").await;
    let counters = cache.counters().unwrap();
    assert_eq!(counters.misses, 1_000);
    assert_eq!(counters.failures + counters.skipped, 1_002);
    assert!(counters.failures >= 3 && counters.skipped > 900, "{counters:?}");
    match cache.check().await {
        Err(StoreError::Unavailable(sentence)) => {
            assert!(sentence.starts_with("Memcached at 127.0.0.1:"), "{sentence}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_gone_costs_misses_only() {
    misses_quickly(&MemcachedCache::open(&nobody(), "m").unwrap()).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_misses_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    misses_quickly(&MemcachedCache::open(&address, "m").unwrap()).await;
    holding.abort();
}

#[tokio::test]
async fn a_name_that_nobody_knows_hinders_no_start() {
    let cache = MemcachedCache::open("no-such-host.invalid", "m").unwrap();
    assert_eq!(cache.get("k").await, None);
    assert_eq!(cache.counters().unwrap().failures, 1);
    cache.check().await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_is_back_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if away.load(Ordering::Relaxed) {
                continue;
            }
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server()).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let cache = MemcachedCache::open(&address, &prefix()).unwrap();
    while cache.counters().unwrap().skipped == 0 {
        assert_eq!(cache.get("k").await, None);
    }
    is_away.store(false, Ordering::Relaxed);
    while cache.get("k").await.is_none() {
        cache.put("k", Bytes::from_static(b"v"), LONG).await;
        tokio::task::yield_now().await;
    }
    let skipped = cache.counters().unwrap().skipped;
    assert!(cache.get("k").await.is_some());
    assert_eq!(cache.counters().unwrap().skipped, skipped);
}

#[tokio::test]
async fn one_of_several_servers_may_be_gone() {
    let location = format!("{};{}", server(), nobody());
    let cache = MemcachedCache::open(&location, &prefix()).unwrap();
    let mut found = 0;
    for number in 0..100 {
        let key = format!("{number}");
        cache.put(&key, Bytes::from_static(b"v"), LONG).await;
        found += u32::from(cache.get(&key).await.is_some());
    }
    assert!((20..=80).contains(&found), "{found}");
    cache.check().await.unwrap_err();
}
