//! Take, run, drain.

use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::ports::{CancelOutcome, Lease, Nudge, TaskReport, TaskState};
use mnemosyne_domain::{JobId, JobStatus, Queue};
use mnemosyne_services::Services;
use mnemosyne_services::upkeep::Reach;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{tasks, watch};

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
    let watcher = tokio::spawn(watch::watch(Arc::clone(&services), stop.clone()));
    let canceller = tokio::spawn(cancel_on_request(Arc::clone(&services), stop.clone()));
    let worker = Worker {
        services,
        settings,
        stop,
    };
    worker.run().await;
    for helper in [watcher, canceller] {
        if let Err(error) = helper.await {
            tracing::error!(%error, "a part of the worker broke down");
        }
    }
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
        let mut looked = None;
        while let Some(Ok(slot)) = self
            .stop
            .run_until_cancelled(Arc::clone(&slots).acquire_owned())
            .await
        {
            while running.try_join_next().is_some() {}
            match self.next_job(&mut looked).await {
                Some(lease) => self.begin(lease, slot, &mut running),
                None => drop(slot),
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// The next job, or `None` after a while without one, or at the end. Only waiting is given up for that: a lease that
    /// was written must not be dropped.
    async fn next_job(&self, looked: &mut Option<Instant>) -> Option<Lease> {
        // A message that lies here names its job, which costs less than a search for one. But messages may be lost, late or
        // still to be sent, so that none of them keeps the worker from looking by itself.
        let looked_lately = looked.is_some_and(|moment| moment.elapsed() < self.settings.poll);
        if looked_lately && let Some(nudge) = self.nudge(Duration::ZERO).await {
            let named = nudge.job.is_some();
            let lease = self.follow(nudge).await;
            if named {
                return lease;
            }
        }
        *looked = Some(Instant::now());
        if let Some(lease) = self.lease(None).await {
            return Some(lease);
        }
        let nudge = self.nudge(self.settings.poll).await?;
        self.follow(nudge).await
    }

    async fn nudge(&self, at_most: Duration) -> Option<Nudge> {
        let next = self.services.next_nudge(&self.settings.queues, at_most);
        self.stop.run_until_cancelled(next).await?
    }

    /// Takes the job that a nudge names, where it can be taken.
    async fn follow(&self, nudge: Nudge) -> Option<Lease> {
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
                let job = lease.job.id.clone();
                let attempt = lease.job.attempts;
                let report = |state| {
                    let job = job.clone();
                    services.report_task(TaskReport { job, state });
                };
                report(TaskState::Started { attempt });
                report(tasks::ingest_from_daedalus(&services, lease, &stop).await);
                drop(slot);
            }
            .instrument(span),
        );
    }
}

/// Stops the jobs that the fleet's remote control names.
async fn cancel_on_request(services: Arc<Services>, stop: CancellationToken) {
    while let Some(wanted) = stop.run_until_cancelled(services.next_cancellation()).await {
        let job = wanted.job;
        let outcome = match services.cancel_by_remote_control(&job).await {
            Ok(Some(row)) => {
                if row.status == JobStatus::Cancelled {
                    tracing::info!(%job, "a job is cancelled, as remote control wants");
                }
                CancelOutcome::Job(row.status)
            }
            Ok(None) => CancelOutcome::NoJob,
            Err(error) => {
                tracing::warn!(%job, %error, "a job could not be cancelled by remote control");
                CancelOutcome::Unknown
            }
        };
        (wanted.answer)(outcome);
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
