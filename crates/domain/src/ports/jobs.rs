use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::error::{Failure, StoreResult};
use crate::id::{ItemUid, JobId, LibraryUid};
use crate::job::{Job, JobCounts, JobStatus, NewJob, Queue, Stage};
use crate::page::{Page, PageRequest};

/// What became of a request to ingest.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    /// The job: the new one, or the one that the same request made before.
    pub job: Job,
    /// Whether it was there before.
    pub deduplicated: bool,
}

/// Which jobs are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only jobs in this state.
    pub status: Option<JobStatus>,
    /// Only jobs of this library.
    pub library_uid: Option<LibraryUid>,
    /// Only jobs that failed with this code.
    pub failure: Option<crate::error::FailureCode>,
    /// Only jobs whose file name contains this text, whatever the case of its ASCII letters.
    pub name_contains: Option<String>,
    /// In which order.
    pub order: JobOrder,
}

/// The orders of a list of jobs. Jobs that are equal in it come newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobOrder {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
    /// By file name, A first, whatever the case of ASCII letters.
    ByName,
}

/// Who wants a job, and of which queues.
#[derive(Clone, Debug)]
pub struct LeaseRequest<'a> {
    /// The worker's own name, for people.
    pub holder: &'a str,
    /// The queues it serves.
    pub queues: &'a [Queue],
    /// Only this job, whatever its place in the order and its queue; `None`: the oldest.
    pub job: Option<&'a JobId>,
    /// How long the lease holds without a heartbeat.
    pub ttl: Duration,
    /// A job that was begun this often without ending is not begun again; it fails as `too_many_attempts`.
    pub max_attempts: u32,
    /// Now.
    pub now: DateTime<Utc>,
}

/// A job that is ours to run for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The job, already `processing`.
    pub job: Job,
    /// Proof of the lease; one that was taken over has another.
    pub token: String,
}

/// Whether work on a leased job should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// Ours, go on.
    Held,
    /// Somebody cancelled the job: stop and clean up.
    Cancelled,
    /// A later request took its place: stop and clean up.
    Superseded,
    /// The lease ran out and another worker has it, or the job is gone: stop, touch nothing.
    Lost,
}

/// What a worker writes into the row of a job that it holds. `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobUpdate {
    /// The stage it is in.
    pub stage: Option<Stage>,
    /// 0 to 1.
    pub progress: Option<f32>,
    /// What it has made so far.
    pub counts: Option<JobCounts>,
    /// Time spent by stage, replacing what was there.
    pub timings_ms: Option<BTreeMap<String, u64>>,
    /// Named results of finished stages (digests of blobs, say), merged into those that are there: a resumed run reads
    /// them with [`Jobs::checkpoints`].
    pub checkpoints: BTreeMap<String, String>,
}

/// What was done lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Jobs in each state, by [`JobStatus::as_str`].
    pub by_status: BTreeMap<String, u64>,
    /// Jobs completed in each minute of the last hour, oldest first; 60 numbers.
    pub completed_per_minute: Vec<u64>,
    /// Failed jobs by code, most first.
    pub failures: Vec<(String, u64)>,
}

