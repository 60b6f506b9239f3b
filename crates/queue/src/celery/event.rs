//! Events, for Flower and `app.events.Receiver`.

use mnemosyne_domain::{Failure, JobId};
use serde_json::{Map, Value, json};

use super::node::{Node, TaskEvent};
use super::result::exception_name;
use super::{INGEST_TASK, python_list, python_text};

/// The exchange of events.
pub const EXCHANGE: &str = "celeryev";
/// Seconds between two signs of life of a worker.
pub const HEARTBEAT_SECONDS: u64 = 2;

/// An event as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The kind with a dot for its hyphen: `task.started`.
    pub routing_key: String,
    /// The fields.
    pub body: Value,
}

/// What is told of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It is there.
    Online,
    /// It is still there.
    Heartbeat,
    /// It ends.
    Offline,
}

/// The moment of an event.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the logical clock.
    pub clock: u64,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// Hours that local time is behind UTC, as Celery counts them.
    pub utcoffset: f64,
}

/// How busy a worker is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Jobs that run.
    pub active: usize,
    /// Attempts begun so far.
    pub processed: u64,
    /// The machine's load over 1, 5 and 15 minutes.
    pub loadavg: [f64; 3],
}

/// An event of the worker itself.
pub fn worker(node: &Node, what: WorkerEvent, load: Load, moment: Moment) -> Event {
    let kind = match what {
        WorkerEvent::Online => "worker-online",
        WorkerEvent::Heartbeat => "worker-heartbeat",
        WorkerEvent::Offline => "worker-offline",
    };
    let fields = json!({
        "freq": HEARTBEAT_SECONDS,
        "sw_ident": "mnemosyne",
        "sw_ver": node.version,
        "sw_sys": std::env::consts::OS,
        "active": load.active,
        "processed": load.processed,
        "loadavg": load.loadavg,
    });
    event(node, kind, fields, moment)
}

/// An event of a task.
pub fn task(node: &Node, job: &JobId, what: &TaskEvent, moment: Moment) -> Event {
    let (kind, mut fields) = match what {
        TaskEvent::Received { retries } => (
            "task-received",
            json!({
                "args": python_list(&[job.as_str()]),
                "kwargs": "{}",
                "retries": retries,
                "eta": null,
                "expires": null,
                "root_id": job,
                "parent_id": null,
            }),
        ),
        TaskEvent::Started => ("task-started", json!({})),
        TaskEvent::Succeeded { result, runtime } => (
            "task-succeeded",
            json!({"result": result.to_string(), "runtime": runtime.as_secs_f64()}),
        ),
        TaskEvent::Retried(failure) => ("task-retried", exception(failure)),
        TaskEvent::Failed(failure) => ("task-failed", exception(failure)),
        TaskEvent::Revoked => (
            "task-revoked",
            json!({"terminated": false, "signum": null, "expired": false}),
        ),
        TaskEvent::Rejected => ("task-rejected", json!({"requeue": false})),
    };
    fields["uuid"] = json!(job);
    fields["name"] = json!(INGEST_TASK);
    event(node, kind, fields, moment)
}

fn exception(failure: &Failure) -> Value {
    let shown = format!("{}({})", exception_name(failure), python_text(&failure.message));
    json!({"exception": shown, "traceback": shown})
}

fn event(node: &Node, kind: &str, fields: Value, moment: Moment) -> Event {
    let mut body = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    body.insert("type".into(), json!(kind));
    body.insert("hostname".into(), json!(node.name));
    body.insert("pid".into(), json!(node.pid));
    body.insert("clock".into(), json!(moment.clock));
    body.insert("timestamp".into(), json!(moment.timestamp));
    body.insert("utcoffset".into(), json!(moment.utcoffset));
    Event {
        routing_key: kind.replacen('-', ".", 1),
        body: Value::Object(body),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mnemosyne_domain::FailureCode;

    use super::*;

    fn node() -> Node {
        Node {
            name: "celery@here".into(),
            version: "1.2.3".into(),
            pid: 77,
            concurrency: 2,
            queues: mnemosyne_domain::Queue::ALL.to_vec(),
            broker: Value::Null,
            began: Instant::now(),
        }
    }

    const MOMENT: Moment = Moment {
        clock: 9,
        timestamp: 12.5,
        utcoffset: -1.0,
    };

    #[test]
    fn every_event_carries_what_celery_needs_to_place_it() {
        let job = JobId::generate();
        let failure = Failure::new(FailureCode::Damaged, "It's broken.");
        let done = TaskEvent::Succeeded {
            result: json!({}),
            runtime: Duration::from_millis(1_500),
        };
        let events = [
            worker(&node(), WorkerEvent::Online, Load::default(), MOMENT),
            task(&node(), &job, &TaskEvent::Received { retries: 1 }, MOMENT),
            task(&node(), &job, &done, MOMENT),
            task(&node(), &job, &TaskEvent::Failed(failure), MOMENT),
        ];
        for event in &events {
            for field in ["type", "hostname", "pid", "clock", "timestamp", "utcoffset"] {
                assert!(event.body.get(field).is_some(), "{event:?} has no {field}");
            }
        }
        for event in &events[1..] {
            assert_eq!(event.body["uuid"], json!(job));
        }
        assert_eq!(events[0].routing_key, "worker.online");
        assert_eq!(events[0].body["sw_ident"], "mnemosyne");
        assert_eq!(events[2].body["runtime"], 1.5);
        assert_eq!(events[3].body["exception"], "Damaged('It\\'s broken.')");
    }
}
