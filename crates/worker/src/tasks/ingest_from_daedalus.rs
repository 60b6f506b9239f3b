use std::time::Duration;

use mnemosyne_domain::ports::{Lease, TaskState};
use mnemosyne_domain::{Failure, FailureCode, Job, JobStatus};
use mnemosyne_services::Services;
use mnemosyne_services::pipeline::JobEnd;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The task's name in the system being replaced.
pub(crate) const NAME: &str = mnemosyne_domain::INGEST_TASK;

/// Runs one ingest to its end, or until `stop`, and says what is told of it.
pub(crate) async fn ingest_from_daedalus(
    services: &Services,
    lease: Lease,
    stop: &CancellationToken,
) -> TaskState {
    let began = Instant::now();
    let job = lease.job.clone();
    let file = &job.request.filename;
    match services.run_job(lease, stop).await {
        Ok(end) => {
            match &end {
                JobEnd::Failed(failure) | JobEnd::RetryLater(failure) => {
                    tracing::warn!(job = %job.id, file, code = %failure.code, failure.message, "ingest did not succeed");
                }
                _ => tracing::info!(job = %job.id, file, ?end, "ingest ended"),
            }
            state_of_end(&job, end, began.elapsed())
        }
        // The row could not be written; its lease runs out and another run takes over.
        Err(error) => {
            tracing::error!(job = %job.id, file, %error, "the end of an ingest could not be recorded");
            TaskState::Released
        }
    }
}

fn state_of_end(job: &Job, end: JobEnd, runtime: Duration) -> TaskState {
    match end {
        JobEnd::Completed => succeeded(job, JobStatus::Completed, runtime),
        // It was overtaken, not broken.
        JobEnd::Superseded => succeeded(job, JobStatus::Superseded, runtime),
        JobEnd::Cancelled => TaskState::Revoked,
        JobEnd::Failed(failure) => TaskState::Failed(failure),
        JobEnd::RetryLater(failure) => TaskState::Retried(failure),
        JobEnd::Released | JobEnd::Lost => TaskState::Released,
    }
}

/// What is told of a job whose row says that it ended; `None` while it goes on.
pub(crate) fn state_of_row(job: &Job) -> Option<TaskState> {
    match job.status {
        JobStatus::Pending | JobStatus::Processing => None,
        JobStatus::Completed | JobStatus::Superseded => {
            let ran = job
                .finished_at
                .zip(job.started_at)
                .map(|(end, begin)| end - begin);
            let runtime = ran.and_then(|ran| ran.to_std().ok()).unwrap_or_default();
            Some(succeeded(job, job.status, runtime))
        }
        JobStatus::Cancelled => Some(TaskState::Revoked),
        JobStatus::Failed => Some(TaskState::Failed(job.error.clone().unwrap_or_else(|| {
            Failure::new(FailureCode::Internal, "The job failed without a reason.")
        }))),
    }
}

fn succeeded(job: &Job, status: JobStatus, runtime: Duration) -> TaskState {
    let result: Value = json!({"job_id": job.id, "item_uid": job.item_uid, "status": status.as_str()});
    TaskState::Succeeded { result, runtime }
}
