//! The worker: takes jobs one by one, runs each under a lease, drains when told to stop.

mod runtime;
mod tasks;
mod watch;

pub use runtime::{WorkerSettings, run};
