//! Conformance of a knowledge store: one function for each promise of
//! [`KnowledgeStore`](mnemosyne_domain::ports::KnowledgeStore), and [`knowledge_store_conformance!`] that makes a test of
//! each. Every function is given a fresh, empty store.
//!
//! [`knowledge_store_conformance!`]: crate::knowledge_store_conformance

#![allow(clippy::unwrap_used, reason = "a rule that cannot go on has failed")]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::library::ProfileOverrides;
use mnemosyne_domain::ports::{
    ChunkVector, ConceptFilter, ItemFilter, ItemOrder, KnowledgeStore, LibraryFilter, LibraryUpdate,
    PublishOutcome, VectorQuery,
};
use mnemosyne_domain::{
    ChunkUid, Collection, CollectionUid, ConceptKind, ConceptMention, ConceptUid, EmbeddingStatus, ItemUid,
    LegHit, Library, LibraryType, LibraryUid, NewChunk, NewItem, NewLibrary, PageRequest, Scope,
    SearchFilter, StoreError, VectorSpace, WorkspaceId,
};

/// Makes one `#[tokio::test]` of each rule. The argument names an `async fn() -> (impl KnowledgeStore, impl Sized)` that
/// opens a fresh, empty store, together with whatever has to live as long.
#[macro_export]
macro_rules! knowledge_store_conformance {
    ($open:path) => {
        $crate::knowledge_store_conformance!(@rules $open:
            names_are_unique,
            libraries_are_listed_by_scope_type_and_name,
            libraries_change_and_keep_the_rest,
            collections_belong_to_their_library,
            a_store_that_serves_is_healthy,
            staged_parts_are_seen_by_no_search,
            publishing_makes_everything_visible_at_once,
            writing_a_part_twice_leaves_it_once,
            staging_again_replaces_the_earlier_run,
            what_is_gone_takes_no_parts,
            a_visible_item_takes_no_parts,
            a_later_revision_takes_the_place,
            an_earlier_revision_is_discarded,
            publishing_into_a_deleted_library_says_so,
            an_item_without_text_is_listed_as_failed,
            every_read_holds_the_scope,
            every_leg_holds_the_filter,
            a_page_is_full_also_where_little_is_inside,
            spaces_are_never_mixed,
            a_model_is_adopted_once,
            switching_the_model_is_all_or_nothing,
            vectors_of_another_length_are_refused,
            words_are_stemmed_and_stop_words_ignored,
            words_anywhere_in_a_chunk_are_found,
            any_text_is_a_question,
            any_language_is_found,
            the_graph_is_walked_as_far_as_asked,
            concepts_are_counted_inside_the_scope,
            deleting_a_library_leaves_nothing_but_shared_concepts,
            deleting_a_collection_takes_its_items,
            deleting_an_item_takes_it_from_every_read,
            updating_an_item_moves_it,
            lists_come_in_pages,
            items_come_in_the_order_asked_for,
            a_chunk_knows_its_neighbours,
            old_staged_items_are_named,
            a_store_in_order_reports_no_problem,
        );
    };
    (@rules $open:path: $($rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let (store, _alive) = $open().await;
                $crate::conformance::knowledge::$rule(&store).await;
            }
        )*
    };
}

/// The space of the suite's vectors.
fn space() -> VectorSpace {
    VectorSpace {
        model: "conformance".to_owned(),
        dimension: DIMENSION,
    }
}

const DIMENSION: usize = 48;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A vector of length 1 that depends on the number alone.
fn vector(number: u64) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let values: Vec<f32> = (0..DIMENSION)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn workspace(name: &str) -> WorkspaceId {
    WorkspaceId::parse(name).unwrap()
}

fn everything() -> SearchFilter {
    SearchFilter::within(Scope::global())
}

fn page() -> PageRequest {
    PageRequest::first(100)
}

async fn library(store: &dyn KnowledgeStore, name: &str, workspace_id: Option<&str>) -> Library {
    let new = NewLibrary {
        name: name.to_owned(),
        workspace_id: workspace_id.map(workspace),
        library_type: LibraryType::Technical,
        description: String::new(),
    };
    let made = store.create_library(new, now()).await.unwrap();
    store.adopt_model(&made.uid, &space()).await.unwrap();
    made
}

/// An item that is written step by step.
struct Draft {
    item: NewItem,
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
    concepts: Vec<ConceptMention>,
}

impl Draft {
    async fn of(store: &dyn KnowledgeStore, library: &LibraryUid, texts: &[&str]) -> Self {
        let collection = store.default_collection(library).await.unwrap().uid;
        let uid = ItemUid::generate();
        Self {
            item: NewItem {
                title: "Untitled".to_owned(),
                source_ref: uid.to_string(),
                uid,
                library_uid: library.clone(),
                collection_uid: collection,
                content_hash: "hash".to_owned(),
                revision: 1,
                filename: "file.md".to_owned(),
                content_type: "text/markdown".to_owned(),
                byte_size: 12,
                original_digest: "original".to_owned(),
                text_digest: "text".to_owned(),
                authors: vec!["A. Author".to_owned()],
                language: Some("en".to_owned()),
                page_count: Some(3),
                extraction: "ok".to_owned(),
                metadata: serde_json::Map::from_iter([("shelf".to_owned(), serde_json::json!(["a", 1]))]),
                created_at: now(),
            },
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            vectors: (0..texts.len() as u64).map(vector).collect(),
            concepts: Vec::new(),
        }
    }

    fn concept(mut self, name: &str, positions: &[u32]) -> Self {
        self.concepts.push(ConceptMention {
            name: name.to_owned(),
            kind: ConceptKind::Topic,
            extracted_by: "local".to_owned(),
            chunk_positions: positions.to_vec(),
            weight: 0.8,
        });
        self
    }

    fn source(mut self, source_ref: &str, revision: i64) -> Self {
        self.item.source_ref = source_ref.to_owned();
        self.item.revision = revision;
        self
    }

    fn vectors(mut self, first: u64) -> Self {
        self.vectors = (0..self.texts.len() as u64).map(|n| vector(first + n)).collect();
        self
    }

    fn chunk(&self, position: usize) -> ChunkUid {
        ChunkUid::derive(&self.item.uid, position as u32)
    }

    fn chunks(&self) -> Vec<NewChunk> {
        let mut start = 0;
        self.texts
            .iter()
            .enumerate()
            .map(|(position, text)| {
                let byte_start = start;
                start += text.len() as u64;
                NewChunk {
                    uid: self.chunk(position),
                    position: position as u32,
                    text: text.clone(),
                    heading_path: vec!["Part".to_owned(), "Chapter \"1\"".to_owned()],
                    page: Some(position as u32 + 1),
                    byte_start,
                    byte_end: start,
                }
            })
            .collect()
    }

    fn chunk_vectors(&self) -> Vec<ChunkVector> {
        self.vectors
            .iter()
            .enumerate()
            .map(|(position, vector)| ChunkVector {
                chunk_uid: self.chunk(position),
                vector: vector.clone(),
            })
            .collect()
    }

    async fn stage(&self, store: &dyn KnowledgeStore) {
        store.stage_item(self.item.clone()).await.unwrap();
        store.stage_chunks(&self.item.uid, &self.chunks()).await.unwrap();
        store.put_vectors(&space(), &self.chunk_vectors()).await.unwrap();
        store
            .stage_concepts(&self.item.uid, &self.concepts)
            .await
            .unwrap();
    }

    async fn publish(&self, store: &dyn KnowledgeStore) -> PublishOutcome {
        self.stage(store).await;
        store.publish_item(&self.item.uid, now()).await.unwrap()
    }
}

async fn published(store: &dyn KnowledgeStore, library: &LibraryUid, texts: &[&str]) -> Draft {
    let draft = Draft::of(store, library, texts).await;
    assert!(matches!(
        draft.publish(store).await,
        PublishOutcome::Published { .. }
    ));
    draft
}

async fn by_vector(
    store: &dyn KnowledgeStore,
    number: u64,
    filter: &SearchFilter,
    limit: usize,
) -> Vec<LegHit> {
    let (space, vector) = (space(), vector(number));
    let query = VectorQuery {
        space: &space,
        vector: &vector,
    };
    store.vector_leg(query, filter, limit).await.unwrap()
}

