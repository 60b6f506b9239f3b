//! From a file to a visible item, stage by stage.
//!
//! Every stage leaves its result where a later run finds it: digests in the job's checkpoints, chunks and vectors with
//! the staged item in the graph. A killed worker's successor goes on where the last finished step ended; nothing is
//! embedded twice, and nothing is visible before [`Stage::Publish`].

mod run;
mod text;

pub(crate) use run::{checkpoint, embed_chunks};
pub use text::passage_text;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use mnemosyne_domain::ports::{JobUpdate, Lease, LeaseOutcome};
use mnemosyne_domain::{Failure, FailureCode, Job, JobCounts, JobStatus, Stage, StoreError};
use tokio_util::sync::CancellationToken;

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The item is visible.
    Completed,
    /// A later request took its place; what it wrote is gone.
    Superseded,
    /// Somebody cancelled it; what it wrote is gone.
    Cancelled,
    /// It failed for good.
    Failed(Failure),
    /// It failed and is tried again later.
    RetryLater(Failure),
    /// The worker stops; the job waits untouched.
    Released,
    /// Another worker has the job; nothing was touched.
    Lost,
}

/// Why a stage did not end.
#[derive(Debug)]
pub(crate) enum Interrupt {
    /// The document or a server failed.
    Failed {
        /// Why.
        failure: Failure,
        /// How long the server asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// A later revision is visible.
    Superseded,
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failed {
            failure,
            retry_after: None,
        }
    }
}

fn store_unavailable() -> Failure {
    Failure::new(
        FailureCode::StorageUnavailable,
        "A store could not be reached or is full.",
    )
}

impl From<StoreError> for Interrupt {
    fn from(error: StoreError) -> Self {
        let failure = match error {
            StoreError::Unavailable(text) | StoreError::Refused(_, text) | StoreError::Schema(text) => {
                tracing::warn!(error = text, "a store is unavailable");
                store_unavailable()
            }
            StoreError::NotFound => {
                Failure::new(FailureCode::LibraryGone, "The library was deleted meanwhile.")
            }
            other => {
                tracing::error!(error = %other, "a store answered what it cannot");
                Failure::new(FailureCode::Internal, "Something went wrong inside Mnemosyne.")
            }
        };
        failure.into()
    }
}

/// What came of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The item is visible.
    Visible,
    /// The library or the item changed meanwhile; what is missing has to be written first.
    Outrun,
}

/// What a running job has to tell at its next heartbeat.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<ProgressState>,
}

#[derive(Debug)]
struct ProgressState {
    stage: Stage,
    stage_began: Instant,
    progress: f32,
    counts: JobCounts,
    timings_ms: BTreeMap<String, u64>,
}

impl Progress {
    fn new(job: &Job) -> Self {
        Self {
            state: Mutex::new(ProgressState {
                stage: job.stage,
                stage_began: Instant::now(),
                progress: job.progress,
                counts: job.counts,
                timings_ms: job.timings_ms.clone(),
            }),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut ProgressState) -> T) -> T {
        // A panic while the lock was held leaves plain numbers behind, which are still good enough to show.
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state)
    }

    pub(crate) fn enter(&self, stage: Stage, progress: f32) {
        self.with(|state| {
            state.settle();
            state.stage = stage;
            state.progress = progress;
        });
    }

    pub(crate) fn advance(&self, progress: f32) {
        self.with(|state| state.progress = progress);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut JobCounts)) {
        self.with(|state| change(&mut state.counts));
    }

    pub(crate) fn update(&self) -> JobUpdate {
        self.with(|state| {
            state.settle();
            JobUpdate {
                stage: Some(state.stage),
                progress: Some(state.progress),
                counts: Some(state.counts),
                timings_ms: Some(state.timings_ms.clone()),
                checkpoints: BTreeMap::new(),
            }
        })
    }
}

impl ProgressState {
    /// Books the time since the last look onto the current stage.
    fn settle(&mut self) {
        let spent = self.stage_began.elapsed();
        let whole = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        if self.stage != Stage::Queued {
            *self.timings_ms.entry(self.stage.as_str().to_owned()).or_default() += whole;
        }
        // What was below a millisecond stays on the clock.
        self.stage_began += Duration::from_millis(whole);
    }
}

