//! The knowledge store on a Neo4j server: 5.26 LTS or later, one database, over Bolt.
//!
//! - Nodes and edges are those of the deployment: `(Library)-[:CONTAINS]->(Collection)-[:CONTAINS]->(Item)-[:HAS_CHUNK]->
//!   (Chunk)`, `(Chunk)-[:MENTIONS]->(Concept)`, `(Item)-[:REFERENCES]->(Concept)`, `(Concept)-[:RELATED_TO]->(Concept)`.
//!   Nodes of our own are named `Mnemosyne…`: the version, the spaces of vectors, and why items are gone.
//! - An item is visible where its `embedding_status` is `completed`. Each change of what is visible is one transaction
//!   that holds the lock on its library.
//! - Every statement is a constant, with one exception: those that make and ask the index of a space of vectors, whose
//!   names follow from a number.
//! - Transactions are tried again where the server asks for it; a server that cannot be reached is
//!   [`StoreError::Unavailable`] at once, and the next call finds it again.

mod concepts;
mod database;
mod errors;
mod items;
mod legs;
mod libraries;
mod lucene;
mod reads;
mod removal;
mod schema;
mod scope;
mod spaces;
mod url;
mod vectors;

use std::time::Duration;

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

use self::database::Database;
use self::spaces::Spaces;
pub use self::url::{BoltAddress, BoltUrlError, parse_bolt_url};

/// How many connections a process holds at the most, where nothing else is asked for.
const MAX_CONNECTIONS: usize = 16;
/// How long a message may take, where nothing else is asked for.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(30);

/// How a store is reached.
#[derive(Clone, Debug)]
pub struct Neo4jSettings {
    /// The server, the database, and who logs in.
    pub address: BoltAddress,
    /// The space of the system's embedding model, where one is registered: its vectors are in `Chunk.embedding` and
    /// `chunk_embedding_index`. Where none is, the first model in use takes that place.
    pub system_space: Option<VectorSpace>,
    /// How many connections this process holds at the most. A read takes one, a transaction too.
    pub max_connections: usize,
    /// How long a connection may take to be made, and one message to be taken or to come.
    pub message_patience: Duration,
}

impl Neo4jSettings {
    /// The settings of a Bolt URL (`NEOMODEL_NEO4J_BOLT_URL`).
    pub fn from_url(url: &str) -> Result<Self, BoltUrlError> {
        Ok(Self {
            address: parse_bolt_url(url)?,
            system_space: None,
            max_connections: MAX_CONNECTIONS,
            message_patience: MESSAGE_PATIENCE,
        })
    }
}

/// The knowledge store of one database of a Neo4j server.
#[derive(Debug)]
pub struct Neo4jStore {
    database: Database,
    spaces: Spaces,
    system_space: Option<VectorSpace>,
}

impl Neo4jStore {
    /// Makes a store without asking the server for anything: a server that is away is reported by each call, and found
    /// again by the first one after it is back. Fails only where the settings themselves are unusable.
    pub fn connect_lazy(settings: Neo4jSettings) -> StoreResult<Self> {
        Ok(Self {
            database: Database::new(&settings)?,
            spaces: Spaces::default(),
            system_space: settings.system_space,
        })
    }

    /// Makes constraints and indexes where they are missing, and waits until they can be used. May be repeated, and run by
    /// several processes at once.
    ///
    /// [`StoreError::Schema`] where a newer program wrote the graph, and where `chunk_embedding_index` holds vectors of
    /// another length than the system's model makes.
    pub async fn setup(&self) -> StoreResult<()> {
        schema::setup(&self.database, self.system_space.as_ref()).await
    }

    /// The names of a space in the graph, made where it is new.
    async fn names(&self, space: &VectorSpace) -> StoreResult<spaces::Names> {
        self.spaces
            .find_or_make(&self.database, space, self.system_space.as_ref())
            .await
    }

    /// The transaction of [`KnowledgeStore::publish_item`] alone, without the clearing up after it: what a process leaves
    /// that is killed in between.
    #[doc(hidden)]
    pub async fn publish_and_stop(
        &self,
        item: &ItemUid,
        chunks: u64,
        now: DateTime<Utc>,
    ) -> StoreResult<PublishOutcome> {
        let (outcome, _left) = items::hide_and_show(&self.database, item, chunks, now).await?;
        Ok(outcome)
    }
}

/// Runs work that computes for long beside the executor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> StoreResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Corrupt(format!("a task of the knowledge store broke down: {error}")))
}

/// A moment from the graph, in microseconds since 1970.
fn from_micros(micros: i64) -> StoreResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::Corrupt(format!("{micros} is no moment in time")))
}

/// A value as a JSON text for the graph.
fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt(format!("a value has no JSON text: {error}")))
}

/// A value from a property that holds a JSON text.
fn parse_json<T: serde::de::DeserializeOwned>(text: &str) -> StoreResult<T> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("a JSON text of the knowledge graph: {error}")))
}

#[async_trait::async_trait]
impl Health for Neo4jStore {
    async fn check(&self) -> StoreResult<()> {
        schema::check(&self.database).await
    }
}

#[async_trait::async_trait]
impl KnowledgeStore for Neo4jStore {
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

    async fn library_totals(&self, filter: &LibraryFilter) -> StoreResult<LibraryTotals> {
        libraries::library_totals(&self.database, filter).await
    }

    async fn libraries(&self, filter: &LibraryFilter, page: PageRequest) -> StoreResult<Page<Library>> {
        libraries::libraries(&self.database, filter, page).await
    }

    async fn update_library(&self, uid: &LibraryUid, update: LibraryUpdate) -> StoreResult<Library> {
        libraries::update_library(&self.database, uid, update).await
    }

    async fn adopt_model(&self, uid: &LibraryUid, space: &VectorSpace) -> StoreResult<VectorSpace> {
        if let Some(model) = libraries::model_of(&self.database, uid).await? {
            return Ok(model);
        }
        let names = self.names(space).await?;
        libraries::adopt_model(&self.database, uid, space, names).await
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
        if vectors.is_empty() {
            return Ok(());
        }
        items::check_vectors(space, vectors)?;
        let names = self.names(space).await?;
        items::put_vectors(&self.database, space, names, vectors).await
    }

    async fn chunks_without_vector(&self, item: &ItemUid, space: &VectorSpace) -> StoreResult<Vec<NewChunk>> {
        let names = self.spaces.find(&self.database, space).await?;
        reads::chunks_without_vector(&self.database, item, names).await
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

    async fn delete_staged_item(&self, item: &ItemUid) -> StoreResult<bool> {
        items::delete_staged_item(&self.database, item).await
    }

    async fn delete_item(&self, item: &ItemUid) -> StoreResult<Option<Removed>> {
        removal::delete_item(&self.database, item).await
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
        let names = self.names(space).await?;
        libraries::switch_model(&self.database, library, space, names).await
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
        let names = self.spaces.find(&self.database, query.space).await?;
        vectors::vector_leg(&self.database, &self.spaces, names, query, filter, limit).await
    }

    async fn fulltext_leg(
        &self,
        text: &str,
        filter: &SearchFilter,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>> {
        legs::fulltext_leg(&self.database, text, filter, limit).await
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
        reads::report(&self.database).await
    }

    async fn staged_before(&self, moment: DateTime<Utc>) -> StoreResult<Vec<ItemUid>> {
        removal::forget_gone(&self.database).await?;
        reads::staged_before(&self.database, moment).await
    }
}
