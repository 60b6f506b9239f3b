//! The conformance of every store of blobs, and what a folder of files promises beyond it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod files;

use std::sync::Arc;

use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_domain::ports::BlobStore;
use mnemosyne_testkit::conformance::Pair;

async fn file_blobs() -> Pair<dyn BlobStore> {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    let second = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    Pair::new(first, second, folder)
}

mnemosyne_testkit::blob_store_conformance!(crate::file_blobs);
