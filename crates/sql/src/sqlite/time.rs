//! Times of Django's tables: text.

use chrono::{DateTime, NaiveDateTime, Utc};
use mnemosyne_domain::{StoreError, StoreResult};

const DJANGO: &str = "%Y-%m-%d %H:%M:%S%.6f";
const DJANGO_READ: &str = "%Y-%m-%d %H:%M:%S%.f";

pub(super) fn to_django(at: DateTime<Utc>) -> String {
    at.format(DJANGO).to_string()
}

pub(super) fn from_django(text: &str) -> StoreResult<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text, DJANGO_READ)
        .map(|naive| naive.and_utc())
        .map_err(|_| StoreError::Corrupt(format!("{text:?} is no time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn django_writes_times_with_and_without_a_fraction() {
        for text in ["2026-11-24 12:33:51.138752", "2026-11-24 12:33:51"] {
            let at = from_django(text).unwrap();
            assert_eq!(from_django(&to_django(at)).unwrap(), at);
        }
        assert!(from_django("yesterday").is_err());
    }
}
