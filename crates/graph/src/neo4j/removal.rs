//! Removing items: in one transaction they go from every read; what is left of large ones goes in parts afterwards.
//!
//! An item that is to go is marked `gone` and no longer `completed`. Few chunks go in the same transaction. Many would
//! be more than one transaction of the server may hold: they go after it, and where that is cut off, the item is named
//! among the old staged ones until somebody deletes it again.

use chrono::Utc;
use mnemosyne_domain::ports::Removed;
use mnemosyne_domain::{ItemUid, StoreResult};
use neo4rs::Query;
use serde::Deserialize;

use super::database::{Database, Transaction, cypher, texts};
use super::errors::Failure;
use super::libraries::Count;

/// Up to how many chunks, and items, are removed in the transaction that hides them.
const AT_ONCE_CHUNKS: u64 = 2_000;
/// See [`AT_ONCE_CHUNKS`].
const AT_ONCE_ITEMS: usize = 200;

/// How many chunks, and items, are removed in one transaction after that.
const BATCH_CHUNKS: i64 = 2_000;
/// See [`BATCH_CHUNKS`].
const BATCH_ITEMS: usize = 50;

/// How many concepts are looked at in one transaction.
const BATCH_CONCEPTS: i64 = 500;

/// How long it is remembered why an item is gone, in microseconds: 30 days.
const REMEMBERED_GONE: i64 = 30 * 24 * 3600 * 1_000_000;

/// Why items are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoneReason {
    /// A later revision took their place, or stood there already.
    Superseded,
    /// Their library was deleted.
    Library,
    /// They, or their collection, were deleted, or written anew.
    Deleted,
}

impl GoneReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Library => "library",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Deserialize)]
struct Uid {
    uid: String,
}

/// The uids that a statement finds.
pub(super) async fn uids(transaction: &mut Transaction, query: Query) -> Result<Vec<String>, Failure> {
    let rows = transaction.read::<Uid>(query).await?;
    Ok(rows.into_iter().map(|row| row.uid).collect())
}

/// Items that no read sees any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    /// Which.
    items: Vec<String>,
    /// How many chunks they had.
    chunks: u64,
    /// Whether their parts are still there.
    left: bool,
}

impl Retired {
    /// Which.
    pub(super) fn items(&self) -> &[String] {
        &self.items
    }

    /// Whether their parts are still there.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }
}

const UNCOUNT: &str = "UNWIND $items AS uid \
    MATCH (i:Item {uid: uid, embedding_status: 'completed'})<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
    WITH l, o, count(i) AS items, sum(i.chunk_count) AS chunks \
    SET o.item_count = o.item_count - items, o.chunk_count = o.chunk_count - chunks, \
    l.item_count = l.item_count - items, l.chunk_count = l.chunk_count - chunks";
const MARK: &str = "UNWIND $items AS uid MATCH (i:Item {uid: uid}) \
    SET i.embedding_status = 'processing', i.gone = $reason \
    RETURN sum(COUNT { (i)-[:HAS_CHUNK]->() }) AS count";
const REMEMBER: &str = "UNWIND $items AS uid MERGE (g:MnemosyneGone {uid: uid}) \
    SET g.reason = $reason, g.gone_at = $now";

/// Takes items from every read, inside the caller's transaction, which holds the lock on their library.
pub(super) async fn retire(
    transaction: &mut Transaction,
    items: Vec<String>,
    reason: GoneReason,
) -> Result<Retired, Failure> {
    if items.is_empty() {
        return Ok(Retired::default());
    }
    let about = |text| {
        cypher(text)
            .param("items", texts(items.iter().map(String::as_str)))
            .param("reason", reason.as_str())
    };
    transaction.run(about(UNCOUNT)).await?;
    let marked = transaction.read_one::<Count>(about(MARK)).await?;
    let chunks = marked.map_or(0, |row| row.count.unsigned_abs());
    if reason != GoneReason::Deleted {
        let remember = about(REMEMBER).param("now", Utc::now().timestamp_micros());
        transaction.run(remember).await?;
    }
    let left = chunks > AT_ONCE_CHUNKS || items.len() > AT_ONCE_ITEMS;
    if !left {
        remove_edges(transaction, &items).await?;
        remove_chunks(transaction, &items, i64::MAX).await?;
        remove_nodes(transaction, &items).await?;
    }
    Ok(Retired { items, chunks, left })
}