/// The table of jobs.
#[async_trait::async_trait]
pub trait Jobs: Send + Sync {
    /// Records a request. Idempotent on (library, `source_ref`, `content_hash`): a job with the same three that is neither
    /// superseded nor cancelled is returned instead. Otherwise, in the same transaction, jobs of the same source with
    /// other content that are pending become superseded; one that a worker holds goes on.
    async fn enqueue(&self, job: NewJob, now: DateTime<Utc>) -> StoreResult<Enqueued>;
    /// The job of this id.
    async fn job(&self, id: &JobId) -> StoreResult<Option<Job>>;
    /// The job that makes, or made, this item.
    async fn job_of_item(&self, item: &ItemUid) -> StoreResult<Option<Job>>;
    /// Jobs in the order of the filter.
    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> StoreResult<Page<Job>>;
    /// How many jobs of these libraries wait, run or failed; what is not named has none. A store that can count them all
    /// at once should.
    async fn unsettled_jobs(
        &self,
        libraries: &[LibraryUid],
    ) -> StoreResult<Vec<(LibraryUid, JobStatus, u64)>> {
        let mut counts = Vec::new();
        for library in libraries {
            for status in [JobStatus::Pending, JobStatus::Processing, JobStatus::Failed] {
                let filter = JobFilter {
                    status: Some(status),
                    library_uid: Some(library.clone()),
                    ..JobFilter::default()
                };
                let number = self.jobs(&filter, PageRequest::first(1)).await?.total;
                if number > 0 {
                    counts.push((library.clone(), status, number));
                }
            }
        }
        Ok(counts)
    }
    /// Takes the oldest due job that nobody holds (or the one that is asked for, if it is such a job): pending ones, and
    /// processing ones whose lease ran out. A job that is taken needs no announcement any more.
    async fn lease(&self, request: LeaseRequest<'_>) -> StoreResult<Option<Lease>>;
    /// Extends a lease by `ttl` from now, and writes what the worker has to tell.
    async fn heartbeat(
        &self,
        id: &JobId,
        token: &str,
        update: JobUpdate,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> StoreResult<LeaseOutcome>;
    /// The outbox: pending jobs that became due before this moment and that no message was sent for since they became
    /// pending, oldest first. That they must be announced stands in their own rows, so that no job is recorded without it.
    async fn unannounced(
        &self,
        due_before: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<super::Announcement>>;
    /// Notes that messages were sent for these jobs.
    async fn announced(&self, jobs: &[JobId]) -> StoreResult<()>;
    /// The named results of stages that are finished.
    async fn checkpoints(&self, id: &JobId) -> StoreResult<BTreeMap<String, String>>;
    /// Ends a leased job: completed or superseded, `Conflict("status")` for anything else. With a completed job, those of
    /// the same source that came before it and ended, completed or failed, become superseded. A job that was cancelled
    /// under this lease ends as well: what became visible before its worker heard of it stays. Where the same request was
    /// made again meanwhile, such a job is superseded, for one job of a request is live.
    async fn finish(
        &self,
        id: &JobId,
        token: &str,
        status: JobStatus,
        now: DateTime<Utc>,
    ) -> StoreResult<LeaseOutcome>;
    /// Ends an attempt with a failure: pending again at `retry_at`, or failed where that is `None`.
    async fn fail(
        &self,
        id: &JobId,
        token: &str,
        failure: &Failure,
        retry_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<LeaseOutcome>;
    /// Gives a leased job back untouched (the worker stops): pending, due now, the attempt not counted.
    async fn release(&self, id: &JobId, token: &str, now: DateTime<Utc>) -> StoreResult<LeaseOutcome>;
    /// Cancels a job that is not final; returns it as it stands afterwards.
    async fn cancel(&self, id: &JobId, now: DateTime<Utc>) -> StoreResult<Option<Job>>;
    /// Puts a failed job back to pending with its attempts at zero; `Conflict("status")` in any other state.
    async fn retry(&self, id: &JobId, now: DateTime<Utc>) -> StoreResult<Option<Job>>;
    /// The same for every failed job with this code (or with any) of this library (or of all); says how many.
    async fn retry_failed(
        &self,
        code: Option<&str>,
        library: Option<&LibraryUid>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64>;
    /// Removes the jobs of a library; says how many.
    async fn delete_jobs_of_library(&self, library: &LibraryUid) -> StoreResult<u64>;
    /// Removes the job of an item.
    async fn delete_job_of_item(&self, item: &ItemUid) -> StoreResult<()>;
    /// What was done lately, and what waits.
    async fn throughput(&self, now: DateTime<Utc>) -> StoreResult<Throughput>;
}

/// Who needs which blob. A blob goes when its last holder lets go, and never between a holder's claim and its use: a
/// claim is written *before* the blob is stored or relied on.
#[async_trait::async_trait]
pub trait BlobLedger: Send + Sync {
    /// Claims a blob for a holder (a job or an item, by its identifier). Repeating it is harmless.
    async fn claim_blob(&self, digest: &str, holder: &str) -> StoreResult<()>;
    /// Lets go of everything a holder claimed, and calls `remove` for each blob that nobody holds any more, inside the
    /// transaction that proves it.
    async fn release_blobs(&self, holder: &str, blobs: &dyn super::BlobStore) -> StoreResult<u64>;
    /// Gives every claim of one holder to another.
    async fn transfer_blobs(&self, from: &str, to: &str) -> StoreResult<()>;
    /// Every holder that has claims.
    async fn blob_holders(&self) -> StoreResult<Vec<String>>;
}

/// Small named values of the installation.
#[async_trait::async_trait]
pub trait Settings: Send + Sync {
    /// The value of this name.
    async fn setting(&self, name: &str) -> StoreResult<Option<String>>;
    /// Writes a value.
    async fn set_setting(&self, name: &str, value: &str) -> StoreResult<()>;
    /// Removes a value.
    async fn delete_setting(&self, name: &str) -> StoreResult<()>;
    /// Names and values that begin with a prefix, by name.
    async fn settings_with_prefix(&self, prefix: &str) -> StoreResult<Vec<(String, String)>>;
}
