use chrono::{DateTime, Utc};

use crate::concept::{Concept, ConceptMention};
use crate::error::StoreResult;
use crate::id::{ChunkUid, CollectionUid, ConceptUid, ItemUid, LibraryUid, WorkspaceId};
use crate::item::{Chunk, Collection, EmbeddingStatus, Item, NewChunk, NewItem};
use crate::library::{Library, LibraryType, NewLibrary, ProfileOverrides};
use crate::model::VectorSpace;
use crate::page::{Page, PageRequest};
use crate::search::{ChunkHit, LegHit, Scope, SearchFilter};

/// Which libraries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryFilter {
    /// What the caller may see; `None` for everything (administration).
    pub scope: Option<Scope>,
    /// Only libraries that belong to a workspace.
    pub only_workspaces: bool,
    /// Only libraries of this type.
    pub library_type: Option<LibraryType>,
    /// Only libraries whose name contains this text, whatever its case.
    pub name_contains: Option<String>,
    /// In which order.
    pub order: LibraryOrder,
}

/// The orders of a list of libraries. Libraries that are equal in it come by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LibraryOrder {
    /// By name, A first.
    #[default]
    ByName,
    /// The newest first.
    NewestFirst,
    /// Those with the most visible items first.
    MostItemsFirst,
    /// Those with the most chunks first.
    MostChunksFirst,
}

/// What some libraries hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LibraryTotals {
    /// Libraries.
    pub libraries: u64,
    /// Their visible items.
    pub items: u64,
    /// The chunks of those.
    pub chunks: u64,
}

/// What may change about a library. `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryUpdate {
    /// A new name; `Conflict("name")` where it is taken.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// New overrides.
    pub overrides: Option<ProfileOverrides>,
}

/// Which items are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// What the caller may see; `None` for everything (administration).
    pub scope: Option<Scope>,
    /// Only items of this library.
    pub library_uid: Option<LibraryUid>,
    /// Only items of this collection.
    pub collection_uid: Option<CollectionUid>,
    /// Only items in this state; `None`: completed ones.
    pub status: Option<EmbeddingStatus>,
    /// Only items whose title or file name contains this text, whatever its case.
    pub title_contains: Option<String>,
    /// In which order.
    pub order: ItemOrder,
}

/// The orders of a list of items. Items that are equal in it come newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemOrder {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
    /// By title, A first, whatever its case.
    TitleAscending,
    /// By title, Z first, whatever its case.
    TitleDescending,
    /// The fewest chunks first.
    FewestChunksFirst,
    /// The most chunks first.
    MostChunksFirst,
    /// The smallest original first.
    SmallestFirst,
    /// The largest original first.
    LargestFirst,
}

/// Which concepts are wanted, most mentioned first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConceptFilter {
    /// What the caller may see; `None` for everything (administration).
    pub scope: Option<Scope>,
    /// Only concepts of this library.
    pub library_uid: Option<LibraryUid>,
    /// Only concepts that this item mentions.
    pub item_uid: Option<ItemUid>,
    /// Only concepts whose name contains this text, whatever its case.
    pub name_contains: Option<String>,
}

/// A vector of one chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkVector {
    /// The chunk.
    pub chunk_uid: ChunkUid,
    /// The vector, of length 1 and of the space's dimension.
    pub vector: Vec<f32>,
}

/// A question to the vector leg.
#[derive(Clone, Debug)]
pub struct VectorQuery<'a> {
    /// The space of the query's vector: only chunks whose library uses this space are compared.
    pub space: &'a VectorSpace,
    /// The query's vector, of length 1.
    pub vector: &'a [f32],
}

/// What became of an item that was to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is visible; these items of the same source are gone (their blobs are to be released).
    Published {
        /// The items whose place it took.
        superseded: Vec<ItemUid>,
    },
    /// A later revision of the source is visible already; the item was discarded.
    Superseded,
    /// The library is gone; the item was discarded.
    LibraryGone,
}

/// What a deletion removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Items, with those that were not visible; their blobs are to be released.
    pub items: Vec<ItemUid>,
    /// Chunks.
    pub chunks: u64,
    /// Concepts that nobody mentions any more.
    pub concepts: u64,
}

/// What the store holds, for people and for checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Libraries.
    pub libraries: u64,
    /// Visible items.
    pub items: u64,
    /// Items that are written and not (yet) visible.
    pub staged_items: u64,
    /// Chunks of visible items.
    pub chunks: u64,
    /// Vectors by space, as `model (dimension)`.
    pub vectors: Vec<(String, u64)>,
    /// Concepts.
    pub concepts: u64,
    /// What does not fit together, in words; empty where all is well.
    pub problems: Vec<String>,
}

