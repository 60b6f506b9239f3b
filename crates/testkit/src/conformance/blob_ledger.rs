//! What every ledger of blobs promises, together with any store of blobs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{
    BlobLedger, BlobStore, ByteStream, Health, JobFilter, LocalFile, Relational, StoredBlob,
};
use mnemosyne_domain::{JobStatus, LibraryUid, NewJob, PageRequest, Queue, StoreError, StoreResult};

use super::{Pair, at};

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

    assert_eq!(ledger.release_blobs(&["a"], blobs).await.unwrap(), 1);
    assert!(!blobs.exists(&own).await.unwrap());
    assert!(blobs.exists(&shared).await.unwrap());
    assert_eq!(ledger.release_blobs(&["a"], blobs).await.unwrap(), 0);
    assert_eq!(other.blob_holders().await.unwrap(), ["b"]);
    assert_eq!(other.release_blobs(&["b"], blobs).await.unwrap(), 1);
    assert!(!blobs.exists(&shared).await.unwrap());
    assert_eq!(other.blob_holders().await.unwrap(), [""; 0]);
}

fn request(source_ref: &str, digest: &str) -> NewJob {
    NewJob {
        library_uid: LibraryUid::from_store("library-1".to_owned()),
        collection_uid: None,
        source_ref: source_ref.to_owned(),
        content_hash: digest.to_owned(),
        filename: "report.pdf".to_owned(),
        content_type: None,
        title: None,
        metadata: serde_json::Map::new(),
        source: JobSource::Blob {
            digest: digest.to_owned(),
            size: 3,
        },
        queue: Queue::Embedding,
    }
}

/// Any number of holders lets go at once; what others hold stays.
pub async fn many_holders_let_go_at_once(backend: LedgerAndStore) {
    let ledger = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let shared = keep(ledger, blobs, "shared", "kept").await;
    let own = keep(ledger, blobs, "own", "holder-0").await;
    let holders: Vec<String> = (0..500).map(|number| format!("holder-{number}")).collect();
    for holder in &holders {
        ledger.claim_blob(&shared, holder).await.unwrap();
    }
    let all: Vec<&str> = holders.iter().map(String::as_str).collect();
    assert_eq!(ledger.release_blobs(&[], blobs).await.unwrap(), 0);
    assert_eq!(ledger.release_blobs(&all, blobs).await.unwrap(), 1);
    assert_eq!(ledger.blob_holders().await.unwrap(), ["kept"]);
    assert!(blobs.exists(&shared).await.unwrap() && !blobs.exists(&own).await.unwrap());
    assert_eq!(ledger.release_blobs(&["kept"], blobs).await.unwrap(), 1);
}

/// The file of a request belongs to its job's item from the moment the job is recorded. Without its file nothing is
/// recorded.
pub async fn an_upload_is_handed_to_its_job(backend: LedgerAndStore) {
    let ledgers = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let digest = keep(ledgers, blobs, "one", "upload:1").await;
    let wanted = request("a", &digest);
    let made = ledgers
        .enqueue(wanted.clone(), Some("upload:1"), at(0))
        .await
        .unwrap();
    let item = made.job.item_uid.clone();
    assert_eq!(ledgers.blob_holders().await.unwrap(), [item.as_str()]);

    // A second copy of the same request: its file is let go of by the caller, and the known job keeps its own.
    keep(ledgers, blobs, "one", "upload:2").await;
    let known = ledgers
        .enqueue(wanted.clone(), Some("upload:2"), at(1))
        .await
        .unwrap();
    assert!(known.deduplicated);
    ledgers.release_blobs(&["upload:2"], blobs).await.unwrap();
    assert_eq!(ledgers.blob_holders().await.unwrap(), [item.as_str()]);

    // A known job that lost its file gets it back.
    ledgers.release_blobs(&[item.as_str()], blobs).await.unwrap();
    keep(ledgers, blobs, "one", "upload:3").await;
    keep(ledgers, blobs, "another", "upload:3").await;
    ledgers.enqueue(wanted, Some("upload:3"), at(2)).await.unwrap();
    assert_eq!(ledgers.release_blobs(&["upload:3"], blobs).await.unwrap(), 1);
    assert_eq!(ledgers.blob_holders().await.unwrap(), [item.as_str()]);
    assert!(blobs.exists(&digest).await.unwrap());

    let waiting = ledgers.enqueue(request("b", "1"), None, at(3)).await.unwrap().job;
    let refused = ledgers
        .enqueue(request("b", &digest), Some("upload:4"), at(4))
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let waiting = ledgers.job(&waiting.id).await.unwrap().unwrap();
    assert_eq!(waiting.status, JobStatus::Pending, "nothing took its place");
    let jobs = ledgers
        .jobs(&JobFilter::default(), PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(jobs.total, 2);
}

/// Who may have been forgotten: holders without a job that needs them.
pub async fn holders_without_work_are_named(backend: LedgerAndStore) {
    let (ledgers, other) = (backend.ledgers.first.as_ref(), backend.ledgers.second.as_ref());
    let blobs = backend.stores.first.as_ref();
    let queued = async |source_ref: &'static str, now| {
        let digest = keep(ledgers, blobs, source_ref, source_ref).await;
        let wanted = request(source_ref, &digest);
        ledgers
            .enqueue(wanted, Some(source_ref), at(now))
            .await
            .unwrap()
            .job
    };
    let cancelled = queued("cancelled", 0).await;
    let removed = queued("removed", 1).await;
    queued("waiting", 2).await;
    keep(ledgers, blobs, "file", "upload:1:x").await;
    assert_eq!(other.jobless_blob_holders().await.unwrap(), ["upload:1:x"]);
    other.cancel(&cancelled.id, at(3)).await.unwrap();
    other
        .delete_jobs_of_items(std::slice::from_ref(&removed.item_uid))
        .await
        .unwrap();
    let mut expected = [
        "upload:1:x",
        cancelled.item_uid.as_str(),
        removed.item_uid.as_str(),
    ];
    expected.sort_unstable();
    assert_eq!(other.jobless_blob_holders().await.unwrap(), expected);
}

