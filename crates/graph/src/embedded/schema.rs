//! The database file: opening it, bringing its schema up to date, and what its errors mean.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/knowledge");

/// How many reads go on side by side. Each has a thread and a page cache of its own.
const READERS: u32 = 4;

/// How long a write waits for another one, in this process or in another.
const BUSY: Duration = Duration::from_secs(60);

/// The connections to one database file.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// Many connections that only read.
    pub(crate) read: SqlitePool,
    /// The one connection that writes.
    write: SqlitePool,
}

impl Database {
    /// Opens or creates the file and brings its schema up to date. Several processes may do so at once.
    pub(crate) async fn open(file: &Path, lock: &Path) -> StoreResult<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Every commit reaches the disk, so that a power cut loses nothing that was acknowledged either. A commit
            // writes the log once; what that costs is small beside the work that led to it.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .row_buffer_size(1024)
            .statement_cache_capacity(100)
            .pragma("temp_store", "MEMORY")
            .pragma("journal_size_limit", "67108864");
        let pool = |connections: u32| {
            PoolOptions::<Sqlite>::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                // The database is a file: a connection does not die while it waits, and asking costs as much as a query.
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let write = pool(1).connect_lazy_with(options.clone().thread_name(|_| "knowledge-write".to_owned()));
        {
            let _held = hold(lock).await?;
            MIGRATIONS.run(&write).await.map_err(migrate_error)?;
        }
        let read = pool(READERS).connect_lazy_with(
            options
                .pragma("query_only", "ON")
                // In KiB, for each reader: the upper levels of the trees and the small tables stay in memory.
                .pragma("cache_size", "-8000")
                .thread_name(|_| "knowledge-read".to_owned()),
        );
        Ok(Self { read, write })
    }

    /// Ends all connections. Those that read go first, so that the one that writes can clear the log.
    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Begins a transaction that may write; no other one of any process goes on beside it.
    pub(crate) async fn begin(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.write
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(store_error)
    }
}

/// Takes a lock among processes, without blocking the executor. It is let go with the file, also by a killed process.
async fn hold(path: &Path) -> StoreResult<File> {
    let path = path.to_owned();
    blocking(move || {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(io_error)?;
        file.lock().map_err(io_error)?;
        Ok(file)
    })
    .await
}

/// Runs work that blocks or computes for long beside the executor.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> StoreResult<T> + Send + 'static,
) -> StoreResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Corrupt(format!("a task of the knowledge store broke down: {error}")))?
}

pub(crate) fn io_error(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("the knowledge folder: {error}"))
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => store_error(error),
        MigrateError::VersionMissing(version) => StoreError::Schema(format!(
            "the knowledge database has version {version}, which this program does not know; use a newer program"
        )),
        other => StoreError::Schema(format!("the knowledge database: {other}")),
    }
}

/// What an error of the database means to the caller of the port.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(format!("the knowledge database: {error}")),
        sqlx::Error::Database(database) => {
            let code = database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .unwrap_or(0);
            // The low byte is the primary code: 1 error (a table that is missing), 5 busy, 6 locked, 8 read-only,
            // 10 input/output, 13 full, 14 cannot open. https://www.sqlite.org/rescode.html
            match code & 0xff {
                1 if database.message().starts_with("no such") => {
                    StoreError::Schema(format!("the knowledge database: {}", database.message()))
                }
                5 | 6 | 8 | 10 | 13 | 14 => {
                    StoreError::Unavailable(format!("the knowledge database: {}", database.message()))
                }
                _ => StoreError::Corrupt(format!("the knowledge database: {}", database.message())),
            }
        }
        _ => StoreError::Corrupt(format!("the knowledge database: {error}")),
    }
}
