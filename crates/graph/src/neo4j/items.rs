//! Writing items: in parts while they are staged, visible in one transaction.

use chrono::{DateTime, Utc};
use mnemosyne_domain::item::text_preview;
use mnemosyne_domain::ports::{ChunkVector, PublishOutcome};
use mnemosyne_domain::{
    CollectionUid, Item, ItemUid, NewChunk, NewItem, StoreError, StoreResult, VectorSpace,
};
use neo4rs::{BoltType, Query};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::database::{Database, Transaction, cypher, map, number, texts};
use super::errors::Failure;
use super::libraries::{Count, LOCK_LIBRARY};
use super::reads::{self, ItemRow};
use super::removal::{self, GoneReason, Retired};
use super::spaces::Names;
use super::{blocking, json_text};
use crate::analysis;

/// How many chunks one statement writes.
const CHUNK_BATCH: usize = 250;

/// How many values of vectors one statement writes: each takes some 100 bytes of memory on its way.
const VALUE_BATCH: usize = 100_000;

fn names_lower(title: &str, filename: &str) -> String {
    format!("{title}\n{filename}").to_lowercase()
}

/// What a write needs to know of an item.
#[derive(Deserialize)]
struct State {
    library_uid: String,
    embedding_status: String,
    gone: bool,
    title: String,
    /// Whether an earlier run, or an earlier part of this one, left chunks.
    has_chunks: bool,
}

/// Takes the lock on an item, which keeps its removal away until the commit. No count, as with [`LOCK_LIBRARY`].
const LOCK_ITEM: &str = "MATCH (i:Item {uid: $item}) SET i.changes = timestamp() \
    WITH i RETURN i.library_uid AS library_uid, i.embedding_status AS embedding_status, i.gone IS NOT NULL AS gone, \
    i.title AS title, EXISTS { (i)-[:HAS_CHUNK]->() } AS has_chunks";

/// An item that is staged, locked until the commit.
pub(super) struct Staged {
    pub(super) library_uid: String,
    title: String,
    has_chunks: bool,
}

/// Takes the lock on an item that is staged.
pub(super) async fn lock_staged(transaction: &mut Transaction, item: &ItemUid) -> Result<Staged, Failure> {
    let lock = cypher(LOCK_ITEM).param("item", item.as_str());
    match transaction.read_one::<State>(lock).await? {
        None => Err(StoreError::NotFound.into()),
        Some(state) if state.gone => Err(StoreError::NotFound.into()),
        Some(state) if state.embedding_status != "processing" => Err(StoreError::Conflict("item").into()),
        Some(state) => Ok(Staged {
            library_uid: state.library_uid,
            title: state.title,
            has_chunks: state.has_chunks,
        }),
    }
}

const PLACE: &str = "MATCH (l:Library {uid: $library})-[:CONTAINS]->(:Collection {uid: $collection}) \
                     RETURN 1 AS count";
const CREATE_ITEM: &str = "MATCH (o:Collection {uid: $collection}) CREATE (o)-[:CONTAINS]->(:Item {uid: $item, \
    library_uid: $library, embedding_status: 'processing', title: $title, names_lower: $names_lower, \
    source_ref: $source_ref, content_hash: $content_hash, revision: $revision, filename: $filename, \
    content_type: $content_type, byte_size: $byte_size, original_digest: $original_digest, text_digest: $text_digest, \
    authors: $authors, language: $language, page_count: $page_count, extraction: $extraction, metadata: $metadata, \
    chunk_count: 0, superseded: [], created_at: $created_at, updated_at: $created_at})";

fn create_item(item: &NewItem) -> StoreResult<Query> {
    Ok(cypher(CREATE_ITEM)
        .param("item", item.uid.as_str())
        .param("library", item.library_uid.as_str())
        .param("collection", item.collection_uid.as_str())
        .param("title", item.title.as_str())
        .param("names_lower", names_lower(&item.title, &item.filename))
        .param("source_ref", item.source_ref.as_str())
        .param("content_hash", item.content_hash.as_str())
        .param("revision", item.revision)
        .param("filename", item.filename.as_str())
        .param("content_type", item.content_type.as_str())
        .param("byte_size", number(item.byte_size))
        .param("original_digest", item.original_digest.as_str())
        .param("text_digest", item.text_digest.as_str())
        .param("authors", texts(item.authors.iter().map(String::as_str)))
        .param("language", item.language.as_deref())
        .param("page_count", item.page_count.map(i64::from))
        .param("extraction", item.extraction.as_str())
        .param("metadata", json_text(&item.metadata)?)
        .param("created_at", item.created_at.timestamp_micros()))
}

