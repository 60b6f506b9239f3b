//! The conformance of PostgreSQL, and what it promises beyond it. Every test has a database of its own:
//! `tests/services/run postgres minio -- cargo test -p mnemosyne-sql --features services --test postgres`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_blobs::s3::{S3Blobs, S3Settings, UploadSettings, connect};
use mnemosyne_domain::ports::{ForeignTables, Health, Relational, Settings, SigningKeys};
use mnemosyne_domain::{NewUser, Refusal, SigningKey, StoreError};
use mnemosyne_sql::postgres::PostgresDatabase;
use mnemosyne_testkit::conformance::blob_ledger::LedgerAndStore;
use mnemosyne_testkit::conformance::{Pair, at};
use mnemosyne_testkit::postgres::{Database, at_database, settings};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

async fn databases() -> Pair<dyn Relational> {
    let database = Database::create().await;
    let first = PostgresDatabase::connect_lazy(&settings(database.name()));
    let second = PostgresDatabase::connect_lazy(&settings(database.name()));
    first.migrate().await.unwrap();
    Pair::new(Arc::new(first), Arc::new(second), database)
}

async fn database_and_files() -> LedgerAndStore {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    let second = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    LedgerAndStore {
        ledgers: databases().await,
        stores: Pair::new(first, second, folder),
    }
}

/// The two that a deployment has.
async fn database_and_bucket() -> LedgerAndStore {
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this needs an S3 server as well"))
    };
    let settings = S3Settings::new(
        variable("MNEMOSYNE_TEST_S3_ENDPOINT"),
        "us-east-1",
        format!("ledger-{}", uuid::Uuid::new_v4()),
        variable("MNEMOSYNE_TEST_S3_ACCESS_KEY"),
        variable("MNEMOSYNE_TEST_S3_SECRET_KEY"),
    );
    connect(&settings)
        .unwrap()
        .create_bucket()
        .bucket(&settings.bucket)
        .send()
        .await
        .unwrap();
    let spool = tempfile::tempdir().unwrap();
    let open = async || {
        let upload = UploadSettings::new(spool.path());
        Arc::new(S3Blobs::open(&settings, upload).await.unwrap())
    };
    LedgerAndStore {
        ledgers: databases().await,
        stores: Pair::new(open().await, open().await, spool),
    }
}

mnemosyne_testkit::accounts_conformance!(crate::databases);
mnemosyne_testkit::providers_conformance!(crate::databases);
mnemosyne_testkit::audit_conformance!(crate::databases);
mnemosyne_testkit::jobs_conformance!(crate::databases);
mnemosyne_testkit::blob_ledger_conformance!(crate::database_and_files);

mod with_a_bucket {
    mnemosyne_testkit::blob_ledger_conformance!(crate::database_and_bucket);
}

