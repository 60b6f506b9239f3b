use std::time::Duration;

use crate::error::StoreResult;
use crate::id::JobId;
use crate::job::Queue;

/// Nudges from those who enqueue jobs to those who run them. The job's row is the truth: a lost nudge only delays the
/// job until the next poll, a doubled one is harmless.
#[async_trait::async_trait]
pub trait JobQueue: Send + Sync {
    /// Says that a job waits in a queue.
    async fn nudge(&self, queue: Queue, job: &JobId) -> StoreResult<()>;
    /// Returns after the next nudge for one of these queues, one that came since the last call included, or after
    /// `at_most`.
    async fn wait(&self, queues: &[Queue], at_most: Duration);
}