async fn by_text(store: &dyn KnowledgeStore, text: &str, filter: &SearchFilter) -> BTreeSet<ChunkUid> {
    uids(&store.fulltext_leg(text, filter, 100).await.unwrap())
}

async fn by_graph(
    store: &dyn KnowledgeStore,
    text: &str,
    filter: &SearchFilter,
    depth: u32,
) -> BTreeSet<ChunkUid> {
    uids(&store.graph_leg(text, filter, depth, 100).await.unwrap())
}

fn uids(hits: &[LegHit]) -> BTreeSet<ChunkUid> {
    assert!(
        hits.is_sorted_by(|a, b| a.score >= b.score),
        "best first: {hits:?}"
    );
    let found: BTreeSet<ChunkUid> = hits.iter().map(|hit| hit.chunk_uid.clone()).collect();
    assert_eq!(found.len(), hits.len(), "a chunk is found once");
    found
}

fn only(chunks: impl IntoIterator<Item = ChunkUid>) -> BTreeSet<ChunkUid> {
    chunks.into_iter().collect()
}

/// All that any search finds for the words, the vector and the concept that the caller's items share.
async fn found_by_any_leg(
    store: &dyn KnowledgeStore,
    text: &str,
    filter: &SearchFilter,
) -> [BTreeSet<ChunkUid>; 3] {
    [
        uids(&by_vector(store, 0, filter, 100).await),
        by_text(store, text, filter).await,
        by_graph(store, text, filter, 2).await,
    ]
}

async fn problems(store: &dyn KnowledgeStore) -> Vec<String> {
    store.report().await.unwrap().problems
}

