//! Two processes that do the same at the same moment: stores of their own, as two processes have.

use std::collections::BTreeSet;

use futures::future::join_all;
use mnemosyne_domain::PageRequest;
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{ConceptFilter, KnowledgeStore as _, PublishOutcome};
use neo4rs::Query;

use super::support::{
    connect, fresh, library, new_library, now, number, server, settings, space, stage, texts,
};

const ROUNDS: usize = 8;

fn chunk(text: &str) -> Vec<(String, Vec<f32>)> {
    let mut vector = vec![0.0; 48];
    vector[0] = 1.0;
    vec![(text.to_owned(), vector)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_makes_a_library_and_a_collection() {
    let (store, _turn) = fresh().await;
    let stores = [(); 4].map(|()| connect(settings()));
    for round in 0..ROUNDS {
        let name = format!("library {round}");
        let made = join_all(
            stores
                .iter()
                .map(|store| store.create_library(new_library(&name, Some(&name)), now())),
        )
        .await;
        let won: Vec<_> = made.iter().flatten().collect();
        assert_eq!(won.len(), 1, "{made:?}");
        for lost in made.iter().filter_map(|made| made.as_ref().err()) {
            assert!(
                matches!(lost, StoreError::Conflict("name" | "workspace_id")),
                "{lost:?}"
            );
        }
        let uid = &won[0].uid;
        let made = join_all(
            stores
                .iter()
                .map(|store| store.create_collection(uid, "shelf", "", now())),
        )
        .await;
        assert_eq!(made.iter().flatten().count(), 1, "{made:?}");
        let adopted = join_all(stores.iter().zip(0..).map(|(store, number)| async move {
            let model = space(&format!("model {number}"), 48);
            store.adopt_model(uid, &model).await.unwrap()
        }))
        .await;
        assert_eq!(adopted.into_iter().collect::<BTreeSet<_>>().len(), 1);
    }
    assert_eq!(store.report().await.unwrap().problems, [""; 0]);
    let graph = server();
    let spaces = "MATCH (s:MnemosyneSpace) WITH count(s) AS all, count(DISTINCT s.number) AS numbers \
                  RETURN CASE WHEN all = numbers THEN all ELSE -1 END AS n";
    assert!(number(&graph, spaces).await >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_share_concepts_come_and_go_at_once() {
    let (store, _turn) = fresh().await;
    let model = space("conformance", 48);
    let shelf = library(&store, "L", None, &model).await;
    let stores = [(); 4].map(|()| connect(settings()));
    join_all(stores.iter().enumerate().map(|(number, store)| {
        let (shelf, model) = (&shelf, &model);
        async move {
            for round in 0..ROUNDS {
                let source = format!("source {number} {round}");
                let uid = stage(store, shelf, model, (&source, 1), &chunk("zeppelin")).await;
                store.publish_item(&uid, 1, now()).await.unwrap();
                if round % 2 == 0 {
                    store.delete_item(&uid).await.unwrap().unwrap();
                }
            }
        }
    }))
    .await;
    let left = (stores.len() * ROUNDS / 2) as u64;
    let report = store.report().await.unwrap();
    assert_eq!((report.items, report.concepts), (left, 2));
    assert_eq!(report.problems, [""; 0]);
    let concepts = store
        .concepts(&ConceptFilter::default(), PageRequest::first(10))
        .await
        .unwrap();
    assert!(concepts.rows.iter().all(|concept| concept.mentions == left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_revisions_published_at_once_the_last_stays() {
    let (store, _turn) = fresh().await;
    let model = space("conformance", 48);
    let shelf = library(&store, "L", None, &model).await;
    let stores = [(); 4].map(|()| connect(settings()));
    for round in 0..ROUNDS {
        let source = format!("source {round}");
        let mut drafts = Vec::new();
        for revision in 1..=4 {
            drafts.push(stage(&store, &shelf, &model, (&source, revision), &chunk("zeppelin")).await);
        }
        let outcomes = join_all(
            stores
                .iter()
                .zip(&drafts)
                .map(|(store, uid)| store.publish_item(uid, 1, now())),
        )
        .await;
        for outcome in &outcomes {
            assert!(
                matches!(
                    outcome,
                    Ok(PublishOutcome::Published { .. } | PublishOutcome::Superseded)
                ),
                "{outcomes:?}"
            );
        }
        for (uid, last) in drafts.iter().zip([false, false, false, true]) {
            assert_eq!(store.item(uid).await.unwrap().is_some(), last);
        }
    }
    let report = store.report().await.unwrap();
    assert_eq!((report.items, report.staged_items), (ROUNDS as u64, 0));
    assert_eq!(report.problems, [""; 0]);
}

/// A server that stops, or an administrator, ends what waits for a lock. That says nothing of what was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_server_ended_is_no_defect() {
    let (store, _turn) = fresh().await;
    let shelf = library(&store, "L", None, &space("conformance", 48)).await;
    let graph = server();
    let mut holder = graph.start_txn().await.unwrap();
    holder
        .run(Query::new(
            "MATCH (l:Library) SET l.changes = timestamp()".to_owned(),
        ))
        .await
        .unwrap();
    let waits = tokio::spawn(async move { store.create_collection(&shelf.uid, "shelf", "", now()).await });
    let blocked = "SHOW TRANSACTIONS YIELD transactionId, status WHERE status STARTS WITH 'Blocked' RETURN transactionId AS n";
    let waiting = loop {
        if let Some(found) = texts(&graph, blocked).await.pop() {
            break found;
        }
        tokio::task::yield_now().await;
    };
    let terminate = format!("TERMINATE TRANSACTIONS '{waiting}' YIELD message RETURN message AS n");
    assert_eq!(texts(&graph, &terminate).await, ["Transaction terminated."]);
    let ended = waits.await.unwrap();
    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    holder.rollback().await.unwrap();
}
