//! Vector searches whose scope is a small part of a graph of 20,000 chunks.

use std::collections::HashMap;

use mnemosyne_domain::ports::{KnowledgeStore as _, VectorQuery};
use mnemosyne_domain::{ChunkUid, Library, Scope, SearchFilter, VectorSpace, WorkspaceId};
use mnemosyne_graph::neo4j::Neo4jStore;

use super::support::{
    Numbers, Sent, connect, fresh, library, listen_in, narrows, publish, run, server, settings, space, stage,
};

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

/// How an index was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// For so many of all vectors.
    Whole(u64),
    /// For so many of each library.
    Narrowed(u64),
}

/// The questions to indexes since the last time.
fn asked(sent: &Sent) -> Vec<Asked> {
    let mut sent = sent.lock().unwrap();
    let mut narrowed = false;
    let mut asked = Vec::new();
    for place in 0..sent.len() {
        let rest = &sent[place..];
        if rest.starts_with(b"db.index.vector.queryNodes") {
            narrowed = false;
        } else if rest.starts_with(b"SEARCH c IN") {
            narrowed = true;
        } else if let Some(number) = rest.strip_prefix(b"\x8aneighbours") {
            let neighbours = match *number {
                [0xc9, high, low, ..] => u64::from(u16::from_be_bytes([high, low])),
                [0xca, a, b, c, d, ..] => u64::from(u32::from_be_bytes([a, b, c, d])),
                _ => panic!("a number of neighbours"),
            };
            asked.push(if narrowed {
                Asked::Narrowed(neighbours)
            } else {
                Asked::Whole(neighbours)
            });
        }
    }
    sent.clear();
    asked
}

/// A store whose statements are heard.
async fn overheard() -> (Neo4jStore, Sent) {
    let mut settings = settings();
    let place = settings.address.url.split_once("://").unwrap().1.to_owned();
    let (address, sent) = listen_in(place, None).await;
    settings.address.url = format!("bolt://{address}");
    (connect(settings), sent)
}

/// A large library, and two small ones that hold nothing near to what is looked for. The graph says of itself that each of
/// these is a hundredth of it, and larger than what is compared one by one.
struct Shelves {
    store: Neo4jStore,
    sent: Sent,
    model: VectorSpace,
    small: Library,
    other: Library,
    in_small: HashMap<ChunkUid, Vec<f32>>,
    in_other: HashMap<ChunkUid, Vec<f32>>,
    /// What is looked for.
    vector: Vec<f32>,
}

impl Shelves {
    /// In a graph that is empty.
    async fn fill(writer: &Neo4jStore) -> Self {
        let model = space("small vectors", DIMENSION);
        let mut numbers = Numbers(0x5EED);
        let (here, opposite) = (vec![0.3; DIMENSION], vec![-0.3; DIMENSION]);
        let large = library(writer, "large", None, &model).await;
        let small = library(writer, "small", None, &model).await;
        let other = library(writer, "other", None, &model).await;
        fill(writer, &large, &model, &mut numbers, (&here, 3_000)).await;
        let in_small = fill(writer, &small, &model, &mut numbers, (&opposite, 1_000)).await;
        let in_other = fill(writer, &other, &model, &mut numbers, (&opposite, 300)).await;
        for (name, count) in [("large", 343_000), ("small", 3_500), ("other", 3_500)] {
            let say = format!(
                "MATCH (l:Library {{name: '{name}'}})-[:CONTAINS]->(o:Collection) \
                 SET l.chunk_count = {count}, o.chunk_count = {count}"
            );
            run(&server(), &say).await;
        }
        let (store, sent) = overheard().await;
        Self {
            store,
            sent,
            model,
            small,
            other,
            in_small,
            in_other,
            vector: numbers.near(&here, 0.5),
        }
    }

    /// Looks in libraries: the page is full, all of it from `inside`, and near. Answers how the index was asked for it.
    async fn look(&self, filter: &SearchFilter, inside: &[&HashMap<ChunkUid, Vec<f32>>]) -> Vec<Asked> {
        asked(&self.sent);
        let found = recall(&self.store, &self.model, &self.vector, filter, inside).await;
        assert!(found >= 0.9, "{found}");
        asked(&self.sent)
    }

