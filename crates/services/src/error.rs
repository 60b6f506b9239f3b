//! What a use case answers when it cannot do as asked. Knows no status codes; one place in each surface maps them.

use std::collections::BTreeMap;
use std::time::Duration;

use mnemosyne_domain::{Failure, StoreError};

/// Why a use case did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The named thing does not exist, or not for this caller: the two are never told apart.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// Nobody known is asking.
    #[error("authentication required")]
    Unauthenticated,
    /// The caller is known and may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Fields of the request are wrong: for each, what is wrong with it.
    #[error("invalid request")]
    Invalid(BTreeMap<String, Vec<String>>),
    /// The request contradicts what is there.
    #[error("{message}")]
    Conflict {
        /// The stable word.
        code: &'static str,
        /// A sentence for a person.
        message: String,
    },
    /// The content is larger than the limit, in bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// Too many requests.
    #[error("too many requests")]
    Throttled(Duration),
    /// The document itself cannot be handled.
    #[error("{0}")]
    Document(Failure),
    /// A store or a server is away; trying again later may help. The text is for the log.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A mistake of ours. The text is for the log.
    #[error("internal: {0}")]
    Internal(String),
}

/// What a use case answers.
pub type ServiceResult<T> = Result<T, ServiceError>;

impl ServiceError {
    /// One wrong field.
    pub fn field(field: &str, problem: impl Into<String>) -> Self {
        Self::Invalid(BTreeMap::from([(field.to_owned(), vec![problem.into()])]))
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound("object"),
            StoreError::Conflict(field) => Self::Conflict {
                code: "conflict",
                message: format!("This {field} is taken or has changed."),
            },
            StoreError::Unavailable(text) | StoreError::Refused(_, text) | StoreError::Schema(text) => {
                Self::Unavailable(text)
            }
            StoreError::Unstorable(text) => {
                tracing::warn!(error = text, "a request holds what the database cannot");
                Self::field(
                    "non_field_errors",
                    "A value cannot be stored: a control character, perhaps.",
                )
            }
            StoreError::Corrupt(text) => Self::Internal(text),
        }
    }
}
