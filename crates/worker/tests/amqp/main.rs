//! The whole way over a real RabbitMQ: a request, its announcement, the worker, and Celery that asks and watches.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{Health, JobQueue, Jobs};
use mnemosyne_domain::{JobId, JobStatus, Queue};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, AmqpWorkerSettings, BrokerUrl, QueueType};
use mnemosyne_testkit::app::{TestApp, settings};
use mnemosyne_worker::WorkerSettings;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const HOW: &str = "run it as: tests/services/run rabbitmq -- cargo test -p mnemosyne-worker --features services --test amqp";
/// Far beyond what any machine needs, so that what waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; {HOW}"))
}

fn rabbitmqctl(arguments: &[&str]) {
    let line = format!("{} \"$@\"", variable("MNEMOSYNE_TEST_RABBITMQCTL"));
    let mut command = Command::new("sh");
    let output = command
        .args(["-c", &line, "sh"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
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

/// Asks over REST for the ingest of a text; the job.
async fn ingest(app: &TestApp, name: &str, text: &str) -> JobId {
    let client = app.daedalus();
    let workspace = json!({"workspace_id": "w", "name": "W", "library_type": "technical"});
    client.post("/library/api/workspaces/", &workspace).await;
    app.put_into_bucket(name, text.as_bytes());
    let request = json!({"workspace_id": "w", "source_ref": name, "content_hash": "1", "s3_key": name, "filename": name});
    let answer = client.post("/library/api/ingest/", &request).await.expect(202);
    JobId::parse(answer.json()["job_id"].as_str().unwrap()).unwrap()
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
    let queue = Arc::new(AmqpQueue::connect_lazy(AmqpSettings {
        url: BrokerUrl::parse(&url).unwrap(),
        queue_type: QueueType::Classic,
        software_version: "0.0.0-test".into(),
        worker: Some(AmqpWorkerSettings {
            node: node.clone(),
            concurrency: 2,
            queues: Queue::ALL.to_vec(),
        }),
        hold_unsettled: Duration::from_secs(60),
    }));
    let app = TestApp::start_over(settings(), Arc::clone(&queue) as Arc<dyn JobQueue>).await;
    let began = Instant::now();
    while let Err(error) = queue.check().await {
        assert!(began.elapsed() < PATIENCE, "never connected: {error}");
        tokio::time::sleep(PAUSE).await;
    }
    let stop = CancellationToken::new();
    let worker = WorkerSettings {
        name: node.clone(),
        queues: Queue::ALL.to_vec(),
        concurrency: 2,
        // So long that only messages can be why a job is taken.
        poll: Duration::from_secs(3_600),
    };
    let worker = tokio::spawn(mnemosyne_worker::run(
        Arc::clone(&app.services),
        worker,
        stop.clone(),
    ));
    let relay = {
        let (services, stop) = (Arc::clone(&app.services), stop.clone());
        tokio::spawn(async move { services.relay_jobs(&stop).await })
    };
    let good = ingest(&app, "note.md", "# Tides\n\nThe spring tide rises 4.7 metres.").await;
    assert_eq!(ended(&app, &good).await, JobStatus::Completed);
    let bad = ingest(&app, "none.html", "<html><body></body></html>").await;
    assert_eq!(ended(&app, &bad).await, JobStatus::Failed);
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/celery/check.py");
    let python = variable("MNEMOSYNE_TEST_CELERY_PYTHON");
    let checked = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(check)
            .args([&url, &node, good.as_str(), bad.as_str()])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    // Meanwhile there is always something to watch.
    let mut number = 0;
    while !checked.is_finished() {
        number += 1;
        let job = ingest(
            &app,
            &format!("{number}.md"),
            &format!("# Tide {number}\n\nIt rises."),
        )
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
    stop.cancel();
    worker.await.unwrap();
    relay.await.unwrap();
    queue.close().await;
}