/// The knowledge graph with its text and vector indexes.
///
/// - An item is written in parts and becomes visible by [`KnowledgeStore::publish_item`] alone, in one step, to every
///   read of every process that starts afterwards. Parts of an unpublished item are seen by no read but those that
///   say so.
/// - Every read applies the scope it is given inside its own query. What is outside the scope does not exist.
/// - Writing the same part twice leaves it once: a resumed run may repeat its last step.
#[async_trait::async_trait]
pub trait KnowledgeStore: super::Health {
    // -- libraries and collections ------------------------------------------------------------------------------

    /// Makes a library with its default collection. `Conflict("name")` or `Conflict("workspace_id")` where taken.
    async fn create_library(&self, library: NewLibrary, now: DateTime<Utc>) -> StoreResult<Library>;
    /// The library of this uid, whatever its workspace; the caller applies the scope with [`Scope::admits`].
    async fn library(&self, uid: &LibraryUid) -> StoreResult<Option<Library>>;
    /// The library of a workspace.
    async fn library_of_workspace(&self, workspace: &WorkspaceId) -> StoreResult<Option<Library>>;
    /// The library of this name, whatever its workspace.
    async fn library_by_name(&self, name: &str) -> StoreResult<Option<Library>>;
    /// Libraries in the order of the filter.
    async fn libraries(&self, filter: &LibraryFilter, page: PageRequest) -> StoreResult<Page<Library>>;
    /// What the libraries inside a filter hold together. A store that can add up by itself should.
    async fn library_totals(&self, filter: &LibraryFilter) -> StoreResult<LibraryTotals> {
        let mut totals = LibraryTotals::default();
        let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
        loop {
            let found = self.libraries(filter, page).await?;
            for library in &found.rows {
                totals.libraries += 1;
                totals.items += library.item_count;
                totals.chunks += library.chunk_count;
            }
            page.offset += found.rows.len() as u64;
            if found.rows.is_empty() || page.offset >= found.total {
                return Ok(totals);
            }
        }
    }
    /// Changes a library.
    async fn update_library(&self, uid: &LibraryUid, update: LibraryUpdate) -> StoreResult<Library>;
    /// Notes the space of a library's vectors if it has none yet; returns the model it has afterwards.
    async fn adopt_model(&self, uid: &LibraryUid, space: &VectorSpace) -> StoreResult<VectorSpace>;
    /// Removes a library with all that is reachable only through it. In a second transaction, concepts that nobody
    /// mentions any more. `None` where there is no such library.
    async fn delete_library(&self, uid: &LibraryUid) -> StoreResult<Option<Removed>>;
    /// The collection every library begins with.
    async fn default_collection(&self, library: &LibraryUid) -> StoreResult<Collection>;
    /// Makes a collection. `Conflict("name")` where the library has one of this name, `NotFound` without library.
    async fn create_collection(
        &self,
        library: &LibraryUid,
        name: &str,
        description: &str,
        now: DateTime<Utc>,
    ) -> StoreResult<Collection>;
    /// The collection of this uid with the workspace of its library.
    async fn collection(&self, uid: &CollectionUid) -> StoreResult<Option<Collection>>;
    /// Collections by name, of one library or of all inside the scope (`None`: everything, administration).
    async fn collections(
        &self,
        scope: Option<&Scope>,
        library: Option<&LibraryUid>,
        page: PageRequest,
    ) -> StoreResult<Page<Collection>>;
    /// Changes a collection's name and description.
    async fn update_collection(
        &self,
        uid: &CollectionUid,
        name: Option<&str>,
        description: Option<&str>,
    ) -> StoreResult<Collection>;
    /// Removes a collection with its items. `None` where there is none; `Conflict("default")` for the default one.
    async fn delete_collection(&self, uid: &CollectionUid) -> StoreResult<Option<Removed>>;

    // -- writing an item -----------------------------------------------------------------------------------------

