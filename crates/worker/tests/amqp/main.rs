//! The whole way over a real RabbitMQ: a request, its announcement, the worker, and Celery that asks and watches.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{Health, JobQueue, JobUpdate, Jobs, Lease, LeaseOutcome, LeaseRequest};
use mnemosyne_domain::{INGEST_TASK, JobId, JobStatus, LibraryUid, NewJob, Queue};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, AmqpWorkerSettings, BrokerUrl, QueueType};
use mnemosyne_testkit::app::{TestApp, settings};
use mnemosyne_worker::WorkerSettings;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HOW: &str = "run it as: tests/services/run rabbitmq -- cargo test -p mnemosyne-worker --features services --test amqp";
/// Far beyond what any machine needs, so that what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; {HOW}"))
}

fn rabbitmqctl(arguments: &[&str]) -> String {
    let line = format!("{} \"$@\"", variable("MNEMOSYNE_TEST_RABBITMQCTL"));
    let mut command = Command::new("sh");
    let output = command
        .args(["-c", &line, "sh"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Messages in a queue, those that were delivered and not let go of included.
fn messages(url: &str, queue: &str) -> u64 {
    let (_, name) = url.rsplit_once('/').expect("a virtual host");
    let listed = rabbitmqctl(&[
        "list_queues",
        "-p",
        name,
        "--quiet",
        "--no-table-headers",
        "name",
        "messages",
    ]);
    let mut lines = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines
        .find(|fields| fields[0] == queue)
        .expect("the queue is there");
    line[1].parse().unwrap()
}

/// The address of a virtual host of its own.
fn virtual_host() -> String {
    let url = variable("MNEMOSYNE_TEST_AMQP_URL");
    let name = format!("test-{}", JobId::generate());
    let (login, _) = url.rsplit_once('@').expect("a user in the address");
    let user = login.trim_start_matches("amqp://").split(':').next().unwrap();
    rabbitmqctl(&["add_vhost", &name]);
    rabbitmqctl(&["set_permissions", "-p", &name, user, ".*", ".*", ".*"]);
    let authority = url.split('/').nth(2).unwrap();
    format!("amqp://{authority}/{name}")
}

/// A worker of two jobs at once on the broker.
fn connect(url: &str, node: &str) -> Arc<AmqpQueue> {
    Arc::new(AmqpQueue::connect_lazy(AmqpSettings {
        url: BrokerUrl::parse(url).unwrap(),
        queue_type: QueueType::Classic,
        software_version: "0.0.0-test".into(),
        worker: Some(AmqpWorkerSettings {
            node: node.to_owned(),
            concurrency: 2,
            queues: Queue::ALL.to_vec(),
        }),
        hold_unsettled: Duration::from_secs(60),
    }))
}

async fn connected(queue: &AmqpQueue) {
    let began = Instant::now();
    while let Err(error) = queue.check().await {
        assert!(began.elapsed() < PATIENCE, "never connected: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

fn start(app: &TestApp, name: &str) -> (JoinHandle<()>, CancellationToken) {
    let settings = WorkerSettings {
        name: name.to_owned(),
        queues: Queue::ALL.to_vec(),
        concurrency: 2,
        // So long that only messages can be why a job is taken.
        poll: Duration::from_secs(3_600),
        upkeep: false,
    };
    let stop = CancellationToken::new();
    let worker = mnemosyne_worker::run(Arc::clone(&app.services), settings, stop.clone());
    (tokio::spawn(worker), stop)
}

async fn ended(app: &TestApp, job: &JobId) -> JobStatus {
    let began = Instant::now();
    loop {
        let status = app.relational.job(job).await.unwrap().unwrap().status;
        if status.is_final() {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it never ended");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reaches_the_worker_and_celery_sees_it_all() {
    let url = virtual_host();
    let node = format!("celery@{}", JobId::generate());
    let queue = connect(&url, &node);
    let app = TestApp::start_over(settings(), Arc::clone(&queue) as Arc<dyn JobQueue>).await;
    connected(&queue).await;
    // Jobs that somebody else has, so that they cannot end before they are cancelled.
    let mut waits = Vec::new();
    for name in ["first.md", "second.md"] {
        let job = app.ingest(name, "# Ebb\n\nIt falls.").await;
        let lease = app.leased_elsewhere(&job).await;
        let (update, hour) = (JobUpdate::default(), Duration::from_secs(3_600));
        app.relational
            .heartbeat(&job, &lease.token, update, hour, chrono::Utc::now())
            .await
            .unwrap();
        waits.push(job);
    }
    let (worker, stop) = start(&app, &node);
    let relay = {
        let (services, stop) = (Arc::clone(&app.services), stop.clone());
        tokio::spawn(async move { services.relay_jobs(&stop).await })
    };
    let good = app
        .ingest("note.md", "# Tides\n\nThe spring tide rises 4.7 metres.")
        .await;
    assert_eq!(ended(&app, &good).await, JobStatus::Completed);
    let bad = app.ingest("none.html", "<html><body></body></html>").await;
    assert_eq!(ended(&app, &bad).await, JobStatus::Failed);
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/celery/check.py");
    let python = variable("MNEMOSYNE_TEST_CELERY_PYTHON");
    let revoked = waits.clone();
    let checked = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(check)
            .args([&url, &node, good.as_str(), bad.as_str()])
            .args(revoked.iter().map(JobId::as_str))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    // Meanwhile there is always something to watch.
    let mut number = 0;
    while !checked.is_finished() {
        number += 1;
        let job = app
            .ingest(&format!("{number}.md"), &format!("# Tide {number}\n\nIt rises."))
            .await;
        assert_eq!(ended(&app, &job).await, JobStatus::Completed);
    }
    let checked = checked.await.unwrap();
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    for job in &waits {
        assert_eq!(ended(&app, job).await, JobStatus::Cancelled);
    }
    stop.cancel();
    worker.await.unwrap();
    relay.await.unwrap();
    queue.close().await;
}

/// Publishes tasks as a Celery client does that waits for all their results in one queue.
async fn send_tasks(channel: &lapin::Channel, jobs: &[JobId], replies: &str) {
    for job in jobs {
        let mut headers = FieldTable::default();
        for (name, value) in [("task", INGEST_TASK), ("id", job.as_str())] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let properties = lapin::BasicProperties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_correlation_id(job.as_str().into())
            .with_reply_to(replies.into());
        let body = json!([[job], {}, {}]).to_string();
        channel
            .basic_publish(
                "".into(),
                "embedding".into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties,
            )
            .await
            .unwrap();
    }
}

/// Jobs that another worker holds, with the proofs of their leases.
async fn held_elsewhere(app: &TestApp, number: usize) -> Vec<Lease> {
    let now = chrono::Utc::now();
    let library_uid = LibraryUid::from_store("library-1".to_owned());
    let mut leases = Vec::new();
    for number in 0..number {
        let request = NewJob {
            library_uid: library_uid.clone(),
            collection_uid: None,
            source_ref: number.to_string(),
            content_hash: "1".to_owned(),
            filename: "note.md".to_owned(),
            content_type: None,
            title: None,
            metadata: serde_json::Map::new(),
            source: JobSource::BucketObject {
                key: "note.md".to_owned(),
            },
            queue: Queue::Embedding,
        };
        let job = app.relational.enqueue(request, None, now).await.unwrap().job;
        let request = LeaseRequest {
            holder: "another",
            queues: &Queue::ALL,
            job: Some(&job.id),
            ttl: Duration::from_secs(3_600),
            max_attempts: 3,
            now,
        };
        leases.push(app.relational.lease(request).await.unwrap().unwrap());
    }
    leases
}

/// More than were once remembered in any of the places that a wish for a result passes.
const MANY: usize = 2_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sender_hears_of_the_end_of_a_job_that_ran_elsewhere() {
    let url = virtual_host();
    let queue = connect(&url, &format!("celery@{}", JobId::generate()));
    let app = TestApp::start_over(settings(), Arc::clone(&queue) as Arc<dyn JobQueue>).await;
    connected(&queue).await;
    let leases = held_elsewhere(&app, MANY).await;
    let jobs: Vec<JobId> = leases.iter().map(|lease| lease.job.id.clone()).collect();
    let (worker, stop) = start(&app, "worker");
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let own = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let replies = channel
        .queue_declare("".into(), own, FieldTable::default())
        .await
        .unwrap();
    let replies = replies.name().as_str().to_owned();
    send_tasks(&channel, &jobs, &replies).await;
    // They are taken in turn, so that all before the last were taken when it is.
    let began = Instant::now();
    while messages(&url, "embedding") > 0 {
        assert!(began.elapsed() < PATIENCE, "the tasks are not received");
    }
    for lease in &leases {
        let ended = app
            .relational
            .finish(
                &lease.job.id,
                &lease.token,
                JobStatus::Completed,
                chrono::Utc::now(),
            )
            .await
            .unwrap();
        assert_eq!(ended.outcome, LeaseOutcome::Held);
    }
    let mut unanswered: HashSet<JobId> = jobs.into_iter().collect();
    let alone = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut answers = channel
        .basic_consume(replies.as_str().into(), "".into(), alone, FieldTable::default())
        .await
        .unwrap();
    while !unanswered.is_empty() {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
        let Ok(answer) = answer else {
            panic!("{} of {MANY} never heard of the end", unanswered.len());
        };
        let answer: serde_json::Value = serde_json::from_slice(&answer.unwrap().unwrap().data).unwrap();
        assert_eq!(answer["status"], "SUCCESS");
        unanswered.remove(&JobId::parse(answer["task_id"].as_str().unwrap()).unwrap());
    }
    stop.cancel();
    worker.await.unwrap();
    queue.close().await;
}
