use std::fmt;
use std::time::Duration;

use crate::error::{Failure, StoreResult};
use crate::id::JobId;
use crate::job::{JobStatus, Queue};

/// A job whose row is written and that no message was sent for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The job.
    pub job: JobId,
    /// The queue it waits in.
    pub queue: Queue,
}

/// Lets go of a message for good. Dropped without it, the message comes again.
#[async_trait::async_trait]
pub trait Receipt: Send + Sync {
    /// Says that the message is not needed any more: what it asked for stands in the job's row. A message that could not
    /// be let go of comes again, which is harmless.
    async fn settle(self: Box<Self>);
}

/// Word that a job waits.
pub struct Nudge {
    /// The job, where the message names one. A bell inside one process names none: look into the table.
    pub job: Option<JobId>,
    /// To be settled once the job's row shows that it is taken, or that there is nothing to take.
    pub receipt: Option<Box<dyn Receipt>>,
}

impl fmt::Debug for Nudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nudge")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

/// What became of a job, for those who watch a worker. It is told best-effort: the truth is the row.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// The job.
    pub job: JobId,
    /// What became of it.
    pub state: TaskState,
}

/// See [`TaskReport`].
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// This worker took it; this is its how manyeth attempt, from 1.
    Started {
        /// From 1.
        attempt: u32,
    },
    /// It ended well, here or elsewhere. The value is what a sender that waits for a result is given.
    Succeeded {
        /// A JSON object.
        result: serde_json::Value,
        /// How long this worker ran it.
        runtime: Duration,
    },
    /// This attempt failed and another one follows.
    Retried(Failure),
    /// It failed for good.
    Failed(Failure),
    /// It was cancelled.
    Revoked,
    /// This worker let go of it without an end (it stops, or another has it).
    Released,
}

/// A job whose end a sender waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its place in the order of those who wait, from 1.
    pub turn: u64,
    /// The job.
    pub job: JobId,
}

/// A job that those who watch want cancelled.
pub struct Cancellation {
    /// The job; there need not be one of this name.
    pub job: JobId,
    /// Tells whoever asked what came of it. Never waits.
    pub answer: Box<dyn FnOnce(CancelOutcome) + Send>,
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}

/// What came of a [`Cancellation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The job as it stands now: cancelled, by this or before; or it had ended, or runs and is too far to be stopped.
    Job(JobStatus),
    /// There is no such job.
    NoJob,
    /// Nobody could look, or it took too long.
    Unknown,
}

/// Nudges from those who enqueue jobs to those who run them. The job's row is the truth: a lost nudge only delays the
/// job until the next poll, a doubled one is harmless.
#[async_trait::async_trait]
pub trait JobQueue: super::Health {
    /// Whether nudges leave this process. Then jobs are announced from their rows, which keep that they still must be
    /// (the outbox); otherwise an announcement cannot fail.
    fn is_remote(&self) -> bool;
    /// Sends one message for each job, and returns those that were received for certain, in any order. An error, or a
    /// job that is missing from the answer, means: announce it again.
    async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>>;
    /// The next nudge for one of these queues, one that came since the last call included, or `None` after `at_most`.
    /// Never an error: who cannot be nudged polls.
    async fn next(&self, queues: &[Queue], at_most: Duration) -> Option<Nudge>;
    /// Tells those who watch what became of a job. Never waits.
    fn report(&self, report: TaskReport);
    /// Jobs whose end senders wait for, wherever they run: [`JobQueue::report`] must be told of it. Those after this turn
    /// (0: from the beginning), as many as are wanted; who asked first comes first.
    fn awaited(&self, _after: u64, _limit: usize) -> Vec<Awaited> {
        Vec::new()
    }
    /// The next job that those who watch want cancelled, waiting for it as long as it takes. A queue that nobody watches
    /// never has one.
    async fn cancellation(&self) -> Cancellation {
        std::future::pending().await
    }
}
