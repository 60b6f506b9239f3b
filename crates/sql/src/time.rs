//! Times of our own tables: microseconds since 1970.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::{StoreError, StoreResult};

pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

pub(crate) fn from_micros(at: i64) -> StoreResult<DateTime<Utc>> {
    DateTime::from_timestamp_micros(at).ok_or_else(|| StoreError::Corrupt(format!("{at} is no time")))
}

/// The moment this long after another one.
pub(crate) fn after(now: DateTime<Utc>, time: Duration) -> i64 {
    let end = TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time));
    micros(end.unwrap_or(DateTime::<Utc>::MAX_UTC))
}
