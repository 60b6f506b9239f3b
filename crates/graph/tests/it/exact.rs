//! The scan over 8-bit codes with exact comparison of the best finds what comparing everything would find.

use mnemosyne_domain::ports::{KnowledgeStore as _, VectorQuery};
use mnemosyne_domain::{ChunkUid, Scope, SearchFilter};

use crate::support::{Numbers, fresh, library, normalised, publish, space};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nearest_of_clustered_vectors_are_those_of_a_full_comparison() {
    const DIMENSION: usize = 96;
    let (store, _folder) = fresh().await;
    let library = library(&store, "L", DIMENSION).await;
    let mut numbers = Numbers(42);
    let centres: Vec<Vec<f32>> = (0..12)
        .map(|_| (0..DIMENSION).map(|_| numbers.float()).collect())
        .collect();
    let mut all: Vec<(ChunkUid, Vec<f32>)> = Vec::new();
    for part in 0..4 {
        let chunks: Vec<(String, Vec<f32>)> = (0..1000)
            .map(|number| {
                // Some clusters are so tight that the codes alone cannot tell their members apart.
                let spread = if number % 3 == 0 { 0.02 } else { 0.4 };
                let centre = &centres[(numbers.next() % 12) as usize];
                let vector = centre
                    .iter()
                    .map(|value| value + spread * numbers.float())
                    .collect();
                (format!("text {number}"), normalised(vector))
            })
            .collect();
        let item = publish(&store, &library, &format!("item {part}"), &chunks).await;
        for ((_, vector), position) in chunks.into_iter().zip(0..) {
            all.push((ChunkUid::derive(&item, position), vector));
        }
    }
    let filter = SearchFilter::within(Scope::global());
    for number in 0..30 {
        let centre = &centres[number % 12];
        let query = normalised(centre.iter().map(|value| value + 0.3 * numbers.float()).collect());
        let mut expected: Vec<f32> = all
            .iter()
            .map(|(_, vector)| vector.iter().zip(&query).map(|(a, b)| a * b).sum())
            .collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        let asked = VectorQuery {
            space: &space(DIMENSION),
            vector: &query,
        };
        let hits = store.vector_leg(asked, &filter, 10).await.unwrap();
        assert_eq!(hits.len(), 10);
        for (hit, cosine) in hits.iter().zip(&expected) {
            // Rounding may swap equals, never lose a better one.
            assert!(
                (hit.score - f32::midpoint(1.0, *cosine)).abs() < 1e-5,
                "query {number}: {hit:?} {cosine}"
            );
        }
    }
}
