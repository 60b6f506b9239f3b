//! Reading items and chunks, and looking after the whole.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{ItemFilter, ItemOrder, StoreReport};
use mnemosyne_domain::{
    Chunk, ChunkHit, ChunkUid, CollectionUid, EmbeddingStatus, Item, ItemUid, LibraryUid, NewChunk, Page,
    PageRequest, PlaceKind, Scope, SearchFilter, StoreError, StoreResult, VectorSpace,
};
use neo4rs::Query;
use serde::Deserialize;

use super::database::{Database, cypher, number, texts};
use super::libraries::{Count, library_type, page_of};
use super::scope::{Admitted, item_admitted, library_admitted, visible_item};
use super::spaces::{self, Names};
use super::{from_micros, parse_json};

macro_rules! item_columns {
    () => {
        "i.uid AS uid, l.uid AS library_uid, o.uid AS collection_uid, i.title AS title, i.source_ref AS source_ref, \
         i.content_hash AS content_hash, i.revision AS revision, i.filename AS filename, \
         i.content_type AS content_type, i.byte_size AS byte_size, i.original_digest AS original_digest, \
         i.text_digest AS text_digest, i.authors AS authors, i.language AS language, i.page_count AS page_count, \
         i.extraction AS extraction, i.metadata AS metadata, i.embedding_status AS embedding_status, \
         i.embedding_model AS embedding_model, CASE i.embedding_status WHEN 'processing' \
         THEN COUNT { (i)-[:HAS_CHUNK]->() } ELSE i.chunk_count END AS chunk_count, \
         i.created_at AS created_at, i.updated_at AS updated_at"
    };
}

const ITEM_BY_UID: &str = concat!(
    "MATCH (i:Item {uid: $item})<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) WHERE i.gone IS NULL RETURN ",
    item_columns!()
);

/// The statement that reads one item.
pub(super) fn item_by_uid(uid: &ItemUid) -> Query {
    cypher(ITEM_BY_UID).param("item", uid.as_str())
}

/// The columns of an item.
#[derive(Deserialize)]
pub(super) struct ItemRow {
    uid: String,
    library_uid: String,
    collection_uid: String,
    title: String,
    source_ref: String,
    content_hash: String,
    revision: i64,
    filename: String,
    content_type: String,
    byte_size: i64,
    original_digest: String,
    text_digest: String,
    authors: Vec<String>,
    language: Option<String>,
    page_count: Option<i64>,
    extraction: String,
    metadata: String,
    embedding_status: String,
    embedding_model: Option<String>,
    chunk_count: i64,
    created_at: i64,
    updated_at: i64,
}

fn small(value: i64) -> StoreResult<u32> {
    u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("{value} is out of range")))
}

impl ItemRow {
    pub(super) fn item(self) -> StoreResult<Item> {
        let status = EmbeddingStatus::parse(&self.embedding_status).ok_or_else(|| {
            StoreError::Corrupt(format!(
                "an item has the unknown state {:?}",
                self.embedding_status
            ))
        })?;
        Ok(Item {
            uid: ItemUid::from_store(self.uid),
            library_uid: LibraryUid::from_store(self.library_uid),
            collection_uid: CollectionUid::from_store(self.collection_uid),
            title: self.title,
            source_ref: self.source_ref,
            content_hash: self.content_hash,
            revision: self.revision,
            filename: self.filename,
            content_type: self.content_type,
            byte_size: self.byte_size.unsigned_abs(),
            original_digest: self.original_digest,
            text_digest: self.text_digest,
            authors: self.authors,
            language: self.language,
            page_count: self.page_count.map(small).transpose()?,
            extraction: self.extraction,
            metadata: parse_json(&self.metadata)?,
            status,
            embedding_model: self.embedding_model,
            chunk_count: self.chunk_count.unsigned_abs(),
            created_at: from_micros(self.created_at)?,
            updated_at: from_micros(self.updated_at)?,
        })
    }
}

