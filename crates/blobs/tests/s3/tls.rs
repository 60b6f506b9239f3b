//! The real server behind TLS: who is trusted is a matter of each client.

use mnemosyne_blobs::s3::{S3Bucket, S3Settings};
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{BlobStore, Health};
use mnemosyne_testkit::tls::{certificate, in_front_of};

use crate::blobs::content;
use crate::{bucket, endpoint, open};

/// Ends TLS in front of the real server; its endpoint.
async fn behind_tls() -> String {
    format!(
        "https://{}",
        in_front_of(endpoint().trim_start_matches("http://")).await
    )
}

#[tokio::test]
async fn certificates_are_checked_for_each_client_by_its_own_settings() {
    let strict = S3Settings {
        endpoint: behind_tls().await,
        ..bucket().await
    };
    let careless = S3Settings {
        verify_tls: false,
        ..strict.clone()
    };
    let trusting = S3Settings {
        ca_file: Some(certificate("authority.pem")),
        ..strict.clone()
    };
    let spool = tempfile::tempdir().unwrap();
    // Side by side in one process: the careless first, so that nothing of it is left to the strict.
    let whole = content(6_000_000);
    let stored = open(&careless, spool.path())
        .await
        .put_bytes(whole.clone())
        .await
        .unwrap();
    let trusted = open(&trusting, spool.path()).await;
    assert!(trusted.get(&stored.digest).await.unwrap() == whole);
    S3Bucket::open(&trusting).unwrap().check().await.unwrap();
    let refused = [
        open(&strict, spool.path()).await.check().await,
        open(&strict, spool.path())
            .await
            .get(&stored.digest)
            .await
            .map(drop),
        S3Bucket::open(&strict).unwrap().check().await,
    ];
    for outcome in refused {
        match outcome {
            Err(StoreError::Unavailable(sentence)) => {
                assert!(
                    sentence.starts_with("no trusted connection to 127.0.0.1:"),
                    "{sentence}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let unusable = S3Settings {
        ca_file: Some(certificate("missing.pem")),
        ..strict
    };
    match S3Bucket::open(&unusable) {
        Err(StoreError::Unavailable(sentence)) => assert!(sentence.contains("missing.pem"), "{sentence}"),
        other => panic!("{other:?}"),
    }
}
