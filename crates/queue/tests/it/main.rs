//! The conformance of every queue.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

use std::sync::Arc;

use mnemosyne_domain::ports::JobQueue;
use mnemosyne_queue::in_process::InProcessQueue;

async fn in_process() -> Arc<dyn JobQueue> {
    Arc::new(InProcessQueue::default())
}

mnemosyne_testkit::queue_conformance!(crate::in_process);