/// Names of libraries and their workspaces, and names of collections inside a library, are unique.
pub async fn names_are_unique(store: &dyn KnowledgeStore) {
    let first = library(store, "Papers", Some("w1")).await;
    let again = |name: &str, workspace_id: Option<&str>| NewLibrary {
        name: name.to_owned(),
        workspace_id: workspace_id.map(workspace),
        library_type: LibraryType::Art,
        description: String::new(),
    };
    let taken = store.create_library(again("Papers", None), now()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    let taken = store.create_library(again("Other", Some("w1")), now()).await;
    assert!(
        matches!(taken, Err(StoreError::Conflict("workspace_id"))),
        "{taken:?}"
    );
    let second = store.create_library(again("Other", None), now()).await.unwrap();
    store.create_library(again("Third", None), now()).await.unwrap();

    let rename = LibraryUpdate {
        name: Some("Papers".to_owned()),
        ..LibraryUpdate::default()
    };
    let taken = store.update_library(&second.uid, rename.clone()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    assert_eq!(
        store.update_library(&first.uid, rename).await.unwrap().name,
        "Papers"
    );

    store.create_collection(&first.uid, "A", "", now()).await.unwrap();
    let taken = store.create_collection(&first.uid, "A", "", now()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    store
        .create_collection(&second.uid, "A", "", now())
        .await
        .unwrap();
    let other = store.create_collection(&first.uid, "B", "", now()).await.unwrap();
    let taken = store.update_collection(&other.uid, Some("A"), None).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    let missing = store
        .create_collection(&LibraryUid::generate(), "A", "", now())
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
}

/// Lists of libraries hold the scope, the type and the name.
pub async fn libraries_are_listed_by_scope_type_and_name(store: &dyn KnowledgeStore) {
    let beta = library(store, "Beta Ärzte", None).await;
    let alpha = library(store, "alpha", None).await;
    let mine = library(store, "mine", Some("w")).await;
    let names = async |filter: LibraryFilter| {
        let page = store.libraries(&filter, page()).await.unwrap();
        assert_eq!(page.total, page.rows.len() as u64);
        page.rows
            .into_iter()
            .map(|library| library.name)
            .collect::<Vec<_>>()
    };
    let all = LibraryFilter::default();
    assert_eq!(names(all.clone()).await.len(), 3);
    let scoped = |scope| LibraryFilter {
        scope: Some(scope),
        ..LibraryFilter::default()
    };
    assert_eq!(names(scoped(Scope::global())).await.len(), 2);
    assert_eq!(names(scoped(Scope::workspace(workspace("w")))).await, ["mine"]);
    assert!(names(scoped(Scope::workspace(workspace("x")))).await.is_empty());
    let narrowed = Scope {
        workspace: None,
        libraries: Some(BTreeSet::from([alpha.uid.clone(), mine.uid.clone()])),
    };
    assert_eq!(names(scoped(narrowed)).await, ["alpha"]);
    let nothing = Scope {
        workspace: None,
        libraries: Some(BTreeSet::new()),
    };
    assert!(names(scoped(nothing)).await.is_empty());
    let workspaces = LibraryFilter {
        only_workspaces: true,
        ..all.clone()
    };
    assert_eq!(names(workspaces).await, ["mine"]);
    let art = LibraryFilter {
        library_type: Some(LibraryType::Art),
        ..all.clone()
    };
    assert!(names(art).await.is_empty());
    let named = LibraryFilter {
        name_contains: Some("ärz".to_owned()),
        ..all
    };
    assert_eq!(names(named).await, ["Beta Ärzte"]);

    assert_eq!(
        store.library(&beta.uid).await.unwrap().unwrap().name,
        "Beta Ärzte"
    );
    assert_eq!(
        store.library_by_name("mine").await.unwrap().unwrap().uid,
        mine.uid
    );
    assert_eq!(
        store
            .library_of_workspace(&workspace("w"))
            .await
            .unwrap()
            .unwrap()
            .uid,
        mine.uid
    );
    assert!(
        store
            .library_of_workspace(&workspace("x"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(store.library(&LibraryUid::generate()).await.unwrap().is_none());
}

/// What is not asked to change stays.
pub async fn libraries_change_and_keep_the_rest(store: &dyn KnowledgeStore) {
    let made = library(store, "One", None).await;
    assert_eq!(
        (made.created_at, made.item_count, made.chunk_count),
        (now(), 0, 0)
    );
    let overrides = ProfileOverrides {
        target_chars: Some(700),
        llm_context: Some("short \"quotes\"".to_owned()),
        ..ProfileOverrides::default()
    };
    let update = LibraryUpdate {
        overrides: Some(overrides.clone()),
        ..LibraryUpdate::default()
    };
    let changed = store.update_library(&made.uid, update).await.unwrap();
    assert_eq!((changed.name.as_str(), &changed.overrides), ("One", &overrides));
    let update = LibraryUpdate {
        name: Some("Two".to_owned()),
        description: Some("text".to_owned()),
        ..LibraryUpdate::default()
    };
    let changed = store.update_library(&made.uid, update).await.unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.description.as_str()),
        ("Two", "text")
    );
    assert_eq!(changed.overrides, overrides);
    assert_eq!(store.library(&made.uid).await.unwrap(), Some(changed));
    assert!(store.library_by_name("One").await.unwrap().is_none());
    let missing = store
        .update_library(&LibraryUid::generate(), LibraryUpdate::default())
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
}

/// Every library begins with a collection; lists of collections hold the scope.
pub async fn collections_belong_to_their_library(store: &dyn KnowledgeStore) {
    let global = library(store, "global", None).await;
    let mine = library(store, "mine", Some("w")).await;
    let shelf = store
        .create_collection(&mine.uid, "A shelf", "for books", now())
        .await
        .unwrap();
    assert_eq!(
        (shelf.library_uid.clone(), shelf.item_count),
        (mine.uid.clone(), 0)
    );
    let count = async |scope: Option<Scope>, library: Option<&LibraryUid>| {
        store
            .collections(scope.as_ref(), library, page())
            .await
            .unwrap()
            .total
    };
    assert_eq!(count(None, None).await, 3);
    assert_eq!(count(None, Some(&mine.uid)).await, 2);
    assert_eq!(count(Some(Scope::global()), None).await, 1);
    assert_eq!(count(Some(Scope::global()), Some(&mine.uid)).await, 0);
    assert_eq!(count(Some(Scope::workspace(workspace("w"))), None).await, 2);
    let changed = store
        .update_collection(&shelf.uid, None, Some("for films"))
        .await
        .unwrap();
    assert_eq!(
        changed,
        Collection {
            description: "for films".to_owned(),
            ..shelf.clone()
        }
    );
    assert_eq!(store.collection(&shelf.uid).await.unwrap(), Some(changed));
    let default = store.default_collection(&global.uid).await.unwrap();
    assert_eq!(default.library_uid, global.uid);
    let kept = store.delete_collection(&default.uid).await;
    assert!(matches!(kept, Err(StoreError::Conflict("default"))), "{kept:?}");
    assert!(
        store
            .delete_collection(&CollectionUid::generate())
            .await
            .unwrap()
            .is_none()
    );
    let missing = store.default_collection(&LibraryUid::generate()).await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
}

/// A store that was opened can serve.
pub async fn a_store_that_serves_is_healthy(store: &dyn KnowledgeStore) {
    store.check().await.unwrap();
}

/// Parts of an unpublished item are seen by no read but those that say so.
pub async fn staged_parts_are_seen_by_no_search(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["zeppelin engines"])
        .await
        .concept("Zeppelin", &[0]);
    draft.stage(store).await;
    for found in found_by_any_leg(store, "zeppelin", &everything()).await {
        assert!(found.is_empty());
    }
    assert!(
        store
            .chunk_hits(&[draft.chunk(0)], &everything())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.chunk(&draft.chunk(0), None).await.unwrap().is_none());
    assert_eq!(store.chunks(&draft.item.uid, page()).await.unwrap().total, 0);
    assert_eq!(
        store.items(&ItemFilter::default(), page()).await.unwrap().total,
        0
    );
    assert_eq!(
        store
            .concepts(&ConceptFilter::default(), page())
            .await
            .unwrap()
            .total,
        0
    );
    assert!(store.spaces(&everything()).await.unwrap().is_empty());
    let concept = ConceptUid::derive("zeppelin");
    assert_eq!(
        store
            .chunks_of_concept(&concept, None, page())
            .await
            .unwrap()
            .total,
        0
    );
    assert_eq!(store.library(&library.uid).await.unwrap().unwrap().item_count, 0);

    let item = store.item(&draft.item.uid).await.unwrap().unwrap();
    assert_eq!(item.status, EmbeddingStatus::Processing);
    let staged = ItemFilter {
        status: Some(EmbeddingStatus::Processing),
        ..ItemFilter::default()
    };
    assert_eq!(store.items(&staged, page()).await.unwrap().total, 1);
    assert_eq!(store.report().await.unwrap().staged_items, 1);
}

/// One step shows the item to every read, and repeating it changes nothing.
pub async fn publishing_makes_everything_visible_at_once(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["zeppelin engines", "zeppelin gondolas"])
        .await
        .concept("Zeppelin", &[0, 1]);
    let first = draft.publish(store).await;
    assert_eq!(first, PublishOutcome::Published { superseded: vec![] });
    assert_eq!(store.publish_item(&draft.item.uid, now()).await.unwrap(), first);
    let both = only([draft.chunk(0), draft.chunk(1)]);
    for found in found_by_any_leg(store, "zeppelin", &everything()).await {
        assert_eq!(found, both);
    }
    let item = store.item(&draft.item.uid).await.unwrap().unwrap();
    assert_eq!(item.status, EmbeddingStatus::Completed);
    assert_eq!(
        (item.chunk_count, item.embedding_model.as_deref()),
        (2, Some("conformance"))
    );
    assert_eq!(
        (item.metadata.clone(), item.authors.clone()),
        (draft.item.metadata.clone(), draft.item.authors.clone())
    );
    assert_eq!((item.page_count, item.language.as_deref()), (Some(3), Some("en")));
    assert_eq!(
        (item.created_at, item.updated_at, item.byte_size),
        (now(), now(), 12)
    );
    let hits = store
        .chunk_hits(&[draft.chunk(1), draft.chunk(0)], &everything())
        .await
        .unwrap();
    assert_eq!(hits.iter().map(|hit| hit.position).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(hits[0].text, "zeppelin gondolas");
    assert_eq!(hits[0].heading_path, ["Part", "Chapter \"1\""]);
    assert_eq!(
        (hits[0].page, hits[0].library_type),
        (Some(2), LibraryType::Technical)
    );
    let library = store.library(&library.uid).await.unwrap().unwrap();
    assert_eq!((library.item_count, library.chunk_count), (1, 2));
    assert_eq!(library.embedding_model.as_deref(), Some("conformance"));
    assert_eq!(
        store.default_collection(&library.uid).await.unwrap().item_count,
        1
    );
    assert_eq!(store.spaces(&everything()).await.unwrap(), [space()]);
    assert_eq!(problems(store).await, [""; 0]);
}

/// A resumed run may repeat its last step.
pub async fn writing_a_part_twice_leaves_it_once(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["zeppelin one", "zeppelin two"])
        .await
        .concept("Zeppelin", &[0, 1])
        .concept("  zeppelin ", &[1]);
    draft.stage(store).await;
    store
        .stage_chunks(&draft.item.uid, &draft.chunks())
        .await
        .unwrap();
    assert!(
        store
            .chunks_without_vector(&draft.item.uid, &space())
            .await
            .unwrap()
            .is_empty()
    );
    store.put_vectors(&space(), &draft.chunk_vectors()).await.unwrap();
    store
        .stage_concepts(&draft.item.uid, &draft.concepts)
        .await
        .unwrap();
    store.publish_item(&draft.item.uid, now()).await.unwrap();
    assert_eq!(by_vector(store, 0, &everything(), 100).await.len(), 2);
    assert_eq!(by_text(store, "zeppelin", &everything()).await.len(), 2);
    let concepts = store
        .concepts(&ConceptFilter::default(), page())
        .await
        .unwrap()
        .rows;
    assert_eq!(concepts.len(), 1, "{concepts:?}");
    assert_eq!((concepts[0].name.as_str(), concepts[0].mentions), ("Zeppelin", 2));
    assert_eq!(store.chunks(&draft.item.uid, page()).await.unwrap().total, 2);
    assert_eq!(problems(store).await, [""; 0]);
}

/// A run that begins anew leaves nothing of the one before; a chunk whose text changes loses its vector.
pub async fn staging_again_replaces_the_earlier_run(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let mut draft = Draft::of(store, &library.uid, &["one", "two", "three"])
        .await
        .concept("Old", &[2]);
    draft.stage(store).await;
    draft.texts = vec!["zeppelin".to_owned()];
    draft.vectors.truncate(1);
    draft.concepts.clear();
    store.stage_item(draft.item.clone()).await.unwrap();
    store
        .stage_chunks(&draft.item.uid, &draft.chunks())
        .await
        .unwrap();
    let missing = store
        .chunks_without_vector(&draft.item.uid, &space())
        .await
        .unwrap();
    assert_eq!(missing, draft.chunks());
    store.put_vectors(&space(), &draft.chunk_vectors()).await.unwrap();
    draft.texts[0] = "airship".to_owned();
    store
        .stage_chunks(&draft.item.uid, &draft.chunks())
        .await
        .unwrap();
    assert_eq!(
        store
            .chunks_without_vector(&draft.item.uid, &space())
            .await
            .unwrap()
            .len(),
        1
    );
    store.put_vectors(&space(), &draft.chunk_vectors()).await.unwrap();
    store.publish_item(&draft.item.uid, now()).await.unwrap();
    assert_eq!(store.chunks(&draft.item.uid, page()).await.unwrap().total, 1);
    assert!(
        by_text(store, "zeppelin two three", &everything())
            .await
            .is_empty()
    );
    assert_eq!(by_text(store, "airship", &everything()).await.len(), 1);
    assert_eq!(
        store
            .concepts(&ConceptFilter::default(), page())
            .await
            .unwrap()
            .total,
        0
    );
    assert_eq!(problems(store).await, [""; 0]);
}

/// Parts of an item that is not there, or whose library or collection is gone, are refused.
pub async fn what_is_gone_takes_no_parts(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["one"]).await;
    let gone = store.stage_chunks(&draft.item.uid, &draft.chunks()).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let gone = store.put_vectors(&space(), &draft.chunk_vectors()).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let gone = store.stage_concepts(&draft.item.uid, &[]).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let gone = store.publish_item(&draft.item.uid, now()).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let mut elsewhere = draft.item.clone();
    elsewhere.collection_uid = CollectionUid::generate();
    let gone = store.stage_item(elsewhere).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    let mut elsewhere = draft.item.clone();
    elsewhere.library_uid = LibraryUid::generate();
    let gone = store.stage_item(elsewhere).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    assert!(store.item(&draft.item.uid).await.unwrap().is_none());
    assert!(store.delete_item(&draft.item.uid).await.unwrap().is_none());
}

/// What is visible is not written over.
pub async fn a_visible_item_takes_no_parts(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = published(store, &library.uid, &["one"]).await;
    let refused = store.stage_item(draft.item.clone()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict("item"))),
        "{refused:?}"
    );
    let refused = store.stage_chunks(&draft.item.uid, &draft.chunks()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict("item"))),
        "{refused:?}"
    );
}

