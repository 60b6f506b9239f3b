//! The embedded knowledge store: one SQLite file for everything, a matrix of vector codes in memory, and a text index
//! that is derived from the file.
//!
//! - `knowledge.db` is the truth: graph, texts and vectors, each change one transaction.
//! - `knowledge.text/` is a full-text index beside it. It carries the number of the last change that it knows; what is
//!   missing is added before a search, and whatever does not fit the store is thrown away and built anew. Every hit is
//!   looked up in the store before it is given out.
//! - Vectors are scanned exactly: 8-bit codes in memory, then the vectors of the best rows from the file.
//!
//! Several processes may have the same folder open. Each asks the file for the number of the last change at the
//! beginning of each search, and reads what is newer than what it knows.

mod concepts;
mod items;
mod legs;
mod libraries;
mod reads;
mod schema;
mod scope;
mod text;
mod vectors;

use std::path::Path;

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{
    ChunkVector, ConceptFilter, Health, ItemFilter, KnowledgeStore, LibraryFilter, LibraryTotals,
    LibraryUpdate, PublishOutcome, Removed, StoreReport, VectorQuery,
};
use mnemosyne_domain::{
    Chunk, ChunkHit, ChunkUid, Collection, CollectionUid, Concept, ConceptMention, ConceptUid, Item, ItemUid,
    LegHit, Library, LibraryUid, NewChunk, NewItem, NewLibrary, Page, PageRequest, Scope, SearchFilter,
    StoreError, StoreResult, VectorSpace, WorkspaceId,
};
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;

use self::schema::{Database, store_error};
use self::scope::get;
use self::text::TextIndex;
use self::vectors::Vectors;

/// The database file inside the folder.
const DATABASE_FILE: &str = "knowledge.db";

/// Held while the schema is brought up to date.
const DATABASE_LOCK: &str = "knowledge.lock";

/// The knowledge store of one folder.
#[derive(Debug)]
pub struct EmbeddedStore {
    database: Database,
    vectors: Vectors,
    text: TextIndex,
}

impl EmbeddedStore {
    /// Opens the store of a folder, which is made where it is missing, and brings its schema up to date.
    /// [`StoreError::Schema`] where a newer program wrote it.
    ///
    /// Reads no vector and no text index: that happens at the first search, or by [`EmbeddedStore::warm`].
    pub async fn open(folder: &Path) -> StoreResult<Self> {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(schema::io_error)?;
        let database = Database::open(&folder.join(DATABASE_FILE), &folder.join(DATABASE_LOCK)).await?;
        // What a process that was killed between two transactions left to do.
        concepts::remove_orphans(&database).await?;
        items::forget_gone(&database).await?;
        Ok(Self {
            database,
            vectors: Vectors::default(),
            text: TextIndex::new(folder),
        })
    }

    /// Ends all connections, so that the last process to do so leaves a single database file without a log beside it.
    /// Nothing is lost where this is not called. Every later call answers [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Does now what the next search would have to do first: reads the vectors into memory and brings the text index
    /// up to date. Worth calling in the background after the start, and now and then while items come in; where
    /// nothing is new it costs one small query.
    pub async fn warm(&self) -> StoreResult<()> {
        self.vectors.warm(&self.database).await?;
        let row = sqlx::query("SELECT max(sequence) FROM change")
            .fetch_one(&self.database.read)
            .await
            .map_err(store_error)?;
        self.text.catch_up(&self.database, get(&row, 0)?).await
    }
}

/// A moment from the database.
fn from_micros(micros: i64) -> StoreResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::Corrupt(format!("{micros} is no moment in time")))
}

/// A value as a JSON text for the database.
fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt(format!("a value has no JSON text: {error}")))
}

/// A value from a column that holds a JSON text.
fn parse_json<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: usize) -> StoreResult<T> {
    serde_json::from_str(get::<&str>(row, column)?)
        .map_err(|error| StoreError::Corrupt(format!("a JSON text of the knowledge database: {error}")))
}

