//! What every ledger of blobs promises, together with any store of blobs.

use std::sync::Arc;

use bytes::Bytes;
use mnemosyne_domain::ports::{BlobLedger, BlobStore, ByteStream, Health, LocalFile, Relational, StoredBlob};
use mnemosyne_domain::{StoreError, StoreResult};

use super::Pair;

/// A ledger and a store, empty both.
#[derive(Debug)]
pub struct LedgerAndStore {
    /// The ledger.
    pub ledgers: Pair<dyn Relational>,
    /// The store.
    pub stores: Pair<dyn BlobStore>,
}

async fn keep(ledger: &dyn BlobLedger, blobs: &dyn BlobStore, content: &'static str, holder: &str) -> String {
    let stored = blobs
        .put_bytes(Bytes::from_static(content.as_bytes()))
        .await
        .unwrap();
    ledger.claim_blob(&stored.digest, holder).await.unwrap();
    stored.digest
}

/// A blob goes when its last holder lets go, and not before; claims may be repeated.
pub async fn a_blob_goes_with_its_last_holder(backend: LedgerAndStore) {
    let (ledger, other) = (backend.ledgers.first.as_ref(), backend.ledgers.second.as_ref());
    let blobs = backend.stores.first.as_ref();
    let shared = keep(ledger, blobs, "shared", "a").await;
    keep(other, blobs, "shared", "b").await;
    keep(other, blobs, "shared", "b").await;
    let own = keep(ledger, blobs, "own", "a").await;
    assert_eq!(ledger.blob_holders().await.unwrap(), ["a", "b"]);

    assert_eq!(ledger.release_blobs("a", blobs).await.unwrap(), 1);
    assert!(!blobs.exists(&own).await.unwrap());
    assert!(blobs.exists(&shared).await.unwrap());
    assert_eq!(ledger.release_blobs("a", blobs).await.unwrap(), 0);
    assert_eq!(other.blob_holders().await.unwrap(), ["b"]);
    assert_eq!(other.release_blobs("b", blobs).await.unwrap(), 1);
    assert!(!blobs.exists(&shared).await.unwrap());
    assert_eq!(other.blob_holders().await.unwrap(), [""; 0]);
}

/// Claims move from one holder to another, also where both hold the same, and where both are one.
pub async fn claims_can_be_handed_over(backend: LedgerAndStore) {
    let ledger = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let one = keep(ledger, blobs, "one", "upload").await;
    let both = keep(ledger, blobs, "both", "upload").await;
    keep(ledger, blobs, "both", "item").await;
    ledger.transfer_blobs("upload", "item").await.unwrap();
    ledger.transfer_blobs("item", "item").await.unwrap();
    ledger.transfer_blobs("nobody", "item").await.unwrap();
    assert_eq!(ledger.blob_holders().await.unwrap(), ["item"]);
    assert_eq!(ledger.release_blobs("upload", blobs).await.unwrap(), 0);
    assert!(blobs.exists(&one).await.unwrap() && blobs.exists(&both).await.unwrap());
    assert_eq!(ledger.release_blobs("item", blobs).await.unwrap(), 2);
}

/// Claims on a blob that cannot be removed stay, so that letting go can be repeated.
pub async fn claims_stay_where_a_blob_cannot_be_removed(backend: LedgerAndStore) {
    let ledger = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let digest = keep(ledger, blobs, "one", "a").await;
    let refusing = Refusing(Arc::clone(&backend.stores.first));
    assert!(matches!(
        ledger.release_blobs("a", &refusing).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(ledger.blob_holders().await.unwrap(), ["a"]);
    assert!(blobs.exists(&digest).await.unwrap());
    assert_eq!(ledger.release_blobs("a", blobs).await.unwrap(), 1);
}

/// Whoever claims a blob and then finds or stores it has it until he lets go, whatever other processes let go of.
pub async fn a_claimed_blob_does_not_go_away(backend: LedgerAndStore) {
    const CONTENT: &str = "fought over";
    let digest = backend
        .stores
        .first
        .put_bytes(Bytes::from_static(CONTENT.as_bytes()))
        .await
        .unwrap()
        .digest;
    let tasks = (0..4).map(|turn| {
        let (ledger, blobs) = (backend.ledgers.handle(turn), backend.stores.handle(turn));
        let digest = digest.clone();
        tokio::spawn(async move {
            for round in 0..25 {
                let holder = format!("{turn}-{round}");
                ledger.claim_blob(&digest, &holder).await.unwrap();
                if !blobs.exists(&digest).await.unwrap() {
                    blobs
                        .put_bytes(Bytes::from_static(CONTENT.as_bytes()))
                        .await
                        .unwrap();
                }
                tokio::task::yield_now().await;
                assert_eq!(blobs.get(&digest).await.unwrap(), CONTENT);
                ledger.release_blobs(&holder, blobs.as_ref()).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(
        !backend.stores.first.exists(&digest).await.unwrap(),
        "the last holder let go"
    );
}

/// A store that removes nothing.
struct Refusing(Arc<dyn BlobStore>);

#[async_trait::async_trait]
impl Health for Refusing {
    async fn check(&self) -> StoreResult<()> {
        self.0.check().await
    }
}

#[async_trait::async_trait]
impl BlobStore for Refusing {
    async fn put(&self, content: ByteStream, limit: u64) -> StoreResult<StoredBlob> {
        self.0.put(content, limit).await
    }

    async fn put_bytes(&self, content: Bytes) -> StoreResult<StoredBlob> {
        self.0.put_bytes(content).await
    }

    async fn exists(&self, digest: &str) -> StoreResult<bool> {
        self.0.exists(digest).await
    }

    async fn open(&self, digest: &str) -> StoreResult<(u64, ByteStream)> {
        self.0.open(digest).await
    }

    async fn get(&self, digest: &str) -> StoreResult<Bytes> {
        self.0.get(digest).await
    }

    async fn local_file(&self, digest: &str) -> StoreResult<LocalFile> {
        self.0.local_file(digest).await
    }

    async fn remove(&self, _digest: &str) -> StoreResult<()> {
        Err(StoreError::Unavailable("the disk is read-only".to_owned()))
    }
}

/// Runs the suite over a backend: a function that makes both, `async fn() -> LedgerAndStore`.
#[macro_export]
macro_rules! blob_ledger_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            blob_ledger,
            $make,
            [
                a_blob_goes_with_its_last_holder,
                claims_can_be_handed_over,
                claims_stay_where_a_blob_cannot_be_removed,
                a_claimed_blob_does_not_go_away,
            ]
        );
    };
}