/// A later revision of a source takes the place of the earlier one in one step, and repeating says the same.
pub async fn a_later_revision_takes_the_place(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let first = Draft::of(store, &library.uid, &["zeppelin first", "more"])
        .await
        .source("s", 1)
        .concept("Zeppelin", &[0]);
    first.publish(store).await;
    let other = Draft::of(store, &library.uid, &["zeppelin other"])
        .await
        .source("t", 1);
    other.publish(store).await;
    let second = Draft::of(store, &library.uid, &["zeppelin second"])
        .await
        .source("s", 2);
    let outcome = second.publish(store).await;
    let expected = PublishOutcome::Published {
        superseded: vec![first.item.uid.clone()],
    };
    assert_eq!(outcome, expected);
    assert_eq!(
        store.publish_item(&second.item.uid, now()).await.unwrap(),
        expected
    );
    assert_eq!(
        store.publish_item(&first.item.uid, now()).await.unwrap(),
        PublishOutcome::Superseded
    );
    let left = only([second.chunk(0), other.chunk(0)]);
    assert_eq!(by_text(store, "zeppelin", &everything()).await, left);
    assert_eq!(uids(&by_vector(store, 0, &everything(), 100).await), left);
    assert!(store.item(&first.item.uid).await.unwrap().is_none());
    assert_eq!(
        store
            .concepts(&ConceptFilter::default(), page())
            .await
            .unwrap()
            .total,
        0
    );
    let counted = store.library(&library.uid).await.unwrap().unwrap();
    assert_eq!((counted.item_count, counted.chunk_count), (2, 2));
    assert_eq!(problems(store).await, [""; 0]);
}

/// Where a later revision is visible already, an earlier one never appears.
pub async fn an_earlier_revision_is_discarded(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let early = Draft::of(store, &library.uid, &["zeppelin early"])
        .await
        .source("s", 1)
        .concept("Early", &[0]);
    early.stage(store).await;
    let late = Draft::of(store, &library.uid, &["zeppelin late"])
        .await
        .source("s", 2);
    late.publish(store).await;
    assert!(store.item(&early.item.uid).await.unwrap().is_some());
    for _ in 0..2 {
        assert_eq!(
            store.publish_item(&early.item.uid, now()).await.unwrap(),
            PublishOutcome::Superseded
        );
    }
    assert!(store.item(&early.item.uid).await.unwrap().is_none());
    assert_eq!(
        by_text(store, "zeppelin", &everything()).await,
        only([late.chunk(0)])
    );
    assert_eq!(problems(store).await, [""; 0]);
}

/// An item whose library was deleted while it was written is discarded.
pub async fn publishing_into_a_deleted_library_says_so(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["one"])
        .await
        .concept("Lonely", &[0]);
    draft.stage(store).await;
    let removed = store.delete_library(&library.uid).await.unwrap().unwrap();
    assert_eq!(
        (removed.items, removed.concepts),
        (vec![draft.item.uid.clone()], 1)
    );
    for _ in 0..2 {
        assert_eq!(
            store.publish_item(&draft.item.uid, now()).await.unwrap(),
            PublishOutcome::LibraryGone
        );
    }
    assert_eq!(problems(store).await, [""; 0]);
}

/// An item in which nothing can be found is kept, and is not completed.
pub async fn an_item_without_text_is_listed_as_failed(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &[]).await;
    assert!(matches!(
        draft.publish(store).await,
        PublishOutcome::Published { .. }
    ));
    let item = store.item(&draft.item.uid).await.unwrap().unwrap();
    assert_eq!(item.status, EmbeddingStatus::Failed);
    assert_eq!(
        store.items(&ItemFilter::default(), page()).await.unwrap().total,
        0
    );
    let failed = ItemFilter {
        status: Some(EmbeddingStatus::Failed),
        ..ItemFilter::default()
    };
    assert_eq!(store.items(&failed, page()).await.unwrap().total, 1);
    assert_eq!(problems(store).await, [""; 0]);
}

/// Three libraries with the same content: two global, one of a workspace.
async fn three_libraries(store: &dyn KnowledgeStore) -> [(Library, Draft); 3] {
    let mut made = Vec::new();
    for (name, workspace_id) in [("one", None), ("two", None), ("mine", Some("w"))] {
        let library = library(store, name, workspace_id).await;
        let draft = Draft::of(store, &library.uid, &["zeppelin engines", "nothing else"])
            .await
            .concept("Zeppelin", &[0])
            .concept(&format!("Neighbour {name}"), &[0]);
        draft.publish(store).await;
        made.push((library, draft));
    }
    made.try_into().unwrap_or_else(|_| unreachable!())
}

/// What is outside the scope does not exist: for no leg, no list and no look-up.
pub async fn every_read_holds_the_scope(store: &dyn KnowledgeStore) {
    let [(one, in_one), (_two, in_two), (mine, in_mine)] = three_libraries(store).await;
    let narrowed = |workspace_id: Option<&str>, libraries: &[&LibraryUid]| Scope {
        workspace: workspace_id.map(workspace),
        libraries: Some(libraries.iter().map(|uid| (*uid).clone()).collect()),
    };
    let cases: [(Scope, Vec<&Draft>); 6] = [
        (Scope::global(), vec![&in_one, &in_two]),
        (Scope::workspace(workspace("w")), vec![&in_mine]),
        (Scope::workspace(workspace("other")), vec![]),
        (narrowed(None, &[&one.uid, &mine.uid]), vec![&in_one]),
        (narrowed(Some("w"), &[&one.uid]), vec![]),
        (narrowed(None, &[]), vec![]),
    ];
    let zeppelin = ConceptUid::derive("zeppelin");
    for (scope, inside) in cases {
        let filter = SearchFilter::within(scope.clone());
        let first_chunks = only(inside.iter().map(|draft| draft.chunk(0)));
        let all_chunks = only(inside.iter().flat_map(|draft| [draft.chunk(0), draft.chunk(1)]));
        assert_eq!(
            uids(&by_vector(store, 0, &filter, 100).await),
            all_chunks,
            "{scope:?}"
        );
        assert_eq!(
            by_text(store, "zeppelin", &filter).await,
            first_chunks,
            "{scope:?}"
        );
        assert_eq!(
            by_graph(store, "zeppelin", &filter, 2).await,
            first_chunks,
            "{scope:?}"
        );
        let spaces = store.spaces(&filter).await.unwrap();
        assert_eq!(spaces.is_empty(), inside.is_empty(), "{scope:?}");
        for draft in [&in_one, &in_two, &in_mine] {
            let visible = inside.iter().any(|other| other.item.uid == draft.item.uid);
            assert_eq!(
                store
                    .chunk(&draft.chunk(0), Some(&scope))
                    .await
                    .unwrap()
                    .is_some(),
                visible
            );
            assert_eq!(
                store.chunk_hits(&[draft.chunk(0)], &filter).await.unwrap().len(),
                usize::from(visible)
            );
        }
        let items = ItemFilter {
            scope: Some(scope.clone()),
            ..ItemFilter::default()
        };
        let listed = store.items(&items, page()).await.unwrap();
        assert_eq!(
            (listed.total, listed.rows.len()),
            (inside.len() as u64, inside.len()),
            "{scope:?}"
        );
        let of_concept = store
            .chunks_of_concept(&zeppelin, Some(&scope), page())
            .await
            .unwrap();
        assert_eq!(only(of_concept.rows), first_chunks, "{scope:?}");
        let concepts = ConceptFilter {
            scope: Some(scope.clone()),
            ..ConceptFilter::default()
        };
        let listed = store.concepts(&concepts, page()).await.unwrap();
        let neighbours = inside.len() as u64;
        assert_eq!(listed.total, neighbours + u64::from(neighbours > 0), "{scope:?}");
        let related = store.related_concepts(&zeppelin, Some(&scope), 10).await.unwrap();
        assert_eq!(related.len(), inside.len(), "{scope:?}: {related:?}");
    }
    assert_eq!(
        store.related_concepts(&zeppelin, None, 10).await.unwrap().len(),
        3
    );
}

