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
    /// Jobs whose place this request took; what they wrote is to be removed unless it is visible.
    pub superseded: Vec<Job>,
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

/// What came of ending a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// [`LeaseOutcome::Held`] where the job was ours and has ended.
    pub outcome: LeaseOutcome,
    /// Items of jobs that became superseded by this, the job's own among them where a later one is completed already; what
    /// they wrote is to be removed unless it is visible.
    pub superseded: Vec<ItemUid>,
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
    /// Records a request, in one transaction. Idempotent on (library, `source_ref`, `content_hash`): a job with the same
    /// three that is neither superseded nor cancelled is returned instead. Otherwise jobs of the same source with other
    /// content that are pending become superseded; one that a worker holds goes on.
    ///
    /// The last request for a source decides. Where a known job is found, and a later job of its source with other content
    /// is processing, or is pending while the known one has ended, the known job becomes superseded and a new one is made;
    /// where such later jobs only wait, and the known one is not final, they become superseded.
    ///
    /// `upload` is the holder of the claim on the file that came with the request. A new job's item takes over its claims;
    /// [`crate::StoreError::NotFound`] where there are none (any more), and nothing is recorded. The item of a known job
    /// gets a claim on its own blob, if the upload has that, and the upload's claims stay: the caller lets go of them.
    async fn enqueue(&self, job: NewJob, upload: Option<&str>, now: DateTime<Utc>) -> StoreResult<Enqueued>;
    /// The job of this id.
    async fn job(&self, id: &JobId) -> StoreResult<Option<Job>>;
    /// The jobs of these ids, in any order; one that is not there is left out.
    async fn jobs_by_id(&self, ids: &[JobId]) -> StoreResult<Vec<Job>>;
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
    /// processing ones whose lease ran out. [`Queue::Batch`] yields: its jobs come when the other queues asked for have
    /// none. A job that is taken needs no announcement any more.
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
    /// the same source that came before it and ended, completed or failed, become superseded; a completed one that comes
    /// before a completed job of its source is superseded itself.
    async fn finish(
        &self,
        id: &JobId,
        token: &str,
        status: JobStatus,
        now: DateTime<Utc>,
    ) -> StoreResult<Finished>;
    /// Ends an attempt with a failure, which is counted in [`Job::failures`] and no longer in [`Job::attempts`]: pending
    /// again at `retry_at`, or failed where that is `None`. Where a later job of the same source is
    /// completed the job becomes superseded instead, and the answer is [`LeaseOutcome::Superseded`].
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
    /// Cancels a job that waits or runs, unless it runs and has reached [`Stage::Publish`]: from there on its item may be
    /// visible at any moment. Returns it as it stands afterwards.
    async fn cancel(&self, id: &JobId, now: DateTime<Utc>) -> StoreResult<Option<Job>>;
    /// Puts a failed job back to pending as if it had never been begun, in the given queue or in its own;
    /// `Conflict("status")` in any other state.
    async fn retry(&self, id: &JobId, queue: Option<Queue>, now: DateTime<Utc>) -> StoreResult<Option<Job>>;
    /// The same, each in its own queue, for every failed job with this code (or with any) of this library (or of all); says
    /// how many.
    async fn retry_failed(
        &self,
        code: Option<&str>,
        library: Option<&LibraryUid>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64>;
    /// Removes the jobs of a library; says how many.
    async fn delete_jobs_of_library(&self, library: &LibraryUid) -> StoreResult<u64>;
    /// Removes the jobs of these items, any number of them.
    async fn delete_jobs_of_items(&self, items: &[ItemUid]) -> StoreResult<()>;
    /// What was done lately, and what waits.
    async fn throughput(&self, now: DateTime<Utc>) -> StoreResult<Throughput>;
}

/// Who needs which blob. A blob goes when its last holder lets go, and never between a holder's claim and its use: a
/// claim is written *before* the blob is stored or relied on.
#[async_trait::async_trait]
pub trait BlobLedger: Send + Sync {
    /// Claims a blob for a holder (a job or an item, by its identifier). Repeating it is harmless.
    async fn claim_blob(&self, digest: &str, holder: &str) -> StoreResult<()>;
    /// Lets go of everything these holders claimed, and calls `remove` for each blob that nobody holds any more, inside
    /// the transaction that proves it; says how many those were. Any number of holders, in transactions of bounded size.
    async fn release_blobs(&self, holders: &[&str], blobs: &dyn super::BlobStore) -> StoreResult<u64>;
    /// Every holder that has claims.
    async fn blob_holders(&self) -> StoreResult<Vec<String>>;
    /// Holders that have claims and are not the item of a job that waits, runs, failed or is completed: items whose job is
    /// gone, cancelled or superseded, and holders that are no items.
    async fn jobless_blob_holders(&self) -> StoreResult<Vec<String>>;
    /// Calls `remove` for those of these blobs that nobody holds, inside the transaction that proves it; says how many
    /// those were. Any number of blobs, in transactions of bounded size.
    async fn remove_unclaimed(&self, digests: &[String], blobs: &dyn super::BlobStore) -> StoreResult<u64>;
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
