//! Remote control: kombu's mailbox, and the commands of `celery inspect` and `celery control`.

use mnemosyne_domain::ports::CancelOutcome;
use mnemosyne_domain::{JobId, JobStatus, Queue};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::node::{Activity, Node};
use super::{INGEST_TASK, TaskNames};

/// The exchange that commands are sent to.
pub const EXCHANGE: &str = "celery.pidbox";
/// The longest pattern of names that is looked at, in bytes.
const MAX_PATTERN: usize = 1_000;

/// The queue that a node reads its commands from.
pub fn queue_of(node: &str) -> String {
    format!("{node}.{EXCHANGE}")
}

/// A command.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Command {
    /// What is to be done.
    pub method: String,
    #[serde(default)]
    arguments: Option<Map<String, Value>>,
    #[serde(default)]
    destination: Option<Vec<String>>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    matcher: Option<String>,
    /// Where an answer is wanted.
    #[serde(default)]
    pub reply_to: Option<ReplyTo>,
    /// What the answer is known by.
    #[serde(default)]
    pub ticket: Option<String>,
}

/// Where an answer is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReplyTo {
    /// The exchange.
    pub exchange: String,
    /// The key that leads to the asker's queue.
    pub routing_key: String,
}

/// What a command does besides being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A sign of life is sent at once.
    Heartbeat,
    /// Events of tasks are sent, or not any more.
    TaskEvents {
        /// Whether they are.
        sent: bool,
    },
    /// The jobs of these tasks are to be cancelled; the answer is that of [`revoked`].
    Revoke(Vec<RevokedTask>),
}

/// A task that is to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedTask {
    /// What it was called by.
    pub name: String,
    /// The job that may be meant; `None` where the name can be that of no job.
    pub job: Option<JobId>,
    /// Whether a task of this name was received here.
    pub received: bool,
}

/// What a node knows when it answers.
#[derive(Debug)]
pub struct View<'a> {
    /// The node.
    pub node: &'a Node,
    /// What it does.
    pub activity: &'a Activity,
    /// The names of tasks that it received.
    pub tasks: &'a TaskNames,
    /// Messages that wait in it, with the queue that each came from.
    pub reserved: Vec<(JobId, Queue)>,
    /// Messages that may wait in it for each queue.
    pub prefetch: u16,
    /// Whether events of tasks are sent.
    pub task_events: bool,
    /// The logical clock.
    pub clock: u64,
    /// Processor time in user mode and in the kernel, in seconds, and the most memory used, in kilobytes, where known.
    pub usage: Option<(f64, f64, u64)>,
}

impl Command {
    /// Reads a message of the mailbox.
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Whether the command is meant for this node.
    pub fn is_for(&self, node: &str) -> bool {
        if let Some(destination) = self.destination.as_ref().filter(|names| !names.is_empty()) {
            return destination.iter().any(|name| name == node);
        }
        match (&self.pattern, &self.matcher) {
            (Some(pattern), Some(matcher)) if !pattern.is_empty() && !matcher.is_empty() => {
                matches(node, pattern, matcher)
            }
            _ => true,
        }
    }

    fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.as_ref()?.get(name)
    }

    /// A text, or several, as the argument of this name.
    fn texts(&self, name: &str) -> Vec<String> {
        match self.argument(name) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(texts)) => texts
                .iter()
                .filter_map(|text| Some(text.as_str()?.to_owned()))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The answer, and what is to be done.
    pub fn answer(&self, view: &View<'_>) -> (Value, Effect) {
        let answer = match self.method.as_str() {
            "ping" => json!({"ok": "pong"}),
            "active" | "dump_active" => active(view),
            "reserved" | "dump_reserved" => reserved(view),
            // When a job is due stands in its row; nothing is kept for later here.
            "scheduled" | "dump_schedule" => json!([]),
            "revoked" | "dump_revoked" => json!(view.activity.revoked().collect::<Vec<_>>()),
            "registered" | "dump_tasks" => json!([INGEST_TASK]),
            "active_queues" => view
                .node
                .queues
                .iter()
                .map(|queue| described(queue.as_str()))
                .collect(),
            "stats" => stats(view),
            "conf" | "dump_conf" => conf(view.node),
            "report" => json!({"ok": format!(
                "software -> mnemosyne:{} os -> {}\nbroker -> {} concurrency -> {}",
                view.node.version, std::env::consts::OS, view.node.broker["hostname"], view.node.concurrency,
            )}),
            "clock" => json!({"clock": view.clock}),
            "query_task" => query_task(view, &self.texts("ids")),
            "hello" => json!({"revoked": {}, "clock": view.clock}),
            "heartbeat" => return (Value::Null, Effect::Heartbeat),
            "enable_events" => return events(view, true),
            "disable_events" => return events(view, false),
            "revoke" => return self.revoke(view),
            "shutdown" => json!({"error": "not supported: end the process with SIGTERM, it drains"}),
            other => json!({"error": format!("KeyError({})", super::python_text(other))}),
        };
        (answer, Effect::None)
    }

    fn revoke(&self, view: &View<'_>) -> (Value, Effect) {
        let tasks: Vec<RevokedTask> = self
            .texts("task_id")
            .into_iter()
            .map(|name| {
                let received = view.tasks.job(&name).cloned();
                RevokedTask {
                    received: received.is_some(),
                    job: received.or_else(|| JobId::parse(&name)),
                    name,
                }
            })
            .collect();
        if tasks.is_empty() {
            return (json!({"error": "task_id names no task"}), Effect::None);
        }
        (Value::Null, Effect::Revoke(tasks))
    }
}

/// The answer to `revoke`: what came of it for each task. It is an error where nothing is cancelled.
pub fn revoked(outcomes: &[(RevokedTask, CancelOutcome)]) -> Value {
    let told: Vec<String> = outcomes
        .iter()
        .map(|(task, outcome)| told_of_revoked(task, *outcome))
        .collect();
    let cancelled = outcomes
        .iter()
        .any(|(_, outcome)| *outcome == CancelOutcome::Job(JobStatus::Cancelled));
    let kind = if cancelled { "ok" } else { "error" };
    json!({kind: told.join("; ")})
}

fn told_of_revoked(task: &RevokedTask, outcome: CancelOutcome) -> String {
    let name = &task.name;
    let job = match &task.job {
        Some(job) if job.as_str() != name => format!("job {job} of task {name}"),
        _ => format!("job {name}"),
    };
    match outcome {
        CancelOutcome::Job(JobStatus::Cancelled) => format!("{job} is cancelled"),
        CancelOutcome::Job(JobStatus::Pending | JobStatus::Processing) => {
            format!("{job} is about to be completed and cannot be stopped any more")
        }
        CancelOutcome::Job(ended) => format!("{job} is {} already", ended.as_str()),
        CancelOutcome::NoJob if task.received => format!("there is no {job}, or none any more"),
        CancelOutcome::NoJob => {
            format!("unknown task {name}; should its message still come here, it is not run")
        }
        CancelOutcome::Unknown => format!("it is not known whether {job} is cancelled; look at its row"),
    }
}

fn events(view: &View<'_>, sent: bool) -> (Value, Effect) {
    let word = if sent { "enabled" } else { "disabled" };
    let already = if view.task_events == sent { "already " } else { "" };
    let answer = json!({"ok": format!("task events {already}{word}")});
    (answer, Effect::TaskEvents { sent })
}

/// `glob` is Python's `fnmatch`, `pcre` Python's `re.match`, which holds at the beginning only. A pattern that cannot be
/// read fits nobody.
fn matches(name: &str, pattern: &str, matcher: &str) -> bool {
    if pattern.len() > MAX_PATTERN {
        return false;
    }
    let expression = match matcher {
        "glob" => format!("(?s)^(?:{})$", glob(pattern)),
        "pcre" => format!("^(?:{pattern})"),
        _ => return false,
    };
    Regex::new(&expression).is_ok_and(|expression| expression.is_match(name))
}

