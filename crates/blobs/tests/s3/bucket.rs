//! The bucket of Daedalus.

use bytes::Bytes;
use futures::StreamExt;
use mnemosyne_blobs::s3::{S3Bucket, S3Settings, connect};
use mnemosyne_domain::ports::{Health, SourceBucket, SourceError};
use mnemosyne_domain::{Refusal, StoreError};

use crate::blobs::content;
use crate::{bucket, bucket_name, endpoint, settings_at};

async fn leave(settings: &S3Settings, key: &str, content: Bytes) {
    connect(settings)
        .unwrap()
        .put_object()
        .bucket(&settings.bucket)
        .key(key)
        .body(content.into())
        .send()
        .await
        .unwrap();
}

async fn read(bucket: &S3Bucket, key: &str) -> (u64, Bytes) {
    let object = match bucket.open(key).await {
        Ok(object) => object,
        Err(error) => panic!("{key:?}: {error}"),
    };
    let mut whole = Vec::new();
    let mut content = object.content;
    while let Some(piece) = content.next().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    (object.size, whole.into())
}

#[tokio::test]
async fn keys_are_used_as_they_are() {
    let settings = bucket().await;
    let opened = S3Bucket::open(&settings).unwrap();
    opened.check().await.unwrap();
    let keys = [
        "plain.pdf",
        "folder/with space/and  two.pdf",
        ".hidden",
        ".well-known/..name/...",
        "übersicht/файл/書類.pdf",
        "u\u{308}ber",
        "a+b&c=d?e#f%20g%2Fh",
        "quote'\"<>`|^{}[]",
        "semi;colon,at@star*(paren)!$~tilde:",
        "percent%",
        "emoji 🜁",
        "-dash",
        "trailing.",
    ];
    for key in keys {
        leave(&settings, key, Bytes::from(key)).await;
    }
    for key in keys {
        assert_eq!(
            read(&opened, key).await,
            (key.len() as u64, Bytes::from(key)),
            "{key}"
        );
    }
}

#[tokio::test]
async fn sizes_are_known_before_the_first_byte() {
    let settings = bucket().await;
    let opened = S3Bucket::open(&settings).unwrap();
    for length in [0, 1, 20_000_000] {
        let whole = content(length);
        leave(&settings, "object", whole.clone()).await;
        let (size, read) = read(&opened, "object").await;
        assert_eq!(size, length as u64);
        assert!(read == whole, "{length}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let settings = bucket().await;
    let other = bucket().await;
    leave(&other, "secret", Bytes::from_static(b"of others")).await;
    leave(&settings, "a/b", Bytes::from_static(b"x")).await;
    let opened = S3Bucket::open(&settings).unwrap();
    let around = format!("../{}/secret", other.bucket);
    let long = "k/".repeat(600);
    for key in [
        "", "nothing", "a", "A/B", "a/b/../b", "..", "./a/b", "a\0b", &around, &long,
    ] {
        match opened.open(key).await {
            Err(SourceError::NotFound) => {}
            other => panic!("{key:?}: {:?}", other.map(|object| object.size)),
        }
    }
}

#[tokio::test]
async fn an_absent_bucket_and_refused_credentials_are_unavailable_in_words() {
    let absent = settings_at(&endpoint(), &bucket_name());
    let refused = S3Settings {
        secret_key: "hunter2-hunter2".to_owned(),
        ..bucket().await
    };
    for (settings, words, refusal) in [
        (absent, "does not exist at", Refusal::Place),
        (refused, "refused the credentials", Refusal::Login),
    ] {
        let opened = S3Bucket::open(&settings).unwrap();
        match opened.open("key").await {
            Err(SourceError::Unavailable(sentence)) => assert!(sentence.contains(words), "{sentence}"),
            other => panic!("{:?}", other.map(|object| object.size)),
        }
        match opened.check().await {
            Err(StoreError::Refused(found, sentence)) => {
                assert_eq!(found, refusal);
                assert!(sentence.contains(words), "{sentence}");
            }
            other => panic!("{other:?}"),
        }
    }
}
