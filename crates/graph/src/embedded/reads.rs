//! Reading items and chunks, and looking after the whole.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{ItemFilter, ItemOrder, StoreReport};
use mnemosyne_domain::{
    Chunk, ChunkHit, ChunkUid, CollectionUid, EmbeddingStatus, Item, ItemUid, LibraryType, LibraryUid,
    NewChunk, Page, PageRequest, PlaceKind, Scope, SearchFilter, StoreError, StoreResult, VectorSpace,
};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::items::{EMPTY, STAGED, VISIBLE};
use super::libraries::page_of;
use super::schema::{Database, store_error};
use super::scope::{Admitted, get, item_admitted, library_admitted};
use super::{from_micros, parse_json, size};

macro_rules! item_columns {
    () => {
        "i.uid, l.uid, (SELECT o.uid FROM collection o WHERE o.key = i.collection), i.title, i.source_ref, \
         i.content_hash, i.revision, i.filename, i.content_type, i.byte_size, i.original_digest, i.text_digest, \
         i.authors, i.language, i.page_count, i.extraction, i.metadata, i.status, \
         (SELECT s.model FROM space s WHERE s.key = CASE \
          WHEN EXISTS (SELECT 1 FROM vector v WHERE v.item = i.key AND v.space = l.space) THEN l.space \
          ELSE (SELECT v.space FROM vector v WHERE v.item = i.key LIMIT 1) END), \
         CASE WHEN i.status = 0 THEN (SELECT count(*) FROM chunk h WHERE h.item = i.key) ELSE i.chunk_count END, \
         i.created_at, i.updated_at"
    };
}

/// One item, with the columns that [`item_row`] reads.
pub(super) const ITEM_BY_UID: &str = concat!(
    "SELECT ",
    item_columns!(),
    " FROM item i JOIN library l ON l.key = i.library WHERE i.uid = ?1"
);

/// The item whose columns begin at `first`.
pub(super) fn item_row(row: &SqliteRow, first: usize) -> StoreResult<Item> {
    let status = match get::<i64>(row, first + 17)? {
        STAGED => EmbeddingStatus::Processing,
        VISIBLE => EmbeddingStatus::Completed,
        EMPTY => EmbeddingStatus::Failed,
        other => {
            return Err(StoreError::Corrupt(format!(
                "an item has the unknown state {other}"
            )));
        }
    };
    Ok(Item {
        uid: ItemUid::from_store(get(row, first)?),
        library_uid: LibraryUid::from_store(get(row, first + 1)?),
        collection_uid: CollectionUid::from_store(get(row, first + 2)?),
        title: get(row, first + 3)?,
        source_ref: get(row, first + 4)?,
        content_hash: get(row, first + 5)?,
        revision: get(row, first + 6)?,
        filename: get(row, first + 7)?,
        content_type: get(row, first + 8)?,
        byte_size: get::<i64>(row, first + 9)?.unsigned_abs(),
        original_digest: get(row, first + 10)?,
        text_digest: get(row, first + 11)?,
        authors: parse_json(row, first + 12)?,
        language: get(row, first + 13)?,
        page_count: get(row, first + 14)?,
        extraction: get(row, first + 15)?,
        metadata: parse_json(row, first + 16)?,
        status,
        embedding_model: get(row, first + 18)?,
        chunk_count: get::<i64>(row, first + 19)?.unsigned_abs(),
        created_at: from_micros(get(row, first + 20)?)?,
        updated_at: from_micros(get(row, first + 21)?)?,
    })
}

pub(super) async fn item(database: &Database, uid: &ItemUid) -> StoreResult<Option<Item>> {
    let row = sqlx::query(ITEM_BY_UID)
        .bind(uid.as_str())
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| item_row(row, 0)).transpose()
}

/// The numbers by which the statement below knows an order. `up` and `down` are NULL for all rows where an order does not
/// use them, so that they decide nothing.
fn order_number(order: ItemOrder) -> i64 {
    match order {
        ItemOrder::NewestFirst => 0,
        ItemOrder::OldestFirst => 1,
        ItemOrder::TitleAscending => 2,
        ItemOrder::TitleDescending => 3,
        ItemOrder::FewestChunksFirst => 4,
        ItemOrder::MostChunksFirst => 5,
        ItemOrder::SmallestFirst => 6,
        ItemOrder::LargestFirst => 7,
    }
}

