//! What the bucket holds, and what stays on this machine.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mnemosyne_blobs::s3::{S3Settings, connect};
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{BlobStore, ByteStream, Health};

use crate::proxy::{Fault, Proxy};
use crate::{PART, bucket, bucket_name, endpoint, open, settings_at};

/// Content that is the same nowhere in itself.
pub(crate) fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    content.into()
}

pub(crate) fn stream_of(content: &Bytes) -> ByteStream {
    let pieces: Vec<_> = content
        .chunks(100_003)
        .map(Bytes::copy_from_slice)
        .map(Ok)
        .collect();
    Box::pin(stream::iter(pieces))
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// The key of a blob, as other programs find it.
fn key(digest: &str) -> String {
    format!("blobs/{}/{}/{digest}", &digest[..2], &digest[2..4])
}

/// How many uploads in parts the server holds open for a blob.
async fn open_uploads(settings: &S3Settings, digest: &str) -> usize {
    let listed = connect(settings)
        .unwrap()
        .list_multipart_uploads()
        .bucket(&settings.bucket)
        .prefix(key(digest))
        .send()
        .await
        .unwrap();
    listed.uploads().len()
}

#[tokio::test]
async fn large_content_goes_in_parts_and_comes_back_whole() {
    let proxy = Proxy::start(|_| Fault::None).await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..bucket().await
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    let whole = content(2 * PART as usize + 12_345);
    let stored = blobs.put(stream_of(&whole), whole.len() as u64).await.unwrap();
    let parts = proxy.heads();
    let parts = parts.iter().filter(|head| head.contains("partNumber=")).count();
    assert_eq!(parts, 3);
    assert_eq!(files(spool.path()), 0);
    assert!(blobs.get(&stored.digest).await.unwrap() == whole);
    assert_eq!(open_uploads(&settings, &stored.digest).await, 0);

    let local = blobs.local_file(&stored.digest).await.unwrap();
    assert!(std::fs::read(local.path()).unwrap() == whole);
    assert_eq!(files(spool.path()), 1);
    drop(local);
    assert_eq!(files(spool.path()), 0, "a copy goes with its last reader");

    let again = blobs.put_bytes(whole.slice(..PART as usize + 1)).await.unwrap();
    assert!(blobs.get(&again.digest).await.unwrap() == whole[..PART as usize + 1]);
}

#[tokio::test]
async fn what_is_there_is_not_sent_again_and_what_is_sent_is_signed() {
    let proxy = Proxy::start(|_| Fault::None).await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..bucket().await
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    for length in [5, 400_000] {
        let before = proxy.count("PUT");
        let whole = content(length);
        let stored = blobs.put(stream_of(&whole), u64::MAX).await.unwrap();
        assert_eq!(proxy.count("PUT"), before + 1);
        let head = proxy.heads().pop().unwrap();
        assert!(
            head.starts_with(&format!("PUT /{}/{}", settings.bucket, key(&stored.digest))),
            "{head}"
        );
        assert!(
            head.contains(&format!("x-amz-content-sha256: {}", stored.digest)),
            "{head}"
        );
        assert_eq!(blobs.put_bytes(whole).await.unwrap(), stored);
        assert_eq!(proxy.count("PUT"), before + 1);
    }
}

#[tokio::test]
async fn parts_of_a_failed_upload_are_removed() {
    let proxy = Proxy::start(|head| match head.contains("partNumber=3") {
        true => Fault::Answer(400, "InvalidPart", "no"),
        false => Fault::None,
    })
    .await;
    let direct = bucket().await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..direct.clone()
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    let whole = content(3 * PART as usize);
    match blobs.put(stream_of(&whole), u64::MAX).await {
        Err(StoreError::Unavailable(sentence)) => assert!(sentence.contains("InvalidPart"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(files(spool.path()), 0);
    assert_eq!(proxy.count("DELETE"), 1);
    let digest = open(&direct, spool.path())
        .await
        .put(stream_of(&whole), u64::MAX)
        .await
        .unwrap()
        .digest;
    assert_eq!(open_uploads(&direct, &digest).await, 0);
}

#[tokio::test]
async fn parts_of_a_dropped_upload_are_removed() {
    let proxy = Proxy::start(|head| match head.contains("partNumber=") {
        true => Fault::Silence,
        false => Fault::None,
    })
    .await;
    let settings = S3Settings {
        endpoint: proxy.endpoint(),
        ..bucket().await
    };
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    let whole = content(2 * PART as usize);
    let writing = tokio::spawn(async move { blobs.put(stream_of(&whole), u64::MAX).await });
    while !proxy.heads().iter().any(|head| head.contains("partNumber=")) {
        tokio::task::yield_now().await;
    }
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    while proxy.count("DELETE") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(files(spool.path()), 0);
}

#[tokio::test]
async fn only_abandoned_uploads_are_removed() {
    let settings = bucket().await;
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    let digest = "0123456789abcdef".repeat(4);
    let client = connect(&settings).unwrap();
    let begun = client
        .create_multipart_upload()
        .bucket(&settings.bucket)
        .key(key(&digest))
        .send()
        .await
        .unwrap();
    client
        .upload_part()
        .bucket(&settings.bucket)
        .key(key(&digest))
        .upload_id(begun.upload_id().unwrap())
        .part_number(1)
        .body(content(100).into())
        .send()
        .await
        .unwrap();
    blobs.older_than(0, Duration::from_secs(3_600)).await.unwrap();
    assert_eq!(open_uploads(&settings, &digest).await, 1);
    blobs.older_than(0, Duration::ZERO).await.unwrap();
    // A server that lists the uploads of one known key only tidies up itself.
    let listed = client
        .list_multipart_uploads()
        .bucket(&settings.bucket)
        .prefix("blobs/")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.uploads().len(), 0);
}

#[tokio::test]
async fn more_blobs_than_a_page_holds_are_listed() {
    let settings = bucket().await;
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&settings, spool.path()).await;
    let client = connect(&settings).unwrap();
    let puts = (0..1_100).map(|number| {
        let key = key(&format!("ab{number:062x}"));
        let put = client.put_object().bucket(&settings.bucket).key(key).send();
        async move { put.await.map(drop).unwrap() }
    });
    stream::iter(puts).buffer_unordered(8).collect::<Vec<()>>().await;
    let mut listed = blobs.older_than(0xab, Duration::ZERO).await.unwrap();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed.len(), 1_100);
}

#[tokio::test]
async fn what_fails_leaves_no_file() {
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(&bucket().await, spool.path()).await;
    let whole = content(1_200_000);
    blobs.put(stream_of(&whole), 1_000_000).await.unwrap_err();
    let broken = stream::iter([Ok(content(900_000)), Err(std::io::Error::other("gone"))]);
    blobs.put(Box::pin(broken), u64::MAX).await.unwrap_err();
    assert_eq!(files(spool.path()), 0);
    std::fs::remove_dir(spool.path()).unwrap();
    for refused in [
        blobs.put(stream_of(&whole), u64::MAX).await.map(drop),
        blobs.check().await,
    ] {
        match refused {
            Err(StoreError::Unavailable(sentence)) => {
                assert!(sentence.contains("spool folder"), "{sentence}")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every operation of a store that cannot serve, as the sentence of its error.
async fn sentences(settings: &S3Settings) -> Vec<String> {
    let spool = tempfile::tempdir().unwrap();
    let blobs = open(settings, spool.path()).await;
    let digest = "0123456789abcdef".repeat(4);
    let outcomes = [
        blobs.check().await,
        blobs.put_bytes(Bytes::from_static(b"x")).await.map(drop),
        blobs
            .put(stream_of(&content(PART as usize + 1)), u64::MAX)
            .await
            .map(drop),
        blobs.exists(&digest).await.map(drop),
        blobs.open(&digest).await.map(drop),
        blobs.get(&digest).await.map(drop),
        blobs.local_file(&digest).await.map(drop),
        blobs.remove(&digest).await,
        blobs.older_than(0, Duration::ZERO).await.map(drop),
        blobs.older_than(7, Duration::ZERO).await.map(drop),
    ];
    assert_eq!(files(spool.path()), 0);
    outcomes
        .into_iter()
        .enumerate()
        .map(|(index, outcome)| match outcome {
            Err(StoreError::Unavailable(sentence) | StoreError::Refused(_, sentence)) => sentence,
            other => panic!("operation {index}: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn an_absent_bucket_has_its_own_sentence() {
    let settings = settings_at(&endpoint(), &bucket_name());
    for sentence in sentences(&settings).await {
        let expected = format!("the bucket {} does not exist at 127.0.0.1:", settings.bucket);
        assert!(sentence.starts_with(&expected), "{sentence}");
    }
}

#[tokio::test]
async fn refused_credentials_have_another_and_are_not_shown() {
    let right = bucket().await;
    let wrong_secret = S3Settings {
        secret_key: "hunter2-hunter2".to_owned(),
        ..right.clone()
    };
    let wrong_key = S3Settings {
        access_key: "hunter2-hunter2".to_owned(),
        ..right.clone()
    };
    for settings in [wrong_secret, wrong_key] {
        for sentence in sentences(&settings).await {
            assert!(
                sentence.contains("refused the credentials for the bucket"),
                "{sentence}"
            );
            for secret in ["hunter2", &right.access_key, &right.secret_key] {
                assert!(!sentence.contains(secret), "{sentence}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_is_away_hinders_no_start() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = settings_at(&format!("http://127.0.0.1:{port}"), "bucket");
    for sentence in sentences(&settings).await {
        assert!(
            sentence.starts_with(&format!("127.0.0.1:{port} could not be reached")),
            "{sentence}"
        );
    }
}