/// A pattern of the shell as a regular expression.
fn glob(pattern: &str) -> String {
    let mut expression = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' => {
                // A bracket that follows the opening one at once is part of the set.
                let after_first = rest
                    .char_indices()
                    .find(|(at, letter)| *letter == ']' && *at > usize::from(rest.starts_with('!')));
                let Some((end, _)) = after_first else {
                    expression.push_str("\\[");
                    continue;
                };
                let (set, behind) = rest.split_at(end);
                rest = &behind[1..];
                let (not, set) = set.strip_prefix('!').map_or(("", set), |set| ("^", set));
                let escaped: String = set
                    .chars()
                    .flat_map(|letter| {
                        let escape = (letter != '-' && letter.is_ascii_punctuation()).then_some('\\');
                        escape.into_iter().chain([letter])
                    })
                    .collect();
                expression.push_str(&format!("[{not}{escaped}]"));
            }
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression
}

fn active(view: &View<'_>) -> Value {
    let tasks = view.activity.active().iter();
    tasks
        .map(|(job, task)| task_info(view.node, job, Some(task.since), None))
        .collect()
}

fn reserved(view: &View<'_>) -> Value {
    let tasks = view
        .reserved
        .iter()
        .filter(|(job, _)| !view.activity.active().contains_key(job));
    tasks
        .map(|(job, queue)| task_info(view.node, job, None, Some(*queue)))
        .collect()
}

fn query_task(view: &View<'_>, ids: &[String]) -> Value {
    let mut found = Map::new();
    for id in ids {
        let named = view.tasks.job(id).map_or(id.as_str(), JobId::as_str);
        if let Some((job, task)) = view
            .activity
            .active()
            .iter()
            .find(|(job, _)| job.as_str() == named)
        {
            let info = task_info(view.node, job, Some(task.since), None);
            found.insert(id.clone(), json!(["active", info]));
        } else if let Some((job, queue)) = view.reserved.iter().find(|(job, _)| job.as_str() == named) {
            let info = task_info(view.node, job, None, Some(*queue));
            found.insert(id.clone(), json!(["reserved", info]));
        }
    }
    Value::Object(found)
}

fn task_info(node: &Node, job: &JobId, since: Option<f64>, queue: Option<Queue>) -> Value {
    json!({
        "id": job,
        "name": INGEST_TASK,
        "args": [job],
        "kwargs": {},
        "type": INGEST_TASK,
        "hostname": node.name,
        "time_start": since,
        "acknowledged": since.is_some(),
        "delivery_info": {
            "exchange": "",
            "routing_key": queue.map(Queue::as_str),
            "priority": 0,
            "redelivered": null,
        },
        "worker_pid": since.map(|_| node.pid),
    })
}

fn described(name: &str) -> Value {
    json!({
        "name": name,
        "exchange": {
            "name": name,
            "type": "direct",
            "arguments": null,
            "durable": true,
            "passive": false,
            "auto_delete": false,
            "delivery_mode": null,
            "no_declare": false,
        },
        "routing_key": name,
        "queue_arguments": null,
        "binding_arguments": null,
        "consumer_arguments": null,
        "durable": true,
        "exclusive": false,
        "auto_delete": false,
        "no_ack": false,
        "alias": null,
        "bindings": [],
        "no_declare": null,
        "expires": null,
        "message_ttl": null,
        "max_length": null,
        "max_length_bytes": null,
        "max_priority": null,
    })
}

fn stats(view: &View<'_>) -> Value {
    let node = view.node;
    let mut stats = json!({
        "total": {INGEST_TASK: view.activity.processed()},
        "pid": node.pid,
        "clock": view.clock.to_string(),
        "uptime": node.began.elapsed().as_secs(),
        "pool": {
            "implementation": "mnemosyne:tasks",
            "max-concurrency": node.concurrency,
            "processes": [node.pid],
            "max-tasks-per-child": "N/A",
            "put-guarded-by-semaphore": true,
            "timeouts": [0, 0],
        },
        "broker": node.broker,
        "prefetch_count": view.prefetch,
        "sw_ident": "mnemosyne",
        "sw_ver": node.version,
    });
    if let Some((user, kernel, kilobytes)) = view.usage {
        stats["rusage"] = json!({"utime": user, "stime": kernel, "maxrss": kilobytes});
    }
    stats
}

