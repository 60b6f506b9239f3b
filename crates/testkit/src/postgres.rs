//! Databases on the PostgreSQL that `tests/services/run postgres` starts.

use std::sync::atomic::{AtomicU32, Ordering};

use mnemosyne_sql::postgres::PostgresSettings;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

fn server() -> url::Url {
    let url = std::env::var("MNEMOSYNE_TEST_POSTGRES_URL").expect(
        "MNEMOSYNE_TEST_POSTGRES_URL is not set; run this by `tests/services/run postgres minio -- cargo test …`",
    );
    url::Url::parse(&url).unwrap()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

/// How a database of this name is reached.
pub fn settings(database: &str) -> PostgresSettings {
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

/// A fresh and empty database, dropped at the end.
pub struct Database(String);

impl Database {
    /// Makes one.
    pub async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        administrator().await.execute(statement).await.unwrap();
        Self(name)
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.0
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

/// The address of a database of this name.
pub fn at_database(name: &str) -> String {
    let mut url = server();
    url.set_path(name);
    url.to_string()
}
