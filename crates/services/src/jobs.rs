//! Jobs: look, retry, cancel.

use std::time::Duration;

use mnemosyne_domain::ports::{
    Announcement, Awaited, Cancellation, JobFilter, Lease, LeaseRequest, Nudge, TaskReport, Throughput,
};
use mnemosyne_domain::{
    ItemUid, Job, JobId, JobStatus, LibraryUid, Page, PageRequest, Principal, Queue, StoreError,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};

impl Services {
    /// Jobs in the order of the filter.
    pub async fn jobs(
        &self,
        caller: &Principal,
        filter: &JobFilter,
        page: PageRequest,
    ) -> ServiceResult<Page<Job>> {
        permission::require(caller, Action::Ingest)?;
        if filter
            .name_contains
            .as_ref()
            .is_some_and(|name| name.contains('\0'))
        {
            return Ok(Page::empty());
        }
        Ok(self.relational.jobs(filter, page).await?)
    }

    /// How many jobs of these libraries wait, run or failed; what is not named has none.
    pub async fn unsettled_jobs(
        &self,
        caller: &Principal,
        libraries: &[LibraryUid],
    ) -> ServiceResult<Vec<(LibraryUid, JobStatus, u64)>> {
        permission::require(caller, Action::Ingest)?;
        Ok(self.relational.unsettled_jobs(libraries).await?)
    }

    /// One job.
    pub async fn job(&self, caller: &Principal, id: &JobId) -> ServiceResult<Job> {
        permission::require(caller, Action::Ingest)?;
        self.relational
            .job(id)
            .await?
            .ok_or(ServiceError::NotFound("job"))
    }