/// Filters narrow every leg.
pub async fn every_leg_holds_the_filter(store: &dyn KnowledgeStore) {
    let [(one, in_one), (_, in_two), (mine, _)] = three_libraries(store).await;
    let shelf = store
        .create_collection(&one.uid, "shelf", "", now())
        .await
        .unwrap();
    let mut on_shelf = Draft::of(store, &one.uid, &["zeppelin engines", "nothing else"])
        .await
        .concept("Zeppelin", &[0]);
    on_shelf.item.collection_uid = shelf.uid.clone();
    on_shelf.publish(store).await;
    let cases: [(SearchFilter, Vec<&Draft>); 7] = [
        (
            SearchFilter {
                library_uid: Some(one.uid.clone()),
                ..everything()
            },
            vec![&in_one, &on_shelf],
        ),
        (
            SearchFilter {
                library_uid: Some(mine.uid.clone()),
                ..everything()
            },
            vec![],
        ),
        (
            SearchFilter {
                library_type: Some(LibraryType::Technical),
                ..everything()
            },
            vec![&in_one, &in_two, &on_shelf],
        ),
        (
            SearchFilter {
                library_type: Some(LibraryType::Music),
                ..everything()
            },
            vec![],
        ),
        (
            SearchFilter {
                collection_uid: Some(shelf.uid.clone()),
                ..everything()
            },
            vec![&on_shelf],
        ),
        (
            SearchFilter {
                item_uid: Some(in_two.item.uid.clone()),
                ..everything()
            },
            vec![&in_two],
        ),
        (
            SearchFilter {
                item_uid: Some(ItemUid::generate()),
                ..everything()
            },
            vec![],
        ),
    ];
    for (filter, inside) in cases {
        let first_chunks = only(inside.iter().map(|draft| draft.chunk(0)));
        let all_chunks = only(inside.iter().flat_map(|draft| [draft.chunk(0), draft.chunk(1)]));
        let [nearest, words, graph] = found_by_any_leg(store, "zeppelin", &filter).await;
        assert_eq!(nearest, all_chunks, "{filter:?}");
        assert_eq!(words, first_chunks, "{filter:?}");
        assert_eq!(graph, first_chunks, "{filter:?}");
        let asked: Vec<ChunkUid> = [&in_one, &in_two, &on_shelf].map(|draft| draft.chunk(0)).to_vec();
        let hits = store.chunk_hits(&asked, &filter).await.unwrap();
        assert_eq!(
            only(hits.into_iter().map(|hit| hit.chunk_uid)),
            first_chunks,
            "{filter:?}"
        );
    }
}