/// What nobody claimed goes; what somebody claims stays.
pub async fn what_nobody_claimed_can_be_removed(backend: LedgerAndStore) {
    let ledger = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let claimed = keep(ledger, blobs, "claimed", "a").await;
    let mut digests = vec![claimed.clone()];
    for content in ["lost", "also lost"] {
        digests.push(
            blobs
                .put_bytes(Bytes::from_static(content.as_bytes()))
                .await
                .unwrap()
                .digest,
        );
    }
    digests.extend((0..500).map(|number| format!("{number:064}")));
    let refusing = Refusing(Arc::clone(&backend.stores.first));
    assert!(ledger.remove_unclaimed(&digests, &refusing).await.is_err());
    ledger.remove_unclaimed(&digests, blobs).await.unwrap();
    for (digest, stays) in digests.iter().zip([true, false, false]) {
        assert_eq!(blobs.exists(digest).await.unwrap(), stays, "{digest}");
    }
    assert_eq!(ledger.blob_holders().await.unwrap(), ["a"]);
    assert_eq!(ledger.release_blobs(&["a"], blobs).await.unwrap(), 1);
}

/// Whoever claims a blob and then finds it has it, although others look for unclaimed ones at the same time.
pub async fn removing_the_unclaimed_races_with_no_claim(backend: LedgerAndStore) {
    const CONTENT: &str = "fought over";
    let digest = backend
        .stores
        .first
        .put_bytes(Bytes::from_static(CONTENT.as_bytes()))
        .await
        .unwrap()
        .digest;
    let sweeping = {
        let (ledger, blobs) = (backend.ledgers.handle(1), backend.stores.handle(1));
        let digests = vec![digest.clone()];
        tokio::spawn(async move {
            loop {
                ledger.remove_unclaimed(&digests, blobs.as_ref()).await.unwrap();
            }
        })
    };
    let (ledger, blobs) = (backend.ledgers.handle(0), backend.stores.handle(0));
    for round in 0..50 {
        let holder = format!("holder-{round}");
        blobs
            .put_bytes(Bytes::from_static(CONTENT.as_bytes()))
            .await
            .unwrap();
        ledger.claim_blob(&digest, &holder).await.unwrap();
        if !blobs.exists(&digest).await.unwrap() {
            blobs
                .put_bytes(Bytes::from_static(CONTENT.as_bytes()))
                .await
                .unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!(blobs.get(&digest).await.unwrap(), CONTENT);
        ledger.release_blobs(&[&holder], blobs.as_ref()).await.unwrap();
    }
    sweeping.abort();
}

/// Claims on a blob that cannot be removed stay, so that letting go can be repeated.
pub async fn claims_stay_where_a_blob_cannot_be_removed(backend: LedgerAndStore) {
    let ledger = backend.ledgers.first.as_ref();
    let blobs = backend.stores.first.as_ref();
    let digest = keep(ledger, blobs, "one", "a").await;
    let refusing = Refusing(Arc::clone(&backend.stores.first));
    assert!(matches!(
        ledger.release_blobs(&["a"], &refusing).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(ledger.blob_holders().await.unwrap(), ["a"]);
    assert!(blobs.exists(&digest).await.unwrap());
    assert_eq!(ledger.release_blobs(&["a"], blobs).await.unwrap(), 1);
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
                ledger.release_blobs(&[&holder], blobs.as_ref()).await.unwrap();
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

    async fn older_than(&self, first_byte: u8, age: Duration) -> StoreResult<Vec<String>> {
        self.0.older_than(first_byte, age).await
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
                many_holders_let_go_at_once,
                an_upload_is_handed_to_its_job,
                holders_without_work_are_named,
                what_nobody_claimed_can_be_removed,
                removing_the_unclaimed_races_with_no_claim,
                claims_stay_where_a_blob_cannot_be_removed,
                a_claimed_blob_does_not_go_away,
            ]
        );
    };
}