    /// See [`Shelves::look`].
    async fn look_in_small(&self) -> Vec<Asked> {
        self.look(&within(&[&self.small]), &[&self.in_small]).await
    }
}

fn within(libraries: &[&Library]) -> SearchFilter {
    SearchFilter::within(Scope {
        libraries: Some(libraries.iter().map(|library| library.uid.clone()).collect()),
        ..Scope::global()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_libraries_are_looked_for_inside_the_index_where_it_knows_them() {
    use Asked::{Narrowed, Whole};
    let (writer, _turn) = fresh().await;
    let shelves = Shelves::fill(&writer).await;
    let narrows = narrows(&server()).await;
    let expected = |narrowed: &[Asked], whole: &[Asked]| if narrows { narrowed } else { whole }.to_vec();

    // A hundredth: without the library, as many are asked for as ever are.
    let one = shelves.look_in_small().await;
    assert_eq!(one, expected(&[Narrowed(200)], &[Whole(20_000)]));
    let both = within(&[&shelves.small, &shelves.other]);
    let both = shelves.look(&both, &[&shelves.in_small, &shelves.in_other]).await;
    assert_eq!(both, expected(&[Narrowed(200)], &[Whole(10_000), Whole(20_000)]));

    // Nothing that is not visible, however near it is, and a full page all the same.
    let near: Vec<(String, Vec<f32>)> = (0..250)
        .map(|place| (format!("near {place}"), shelves.vector.clone()))
        .collect();
    stage(&writer, &shelves.small, &shelves.model, ("hidden", 1), &near).await;
    let one = shelves.look_in_small().await;
    assert_eq!(one, expected(&[Narrowed(200), Narrowed(800)], &[Whole(20_000)]));

    // A collection, and more libraries than are asked for one by one.
    let collection = SearchFilter {
        collection_uid: Some(writer.default_collection(&shelves.small.uid).await.unwrap().uid),
        ..within(&[&shelves.small])
    };
    assert_eq!(
        shelves.look(&collection, &[&shelves.in_small]).await,
        [Whole(20_000)]
    );
    let mut further = Vec::new();
    for place in 0..8 {
        further.push(library(&writer, &format!("further {place}"), None, &shelves.model).await);
    }
    let mut many: Vec<&Library> = further.iter().collect();
    many[0] = &shelves.small;
    let eight = shelves.look(&within(&many), &[&shelves.in_small]).await;
    assert_eq!(eight, expected(&[Narrowed(200), Narrowed(800)], &[Whole(20_000)]));
    many.push(&further[0]);
    let nine = shelves.look(&within(&many), &[&shelves.in_small]).await;
    assert_eq!(nine, [Whole(20_000)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_does_not_know_the_libraries_serves_too_also_in_the_place_of_one_that_did() {
    use Asked::{Narrowed, Whole};
    let (writer, _turn) = fresh().await;
    let mut shelves = Shelves::fill(&writer).await;
    let graph = server();
    shelves.look_in_small().await;
    run(&graph, "DROP INDEX chunk_embedding_1_index").await;
    run(
        &graph,
        "CREATE VECTOR INDEX chunk_embedding_1_index FOR (c:Chunk) ON (c.embedding_1) OPTIONS {indexConfig: \
         {`vector.dimensions`: 16, `vector.similarity_function`: 'cosine', `vector.quantization.enabled`: false}}",
    )
    .await;
    run(&graph, "CALL db.awaitIndexes(120)").await;
    let mut refused = shelves.look_in_small().await;
    if narrows(&graph).await {
        assert_eq!(refused.remove(0), Narrowed(200));
    }
    assert_eq!(refused, [Whole(20_000)]);
    assert_eq!(shelves.look_in_small().await, [Whole(20_000)]);
    // Another process.
    (shelves.store, shelves.sent) = overheard().await;
    assert_eq!(shelves.look_in_small().await, [Whole(20_000)]);
}