pub(super) async fn items(
    database: &Database,
    filter: &ItemFilter,
    page: PageRequest,
) -> StoreResult<Page<Item>> {
    let status = match filter.status {
        None | Some(EmbeddingStatus::Completed) => VISIBLE,
        Some(EmbeddingStatus::Processing) => STAGED,
        Some(EmbeddingStatus::Failed) => EMPTY,
    };
    let rows = Admitted::inside(filter.scope.as_ref())
        .library(filter.library_uid.as_ref())
        .collection(filter.collection_uid.as_ref())
        .query(concat!(
            "WITH listed AS (SELECT i.key, i.created_at, \
             CASE ?12 WHEN 1 THEN i.created_at WHEN 2 THEN i.names_lower WHEN 4 THEN i.chunk_count \
             WHEN 6 THEN i.byte_size END AS up, \
             CASE ?12 WHEN 3 THEN i.names_lower WHEN 5 THEN i.chunk_count WHEN 7 THEN i.byte_size END AS down \
             FROM item i JOIN library l ON l.key = i.library WHERE i.status = ?8 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " AND (?9 IS NULL OR instr(i.names_lower, ?9) > 0)) \
             SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN (SELECT ",
            item_columns!(),
            " FROM (SELECT key, up, down FROM listed \
             ORDER BY up, down DESC, created_at DESC, key DESC LIMIT ?10 + 0 OFFSET ?11 + 0) p \
             JOIN item i ON i.key = p.key JOIN library l ON l.key = i.library \
             ORDER BY p.up, p.down DESC, i.created_at DESC, i.key DESC) page"
        ))
        .bind(status)
        .bind(filter.title_contains.as_deref().map(str::to_lowercase))
        .bind(page.limit)
        .bind(super::offset(page))
        .bind(order_number(filter.order))
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    page_of(&rows, |row| item_row(row, 1))
}

macro_rules! chunk_columns {
    () => {
        "c.uid, i.uid, i.title, l.uid, c.position, c.text, c.heading_path, c.page, c.byte_start, c.byte_end, \
         i.content_type, \
         (SELECT o.uid FROM chunk o WHERE o.item = c.item AND o.position < c.position ORDER BY o.position DESC LIMIT 1), \
         (SELECT o.uid FROM chunk o WHERE o.item = c.item AND o.position > c.position ORDER BY o.position LIMIT 1)"
    };
}

/// The chunk whose columns begin at `first`.
fn chunk_row(row: &SqliteRow, first: usize) -> StoreResult<Chunk> {
    Ok(Chunk {
        uid: ChunkUid::from_store(get(row, first)?),
        item_uid: ItemUid::from_store(get(row, first + 1)?),
        item_title: get(row, first + 2)?,
        library_uid: LibraryUid::from_store(get(row, first + 3)?),
        position: get(row, first + 4)?,
        text: get(row, first + 5)?,
        heading_path: parse_json(row, first + 6)?,
        page: get(row, first + 7)?,
        byte_start: get::<i64>(row, first + 8)?.unsigned_abs(),
        byte_end: get::<i64>(row, first + 9)?.unsigned_abs(),
        page_kind: PlaceKind::of(&get::<String>(row, first + 10)?),
        previous: get::<Option<String>>(row, first + 11)?.map(ChunkUid::from_store),
        next: get::<Option<String>>(row, first + 12)?.map(ChunkUid::from_store),
    })
}

pub(super) async fn chunks(
    database: &Database,
    item: &ItemUid,
    page: PageRequest,
) -> StoreResult<Page<Chunk>> {
    let rows = sqlx::query(concat!(
        "WITH listed AS (SELECT c.key, c.position FROM item i JOIN chunk c ON c.item = i.key \
         WHERE i.uid = ?1 AND i.status = 1) \
         SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN (SELECT ",
        chunk_columns!(),
        " FROM (SELECT key FROM listed ORDER BY position LIMIT ?2 + 0 OFFSET ?3 + 0) p JOIN chunk c ON c.key = p.key \
         JOIN item i ON i.key = c.item JOIN library l ON l.key = i.library ORDER BY c.position) page"
    ))
    .bind(item.as_str())
    .bind(page.limit)
    .bind(super::offset(page))
    .fetch_all(&database.read)
    .await
    .map_err(store_error)?;
    page_of(&rows, |row| chunk_row(row, 1))
}