fn conf(node: &Node) -> Value {
    let queues: Vec<&str> = node.queues.iter().map(|queue| queue.as_str()).collect();
    json!({
        "task_default_queue": Queue::Default.as_str(),
        "task_queues": queues,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": false,
        "worker_concurrency": node.concurrency,
        "worker_prefetch_multiplier": 1,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mnemosyne_domain::ports::{TaskReport, TaskState};
    use proptest::prelude::*;

    use super::*;

    fn node() -> Node {
        Node {
            name: "celery@here".into(),
            version: "1.2.3".into(),
            pid: 77,
            concurrency: 2,
            queues: vec![Queue::Embedding],
            broker: json!({"hostname": "127.0.0.1"}),
            began: Instant::now(),
        }
    }

    fn command(method: &str, arguments: Value) -> Command {
        let body = json!({"method": method, "arguments": arguments, "destination": null, "pattern": null, "matcher": null});
        Command::read(body.to_string().as_bytes()).unwrap()
    }

    fn answer(method: &str, arguments: Value) -> (Value, Effect) {
        let mut activity = Activity::default();
        let report = TaskReport {
            job: JobId::parse("running").unwrap(),
            state: TaskState::Started { attempt: 1 },
        };
        activity.note(&report, 4.0);
        let mut tasks = TaskNames::default();
        tasks.received("t-1", &report.job);
        let view = View {
            node: &node(),
            activity: &activity,
            tasks: &tasks,
            reserved: vec![(JobId::parse("waiting").unwrap(), Queue::Batch)],
            prefetch: 2,
            task_events: true,
            clock: 5,
            usage: Some((1.0, 2.0, 3)),
        };
        command(method, arguments).answer(&view)
    }

    #[test]
    fn a_command_of_a_celery_client_is_read() {
        let body = br#"{"method": "ping", "arguments": {}, "destination": ["celery@here"], "pattern": null,
            "matcher": null, "ticket": "7", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "r"}}"#;
        let command = Command::read(body).unwrap();
        assert!(command.is_for("celery@here") && !command.is_for("celery@there"));
        assert_eq!(command.reply_to.unwrap().exchange, "reply.celery.pidbox");
        assert_eq!(Command::read(b"[]"), None);
    }

    #[test]
    fn patterns_choose_nodes_as_in_python() {
        for (pattern, matcher, fits) in [
            ("celery@h*", "glob", true),
            ("celery@her?", "glob", true),
            ("celery@[!a-g]ere", "glob", true),
            ("celery@[!a-h]ere", "glob", false),
            ("celery@[", "glob", false),
            ("celery", "glob", false),
            ("c.lery@here", "glob", false),
            ("celery", "pcre", true),
            ("elery", "pcre", false),
            ("celery@(here|there)$", "pcre", true),
            ("(", "pcre", false),
            ("celery*", "other", false),
        ] {
            let body = json!({"method": "ping", "pattern": pattern, "matcher": matcher});
            let command = Command::read(body.to_string().as_bytes()).unwrap();
            assert_eq!(command.is_for("celery@here"), fits, "{pattern} {matcher}");
        }
        assert!(command("ping", json!({})).is_for("anybody"));
    }

    #[test]
    fn inspection_tells_the_truth() {
        assert_eq!(answer("ping", json!({})).0, json!({"ok": "pong"}));
        assert_eq!(answer("registered", json!({})).0, json!([INGEST_TASK]));
        let running = answer("active", json!({"safe": false})).0;
        assert_eq!(
            (&running[0]["id"], &running[0]["time_start"]),
            (&json!("running"), &json!(4.0))
        );
        assert_eq!(
            answer("reserved", json!({})).0[0]["delivery_info"]["routing_key"],
            "batch"
        );
        let stats = answer("stats", json!({})).0;
        assert_eq!(stats["total"], json!({INGEST_TASK: 1}));
        assert_eq!(stats["pool"]["max-concurrency"], 2);
        assert_eq!(stats["rusage"]["maxrss"], 3);
        assert_eq!(answer("active_queues", json!({})).0[0]["name"], "embedding");
        let known = answer("query_task", json!({"ids": ["running", "waiting", "gone"]})).0;
        assert_eq!(
            (&known["running"][0], &known["waiting"][0]),
            (&json!("active"), &json!("reserved"))
        );
        assert!(known.get("gone").is_none());
        let by_name = answer("query_task", json!({"ids": ["t-1", "t-2"]})).0;
        assert_eq!(by_name["t-1"][1]["id"], "running");
        assert!(by_name.get("t-2").is_none());
        assert_eq!(
            answer("query_task", json!({"ids": "running"})).0["running"][0],
            "active"
        );
    }

    fn task(name: &str, job: Option<&str>, received: bool) -> RevokedTask {
        RevokedTask {
            name: name.to_owned(),
            job: job.and_then(JobId::parse),
            received,
        }
    }

    #[test]
    fn commands_that_change_something_say_what() {
        let (_, effect) = answer(
            "revoke",
            json!({"task_id": ["t-1", "running", "no job"], "terminate": true}),
        );
        assert_eq!(
            effect,
            Effect::Revoke(vec![
                task("t-1", Some("running"), true),
                task("running", Some("running"), false),
                task("no job", None, false),
            ])
        );
        assert!(answer("revoke", json!({"task_id": []})).0.get("error").is_some());
        assert_eq!(
            answer("disable_events", json!({})).1,
            Effect::TaskEvents { sent: false }
        );
        assert_eq!(
            answer("enable_events", json!({})).0["ok"],
            "task events already enabled"
        );
        assert_eq!(answer("heartbeat", json!({})).1, Effect::Heartbeat);
        for unknown in ["pool_grow", "rate_limit", "shutdown", "it's"] {
            assert!(answer(unknown, json!({})).0["error"].is_string(), "{unknown}");
        }
    }

    #[test]
    fn revoke_claims_only_what_was_done() {
        for (task, outcome, kind, text) in [
            (
                task("t", Some("j"), true),
                CancelOutcome::Job(JobStatus::Cancelled),
                "ok",
                "job j of task t is cancelled",
            ),
            (
                task("j", Some("j"), false),
                CancelOutcome::Job(JobStatus::Cancelled),
                "ok",
                "job j is cancelled",
            ),
            (
                task("j", Some("j"), false),
                CancelOutcome::Job(JobStatus::Completed),
                "error",
                "job j is completed already",
            ),
            (
                task("j", Some("j"), false),
                CancelOutcome::Job(JobStatus::Processing),
                "error",
                "cannot be stopped",
            ),
            (
                task("u", Some("u"), false),
                CancelOutcome::NoJob,
                "error",
                "unknown task u",
            ),
            (
                task("no job", None, false),
                CancelOutcome::NoJob,
                "error",
                "unknown task no job",
            ),
            (
                task("t", Some("j"), true),
                CancelOutcome::NoJob,
                "error",
                "there is no job j of task t",
            ),
            (
                task("j", Some("j"), false),
                CancelOutcome::Unknown,
                "error",
                "not known",
            ),
        ] {
            let answer = revoked(&[(task, outcome)]);
            assert!(answer[kind].as_str().unwrap().contains(text), "{answer}");
        }
        let both = revoked(&[
            (task("u", Some("u"), false), CancelOutcome::NoJob),
            (
                task("j", Some("j"), false),
                CancelOutcome::Job(JobStatus::Cancelled),
            ),
        ]);
        let text = both["ok"].as_str().unwrap();
        assert!(
            text.contains("unknown task u") && text.contains("job j is cancelled"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_mailbox(body in ".{0,120}", pattern in ".{0,30}") {
            let _ = Command::read(body.as_bytes());
            let command = json!({"method": "ping", "pattern": pattern, "matcher": "glob"});
            let _ = Command::read(command.to_string().as_bytes()).unwrap().is_for("celery@here");
        }

        #[test]
        fn a_name_without_signs_fits_itself(name in "[a-z@.0-9]{1,30}") {
            prop_assert!(matches(&name, &name, "glob"));
        }
    }
}
