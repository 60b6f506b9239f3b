//! A process that is killed while it writes leaves a whole store: what it acknowledged is there, and the rest is not
//! half there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mnemosyne_domain::ports::{ItemFilter, KnowledgeStore as _, VectorQuery};
use mnemosyne_domain::{EmbeddingStatus, ItemUid, PageRequest, Scope, SearchFilter};

use crate::support::{fresh, library, open, publish, space, stage};

/// Names the folder to the child process, which is this test executable again.
const FOLDER_VARIABLE: &str = "MNEMOSYNE_TEST_KILL_FOLDER";

/// The child: publishes items until it is killed, and says each on its output once it is acknowledged. Every third is
/// deleted again. Does nothing when run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let store = open(&folder).await;
    let library = store.library_by_name("L").await.unwrap().unwrap();
    let filter = SearchFilter::within(Scope::global());
    for number in 0.. {
        let chunks: Vec<(String, Vec<f32>)> = (0..5)
            .map(|n| (format!("zeppelin {n}"), vec![1.0, 0.0]))
            .collect();
        let source = format!("{} {number}", std::process::id());
        let item = publish(&store, &library, &source, &chunks).await;
        let word = if number % 3 == 2 {
            store.delete_item(&item).await.unwrap();
            "deleted"
        } else {
            "published"
        };
        let mut output = std::io::stdout().lock();
        writeln!(output, "\nkill-test {word} {item}").unwrap();
        output.flush().unwrap();
        drop(output);
        // Now and then a search, so that the text index is written while the end comes.
        if number % 4 == 0 {
            store.fulltext_leg("zeppelin", &filter, 10).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_leaves_what_it_acknowledged_and_nothing_by_halves() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    library(&store, "L", 2).await;
    let mut acknowledged: Vec<ItemUid> = Vec::new();
    let mut gone: Vec<ItemUid> = Vec::new();
    for round in 0..8_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "kill::child_that_is_killed",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(FOLDER_VARIABLE, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // What was said is read to the end, also what was said between the decision to kill and the end.
        let wanted = 3 + 2 * round;
        let mut said = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(words) = line.strip_prefix("kill-test ") else {
                continue;
            };
            match words.split_once(' ') {
                Some(("published", uid)) => acknowledged.push(ItemUid::parse(uid).unwrap()),
                Some(("deleted", uid)) => gone.push(ItemUid::parse(uid).unwrap()),
                _ => continue,
            }
            said += 1;
            if said == wanted {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said >= wanted, "the child ended by itself after {said}");

        let report = store.report().await.unwrap();
        assert_eq!(report.problems, [""; 0], "round {round}");
        for uid in &acknowledged {
            let item = store.item(uid).await.unwrap().unwrap();
            assert_eq!((item.status, item.chunk_count), (EmbeddingStatus::Completed, 5));
        }
        for uid in &gone {
            assert!(store.item(uid).await.unwrap().is_none());
        }
        // Every visible item is found whole, by words and by vectors.
        let visible = store
            .items(&ItemFilter::default(), PageRequest::first(1))
            .await
            .unwrap()
            .total as usize;
        assert!(visible >= acknowledged.len());
        let filter = SearchFilter::within(Scope::global());
        assert_eq!(
            store.fulltext_leg("zeppelin", &filter, 9999).await.unwrap().len(),
            visible * 5
        );
        let query = VectorQuery {
            space: &space(2),
            vector: &[1.0, 0.0],
        };
        assert_eq!(
            store.vector_leg(query, &filter, 9999).await.unwrap().len(),
            visible * 5
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_nothing_by_halves() {
    let (store, _folder) = fresh().await;
    let library = library(&store, "L", 2).await;
    let chunks: Vec<(String, Vec<f32>)> = (0..50)
        .map(|n| (format!("zeppelin {n}"), vec![1.0, 0.0]))
        .collect();
    let filter = SearchFilter::within(Scope::global());
    for number in 0..40_u32 {
        let item = stage(&store, &library, &format!("source {number}"), &chunks).await;
        // Polled a few times and dropped, wherever it then is.
        let mut publishing = Box::pin(store.publish_item(&item, 50, crate::support::now()));
        for _ in 0..number {
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(publishing.as_mut().poll(context).is_ready())
            })
            .await;
            if polled {
                break;
            }
            // The thread of the database works in its own time: some of these are dropped after their last step.
            tokio::time::sleep(std::time::Duration::from_micros(300)).await;
        }
        drop(publishing);
        let found = store.fulltext_leg("zeppelin", &filter, 9999).await.unwrap().len();
        assert!(found.is_multiple_of(50), "{found}");
        assert_eq!(store.report().await.unwrap().problems, [""; 0]);
        // Whoever cleans up after it takes away what is not visible, and nothing else.
        let seen = store.item(&item).await.unwrap().unwrap().status == EmbeddingStatus::Completed;
        let removed = store.delete_staged_item(&item).await.unwrap();
        assert!(!(seen && removed), "a visible item was removed");
        if removed {
            assert!(store.item(&item).await.unwrap().is_none());
            publish(&store, &library, &format!("source {number}"), &chunks).await;
        } else {
            store
                .publish_item(&item, 50, crate::support::now())
                .await
                .unwrap();
        }
        assert_eq!(
            store.fulltext_leg("zeppelin", &filter, 9999).await.unwrap().len(),
            (number as usize + 1) * 50
        );
    }
}