pub(super) async fn chunk(
    database: &Database,
    uid: &ChunkUid,
    scope: Option<&Scope>,
) -> StoreResult<Option<Chunk>> {
    let row = Admitted::inside(scope)
        .query(concat!(
            "SELECT ",
            chunk_columns!(),
            " FROM chunk c JOIN item i ON i.key = c.item JOIN library l ON l.key = i.library \
             WHERE c.uid = ?8 AND i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!()
        ))
        .bind(uid.as_str())
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| chunk_row(row, 0)).transpose()
}

pub(super) async fn chunks_without_vector(
    database: &Database,
    item: &ItemUid,
    space: &VectorSpace,
) -> StoreResult<Vec<NewChunk>> {
    let rows = sqlx::query(
        "SELECT c.uid, c.position, c.text, c.heading_path, c.page, c.byte_start, c.byte_end \
         FROM item i JOIN chunk c ON c.item = i.key WHERE i.uid = ?1 AND NOT EXISTS ( \
             SELECT 1 FROM vector v WHERE v.item = i.key AND v.chunk = c.key \
             AND v.space = (SELECT key FROM space WHERE model = ?2 AND dimension = ?3)) \
         ORDER BY c.position",
    )
    .bind(item.as_str())
    .bind(space.model.as_str())
    .bind(i64::try_from(space.dimension).unwrap_or(i64::MAX))
    .fetch_all(&database.read)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(NewChunk {
                uid: ChunkUid::from_store(get(row, 0)?),
                position: get(row, 1)?,
                text: get(row, 2)?,
                heading_path: parse_json(row, 3)?,
                page: get(row, 4)?,
                byte_start: get::<i64>(row, 5)?.unsigned_abs(),
                byte_end: get::<i64>(row, 6)?.unsigned_abs(),
            })
        })
        .collect()
}

pub(super) async fn chunk_hits(
    database: &Database,
    chunks: &[ChunkUid],
    filter: &SearchFilter,
) -> StoreResult<Vec<ChunkHit>> {
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let uids: Vec<&str> = chunks.iter().map(ChunkUid::as_str).collect();
    // All hits come as one value: a row costs more than what the statement does for it.
    let row = Admitted::by(filter)
        .query(concat!(
            "SELECT json_group_array(json_array(c.uid, i.uid, i.title, l.uid, l.library_type, c.text, \
             json(c.heading_path), c.page, i.content_type, c.position) ORDER BY j.key) \
             FROM json_each(?8) j CROSS JOIN chunk c ON c.uid = j.value CROSS JOIN item i ON i.key = c.item \
             CROSS JOIN library l ON l.key = i.library WHERE i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!()
        ))
        .bind(Value::from(uids).to_string())
        .fetch_one(&database.read)
        .await
        .map_err(store_error)?;
    type Hit = (
        String,
        String,
        String,
        String,
        String,
        String,
        Vec<String>,
        Option<u32>,
        String,
        u32,
    );
    let hits: Vec<Hit> = parse_json(&row, 0)?;
    hits.into_iter()
        .map(
            |(
                chunk,
                item,
                item_title,
                library,
                library_type,
                text,
                heading_path,
                page,
                content_type,
                position,
            )| {
                Ok(ChunkHit {
                    chunk_uid: ChunkUid::from_store(chunk),
                    item_uid: ItemUid::from_store(item),
                    item_title,
                    library_uid: LibraryUid::from_store(library),
                    library_type: LibraryType::parse(&library_type).ok_or_else(|| {
                        StoreError::Corrupt(format!("a library has the unknown type {library_type:?}"))
                    })?,
                    text,
                    heading_path,
                    page,
                    page_kind: PlaceKind::of(&content_type),
                    position,
                })
            },
        )
        .collect()
}

pub(super) async fn staged_before(database: &Database, moment: DateTime<Utc>) -> StoreResult<Vec<ItemUid>> {
    let rows =
        sqlx::query("SELECT uid FROM item WHERE status = 0 AND created_at < ?1 ORDER BY created_at, key")
            .bind(moment.timestamp_micros())
            .fetch_all(&database.read)
            .await
            .map_err(store_error)?;
    rows.iter()
        .map(|row| Ok(ItemUid::from_store(get(row, 0)?)))
        .collect()
}

