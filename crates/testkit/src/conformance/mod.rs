//! The promises of the ports as tests. A backend shows that it keeps them with one line for each suite, which names a
//! function that makes it fresh and empty:
//!
//! ```ignore
//! mnemosyne_testkit::jobs_conformance!(crate::databases);
//! ```
//!
//! Moments are passed in, so no rule sleeps for one.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests: what fails here is to be seen at once"
)]

pub mod accounts;
pub mod audit;
pub mod blob_ledger;
pub mod blob_store;
pub mod cache;
pub mod jobs;
pub mod knowledge;
pub mod providers;
pub mod queue;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

/// Two handles on one fresh and empty backend, opened apart, as two processes do.
pub struct Pair<T: ?Sized> {
    /// One handle.
    pub first: Arc<T>,
    /// The other.
    pub second: Arc<T>,
    _needed: Box<dyn Any + Send>,
}

impl<T: ?Sized> Pair<T> {
    /// The handles, and what must live as long as they do (a temporary folder, say).
    pub fn new(first: Arc<T>, second: Arc<T>, needed: impl Any + Send) -> Self {
        Self {
            first,
            second,
            _needed: Box::new(needed),
        }
    }

    /// One handle or the other, in turn.
    pub fn handle(&self, turn: usize) -> Arc<T> {
        Arc::clone(if turn.is_multiple_of(2) {
            &self.first
        } else {
            &self.second
        })
    }
}

impl<T: ?Sized> fmt::Debug for Pair<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A moment, in seconds from the beginning of every suite.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

/// Makes one test of each rule of a suite. Suites call it; backends call the suites.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_suite {
    ($suite:ident, $make:path, [$($rule:ident),+ $(,)?]) => {
        mod $suite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    $crate::conformance::$suite::$rule($make().await).await;
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_rule_is_left_out_of_its_suite() {
        for (file, text) in [
            ("accounts.rs", include_str!("accounts.rs")),
            ("audit.rs", include_str!("audit.rs")),
            ("blob_ledger.rs", include_str!("blob_ledger.rs")),
            ("blob_store.rs", include_str!("blob_store.rs")),
            ("cache.rs", include_str!("cache.rs")),
            ("jobs.rs", include_str!("jobs.rs")),
            ("providers.rs", include_str!("providers.rs")),
            ("queue.rs", include_str!("queue.rs")),
        ] {
            let (_, suite) = text.split_once("macro_rules!").unwrap();
            let rules = text
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split_once('('));
            let names: Vec<&str> = rules.map(|(name, _)| name).collect();
            assert!(!names.is_empty(), "{file} has no rules");
            for name in names {
                assert!(
                    suite.lines().any(|line| line.trim() == format!("{name},")),
                    "{file}: {name} is not run"
                );
            }
        }
    }
}