pub(super) async fn stage_item(database: &Database, item: NewItem) -> StoreResult<()> {
    // The text may be cut otherwise this time: nothing of the earlier run stays. What an earlier run wrote of a large
    // item goes in parts before, so that the transaction below stays small.
    let create = create_item(&item)?;
    let mut swept = false;
    for _ in 0..2 {
        let (item, create) = (item.clone(), create.clone());
        let (earlier, anew) = database
            .write((item, create), |transaction, (item, create)| {
                Box::pin(async move {
                    let place = || {
                        cypher(PLACE)
                            .param("library", item.library_uid.as_str())
                            .param("collection", item.collection_uid.as_str())
                    };
                    let lock = cypher(LOCK_LIBRARY).param("library", item.library_uid.as_str());
                    transaction.run(lock).await?;
                    transaction
                        .read_one::<Count>(place())
                        .await?
                        .ok_or(StoreError::NotFound)?;
                    let known = cypher(LOCK_ITEM).param("item", item.uid.as_str());
                    let (mut left, mut anew) = (None, false);
                    if let Some(known) = transaction.read_one::<State>(known).await? {
                        if !known.gone && known.embedding_status != "processing" {
                            return Err(StoreError::Conflict("item").into());
                        }
                        let items = vec![item.uid.to_string()];
                        let retired = removal::retire(transaction, items, GoneReason::Deleted).await?;
                        anew = true;
                        if retired.is_left() {
                            left = Some(retired);
                        }
                    }
                    if left.is_none() {
                        transaction.run(create.clone()).await?;
                    }
                    Ok((left, anew))
                })
            })
            .await?;
        match earlier {
            None if anew || swept => {
                removal::remove_orphans(database).await?;
                return Ok(());
            }
            None => return Ok(()),
            Some(retired) => {
                removal::sweep(database, retired.items()).await?;
                swept = true;
            }
        }
    }
    Err(StoreError::Unavailable(
        "the item is being removed by somebody else".to_owned(),
    ))
}

/// A vector belongs to a text: where the text changes, all else that the chunk holds goes.
const CLEAR_CHANGED: &str = "UNWIND $rows AS row MATCH (c:Chunk {uid: row.uid}) WHERE c.text <> row.text \
                             SET c = {uid: row.uid}";
const WRITE_CHUNKS: &str = "MATCH (i:Item {uid: $item}) UNWIND $rows AS row MERGE (c:Chunk {uid: row.uid}) \
    SET c += row, c.item_uid = $item, c.library_uid = $library, c.title_terms = $title_terms \
    MERGE (i)-[:HAS_CHUNK]->(c)";

/// The chunks as parameters. `context` are the headings' words.
fn chunk_rows(chunks: &[NewChunk]) -> Vec<BoltType> {
    chunks
        .iter()
        .map(|chunk| {
            map([
                ("uid", chunk.uid.as_str().into()),
                ("position", number(chunk.position).into()),
                ("text", chunk.text.as_str().into()),
                ("text_preview", text_preview(&chunk.text).into()),
                ("terms", analysis::passage_text(&chunk.text).into()),
                (
                    "context",
                    analysis::passage_text(&chunk.heading_path.join(" ")).into(),
                ),
                (
                    "heading_path",
                    texts(chunk.heading_path.iter().map(String::as_str)),
                ),
                ("page", chunk.page.map(i64::from).into()),
                ("byte_start", number(chunk.byte_start).into()),
                ("byte_end", number(chunk.byte_end).into()),
            ])
        })
        .collect()
}