pub(super) async fn item(database: &Database, uid: &ItemUid) -> StoreResult<Option<Item>> {
    let row = database.read_one::<ItemRow>(item_by_uid(uid)).await?;
    row.map(ItemRow::item).transpose()
}

/// The numbers by which the statement below knows an order. `up` and `down` are null for all rows where an order does not
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

macro_rules! listed_items {
    () => {
        concat!(
            "MATCH (i:Item)<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
             WHERE i.embedding_status = $status AND i.gone IS NULL AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " AND ($title_contains IS NULL OR i.names_lower CONTAINS $title_contains) "
        )
    };
}

const COUNT_ITEMS: &str = concat!(listed_items!(), "RETURN count(i) AS count");
const LIST_ITEMS: &str = concat!(
    listed_items!(),
    "WITH i, o, l, CASE $order WHEN 1 THEN i.created_at WHEN 2 THEN i.names_lower WHEN 4 THEN i.chunk_count \
     WHEN 6 THEN i.byte_size END AS up, \
     CASE $order WHEN 3 THEN i.names_lower WHEN 5 THEN i.chunk_count WHEN 7 THEN i.byte_size END AS down \
     ORDER BY up, down DESC, i.created_at DESC, i.uid DESC SKIP $offset LIMIT $limit RETURN ",
    item_columns!()
);

pub(super) async fn items(
    database: &Database,
    filter: &ItemFilter,
    page: PageRequest,
) -> StoreResult<Page<Item>> {
    let admitted = Admitted::inside(filter.scope.as_ref())
        .library(filter.library_uid.as_ref())
        .collection(filter.collection_uid.as_ref());
    let title_contains = filter.title_contains.as_deref().map(str::to_lowercase);
    let status = filter.status.unwrap_or(EmbeddingStatus::Completed).as_str();
    let with_filter = |text| {
        admitted
            .query(text)
            .param("status", status)
            .param("title_contains", title_contains.as_deref())
    };
    page_of(
        database,
        with_filter(COUNT_ITEMS),
        with_filter(LIST_ITEMS)
            .param("order", order_number(filter.order))
            .param("offset", number(page.offset))
            .param("limit", number(page.limit)),
        ItemRow::item,
    )
    .await
}

macro_rules! chunk_columns {
    () => {
        "c.uid AS uid, i.uid AS item_uid, i.title AS item_title, l.uid AS library_uid, c.position AS position, \
         c.text AS text, c.heading_path AS heading_path, c.page AS page, c.byte_start AS byte_start, \
         c.byte_end AS byte_end, i.content_type AS content_type, before AS previous, after AS next"
    };
}

/// The columns of a chunk.
#[derive(Deserialize)]
struct ChunkRow {
    uid: String,
    item_uid: String,
    item_title: String,
    library_uid: String,
    position: i64,
    text: String,
    heading_path: Vec<String>,
    page: Option<i64>,
    byte_start: i64,
    byte_end: i64,
    content_type: String,
    previous: Option<String>,
    next: Option<String>,
}

impl ChunkRow {
    fn chunk(self) -> StoreResult<Chunk> {
        Ok(Chunk {
            uid: ChunkUid::from_store(self.uid),
            item_uid: ItemUid::from_store(self.item_uid),
            item_title: self.item_title,
            library_uid: LibraryUid::from_store(self.library_uid),
            position: small(self.position)?,
            text: self.text,
            heading_path: self.heading_path,
            page: self.page.map(small).transpose()?,
            page_kind: PlaceKind::of(&self.content_type),
            byte_start: self.byte_start.unsigned_abs(),
            byte_end: self.byte_end.unsigned_abs(),
            previous: self.previous.map(ChunkUid::from_store),
            next: self.next.map(ChunkUid::from_store),
        })
    }
}

const COUNT_CHUNKS: &str = "MATCH (i:Item {uid: $item, embedding_status: 'completed'}) \
                            RETURN COUNT { (i)-[:HAS_CHUNK]->() } AS count";