/// A size from the database, where it is never negative.
fn size(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// The offset of a page for the database.
fn offset(page: PageRequest) -> i64 {
    i64::try_from(page.offset).unwrap_or(i64::MAX)
}

#[async_trait::async_trait]
impl Health for EmbeddedStore {
    async fn check(&self) -> StoreResult<()> {
        sqlx::query("SELECT max(sequence) FROM change")
            .fetch_one(&self.database.read)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl KnowledgeStore for EmbeddedStore {
    async fn create_library(&self, library: NewLibrary, now: DateTime<Utc>) -> StoreResult<Library> {
        libraries::create_library(&self.database, library, now).await
    }

    async fn library(&self, uid: &LibraryUid) -> StoreResult<Option<Library>> {
        libraries::library(&self.database, uid).await
    }

    async fn library_of_workspace(&self, workspace: &WorkspaceId) -> StoreResult<Option<Library>> {
        libraries::library_of_workspace(&self.database, workspace).await
    }

    async fn library_by_name(&self, name: &str) -> StoreResult<Option<Library>> {
        libraries::library_by_name(&self.database, name).await
    }

    async fn libraries(&self, filter: &LibraryFilter, page: PageRequest) -> StoreResult<Page<Library>> {
        libraries::libraries(&self.database, filter, page).await
    }

    async fn library_totals(&self, filter: &LibraryFilter) -> StoreResult<LibraryTotals> {
        libraries::library_totals(&self.database, filter).await
    }

    async fn update_library(&self, uid: &LibraryUid, update: LibraryUpdate) -> StoreResult<Library> {
        libraries::update_library(&self.database, uid, update).await
    }

    async fn adopt_model(&self, uid: &LibraryUid, space: &VectorSpace) -> StoreResult<VectorSpace> {
        libraries::adopt_model(&self.database, uid, space).await
    }

    async fn delete_library(&self, uid: &LibraryUid) -> StoreResult<Option<Removed>> {
        libraries::delete_library(&self.database, uid).await
    }

    async fn default_collection(&self, library: &LibraryUid) -> StoreResult<Collection> {
        libraries::default_collection(&self.database, library).await
    }

    async fn create_collection(
        &self,
        library: &LibraryUid,
        name: &str,
        description: &str,
        now: DateTime<Utc>,
    ) -> StoreResult<Collection> {
        libraries::create_collection(&self.database, library, name, description, now).await
    }

    async fn collection(&self, uid: &CollectionUid) -> StoreResult<Option<Collection>> {
        libraries::collection(&self.database, uid).await
    }

    async fn collections(
        &self,
        scope: Option<&Scope>,
        library: Option<&LibraryUid>,
        page: PageRequest,
    ) -> StoreResult<Page<Collection>> {
        libraries::collections(&self.database, scope, library, page).await
    }

    async fn update_collection(
        &self,
        uid: &CollectionUid,
        name: Option<&str>,
        description: Option<&str>,
    ) -> StoreResult<Collection> {
        libraries::update_collection(&self.database, uid, name, description).await
    }

    async fn delete_collection(&self, uid: &CollectionUid) -> StoreResult<Option<Removed>> {
        libraries::delete_collection(&self.database, uid).await
    }

    async fn stage_item(&self, item: NewItem) -> StoreResult<()> {
        items::stage_item(&self.database, item).await
    }

    async fn stage_chunks(&self, item: &ItemUid, chunks: &[NewChunk]) -> StoreResult<()> {
        items::stage_chunks(&self.database, item, chunks).await
    }

    async fn put_vectors(&self, space: &VectorSpace, vectors: &[ChunkVector]) -> StoreResult<()> {
        items::put_vectors(&self.database, space, vectors).await
    }

    async fn chunks_without_vector(&self, item: &ItemUid, space: &VectorSpace) -> StoreResult<Vec<NewChunk>> {
        reads::chunks_without_vector(&self.database, item, space).await
    }

    async fn stage_concepts(&self, item: &ItemUid, concepts: &[ConceptMention]) -> StoreResult<()> {
        concepts::stage_concepts(&self.database, item, concepts).await
    }

    async fn publish_item(
        &self,
        item: &ItemUid,
        chunks: u64,
        now: DateTime<Utc>,
    ) -> StoreResult<PublishOutcome> {
        items::publish_item(&self.database, item, chunks, now).await
    }

    async fn delete_item(&self, item: &ItemUid) -> StoreResult<Option<Removed>> {
        items::delete_item(&self.database, item).await
    }

    async fn delete_staged_item(&self, item: &ItemUid) -> StoreResult<bool> {
        items::delete_staged_item(&self.database, item).await
    }

    async fn update_item(
        &self,
        item: &ItemUid,
        title: Option<&str>,
        metadata: Option<&Map<String, Value>>,
        collection: Option<&CollectionUid>,
        now: DateTime<Utc>,
    ) -> StoreResult<Item> {
        items::update_item(&self.database, item, title, metadata, collection, now).await
    }

    async fn switch_model(&self, library: &LibraryUid, space: &VectorSpace) -> StoreResult<()> {
        libraries::switch_model(&self.database, library, space).await
    }

    async fn item(&self, uid: &ItemUid) -> StoreResult<Option<Item>> {
        reads::item(&self.database, uid).await
    }

    async fn items(&self, filter: &ItemFilter, page: PageRequest) -> StoreResult<Page<Item>> {
        reads::items(&self.database, filter, page).await
    }

    async fn chunks(&self, item: &ItemUid, page: PageRequest) -> StoreResult<Page<Chunk>> {
        reads::chunks(&self.database, item, page).await
    }

    async fn chunk(&self, uid: &ChunkUid, scope: Option<&Scope>) -> StoreResult<Option<Chunk>> {
        reads::chunk(&self.database, uid, scope).await
    }

    async fn concepts(&self, filter: &ConceptFilter, page: PageRequest) -> StoreResult<Page<Concept>> {
        concepts::concepts(&self.database, filter, page).await
    }

    async fn related_concepts(
        &self,
        uid: &ConceptUid,
        scope: Option<&Scope>,
        limit: u32,
    ) -> StoreResult<Vec<(Concept, f32)>> {
        concepts::related_concepts(&self.database, uid, scope, limit).await
    }

    async fn chunks_of_concept(
        &self,
        uid: &ConceptUid,
        scope: Option<&Scope>,
        page: PageRequest,
    ) -> StoreResult<Page<ChunkUid>> {
        concepts::chunks_of_concept(&self.database, uid, scope, page).await
    }

    async fn spaces(&self, filter: &SearchFilter) -> StoreResult<Vec<VectorSpace>> {
        legs::spaces(&self.database, filter).await
    }

    async fn vector_leg(
        &self,
        query: VectorQuery<'_>,
        filter: &SearchFilter,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>> {
        vectors::vector_leg(&self.database, &self.vectors, query, filter, limit).await
    }

    async fn fulltext_leg(
        &self,
        text: &str,
        filter: &SearchFilter,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>> {
        legs::fulltext_leg(&self.database, &self.text, text, filter, limit).await
    }

    async fn graph_leg(
        &self,
        text: &str,
        filter: &SearchFilter,
        depth: u32,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>> {
        legs::graph_leg(&self.database, text, filter, depth, limit).await
    }

    async fn chunk_hits(&self, chunks: &[ChunkUid], filter: &SearchFilter) -> StoreResult<Vec<ChunkHit>> {
        reads::chunk_hits(&self.database, chunks, filter).await
    }

    async fn report(&self) -> StoreResult<StoreReport> {
        let mut report = reads::report(&self.database).await?;
        self.warm().await?;
        report.problems.extend(self.text.problems(&self.database).await?);
        Ok(report)
    }

    async fn staged_before(&self, moment: DateTime<Utc>) -> StoreResult<Vec<ItemUid>> {
        reads::staged_before(&self.database, moment).await
    }
}
