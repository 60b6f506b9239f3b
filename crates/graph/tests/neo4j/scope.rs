//! Vector searches whose scope is a small part of a graph of 20,000 chunks.

use std::collections::HashMap;

use mnemosyne_domain::ports::{KnowledgeStore as _, VectorQuery};
use mnemosyne_domain::{ChunkUid, Library, Scope, SearchFilter, VectorSpace, WorkspaceId};
use mnemosyne_graph::neo4j::Neo4jStore;

use super::support::{Numbers, fresh, library, publish, space};

const DIMENSION: usize = 16;
const PER_ITEM: usize = 500;
const LIMIT: usize = 50;

/// Fills a library with `count` chunks around `centre`; answers their vectors.
async fn fill(
    store: &Neo4jStore,
    shelf: &Library,
    model: &VectorSpace,
    numbers: &mut Numbers,
    around: (&[f32], usize),
) -> HashMap<ChunkUid, Vec<f32>> {
    let (centre, count) = around;
    let mut all = HashMap::new();
    for part in 0..count.div_ceil(PER_ITEM) {
        let chunks: Vec<(String, Vec<f32>)> = (0..PER_ITEM.min(count - part * PER_ITEM))
            .map(|place| (format!("text {part} {place}"), numbers.near(centre, 1.0)))
            .collect();
        let uid = publish(
            store,
            shelf,
            model,
            (&format!("{} {part}", shelf.name), 1),
            &chunks,
        )
        .await;
        all.extend(
            chunks
                .into_iter()
                .zip(0..)
                .map(|((_, vector), position)| (ChunkUid::derive(&uid, position), vector)),
        );
    }
    all
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// How many of the nearest are among the found ones, from 0 to 1, after checking the page itself.
async fn recall(
    store: &Neo4jStore,
    model: &VectorSpace,
    vector: &[f32],
    filter: &SearchFilter,
    inside: &[&HashMap<ChunkUid, Vec<f32>>],
) -> f64 {
    let query = VectorQuery { space: model, vector };
    let hits = store.vector_leg(query, filter, LIMIT).await.unwrap();
    assert_eq!(hits.len(), LIMIT, "a full page");
    assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
    let mut nearest: Vec<(f32, &ChunkUid)> = inside
        .iter()
        .flat_map(|chunks| chunks.iter())
        .map(|(uid, other)| (cosine(vector, other), uid))
        .collect();
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let known: HashMap<&ChunkUid, f32> = nearest.iter().map(|(cosine, uid)| (*uid, *cosine)).collect();
    for hit in &hits {
        let cosine = known[&hit.chunk_uid];
        assert!(
            (hit.score - f32::midpoint(1.0, cosine)).abs() < 1e-4,
            "{hit:?} {cosine}"
        );
    }
    let found = nearest[..LIMIT]
        .iter()
        .filter(|(_, uid)| hits.iter().any(|hit| hit.chunk_uid == **uid))
        .count();
    found as f64 / LIMIT as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_full_and_near_whatever_part_of_the_graph_is_inside() {
    let (store, _turn) = fresh().await;
    let model = space("small vectors", DIMENSION);
    let mut numbers = Numbers(0x5EED);
    let here = vec![0.3; DIMENSION];
    let opposite = vec![-0.3; DIMENSION];
    let large = library(&store, "large", None, &model).await;
    let far = library(&store, "far", None, &model).await;
    let small = library(&store, "small", Some("w"), &model).await;
    let in_large = fill(&store, &large, &model, &mut numbers, (&here, 15_800)).await;
    let in_far = fill(&store, &far, &model, &mut numbers, (&opposite, 4_000)).await;
    let in_small = fill(&store, &small, &model, &mut numbers, (&opposite, 200)).await;

    let global = SearchFilter::within(Scope::global());
    let within_far = SearchFilter {
        library_uid: Some(far.uid.clone()),
        ..global.clone()
    };
    let workspace = SearchFilter::within(Scope::workspace(WorkspaceId::parse("w").unwrap()));
    for _ in 0..5 {
        let vector = numbers.near(&here, 0.5);
        // One in a hundred, none of it near: compared one by one.
        let exact = recall(&store, &model, &vector, &workspace, &[&in_small]).await;
        assert!((exact - 1.0).abs() < 1e-9, "{exact}");
        // One in five, and again none of it near: the index finds only what is outside.
        let grown = recall(&store, &model, &vector, &within_far, &[&in_far]).await;
        assert!(grown >= 0.9, "{grown}");
        let everywhere = recall(&store, &model, &vector, &global, &[&in_large, &in_far]).await;
        assert!(everywhere >= 0.9, "{everywhere}");
    }
    // Full text in the small part, by words that are everywhere.
    let words = store.fulltext_leg("text", &workspace, LIMIT).await.unwrap();
    assert_eq!(words.len(), LIMIT);
    assert!(words.iter().all(|hit| in_small.contains_key(&hit.chunk_uid)));
}