const LIST_CHUNKS: &str = concat!(
    "MATCH (i:Item {uid: $item, embedding_status: 'completed'})<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(l:Library) \
     MATCH (i)-[:HAS_CHUNK]->(c:Chunk) WITH i, l, c ORDER BY c.position WITH i, l, collect(c) AS listed \
     UNWIND range($offset, $offset + $limit - 1) AS place WITH i, l, listed, place WHERE place < size(listed) \
     WITH i, l, place, listed[place] AS c, CASE WHEN place > 0 THEN listed[place - 1].uid END AS before, \
     listed[place + 1].uid AS after RETURN ",
    chunk_columns!(),
    " ORDER BY place"
);

pub(super) async fn chunks(
    database: &Database,
    item: &ItemUid,
    page: PageRequest,
) -> StoreResult<Page<Chunk>> {
    // No item has so many chunks that this bound takes one away; the sum in the statement stays in range.
    let offset = number(page.offset).min(i64::from(u32::MAX));
    page_of(
        database,
        cypher(COUNT_CHUNKS).param("item", item.as_str()),
        cypher(LIST_CHUNKS)
            .param("item", item.as_str())
            .param("offset", offset)
            .param("limit", number(page.limit)),
        ChunkRow::chunk,
    )
    .await
}

const CHUNK_BY_UID: &str = concat!(
    "MATCH (c:Chunk {uid: $chunk})<-[:HAS_CHUNK]-",
    visible_item!(),
    " CALL (c, i) { OPTIONAL MATCH (i)-[:HAS_CHUNK]->(n:Chunk) WHERE n.position < c.position \
     RETURN n.uid AS before ORDER BY n.position DESC LIMIT 1 } \
     CALL (c, i) { OPTIONAL MATCH (i)-[:HAS_CHUNK]->(n:Chunk) WHERE n.position > c.position \
     RETURN n.uid AS after ORDER BY n.position LIMIT 1 } RETURN ",
    chunk_columns!()
);

pub(super) async fn chunk(
    database: &Database,
    uid: &ChunkUid,
    scope: Option<&Scope>,
) -> StoreResult<Option<Chunk>> {
    let query = Admitted::inside(scope)
        .query(CHUNK_BY_UID)
        .param("chunk", uid.as_str());
    let row = database.read_one::<ChunkRow>(query).await?;
    row.map(ChunkRow::chunk).transpose()
}

/// The columns of a chunk as it was written.
#[derive(Deserialize)]
struct NewChunkRow {
    uid: String,
    position: i64,
    text: String,
    heading_path: Vec<String>,
    page: Option<i64>,
    byte_start: i64,
    byte_end: i64,
}

const WITHOUT_VECTOR: &str = "MATCH (i:Item {uid: $item})-[:HAS_CHUNK]->(c:Chunk) \
    WHERE i.gone IS NULL AND ($property IS NULL OR c[$property] IS NULL) \
    RETURN c.uid AS uid, c.position AS position, c.text AS text, c.heading_path AS heading_path, c.page AS page, \
    c.byte_start AS byte_start, c.byte_end AS byte_end ORDER BY c.position";

/// `names` are those of the space, where anybody ever used it.
pub(super) async fn chunks_without_vector(
    database: &Database,
    item: &ItemUid,
    names: Option<Names>,
) -> StoreResult<Vec<NewChunk>> {
    let query = cypher(WITHOUT_VECTOR)
        .param("item", item.as_str())
        .param("property", names.map(|names| names.vector));
    let rows = database.read::<NewChunkRow>(query).await?;
    rows.into_iter()
        .map(|row| {
            Ok(NewChunk {
                uid: ChunkUid::from_store(row.uid),
                position: small(row.position)?,
                text: row.text,
                heading_path: row.heading_path,
                page: row.page.map(small).transpose()?,
                byte_start: row.byte_start.unsigned_abs(),
                byte_end: row.byte_end.unsigned_abs(),
            })
        })
        .collect()
}