pub(super) async fn stage_chunks(
    database: &Database,
    item: &ItemUid,
    chunks: &[NewChunk],
) -> StoreResult<()> {
    let chunks = chunks.to_vec();
    let batches: Vec<BoltType> = blocking(move || {
        chunks
            .chunks(CHUNK_BATCH)
            .map(|batch| chunk_rows(batch).into())
            .collect()
    })
    .await?;
    database
        .write((item.clone(), batches), |transaction, (item, batches)| {
            Box::pin(async move {
                let staged = lock_staged(transaction, item).await?;
                let title_terms = analysis::passage_text(&staged.title);
                for rows in batches {
                    if staged.has_chunks {
                        transaction
                            .run(cypher(CLEAR_CHANGED).param("rows", rows.clone()))
                            .await?;
                    }
                    let write = cypher(WRITE_CHUNKS)
                        .param("rows", rows.clone())
                        .param("item", item.as_str())
                        .param("library", staged.library_uid.as_str())
                        .param("title_terms", title_terms.as_str());
                    transaction.run(write).await?;
                }
                Ok(())
            })
        })
        .await
}

/// The procedure stores 32-bit floats; an assignment would store 64-bit ones.
const WRITE_VECTORS: &str = "UNWIND $rows AS row MATCH (c:Chunk {uid: row.uid})<-[:HAS_CHUNK]-(i:Item) \
    WHERE i.gone IS NULL CALL db.create.setNodeVectorProperty(c, $property, row.vector) \
    SET c[$model_property] = $model, c[$dimension_property] = $dimension RETURN count(*) AS count";
/// An item of which no vector is known, or that is staged, takes the model's name; a visible one keeps that of its
/// library's model.
const NOTE_MODEL: &str = "UNWIND $chunks AS uid MATCH (:Chunk {uid: uid})<-[:HAS_CHUNK]-(i:Item) WITH DISTINCT i \
    WHERE i.embedding_model IS NULL OR (i.embedding_status = 'processing' AND i.embedding_model <> $model) \
    SET i.embedding_model = $model";

/// Refuses vectors that do not fit their space.
pub(super) fn check_vectors(space: &VectorSpace, vectors: &[ChunkVector]) -> StoreResult<()> {
    for chunk in vectors {
        if chunk.vector.len() != space.dimension || chunk.vector.iter().any(|value| !value.is_finite()) {
            return Err(StoreError::Corrupt(format!(
                "a vector of {} values is not one of {} ({} finite values)",
                chunk.vector.len(),
                space.model,
                space.dimension
            )));
        }
    }
    Ok(())
}

pub(super) async fn put_vectors(
    database: &Database,
    space: &VectorSpace,
    names: Names,
    vectors: &[ChunkVector],
) -> StoreResult<()> {
    let input = (space.clone(), names, vectors.to_vec());
    database
        .write(input, |transaction, (space, names, vectors)| {
            Box::pin(async move {
                let batch = (VALUE_BATCH / space.dimension.max(1)).clamp(1, 500);
                let mut written = 0;
                for vectors in vectors.chunks(batch) {
                    let rows: Vec<BoltType> = vectors
                        .iter()
                        .map(|chunk| {
                            let values: BoltType =
                                chunk.vector.iter().map(|value| f64::from(*value)).collect();
                            map([("uid", chunk.chunk_uid.as_str().into()), ("vector", values)])
                        })
                        .collect();
                    let write = cypher(WRITE_VECTORS)
                        .param("rows", BoltType::from(rows))
                        .param("property", names.vector.as_str())
                        .param("model_property", names.model.as_str())
                        .param("dimension_property", names.dimension.as_str())
                        .param("model", space.model.as_str())
                        .param("dimension", number(space.dimension));
                    written += transaction
                        .read_one::<Count>(write)
                        .await?
                        .map_or(0, |row| row.count);
                }
                if written != number(vectors.len()) {
                    return Err(StoreError::NotFound.into());
                }
                let chunks = texts(vectors.iter().map(|chunk| chunk.chunk_uid.as_str()));
                let note = cypher(NOTE_MODEL)
                    .param("chunks", chunks)
                    .param("model", space.model.as_str());
                transaction.run(note).await
            })
        })
        .await
}

/// Finds the library of an item and takes its lock.
const LOCK_ITS_LIBRARY: &str = "MATCH (:Item {uid: $item})<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(l:Library) \
    SET l.changes = timestamp() RETURN 1 AS count";

/// What decides over publishing, read under the lock.
#[derive(Deserialize)]
struct Draft {
    embedding_status: String,
    gone: Option<String>,
    superseded: Vec<String>,
    chunks: i64,
    without_vector: i64,
    later: bool,
    older: Vec<String>,
}