/// The edges of the items go, and concepts of which few edges are left are noted: another transaction removes those that
/// have none. (Many removals at once may each see what the others are about to take, so few are enough to be noted.)
const REMOVE_REFERENCES: &str = "UNWIND $items AS uid MATCH (:Item {uid: uid})-[r:REFERENCES]->(c:Concept) \
    WITH c, collect(r) AS edges FOREACH (r IN edges | DELETE r) \
    WITH c WHERE COUNT { (c)<-[:REFERENCES]-() } <= 16 SET c:MnemosyneOrphan";
const REMOVE_RELATED: &str = "UNWIND $items AS uid MATCH ()-[e:RELATED_TO {item_uid: uid}]->() DELETE e";
const REMOVE_MENTIONS: &str = "UNWIND $items AS uid \
    MATCH (:Item {uid: uid})-[:HAS_CHUNK]->(:Chunk)-[m:MENTIONS]->(:Concept) DELETE m";
const REMOVE_CHUNKS: &str = "UNWIND $items AS uid MATCH (:Item {uid: uid})-[:HAS_CHUNK]->(c:Chunk) \
    WITH c LIMIT $limit DETACH DELETE c RETURN count(*) AS count";
const REMOVE_NODES: &str = "UNWIND $items AS uid MATCH (i:Item {uid: uid}) \
    WHERE NOT EXISTS { (i)-[:HAS_CHUNK]->() } DETACH DELETE i";

fn about(text: &'static str, items: &[String]) -> Query {
    cypher(text).param("items", texts(items.iter().map(String::as_str)))
}

async fn remove_edges(transaction: &mut Transaction, items: &[String]) -> Result<(), Failure> {
    transaction.run(about(REMOVE_REFERENCES, items)).await?;
    transaction.run(about(REMOVE_RELATED, items)).await
}

/// Removes the concepts of items that stay.
pub(super) async fn remove_concepts_of(
    transaction: &mut Transaction,
    items: &[String],
) -> Result<(), Failure> {
    remove_edges(transaction, items).await?;
    transaction.run(about(REMOVE_MENTIONS, items)).await
}

async fn remove_chunks(transaction: &mut Transaction, items: &[String], limit: i64) -> Result<i64, Failure> {
    let removed = transaction
        .read_one::<Count>(about(REMOVE_CHUNKS, items).param("limit", limit))
        .await?;
    Ok(removed.map_or(0, |row| row.count))
}

async fn remove_nodes(transaction: &mut Transaction, items: &[String]) -> Result<(), Failure> {
    transaction.run(about(REMOVE_NODES, items)).await
}

/// Removes what is left of items that are gone from every read, in transactions of bounded size.
pub(super) async fn sweep(database: &Database, items: &[String]) -> StoreResult<()> {
    for batch in items.chunks(BATCH_ITEMS) {
        database
            .write(batch.to_vec(), |transaction, items| {
                Box::pin(async move { remove_edges(transaction, items).await })
            })
            .await?;
        loop {
            let removed = database
                .write(batch.to_vec(), |transaction, items| {
                    Box::pin(async move { remove_chunks(transaction, items, BATCH_CHUNKS).await })
                })
                .await?;
            if removed < BATCH_CHUNKS {
                break;
            }
        }
        database
            .write(batch.to_vec(), |transaction, items| {
                Box::pin(async move { remove_nodes(transaction, items).await })
            })
            .await?;
    }
    Ok(())
}

/// Removes what is left of items after the transaction that hid them, and the concepts that nobody mentions any more.
///
/// Never fails: the items are gone, and the caller has to know which. What could not be removed now is found by the upkeep.
pub(super) async fn finish(database: &Database, retired: Retired) -> Removed {
    let concepts = async {
        if retired.left {
            sweep(database, &retired.items).await?;
        }
        remove_orphans(database).await
    };
    let concepts = concepts.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what is left of removed items is removed later");
        0
    });
    Removed {
        items: retired.items.into_iter().map(ItemUid::from_store).collect(),
        chunks: retired.chunks,
        concepts,
    }
}

