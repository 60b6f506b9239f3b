//! What every cache promises. A cache may forget at any time, so a rule that expects a value tries it a few times.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mnemosyne_domain::ports::Cache;

type Fresh = Arc<dyn Cache>;

const LONG: Duration = Duration::from_secs(3_600);

/// A value is read back, replaced, and forgotten; keys and values are any text and any bytes.
pub async fn a_value_is_kept_until_forgotten(cache: Fresh) {
    assert_eq!(cache.get("k").await, None);
    cache.put("k", Bytes::from_static(b"one"), LONG).await;
    assert_eq!(cache.get("k").await, Some(Bytes::from_static(b"one")));
    cache.put("k", Bytes::from_static(b"two"), LONG).await;
    assert_eq!(cache.get("k").await, Some(Bytes::from_static(b"two")));
    cache
        .put(
            "schlüssel with spaces\n",
            Bytes::from_static(&[0, 255, 13, 10]),
            LONG,
        )
        .await;
    assert_eq!(
        cache.get("schlüssel with spaces\n").await,
        Some(Bytes::from_static(&[0, 255, 13, 10]))
    );
    let long = "k".repeat(1_000);
    cache.put(&long, Bytes::new(), LONG).await;
    assert_eq!(cache.get(&long).await, Some(Bytes::new()));
    cache.forget("k").await;
    cache.forget("k").await;
    assert_eq!(cache.get("k").await, None);
    assert_eq!(cache.get(&long).await, Some(Bytes::new()));
}

/// A value is not kept beyond its time, and a new one begins its own.
pub async fn a_value_is_not_kept_beyond_its_time(cache: Fresh) {
    cache.put("k", Bytes::from_static(b"long"), LONG).await;
    cache
        .put("k", Bytes::from_static(b"short"), Duration::from_millis(1))
        .await;
    while cache.get("k").await.is_some() {
        tokio::task::yield_now().await;
    }
    cache.put("k", Bytes::from_static(b"none"), Duration::ZERO).await;
    assert_eq!(cache.get("k").await, None);
    cache.put("k", Bytes::from_static(b"long"), LONG).await;
    assert_eq!(cache.get("k").await, Some(Bytes::from_static(b"long")));
}

/// A value that takes the place of another with no time left does not bring the other back.
pub async fn no_time_means_forgotten(cache: Fresh) {
    cache.put("k", Bytes::from_static(b"old"), LONG).await;
    cache.put("k", Bytes::from_static(b"new"), Duration::ZERO).await;
    assert_eq!(cache.get("k").await, None);
}

/// Runs the suite over a backend: a function that makes an empty cache, `async fn() -> Arc<dyn Cache>`.
#[macro_export]
macro_rules! cache_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            cache,
            $make,
            [
                a_value_is_kept_until_forgotten,
                a_value_is_not_kept_beyond_its_time,
                no_time_means_forgotten,
            ]
        );
    };
}
