//! PostgreSQL: one database that all processes share.

mod accounts;
mod blob_claims;
mod errors;
mod jobs;
mod settings;
mod signing_keys;
mod tokens;

use std::time::Duration;

use mnemosyne_domain::ports::Health;
use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{PgPool, Postgres, Transaction};

use self::errors::store_error;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// How long a caller waits for a connection: for the server to be there, or for the work of its own process before it.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(120);

/// How the database is reached.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// Connections of this process at most.
    pub connections: u32,
}

/// The relational database on PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresDatabase {
    pool: PgPool,
}

impl PostgresDatabase {
    /// Binds to a database without asking whether it is there: every call does that, and heals when the server is back.
    /// Must be called inside a runtime.
    pub fn connect_lazy(settings: &PostgresSettings) -> Self {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&settings.host)
            .port(settings.port)
            .database(&settings.database)
            .username(&settings.user)
            .password(&settings.password)
            .ssl_mode(PgSslMode::Prefer)
            .application_name("mnemosyne");
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            .connect_lazy_with(options);
        Self { pool }
    }

    /// Brings the schema up to date; [`StoreError::Schema`] where a newer version of Mnemosyne wrote it. A database that
    /// Django made keeps its users and sessions. May be repeated, and run by several processes at once: one migrates, and
    /// the others find its work.
    pub async fn migrate(&self) -> StoreResult<()> {
        MIGRATIONS.run(&self.pool).await.map_err(migrate_error)
    }

    /// Waits for what goes on and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> StoreResult<Transaction<'static, Postgres>> {
        self.pool.begin().await.map_err(store_error)
    }
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => newer(version),
        MigrateError::VersionMismatch(_)
        | MigrateError::VersionTooNew(..)
        | MigrateError::VersionTooOld(..) => StoreError::Schema(format!(
            "the database was written by another version of Mnemosyne: {error}"
        )),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => store_error(error),
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn newer(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "a newer version of Mnemosyne wrote this database (schema {version}, this program knows {}); use that version, or \
         the backup from before it",
        known_version()
    ))
}

fn known_version() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

#[async_trait::async_trait]
impl Health for PostgresDatabase {
    async fn check(&self) -> StoreResult<()> {
        let version: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(store_error)?;
        match version.unwrap_or_default() {
            version if version > known_version() => Err(newer(version)),
            version if version < known_version() => {
                Err(StoreError::Schema("`migrate` has not been run".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
