//! What every store of blobs promises.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{BlobStore, ByteStream, StoredBlob};

use super::Pair;

type Stores = Pair<dyn BlobStore>;

const NO_LIMIT: u64 = u64::MAX;
/// SHA-256 of `hello`, from FIPS 180 by any other program.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn pieces(pieces: Vec<Bytes>) -> ByteStream {
    Box::pin(stream::iter(pieces.into_iter().map(Ok)))
}

async fn read(blobs: &dyn BlobStore, digest: &str) -> (u64, Vec<u8>) {
    let (size, mut content) = blobs.open(digest).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = content.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    (size, read)
}

/// A blob is named by its content, and read back in each of the ways.
pub async fn a_blob_is_named_by_its_content(stores: Stores) {
    let stored = stores
        .first
        .put(pieces(vec!["hel".into(), "".into(), "lo".into()]), NO_LIMIT)
        .await
        .unwrap();
    assert_eq!(
        stored,
        StoredBlob {
            digest: HELLO.to_owned(),
            size: 5
        }
    );
    let other = stores.second.as_ref();
    assert!(other.exists(HELLO).await.unwrap());
    assert_eq!(other.get(HELLO).await.unwrap(), "hello");
    assert_eq!(read(other, HELLO).await, (5, b"hello".to_vec()));
    assert_eq!(
        std::fs::read(other.local_file(HELLO).await.unwrap().path()).unwrap(),
        b"hello"
    );
    assert_eq!(
        other.put_bytes(Bytes::from_static(b"hello")).await.unwrap(),
        stored,
        "again is no error"
    );
    assert_eq!(stores.first.get(HELLO).await.unwrap(), "hello");
}

/// A blob may be empty.
pub async fn a_blob_may_be_empty(stores: Stores) {
    let stored = stores.first.put(pieces(vec![]), 0).await.unwrap();
    assert_eq!(
        stored,
        StoredBlob {
            digest: EMPTY.to_owned(),
            size: 0
        }
    );
    assert_eq!(read(stores.second.as_ref(), EMPTY).await, (0, vec![]));
}