/// The columns of a hit.
#[derive(Deserialize)]
struct HitRow {
    chunk_uid: String,
    item_uid: String,
    item_title: String,
    library_uid: String,
    library_type: String,
    text: String,
    heading_path: Vec<String>,
    page: Option<i64>,
    content_type: String,
    position: i64,
}

const CHUNK_HITS: &str = concat!(
    "UNWIND range(0, size($chunks) - 1) AS place MATCH (c:Chunk {uid: $chunks[place]})<-[:HAS_CHUNK]-",
    visible_item!(),
    " RETURN c.uid AS chunk_uid, i.uid AS item_uid, i.title AS item_title, l.uid AS library_uid, \
     l.library_type AS library_type, c.text AS text, c.heading_path AS heading_path, c.page AS page, \
     i.content_type AS content_type, c.position AS position ORDER BY place"
);

pub(super) async fn chunk_hits(
    database: &Database,
    chunks: &[ChunkUid],
    filter: &SearchFilter,
) -> StoreResult<Vec<ChunkHit>> {
    if chunks.is_empty() {
        return Ok(Vec::new());
    }
    let query = Admitted::by(filter)
        .query(CHUNK_HITS)
        .param("chunks", texts(chunks.iter().map(ChunkUid::as_str)));
    let rows = database.read::<HitRow>(query).await?;
    rows.into_iter()
        .map(|row| {
            Ok(ChunkHit {
                chunk_uid: ChunkUid::from_store(row.chunk_uid),
                item_uid: ItemUid::from_store(row.item_uid),
                item_title: row.item_title,
                library_uid: LibraryUid::from_store(row.library_uid),
                library_type: library_type(&row.library_type)?,
                text: row.text,
                heading_path: row.heading_path,
                page: row.page.map(small).transpose()?,
                page_kind: PlaceKind::of(&row.content_type),
                position: small(row.position)?,
            })
        })
        .collect()
}

#[derive(Deserialize)]
struct Uid {
    uid: String,
}

/// Items that are gone and not yet removed in all their parts are among them: whoever deletes one of these again removes
/// the rest.
const STAGED_BEFORE: &str = "MATCH (i:Item) WHERE i.embedding_status = 'processing' AND i.created_at < $moment \
                             RETURN i.uid AS uid ORDER BY i.created_at, i.uid";

pub(super) async fn staged_before(database: &Database, moment: DateTime<Utc>) -> StoreResult<Vec<ItemUid>> {
    let query = cypher(STAGED_BEFORE).param("moment", moment.timestamp_micros());
    let rows = database.read::<Uid>(query).await?;
    Ok(rows.into_iter().map(|row| ItemUid::from_store(row.uid)).collect())
}

