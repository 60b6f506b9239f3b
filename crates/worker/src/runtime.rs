//! Take, run, drain.

use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::ports::Lease;
use mnemosyne_domain::{JobId, Queue};
use mnemosyne_services::Services;
use mnemosyne_services::upkeep::Reach;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    /// Whether it also removes what kills and interruptions left behind, from time to time.
    pub upkeep: bool,
}

/// How often interrupted deletions are looked for.
const MEND_EVERY: Duration = Duration::from_secs(3_600);

/// Works until `stop`. Then no job is begun any more, those that run are given back at once (their finished stages are
/// kept, so nothing is lost by it), and the function returns when all have let go.
pub async fn run(services: Arc<Services>, settings: WorkerSettings, stop: CancellationToken) {
    let worker = Worker {
        services,
        settings,
        stop,
    };
    worker.run().await;
}

struct Worker {
    services: Arc<Services>,
    settings: WorkerSettings,
    stop: CancellationToken,
}

impl Worker {
    async fn run(&self) {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency.max(1)));
        let mut running = JoinSet::new();
        if self.settings.upkeep {
            running.spawn(mend_now_and_then(Arc::clone(&self.services), self.stop.clone()));
        }
        while let Some(Ok(slot)) = self
            .stop
            .run_until_cancelled(Arc::clone(&slots).acquire_owned())
            .await
        {
            while running.try_join_next().is_some() {}
            match self.next_job().await {
                Some(lease) => self.begin(lease, slot, &mut running),
                None => drop(slot),
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// The next job, or `None` after a while without one, or at the end. Only waiting is given up for that: a lease that
    /// was written must not be dropped.
    async fn next_job(&self) -> Option<Lease> {
        // Jobs that wait are taken without being told of: their messages may be lost, late, or still to be sent.
        if let Some(lease) = self.lease(None).await {
            return Some(lease);
        }
        let next = self
            .services
            .next_nudge(&self.settings.queues, self.settings.poll);
        let nudge = self.stop.run_until_cancelled(next).await??;
        let lease = match &nudge.job {
            Some(job) => self.lease(Some(job)).await,
            None => None,
        };
        if let Some(receipt) = nudge.receipt {
            receipt.settle().await;
        }
        lease
    }

    async fn lease(&self, job: Option<&JobId>) -> Option<Lease> {
        match self
            .services
            .lease_job(&self.settings.name, &self.settings.queues, job)
            .await
        {
            Ok(lease) => lease,
            Err(error) => {
                tracing::warn!(%error, "no job could be taken");
                let pause = tokio::time::sleep(self.settings.poll);
                self.stop.run_until_cancelled(pause).await;
                None
            }
        }
    }

    fn begin(&self, lease: Lease, slot: OwnedSemaphorePermit, running: &mut JoinSet<()>) {
        let services = Arc::clone(&self.services);
        let stop = self.stop.clone();
        let span = tracing::info_span!("task", name = tasks::INGEST_FROM_DAEDALUS, job = %lease.job.id);
        running.spawn(
            async move {
                tasks::ingest_from_daedalus(&services, lease, &stop).await;
                drop(slot);
            }
            .instrument(span),
        );
    }
}

async fn mend_now_and_then(services: Arc<Services>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(MEND_EVERY);
    // A start is to be quick: it looks only for what a kill usually leaves.
    let mut reach = Reach::Jobless;
    let endless = async {
        loop {
            tick.tick().await;
            match services.mend(reach).await {
                Ok(mended) => tracing::debug!(?mended, "looked for interrupted work"),
                Err(error) => tracing::warn!(%error, "interrupted work could not be looked for"),
            }
            match services.sweep_blobs().await {
                Ok(removed) => tracing::debug!(removed, "looked for files that nobody needs"),
                Err(error) => tracing::warn!(%error, "files that nobody needs could not be looked for"),
            }
            reach = Reach::Whole;
        }
    };
    // Both can be given up in the middle.
    let _: Option<()> = stop.run_until_cancelled(endless).await;
}