/// A large blob that comes in odd pieces is whole.
pub async fn a_large_blob_is_whole(stores: Stores) {
    let content: Vec<u8> = (0..3_000_017_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let whole = Bytes::from(content);
    let mut parts = Vec::new();
    let mut rest = whole.clone();
    let mut length = 1;
    while !rest.is_empty() {
        parts.push(rest.split_to(length.min(rest.len())));
        length = length * 3 + 1;
    }
    let streamed = stores.first.put(pieces(parts), whole.len() as u64).await.unwrap();
    assert_eq!(streamed.size, whole.len() as u64);
    assert_eq!(
        read(stores.second.as_ref(), &streamed.digest).await,
        (streamed.size, whole.to_vec())
    );
    assert_eq!(stores.second.put_bytes(whole).await.unwrap(), streamed);
}

/// Not a byte more than the limit, and nothing remains of what exceeds it.
pub async fn a_limit_is_held(stores: Stores) {
    let blobs = stores.first.as_ref();
    let hello = || pieces(vec!["he".into(), "llo".into()]);
    assert!(matches!(
        blobs.put(hello(), 4).await,
        Err(StoreError::Conflict("size"))
    ));
    assert!(!blobs.exists(HELLO).await.unwrap());
    blobs.put(hello(), 5).await.unwrap();
}

/// Nothing remains of a stream that breaks off.
pub async fn a_stream_that_breaks_off_leaves_nothing(stores: Stores) {
    let blobs = stores.first.as_ref();
    let broken = stream::iter([
        Ok(Bytes::from_static(b"hello")),
        Err(io::Error::other("the line is dead")),
    ]);
    match blobs.put(Box::pin(broken), NO_LIMIT).await {
        Err(StoreError::Unavailable(reason)) => assert!(reason.contains("the line is dead"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!blobs.exists(HELLO).await.unwrap());
}

/// Nothing is visible of a blob whose writer has not ended, or was dropped.
pub async fn an_unfinished_blob_is_not_there(stores: Stores) {
    let begun = stream::once(async { Ok(Bytes::from_static(b"hello")) }).chain(stream::pending());
    let mut writing = stores.first.put(Box::pin(begun), NO_LIMIT);
    assert!(futures::poll!(&mut writing).is_pending());
    assert!(!stores.second.exists(HELLO).await.unwrap());
    drop(writing);
    assert!(matches!(
        stores.second.get(HELLO).await,
        Err(StoreError::NotFound)
    ));
}

/// What is not there is said to be not there, and so is what can be no digest, however it is meant.
pub async fn names_that_are_no_digests_name_nothing(stores: Stores) {
    let blobs = stores.first.as_ref();
    blobs.put_bytes(Bytes::from_static(b"hello")).await.unwrap();
    let upper = HELLO.to_uppercase();
    let around = format!("../{}", &HELLO[3..]);
    for name in [
        EMPTY,
        "",
        "..",
        "tmp",
        "/etc/passwd",
        &HELLO[..63],
        upper.as_str(),
        around.as_str(),
    ] {
        assert!(!blobs.exists(name).await.unwrap(), "{name}");
        assert!(
            matches!(blobs.get(name).await, Err(StoreError::NotFound)),
            "{name}"
        );
        assert!(
            matches!(blobs.open(name).await.err(), Some(StoreError::NotFound)),
            "{name}"
        );
        assert!(
            matches!(blobs.local_file(name).await, Err(StoreError::NotFound)),
            "{name}"
        );
        blobs.remove(name).await.unwrap();
    }
    assert!(blobs.exists(HELLO).await.unwrap());
}

/// A blob is removed once, and a second time without complaint.
pub async fn a_blob_can_be_removed(stores: Stores) {
    stores
        .first
        .put_bytes(Bytes::from_static(b"hello"))
        .await
        .unwrap();
    stores.second.remove(HELLO).await.unwrap();
    stores.second.remove(HELLO).await.unwrap();
    assert!(!stores.first.exists(HELLO).await.unwrap());
    stores
        .first
        .put_bytes(Bytes::from_static(b"hello"))
        .await
        .unwrap();
    assert!(stores.second.exists(HELLO).await.unwrap());
}

/// Blobs that were stored some time ago are listed by the first byte of their names, and nothing else is.
pub async fn what_was_stored_some_time_ago_is_listed(stores: Stores) {
    let blobs = stores.first.as_ref();
    const HOUR: Duration = Duration::from_secs(3_600);
    for content in ["hello", "", "another"] {
        blobs
            .put_bytes(Bytes::from_static(content.as_bytes()))
            .await
            .unwrap();
    }
    let other = stores.second.as_ref();
    assert_eq!(other.older_than(0x2c, Duration::ZERO).await.unwrap(), [HELLO]);
    assert_eq!(other.older_than(0xe3, Duration::ZERO).await.unwrap(), [EMPTY]);
    assert_eq!(other.older_than(0x2d, Duration::ZERO).await.unwrap(), [""; 0]);
    assert_eq!(other.older_than(0x2c, HOUR).await.unwrap(), [""; 0]);
    blobs.remove(HELLO).await.unwrap();
    assert_eq!(other.older_than(0x2c, Duration::ZERO).await.unwrap(), [""; 0]);
    let mut all = 0;
    for first_byte in 0..=u8::MAX {
        all += other.older_than(first_byte, Duration::ZERO).await.unwrap().len();
    }
    assert_eq!(all, 2);
}

/// Writers of the same content do not disturb one another.
pub async fn writers_of_the_same_content_agree(stores: Stores) {
    let content = Bytes::from(vec![7_u8; 700_000]);
    let tasks = (0..8).map(|turn| {
        let (blobs, content) = (stores.handle(turn), content.clone());
        tokio::spawn(async move { blobs.put_bytes(content).await.unwrap().digest })
    });
    for task in tasks.collect::<Vec<_>>() {
        let digest = task.await.unwrap();
        assert_eq!(stores.first.get(&digest).await.unwrap(), content);
    }
}

/// The backend can serve.
pub async fn the_store_is_healthy(stores: Stores) {
    stores.first.check().await.unwrap();
}

/// Runs the suite over a backend: a function that makes two handles on one empty store,
/// `async fn() -> Pair<dyn BlobStore>`.
#[macro_export]
macro_rules! blob_store_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            blob_store,
            $make,
            [
                a_blob_is_named_by_its_content,
                a_blob_may_be_empty,
                a_large_blob_is_whole,
                a_limit_is_held,
                a_stream_that_breaks_off_leaves_nothing,
                an_unfinished_blob_is_not_there,
                names_that_are_no_digests_name_nothing,
                a_blob_can_be_removed,
                what_was_stored_some_time_ago_is_listed,
                writers_of_the_same_content_agree,
                the_store_is_healthy,
            ]
        );
    };
}
