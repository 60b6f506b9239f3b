//! Times of our own tables: microseconds since 1970.

use chrono::{DateTime, Utc};
use mnemosyne_domain::{StoreError, StoreResult};

pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

pub(crate) fn from_micros(at: i64) -> StoreResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at).ok_or_else(|| StoreError::Corrupt(format!("{at} is no time")))
}
