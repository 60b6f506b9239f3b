//! Several stores on one folder, as several processes have them.

use mnemosyne_domain::ports::{KnowledgeStore as _, VectorQuery};
use mnemosyne_domain::{Scope, SearchFilter, StoreError};
use mnemosyne_graph::embedded::EmbeddedStore;

use crate::support::{library, open, publish, space};

async fn count(store: &EmbeddedStore, word: &str) -> (usize, usize) {
    let filter = SearchFilter::within(Scope::global());
    let query = VectorQuery {
        space: &space(2),
        vector: &[1.0, 0.0],
    };
    let words = store.fulltext_leg(word, &filter, 100).await.unwrap();
    let nearest = store.vector_leg(query, &filter, 100).await.unwrap();
    (words.len(), nearest.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_or_deletes_the_other_sees_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = tokio::join!(open(folder.path()), open(folder.path()));
    let library = library(&one, "L", 2).await;
    let mut items = Vec::new();
    for number in 0..30 {
        let (writer, reader) = if number % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        let chunks = [
            ("zeppelin".to_owned(), vec![1.0, 0.0]),
            (format!("word{number}"), vec![0.0, 1.0]),
        ];
        items.push(publish(writer, &library, &format!("source {number}"), &chunks).await);
        assert_eq!(count(reader, "zeppelin").await, (number + 1, 2 * (number + 1)));
        assert_eq!(count(writer, "zeppelin").await, (number + 1, 2 * (number + 1)));
    }
    for (number, item) in items.iter().enumerate() {
        let (writer, reader) = if number % 3 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        writer.delete_item(item).await.unwrap();
        assert_eq!(count(reader, "zeppelin").await, (29 - number, 2 * (29 - number)));
    }
    assert_eq!(one.report().await.unwrap().problems, [""; 0]);
    assert_eq!(two.report().await.unwrap().problems, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_and_writes_side_by_side_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path()).await, open(folder.path()).await);
    let library = library(&one, "L", 2).await;
    let write = async |store: &EmbeddedStore, name: &str| {
        for number in 0..25 {
            let chunks = [
                ("zeppelin one".to_owned(), vec![1.0, 0.0]),
                ("zeppelin two".to_owned(), vec![0.6, 0.8]),
            ];
            publish(store, &library, &format!("{name} {number}"), &chunks).await;
        }
    };
    let read = async |store: &EmbeddedStore| {
        let mut last = (0, 0);
        for _ in 0..60 {
            let found = count(store, "zeppelin").await;
            // Items have two chunks and appear whole; nothing that was seen disappears.
            assert!(
                found.0.is_multiple_of(2) && found.1.is_multiple_of(2),
                "{found:?}"
            );
            assert!(found.0 >= last.0 && found.1 >= last.1, "{last:?} then {found:?}");
            last = found;
        }
    };
    tokio::join!(write(&one, "a"), write(&two, "b"), read(&one), read(&two));
    assert_eq!(count(&one, "zeppelin").await, (100, 100));
    assert_eq!(count(&two, "zeppelin").await, (100, 100));
    assert_eq!(one.report().await.unwrap().problems, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await);
    let file = folder.path().join("knowledge").join("knowledge.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', 1, x'00', 1)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let refused = EmbeddedStore::open(&folder.path().join("knowledge")).await;
    assert!(matches!(refused, Err(StoreError::Schema(_))), "{refused:?}");
}
