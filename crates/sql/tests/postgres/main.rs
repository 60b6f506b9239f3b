//! The conformance of PostgreSQL, and what it promises beyond it. Every test has a database of its own:
//! `tests/services/run postgres -- cargo test -p mnemosyne-sql --features services --test postgres`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_domain::ports::{Health, Relational, Settings};
use mnemosyne_domain::{NewUser, StoreError};
use mnemosyne_sql::postgres::{PostgresDatabase, PostgresSettings};
use mnemosyne_testkit::conformance::blob_ledger::LedgerAndStore;
use mnemosyne_testkit::conformance::{Pair, at};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

fn server() -> url::Url {
    let url = std::env::var("MNEMOSYNE_TEST_POSTGRES_URL").expect(
        "MNEMOSYNE_TEST_POSTGRES_URL is not set; run this by `tests/services/run postgres -- cargo test -p \
         mnemosyne-sql --features services --test postgres`",
    );
    url::Url::parse(&url).unwrap()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

fn settings(database: &str) -> PostgresSettings {
    let server = server();
    PostgresSettings {
        host: server.host_str().unwrap().to_owned(),
        port: server.port().unwrap_or(5432),
        database: database.to_owned(),
        user: decoded(server.username()),
        password: decoded(server.password().unwrap_or_default()),
        connections: 6,
    }
}

async fn administrator() -> PgConnection {
    PgConnection::connect(server().as_str()).await.unwrap()
}

/// A database that is dropped at the end.
struct Database(String);

impl Database {
    async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        administrator().await.execute(statement).await.unwrap();
        Self(name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.0);
        // A destructor cannot wait inside the runtime of the test.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let done = administrator().await.execute(AssertSqlSafe(statement)).await;
                done.unwrap();
            });
        });
        dropped.join().unwrap();
    }
}

async fn databases() -> Pair<dyn Relational> {
    let database = Database::create().await;
    let first = PostgresDatabase::connect_lazy(&settings(&database.0));
    let second = PostgresDatabase::connect_lazy(&settings(&database.0));
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

mnemosyne_testkit::accounts_conformance!(crate::databases);
mnemosyne_testkit::audit_conformance!(crate::databases);
mnemosyne_testkit::jobs_conformance!(crate::databases);
mnemosyne_testkit::blob_ledger_conformance!(crate::database_and_files);

#[tokio::test]
async fn a_database_without_a_schema_says_so_and_serves_once_it_has_one() {
    let database = Database::create().await;
    let open = PostgresDatabase::connect_lazy(&settings(&database.0));
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
    let settings = settings(&database.0);
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
    let open = PostgresDatabase::connect_lazy(&settings(&database.0));
    open.migrate().await.unwrap();
    let mut connection = PgConnection::connect(&at_database(&database.0)).await.unwrap();
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

fn at_database(name: &str) -> String {
    let mut url = server();
    url.set_path(name);
    url.to_string()
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_says_why() {
    let mut wrong = settings("postgres");
    wrong.password = "not the password".to_owned();
    let refused = PostgresDatabase::connect_lazy(&wrong).check().await;
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("APP_DB_PASSWORD")),
        "{refused:?}"
    );
    let absent = PostgresDatabase::connect_lazy(&settings("no_such_database"))
        .check()
        .await;
    assert!(
        matches!(&absent, Err(StoreError::Unavailable(text)) if text.contains("APP_DB_NAME")),
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
    };
    let made = databases.first.create_user(user, at(7)).await.unwrap();
    let read = databases.second.user(made.id).await.unwrap().unwrap();
    assert_eq!(made, read);
    assert_eq!(read.date_joined, at(7));
}
