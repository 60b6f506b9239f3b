//! What PostgreSQL's errors mean to callers.

use mnemosyne_domain::{Refusal, StoreError, StoreResult};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgQueryResult;

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_COLUMN: &str = "42703";
const DISK_FULL: &str = "53100";
const INVALID_PASSWORD: &str = "28P01";
const INVALID_AUTHORIZATION: &str = "28000";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const UNKNOWN_DATABASE: &str = "3D000";
/// The class of what is wrong with a value: a NUL in a text, a number that is too large.
const DATA_EXCEPTION: &str = "22";

/// An error of the database in the words of the ports.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::Database(database) => database_error(database.as_ref()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Corrupt(error.to_string())
        }
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("the database does not answer, or is busy with other work".to_owned())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

fn database_error(error: &dyn DatabaseError) -> StoreError {
    if error.is_unique_violation() {
        return StoreError::Conflict("value");
    }
    // What a row belongs to does not exist.
    if error.is_foreign_key_violation() {
        return StoreError::NotFound;
    }
    let message = error.message().to_owned();
    match error.code().as_deref().unwrap_or_default() {
        UNDEFINED_TABLE | UNDEFINED_COLUMN => StoreError::Schema(message),
        DISK_FULL => StoreError::Unavailable("the disk that holds the database is full".to_owned()),
        // No line of pg_hba.conf for this host, or a role that may not log in.
        INVALID_AUTHORIZATION => StoreError::Refused(
            Refusal::Permission,
            format!("{message}; check the server's pg_hba.conf and APP_DB_USER"),
        ),
        INVALID_PASSWORD => StoreError::Refused(
            Refusal::Login,
            format!(
                "{message}; check APP_DB_USER and APP_DB_PASSWORD (written as they are, not percent-encoded)"
            ),
        ),
        UNKNOWN_DATABASE => StoreError::Refused(Refusal::Place, format!("{message}; check APP_DB_NAME")),
        INSUFFICIENT_PRIVILEGE => StoreError::Refused(Refusal::Permission, message),
        code if code.starts_with(DATA_EXCEPTION) => StoreError::Unstorable(message),
        _ => StoreError::Unavailable(message),
    }
}

/// The same, where a unique value that is taken has a name.
pub(super) fn conflict(field: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match store_error(error) {
        StoreError::Conflict(_) => StoreError::Conflict(field),
        other => other,
    }
}

/// [`StoreError::NotFound`] where a change found no row.
pub(super) fn one_row(done: PgQueryResult) -> StoreResult<()> {
    if done.rows_affected() == 0 {
        Err(StoreError::NotFound)
    } else {
        Ok(())
    }
}
