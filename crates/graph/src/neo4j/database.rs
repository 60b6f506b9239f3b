//! The connections to the server: reads in one exchange, writes in transactions that are tried again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use mnemosyne_domain::{StoreError, StoreResult};
use neo4rs::{BoltMap, BoltString, BoltType, ConfigBuilder, Graph, Query, Row, Txn};
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::Neo4jSettings;
use super::errors::{Failure, is_already_there, is_worth_another_try, row_error, store_error};
use super::schema;

/// How long a read may take altogether, with waiting for a connection and the driver's own attempts.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// How long a transaction waits for a connection.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);

/// How often a transaction is tried, and for how long at the most before the last attempt.
const ATTEMPTS: u32 = 8;
/// See [`ATTEMPTS`].
const ATTEMPTS_PATIENCE: Duration = Duration::from_secs(10);

/// The pause after the first attempt; each further one is twice as long, give or take half.
const FIRST_PAUSE: Duration = Duration::from_millis(40);

/// What a schema command conflicts with.
const ALREADY_THERE: &str = "schema";

/// How many rows the server sends at once.
const FETCH_SIZE: usize = 1000;

/// The pool of connections to one database.
#[derive(Clone)]
pub(super) struct Database {
    graph: Graph,
    /// Set once the schema was found to be ours.
    verified: Arc<AtomicBool>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Makes a pool without a connection in it.
    pub(super) fn new(settings: &Neo4jSettings) -> StoreResult<Self> {
        let mut config = ConfigBuilder::default()
            .uri(settings.address.url.as_str())
            .user(settings.address.user.as_str())
            .password(settings.address.password.as_str())
            .max_connections(settings.max_connections.max(1))
            .fetch_size(FETCH_SIZE)
            .connection_timeout(settings.message_patience);
        if let Some(database) = &settings.address.database {
            config = config.db(database.as_str());
        }
        let config = config.build().map_err(|error| store_error(&error))?;
        Ok(Self {
            graph: Graph::connect(config).map_err(|error| store_error(&error))?,
            verified: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Answers whether the schema is there, at no cost once it was. Without its constraints, writes would leave what
    /// none may ever leave, so nothing is asked of a store before.
    async fn ready(&self) -> StoreResult<()> {
        if self.verified.load(Ordering::Acquire) {
            return Ok(());
        }
        schema::check(self).await?;
        self.verified.store(true, Ordering::Release);
        Ok(())
    }

    /// All rows of a statement that only reads.
    pub(super) async fn rows(&self, query: Query) -> StoreResult<Vec<Row>> {
        self.ready().await?;
        self.unchecked_rows(query).await
    }

    /// As [`Database::rows`], also where the schema is missing.
    pub(super) async fn unchecked_rows(&self, query: Query) -> StoreResult<Vec<Row>> {
        // The driver's futures are deep: a box keeps them out of the layout of every caller.
        let reading: BoxFuture<'_, Result<Vec<Row>, neo4rs::Error>> = Box::pin(async {
            let mut stream = self.graph.execute_read(query).await?;
            let mut rows = Vec::new();
            while let Some(row) = stream.next().await? {
                rows.push(row);
            }
            Ok(rows)
        });
        tokio::time::timeout(READ_PATIENCE, reading)
            .await
            .map_err(|_| StoreError::Unavailable("Neo4j did not answer in time".to_owned()))?
            .map_err(|error| store_error(&error))
    }

    /// The rows of a statement as values.
    pub(super) async fn read<T: DeserializeOwned>(&self, query: Query) -> StoreResult<Vec<T>> {
        let rows = self.rows(query).await?;
        rows.iter()
            .map(|row| row.to_strict().map_err(row_error))
            .collect()
    }

    /// The first row of a statement as a value.
    pub(super) async fn read_one<T: DeserializeOwned>(&self, query: Query) -> StoreResult<Option<T>> {
        Ok(self.read(query).await?.into_iter().next())
    }

    /// Does `work` in a transaction, which is committed where it answers without an error, and tried again where the
    /// server asks for that.
    ///
    /// The work goes on where the caller is dropped: a transaction that was left alone would hold its locks until its
    /// connection is used again.
    pub(super) async fn write<I, T, W>(&self, input: I, work: W) -> StoreResult<T>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        W: for<'a> Fn(&'a mut Transaction, &'a I) -> BoxFuture<'a, Result<T, Failure>>
            + Send
            + Sync
            + 'static,
    {
        self.ready().await?;
        self.unchecked_write(input, work).await
    }

    /// As [`Database::write`], also where the schema is missing.
    pub(super) async fn unchecked_write<I, T, W>(&self, input: I, work: W) -> StoreResult<T>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        W: for<'a> Fn(&'a mut Transaction, &'a I) -> BoxFuture<'a, Result<T, Failure>>
            + Send
            + Sync
            + 'static,
    {
        let graph = self.graph.clone();
        let transaction = async move {
            let begun = Instant::now();
            let mut attempt = 1;
            loop {
                let error = match attempted(&graph, &input, &work).await {
                    Ok(value) => return Ok(value),
                    Err(Failure::Refused(error)) => return Err(error),
                    Err(Failure::Driver(error)) => error,
                };
                let last = attempt >= ATTEMPTS || begun.elapsed() >= ATTEMPTS_PATIENCE;
                if last || !is_worth_another_try(&error) {
                    return Err(store_error(&error));
                }
                tracing::debug!(%error, attempt, "a transaction is tried again");
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
        };
        tokio::spawn(transaction.in_current_span())
            .await
            .map_err(|error| StoreError::Corrupt(format!("a transaction broke down: {error}")))?
    }

    /// Runs a schema command in a transaction of its own. That another process has just made the same is no error.
    pub(super) async fn command(&self, query: Query) -> StoreResult<()> {
        let run = self.unchecked_write(query, |transaction, query| {
            Box::pin(async move {
                match transaction.run(query.clone()).await {
                    // The transaction has failed, and nothing is left to commit.
                    Err(Failure::Driver(error)) if is_already_there(&error) => {
                        Err(StoreError::Conflict(ALREADY_THERE).into())
                    }
                    other => other,
                }
            })
        });
        match run.await {
            Err(StoreError::Conflict(ALREADY_THERE)) => Ok(()),
            other => other,
        }
    }
}

/// One attempt at a transaction.
async fn attempted<I, T, W>(graph: &Graph, input: &I, work: &W) -> Result<T, Failure>
where
    W: for<'a> Fn(&'a mut Transaction, &'a I) -> BoxFuture<'a, Result<T, Failure>>,
{
    let begin: BoxFuture<'_, Result<Txn, neo4rs::Error>> = Box::pin(graph.start_txn());
    let begun = tokio::time::timeout(CONNECTION_PATIENCE, begin)
        .await
        .map_err(|_| StoreError::Unavailable("all connections to Neo4j are in use".to_owned()))?;
    // A server that cannot be reached is not waited for: the caller knows better what to do meanwhile.
    let begun = begun.map_err(|error| match error {
        neo4rs::Error::Neo4j(_) => Failure::Driver(error),
        other => Failure::Refused(store_error(&other)),
    })?;
    let mut transaction = Transaction { inner: begun };
    match work(&mut transaction, input).await {
        Ok(value) => match transaction.inner.commit().await {
            Ok(()) => Ok(value),
            Err(error @ neo4rs::Error::Neo4j(_)) => Err(Failure::Driver(error)),
            // Nobody knows whether it was committed. Whoever repeats the call finds out.
            Err(error) => Err(Failure::Refused(store_error(&error))),
        },
        Err(failure) => {
            // After an error of the server there is nothing left to roll back, and it says so.
            let _ended = transaction.inner.rollback().await;
            Err(failure)
        }
    }
}

/// How long to wait after an attempt: twice as long each time, give or take half, so that two that met do not meet again.
fn pause(attempt: u32) -> Duration {
    let whole = FIRST_PAUSE * 2_u32.saturating_pow(attempt.saturating_sub(1));
    let share = RandomState::new().build_hasher().finish() % 1000;
    whole / 2 + whole * u32::try_from(share).unwrap_or(0) / 1000
}

/// A transaction that was begun.
pub(super) struct Transaction {
    inner: Txn,
}

impl Transaction {
    /// Runs a statement whose rows do not matter.
    pub(super) async fn run(&mut self, query: Query) -> Result<(), Failure> {
        self.inner.run(query).await?;
        Ok(())
    }

    /// The rows of a statement.
    pub(super) async fn read<T: DeserializeOwned>(&mut self, query: Query) -> Result<Vec<T>, Failure> {
        let mut stream = self.inner.execute(query).await?;
        let mut rows = Vec::new();
        while let Some(row) = stream.next(&mut self.inner).await? {
            rows.push(row.to_strict()?);
        }
        Ok(rows)
    }

    /// The first row of a statement.
    pub(super) async fn read_one<T: DeserializeOwned>(&mut self, query: Query) -> Result<Option<T>, Failure> {
        Ok(self.read(query).await?.into_iter().next())
    }
}

/// A statement without parameters yet.
pub(super) fn cypher(text: &'static str) -> Query {
    Query::new(text.to_owned())
}

/// A map as a parameter.
pub(super) fn map<const N: usize>(pairs: [(&str, BoltType); N]) -> BoltType {
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| (BoltString::from(key), value));
    BoltType::Map(pairs.collect::<BoltMap>())
}

/// Texts as a parameter.
pub(super) fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> BoltType {
    values.into_iter().collect()
}

/// A number as a parameter; the largest there is, where it is larger.
pub(super) fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
