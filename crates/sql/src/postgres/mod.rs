//! PostgreSQL: one database that all processes share.

mod accounts;
mod audit;
mod blob_claims;
mod errors;
mod foreign;
mod jobs;
mod providers;
mod settings;
mod signing_keys;
mod tokens;

use std::time::Duration;

use mnemosyne_domain::ports::Health;
use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, PgPool, Postgres, Transaction};

use self::errors::store_error;
use crate::schema::{check_version, migrate_error};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// How long a caller waits for a connection: for the server to be there, or for the work of its own process before it.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(120);

/// A connection that came back so lately is used again without being asked.
const FRESH: Duration = Duration::from_secs(1);

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
            // The pool asks each connection that comes back. What answered just now is not asked again.
            .test_before_acquire(false)
            .before_acquire(|connection, found| {
                Box::pin(async move { Ok(found.idle_for < FRESH || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Self { pool }
    }

    /// Brings the schema up to date; [`Schema`](mnemosyne_domain::StoreError::Schema) where a newer version of Mnemosyne wrote it. A database that
    /// Django made keeps its users and sessions. May be repeated, and run by several processes at once: one migrates, and
    /// the others find its work.
    pub async fn migrate(&self) -> StoreResult<()> {
        MIGRATIONS
            .run(&self.pool)
            .await
            .map_err(|error| migrate_error(&MIGRATIONS, error, store_error))
    }

    /// Waits for what goes on and closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Begins in a task of its own: sqlx 0.9.0 counts a transaction only when the answer to `BEGIN` is read, so a caller that
    /// gives up before that would leave it open on a connection of the pool (transact-rs/sqlx#4393), and what others write
    /// there would be undone with it. The task reads the answer in any case, and rolls back when nobody waits any more.
    async fn begin(&self) -> StoreResult<Transaction<'static, Postgres>> {
        let pool = self.pool.clone();
        tokio::spawn(async move { pool.begin().await })
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .map_err(store_error)
    }
}

#[async_trait::async_trait]
impl Health for PostgresDatabase {
    async fn check(&self) -> StoreResult<()> {
        let version: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(store_error)?;
        check_version(&MIGRATIONS, version)
    }
}