impl Services {
    /// Runs a leased job to its end, or until `stop` says that this worker is to end. Whatever happens, the job's row
    /// says what became of it.
    pub async fn run_job(&self, lease: Lease, stop: &CancellationToken) -> ServiceResult<JobEnd> {
        let job = &lease.job;
        let progress = Progress::new(job);
        for _ in 0..PUBLISH_ROUNDS {
            let written = tokio::select! {
                result = self.run_stages(&lease, &progress) => result,
                outcome = self.keep_lease(&lease, &progress) => return self.leave(job, outcome?).await,
                () = stop.cancelled() => {
                    self.relational.release(&job.id, &lease.token, self.clock.now()).await?;
                    return Ok(JobEnd::Released);
                }
            };
            let chunks = match written {
                Ok(chunks) => chunks,
                Err(interrupt) => return self.interrupted(&lease, &progress, interrupt).await,
            };
            // From here on nobody can cancel the job. Whoever did so before, or took the job over, is heard of now.
            progress.enter(Stage::Publish, 0.97);
            match self.tell(&lease, progress.update()).await? {
                LeaseOutcome::Held => {}
                other => return self.leave(job, other).await,
            }
            // Publishing is never given up in the middle: nobody could tell then whether the item is visible.
            let published = tokio::select! {
                result = self.publish(&lease, &progress, chunks) => result,
                never = self.beat_on(&lease, &progress) => match never {},
            };
            match published {
                Ok(Published::Visible) => return self.complete(&lease, &progress).await,
                Ok(Published::Outrun) => {}
                Err(interrupt) => return self.interrupted(&lease, &progress, interrupt).await,
            }
        }
        let failure = Failure::new(
            FailureCode::StorageUnavailable,
            "The library was changed again and again while the document was being added to it.",
        );
        self.interrupted(&lease, &progress, failure.into()).await
    }

    async fn complete(&self, lease: &Lease, progress: &Progress) -> ServiceResult<JobEnd> {
        let job = &lease.job;
        progress.enter(Stage::Complete, 1.0);
        self.tell(lease, progress.update()).await?;
        let now = self.clock.now();
        let finished = self
            .relational
            .finish(&job.id, &lease.token, JobStatus::Completed, now)
            .await?;
        if finished.outcome != LeaseOutcome::Held {
            return self.leave(job, finished.outcome).await;
        }
        for item in &finished.superseded {
            self.discard_or_warn(item).await;
        }
        if finished.superseded.contains(&job.item_uid) {
            return Ok(JobEnd::Superseded);
        }
        Ok(JobEnd::Completed)
    }

    async fn interrupted(
        &self,
        lease: &Lease,
        progress: &Progress,
        interrupt: Interrupt,
    ) -> ServiceResult<JobEnd> {
        let job = &lease.job;
        match interrupt {
            Interrupt::Superseded => {
                self.relational
                    .finish(&job.id, &lease.token, JobStatus::Superseded, self.clock.now())
                    .await?;
                self.discard(&job.item_uid).await?;
                Ok(JobEnd::Superseded)
            }
            Interrupt::Failed { failure, retry_after } => {
                let (failure, update) = self.judged(lease, progress, failure).await;
                self.tell(lease, update).await?;
                self.end_attempt(lease, failure, retry_after).await
            }
        }
    }

    /// A store that misses what was written says no more than that. Only where the library is really gone, the job ends;
    /// otherwise a run that had lost its lease wrote over it, or somebody removed it, and it is written anew. What failed, and
    /// what the job's row is told.
    async fn judged(&self, lease: &Lease, progress: &Progress, failure: Failure) -> (Failure, JobUpdate) {
        let update = progress.update();
        if failure.code != FailureCode::LibraryGone {
            return (failure, update);
        }
        match self.knowledge.library(&lease.job.request.library_uid).await {
            Ok(None) => (failure, update),
            Ok(Some(_)) => {
                let anew = JobUpdate {
                    checkpoints: [(run::checkpoint::STAGED.to_owned(), String::new())].into(),
                    ..update
                };
                let failure = Failure::new(
                    FailureCode::StorageUnavailable,
                    "A part of what was written was missing; it is written anew.",
                );
                (failure, anew)
            }
            Err(error) => {
                tracing::warn!(job = %lease.job.id, %error, "nobody can say whether the library is gone");
                (store_unavailable(), update)
            }
        }
    }