    /// Puts a failed job back to work, in the given queue or in its own.
    pub async fn retry_job(
        &self,
        caller: &Principal,
        id: &JobId,
        queue: Option<Queue>,
    ) -> ServiceResult<Job> {
        let before = self.job(caller, id).await?;
        match self.relational.retry(id, queue, self.clock.now()).await {
            Ok(Some(job)) => {
                self.nudge(job.request.queue, &job.id).await;
                Ok(job)
            }
            Ok(None) => Err(ServiceError::NotFound("job")),
            Err(StoreError::Conflict(_)) => Err(ServiceError::Conflict {
                code: "not_failed",
                message: format!(
                    "Only a failed job can be retried; this one is {}.",
                    before.status.as_str()
                ),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts every failed job back to work, or those with one code, or those of one library; says how many.
    pub async fn retry_failed_jobs(
        &self,
        caller: &Principal,
        code: Option<&str>,
        library: Option<&LibraryUid>,
    ) -> ServiceResult<u64> {
        permission::require(caller, Action::Ingest)?;
        let count = self
            .relational
            .retry_failed(code, library, self.clock.now())
            .await?;
        if count > 0 {
            let waiting = JobFilter {
                status: Some(JobStatus::Pending),
                ..JobFilter::default()
            };
            for job in self.relational.jobs(&waiting, PageRequest::first(1)).await?.rows {
                self.nudge(job.request.queue, &job.id).await;
            }
        }
        Ok(count)
    }

    /// Stops a job. One that is running stops at its next heartbeat, and its worker removes what it wrote; one that waits
    /// is cleaned up here. One whose item is just being made visible is not stopped.
    pub async fn cancel_job(&self, caller: &Principal, id: &JobId) -> ServiceResult<Job> {
        let before = self.job(caller, id).await?;
        self.cancel(before).await
    }

    async fn cancel(&self, before: Job) -> ServiceResult<Job> {
        if before.status.is_final() {
            return Err(not_running(format!(
                "This job is {} already.",
                before.status.as_str()
            )));
        }
        let job = self
            .relational
            .cancel(&before.id, self.clock.now())
            .await?
            .ok_or(ServiceError::NotFound("job"))?;
        match job.status {
            JobStatus::Cancelled => {}
            JobStatus::Pending | JobStatus::Processing => {
                return Err(not_running(
                    "This job is about to be completed and cannot be stopped any more.".to_owned(),
                ));
            }
            ended => return Err(not_running(format!("This job is {} already.", ended.as_str()))),
        }
        if before.status == JobStatus::Pending {
            self.discard(&job.item_uid).await?;
        }
        Ok(job)
    }

    /// Jobs whose end senders wait for, those after this turn (0: from the beginning).
    pub fn awaited_jobs(&self, after: u64, limit: usize) -> Vec<Awaited> {
        self.queue.awaited(after, limit)
    }

    /// The rows of jobs whose end senders wait for, for a worker; one that is not there is left out.
    pub async fn watched_jobs(&self, ids: &[JobId]) -> ServiceResult<Vec<Job>> {
        Ok(self.relational.jobs_by_id(ids).await?)
    }

    /// Waits for the next job that the fleet's remote control wants stopped.
    pub async fn next_cancellation(&self) -> Cancellation {
        self.queue.cancellation().await
    }

    /// Stops a job that the fleet's remote control names: whoever may send messages to the broker may do that. Returns it
    /// as it stands afterwards: every worker is told, and one that comes late finds it stopped. `None` where there is no
    /// such job.
    pub async fn cancel_by_remote_control(&self, id: &JobId) -> ServiceResult<Option<Job>> {
        let Some(before) = self.relational.job(id).await? else {
            return Ok(None);
        };
        match self.cancel(before).await {
            Ok(job) => Ok(Some(job)),
            Err(ServiceError::Conflict { .. } | ServiceError::NotFound(_)) => {
                Ok(self.relational.job(id).await?)
            }
            Err(error) => Err(error),
        }
    }

    /// What was done lately, and what waits.
    pub async fn throughput(&self, caller: &Principal) -> ServiceResult<Throughput> {
        permission::require(caller, Action::Ingest)?;
        Ok(self.relational.throughput(self.clock.now()).await?)
    }

    /// Takes the next job of these queues for a worker (or the one that is named, if it is due and nobody holds it). The
    /// worker must then call [`Services::run_job`].
    pub async fn lease_job(
        &self,
        holder: &str,
        queues: &[Queue],
        job: Option<&JobId>,
    ) -> ServiceResult<Option<Lease>> {
        let request = LeaseRequest {
            holder,
            queues,
            job,
            ttl: self.settings.ingest.lease,
            max_attempts: self.settings.ingest.max_attempts,
            now: self.clock.now(),
        };
        Ok(self.relational.lease(request).await?)
    }

    /// The next nudge for these queues, waiting for it at most this long.
    pub async fn next_nudge(&self, queues: &[Queue], at_most: Duration) -> Option<Nudge> {
        self.queue.next(queues, at_most).await
    }

    /// Tells those who watch what became of a job.
    pub fn report_task(&self, report: TaskReport) {
        self.queue.report(report);
    }

    /// Tells workers of a job. Where nudges leave the process this only wakes the relay, so that no request waits for the
    /// broker; what must be announced stands in the job's row.
    pub(crate) async fn nudge(&self, queue: Queue, job: &JobId) {
        if self.queue.is_remote() {
            self.outbox_bell.notify_one();
            return;
        }
        let announcement = Announcement {
            job: job.clone(),
            queue,
        };
        if let Err(error) = self.queue.announce(&[announcement]).await {
            tracing::warn!(%job, %error, "the queue could not be told; workers will find the job by themselves");
        }
    }

    /// Removes what an unfinished job has written, its staged item and its files; nothing where the item is visible.
    pub(crate) async fn discard(&self, item: &ItemUid) -> ServiceResult<()> {
        if self.knowledge.delete_staged_item(item).await? {
            self.relational
                .release_blobs(&[item.as_str()], self.blobs.as_ref())
                .await?;
        }
        Ok(())
    }

    /// The same after something that has succeeded whatever becomes of this: [`Services::mend`] repeats it.
    pub(crate) async fn discard_or_warn(&self, item: &ItemUid) {
        if let Err(error) = self.discard(item).await {
            tracing::warn!(%item, %error, "what a superseded job wrote could not be removed");
        }
    }
}

fn not_running(message: String) -> ServiceError {
    ServiceError::Conflict {
        code: "not_running",
        message,
    }
}