#[derive(Deserialize)]
struct Orphans {
    seen: i64,
    removed: i64,
}

/// Taking the label off takes the lock on the concept: whoever mentions it again does so before, and is seen, or after,
/// and finds it gone and tries again.
const REMOVE_ORPHANS: &str = "MATCH (c:MnemosyneOrphan) WITH c LIMIT $limit REMOVE c:MnemosyneOrphan \
    WITH c, NOT EXISTS { (c)<-[:REFERENCES]-() } AND NOT EXISTS { (c)<-[:MENTIONS]-() } AS alone \
    FOREACH (orphan IN CASE WHEN alone THEN [c] ELSE [] END | DETACH DELETE orphan) \
    RETURN count(*) AS seen, sum(CASE WHEN alone THEN 1 ELSE 0 END) AS removed";

/// Removes the concepts that lost a mention and have none left. Answers how many.
pub(super) async fn remove_orphans(database: &Database) -> StoreResult<u64> {
    let mut removed = 0;
    loop {
        let batch = database
            .write((), |transaction, ()| {
                Box::pin(async move {
                    let query = cypher(REMOVE_ORPHANS).param("limit", BATCH_CONCEPTS);
                    transaction.read_one::<Orphans>(query).await
                })
            })
            .await?;
        let Some(batch) = batch else {
            return Ok(removed);
        };
        removed += batch.removed.unsigned_abs();
        if batch.seen < BATCH_CONCEPTS {
            return Ok(removed);
        }
    }
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

const REASON: &str = "MATCH (g:MnemosyneGone {uid: $item}) RETURN g.reason AS reason";

/// Why an item is gone, where that is remembered.
pub(super) async fn reason(
    transaction: &mut Transaction,
    item: &ItemUid,
) -> Result<Option<GoneReason>, Failure> {
    let row = transaction
        .read_one::<Reason>(cypher(REASON).param("item", item.as_str()))
        .await?;
    Ok(row.map(|row| match row.reason.as_str() {
        "superseded" => GoneReason::Superseded,
        _ => GoneReason::Library,
    }))
}

const FORGET: &str = "MATCH (g:MnemosyneGone) WHERE g.gone_at < $moment WITH g LIMIT 10000 DELETE g";

/// Forgets why items are gone that nobody asks for any more.
pub(super) async fn forget_gone(database: &Database) -> StoreResult<()> {
    let moment = Utc::now().timestamp_micros() - REMEMBERED_GONE;
    database
        .write(moment, |transaction, moment| {
            Box::pin(async move { transaction.run(cypher(FORGET).param("moment", *moment)).await })
        })
        .await
}

#[derive(Deserialize)]
struct Marked {
    library_uid: Option<String>,
    gone: bool,
    chunks: i64,
}

const MARKED: &str = "MATCH (i:Item {uid: $item}) OPTIONAL MATCH (i)<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(l:Library) \
    RETURN l.uid AS library_uid, i.gone IS NOT NULL AS gone, COUNT { (i)-[:HAS_CHUNK]->() } AS chunks";

/// Removes an item, visible or not, or what an earlier removal left of it. `None` where there is none.
pub(super) async fn delete_item(database: &Database, uid: &ItemUid) -> StoreResult<Option<Removed>> {
    let retired = database
        .write(uid.clone(), |transaction, uid| {
            Box::pin(async move {
                let marked = || cypher(MARKED).param("item", uid.as_str());
                let Some(found) = transaction.read_one::<Marked>(marked()).await? else {
                    return Ok(None);
                };
                if let Some(library) = &found.library_uid {
                    let lock = cypher(super::libraries::LOCK_LIBRARY).param("library", library.as_str());
                    transaction.run(lock).await?;
                }
                let Some(found) = transaction.read_one::<Marked>(marked()).await? else {
                    return Ok(None);
                };
                let items = vec![uid.to_string()];
                if found.gone {
                    return Ok(Some(Retired {
                        items,
                        chunks: found.chunks.unsigned_abs(),
                        left: true,
                    }));
                }
                Ok(Some(retire(transaction, items, GoneReason::Deleted).await?))
            })
        })
        .await?;
    match retired {
        None => Ok(None),
        Some(retired) => Ok(Some(finish(database, retired).await)),
    }
}
