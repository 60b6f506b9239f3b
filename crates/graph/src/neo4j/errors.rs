//! What the errors of the driver and of the server mean: to the caller of the port, and to a transaction that may be
//! tried again.

use mnemosyne_domain::{Refusal, StoreError};
use neo4rs::{DeError, Error, Neo4jClientErrorKind, Neo4jErrorKind};

/// A uniqueness constraint stood against a write.
const CONSTRAINT: &str = "Neo.ClientError.Schema.ConstraintValidationFailed";

/// A node went while a statement looked at it.
const ENTITY_GONE: &str = "Neo.ClientError.Statement.EntityNotFound";

/// Schema commands of two processes met.
const ALREADY_THERE: [&str; 3] = [
    "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists",
    "Neo.ClientError.Schema.IndexAlreadyExists",
    "Neo.ClientError.Schema.ConstraintAlreadyExists",
];

/// What the server says of a login, also where it is asked too often after wrong ones.
const LOGIN: [&str; 3] = [
    "Neo.ClientError.Security.Unauthorized",
    "Neo.ClientError.Security.AuthenticationRateLimit",
    "Neo.ClientError.Security.CredentialsExpired",
];

/// What is said of a transaction, not of its statements: it took too long, or an administrator or the end of the server
/// ended it. The driver calls some of these client errors that a server calls transient.
const OF_TRANSACTIONS: &str = "Neo.ClientError.Transaction.";

/// The database that the URL names does not exist.
const NO_DATABASE: &str = "Neo.ClientError.Database.DatabaseNotFound";

/// What ended a transaction before its commit.
#[derive(Debug)]
pub(super) enum Failure {
    /// The answer is this error, however often it is tried.
    Refused(StoreError),
    /// The driver or the server gave up.
    Driver(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<DeError> for Failure {
    fn from(error: DeError) -> Self {
        Self::Refused(row_error(error))
    }
}

/// A row that does not hold what its statement returns.
pub(super) fn row_error(error: DeError) -> StoreError {
    StoreError::Corrupt(format!("a row of the knowledge graph: {error}"))
}

/// Whether the same transaction may succeed when it is tried again from its beginning. Losing a race for a unique value,
/// or a node to a deletion, counts: the next attempt sees what won. So does a connection that broke before the commit.
pub(super) fn is_worth_another_try(error: &Error) -> bool {
    match error {
        Error::Neo4j(error) => {
            error.kind() == Neo4jErrorKind::Transient
                || error.kind() == Neo4jErrorKind::Client(Neo4jClientErrorKind::SessionExpired)
                || matches!(error.code(), CONSTRAINT | ENTITY_GONE)
        }
        Error::IOError { .. } | Error::IncompleteBoltExchange => true,
        _ => false,
    }
}

/// Whether a schema command failed only because another process has just made the same.
pub(super) fn is_already_there(error: &Error) -> bool {
    matches!(error, Error::Neo4j(error) if ALREADY_THERE.contains(&error.code()))
}

/// What an error means to the caller of the port. No sentence holds the password: the driver never repeats it.
pub(super) fn store_error(error: &Error) -> StoreError {
    match error {
        Error::AuthenticationError(message) => refused_login(message),
        Error::Neo4j(neo4j) if LOGIN.contains(&neo4j.code()) => refused_login(neo4j.message()),
        Error::Neo4j(neo4j) => {
            let words = format!("Neo4j: {} ({})", neo4j.message(), neo4j.code());
            if neo4j.code() == NO_DATABASE {
                return StoreError::Refused(Refusal::Place, words);
            }
            match neo4j.kind() {
                Neo4jErrorKind::Transient | Neo4jErrorKind::Database => StoreError::Unavailable(words),
                Neo4jErrorKind::Client(
                    Neo4jClientErrorKind::Security(_)
                    | Neo4jClientErrorKind::SessionExpired
                    | Neo4jClientErrorKind::FatalDiscovery,
                ) => StoreError::Unavailable(words),
                _ if neo4j.code().starts_with(OF_TRANSACTIONS) => StoreError::Unavailable(words),
                _ if neo4j.code().starts_with("Neo.ClientError.Schema.") && neo4j.code() != CONSTRAINT => {
                    StoreError::Schema(words)
                }
                // A race for a unique value that went on for as long as it was tried.
                _ if matches!(neo4j.code(), CONSTRAINT | ENTITY_GONE) => StoreError::Unavailable(words),
                // Asking an index that is not there fails as a procedure call.
                _ if neo4j.message().contains("no such") && neo4j.message().contains("index") => {
                    StoreError::Schema(format!("{words}; run `mnemosyne setup`"))
                }
                _ => StoreError::Corrupt(words),
            }
        }
        Error::ConversionError | Error::DeserializationError(_) | Error::UnknownType(_) => {
            StoreError::Corrupt(format!("an answer of Neo4j: {error}"))
        }
        Error::InvalidConfig
        | Error::UrlParseError(_)
        | Error::UnsupportedScheme(_)
        | Error::InvalidDnsName(_) => {
            StoreError::Unavailable(format!("the settings of the connection to Neo4j: {error}"))
        }
        other => StoreError::Unavailable(format!("Neo4j: {other}")),
    }
}

fn refused_login(message: &str) -> StoreError {
    StoreError::Refused(
        Refusal::Login,
        format!(
            "Neo4j refused the login: {message} Check the user and the password in NEOMODEL_NEO4J_BOLT_URL; special \
             characters of the password (such as @ : / ? # %) have to be percent-encoded there"
        ),
    )
}
