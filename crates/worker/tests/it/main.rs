//! The worker over the embedded backends: what it takes, tells and watches.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{self, Arc};
use std::time::Duration;

use chrono::Utc;
use mnemosyne_domain::ports::{
    Announcement, Awaited, CancelOutcome, Cancellation, Health, JobQueue, Jobs, Nudge, Receipt, TaskReport,
    TaskState,
};
use mnemosyne_domain::{JobId, JobStatus, NewJob, Queue, StoreResult};
use mnemosyne_testkit::app::{TestApp, settings};
use mnemosyne_worker::WorkerSettings;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far beyond what any machine needs, so that what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A queue whose nudges and cancellations are made by hand and whose reports are looked at.
struct ByHand {
    nudges: Mutex<mpsc::UnboundedReceiver<Nudge>>,
    cancellations: Mutex<mpsc::UnboundedReceiver<Cancellation>>,
    reports: mpsc::UnboundedSender<TaskReport>,
    awaited: Arc<sync::Mutex<BTreeMap<u64, JobId>>>,
}

/// The other end of it.
struct Hands {
    nudges: mpsc::UnboundedSender<Nudge>,
    cancellations: mpsc::UnboundedSender<Cancellation>,
    reports: mpsc::UnboundedReceiver<TaskReport>,
    awaited: Arc<sync::Mutex<BTreeMap<u64, JobId>>>,
}

fn by_hand() -> (Arc<ByHand>, Hands) {
    let (nudges, nudges_out) = mpsc::unbounded_channel();
    let (cancellations, cancellations_out) = mpsc::unbounded_channel();
    let (reports, reports_out) = mpsc::unbounded_channel();
    let awaited = Arc::default();
    let queue = ByHand {
        nudges: Mutex::new(nudges_out),
        cancellations: Mutex::new(cancellations_out),
        reports,
        awaited: Arc::clone(&awaited),
    };
    let hands = Hands {
        nudges,
        cancellations,
        reports: reports_out,
        awaited,
    };
    (Arc::new(queue), hands)
}

#[async_trait::async_trait]
impl Health for ByHand {
    async fn check(&self) -> StoreResult<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl JobQueue for ByHand {
    fn is_remote(&self) -> bool {
        true
    }

    async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>> {
        Ok(jobs.iter().map(|announcement| announcement.job.clone()).collect())
    }

    async fn next(&self, _queues: &[Queue], at_most: Duration) -> Option<Nudge> {
        let next = async { self.nudges.lock().await.recv().await };
        tokio::time::timeout(at_most, next).await.ok()?
    }

    fn report(&self, report: TaskReport) {
        if !matches!(report.state, TaskState::Started { .. }) {
            self.awaited.lock().unwrap().retain(|_, job| *job != report.job);
        }
        self.reports.send(report).unwrap();
    }

    fn awaited(&self, after: u64, limit: usize) -> Vec<Awaited> {
        let awaited = self.awaited.lock().unwrap();
        let later = awaited.range(after + 1..).take(limit);
        later
            .map(|(turn, job)| Awaited {
                turn: *turn,
                job: job.clone(),
            })
            .collect()
    }

    async fn cancellation(&self) -> Cancellation {
        self.cancellations.lock().await.recv().await.unwrap()
    }
}

/// Says when it was settled.
struct Settled(mpsc::UnboundedSender<()>);

#[async_trait::async_trait]
impl Receipt for Settled {
    async fn settle(self: Box<Self>) {
        // Not every test looks.
        let _ = self.0.send(());
    }
}

impl Hands {
    /// Nudges for a job, with a wish for its result; gives what tells when the message is settled.
    fn ask_for(&self, job: &JobId) -> mpsc::UnboundedReceiver<()> {
        self.wait_for(job);
        let (settled, settled_out) = mpsc::unbounded_channel();
        let nudge = Nudge {
            job: Some(job.clone()),
            receipt: Some(Box::new(Settled(settled))),
        };
        self.nudges.send(nudge).unwrap();
        settled_out
    }

    /// Waits for the end of a job.
    fn wait_for(&self, job: &JobId) {
        let mut awaited = self.awaited.lock().unwrap();
        let turn = awaited.last_key_value().map_or(1, |(turn, _)| turn + 1);
        awaited.insert(turn, job.clone());
    }

    /// Wants a job cancelled; what came of it.
    async fn cancel(&self, job: &JobId) -> CancelOutcome {
        let (told, outcome) = oneshot::channel();
        let cancellation = Cancellation {
            job: job.clone(),
            answer: Box::new(|outcome| told.send(outcome).unwrap()),
        };
        self.cancellations.send(cancellation).unwrap();
        tokio::time::timeout(PATIENCE, outcome).await.unwrap().unwrap()
    }