const DRAFT: &str = "MATCH (i:Item {uid: $item}) \
    OPTIONAL MATCH (i)<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(l:Library) \
    CALL (i, l) { OPTIONAL MATCH (i)-[:HAS_CHUNK]->(c:Chunk) RETURN count(c) AS chunks, \
        sum(CASE WHEN c IS NOT NULL AND l.vector_property IS NOT NULL AND c[l.vector_property] IS NULL \
            THEN 1 ELSE 0 END) AS without_vector } \
    CALL (i) { OPTIONAL MATCH (x:Item {library_uid: i.library_uid, source_ref: i.source_ref}) \
        WHERE x.uid <> i.uid AND x.embedding_status <> 'processing' \
        RETURN collect(x.uid) AS older, max(x.revision) AS latest } \
    RETURN i.embedding_status AS embedding_status, i.gone AS gone, i.superseded AS superseded, chunks, without_vector, \
    coalesce(latest > i.revision, false) AS later, older";
const SHOW_ITEM: &str = "MATCH (i:Item {uid: $item})<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
    SET i.embedding_status = $status, i.chunk_count = $chunks, i.updated_at = $now, i.superseded = $superseded, \
    o.item_count = o.item_count + $items, o.chunk_count = o.chunk_count + $chunks, \
    l.item_count = l.item_count + $items, l.chunk_count = l.chunk_count + $chunks";

pub(super) async fn publish_item(
    database: &Database,
    uid: &ItemUid,
    chunks: u64,
    now: DateTime<Utc>,
) -> StoreResult<PublishOutcome> {
    let (outcome, retired) = hide_and_show(database, uid, chunks, now).await?;
    if !retired.items().is_empty() {
        removal::finish(database, retired).await;
    }
    Ok(outcome)
}

/// The one transaction that shows an item and takes from every read what it supersedes. What is left of that is the
/// caller's to remove.
pub(super) async fn hide_and_show(
    database: &Database,
    uid: &ItemUid,
    chunks: u64,
    now: DateTime<Utc>,
) -> StoreResult<(PublishOutcome, Retired)> {
    database
        .write((uid.clone(), chunks, now), |transaction, (uid, chunks, now)| {
            Box::pin(async move {
                let about = |text| cypher(text).param("item", uid.as_str());
                transaction.run(about(LOCK_ITS_LIBRARY)).await?;
                let Some(draft) = transaction.read_one::<Draft>(about(DRAFT)).await? else {
                    let reason = removal::reason(transaction, uid).await?;
                    return Ok((outcome_of(reason)?, Retired::default()));
                };
                match draft.gone.as_deref() {
                    None => {}
                    Some("superseded") => return Ok((PublishOutcome::Superseded, Retired::default())),
                    Some("library") => return Ok((PublishOutcome::LibraryGone, Retired::default())),
                    Some(_) => return Err(StoreError::NotFound.into()),
                }
                if draft.embedding_status != "processing" {
                    let superseded = draft.superseded.into_iter().map(ItemUid::from_store).collect();
                    return Ok((PublishOutcome::Published { superseded }, Retired::default()));
                }
                if draft.later {
                    let items = vec![uid.to_string()];
                    let retired = removal::retire(transaction, items, GoneReason::Superseded).await?;
                    return Ok((PublishOutcome::Superseded, retired));
                }
                if draft.chunks != number(*chunks) {
                    return Err(StoreError::Conflict("chunks").into());
                }
                if draft.without_vector > 0 {
                    return Err(StoreError::Conflict("vectors").into());
                }
                let retired = removal::retire(transaction, draft.older, GoneReason::Superseded).await?;
                let visible = draft.chunks > 0;
                let show = about(SHOW_ITEM)
                    .param("status", if visible { "completed" } else { "failed" })
                    .param("chunks", draft.chunks)
                    .param("items", i64::from(visible))
                    .param("now", now.timestamp_micros())
                    .param("superseded", texts(retired.items().iter().map(String::as_str)));
                transaction.run(show).await?;
                let superseded = retired.items().iter().cloned().map(ItemUid::from_store).collect();
                Ok((PublishOutcome::Published { superseded }, retired))
            })
        })
        .await
}

