//! What lies on the server.

use std::time::Duration;

use bytes::Bytes;
use mnemosyne_cache::memcached::MemcachedCache;
use mnemosyne_domain::ports::{Cache, CacheCounters, Health};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{empty, prefix, server};

const LONG: Duration = Duration::from_secs(3_600);

/// Asks the server in its old plain protocol.
async fn ask(command: &str) -> String {
    let mut stream = TcpStream::connect(server()).await.unwrap();
    stream
        .write_all(format!("{command}\r\nquit\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn keys_have_prefix_and_version() {
    let prefix = prefix();
    let cache = MemcachedCache::open(&server(), &prefix).unwrap();
    cache.put("session:7", Bytes::from_static(b"value"), LONG).await;
    assert!(ask(&format!("get {prefix}:1:session:7")).await.contains("value"));
    let other = MemcachedCache::open(&server(), &format!("{prefix}-other")).unwrap();
    assert_eq!(other.get("session:7").await, None);
}

#[tokio::test]
async fn the_largest_value_is_kept_and_a_larger_one_forgets_the_old() {
    let cache = empty();
    let largest = Bytes::from(vec![b'v'; 1024 * 1024 - 2_048]);
    cache.put("k", largest.clone(), LONG).await;
    assert!(cache.get("k").await == Some(largest));
    cache.put("k", Bytes::from(vec![b'v'; 1024 * 1024]), LONG).await;
    assert_eq!(cache.get("k").await, None);
    assert_eq!(cache.counters().unwrap().failures, 0);
}

#[tokio::test]
async fn a_value_may_be_kept_for_more_than_a_month() {
    let cache = empty();
    for days in [29, 31, 400, 1_000_000] {
        let keep = Duration::from_secs(days * 24 * 3_600);
        cache.put("k", Bytes::from(format!("{days}")), keep).await;
        assert_eq!(cache.get("k").await, Some(Bytes::from(format!("{days}"))));
    }
}

#[tokio::test]
async fn calls_are_counted() {
    let cache = empty();
    assert_eq!(cache.get("k").await, None);
    cache.put("k", Bytes::from_static(b"v"), LONG).await;
    assert!(cache.get("k").await.is_some() && cache.get("k").await.is_some());
    let expected = CacheCounters {
        hits: 2,
        misses: 1,
        failures: 0,
        skipped: 0,
    };
    assert_eq!(cache.counters(), Some(expected));
    cache.check().await.unwrap();
}

#[tokio::test]
async fn many_callers_share_few_connections() {
    let cache = empty();
    let callers = (0..500).map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let key = format!("{number}");
            cache.put(&key, Bytes::from(key.clone()), LONG).await;
            cache.get(&key).await
        })
    });
    for (number, caller) in callers.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(caller.await.unwrap(), Some(Bytes::from(format!("{number}"))));
    }
}
