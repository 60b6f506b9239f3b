//! What SQLite's errors mean to callers.

use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteQueryResult;

// Primary result codes, https://www.sqlite.org/rescode.html.
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;

/// An error of the database in the words of the ports.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::Database(database) => database_error(database.as_ref()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Corrupt(error.to_string())
        }
        sqlx::Error::PoolTimedOut => {
            StoreError::Unavailable("the database is busy with other work".to_owned())
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
    let message = error.message();
    if message.starts_with("no such table") || message.starts_with("no such column") {
        return StoreError::Schema(message.to_owned());
    }
    let code = error
        .code()
        .and_then(|code| code.parse::<i32>().ok())
        .unwrap_or_default();
    match code & 0xff {
        CORRUPT | NOT_A_DATABASE => StoreError::Corrupt(message.to_owned()),
        FULL => StoreError::Unavailable("the disk that holds the database is full".to_owned()),
        _ => StoreError::Unavailable(message.to_owned()),
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
pub(super) fn one_row(done: SqliteQueryResult) -> StoreResult<()> {
    if done.rows_affected() == 0 {
        Err(StoreError::NotFound)
    } else {
        Ok(())
    }
}