/// Checks of [`report`]: each counts what does not fit, and says it in words.
const CHECKS: [(&str, &str); 10] = [
    (
        "chunks without an item",
        "SELECT count(*) FROM chunk c WHERE NOT EXISTS (SELECT 1 FROM item i WHERE i.key = c.item)",
    ),
    (
        "vectors without their chunk",
        "SELECT count(*) FROM vector v WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.key = v.chunk AND c.item = v.item)",
    ),
    (
        "mentions without their chunk",
        "SELECT count(*) FROM chunk_mentions m \
         WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.key = m.chunk AND c.item = m.item)",
    ),
    (
        "visible items with chunks that have no vector of their library's model",
        "SELECT count(*) FROM item i JOIN library l ON l.key = i.library WHERE i.status = 1 AND l.space IS NOT NULL \
         AND i.chunk_count > (SELECT count(*) FROM vector v WHERE v.item = i.key AND v.space = l.space)",
    ),
    (
        "items whose number of chunks is wrong",
        "SELECT count(*) FROM item i WHERE i.status = 1 \
         AND i.chunk_count <> (SELECT count(*) FROM chunk c WHERE c.item = i.key)",
    ),
    (
        "libraries whose numbers of items or chunks are wrong",
        "SELECT count(*) FROM library l WHERE l.item_count <> (SELECT count(*) FROM item i \
         WHERE i.library = l.key AND i.status = 1) OR l.chunk_count <> (SELECT coalesce(sum(i.chunk_count), 0) \
         FROM item i WHERE i.library = l.key AND i.status = 1)",
    ),
    (
        "collections whose number of items is wrong",
        "SELECT count(*) FROM collection c WHERE c.item_count <> (SELECT count(*) FROM item i \
         WHERE i.collection = c.key AND i.status = 1)",
    ),
    (
        "concepts that nothing mentions",
        "SELECT count(*) FROM concept c WHERE NOT EXISTS (SELECT 1 FROM item_references r WHERE r.concept = c.key) \
         AND c.key NOT IN (SELECT concept FROM orphan_candidate)",
    ),
    (
        "names of concepts in libraries that do not mention them",
        "SELECT count(*) FROM concept_term t WHERE NOT EXISTS (SELECT 1 FROM item_references r \
         WHERE r.concept = t.concept AND r.library = t.library) \
         AND t.concept NOT IN (SELECT concept FROM orphan_candidate)",
    ),
    (
        "concepts whose name cannot be searched",
        "SELECT abs((SELECT count(*) FROM concept) - (SELECT count(*) FROM concept_name_docsize))",
    ),
];

pub(super) async fn report(database: &Database) -> StoreResult<StoreReport> {
    let mut transaction = database.read.begin().await.map_err(store_error)?;
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM library), (SELECT count(*) FROM item WHERE status = 1), \
         (SELECT count(*) FROM item WHERE status = 0), (SELECT coalesce(sum(chunk_count), 0) FROM item WHERE status = 1), \
         (SELECT count(*) FROM concept)",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(store_error)?;
    let mut report = StoreReport {
        libraries: get::<i64>(&row, 0)?.unsigned_abs(),
        items: get::<i64>(&row, 1)?.unsigned_abs(),
        staged_items: get::<i64>(&row, 2)?.unsigned_abs(),
        chunks: get::<i64>(&row, 3)?.unsigned_abs(),
        concepts: get::<i64>(&row, 4)?.unsigned_abs(),
        ..StoreReport::default()
    };
    let spaces = sqlx::query(
        "SELECT s.model, s.dimension, n.vectors FROM (SELECT space, count(*) AS vectors FROM vector GROUP BY space) n \
         JOIN space s ON s.key = n.space ORDER BY s.model, s.dimension",
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(store_error)?;
    for space in &spaces {
        let (model, dimension): (&str, usize) = (get(space, 0)?, size(get(space, 1)?));
        let vectors = get::<i64>(space, 2)?.unsigned_abs();
        report.vectors.push((format!("{model} ({dimension})"), vectors));
    }
    for (words, sql) in CHECKS {
        let row = sqlx::query(sql)
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
        let count: i64 = get(&row, 0)?;
        if count != 0 {
            report.problems.push(format!("{count} {words}"));
        }
    }
    let rows = sqlx::query("PRAGMA quick_check(10)")
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
    for row in &rows {
        let line: String = row.try_get(0).map_err(store_error)?;
        if line != "ok" {
            report.problems.push(format!("the database file: {line}"));
        }
    }
    Ok(report)
}