/// Checks of [`report`]: each counts what does not fit, and says it in words.
const CHECKS: [(&str, &str); 10] = [
    (
        "chunks without an item",
        "MATCH (c:Chunk) WHERE NOT EXISTS { (c)<-[:HAS_CHUNK]-(:Item) } RETURN count(c) AS count",
    ),
    (
        "items without a library",
        "MATCH (i:Item) WHERE i.gone IS NULL \
         AND NOT EXISTS { (i)<-[:CONTAINS]-(:Collection)<-[:CONTAINS]-(:Library) } RETURN count(i) AS count",
    ),
    (
        "items that were removed and have parts left; the next upkeep removes them",
        "MATCH (i:Item) WHERE i.gone IS NOT NULL RETURN count(i) AS count",
    ),
    (
        "visible items with chunks that have no vector of their library's model",
        "MATCH (l:Library)-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item)-[:HAS_CHUNK]->(c:Chunk) \
         WHERE l.vector_property IS NOT NULL AND i.embedding_status = 'completed' AND c[l.vector_property] IS NULL \
         RETURN count(DISTINCT i) AS count",
    ),
    (
        "items whose number of chunks is wrong",
        "MATCH (i:Item) WHERE i.embedding_status = 'completed' \
         AND i.chunk_count <> COUNT { (i)-[:HAS_CHUNK]->() } RETURN count(i) AS count",
    ),
    (
        "libraries whose numbers of items or chunks are wrong",
        "MATCH (l:Library) CALL (l) { OPTIONAL MATCH (l)-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item) \
         WHERE i.embedding_status = 'completed' RETURN count(i) AS items, coalesce(sum(i.chunk_count), 0) AS chunks } \
         WITH l, items, chunks WHERE l.item_count <> items OR l.chunk_count <> chunks RETURN count(l) AS count",
    ),
    (
        "collections whose numbers of items or chunks are wrong",
        "MATCH (o:Collection) CALL (o) { OPTIONAL MATCH (o)-[:CONTAINS]->(i:Item) \
         WHERE i.embedding_status = 'completed' RETURN count(i) AS items, coalesce(sum(i.chunk_count), 0) AS chunks } \
         WITH o, items, chunks WHERE o.item_count <> items OR o.chunk_count <> chunks RETURN count(o) AS count",
    ),
    (
        "concepts that nothing mentions",
        "MATCH (c:Concept) WHERE NOT c:MnemosyneOrphan AND NOT EXISTS { (c)<-[:REFERENCES]-(:Item) } \
         RETURN count(c) AS count",
    ),
    (
        "references whose mentions are not there",
        "MATCH (i:Item)-[r:REFERENCES]->(c:Concept) WHERE i.gone IS NULL AND size(r.positions) <> \
         COUNT { (i)-[:HAS_CHUNK]->(:Chunk)-[:MENTIONS]->(c) } RETURN count(r) AS count",
    ),
    (
        "relations between concepts without their item",
        "MATCH ()-[e:RELATED_TO]->() WHERE NOT EXISTS { MATCH (:Item {uid: e.item_uid}) } RETURN count(e) AS count",
    ),
];

/// What is counted for the report.
#[derive(Deserialize)]
struct Totals {
    libraries: i64,
    items: i64,
    staged: i64,
    chunks: i64,
    concepts: i64,
}

const TOTALS: &str = "CALL () { MATCH (l:Library) RETURN count(l) AS libraries } \
    CALL () { MATCH (i:Item {embedding_status: 'completed'}) \
        RETURN count(i) AS items, coalesce(sum(i.chunk_count), 0) AS chunks } \
    CALL () { MATCH (i:Item {embedding_status: 'processing'}) WHERE i.gone IS NULL RETURN count(i) AS staged } \
    CALL () { MATCH (c:Concept) RETURN count(c) AS concepts } \
    RETURN libraries, items, staged, chunks, concepts";
const VECTORS_OF: &str = "MATCH (c:Chunk) WHERE c[$property] IS NOT NULL RETURN count(c) AS count";

pub(super) async fn report(database: &Database) -> StoreResult<StoreReport> {
    let totals = database
        .read_one::<Totals>(cypher(TOTALS))
        .await?
        .ok_or_else(|| StoreError::Corrupt("a statement that counts answered nothing".to_owned()))?;
    let mut report = StoreReport {
        libraries: totals.libraries.unsigned_abs(),
        items: totals.items.unsigned_abs(),
        staged_items: totals.staged.unsigned_abs(),
        chunks: totals.chunks.unsigned_abs(),
        concepts: totals.concepts.unsigned_abs(),
        ..StoreReport::default()
    };
    let mut spaces: Vec<(VectorSpace, i64)> = spaces::registered(database).await?.into_iter().collect();
    spaces.sort();
    for (space, space_number) in spaces {
        let query = cypher(VECTORS_OF).param("property", spaces::property_name(space_number));
        let vectors = database.read_one::<Count>(query).await?;
        let vectors = vectors.map_or(0, |row| row.count.unsigned_abs());
        if vectors > 0 {
            let name = format!("{} ({})", space.model, space.dimension);
            report.vectors.push((name, vectors));
        }
    }
    for (words, text) in CHECKS {
        let found = database.read_one::<Count>(cypher(text)).await?;
        let count = found.map_or(0, |row| row.count);
        if count != 0 {
            report.problems.push(format!("{count} {words}"));
        }
    }
    Ok(report)
}
