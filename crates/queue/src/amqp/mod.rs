//! Nudges over RabbitMQ, in Celery's messages.
//!
//! One connection for each process, made in the background and made again for ever ([`session`]). An application
//! announces jobs over it; a worker also reads its queues, answers remote control and tells of its events and results.
//! Messages are only nudges, so all that is lost with a connection is time: unsettled messages come again, unconfirmed
//! announcements are repeated from their rows.

mod askers;
mod inbox;
mod machine;
mod mailbox;
mod ping;
mod receive;
mod session;
mod speak;
mod topology;
mod uplink;
mod url;
mod wire;

pub use machine::host_name;
pub use ping::ping;
pub use url::{BrokerUrl, BrokerUrlError};

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use mnemosyne_domain::ports::{
    Announcement, Awaited, CancelOutcome, Cancellation, Health, JobQueue, Nudge, TaskReport,
};
use mnemosyne_domain::{JobId, Queue, StoreError, StoreResult};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::askers::Askers;
use self::inbox::Inbox;
use self::session::Problem;
use self::speak::{Outbox, ResultMessage};
use self::uplink::Uplink;
use crate::celery::event::{Event, Moment};
use crate::celery::node::{Activity, Node};
use crate::celery::{LogicalClock, TaskNames, event, result};

/// How long an announcement waits for a connection that is being made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a check waits for the first attempt to connect, and for the broker's answer.
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
/// How long leaving may take: telling watchers, closing the connection.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Events that wait to be sent; further ones are dropped.
const MAX_EVENTS: usize = 1_024;
/// Results that wait to be sent; further ones are dropped. All who wait may be answered at once.
const MAX_RESULTS: usize = askers::MAX_JOBS + 1_024;
/// Cancellations that wait for the worker; further ones are dropped.
const MAX_CANCELLATIONS: usize = 1_024;
/// How long a worker may take to cancel a job, so that whoever asked hears something.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// The kind of queue that is made where there is none yet. One that is there is taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// On one node of the broker; what a Celery client without settings of its own declares too.
    #[default]
    Classic,
    /// Replicated over the nodes of the broker; Celery clients need `task_default_queue_type = "quorum"`.
    Quorum,
}

/// How to reach the broker, and as what.
#[derive(Clone, Debug)]
pub struct AmqpSettings {
    /// The broker.
    pub url: BrokerUrl,
    /// The kind of queues that are made.
    pub queue_type: QueueType,
    /// Version of the software, for those who watch.
    pub software_version: String,
    /// What this process is to the fleet; `None` for one that only announces jobs.
    pub worker: Option<AmqpWorkerSettings>,
    /// How long a delivered message may wait here for a free slot before it is let go of; the job is found in its table
    /// then. Far below the broker's time-out for consumers (30 minutes): one minute is good.
    pub hold_unsettled: Duration,
}

/// A worker among Celery's.
#[derive(Clone, Debug)]
pub struct AmqpWorkerSettings {
    /// Its name, `celery@HOST`; no two workers of one broker may have the same.
    pub node: String,
    /// How many jobs it runs at once. As many messages of each queue may wait in it.
    pub concurrency: u16,
    /// The queues it reads.
    pub queues: Vec<Queue>,
}

/// A queue on RabbitMQ.
pub struct AmqpQueue {
    shared: Arc<Shared>,
    stop: CancellationToken,
    supervisor: Mutex<Option<JoinHandle<()>>>,
    /// Jobs that remote control wants cancelled.
    cancellations: tokio::sync::Mutex<mpsc::Receiver<Cancellation>>,
}

/// What the queue and its connection share.
struct Shared {
    settings: AmqpSettings,
    link: watch::Sender<Link>,
    inbox: Inbox,
    clock: LogicalClock,
    worker: Option<WorkerState>,
}

/// The connection as it stands.
#[derive(Clone)]
enum Link {
    /// The first attempt has not ended.
    Connecting,
    /// Ready.
    Up(Arc<Uplink>),
    /// Lost or refused; the text says why.
    Away(Problem),
}

/// What a worker shows.
struct WorkerState {
    node: Node,
    activity: Mutex<Activity>,
    askers: Mutex<Askers>,
    tasks: Mutex<TaskNames>,
    events: mpsc::Sender<Event>,
    results: mpsc::Sender<ResultMessage>,
    cancellations: mpsc::Sender<Cancellation>,
    sends_task_events: AtomicBool,
    heartbeat_wanted: Notify,
}

impl AmqpQueue {
    /// A queue whose connection is made in the background, now or whenever the broker is there. Needs a Tokio runtime.
    pub fn connect_lazy(settings: AmqpSettings) -> Self {
        let (events, events_in) = mpsc::channel(MAX_EVENTS);
        let (results, results_in) = mpsc::channel(MAX_RESULTS);
        let (cancellations, cancellations_in) = mpsc::channel(MAX_CANCELLATIONS);
        let worker = settings.worker.as_ref().map(|worker| WorkerState {
            node: Node {
                name: worker.node.clone(),
                version: settings.software_version.clone(),
                pid: std::process::id(),
                concurrency: worker.concurrency.max(1),
                queues: worker.queues.clone(),
                broker: settings.url.described(),
                began: Instant::now(),
            },
            activity: Mutex::default(),
            askers: Mutex::default(),
            tasks: Mutex::default(),
            events,
            results,
            cancellations,
            sends_task_events: AtomicBool::new(true),
            heartbeat_wanted: Notify::new(),
        });
        let shared = Arc::new(Shared {
            settings,
            link: watch::Sender::new(Link::Connecting),
            inbox: Inbox::default(),
            clock: LogicalClock::default(),
            worker,
        });
        let stop = CancellationToken::new();
        let outbox = Outbox::new(events_in, results_in);
        let supervisor = tokio::spawn(session::supervise(Arc::clone(&shared), stop.clone(), outbox));
        Self {
            shared,
            stop,
            supervisor: Mutex::new(Some(supervisor)),
            cancellations: tokio::sync::Mutex::new(cancellations_in),
        }
    }

