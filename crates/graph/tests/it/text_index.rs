//! The text index is derived: without it, or with a wrong one, the same is found.

use std::fs;
use std::path::Path;

use mnemosyne_domain::ports::KnowledgeStore as _;
use mnemosyne_domain::{Scope, SearchFilter};
use mnemosyne_graph::embedded::EmbeddedStore;

use crate::support::{library, open, publish};

async fn found(store: &EmbeddedStore) -> usize {
    let filter = SearchFilter::within(Scope::global());
    store.fulltext_leg("zeppelin", &filter, 100).await.unwrap().len()
}

/// A folder with ten items in the text index, closed.
async fn filled(folder: &Path) {
    let store = open(folder).await;
    let library = library(&store, "L", 2).await;
    for number in 0..10 {
        let chunks = [(format!("zeppelin number {number}"), vec![1.0, 0.0])];
        publish(&store, &library, &format!("source {number}"), &chunks).await;
        assert_eq!(found(&store).await, number + 1);
    }
}

fn files_of_index(folder: &Path) -> Vec<std::path::PathBuf> {
    let index = folder.join("knowledge").join("knowledge.text");
    fs::read_dir(index)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_index_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path()).await;
    fs::remove_dir_all(folder.path().join("knowledge").join("knowledge.text")).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(found(&store).await, 10);
    assert_eq!(store.report().await.unwrap().problems, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_index_is_built_anew() {
    enum Damage {
        Truncate,
        Overwrite,
        Remove,
    }
    let endings = ["json", "store", "term", "idx", "fast", "fieldnorm"];
    for damage in [Damage::Truncate, Damage::Overwrite, Damage::Remove] {
        for ending in endings {
            let folder = tempfile::tempdir().unwrap();
            filled(folder.path()).await;
            for path in files_of_index(folder.path()) {
                let hit = path.extension().is_some_and(|extension| extension == ending);
                if !hit || path.file_name().is_some_and(|name| name == ".managed.json") {
                    continue;
                }
                let mut bytes = fs::read(&path).unwrap();
                match damage {
                    Damage::Remove => fs::remove_file(&path).unwrap(),
                    Damage::Truncate => fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                    Damage::Overwrite => {
                        let middle = bytes.len() / 3;
                        bytes[middle] ^= 0xff;
                        fs::write(&path, bytes).unwrap();
                    }
                }
            }
            let store = open(folder.path()).await;
            assert_eq!(found(&store).await, 10, "{ending}");
            assert_eq!(store.report().await.unwrap().problems, [""; 0], "{ending}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_vanishes_while_it_is_open_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let library = library(&store, "L", 2).await;
    let chunks = [("zeppelin".to_owned(), vec![1.0, 0.0])];
    publish(&store, &library, "one", &chunks).await;
    assert_eq!(found(&store).await, 1);
    fs::remove_dir_all(folder.path().join("knowledge").join("knowledge.text")).unwrap();
    publish(&store, &library, "two", &chunks).await;
    assert_eq!(found(&store).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_of_another_store_is_not_believed() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(one.path()).await;
    let store = open(two.path()).await;
    let library = library(&store, "L", 2).await;
    for number in 0..10 {
        publish(
            &store,
            &library,
            &format!("{number}"),
            &[("gondola".to_owned(), vec![1.0, 0.0])],
        )
        .await;
    }
    drop(store);
    let target = two.path().join("knowledge").join("knowledge.text");
    fs::create_dir_all(&target).unwrap();
    for path in files_of_index(one.path()) {
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    let store = open(two.path()).await;
    assert_eq!(found(&store).await, 0);
    let filter = SearchFilter::within(Scope::global());
    assert_eq!(
        store.fulltext_leg("gondola", &filter, 100).await.unwrap().len(),
        10
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_put_back_to_an_earlier_state_is_not_mixed_with_the_later_index() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("knowledge").join("knowledge.db");
    let backup = folder.path().join("backup.db");
    let store = open(folder.path()).await;
    let library = library(&store, "L", 2).await;
    publish(
        &store,
        &library,
        "kept",
        &[("zeppelin kept".to_owned(), vec![1.0, 0.0])],
    )
    .await;
    assert_eq!(found(&store).await, 1);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("VACUUM INTO ?1")
        .bind(backup.to_str().unwrap())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    publish(
        &store,
        &library,
        "lost",
        &[("zeppelin lost".to_owned(), vec![1.0, 0.0])],
    )
    .await;
    assert_eq!(found(&store).await, 2);
    let restored = tempfile::tempdir().unwrap();
    let target = restored.path().join("knowledge");
    fs::create_dir_all(target.join("knowledge.text")).unwrap();
    fs::copy(&backup, target.join("knowledge.db")).unwrap();
    for path in files_of_index(folder.path()) {
        fs::copy(
            &path,
            target.join("knowledge.text").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    // As many changes as were lost: the numbers alone would agree.
    let store = open(restored.path()).await;
    publish(
        &store,
        &library,
        "new",
        &[("zeppelin new".to_owned(), vec![1.0, 0.0])],
    )
    .await;
    let filter = SearchFilter::within(Scope::global());
    assert_eq!(found(&store).await, 2);
    assert_eq!(store.fulltext_leg("new", &filter, 9).await.unwrap().len(), 1);
    assert!(store.fulltext_leg("lost", &filter, 9).await.unwrap().is_empty());
    assert_eq!(store.report().await.unwrap().problems, [""; 0]);
}
