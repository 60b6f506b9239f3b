//! Stores in temporary folders, and items to put into them.

use std::path::Path;

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{ChunkVector, KnowledgeStore as _, PublishOutcome};
use mnemosyne_domain::{
    ChunkUid, ConceptKind, ConceptMention, ItemUid, Library, LibraryType, NewChunk, NewItem, NewLibrary,
    VectorSpace,
};
use mnemosyne_graph::embedded::EmbeddedStore;
use tempfile::TempDir;

pub(crate) async fn fresh() -> (EmbeddedStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (open(folder.path()).await, folder)
}

pub(crate) async fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&folder.join("knowledge")).await.unwrap()
}

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(crate) fn space(dimension: usize) -> VectorSpace {
    VectorSpace {
        model: "test".to_owned(),
        dimension,
    }
}

pub(crate) async fn library(store: &EmbeddedStore, name: &str, dimension: usize) -> Library {
    let new = NewLibrary {
        name: name.to_owned(),
        workspace_id: None,
        library_type: LibraryType::Journal,
        description: String::new(),
    };
    let made = store.create_library(new, now()).await.unwrap();
    store.adopt_model(&made.uid, &space(dimension)).await.unwrap();
    made
}

/// Numbers that look random and repeat.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From -1 to 1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

pub(crate) fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

/// Stages an item with its chunks and vectors, and one concept that all its chunks mention.
pub(crate) async fn stage(
    store: &EmbeddedStore,
    library: &Library,
    source_ref: &str,
    chunks: &[(String, Vec<f32>)],
) -> ItemUid {
    let uid = ItemUid::generate();
    let collection = store.default_collection(&library.uid).await.unwrap().uid;
    let item = NewItem {
        uid: uid.clone(),
        library_uid: library.uid.clone(),
        collection_uid: collection,
        title: source_ref.to_owned(),
        source_ref: source_ref.to_owned(),
        content_hash: String::new(),
        revision: 1,
        filename: format!("{source_ref}.txt"),
        content_type: "text/plain".to_owned(),
        byte_size: 1,
        original_digest: String::new(),
        text_digest: String::new(),
        authors: Vec::new(),
        language: None,
        page_count: None,
        extraction: "ok".to_owned(),
        metadata: serde_json::Map::new(),
        created_at: now(),
    };
    store.stage_item(item).await.unwrap();
    let new: Vec<NewChunk> = chunks
        .iter()
        .zip(0..)
        .map(|((text, _), position)| NewChunk {
            uid: ChunkUid::derive(&uid, position),
            position,
            text: text.clone(),
            heading_path: Vec::new(),
            page: None,
            byte_start: 0,
            byte_end: text.len() as u64,
        })
        .collect();
    store.stage_chunks(&uid, &new).await.unwrap();
    let vectors: Vec<ChunkVector> = chunks
        .iter()
        .zip(&new)
        .map(|((_, vector), chunk)| ChunkVector {
            chunk_uid: chunk.uid.clone(),
            vector: vector.clone(),
        })
        .collect();
    store
        .put_vectors(&space(chunks[0].1.len()), &vectors)
        .await
        .unwrap();
    let concept = ConceptMention {
        name: "Shared concept".to_owned(),
        kind: ConceptKind::Topic,
        extracted_by: "local".to_owned(),
        chunk_positions: (0..new.len() as u32).collect(),
        weight: 0.5,
    };
    store.stage_concepts(&uid, &[concept]).await.unwrap();
    uid
}

pub(crate) async fn publish(
    store: &EmbeddedStore,
    library: &Library,
    source_ref: &str,
    chunks: &[(String, Vec<f32>)],
) -> ItemUid {
    let uid = stage(store, library, source_ref, chunks).await;
    let outcome = store
        .publish_item(&uid, chunks.len() as u64, now())
        .await
        .unwrap();
    assert!(matches!(outcome, PublishOutcome::Published { .. }));
    uid
}