/// Removes an item that is staged; says whether nothing of it is there afterwards.
pub(super) async fn delete_staged_item(database: &Database, uid: &ItemUid) -> StoreResult<bool> {
    let retired = database
        .write(uid.clone(), |transaction, uid| {
            Box::pin(async move {
                let lock = cypher(LOCK_ITEM).param("item", uid.as_str());
                match transaction.read_one::<State>(lock).await? {
                    None => Ok(Some(Retired::default())),
                    Some(state) if !state.gone && state.embedding_status != "processing" => Ok(None),
                    Some(_) => {
                        let items = vec![uid.to_string()];
                        Ok(Some(
                            removal::retire(transaction, items, GoneReason::Deleted).await?,
                        ))
                    }
                }
            })
        })
        .await?;
    let Some(retired) = retired else {
        return Ok(false);
    };
    if !retired.items().is_empty() {
        removal::finish(database, retired).await;
    }
    Ok(true)
}

fn outcome_of(reason: Option<GoneReason>) -> StoreResult<PublishOutcome> {
    match reason {
        Some(GoneReason::Superseded) => Ok(PublishOutcome::Superseded),
        Some(GoneReason::Library) => Ok(PublishOutcome::LibraryGone),
        Some(GoneReason::Deleted) | None => Err(StoreError::NotFound),
    }
}

const TARGET: &str = "MATCH (:Item {uid: $item})<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(l:Library)\
    -[:CONTAINS]->(o:Collection {uid: $collection}) RETURN 1 AS count";
const MOVE_ITEM: &str = "MATCH (from:Collection)-[contained:CONTAINS]->(i:Item {uid: $item}) \
    MATCH (to:Collection {uid: $collection}) WHERE from <> to \
    WITH from, contained, i, to, CASE i.embedding_status WHEN 'completed' THEN 1 ELSE 0 END AS items, \
    CASE i.embedding_status WHEN 'completed' THEN i.chunk_count ELSE 0 END AS chunks \
    SET from.item_count = from.item_count - items, from.chunk_count = from.chunk_count - chunks, \
    to.item_count = to.item_count + items, to.chunk_count = to.chunk_count + chunks \
    DELETE contained CREATE (to)-[:CONTAINS]->(i)";
const UPDATE_ITEM: &str = "MATCH (i:Item {uid: $item}) SET i.title = coalesce($title, i.title), \
    i.metadata = coalesce($metadata, i.metadata), i.updated_at = $now";
const RENAME_ITEM: &str = "MATCH (i:Item {uid: $item}) SET i.names_lower = $names_lower \
    WITH i MATCH (i)-[:HAS_CHUNK]->(c:Chunk) SET c.title_terms = $title_terms";

pub(super) async fn update_item(
    database: &Database,
    uid: &ItemUid,
    title: Option<&str>,
    metadata: Option<&Map<String, Value>>,
    collection: Option<&CollectionUid>,
    now: DateTime<Utc>,
) -> StoreResult<Item> {
    let update = cypher(UPDATE_ITEM)
        .param("item", uid.as_str())
        .param("title", title)
        .param("metadata", metadata.map(json_text).transpose()?)
        .param("now", now.timestamp_micros());
    let input = (uid.clone(), title.is_some(), collection.cloned(), update);
    database
        .write(input, |transaction, (uid, renamed, collection, update)| {
            Box::pin(async move {
                let about = |text| cypher(text).param("item", uid.as_str());
                transaction
                    .read_one::<Count>(about(LOCK_ITS_LIBRARY))
                    .await?
                    .ok_or(StoreError::NotFound)?;
                if let Some(collection) = collection {
                    let there = |text| about(text).param("collection", collection.as_str());
                    transaction
                        .read_one::<Count>(there(TARGET))
                        .await?
                        .ok_or(StoreError::NotFound)?;
                    transaction.run(there(MOVE_ITEM)).await?;
                }
                transaction.run(update.clone()).await?;
                let row = transaction.read_one::<ItemRow>(reads::item_by_uid(uid)).await?;
                let item = row.ok_or(StoreError::NotFound)?.item()?;
                if *renamed {
                    let rename = about(RENAME_ITEM)
                        .param("names_lower", names_lower(&item.title, &item.filename))
                        .param("title_terms", analysis::passage_text(&item.title));
                    transaction.run(rename).await?;
                }
                Ok(item)
            })
        })
        .await
}
