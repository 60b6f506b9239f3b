//! Take, run, drain.

use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::Queue;
use mnemosyne_services::Services;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::tasks;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Its own name, for people and for leases.
    pub name: String,
    /// The queues it serves.
    pub queues: Vec<Queue>,
    /// How many jobs it runs at once.
    pub concurrency: usize,
    /// How often it looks for jobs without being told: retries that became due, leases that ran out, lost nudges.
    pub poll: Duration,
}

/// How often interrupted deletions are looked for.
const MEND_EVERY: Duration = Duration::from_secs(3_600);

/// Works until `stop`. Then no job is begun any more, those that run are given back at once (their finished stages are
/// kept, so nothing is lost by it), and the function returns when all have let go.
pub async fn run(services: Arc<Services>, settings: WorkerSettings, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(settings.concurrency.max(1)));
    let mut running = JoinSet::new();
    running.spawn(mend_now_and_then(Arc::clone(&services), stop.clone()));
    while !stop.is_cancelled() {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => match slot {
                Ok(slot) => slot,
                Err(_) => break,
            },
            () = stop.cancelled() => break,
        };
        while running.try_join_next().is_some() {}
        match services.lease_job(&settings.name, &settings.queues).await {
            Ok(Some(lease)) => {
                let services = Arc::clone(&services);
                let stop = stop.clone();
                let span =
                    tracing::info_span!("task", name = tasks::INGEST_FROM_DAEDALUS, job = %lease.job.id);
                running.spawn(
                    async move {
                        tasks::ingest_from_daedalus(&services, lease, &stop).await;
                        drop(slot);
                    }
                    .instrument(span),
                );
            }
            Ok(None) => {
                drop(slot);
                tokio::select! {
                    () = services.wait_for_jobs(&settings.queues, settings.poll) => {}
                    () = stop.cancelled() => break,
                }
            }
            Err(error) => {
                drop(slot);
                tracing::warn!(%error, "no job could be taken");
                tokio::select! {
                    () = tokio::time::sleep(settings.poll) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn mend_now_and_then(services: Arc<Services>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(MEND_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        match services.mend().await {
            Ok(mended) => tracing::debug!(?mended, "looked for interrupted work"),
            Err(error) => tracing::warn!(%error, "interrupted work could not be looked for"),
        }
    }
}
