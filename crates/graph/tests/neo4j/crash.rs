//! A process that is killed between the transaction that hides a large item and those that remove it.

use chrono::TimeDelta;
use mnemosyne_domain::ports::{KnowledgeStore as _, PublishOutcome, VectorQuery};
use mnemosyne_domain::{PageRequest, Scope, SearchFilter};

use super::support::{fresh, library, now, number, publish, server, space, stage};

/// More than are removed at once.
const MANY: usize = 2_500;

fn chunks(word: &str, count: usize) -> Vec<(String, Vec<f32>)> {
    (0..count)
        .map(|place| {
            let mut vector = vec![0.0; 48];
            vector[place % 48] = 1.0;
            (format!("{word} number{place}"), vector)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_publish_leaves_is_seen_by_no_read_and_found_by_the_upkeep() {
    let (store, _turn) = fresh().await;
    let model = space("conformance", 48);
    let shelf = library(&store, "L", None, &model).await;
    let old = publish(&store, &shelf, &model, ("s", 1), &chunks("zeppelin", MANY)).await;
    let new = stage(&store, &shelf, &model, ("s", 2), &chunks("airship", 3)).await;
    let published = PublishOutcome::Published {
        superseded: vec![old.clone()],
    };
    assert_eq!(store.publish_and_stop(&new, 3, now()).await.unwrap(), published);

    let graph = server();
    let parts = "MATCH (:Item {gone: 'superseded'})-[:HAS_CHUNK]->(c) RETURN count(c) AS n";
    assert_eq!(number(&graph, parts).await, MANY as i64);
    let everything = SearchFilter::within(Scope::global());
    let words = store.fulltext_leg("zeppelin", &everything, 10).await.unwrap();
    assert!(words.is_empty());
    assert_eq!(
        store
            .fulltext_leg("airship", &everything, 10)
            .await
            .unwrap()
            .len(),
        3
    );
    let mut vector = vec![0.0; 48];
    vector[0] = 1.0;
    let query = VectorQuery {
        space: &model,
        vector: &vector,
    };
    assert_eq!(store.vector_leg(query, &everything, 10).await.unwrap().len(), 3);
    assert_eq!(
        store
            .graph_leg("shared concept", &everything, 2, 10)
            .await
            .unwrap()
            .len(),
        3
    );
    assert!(store.item(&old).await.unwrap().is_none());
    assert_eq!(store.chunks(&old, PageRequest::first(5)).await.unwrap().total, 0);
    let counted = store.library(&shelf.uid).await.unwrap().unwrap();
    assert_eq!((counted.item_count, counted.chunk_count), (1, 3));
    assert_eq!(store.publish_item(&new, 3, now()).await.unwrap(), published);
    assert_eq!(
        store.publish_item(&old, MANY as u64, now()).await.unwrap(),
        PublishOutcome::Superseded
    );

    let begun = store.staged_before(now() + TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(begun, std::slice::from_ref(&old));
    let removed = store.delete_item(&old).await.unwrap().unwrap();
    assert_eq!((removed.items, removed.chunks), (vec![old.clone()], MANY as u64));
    assert_eq!(number(&graph, "MATCH (c:Chunk) RETURN count(c) AS n").await, 3);
    assert_eq!(store.report().await.unwrap().problems, [""; 0]);
    assert_eq!(
        store.publish_item(&old, MANY as u64, now()).await.unwrap(),
        PublishOutcome::Superseded
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_items_go_in_parts_and_leave_nothing() {
    let (store, _turn) = fresh().await;
    let model = space("conformance", 48);
    let shelf = library(&store, "L", None, &model).await;
    publish(&store, &shelf, &model, ("s", 1), &chunks("zeppelin", MANY)).await;
    let second = publish(&store, &shelf, &model, ("s", 2), &chunks("zeppelin", MANY)).await;
    let report = store.report().await.unwrap();
    assert_eq!(
        (report.items, report.chunks, report.staged_items),
        (1, MANY as u64, 0)
    );
    assert_eq!(report.problems, [""; 0]);
    // A staged one that is begun anew.
    let draft = stage(&store, &shelf, &model, ("t", 1), &chunks("airship", MANY)).await;
    let item = store.item(&draft).await.unwrap().unwrap();
    let again = mnemosyne_domain::NewItem {
        uid: draft.clone(),
        library_uid: item.library_uid,
        collection_uid: item.collection_uid,
        title: item.title,
        source_ref: item.source_ref,
        content_hash: item.content_hash,
        revision: item.revision,
        filename: item.filename,
        content_type: item.content_type,
        byte_size: item.byte_size,
        original_digest: item.original_digest,
        text_digest: item.text_digest,
        authors: item.authors,
        language: item.language,
        page_count: item.page_count,
        extraction: item.extraction,
        metadata: item.metadata,
        created_at: item.created_at,
    };
    store.stage_item(again).await.unwrap();
    assert_eq!(store.item(&draft).await.unwrap().unwrap().chunk_count, 0);
    let removed = store.delete_library(&shelf.uid).await.unwrap().unwrap();
    assert_eq!(
        (removed.items.len(), removed.chunks, removed.concepts),
        (2, MANY as u64, 2)
    );
    assert!(removed.items.contains(&second) && removed.items.contains(&draft));
    let graph = server();
    let left =
        "MATCH (n) WHERE n:Library OR n:Collection OR n:Item OR n:Chunk OR n:Concept RETURN count(n) AS n";
    assert_eq!(number(&graph, left).await, 0);
}