    async fn end_attempt(
        &self,
        lease: &Lease,
        failure: Failure,
        retry_after: Option<Duration>,
    ) -> ServiceResult<JobEnd> {
        let job = &lease.job;
        let now = self.clock.now();
        let tried_for = now - job.started_at.unwrap_or(now);
        let again = failure.code.is_transient() && tried_for < PATIENCE;
        let retry_at = again.then(|| now + pause(job.failures, retry_after));
        match self
            .relational
            .fail(&job.id, &lease.token, &failure, retry_at, now)
            .await?
        {
            LeaseOutcome::Held => {}
            other => return self.leave(job, other).await,
        }
        tracing::warn!(job = %job.id, file = job.request.filename, code = %failure.code, again, "ingest failed");
        if failure.code == FailureCode::LibraryGone {
            self.discard(&job.item_uid).await?;
        }
        Ok(if again {
            JobEnd::RetryLater(failure)
        } else {
            JobEnd::Failed(failure)
        })
    }

    /// Beats until the job is not ours any more.
    async fn keep_lease(&self, lease: &Lease, progress: &Progress) -> ServiceResult<LeaseOutcome> {
        let mut beat = tokio::time::interval(self.settings.ingest.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            match self.tell(lease, progress.update()).await {
                Ok(LeaseOutcome::Held) => {}
                Ok(other) => return Ok(other),
                // The store may be back before the lease runs out; if it is not, another worker takes over.
                Err(error) => tracing::warn!(job = %lease.job.id, %error, "a heartbeat failed"),
            }
        }
    }

    /// Beats for as long as it is let, whatever the answer: what is under way must not be stopped by it.
    async fn beat_on(&self, lease: &Lease, progress: &Progress) -> Infallible {
        loop {
            let outcome = self.keep_lease(lease, progress).await;
            tracing::debug!(job = %lease.job.id, ?outcome, "a lease ended while its item was being published");
            tokio::time::sleep(self.settings.ingest.heartbeat).await;
        }
    }

    pub(crate) async fn tell(&self, lease: &Lease, update: JobUpdate) -> ServiceResult<LeaseOutcome> {
        let ttl = self.settings.ingest.lease;
        Ok(self
            .relational
            .heartbeat(&lease.job.id, &lease.token, update, ttl, self.clock.now())
            .await?)
    }

    async fn leave(&self, job: &Job, outcome: LeaseOutcome) -> ServiceResult<JobEnd> {
        match outcome {
            LeaseOutcome::Cancelled => {
                self.discard(&job.item_uid).await?;
                Ok(JobEnd::Cancelled)
            }
            LeaseOutcome::Superseded => {
                self.discard(&job.item_uid).await?;
                Ok(JobEnd::Superseded)
            }
            LeaseOutcome::Lost => {
                // The library may have been deleted together with its jobs: then nobody else cleans up.
                if self.relational.job(&job.id).await?.is_none() {
                    self.discard(&job.item_uid).await?;
                }
                Ok(JobEnd::Lost)
            }
            LeaseOutcome::Held => Err(ServiceError::Internal("a lease ended while it was held".into())),
        }
    }
}

/// How long a job is tried again after failures that may pass, from the first attempt on.
const PATIENCE: TimeDelta = TimeDelta::hours(24);
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// How often an item is brought up to date with a library that moves to another model meanwhile, before the job waits.
const PUBLISH_ROUNDS: u32 = 5;

/// The pause before the next attempt: 5 s, doubled with each failure before this one, at most five minutes; or longer where
/// the server asks for it.
fn pause(failures: u32, retry_after: Option<Duration>) -> TimeDelta {
    let back_off = TimeDelta::seconds((5_i64 << failures.min(6)).min(300));
    let asked = retry_after.map(|asked| asked.min(LONGEST_PAUSE));
    asked
        .and_then(|asked| TimeDelta::from_std(asked).ok())
        .map_or(back_off, |asked| asked.max(back_off))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart_and_stay_bounded() {
        let pauses: Vec<i64> = (0..8)
            .map(|failures| pause(failures, None).num_seconds())
            .collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_asks() {
        let asked = |seconds| pause(2, Some(Duration::from_secs(seconds))).num_seconds();
        assert_eq!(
            [asked(0), asked(21), asked(300), asked(u64::MAX)],
            [20, 21, 300, 3_600]
        );
    }
}