    async fn next_report(&mut self) -> TaskReport {
        let report = tokio::time::timeout(PATIENCE, self.reports.recv());
        report.await.expect("a report in time").unwrap()
    }
}

fn start(app: &TestApp) -> (JoinHandle<()>, CancellationToken) {
    start_for(app, &Queue::ALL)
}

fn start_for(app: &TestApp, queues: &[Queue]) -> (JoinHandle<()>, CancellationToken) {
    let settings = WorkerSettings {
        name: "worker".into(),
        queues: queues.to_vec(),
        concurrency: 1,
        poll: Duration::from_millis(100),
        upkeep: false,
    };
    let stop = CancellationToken::new();
    let worker = mnemosyne_worker::run(Arc::clone(&app.services), settings, stop.clone());
    (tokio::spawn(worker), stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_told_from_its_beginning_to_its_end() {
    let (queue, mut hands) = by_hand();
    let app = TestApp::start_over(settings(), queue).await;
    let job = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    let (worker, stop) = start(&app);
    let began = hands.next_report().await;
    assert_eq!(
        (began.job, began.state),
        (job.clone(), TaskState::Started { attempt: 1 })
    );
    let ended = hands.next_report().await;
    let TaskState::Succeeded { result, .. } = ended.state else {
        panic!("{ended:?}");
    };
    assert_eq!(
        (&result["job_id"], &result["status"]),
        (&json!(job), &json!("completed"))
    );
    assert!(result["item_uid"].is_string());
    let empty = app.ingest("empty.md", " ").await;
    assert_eq!(hands.next_report().await.job, empty);
    let failed = hands.next_report().await;
    assert!(matches!(failed.state, TaskState::Failed(_)), "{failed:?}");
    // Whoever asks for a job that has ended is answered from its row.
    for (job, completed) in [(&job, true), (&empty, false)] {
        let mut settled = hands.ask_for(job);
        let told = hands.next_report().await;
        assert_eq!(&told.job, job);
        assert_eq!(
            matches!(told.state, TaskState::Succeeded { .. }),
            completed,
            "{told:?}"
        );
        settled.recv().await.unwrap();
    }
    hands.ask_for(&JobId::generate());
    let unknown = hands.next_report().await;
    assert!(matches!(unknown.state, TaskState::Failed(_)), "{unknown:?}");
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_another_worker_is_watched_until_it_ends() {
    let (queue, mut hands) = by_hand();
    let app = TestApp::start_over(settings(), queue).await;
    let job = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    let lease = app.leased_elsewhere(&job).await;
    let (worker, stop) = start(&app);
    let mut settled = hands.ask_for(&job);
    settled.recv().await.unwrap();
    assert!(hands.reports.try_recv().is_err(), "it has not ended");
    app.services
        .run_job(lease, &CancellationToken::new())
        .await
        .unwrap();
    let told = hands.next_report().await;
    assert_eq!(told.job, job);
    assert!(matches!(told.state, TaskState::Succeeded { .. }), "{told:?}");
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_control_cancels_a_job() {
    let (queue, mut hands) = by_hand();
    let app = TestApp::start_over(settings(), queue).await;
    let job = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    // Somebody else has it, so that it cannot end before.
    let lease = app.leased_elsewhere(&job).await;
    let (worker, stop) = start(&app);
    assert_eq!(hands.cancel(&JobId::generate()).await, CancelOutcome::NoJob);
    // Every worker of the fleet is asked, and each finds it cancelled.
    for _ in 0..2 {
        let outcome = hands.cancel(&job).await;
        assert_eq!(outcome, CancelOutcome::Job(JobStatus::Cancelled));
    }
    hands.ask_for(&job);
    let told = hands.next_report().await;
    assert_eq!((told.job, told.state), (job.clone(), TaskState::Revoked));
    let row = app.relational.job(&job).await.unwrap().unwrap();
    assert_eq!(row.status, JobStatus::Cancelled);
    app.services
        .run_job(lease, &CancellationToken::new())
        .await
        .unwrap();
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_control_hears_that_a_job_has_ended() {
    let (queue, mut hands) = by_hand();
    let app = TestApp::start_over(settings(), queue).await;
    let job = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    let (worker, stop) = start(&app);
    hands.ask_for(&job);
    while !matches!(hands.next_report().await.state, TaskState::Succeeded { .. }) {}
    let outcome = hands.cancel(&job).await;
    assert_eq!(outcome, CancelOutcome::Job(JobStatus::Completed));
    stop.cancel();
    worker.await.unwrap();
}

/// More than are looked at each time.
const MANY: usize = 1_100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_are_told_however_many_they_are() {
    let (queue, mut hands) = by_hand();
    let app = TestApp::start_over(settings(), queue).await;
    let ended = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    app.run_jobs().await;
    let like = app.relational.job(&ended).await.unwrap().unwrap().request;
    // These come first, and nobody runs them.
    let mut waiting = Vec::new();
    for number in 0..MANY {
        let request = NewJob {
            source_ref: format!("waiting {number}"),
            queue: Queue::Batch,
            ..like.clone()
        };
        let job = app
            .relational
            .enqueue(request, None, Utc::now())
            .await
            .unwrap()
            .job;
        hands.wait_for(&job.id);
        waiting.push(job.id);
    }
    let mut wanted: Vec<JobId> = (0..MANY).map(|_| JobId::generate()).collect();
    wanted.push(ended.clone());
    for job in &wanted {
        hands.wait_for(job);
    }
    let (worker, stop) = start_for(&app, &[Queue::Default]);
    let mut told = Vec::new();
    while told.len() < wanted.len() {
        let report = hands.next_report().await;
        match report.state {
            TaskState::Succeeded { .. } => assert_eq!(report.job, ended),
            TaskState::Failed(ref failure) => assert!(failure.message.contains("no such job"), "{report:?}"),
            _ => panic!("{report:?}"),
        }
        told.push(report.job);
    }
    told.sort();
    wanted.sort();
    // Not shown: there are more than a thousand.
    assert!(told == wanted, "others were told");
    let left: Vec<JobId> = hands.awaited.lock().unwrap().values().cloned().collect();
    assert!(left == waiting, "{} are left of {MANY}", left.len());
    stop.cancel();
    worker.await.unwrap();
}
