//! Celery itself, against a worker that answers without running anything.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{JobQueue, TaskReport, TaskState};
use mnemosyne_domain::{Failure, FailureCode, JobId, Queue};
use mnemosyne_queue::amqp::{self, AmqpQueue, AmqpSettings, BrokerUrl};
use serde_json::json;

use crate::broker::{PATIENCE, VirtualHost, quiet, rabbitmqctl, ready, settle};

const PASSWORD: &str = "p@s/s#?%:+ [&=";

/// Answers for every job that it ended well, but for one.
async fn work(queue: Arc<AmqpQueue>, fails: JobId) {
    loop {
        let Some(nudge) = queue.next(&Queue::ALL, Duration::from_secs(60)).await else {
            continue;
        };
        let Some(job) = nudge.job.clone() else {
            continue;
        };
        settle(nudge).await;
        let end = if job == fails {
            TaskState::Failed(Failure::new(
                FailureCode::NoTextExtracted,
                "The file holds no text.",
            ))
        } else {
            TaskState::Succeeded {
                result: json!({"job_id": job, "item_uid": "item", "status": "completed"}),
                runtime: Duration::from_millis(3),
            }
        };
        for state in [TaskState::Started { attempt: 1 }, end] {
            let job = job.clone();
            queue.report(TaskReport { job, state });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn celery_and_flower_see_the_worker_and_its_tasks() {
    let Ok(python) = std::env::var("MNEMOSYNE_TEST_CELERY_PYTHON") else {
        panic!("MNEMOSYNE_TEST_CELERY_PYTHON is not set: a Python that has tests/celery/requirements.txt");
    };
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let user = format!("us@er/{}", JobId::generate());
    rabbitmqctl(&["add_user", &user, PASSWORD]);
    host.permit(&user);
    let url = host.url_as(&user, PASSWORD);
    let settings = AmqpSettings {
        url: BrokerUrl::parse(&url).unwrap(),
        ..host.worker()
    };
    let node = settings.worker.as_ref().unwrap().node.clone();
    let queue = Arc::new(AmqpQueue::connect_lazy(settings));
    ready(&queue).await;
    let (ends, fails) = (JobId::generate(), JobId::generate());
    let worker = tokio::spawn(work(Arc::clone(&queue), fails.clone()));
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/celery/check.py");
    let done = tokio::process::Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(check)
        .args([&url, &node, ends.as_str(), fails.as_str()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    worker.abort();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_remote_control_revokes_is_handed_to_the_worker() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    let job = JobId::generate();
    let connection = host.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let command =
        json!({"method": "revoke", "arguments": {"task_id": job, "terminate": false}, "destination": null});
    let revoked = tokio::time::timeout(PATIENCE, async {
        let mut cancelled = std::pin::pin!(queue.cancellation());
        loop {
            // The mailbox may open a little later than the queues.
            let options = lapin::options::BasicPublishOptions::default();
            let properties = lapin::BasicProperties::default().with_content_type("application/json".into());
            let body = command.to_string();
            channel
                .basic_publish(
                    "celery.pidbox".into(),
                    "".into(),
                    options,
                    body.as_bytes(),
                    properties,
                )
                .await
                .unwrap();
            if let Ok(job) = tokio::time::timeout(Duration::from_millis(200), cancelled.as_mut()).await {
                return job;
            }
        }
    });
    assert_eq!(revoked.await.expect("it is handed over in time").job, job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_by_the_one_who_is_meant() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let settings = host.worker();
    let (url, node) = (
        settings.url.clone(),
        settings.worker.as_ref().unwrap().node.clone(),
    );
    let nobody = amqp::ping(&url, &node, Duration::from_secs(1)).await.unwrap_err();
    assert!(nobody.to_string().contains(&node), "{nobody}");
    let queue = AmqpQueue::connect_lazy(settings);
    ready(&queue).await;
    let began = Instant::now();
    while let Err(error) = amqp::ping(&url, &node, Duration::from_secs(5)).await {
        // The mailbox may open a little later than the queues.
        assert!(began.elapsed() < PATIENCE, "{error}");
    }
    assert!(
        amqp::ping(&url, "celery@nobody", Duration::from_secs(1))
            .await
            .is_err()
    );
}
