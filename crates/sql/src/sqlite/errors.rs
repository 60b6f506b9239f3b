//! What SQLite's errors mean to callers.

use mnemosyne_domain::StoreError;

/// An error of the database in the words of the ports.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::RowNotFound => StoreError::NotFound,
        sqlx::Error::Database(database) if database.is_unique_violation() => StoreError::Conflict("value"),
        sqlx::Error::Database(database) if database.message().starts_with("no such table") => {
            StoreError::Schema(database.message().to_owned())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// The same, where a unique value that is taken has a name.
pub(super) fn conflict(field: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match store_error(error) {
        StoreError::Conflict(_) => StoreError::Conflict(field),
        other => other,
    }
}
