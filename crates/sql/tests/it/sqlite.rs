//! The file: its schema, its mode, its plans, and processes that are killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{Health, JobFilter, Jobs, LeaseRequest, Settings};
use mnemosyne_domain::{JobStatus, LibraryUid, NewJob, PageRequest, Queue, StoreError};
use mnemosyne_sql::sqlite::SqliteDatabase;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file))
        .await
        .unwrap()
}

async fn execute(file: &Path, statement: &'static str) {
    sqlx::query(statement)
        .execute(&mut connect(file).await)
        .await
        .unwrap();
}

fn request(number: usize) -> NewJob {
    NewJob {
        library_uid: LibraryUid::from_store("library-1".to_owned()),
        collection_uid: None,
        source_ref: format!("source-{number}"),
        content_hash: "1".to_owned(),
        filename: "a.txt".to_owned(),
        content_type: None,
        title: None,
        metadata: serde_json::Map::new(),
        source: JobSource::BucketObject {
            key: "a.txt".to_owned(),
        },
        queue: Queue::Embedding,
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn a_second_start_finds_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let database = SqliteDatabase::open(&file).await.unwrap();
    database.set_setting("a", "b").await.unwrap();
    database.close().await;
    let database = SqliteDatabase::open(&file).await.unwrap();
    assert_eq!(database.setting("a").await.unwrap().as_deref(), Some("b"));
}

#[tokio::test]
async fn processes_that_start_at_once_on_an_empty_folder_agree() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let starts: Vec<_> = (0..8)
        .map(|turn| {
            let file = file.clone();
            tokio::spawn(async move {
                let database = SqliteDatabase::open(&file).await.unwrap();
                database.set_setting(&format!("{turn}"), "").await.unwrap();
            })
        })
        .collect();
    for start in starts {
        start.await.unwrap();
    }
    let database = SqliteDatabase::open(&file).await.unwrap();
    assert_eq!(database.settings_with_prefix("").await.unwrap().len(), 8);
}

#[tokio::test]
async fn the_database_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteDatabase::open(&folder.path().join("mnemosyne.db"))
        .await
        .unwrap();
    database.set_setting("a", "b").await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connect(&folder.path().join("mnemosyne.db")).await)
        .await
        .unwrap();
    assert_eq!(mode, "wal", "readers and the writer do not wait for one another");
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            entry.file_name()
        );
        files += 1;
    }
    assert!(files >= 3, "the database, its log and the index of its log");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let open = SqliteDatabase::open(&file).await.unwrap();
    execute(
        &file,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9000, 'from the future', 1, x'00', 0)",
    )
    .await;
    assert!(
        matches!(open.check().await, Err(StoreError::Schema(_))),
        "also where it is open already"
    );
    match SqliteDatabase::open(&file).await {
        Err(StoreError::Schema(reason)) => assert!(reason.contains("9000"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_schema_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let database = SqliteDatabase::open(&file).await.unwrap();
    execute(&file, "DROP TABLE mnemosyne_setting").await;
    assert!(matches!(database.setting("a").await, Err(StoreError::Schema(_))));
    execute(
        &file,
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
    .await;
    assert!(matches!(database.check().await, Err(StoreError::Schema(_))));
}

#[tokio::test]
async fn what_is_no_database_is_said_to_be_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    std::fs::write(&file, "This is a letter, not a database. ".repeat(100)).unwrap();
    match SqliteDatabase::open(&file).await {
        Err(StoreError::Corrupt(_)) => {}
        other => panic!("{other:?}"),
    }
    let missing = SqliteDatabase::open(&folder.path().join("nowhere/mnemosyne.db")).await;
    assert!(matches!(missing, Err(StoreError::Unavailable(_))));
}

/// Set for the child process that [`a_killed_process_loses_nothing_it_acknowledged`] starts.
const CHILD_FILE: &str = "MNEMOSYNE_TEST_DATABASE";

/// Not a test by itself: takes requests and works on jobs until it is killed, and says what is acknowledged.
#[tokio::test]
async fn process_to_be_killed() {
    let Some(file) = std::env::var_os(CHILD_FILE) else {
        return;
    };
    let database = SqliteDatabase::open(Path::new(&file)).await.unwrap();
    let begin: usize = database
        .jobs(&JobFilter::default(), PageRequest::first(1))
        .await
        .unwrap()
        .total as usize;
    for number in begin.. {
        let job = database.enqueue(request(number), None, now()).await.unwrap().job;
        say("queued", job.id.as_str());
        if number % 3 == 0 {
            let lease = LeaseRequest {
                holder: "w",
                queues: &Queue::ALL,
                job: None,
                ttl: Duration::from_secs(60),
                max_attempts: 3,
                now: now(),
            };
            let held = database.lease(lease).await.unwrap().unwrap();
            database
                .finish(&held.job.id, &held.token, JobStatus::Completed, now())
                .await
                .unwrap();
            say("completed", held.job.id.as_str());
        }
    }
}

fn say(what: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let (mut queued, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::process_to_be_killed", "--nocapture"])
            .env(CHILD_FILE, &file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        for line in lines
            .filter(|line| line.contains("queued ") || line.contains("completed "))
            .take(round * 17)
        {
            let (_, id) = line.rsplit_once(' ').unwrap();
            if line.contains("queued ") {
                &mut queued
            } else {
                &mut completed
            }
            .insert(id.to_owned());
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let database = SqliteDatabase::open(&file).await.unwrap();
    let ids = async |status| {
        let filter = JobFilter {
            status,
            ..JobFilter::default()
        };
        let page = database.jobs(&filter, PageRequest::first(500)).await.unwrap();
        page.rows
            .into_iter()
            .map(|job| job.id.to_string())
            .collect::<BTreeSet<_>>()
    };
    assert!(queued.len() > 50 && completed.len() > 10);
    assert!(queued.is_subset(&ids(None).await));
    assert!(completed.is_subset(&ids(Some(JobStatus::Completed)).await));
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut connect(&file).await)
        .await
        .unwrap();
    assert_eq!(verdict, "ok");
}
