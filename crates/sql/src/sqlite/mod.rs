//! SQLite: one file, one writer at a time, many readers; several processes may use it at once.

mod accounts;
mod audit;
mod blob_claims;
mod errors;
mod jobs;
mod providers;
mod settings;
mod signing_keys;
mod time;
mod tokens;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use mnemosyne_domain::ports::Health;
use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use self::errors::store_error;
use crate::schema::{check_version, migrate_error};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a write waits for one of another process.
const BUSY: Duration = Duration::from_secs(10);
/// How long a caller waits for a connection, that is for the writes of its own process before it.
const ACQUIRE: Duration = Duration::from_secs(30);
const READERS: u32 = 4;

/// The relational database on the embedded default.
#[derive(Clone, Debug)]
pub struct SqliteDatabase {
    read: SqlitePool,
    write: SqlitePool,
}

impl SqliteDatabase {
    /// Opens or creates the file and brings its schema up to date; [`StoreError::Schema`] where a newer version of
    /// Mnemosyne wrote it. A database that Django made keeps its users and sessions.
    pub async fn open(file: &Path) -> StoreResult<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut too: every commit reaches the disk.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // After a burst of writes the log beside the database is cut back to this many bytes.
            .pragma("journal_size_limit", "67108864");
        let pool = |connections: u32| {
            PoolOptions::<Sqlite>::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let write = pool(1).connect_lazy_with(options.clone());
        let database = file.to_owned();
        // Of several processes that start at once one migrates, and the others find its work.
        let held = tokio::task::spawn_blocking(move || {
            let lock = database.with_extension("migrate.lock");
            let held = private().create(true).truncate(false).open(lock)?;
            held.lock()?;
            // SQLite would make it, and its log beside it, for everybody to read. One that exists must not be opened here:
            // closing it again would drop the locks that SQLite holds for this process.
            match private().create_new(true).open(database) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            std::io::Result::Ok(held)
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        MIGRATIONS
            .run(&write)
            .await
            .map_err(|error| migrate_error(&MIGRATIONS, error, store_error))?;
        drop(held);
        let read =
            pool(READERS).connect_lazy_with(options.create_if_missing(false).pragma("query_only", "ON"));
        Ok(Self { read, write })
    }

    /// Waits for what goes on and closes the file. A database whose last user closes it needs no recovery.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Begins a transaction that may write; no other one of any process goes on beside it.
    async fn begin(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.write
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(store_error)
    }
}

/// Options to make a file that only its owner may read.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).mode(0o600);
    options
}

#[async_trait::async_trait]
impl Health for SqliteDatabase {
    async fn check(&self) -> StoreResult<()> {
        let version: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.read)
                .await
                .map_err(store_error)?;
        check_version(&MIGRATIONS, version)
    }
}
