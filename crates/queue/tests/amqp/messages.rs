//! Messages: those that nobody can run, those that wait too long, those that many are.

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use mnemosyne_domain::Queue;
use mnemosyne_domain::ports::{JobQueue, TaskReport, TaskState};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings};
use mnemosyne_queue::celery::INGEST_TASK;
use serde_json::{Value, json};

use crate::broker::{PATIENCE, VirtualHost, announced, announcement, heard, quiet, ready, settle, until};

async fn reply_queue(channel: &Channel) -> String {
    let own = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), own, FieldTable::default())
        .await
        .unwrap();
    queue.name().as_str().to_owned()
}

/// Publishes a task as a Celery client does.
async fn publish(channel: &Channel, queue: &str, task: &str, body: &[u8], reply_to: &str) {
    let mut headers = FieldTable::default();
    for (name, value) in [("task", task), ("id", "t-1"), ("lang", "py")] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_correlation_id("t-1".into())
        .with_reply_to(reply_to.into());
    channel
        .basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await
        .unwrap()
        .await
        .unwrap();
}

/// The next message of a queue, waiting for it; its properties and body.
async fn next(channel: &Channel, queue: &str) -> (BasicProperties, Vec<u8>) {
    let options = BasicGetOptions { no_ack: true };
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(message) = channel.basic_get(queue.into(), options).await.unwrap() {
                return (message.delivery.properties, message.delivery.data);
            }
        }
    });
    waited.await.expect("a message in time")
}

fn header(properties: &BasicProperties, name: &str) -> String {
    match properties.headers().as_ref().unwrap().inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8(text.as_bytes().to_vec()).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_parked_with_its_reason_and_answered() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    let connection = host.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let replies = reply_queue(&channel).await;
    for (task, body, reason, exception) in [
        (
            "library.tasks.other",
            r#"[["j"], {}, {}]"#,
            "unknown_task",
            "NotRegistered",
        ),
        (INGEST_TASK, "{not json", "unreadable", "ValueError"),
        (INGEST_TASK, "[[], {}, {}]", "no_job_id", "ValueError"),
        (
            INGEST_TASK,
            r#"[["j"], {}, {"callbacks": [{"task": "next"}], "errbacks": null, "chain": null, "chord": null}]"#,
            "unsupported_callbacks",
            "ValueError",
        ),
    ] {
        publish(&channel, "embedding", task, body.as_bytes(), &replies).await;
        let (properties, parked) = next(&channel, "mnemosyne.dead").await;
        assert_eq!(parked, body.as_bytes());
        assert_eq!(header(&properties, "x-mnemosyne-reason"), reason);
        assert!(!header(&properties, "x-mnemosyne-detail").is_empty());
        assert_eq!(header(&properties, "x-mnemosyne-queue"), "embedding");
        assert_eq!(header(&properties, "task"), task);
        assert_eq!(header(&properties, "id"), "t-1");
        assert_eq!(*properties.delivery_mode(), Some(2));
        let (properties, reply) = next(&channel, &replies).await;
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "t-1");
        assert_eq!(
            (&reply["task_id"], &reply["status"]),
            (&json!("t-1"), &json!("FAILURE"))
        );
        assert_eq!(reply["result"]["exc_type"], exception);
    }
    let job = announced(&queue, Queue::Embedding).await;
    settle(heard(&queue, &job).await).await;
    until("nothing is left", || host.counted("embedding") == (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asked_hears_of_the_end() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    ready(&queue).await;
    let connection = host.connection().await;
    let channel = connection.create_channel().await.unwrap();
    let replies = reply_queue(&channel).await;
    let job = announcement(Queue::Default).job;
    let body = json!([[job], {}, {}]).to_string();
    publish(&channel, "celery", INGEST_TASK, body.as_bytes(), &replies).await;
    let nudge = heard(&queue, &job).await;
    let awaited = queue.awaited(0, 10);
    assert_eq!(
        awaited.iter().map(|awaited| &awaited.job).collect::<Vec<_>>(),
        [&job]
    );
    settle(nudge).await;
    let result = json!({"job_id": job, "item_uid": "i", "status": "completed"});
    for state in [
        TaskState::Started { attempt: 1 },
        TaskState::Succeeded {
            result: result.clone(),
            runtime: Duration::from_millis(5),
        },
    ] {
        let job = job.clone();
        queue.report(TaskReport { job, state });
    }
    let (_, reply) = next(&channel, &replies).await;
    let expected =
        json!({"task_id": "t-1", "status": "SUCCESS", "result": result, "traceback": null, "children": []});
    assert_eq!(serde_json::from_slice::<Value>(&reply).unwrap(), expected);
    assert_eq!(queue.awaited(0, 10), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_nobody_takes_are_let_go_of() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(AmqpSettings {
        hold_unsettled: Duration::from_millis(100),
        ..host.worker()
    });
    for _ in 0..10 {
        announced(&queue, Queue::Batch).await;
    }
    until("nothing is left", || host.counted("batch") == (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_delivered_than_can_be_run() {
    let _quiet = quiet().await;
    let host = VirtualHost::fresh();
    let queue = AmqpQueue::connect_lazy(host.worker());
    let many: Vec<_> = (0..500).map(|_| announcement(Queue::Embedding)).collect();
    ready(&queue).await;
    let sent = queue.announce(&many).await.unwrap();
    assert_eq!(sent.len(), many.len());
    until("as many as run at once", || host.counted("embedding") == (498, 2));
    for _ in 0..many.len() {
        let nudge = queue.next(&[Queue::Embedding], PATIENCE).await.unwrap();
        settle(nudge).await;
    }
    assert!(queue.next(&Queue::ALL, Duration::ZERO).await.is_none());
    until("nothing is left", || host.counted("embedding") == (0, 0));
}