    /// Writes an item that is not visible yet, or replaces what an earlier run wrote of it. `NotFound` where its library
    /// or collection is gone; `Conflict("item")` where it is visible already.
    async fn stage_item(&self, item: NewItem) -> StoreResult<()>;
    /// Writes chunks of a staged item.
    async fn stage_chunks(&self, item: &ItemUid, chunks: &[NewChunk]) -> StoreResult<()>;
    /// Writes vectors of chunks of a staged item, or (for `reembed`) of a visible one, in a space of their own.
    async fn put_vectors(&self, space: &VectorSpace, vectors: &[ChunkVector]) -> StoreResult<()>;
    /// Those of an item's chunks, staged or visible, that have no vector in this space, by position.
    async fn chunks_without_vector(&self, item: &ItemUid, space: &VectorSpace) -> StoreResult<Vec<NewChunk>>;
    /// Writes the concepts of a staged item, replacing those an earlier run wrote.
    async fn stage_concepts(&self, item: &ItemUid, concepts: &[ConceptMention]) -> StoreResult<()>;
    /// Makes a staged item visible and removes what it supersedes, all in one transaction. `Conflict("chunks")` where it
    /// has not exactly as many chunks as the caller wrote (another run staged it anew, say), `Conflict("vectors")` where
    /// its library's vectors have a space and a chunk has no vector in it. Repeating it for a visible item answers
    /// `Published` again.
    async fn publish_item(
        &self,
        item: &ItemUid,
        chunks: u64,
        now: DateTime<Utc>,
    ) -> StoreResult<PublishOutcome>;
    /// Removes an item, visible or not.
    async fn delete_item(&self, item: &ItemUid) -> StoreResult<Option<Removed>>;
    /// Removes an item that was never published, in one transaction; says whether nothing of the item is there
    /// afterwards. `false`: it was published and stays.
    async fn delete_staged_item(&self, item: &ItemUid) -> StoreResult<bool>;
    /// Changes an item's title, metadata or collection (of the same library).
    async fn update_item(
        &self,
        item: &ItemUid,
        title: Option<&str>,
        metadata: Option<&serde_json::Map<String, serde_json::Value>>,
        collection: Option<&CollectionUid>,
        now: DateTime<Utc>,
    ) -> StoreResult<Item>;
    /// Gives a library's vectors another space, once every chunk of every visible item has a vector in it, and removes
    /// the old vectors, in one transaction. `Conflict("vectors")` where some are missing.
    async fn switch_model(&self, library: &LibraryUid, space: &VectorSpace) -> StoreResult<()>;

    // -- reading -------------------------------------------------------------------------------------------------

    /// The item of this uid, visible or not, whatever its workspace; the caller applies the scope.
    async fn item(&self, uid: &ItemUid) -> StoreResult<Option<Item>>;
    /// Items in the order of the filter.
    async fn items(&self, filter: &ItemFilter, page: PageRequest) -> StoreResult<Page<Item>>;
    /// Chunks of one visible item by position.
    async fn chunks(&self, item: &ItemUid, page: PageRequest) -> StoreResult<Page<Chunk>>;
    /// A chunk of a visible item inside the scope (`None`: everything, administration).
    async fn chunk(&self, uid: &ChunkUid, scope: Option<&Scope>) -> StoreResult<Option<Chunk>>;
    /// Concepts.
    async fn concepts(&self, filter: &ConceptFilter, page: PageRequest) -> StoreResult<Page<Concept>>;
    /// Concepts near to one concept, by edges and by shared chunks, strongest first.
    async fn related_concepts(
        &self,
        uid: &ConceptUid,
        scope: Option<&Scope>,
        limit: u32,
    ) -> StoreResult<Vec<(Concept, f32)>>;
    /// Chunks of visible items inside the scope that mention a concept.
    async fn chunks_of_concept(
        &self,
        uid: &ConceptUid,
        scope: Option<&Scope>,
        page: PageRequest,
    ) -> StoreResult<Page<ChunkUid>>;

    // -- legs of a search ----------------------------------------------------------------------------------------

    /// The spaces in which libraries inside the filter have vectors.
    async fn spaces(&self, filter: &SearchFilter) -> StoreResult<Vec<VectorSpace>>;
    /// Chunks with the nearest vectors, nearest first. Never fewer than `limit` where the filter leaves as many.
    async fn vector_leg(
        &self,
        query: VectorQuery<'_>,
        filter: &SearchFilter,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>>;
    /// Chunks that match the words of any text, best first; stemmed, without stop words. No text is an error.
    async fn fulltext_leg(&self, text: &str, filter: &SearchFilter, limit: usize)
    -> StoreResult<Vec<LegHit>>;
    /// Chunks that mention concepts the text names, or concepts up to `depth` steps from those, best first.
    async fn graph_leg(
        &self,
        text: &str,
        filter: &SearchFilter,
        depth: u32,
        limit: usize,
    ) -> StoreResult<Vec<LegHit>>;
    /// What a person needs to recognise these chunks, in their order; those outside the filter are left out.
    async fn chunk_hits(&self, chunks: &[ChunkUid], filter: &SearchFilter) -> StoreResult<Vec<ChunkHit>>;

    // -- upkeep --------------------------------------------------------------------------------------------------

    /// What the store holds and whether it fits together.
    async fn report(&self) -> StoreResult<StoreReport>;
    /// Items that were written and never published, older than this moment.
    async fn staged_before(&self, moment: DateTime<Utc>) -> StoreResult<Vec<ItemUid>>;
}