    /// Says goodbye and closes the connection, within 5 s. What was reported before is sent first. A worker calls it when
    /// it has drained; dropping the queue does the same in the background.
    pub async fn close(&self) {
        self.stop.cancel();
        let supervisor = lock(&self.supervisor).take();
        if let Some(mut supervisor) = supervisor
            && tokio::time::timeout(CLOSE_PATIENCE, &mut supervisor)
                .await
                .is_err()
        {
            supervisor.abort();
        }
    }

    async fn uplink(&self) -> StoreResult<Arc<Uplink>> {
        let mut link = self.shared.link.subscribe();
        let up = link.wait_for(|link| matches!(link, Link::Up(_)));
        if let Ok(Ok(link)) = tokio::time::timeout(CONNECT_PATIENCE, up).await
            && let Link::Up(uplink) = &*link
        {
            return Ok(Arc::clone(uplink));
        }
        Err(self.shared.unavailable())
    }
}

impl Drop for AmqpQueue {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    /// The connection as it stands, once the first attempt has ended.
    async fn first_link(&self) -> Link {
        let mut link = self.link.subscribe();
        match link.wait_for(|link| !matches!(link, Link::Connecting)).await {
            Ok(link) => link.clone(),
            Err(_) => Link::Connecting,
        }
    }

    fn unavailable(&self) -> StoreError {
        match &*self.link.borrow() {
            Link::Connecting => StoreError::Unavailable("RabbitMQ did not answer yet".into()),
            Link::Up(_) => StoreError::Unavailable("the connection to RabbitMQ broke".into()),
            Link::Away(problem) => problem.to_store_error(),
        }
    }

    /// Now, on all clocks.
    fn moment(&self) -> Moment {
        Moment {
            clock: self.clock.forward(),
            timestamp: machine::now(),
            utcoffset: machine::utcoffset(),
        }
    }
}

#[async_trait::async_trait]
impl Health for AmqpQueue {
    async fn check(&self) -> StoreResult<()> {
        let check = async {
            match self.shared.first_link().await {
                Link::Up(uplink) => uplink.check().await,
                Link::Connecting | Link::Away(_) => Err(self.shared.unavailable()),
            }
        };
        match tokio::time::timeout(CHECK_PATIENCE, check).await {
            Ok(checked) => checked,
            Err(_) => Err(StoreError::Unavailable("RabbitMQ does not answer".into())),
        }
    }
}

#[async_trait::async_trait]
impl JobQueue for AmqpQueue {
    fn is_remote(&self) -> bool {
        true
    }

    async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.uplink().await?.announce(jobs).await
    }

    async fn next(&self, queues: &[Queue], at_most: Duration) -> Option<Nudge> {
        // A look first, so that a wait of no time finds what is there.
        if let Some(nudge) = self.shared.inbox.take(queues) {
            return Some(nudge);
        }
        tokio::time::timeout(at_most, self.shared.inbox.next(queues))
            .await
            .ok()
    }

    fn report(&self, report: TaskReport) {
        let Some(worker) = &self.shared.worker else {
            return;
        };
        let told = lock(&worker.activity).note(&report, machine::now());
        if worker
            .sends_task_events
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            for what in told {
                let event = event::task(&worker.node, &report.job, &what, self.shared.moment());
                if worker.events.try_send(event).is_err() {
                    tracing::debug!(job = %report.job, "an event was dropped");
                }
            }
        }
        let ended = result::of_state(&report.state, "").is_some();
        if !ended {
            return;
        }
        for asker in lock(&worker.askers).take(&report.job) {
            if let Some(body) = result::of_state(&report.state, &asker.task_id) {
                worker.send_result(ResultMessage { asker, body });
            }
        }
    }

    fn awaited(&self, after: u64, limit: usize) -> Vec<Awaited> {
        let Some(worker) = &self.shared.worker else {
            return Vec::new();
        };
        lock(&worker.askers).awaited(after, limit)
    }

    async fn cancellation(&self) -> Cancellation {
        match self.cancellations.lock().await.recv().await {
            Some(cancellation) => cancellation,
            // Only a worker is told to cancel.
            None => std::future::pending().await,
        }
    }
}

impl WorkerState {
    /// Has the worker cancel a job, and tells what came of it.
    fn cancel(&self, job: JobId) -> impl Future<Output = CancelOutcome> + use<> {
        let (told, outcome) = oneshot::channel();
        let cancellation = Cancellation {
            job,
            answer: Box::new(|outcome| {
                // Whoever asked may have stopped waiting.
                let _: Result<(), CancelOutcome> = told.send(outcome);
            }),
        };
        if let Err(error) = self.cancellations.try_send(cancellation) {
            tracing::warn!(%error, "a cancellation was dropped");
        }
        tokio::time::timeout(CANCEL_PATIENCE, outcome).map(|outcome| match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => CancelOutcome::Unknown,
        })
    }

    fn send_result(&self, message: ResultMessage) {
        if let Err(error) = self.results.try_send(message) {
            tracing::warn!(%error, "the result of a task was dropped");
        }
    }
}

impl fmt::Debug for AmqpQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpQueue")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// No holder of these locks leaves anything half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