/// The vector leg returns the nearest, and a full page, however small the part inside the filter is.
pub async fn a_page_is_full_also_where_little_is_inside(store: &dyn KnowledgeStore) {
    let large = library(store, "large", None).await;
    let small = library(store, "small", Some("w")).await;
    let texts: Vec<String> = (0..500)
        .map(|number| format!("zeppelin number{number}"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut drafts = Vec::new();
    for part in 0..4_u64 {
        let draft = Draft::of(store, &large.uid, &texts)
            .await
            .vectors(1000 * (part + 1));
        draft.publish(store).await;
        drafts.push(draft);
    }
    let inside = Draft::of(store, &small.uid, &texts[..20]).await.vectors(9000);
    inside.publish(store).await;

    let scoped = SearchFilter::within(Scope::workspace(workspace("w")));
    assert_eq!(by_vector(store, 7, &scoped, 20).await.len(), 20);
    assert_eq!(
        store.fulltext_leg("zeppelin", &scoped, 20).await.unwrap().len(),
        20
    );
    assert_eq!(
        store
            .fulltext_leg("zeppelin", &everything(), 50)
            .await
            .unwrap()
            .len(),
        50
    );

    let asked = vector(7);
    let mut expected: Vec<(f32, ChunkUid)> = drafts
        .iter()
        .flat_map(|draft| draft.chunk_vectors())
        .map(|chunk| (cosine(&chunk.vector, &asked), chunk.chunk_uid))
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hits = by_vector(store, 7, &everything(), 50).await;
    assert_eq!(hits.len(), 50);
    for (hit, (cosine, uid)) in hits.iter().zip(&expected) {
        assert_eq!(&hit.chunk_uid, uid);
        assert!(
            (hit.score - f32::midpoint(1.0, *cosine)).abs() < 1e-4,
            "{hit:?} {cosine}"
        );
    }
}

/// Vectors of different models are never compared.
pub async fn spaces_are_never_mixed(store: &dyn KnowledgeStore) {
    let first = library(store, "first", None).await;
    let new = NewLibrary {
        name: "second".to_owned(),
        workspace_id: None,
        library_type: LibraryType::Technical,
        description: String::new(),
    };
    let second = store.create_library(new, now()).await.unwrap();
    let other = VectorSpace {
        model: "another model".to_owned(),
        dimension: DIMENSION,
    };
    store.adopt_model(&second.uid, &other).await.unwrap();
    let in_first = published(store, &first.uid, &["one"]).await;
    let in_second = Draft::of(store, &second.uid, &["one"]).await;
    store.stage_item(in_second.item.clone()).await.unwrap();
    store
        .stage_chunks(&in_second.item.uid, &in_second.chunks())
        .await
        .unwrap();
    store
        .put_vectors(&other, &in_second.chunk_vectors())
        .await
        .unwrap();
    store.publish_item(&in_second.item.uid, now()).await.unwrap();

    assert_eq!(
        store.spaces(&everything()).await.unwrap(),
        [other.clone(), space()]
    );
    let vector = vector(0);
    let ask = async |space: &VectorSpace| {
        let query = VectorQuery {
            space,
            vector: &vector,
        };
        uids(&store.vector_leg(query, &everything(), 10).await.unwrap())
    };
    assert_eq!(ask(&space()).await, only([in_first.chunk(0)]));
    assert_eq!(ask(&other).await, only([in_second.chunk(0)]));
    let unknown = VectorSpace {
        model: "unknown".to_owned(),
        dimension: DIMENSION,
    };
    assert!(ask(&unknown).await.is_empty());
    assert_eq!(store.report().await.unwrap().vectors.len(), 2);
}

/// The first model a library adopts stays.
pub async fn a_model_is_adopted_once(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let other = VectorSpace {
        model: "later".to_owned(),
        dimension: 3,
    };
    assert_eq!(store.adopt_model(&library.uid, &other).await.unwrap(), space());
    let missing = store.adopt_model(&LibraryUid::generate(), &other).await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
}

/// A library changes its model once all its chunks have vectors of the new one, and searches notice at once.
pub async fn switching_the_model_is_all_or_nothing(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = published(store, &library.uid, &["one", "two"]).await;
    assert_eq!(by_vector(store, 0, &everything(), 10).await.len(), 2);
    let next = VectorSpace {
        model: "next".to_owned(),
        dimension: 3,
    };
    let vectors: Vec<ChunkVector> = (0..2)
        .map(|position| ChunkVector {
            chunk_uid: draft.chunk(position),
            vector: if position == 0 {
                vec![1.0, 0.0, 0.0]
            } else {
                vec![0.0, 1.0, 0.0]
            },
        })
        .collect();
    store.put_vectors(&next, &vectors[..1]).await.unwrap();
    assert_eq!(
        store
            .chunks_without_vector(&draft.item.uid, &next)
            .await
            .unwrap()
            .len(),
        1
    );
    let early = store.switch_model(&library.uid, &next).await;
    assert!(matches!(early, Err(StoreError::Conflict("vectors"))), "{early:?}");
    assert_eq!(by_vector(store, 0, &everything(), 10).await.len(), 2);
    store.put_vectors(&next, &vectors).await.unwrap();
    store.switch_model(&library.uid, &next).await.unwrap();
    assert!(by_vector(store, 0, &everything(), 10).await.is_empty());
    assert_eq!(
        store.spaces(&everything()).await.unwrap(),
        std::slice::from_ref(&next)
    );
    let query = VectorQuery {
        space: &next,
        vector: &[0.0, 1.0, 0.0],
    };
    let hits = store.vector_leg(query, &everything(), 10).await.unwrap();
    assert_eq!((hits.len(), &hits[0].chunk_uid), (2, &draft.chunk(1)));
    assert!(
        (hits[0].score - 1.0).abs() < 1e-5 && (hits[1].score - 0.5).abs() < 1e-5,
        "{hits:?}"
    );
    let report = store.report().await.unwrap();
    assert_eq!(report.vectors, [("next (3)".to_owned(), 2)]);
    assert_eq!(
        store
            .item(&draft.item.uid)
            .await
            .unwrap()
            .unwrap()
            .embedding_model
            .as_deref(),
        Some("next")
    );
    assert_eq!(report.problems, [""; 0]);
}

/// A vector that does not fit its space is refused, and nothing of the call is written.
pub async fn vectors_of_another_length_are_refused(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["one", "two"]).await;
    store.stage_item(draft.item.clone()).await.unwrap();
    store
        .stage_chunks(&draft.item.uid, &draft.chunks())
        .await
        .unwrap();
    for bad in [vec![1.0], vec![f32::NAN; DIMENSION]] {
        let mut vectors = draft.chunk_vectors();
        vectors[1].vector = bad;
        assert!(store.put_vectors(&space(), &vectors).await.is_err());
    }
    assert_eq!(
        store
            .chunks_without_vector(&draft.item.uid, &space())
            .await
            .unwrap()
            .len(),
        2
    );
}

/// Words meet in their stem; the commonest words alone find nothing.
pub async fn words_are_stemmed_and_stop_words_ignored(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = published(
        store,
        &library.uid,
        &["She runs the engine", "The café was empty"],
    )
    .await;
    for text in ["running", "RUN", "the engines", "engine engine engine"] {
        assert_eq!(
            by_text(store, text, &everything()).await,
            only([draft.chunk(0)]),
            "{text}"
        );
    }
    assert_eq!(
        by_text(store, "cafe", &everything()).await,
        only([draft.chunk(1)])
    );
    for text in ["the", "the was of and", "submarine"] {
        assert!(by_text(store, text, &everything()).await.is_empty(), "{text}");
    }
    let any = by_text(store, "engine café submarine", &everything()).await;
    assert_eq!(any, only([draft.chunk(0), draft.chunk(1)]));
}

/// The whole text of a chunk is searched, its headings and its item's title too.
pub async fn words_anywhere_in_a_chunk_are_found(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let late = format!("{} zeppelin", "word ".repeat(3000));
    let mut draft = Draft::of(store, &library.uid, &[&late, "other"]).await;
    draft.item.title = "Submarines".to_owned();
    draft.publish(store).await;
    assert_eq!(
        by_text(store, "zeppelin", &everything()).await,
        only([draft.chunk(0)])
    );
    assert_eq!(by_text(store, "submarine", &everything()).await.len(), 2);
    assert_eq!(by_text(store, "chapter", &everything()).await.len(), 2);
}

/// No text from a user is an error to the legs, or anything but words.
pub async fn any_text_is_a_question(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["zeppelin engines", "and the or not near"])
        .await
        .concept("Zeppelin", &[0]);
    draft.publish(store).await;
    let long = "zeppelin ".repeat(12_000);
    let many: String = (0..12_000).map(|number| format!("word{number} ")).collect();
    for (text, finds) in [
        ("", false),
        (" \t\n", false),
        ("\u{0}", false),
        ("🎈🎈", false),
        ("\"", false),
        ("* ? ~ ^ : \\ / ( ) [ ] { } + - && || ! < > = @ #", false),
        ("AND OR NOT NEAR TO", false),
        ("'; DROP TABLE item; --", false),
        ("\"zeppelin", true),
        ("zeppelin\"*", true),
        ("text:zeppelin", true),
        ("(zeppelin OR", true),
        ("zeppelin AND NOT zeppelin", true),
        ("NEAR(zeppelin, 2)", true),
        ("^zeppelin~2", true),
        ("{terms} : zeppelin", true),
        ("zeppelin\u{0}engines", true),
        ("-zeppelin +zeppelin /zeppelin/ [a TO zeppelin]", true),
        (long.as_str(), true),
        (many.as_str(), false),
    ] {
        let shown: String = text.chars().take(40).collect();
        let found = by_text(store, text, &everything())
            .await
            .contains(&draft.chunk(0));
        assert_eq!(found, finds, "full text: {shown:?}");
        let found = by_graph(store, text, &everything(), 2)
            .await
            .contains(&draft.chunk(0));
        assert_eq!(found, finds, "graph: {shown:?}");
    }
    let none = store.fulltext_leg("zeppelin", &everything(), 0).await.unwrap();
    assert!(none.is_empty());
}

/// Texts of any script are found by their own words.
pub async fn any_language_is_found(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let texts = [
        "東京は日本の首都です",
        "Прекрасная погода в Москве",
        "大韓民國 대한민국은 민주공화국이다",
        "Der Bär wohnt in der Straße",
        "القاهرة عاصمة مصر",
        "ประเทศไทยมีอาหารอร่อย",
    ];
    let draft = Draft::of(store, &library.uid, &texts)
        .await
        .concept("東京", &[0])
        .concept("Москва", &[1]);
    draft.publish(store).await;
    for (text, position) in [
        ("東京", 0),
        ("ПОГОДА", 1),
        ("대한민국", 2),
        ("bar strasse", 3),
        ("القاهرة", 4),
        ("อาหาร", 5),
    ] {
        let found = store.fulltext_leg(text, &everything(), 10).await.unwrap();
        assert_eq!(
            found.first().map(|hit| &hit.chunk_uid),
            Some(&draft.chunk(position)),
            "{text}"
        );
    }
    assert_eq!(
        by_graph(store, "東京タワー", &everything(), 0).await,
        only([draft.chunk(0)])
    );
    assert_eq!(
        by_graph(store, "москва", &everything(), 0).await,
        only([draft.chunk(1)])
    );
}

/// The graph leg finds what mentions a named concept, and as many steps further as it is asked to go.
pub async fn the_graph_is_walked_as_far_as_asked(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let mut drafts = Vec::new();
    for (near, far) in [
        ("Alpha Wave", "Beta"),
        ("Beta", "Gamma"),
        ("Gamma", "Delta"),
        ("Unrelated", "Else"),
    ] {
        let draft = Draft::of(store, &library.uid, &["one", "two"])
            .await
            .concept(near, &[0])
            .concept(far, &[0]);
        draft.publish(store).await;
        drafts.push(draft);
    }
    let reach = |count: usize| only(drafts[..count].iter().map(|draft| draft.chunk(0)));
    assert_eq!(
        by_graph(store, "what is an alpha wave?", &everything(), 0).await,
        reach(1)
    );
    assert_eq!(by_graph(store, "alpha waves", &everything(), 1).await, reach(2));
    assert_eq!(by_graph(store, "alpha waves", &everything(), 2).await, reach(3));
    let hits = store
        .graph_leg("alpha waves", &everything(), 2, 100)
        .await
        .unwrap();
    assert_eq!(hits[0].chunk_uid, drafts[0].chunk(0), "what is named comes first");
    assert!(
        hits[0].score > hits[1].score && hits[1].score > hits[2].score,
        "{hits:?}"
    );
    assert_eq!(
        store
            .graph_leg("alpha waves", &everything(), 2, 1)
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(by_graph(store, "epsilon", &everything(), 2).await.is_empty());
    let related = store
        .related_concepts(&ConceptUid::derive("beta"), None, 10)
        .await
        .unwrap();
    let names: BTreeSet<&str> = related.iter().map(|(concept, _)| concept.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["Alpha Wave", "Gamma"]));
    assert!(related.iter().all(|(_, strength)| *strength > 0.0));
    assert_eq!(
        store
            .related_concepts(&ConceptUid::derive("beta"), None, 1)
            .await
            .unwrap()
            .len(),
        1
    );
}

