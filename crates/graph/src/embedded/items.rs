//! Writing items: in parts while they are staged, visible in one transaction, gone in one transaction.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{ChunkVector, PublishOutcome, Removed};
use mnemosyne_domain::{
    CollectionUid, Item, ItemUid, NewChunk, NewItem, StoreError, StoreResult, VectorSpace,
};
use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;

use super::concepts::remove_orphans;
use super::json_text;
use super::libraries::space_key;
use super::reads::{ITEM_BY_UID, item_row};
use super::schema::{Database, store_error};
use super::scope::get;
use super::vectors::quantise;

/// How many changes the log remembers. What is further behind reads everything anew.
const REMEMBERED_CHANGES: i64 = 100_000;

/// How long it is remembered why an item is gone, in microseconds: 30 days.
const REMEMBERED_GONE: i64 = 30 * 24 * 3600 * 1_000_000;

/// The state of an item's row.
pub(super) const STAGED: i64 = 0;
/// See [`STAGED`].
pub(super) const VISIBLE: i64 = 1;
/// See [`STAGED`]: published, and nothing in it to be found.
pub(super) const EMPTY: i64 = 2;

/// Why items are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoneReason {
    /// A later revision took their place, or stood there already.
    Superseded,
    /// Their library was deleted.
    Library,
    /// They, or their collection, were deleted.
    Deleted,
}

