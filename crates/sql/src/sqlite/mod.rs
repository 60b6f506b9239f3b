//! SQLite: one file, one writer at a time, many readers; several processes may use it at once.

mod accounts;
mod blob_claims;
mod errors;
mod jobs;
mod settings;
mod signing_keys;
mod time;
mod tokens;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use mnemosyne_domain::ports::Health;
use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use self::errors::store_error;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// How long a write waits for one of another process.
const BUSY: Duration = Duration::from_secs(30);
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
            .busy_timeout(BUSY);
        let pool = |connections: u32| {
            PoolOptions::<Sqlite>::new()
                .max_connections(connections)
                .acquire_timeout(BUSY)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let write = pool(1).connect_lazy_with(options.clone());
        let lock = file.with_extension("migrate.lock");
        let held = tokio::task::spawn_blocking(move || {
            let held = File::options().create(true).truncate(false).write(true).open(lock)?;
            held.lock()?;
            std::io::Result::Ok(held)
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        MIGRATIONS.run(&write).await.map_err(migrate_error)?;
        drop(held);
        let read = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { read, write })
    }

    /// Begins a transaction that may write; no other one of any process goes on beside it.
    async fn begin(&self) -> StoreResult<Transaction<'static, Sqlite>> {
        self.write.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)
    }
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) | MigrateError::VersionTooNew(..) => {
            StoreError::Schema(format!("the database was written by another version of Mnemosyne: {error}"))
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[async_trait::async_trait]
impl Health for SqliteDatabase {
    async fn check(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1 FROM mnemosyne_setting LIMIT 1")
            .fetch_optional(&self.read)
            .await
            .map(drop)
            .map_err(store_error)
    }
}