/// Concepts come most mentioned first, with their mentions inside the scope.
pub async fn concepts_are_counted_inside_the_scope(store: &dyn KnowledgeStore) {
    let global = library(store, "global", None).await;
    let mine = library(store, "mine", Some("w")).await;
    let first = Draft::of(store, &global.uid, &["a", "b", "c"])
        .await
        .concept("Often", &[0, 1, 2])
        .concept("Seldom", &[1]);
    first.publish(store).await;
    let second = Draft::of(store, &mine.uid, &["a"])
        .await
        .concept("OFTEN", &[0])
        .concept("Mine", &[0]);
    second.publish(store).await;
    let count = async |filter: ConceptFilter| {
        let page = store.concepts(&filter, page()).await.unwrap();
        assert_eq!(page.total, page.rows.len() as u64);
        page.rows
            .into_iter()
            .map(|concept| (concept.name, concept.mentions))
            .collect::<Vec<_>>()
    };
    let named = |pairs: &[(&str, u64)]| {
        pairs
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect::<Vec<_>>()
    };
    let all = ConceptFilter::default();
    assert_eq!(
        count(all.clone()).await,
        named(&[("Often", 4), ("Mine", 1), ("Seldom", 1)])
    );
    let scoped = ConceptFilter {
        scope: Some(Scope::global()),
        ..all.clone()
    };
    assert_eq!(count(scoped.clone()).await, named(&[("Often", 3), ("Seldom", 1)]));
    let of_item = ConceptFilter {
        item_uid: Some(second.item.uid.clone()),
        ..all.clone()
    };
    assert_eq!(count(of_item).await, named(&[("Mine", 1), ("Often", 1)]));
    let of_library = ConceptFilter {
        library_uid: Some(mine.uid.clone()),
        ..scoped
    };
    assert!(count(of_library).await.is_empty());
    let by_name = ConceptFilter {
        name_contains: Some("SELD".to_owned()),
        ..all
    };
    assert_eq!(count(by_name).await, named(&[("Seldom", 1)]));
    let chunks = store
        .chunks_of_concept(&ConceptUid::derive("often"), None, PageRequest::new(1, 2))
        .await
        .unwrap();
    assert_eq!((chunks.total, chunks.rows.len()), (4, 2));
}

/// A deleted library leaves nothing behind; concepts that others mention stay.
pub async fn deleting_a_library_leaves_nothing_but_shared_concepts(store: &dyn KnowledgeStore) {
    let gone = library(store, "gone", None).await;
    let kept = library(store, "kept", None).await;
    let in_gone = Draft::of(store, &gone.uid, &["zeppelin one", "two"])
        .await
        .concept("Shared", &[0])
        .concept("Staged", &[0])
        .concept("Lonely", &[1]);
    in_gone.publish(store).await;
    let in_kept = Draft::of(store, &kept.uid, &["zeppelin three"])
        .await
        .concept("Shared", &[0]);
    in_kept.publish(store).await;
    let staged = Draft::of(store, &kept.uid, &["four"])
        .await
        .concept("Staged", &[0]);
    staged.stage(store).await;
    let also_gone = Draft::of(store, &gone.uid, &["five"]).await;
    also_gone.stage(store).await;
    assert_eq!(by_text(store, "zeppelin", &everything()).await.len(), 2);
    assert_eq!(by_vector(store, 0, &everything(), 10).await.len(), 3);

    let removed = store.delete_library(&gone.uid).await.unwrap().unwrap();
    let items: BTreeSet<ItemUid> = removed.items.into_iter().collect();
    assert_eq!(
        items,
        BTreeSet::from([in_gone.item.uid.clone(), also_gone.item.uid.clone()])
    );
    assert_eq!((removed.chunks, removed.concepts), (3, 1));
    assert!(store.delete_library(&gone.uid).await.unwrap().is_none());
    assert!(store.library(&gone.uid).await.unwrap().is_none());
    assert_eq!(store.collections(None, None, page()).await.unwrap().total, 1);
    assert!(store.item(&in_gone.item.uid).await.unwrap().is_none());
    assert!(store.chunk(&in_gone.chunk(0), None).await.unwrap().is_none());
    let left = only([in_kept.chunk(0)]);
    assert_eq!(by_text(store, "zeppelin", &everything()).await, left);
    assert_eq!(uids(&by_vector(store, 0, &everything(), 10).await), left);
    assert_eq!(
        by_graph(store, "shared lonely staged", &everything(), 2).await,
        left
    );
    let report = store.report().await.unwrap();
    assert_eq!((report.libraries, report.items, report.staged_items), (1, 1, 1));
    assert_eq!((report.chunks, report.concepts), (1, 2));
    assert_eq!(report.problems, [""; 0]);
    let again = library(store, "gone", None).await;
    assert_ne!(again.uid, gone.uid);
}

/// A deleted collection takes its items, visible or not.
pub async fn deleting_a_collection_takes_its_items(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let shelf = store
        .create_collection(&library.uid, "shelf", "", now())
        .await
        .unwrap();
    let mut on_shelf = Draft::of(store, &library.uid, &["zeppelin", "two"])
        .await
        .concept("Shelf", &[0]);
    on_shelf.item.collection_uid = shelf.uid.clone();
    on_shelf.publish(store).await;
    let other = published(store, &library.uid, &["zeppelin"]).await;
    let removed = store.delete_collection(&shelf.uid).await.unwrap().unwrap();
    assert_eq!(
        (removed.items, removed.chunks, removed.concepts),
        (vec![on_shelf.item.uid.clone()], 2, 1)
    );
    assert!(store.collection(&shelf.uid).await.unwrap().is_none());
    assert_eq!(
        by_text(store, "zeppelin", &everything()).await,
        only([other.chunk(0)])
    );
    assert_eq!(store.library(&library.uid).await.unwrap().unwrap().chunk_count, 1);
    assert_eq!(problems(store).await, [""; 0]);
}

