//! The embedded knowledge store at size: `cargo bench -p mnemosyne-benches --bench store -- [--chunks 100000]
//! [--dimension 1024] [--queries 200]`. One library in a hundred is what a scoped search sees.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::time::Instant;

use chrono::Utc;
use mnemosyne_benches::{Clusters, Runs, Vocabulary, argument};
use mnemosyne_domain::ports::{ChunkVector, KnowledgeStore, VectorQuery};
use mnemosyne_domain::{
    ChunkUid, ConceptKind, ConceptMention, ItemUid, LibraryType, NewChunk, NewItem, NewLibrary, Scope,
    SearchFilter, VectorSpace,
};
use mnemosyne_graph::embedded::EmbeddedStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LIBRARIES: usize = 100;
const CHUNKS_OF_ITEM: usize = 10;
const WORDS_OF_CHUNK: usize = 150;
const LIMIT: usize = 20;

#[tokio::main]
async fn main() {
    let chunks = argument("chunks", 100_000);
    let dimension = argument("dimension", 1_024);
    let queries = argument("queries", 200);
    let mut rng = StdRng::seed_from_u64(7);
    let vocabulary = Vocabulary::new(60_000, &mut rng);
    let clusters = Clusters::new(2_000, dimension, &mut rng);
    let space = VectorSpace {
        model: "bench".to_owned(),
        dimension,
    };
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).await.unwrap();

    let began = Instant::now();
    let libraries = fill(&store, chunks, &space, &vocabulary, &clusters, &mut rng).await;
    let seconds = began.elapsed().as_secs_f64();
    println!("{chunks} chunks of {dimension} dimensions in {LIBRARIES} libraries");
    println!(
        "{:<44} {:>12.0} chunks/s",
        "writing, an item of ten chunks at a time",
        chunks as f64 / seconds
    );
    drop(store);

    let began = Instant::now();
    let store = EmbeddedStore::open(folder.path()).await.unwrap();
    store.warm().await.unwrap();
    println!(
        "{:<44} {:>9.2} s",
        "opening and loading",
        began.elapsed().as_secs_f64()
    );
    println!("{:<44} {:>9} MB", "memory (PSS)", pss_kb() / 1024);

    let everything = SearchFilter::within(Scope::global());
    let mut one = everything.clone();
    one.library_uid = libraries.first().cloned();
    for (name, filter) in [("unscoped", &everything), ("scoped to 1 %", &one)] {
        let mut times = [const { Vec::new() }; 4];
        for round in 0..queries + 10 {
            let vector = clusters.vector(&mut rng);
            let text = format!(
                "{} {} {}",
                vocabulary.nth(rng.random_range(20..400)),
                vocabulary.nth(rng.random_range(100..4_000)),
                vocabulary.nth(rng.random_range(100..4_000))
            );
            let question = VectorQuery {
                space: &space,
                vector: &vector,
            };
            let whole = Instant::now();
            let (vector, words, graph) = tokio::join!(
                timed(store.vector_leg(question, filter, 50)),
                timed(store.fulltext_leg(&text, filter, 30)),
                timed(store.graph_leg(&text, filter, 2, 30)),
            );
            let mut found: Vec<ChunkUid> = Vec::new();
            for hit in vector
                .0
                .unwrap()
                .into_iter()
                .chain(words.0.unwrap())
                .chain(graph.0.unwrap())
            {
                if found.len() < LIMIT && !found.contains(&hit.chunk_uid) {
                    found.push(hit.chunk_uid);
                }
            }
            assert!(!store.chunk_hits(&found, filter).await.unwrap().is_empty());
            // The first rounds only warm the caches of the operating system.
            if round >= 10 {
                for (times, time) in times
                    .iter_mut()
                    .zip([whole.elapsed(), vector.1, words.1, graph.1])
                {
                    times.push(time);
                }
            }
        }
        let [whole, vector, words, graph] = times;
        Runs::new(whole).print(&format!("search, {name}"));
        Runs::new(vector).print("  vector leg (beside the others)");
        Runs::new(words).print("  full-text leg");
        Runs::new(graph).print("  graph leg");
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, std::time::Duration) {
    let began = Instant::now();
    (work.await, began.elapsed())
}

async fn fill(
    store: &EmbeddedStore,
    chunks: usize,
    space: &VectorSpace,
    vocabulary: &Vocabulary,
    clusters: &Clusters,
    rng: &mut StdRng,
) -> Vec<mnemosyne_domain::LibraryUid> {
    let mut libraries = Vec::new();
    for index in 0..LIBRARIES {
        let new = NewLibrary {
            name: format!("library {index}"),
            workspace_id: None,
            library_type: LibraryType::ALL[index % LibraryType::ALL.len()],
            description: String::new(),
        };
        let library = store.create_library(new, Utc::now()).await.unwrap();
        store.adopt_model(&library.uid, space).await.unwrap();
        libraries.push(library.uid);
    }
    for item in 0..chunks / CHUNKS_OF_ITEM {
        let uid = ItemUid::generate();
        let library = &libraries[item % LIBRARIES];
        let collection = store.default_collection(library).await.unwrap();
        let new = NewItem {
            uid: uid.clone(),
            library_uid: library.clone(),
            collection_uid: collection.uid,
            title: vocabulary.text(5, rng),
            source_ref: format!("item-{item}"),
            content_hash: format!("{item}"),
            revision: i64::try_from(item).unwrap(),
            filename: format!("{item}.md"),
            content_type: "text/markdown".to_owned(),
            byte_size: 10_000,
            original_digest: "0".repeat(64),
            text_digest: "0".repeat(64),
            authors: Vec::new(),
            language: None,
            page_count: None,
            extraction: "ok".to_owned(),
            metadata: serde_json::Map::new(),
            created_at: Utc::now(),
        };
        store.stage_item(new).await.unwrap();
        let drafts: Vec<NewChunk> = (0..CHUNKS_OF_ITEM)
            .map(|position| {
                let position = u32::try_from(position).unwrap();
                NewChunk {
                    uid: ChunkUid::derive(&uid, position),
                    position,
                    text: vocabulary.text(WORDS_OF_CHUNK, rng),
                    heading_path: vec![vocabulary.text(3, rng)],
                    page: None,
                    byte_start: 0,
                    byte_end: 1,
                }
            })
            .collect();
        store.stage_chunks(&uid, &drafts).await.unwrap();
        let vectors: Vec<ChunkVector> = drafts
            .iter()
            .map(|draft| ChunkVector {
                chunk_uid: draft.uid.clone(),
                vector: clusters.vector(rng),
            })
            .collect();
        store.put_vectors(space, &vectors).await.unwrap();
        let concepts: Vec<ConceptMention> = (0..8)
            .map(|index| ConceptMention {
                name: format!(
                    "{} {}",
                    vocabulary.nth(rng.random_range(100..4_000)),
                    vocabulary.nth(index)
                ),
                kind: ConceptKind::Topic,
                extracted_by: "local".to_owned(),
                chunk_positions: vec![index as u32, index as u32 + 1],
                weight: 0.5,
            })
            .collect();
        store.stage_concepts(&uid, &concepts).await.unwrap();
        store
            .publish_item(&uid, drafts.len() as u64, Utc::now())
            .await
            .unwrap();
    }
    libraries
}

fn pss_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or_default()
}
