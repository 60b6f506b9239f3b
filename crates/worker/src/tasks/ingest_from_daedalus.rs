use mnemosyne_domain::ports::Lease;
use mnemosyne_services::Services;
use mnemosyne_services::pipeline::JobEnd;
use tokio_util::sync::CancellationToken;

/// The task's name in the system being replaced.
pub(crate) const NAME: &str = "library.tasks.ingest_from_daedalus";

/// Runs one ingest to its end, or until `stop`.
pub(crate) async fn ingest_from_daedalus(services: &Services, lease: Lease, stop: &CancellationToken) {
    let job = lease.job.id.clone();
    let file = lease.job.request.filename.clone();
    match services.run_job(lease, stop).await {
        Ok(JobEnd::Failed(failure) | JobEnd::RetryLater(failure)) => {
            tracing::warn!(%job, file, code = %failure.code, failure.message, "ingest did not succeed");
        }
        Ok(end) => tracing::info!(%job, file, ?end, "ingest ended"),
        // The row could not be written; its lease runs out and another run takes over.
        Err(error) => tracing::error!(%job, file, %error, "the end of an ingest could not be recorded"),
    }
}
