//! Buckets of a real server: what every store of blobs promises, and what goes wrong between us and it.
//!
//! Run over each server that is promised, MinIO and VersityGW:
//! `tests/services/run minio -- cargo test -p mnemosyne-blobs --features services --test s3`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod blobs;
mod bucket;
mod faults;
mod proxy;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mnemosyne_blobs::s3::{S3Blobs, S3Settings, UploadSettings, connect};
use mnemosyne_domain::ports::BlobStore;
use mnemosyne_testkit::conformance::Pair;

/// The value of a variable that the launcher sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run this with a server, `tests/services/run minio -- cargo test -p mnemosyne-blobs \
             --features services --test s3` (or versitygw)"
        )
    })
}

/// The real server, `http://127.0.0.1:PORT`.
fn endpoint() -> String {
    variable("MNEMOSYNE_TEST_S3_ENDPOINT")
}

/// A bucket of this name, which nobody made yet, at an endpoint that leads to the real server.
fn settings_at(endpoint: &str, bucket: &str) -> S3Settings {
    S3Settings::new(
        endpoint,
        "us-east-1",
        bucket,
        variable("MNEMOSYNE_TEST_S3_ACCESS_KEY"),
        variable("MNEMOSYNE_TEST_S3_SECRET_KEY"),
    )
}

/// A name that no other test has.
fn bucket_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!("test-{}-{}-{count}", since.as_micros(), std::process::id())
}

/// A bucket that is there and empty.
async fn bucket() -> S3Settings {
    let settings = settings_at(&endpoint(), &bucket_name());
    connect(&settings)
        .unwrap()
        .create_bucket()
        .bucket(&settings.bucket)
        .send()
        .await
        .unwrap();
    settings
}

async fn open(settings: &S3Settings, spool: &Path) -> S3Blobs {
    let upload = UploadSettings {
        single_bytes: PART,
        part_bytes: PART,
        ..UploadSettings::new(spool)
    };
    S3Blobs::open(settings, upload).await.unwrap()
}

/// The smallest part that servers take.
const PART: u64 = 5 * 1024 * 1024;

async fn s3_blobs() -> Pair<dyn BlobStore> {
    let settings = bucket().await;
    let (spool, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Arc::new(open(&settings, spool.path()).await);
    let second = Arc::new(open(&settings, other.path()).await);
    Pair::new(first, second, (spool, other))
}

mnemosyne_testkit::blob_store_conformance!(crate::s3_blobs);
