//! A server that fails, is slow, or loses connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use mnemosyne_blobs::s3::{S3Bucket, S3Settings};
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{BlobStore, Health, SourceBucket, SourceError};

use crate::blobs::{content, stream_of};
use crate::proxy::{Fault, Proxy};
use crate::{PART, bucket, open};

/// Passes requests on after these have failed, one after the other.
fn first(faults: Vec<Fault>) -> impl Fn(&str) -> Fault + Send + Sync {
    let faults = std::sync::Mutex::new(faults.into_iter());
    move |_| faults.lock().unwrap().next().unwrap_or(Fault::None)
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_is_waited_for() {
    let direct = bucket().await;
    let spool = tempfile::tempdir().unwrap();
    for (faults, length) in [
        (
            vec![
                Fault::Answer(503, "SlowDown", "slow down"),
                Fault::Answer(500, "InternalError", "oops"),
            ],
            10,
        ),
        (
            vec![Fault::None, Fault::Answer(503, "SlowDown", "slow down")],
            300_000,
        ),
        (
            vec![Fault::CutRequest(0), Fault::None, Fault::CutRequest(100_000)],
            900_000,
        ),
        (
            vec![
                Fault::None,
                Fault::None,
                Fault::CutRequest(1_000_000),
                Fault::Answer(500, "InternalError", ""),
            ],
            2 * PART as usize + 9,
        ),
    ] {
        let proxy = Proxy::start(first(faults)).await;
        let settings = S3Settings {
            endpoint: proxy.endpoint(),
            ..direct.clone()
        };
        let blobs = open(&settings, spool.path()).await;
        let whole = content(length);
        let stored = blobs.put(stream_of(&whole), u64::MAX).await.unwrap();
        assert!(blobs.get(&stored.digest).await.unwrap() == whole, "{length}");
        blobs.remove(&stored.digest).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_fails_on_is_given_up() {
    let proxy = Proxy::start(|_| Fault::Answer(500, "InternalError", "we\n encountered an error")).await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..bucket().await
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    match blobs.get(&"0123456789abcdef".repeat(4)).await {
        Err(StoreError::Unavailable(sentence)) => assert!(
            sentence.ends_with("answered with status 500 (InternalError): we encountered an error"),
            "{sentence}"
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(proxy.heads().len(), settings.attempts as usize);
    blobs.check().await.unwrap_err();
    assert_eq!(
        proxy.heads().len(),
        settings.attempts as usize + 1,
        "health is asked once"
    );
}

#[tokio::test]
async fn silence_ends_in_words() {
    let proxy = Proxy::start(|_| Fault::Silence).await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        idle_timeout: Duration::from_millis(150),
        ..bucket().await
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    for outcome in [
        blobs.check().await,
        blobs.put_bytes(content(10)).await.map(drop),
        blobs.get(&"0123456789abcdef".repeat(4)).await.map(drop),
    ] {
        match outcome {
            Err(StoreError::Unavailable(sentence)) => {
                assert!(sentence.contains("did not answer within"), "{sentence}")
            }
            other => panic!("{other:?}"),
        }
    }
    match S3Bucket::open(&settings).unwrap().open("key").await {
        Err(SourceError::Unavailable(sentence)) => {
            assert!(sentence.contains("did not answer within"), "{sentence}")
        }
        other => panic!("{:?}", other.map(|object| object.size)),
    }
}

/// As S3 does for credentials that may not list the bucket.
#[tokio::test]
async fn what_may_not_be_read_may_be_missing_as_well() {
    let proxy = Proxy::start(|_| Fault::Answer(403, "AccessDenied", "Access Denied.")).await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..bucket().await
    };
    let opened = S3Bucket::open(&settings).unwrap();
    opened.check().await.unwrap();
    match opened.open("key").await {
        Err(SourceError::Denied) => {}
        other => panic!("{:?}", other.map(|object| object.size)),
    }
}

#[tokio::test]
async fn a_broken_download_is_taken_up_where_it_broke() {
    let direct = bucket().await;
    let spool = tempfile::tempdir().unwrap();
    let whole = content(3_000_000);
    let stored = open(&direct, spool.path())
        .await
        .put_bytes(whole.clone())
        .await
        .unwrap();
    let gets = AtomicUsize::new(0);
    let proxy = Proxy::start(move |_| match gets.fetch_add(1, Ordering::Relaxed) % 5 {
        4 => Fault::None,
        _ => Fault::CutAnswer(600_000),
    })
    .await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..direct
    };
    let blobs = open(&settings, spool.path()).await;
    assert!(blobs.get(&stored.digest).await.unwrap() == whole);
    let resumed = proxy.heads();
    assert_eq!(resumed.len(), 5);
    assert!(
        resumed[1..].iter().all(|head| head.contains("range: bytes=")),
        "{resumed:?}"
    );

    let local = blobs.local_file(&stored.digest).await.unwrap();
    assert!(std::fs::read(local.path()).unwrap() == whole);

    let (size, mut streamed) = blobs.open(&stored.digest).await.unwrap();
    assert_eq!(size, whole.len() as u64);
    let mut read = Vec::new();
    while let Some(piece) = streamed.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == whole);
}

#[tokio::test]
async fn a_download_that_never_gets_on_fails_and_is_never_short() {
    let direct = bucket().await;
    let spool = tempfile::tempdir().unwrap();
    let stored = open(&direct, spool.path())
        .await
        .put_bytes(content(2_000_000))
        .await
        .unwrap();
    let proxy = Proxy::start(|head| match head.contains("range: bytes=") {
        // The head of the answer, and not a byte of the object.
        true => Fault::CutAnswer(20),
        false => Fault::CutAnswer(500_000),
    })
    .await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..direct
    };
    let blobs = open(&settings, spool.path()).await;
    for outcome in [
        blobs.get(&stored.digest).await.map(drop),
        blobs.local_file(&stored.digest).await.map(drop),
    ] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
}