/// A deleted item is gone from every leg and list at once.
pub async fn deleting_an_item_takes_it_from_every_read(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let draft = Draft::of(store, &library.uid, &["zeppelin", "two"])
        .await
        .concept("Zeppelin", &[0]);
    draft.publish(store).await;
    for found in found_by_any_leg(store, "zeppelin", &everything()).await {
        assert!(!found.is_empty());
    }
    let removed = store.delete_item(&draft.item.uid).await.unwrap().unwrap();
    assert_eq!(
        (removed.items, removed.chunks, removed.concepts),
        (vec![draft.item.uid.clone()], 2, 1)
    );
    for found in found_by_any_leg(store, "zeppelin", &everything()).await {
        assert!(found.is_empty());
    }
    assert!(store.delete_item(&draft.item.uid).await.unwrap().is_none());
    assert!(
        store
            .chunk_hits(&[draft.chunk(0)], &everything())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(problems(store).await, [""; 0]);
}

/// Title, metadata and collection change, and searches notice.
pub async fn updating_an_item_moves_it(store: &dyn KnowledgeStore) {
    let library_one = library(store, "one", None).await;
    let library_two = library(store, "two", None).await;
    let draft = published(store, &library_one.uid, &["text"]).await;
    let shelf = store
        .create_collection(&library_one.uid, "shelf", "", now())
        .await
        .unwrap();
    let on_shelf = SearchFilter {
        collection_uid: Some(shelf.uid.clone()),
        ..everything()
    };
    assert!(by_text(store, "zeppelin", &everything()).await.is_empty());
    assert!(by_vector(store, 0, &on_shelf, 10).await.is_empty());
    let later = now() + TimeDelta::seconds(5);
    let item = store
        .update_item(&draft.item.uid, Some("Zeppelins"), None, Some(&shelf.uid), later)
        .await
        .unwrap();
    assert_eq!(
        (item.title.as_str(), &item.collection_uid),
        ("Zeppelins", &shelf.uid)
    );
    assert_eq!((item.updated_at, item.created_at), (later, now()));
    assert_eq!(item.metadata, draft.item.metadata);
    assert_eq!(
        by_text(store, "zeppelin", &on_shelf).await,
        only([draft.chunk(0)])
    );
    assert_eq!(by_vector(store, 0, &on_shelf, 10).await.len(), 1);
    assert_eq!(store.collection(&shelf.uid).await.unwrap().unwrap().item_count, 1);
    assert_eq!(
        store
            .default_collection(&library_one.uid)
            .await
            .unwrap()
            .item_count,
        0
    );
    let metadata = serde_json::Map::new();
    let item = store
        .update_item(&draft.item.uid, None, Some(&metadata), None, later)
        .await
        .unwrap();
    assert_eq!((item.title.as_str(), item.metadata.len()), ("Zeppelins", 0));
    let titled = ItemFilter {
        title_contains: Some("ZEPP".to_owned()),
        ..ItemFilter::default()
    };
    assert_eq!(store.items(&titled, page()).await.unwrap().total, 1);
    let elsewhere = store.default_collection(&library_two.uid).await.unwrap().uid;
    let refused = store
        .update_item(&draft.item.uid, None, None, Some(&elsewhere), later)
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let missing = store
        .update_item(&ItemUid::generate(), None, None, None, later)
        .await;
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
    assert_eq!(problems(store).await, [""; 0]);
}

/// Lists come in pages that fit together, newest first where they have an age, and tell how long they are.
pub async fn lists_come_in_pages(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let mut drafts = Vec::new();
    for number in 0..5 {
        let mut draft = Draft::of(store, &library.uid, &["a", "b", "c"]).await;
        draft.item.title = format!("Item {number}");
        draft.item.created_at = now() + TimeDelta::seconds(number);
        draft.publish(store).await;
        drafts.push(draft);
    }
    let filter = ItemFilter {
        library_uid: Some(library.uid.clone()),
        ..ItemFilter::default()
    };
    let mut titles = Vec::new();
    for offset in [0, 2, 4, 6] {
        let page = store.items(&filter, PageRequest::new(offset, 2)).await.unwrap();
        assert_eq!(page.total, 5);
        titles.extend(page.rows.into_iter().map(|item| item.title));
    }
    assert_eq!(titles, ["Item 4", "Item 3", "Item 2", "Item 1", "Item 0"]);
    let chunks = store
        .chunks(&drafts[0].item.uid, PageRequest::new(1, 5))
        .await
        .unwrap();
    assert_eq!(chunks.total, 3);
    assert_eq!(
        chunks.rows.iter().map(|chunk| chunk.position).collect::<Vec<_>>(),
        [1, 2]
    );
    let beyond = store
        .libraries(&LibraryFilter::default(), PageRequest::new(9, 5))
        .await
        .unwrap();
    assert_eq!((beyond.total, beyond.rows.len()), (1, 0));
}

/// Items come by age, title, number of chunks or size, either way; equal ones newest first.
pub async fn items_come_in_the_order_asked_for(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let texts = ["a", "b", "c"];
    for (title, chunks, size) in [
        ("banana", 2, 30),
        ("Apple", 2, 10),
        ("cherry", 1, 20),
        ("Date", 3, 20),
    ] {
        let mut draft = Draft::of(store, &library.uid, &texts[..chunks]).await;
        draft.item.title = title.to_owned();
        draft.item.byte_size = size;
        draft.item.created_at = now() + TimeDelta::seconds(title.len() as i64 * 10 + size as i64);
        draft.publish(store).await;
    }
    // Ages: Date 60, Apple 60, cherry 80, banana 90; Date is the later one written.
    for (order, expected) in [
        (ItemOrder::NewestFirst, ["banana", "cherry", "Date", "Apple"]),
        (ItemOrder::OldestFirst, ["Date", "Apple", "cherry", "banana"]),
        (ItemOrder::TitleAscending, ["Apple", "banana", "cherry", "Date"]),
        (ItemOrder::TitleDescending, ["Date", "cherry", "banana", "Apple"]),
        (
            ItemOrder::FewestChunksFirst,
            ["cherry", "banana", "Apple", "Date"],
        ),
        (ItemOrder::MostChunksFirst, ["Date", "banana", "Apple", "cherry"]),
        (ItemOrder::SmallestFirst, ["Apple", "cherry", "Date", "banana"]),
        (ItemOrder::LargestFirst, ["banana", "cherry", "Date", "Apple"]),
    ] {
        let filter = ItemFilter {
            order,
            ..ItemFilter::default()
        };
        let mut titles = Vec::new();
        for offset in [0, 3] {
            let rows = store
                .items(&filter, PageRequest::new(offset, 3))
                .await
                .unwrap()
                .rows;
            titles.extend(rows.into_iter().map(|item| item.title));
        }
        assert_eq!(titles, expected, "{order:?}");
    }
}

/// A chunk names its item, its place and its neighbours.
pub async fn a_chunk_knows_its_neighbours(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let odd = "second \u{0} with a NUL, \"quotes\" and émoji 🎈";
    let draft = published(store, &library.uid, &["first", odd, "third"]).await;
    let chunk = store.chunk(&draft.chunk(1), None).await.unwrap().unwrap();
    assert_eq!(chunk.text, odd);
    let hits = store.chunk_hits(&[draft.chunk(1)], &everything()).await.unwrap();
    assert_eq!(hits[0].text, odd);
    assert_eq!(
        (&chunk.item_uid, chunk.item_title.as_str()),
        (&draft.item.uid, "Untitled")
    );
    assert_eq!(
        (&chunk.library_uid, chunk.position, chunk.page),
        (&library.uid, 1, Some(2))
    );
    assert_eq!((chunk.byte_start, chunk.byte_end), (5, 5 + odd.len() as u64));
    assert_eq!(
        (chunk.previous, chunk.next),
        (Some(draft.chunk(0)), Some(draft.chunk(2)))
    );
    let first = store.chunk(&draft.chunk(0), None).await.unwrap().unwrap();
    assert_eq!((first.previous, first.next), (None, Some(draft.chunk(1))));
    assert!(store.chunk(&ChunkUid::generate(), None).await.unwrap().is_none());
}

/// Items that were begun and never finished can be found and removed.
pub async fn old_staged_items_are_named(store: &dyn KnowledgeStore) {
    let library = library(store, "L", None).await;
    let old = Draft::of(store, &library.uid, &["a"]).await;
    old.stage(store).await;
    published(store, &library.uid, &["b"]).await;
    assert!(store.staged_before(now()).await.unwrap().is_empty());
    let found = store.staged_before(now() + TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&old.item.uid));
    let removed = store.delete_item(&old.item.uid).await.unwrap().unwrap();
    assert_eq!((removed.items.len(), removed.chunks), (1, 1));
    assert_eq!(problems(store).await, [""; 0]);
}

/// The report counts what there is and finds nothing wrong after all sorts of changes.
pub async fn a_store_in_order_reports_no_problem(store: &dyn KnowledgeStore) {
    let [(one, in_one), (_, in_two), _] = three_libraries(store).await;
    store.delete_item(&in_two.item.uid).await.unwrap();
    let shelf = store
        .create_collection(&one.uid, "shelf", "", now())
        .await
        .unwrap();
    store
        .update_item(&in_one.item.uid, Some("New"), None, Some(&shelf.uid), now())
        .await
        .unwrap();
    Draft::of(store, &one.uid, &["staged"]).await.stage(store).await;
    let report = store.report().await.unwrap();
    assert_eq!((report.libraries, report.items, report.staged_items), (3, 2, 1));
    assert_eq!((report.chunks, report.concepts), (4, 3));
    assert_eq!(report.vectors, [("conformance (48)".to_owned(), 5)]);
    assert_eq!(report.problems, [""; 0]);
}