/// Begins a change that searches must notice; answers its number.
pub(super) async fn next_change(connection: &mut SqliteConnection) -> StoreResult<i64> {
    let sequence = sqlx::query("INSERT INTO change (stamp) VALUES (random())")
        .execute(&mut *connection)
        .await
        .map_err(store_error)?
        .last_insert_rowid();
    if sequence % 1000 == 0 {
        sqlx::query("DELETE FROM change WHERE sequence < ?1")
            .bind(sequence - REMEMBERED_CHANGES)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        sqlx::query("DELETE FROM removal WHERE sequence < ?1")
            .bind(sequence - REMEMBERED_CHANGES)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(sequence)
}

/// Has the vectors of a library's visible items read anew.
pub(super) async fn touch_vectors(connection: &mut SqliteConnection, library: i64) -> StoreResult<()> {
    let sequence = next_change(connection).await?;
    sqlx::query("UPDATE item SET vector_change = ?2 WHERE library = ?1 AND status = 1")
        .bind(library)
        .bind(sequence)
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// Removes items with all their parts, inside the caller's transaction. `items` is a JSON list of keys. Concepts that
/// may have lost their last mention are noted for [`remove_orphans`].
pub(super) async fn remove_items(
    connection: &mut SqliteConnection,
    sequence: i64,
    items: &str,
    reason: GoneReason,
) -> StoreResult<Removed> {
    let row = sqlx::query(
        "SELECT json_group_array(i.uid ORDER BY i.key), \
         (SELECT count(*) FROM chunk WHERE item IN (SELECT value FROM json_each(?1))) \
         FROM item i WHERE i.key IN (SELECT value FROM json_each(?1))",
    )
    .bind(items)
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    let uids: Vec<String> = super::parse_json(&row, 0)?;
    let removed = Removed {
        chunks: get::<i64>(&row, 1)?.unsigned_abs(),
        concepts: 0,
        items: uids.into_iter().map(ItemUid::from_store).collect(),
    };
    if removed.items.is_empty() {
        return Ok(removed);
    }
    if reason != GoneReason::Deleted {
        let word = if reason == GoneReason::Library {
            "library"
        } else {
            "superseded"
        };
        sqlx::query(
            "INSERT OR REPLACE INTO gone_item (uid, reason, gone_at) \
             SELECT uid, ?2, ?3 FROM item WHERE key IN (SELECT value FROM json_each(?1))",
        )
        .bind(items)
        .bind(word)
        .bind(Utc::now().timestamp_micros())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    }
    const STEPS: [&str; 5] = [
        "INSERT INTO removal (sequence, item) \
         SELECT ?2, key FROM item WHERE status = 1 AND key IN (SELECT value FROM json_each(?1))",
        "INSERT OR IGNORE INTO orphan_candidate (concept) \
         SELECT DISTINCT concept FROM item_references WHERE item IN (SELECT value FROM json_each(?1))",
        "UPDATE library SET item_count = item_count - gone.items, chunk_count = chunk_count - gone.chunks \
         FROM (SELECT library, count(*) AS items, sum(chunk_count) AS chunks FROM item \
               WHERE status = 1 AND key IN (SELECT value FROM json_each(?1)) GROUP BY library) AS gone \
         WHERE library.key = gone.library",
        "UPDATE collection SET item_count = item_count - gone.items \
         FROM (SELECT collection, count(*) AS items FROM item \
               WHERE status = 1 AND key IN (SELECT value FROM json_each(?1)) GROUP BY collection) AS gone \
         WHERE collection.key = gone.collection",
        // Chunks, vectors, mentions and edges go with their items.
        "DELETE FROM item WHERE key IN (SELECT value FROM json_each(?1))",
    ];
    for sql in STEPS {
        sqlx::query(sql)
            .bind(items)
            .bind(sequence)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(removed)
}

/// What a write needs to know of an item's row.
struct ItemState {
    key: i64,
    library: i64,
    status: i64,
}

async fn state_of(connection: &mut SqliteConnection, uid: &ItemUid) -> StoreResult<Option<ItemState>> {
    let row = sqlx::query("SELECT key, library, status FROM item WHERE uid = ?1")
        .bind(uid.as_str())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(|row| {
        Ok(ItemState {
            key: get(&row, 0)?,
            library: get(&row, 1)?,
            status: get(&row, 2)?,
        })
    })
    .transpose()
}

/// The key and the library of an item that is staged.
pub(super) async fn staged(connection: &mut SqliteConnection, uid: &ItemUid) -> StoreResult<(i64, i64)> {
    match state_of(connection, uid).await? {
        None => Err(StoreError::NotFound),
        Some(state) if state.status != STAGED => Err(StoreError::Conflict("item")),
        Some(state) => Ok((state.key, state.library)),
    }
}

fn names_lower(title: &str, filename: &str) -> String {
    format!("{title}\n{filename}").to_lowercase()
}

pub(super) async fn stage_item(database: &Database, item: NewItem) -> StoreResult<()> {
    let authors = json_text(&item.authors)?;
    let metadata = json_text(&item.metadata)?;
    let mut transaction = database.begin().await?;
    let place = sqlx::query(
        "SELECT l.key, c.key FROM library l JOIN collection c ON c.library = l.key WHERE l.uid = ?1 AND c.uid = ?2",
    )
    .bind(item.library_uid.as_str())
    .bind(item.collection_uid.as_str())
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?
    .ok_or(StoreError::NotFound)?;
    if let Some(earlier) = state_of(&mut transaction, &item.uid).await? {
        if earlier.status != STAGED {
            return Err(StoreError::Conflict("item"));
        }
        // The text may be cut otherwise this time: nothing of the earlier run stays.
        let sequence = next_change(&mut transaction).await?;
        let items = json!([earlier.key]).to_string();
        remove_items(&mut transaction, sequence, &items, GoneReason::Deleted).await?;
    }
    sqlx::query(
        "INSERT INTO item (uid, library, collection, status, title, names_lower, source_ref, content_hash, revision, \
         filename, content_type, byte_size, original_digest, text_digest, authors, language, page_count, extraction, \
         metadata, created_at, updated_at) \
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?19)",
    )
    .bind(item.uid.as_str())
    .bind(get::<i64>(&place, 0)?)
    .bind(get::<i64>(&place, 1)?)
    .bind(item.title.as_str())
    .bind(names_lower(&item.title, &item.filename))
    .bind(item.source_ref)
    .bind(item.content_hash)
    .bind(item.revision)
    .bind(item.filename)
    .bind(item.content_type)
    .bind(i64::try_from(item.byte_size).unwrap_or(i64::MAX))
    .bind(item.original_digest)
    .bind(item.text_digest)
    .bind(authors)
    .bind(item.language)
    .bind(item.page_count)
    .bind(item.extraction)
    .bind(metadata)
    .bind(item.created_at.timestamp_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn stage_chunks(
    database: &Database,
    item: &ItemUid,
    chunks: &[NewChunk],
) -> StoreResult<()> {
    // All the texts go as one value and are cut by their offsets inside the statement: one statement for all chunks
    // instead of one for each, and a text may hold any character.
    let mut texts = Vec::with_capacity(chunks.iter().map(|chunk| chunk.text.len()).sum());
    let mut rows = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        rows.push(json!([
            chunk.uid.as_str(),
            chunk.position,
            texts.len() + 1,
            chunk.text.len(),
            json_text(&chunk.heading_path)?,
            chunk.page,
            chunk.byte_start,
            chunk.byte_end
        ]));
        texts.extend_from_slice(chunk.text.as_bytes());
    }
    let rows = Value::from(rows).to_string();
    const STEPS: [&str; 2] = [
        // A vector belongs to a text: where the text changes, it goes.
        "DELETE FROM vector WHERE item = ?3 AND chunk IN (SELECT c.key FROM json_each(?1) j \
         CROSS JOIN chunk c ON c.item = ?3 AND c.position = j.value ->> 1 \
         WHERE c.text <> CAST(substr(?2, j.value ->> 2, j.value ->> 3) AS TEXT))",
        "INSERT INTO chunk (uid, item, position, text, heading_path, page, byte_start, byte_end) \
         SELECT j.value ->> 0, ?3, j.value ->> 1, CAST(substr(?2, j.value ->> 2, j.value ->> 3) AS TEXT), \
         j.value ->> 4, j.value ->> 5, j.value ->> 6, j.value ->> 7 FROM json_each(?1) j WHERE true \
         ON CONFLICT (item, position) DO UPDATE SET uid = excluded.uid, text = excluded.text, \
         heading_path = excluded.heading_path, page = excluded.page, byte_start = excluded.byte_start, \
         byte_end = excluded.byte_end",
    ];
    let mut transaction = database.begin().await?;
    let (key, _) = staged(&mut transaction, item).await?;
    for sql in STEPS {
        sqlx::query(sql)
            .bind(rows.as_str())
            .bind(texts.as_slice())
            .bind(key)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn put_vectors(
    database: &Database,
    space: &VectorSpace,
    vectors: &[ChunkVector],
) -> StoreResult<()> {
    if vectors.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(vectors.len());
    let mut codes = Vec::with_capacity(vectors.len() * space.dimension);
    let mut floats = Vec::with_capacity(vectors.len() * space.dimension * 4);
    for chunk in vectors {
        if chunk.vector.len() != space.dimension || chunk.vector.iter().any(|value| !value.is_finite()) {
            return Err(StoreError::Corrupt(format!(
                "a vector of {} values is not one of {} ({} finite values)",
                chunk.vector.len(),
                space.model,
                space.dimension
            )));
        }
        let scale = quantise(&chunk.vector, &mut codes);
        rows.push(json!([chunk.chunk_uid.as_str(), scale]));
        for value in &chunk.vector {
            floats.extend_from_slice(&value.to_le_bytes());
        }
    }
    let rows = Value::from(rows).to_string();
    let codes: Vec<u8> = codes.into_iter().map(i8::cast_unsigned).collect();
    let mut transaction = database.begin().await?;
    let key = space_key(&mut transaction, space).await?;
    let written = sqlx::query(
        "INSERT INTO vector (space, item, chunk, scale, codes, vector) \
         SELECT ?4, c.item, c.key, j.value ->> 1, substr(?2, j.key * ?5 + 1, ?5), substr(?3, j.key * ?5 * 4 + 1, ?5 * 4) \
         FROM json_each(?1) j CROSS JOIN chunk c ON c.uid = j.value ->> 0 WHERE true \
         ON CONFLICT (item, space, chunk) DO UPDATE SET scale = excluded.scale, codes = excluded.codes, \
         vector = excluded.vector",
    )
    .bind(rows.as_str())
    .bind(codes)
    .bind(floats)
    .bind(key)
    .bind(i64::try_from(space.dimension).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?
    .rows_affected();
    if written != vectors.len() as u64 {
        return Err(StoreError::NotFound);
    }
    // Vectors of visible items in the space that is searched have to be noticed.
    let searched = sqlx::query(
        "SELECT json_group_array(DISTINCT i.key) FROM json_each(?1) j CROSS JOIN chunk c ON c.uid = j.value ->> 0 \
         CROSS JOIN item i ON i.key = c.item CROSS JOIN library l ON l.key = i.library WHERE i.status = 1 AND l.space = ?2",
    )
    .bind(rows)
    .bind(key)
    .fetch_one(&mut *transaction)
    .await
    .map_err(store_error)?;
    let searched: String = get(&searched, 0)?;
    if searched != "[]" {
        let sequence = next_change(&mut transaction).await?;
        sqlx::query("UPDATE item SET vector_change = ?2 WHERE key IN (SELECT value FROM json_each(?1))")
            .bind(searched)
            .bind(sequence)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn publish_item(
    database: &Database,
    uid: &ItemUid,
    expected_chunks: u64,
    now: DateTime<Utc>,
) -> StoreResult<PublishOutcome> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query(
        "SELECT i.key, i.library, i.collection, i.status, i.superseded, \
         (SELECT count(*) FROM chunk c WHERE c.item = i.key), \
         EXISTS (SELECT 1 FROM item o WHERE o.library = i.library AND o.source_ref = i.source_ref \
                 AND o.status <> 0 AND o.key <> i.key AND o.revision > i.revision), \
         (SELECT json_group_array(o.key) FROM item o WHERE o.library = i.library AND o.source_ref = i.source_ref \
          AND o.status <> 0 AND o.key <> i.key), \
         l.space IS NOT NULL \
         AND (SELECT count(*) FROM vector v WHERE v.item = i.key AND v.space = l.space) \
             < (SELECT count(*) FROM chunk c WHERE c.item = i.key) \
         FROM item i JOIN library l ON l.key = i.library WHERE i.uid = ?1",
    )
    .bind(uid.as_str())
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?;
    let Some(row) = row else {
        let gone = sqlx::query("SELECT reason FROM gone_item WHERE uid = ?1")
            .bind(uid.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?
            .ok_or(StoreError::NotFound)?;
        return Ok(match get::<&str>(&gone, 0)? {
            "superseded" => PublishOutcome::Superseded,
            _ => PublishOutcome::LibraryGone,
        });
    };
    let key: i64 = get(&row, 0)?;
    if get::<i64>(&row, 3)? != STAGED {
        let superseded: Vec<String> = super::parse_json(&row, 4)?;
        return Ok(PublishOutcome::Published {
            superseded: superseded.into_iter().map(ItemUid::from_store).collect(),
        });
    }
    let sequence = next_change(&mut transaction).await?;
    if get::<i64>(&row, 6)? != 0 {
        let items = json!([key]).to_string();
        remove_items(&mut transaction, sequence, &items, GoneReason::Superseded).await?;
        transaction.commit().await.map_err(store_error)?;
        remove_orphans(database).await?;
        return Ok(PublishOutcome::Superseded);
    }
    let chunks: i64 = get(&row, 5)?;
    if chunks.unsigned_abs() != expected_chunks {
        return Err(StoreError::Conflict("chunks"));
    }
    if get::<i64>(&row, 8)? != 0 {
        return Err(StoreError::Conflict("vectors"));
    }
    let older: String = get(&row, 7)?;
    let removed = remove_items(&mut transaction, sequence, &older, GoneReason::Superseded).await?;
    let superseded: Vec<&str> = removed.items.iter().map(ItemUid::as_str).collect();
    sqlx::query(
        "UPDATE item SET status = ?2, chunk_count = ?3, text_change = ?4, vector_change = ?4, updated_at = ?5, \
         superseded = ?6 WHERE key = ?1",
    )
    .bind(key)
    .bind(if chunks > 0 { VISIBLE } else { EMPTY })
    .bind(chunks)
    .bind(sequence)
    .bind(now.timestamp_micros())
    .bind(json_text(&superseded)?)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    if chunks > 0 {
        sqlx::query(
            "UPDATE library SET item_count = item_count + 1, chunk_count = chunk_count + ?2 WHERE key = ?1",
        )
        .bind(get::<i64>(&row, 1)?)
        .bind(chunks)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        sqlx::query("UPDATE collection SET item_count = item_count + 1 WHERE key = ?1")
            .bind(get::<i64>(&row, 2)?)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)?;
    if !removed.items.is_empty() {
        remove_orphans(database).await?;
    }
    Ok(PublishOutcome::Published {
        superseded: removed.items,
    })
}

pub(super) async fn delete_item(database: &Database, uid: &ItemUid) -> StoreResult<Option<Removed>> {
    let mut transaction = database.begin().await?;
    let Some(state) = state_of(&mut transaction, uid).await? else {
        return Ok(None);
    };
    let sequence = next_change(&mut transaction).await?;
    let items = json!([state.key]).to_string();
    let mut removed = remove_items(&mut transaction, sequence, &items, GoneReason::Deleted).await?;
    transaction.commit().await.map_err(store_error)?;
    removed.concepts = remove_orphans(database).await?;
    Ok(Some(removed))
}

pub(super) async fn delete_staged_item(database: &Database, uid: &ItemUid) -> StoreResult<bool> {
    let mut transaction = database.begin().await?;
    let Some(state) = state_of(&mut transaction, uid).await? else {
        return Ok(true);
    };
    if state.status != STAGED {
        return Ok(false);
    }
    let sequence = next_change(&mut transaction).await?;
    let items = json!([state.key]).to_string();
    remove_items(&mut transaction, sequence, &items, GoneReason::Deleted).await?;
    transaction.commit().await.map_err(store_error)?;
    remove_orphans(database).await?;
    Ok(true)
}

pub(super) async fn update_item(
    database: &Database,
    uid: &ItemUid,
    title: Option<&str>,
    metadata: Option<&Map<String, Value>>,
    collection: Option<&CollectionUid>,
    now: DateTime<Utc>,
) -> StoreResult<Item> {
    let metadata = metadata.map(json_text).transpose()?;
    let mut transaction = database.begin().await?;
    let state = state_of(&mut transaction, uid)
        .await?
        .ok_or(StoreError::NotFound)?;
    if let Some(collection) = collection {
        let target = sqlx::query("SELECT key FROM collection WHERE uid = ?1 AND library = ?2")
            .bind(collection.as_str())
            .bind(state.library)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?
            .ok_or(StoreError::NotFound)?;
        const STEPS: [&str; 3] = [
            "UPDATE collection SET item_count = item_count - 1 \
             WHERE key = (SELECT collection FROM item WHERE key = ?1 AND status = 1)",
            "UPDATE item SET collection = ?2 WHERE key = ?1",
            "UPDATE collection SET item_count = item_count + 1 \
             WHERE key = (SELECT collection FROM item WHERE key = ?1 AND status = 1)",
        ];
        for sql in STEPS {
            sqlx::query(sql)
                .bind(state.key)
                .bind(get::<i64>(&target, 0)?)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
    }
    sqlx::query(
        "UPDATE item SET title = coalesce(?2, title), metadata = coalesce(?3, metadata), updated_at = ?4 \
         WHERE key = ?1",
    )
    .bind(state.key)
    .bind(title)
    .bind(metadata)
    .bind(now.timestamp_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let row = sqlx::query(ITEM_BY_UID)
        .bind(uid.as_str())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
    let item = item_row(&row, 0)?;
    if title.is_some() {
        sqlx::query("UPDATE item SET names_lower = ?2 WHERE key = ?1")
            .bind(state.key)
            .bind(names_lower(&item.title, &item.filename))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    if state.status == VISIBLE && (title.is_some() || collection.is_some()) {
        // The text index holds the title and the collection, the matrix of vectors the collection.
        let sequence = next_change(&mut transaction).await?;
        sqlx::query(
            "UPDATE item SET text_change = ?2, vector_change = CASE WHEN ?3 THEN ?2 ELSE vector_change END \
             WHERE key = ?1",
        )
        .bind(state.key)
        .bind(sequence)
        .bind(i64::from(collection.is_some()))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(item)
}

/// Forgets why items are gone that nobody asks for any more.
pub(super) async fn forget_gone(database: &Database) -> StoreResult<()> {
    let before = Utc::now().timestamp_micros() - REMEMBERED_GONE;
    let old = sqlx::query("SELECT 1 FROM gone_item WHERE gone_at < ?1 LIMIT 1")
        .bind(before)
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    // Whoever only reads must not wait for those who write.
    if old.is_none() {
        return Ok(());
    }
    let mut transaction = database.begin().await?;
    sqlx::query("DELETE FROM gone_item WHERE gone_at < ?1")
        .bind(before)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}