#[tokio::test]
async fn a_database_without_a_schema_says_so_and_serves_once_it_has_one() {
    let database = Database::create().await;
    let open = PostgresDatabase::connect_lazy(&settings(database.name()));
    assert!(matches!(open.check().await, Err(StoreError::Schema(_))));
    assert!(matches!(open.setting("x").await, Err(StoreError::Schema(_))));
    open.migrate().await.unwrap();
    open.check().await.unwrap();
    open.migrate().await.unwrap();
    open.set_setting("x", "1").await.unwrap();
    assert_eq!(open.setting("x").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_migrate_at_once_do_it_once() {
    let database = Database::create().await;
    let settings = settings(database.name());
    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let database = PostgresDatabase::connect_lazy(&settings);
            tokio::spawn(async move { database.migrate().await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let database = Database::create().await;
    let open = PostgresDatabase::connect_lazy(&settings(database.name()));
    open.migrate().await.unwrap();
    let mut connection = PgConnection::connect(&at_database(database.name()))
        .await
        .unwrap();
    connection
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', TRUE, '', 0)",
        )
        .await
        .unwrap();
    assert!(matches!(open.check().await, Err(StoreError::Schema(text)) if text.contains("newer")));
    assert!(matches!(open.migrate().await, Err(StoreError::Schema(text)) if text.contains("newer")));
}

#[tokio::test]
async fn a_value_that_it_cannot_hold_is_no_outage() {
    let databases = databases().await;
    let database = databases.first.as_ref();
    let looked_for = database.user_by_name("a\0b").await;
    assert!(
        matches!(looked_for, Err(StoreError::Unstorable(_))),
        "{looked_for:?}"
    );
    let kept = database.set_setting("x", "a\0b").await;
    assert!(matches!(kept, Err(StoreError::Unstorable(_))), "{kept:?}");
}

/// Polls a call so often at the most, and gives it up there.
async fn given_up(polls: usize, call: impl Future) {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|context| {
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_given_up_takes_nothing_of_the_next_with_it() {
    let database = Database::create().await;
    let mut one = settings(database.name());
    one.connections = 1;
    let first = PostgresDatabase::connect_lazy(&one);
    let second = PostgresDatabase::connect_lazy(&settings(database.name()));
    first.migrate().await.unwrap();
    // How many polls a step takes differs from run to run.
    for number in 0..100 {
        let key = SigningKey {
            kid: format!("key-{number}"),
            sealed_secret: "sealed".to_owned(),
            created_at: at(1),
            retired_at: None,
        };
        let polls = 1 + number % 10;
        given_up(polls, first.create_signing_key(key, true)).await;
        let written = number.to_string();
        first.set_setting("written", &written).await.unwrap();
        let read = second.setting("written").await.unwrap();
        assert_eq!(read, Some(written), "after {polls} polls");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_says_why() {
    let mut wrong = settings("postgres");
    wrong.password = "not the password".to_owned();
    let refused = PostgresDatabase::connect_lazy(&wrong).check().await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(Refusal::Login, text)) if text.contains("APP_DB_PASSWORD")),
        "{refused:?}"
    );
    let absent = PostgresDatabase::connect_lazy(&settings("no_such_database"))
        .check()
        .await;
    assert!(
        matches!(&absent, Err(StoreError::Refused(Refusal::Place, text)) if text.contains("APP_DB_NAME")),
        "{absent:?}"
    );
    let mut nowhere = settings("postgres");
    // Reserved, so nobody listens.
    nowhere.port = 1;
    let gone = PostgresDatabase::connect_lazy(&nowhere).check().await;
    assert!(matches!(gone, Err(StoreError::Unavailable(_))), "{gone:?}");
}

#[tokio::test]
async fn times_and_names_are_kept_exactly() {
    let databases = databases().await;
    let user = NewUser {
        username: "ünï@example.org".to_owned(),
        password: "pbkdf2_sha256$1$salt$hash".to_owned(),
        email: String::new(),
        is_staff: false,
        is_superuser: false,
        is_service: false,
    };
    let made = databases.first.create_user(user, at(7)).await.unwrap();
    let read = databases.second.user(made.id).await.unwrap().unwrap();
    assert_eq!(made, read);
    assert_eq!(read.date_joined, at(7));
}

#[tokio::test]
async fn tables_of_other_programs_are_read_and_nothing_else_happens_to_them() {
    let database = Database::create().await;
    let open = PostgresDatabase::connect_lazy(&settings(database.name()));
    open.migrate().await.unwrap();
    let mut connection = PgConnection::connect(&at_database(database.name()))
        .await
        .unwrap();
    let odd = "Odd \"name'; DROP TABLE notes; --";
    let quoted = odd.replace('"', "\"\"");
    connection
        .execute(AssertSqlSafe(format!(
            "CREATE TABLE \"{quoted}\" (id bigint, allowed text[], made timestamptz, digest bytea, gone integer); \
             ALTER TABLE \"{quoted}\" DROP COLUMN gone; \
             INSERT INTO \"{quoted}\" SELECT n, ARRAY['a', 'b'], '2026-01-02 03:04:05+00', '\\x0aff' \
             FROM generate_series(1, 5) AS n; \
             CREATE TABLE notes (body jsonb, name varchar(20), flag boolean); CREATE VIEW shown AS SELECT * FROM notes"
        )))
        .await
        .unwrap();
    let tables = open.foreign_tables().await.unwrap();
    let named = |name: &str| tables.iter().find(|table| table.name == name);
    assert!(named("auth_user").is_some() && named("shown").is_none());
    assert!(
        tables
            .iter()
            .all(|table| !table.name.starts_with("mnemosyne_") && table.name != "_sqlx_migrations")
    );
    let columns: Vec<(&str, &str)> = named(odd)
        .unwrap()
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind.as_str()))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "bigint"),
            ("allowed", "text[]"),
            ("made", "timestamp with time zone"),
            ("digest", "bytea")
        ]
    );
    let mut ids = Vec::new();
    for (offset, expected) in [(0, 2), (2, 2), (4, 1), (6, 0)] {
        let rows = open.foreign_rows(odd, offset, 2).await.unwrap();
        assert_eq!(rows.len(), expected);
        for row in rows {
            assert_eq!(row["allowed"], serde_json::json!(["a", "b"]));
            assert_eq!(row["digest"], "\\x0aff");
            assert!(
                row["made"].as_str().unwrap().starts_with("2026-01-02T03:04:05"),
                "{row:?}"
            );
            ids.push(row["id"].as_i64().unwrap());
        }
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert!(open.foreign_rows("notes", 0, 10).await.unwrap().is_empty());
    for absent in ["no_such_table", "notes; DROP TABLE notes", "public.notes"] {
        let outcome = open.foreign_rows(absent, 0, 10).await;
        assert!(
            matches!(outcome, Err(StoreError::NotFound)),
            "{absent:?}: {outcome:?}"
        );
    }
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_proc WHERE proname = 'mnemosyne_foreign_rows'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(left, 0, "the reader stayed behind");
}
