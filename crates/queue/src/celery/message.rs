//! Task messages.

use std::fmt;

use mnemosyne_domain::JobId;
use serde_json::{Map, Value, json};

use super::{INGEST_TASK, python_list};

/// The longest name of a queue that AMQP can carry, in bytes.
const MAX_NAME: usize = 255;
/// Where a message names tasks that are to follow it.
const CALLBACKS: [&str; 4] = ["callbacks", "errbacks", "chain", "chord"];
/// Those who wait for tasks that were to follow and are told that none does, at most.
const MAX_FOLLOWERS: usize = 100;

/// A message as it lies in a queue, apart from the broker that keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The header fields.
    pub headers: Map<String, Value>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Encoding of the body's text.
    pub content_encoding: Option<String>,
    /// The task's identifier once more.
    pub correlation_id: Option<String>,
    /// The queue that the result is sent to, where one is wanted.
    pub reply_to: Option<String>,
    /// The content.
    pub body: Vec<u8>,
}

/// Where the sender of a task waits for its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The queue that it reads.
    pub queue: String,
    /// The task's identifier as the sender knows it.
    pub task_id: String,
}

/// A message that asks to run a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestCall {
    /// The job.
    pub job: JobId,
    /// What the sender calls the task.
    pub task_id: Option<String>,
    /// Who wants to hear of its end.
    pub asker: Option<Asker>,
}

/// Why a message cannot be run, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoisonReason {
    /// Its body is not JSON of the form that Celery sends.
    Unreadable,
    /// It asks for a task that Mnemosyne does not have.
    UnknownTask,
    /// It names no job.
    NoJob,
    /// It names tasks that are to follow it, which nobody here would send.
    UnsupportedCallbacks,
}

impl PoisonReason {
    /// The word in a parked message's headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::UnknownTask => "unknown_task",
            Self::NoJob => "no_job_id",
            Self::UnsupportedCallbacks => "unsupported_callbacks",
        }
    }
}

/// A message that cannot be run, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// The kind of mistake.
    pub reason: PoisonReason,
    /// The mistake, for people.
    pub detail: String,
    /// The task that it asks for, if it says so.
    pub task: Option<String>,
    /// Who wants to hear of its end.
    pub asker: Option<Asker>,
    /// Who wants to hear of the ends of the tasks that were to follow, which will not come either.
    pub followers: Vec<Asker>,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// The message that announces a job. The task has the job's identifier, so that however often the job is announced,
/// Celery's tools show it once.
pub fn announce(job: &JobId, origin: &str) -> Envelope {
    let id = job.as_str();
    let headers = json!({
        "lang": "py",
        "task": INGEST_TASK,
        "id": id,
        "shadow": null,
        "eta": null,
        "expires": null,
        "group": null,
        "group_index": null,
        "retries": 0,
        "timelimit": [null, null],
        "root_id": id,
        "parent_id": null,
        "argsrepr": python_list(&[id]),
        "kwargsrepr": "{}",
        "origin": origin,
        "ignore_result": true,
    });
    let body = json!([
        [id],
        {},
        {"callbacks": null, "errbacks": null, "chain": null, "chord": null},
    ]);
    Envelope {
        headers: object(headers),
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        correlation_id: Some(id.to_owned()),
        // An empty name is how Celery says that nobody waits for the result.
        reply_to: Some(String::new()),
        body: body.to_string().into_bytes(),
    }
}

/// Reads a message. A moment (`eta`) or an end (`expires`) that the sender gave is not looked at: when a job is due
/// stands in its row.
pub fn read(envelope: &Envelope) -> Result<IngestCall, Box<Poison>> {
    let call = Call::read(envelope).map_err(|detail| {
        Box::new(Poison {
            reason: PoisonReason::Unreadable,
            detail,
            task: text(&envelope.headers, "task"),
            asker: asker(envelope, None),
            followers: Vec::new(),
        })
    })?;
    let asker = asker(envelope, call.id.as_deref());
    let poison = |reason, detail: String| {
        Box::new(Poison {
            reason,
            detail,
            task: Some(call.task.clone()),
            asker: asker.clone(),
            followers: call.followers(),
        })
    };
    if call.task != INGEST_TASK {
        let detail = format!("there is no task {:?} here", call.task);
        return Err(poison(PoisonReason::UnknownTask, detail));
    }
    let callbacks = call.callbacks();
    if !callbacks.is_empty() {
        let detail = format!(
            "tasks that are to follow are not sent from here, and it names some ({})",
            callbacks.join(", ")
        );
        return Err(poison(PoisonReason::UnsupportedCallbacks, detail));
    }
    match call.job() {
        Some(job) => Ok(IngestCall {
            job,
            task_id: task_id(envelope, call.id.as_deref()),
            asker,
        }),
        None => Err(poison(
            PoisonReason::NoJob,
            "neither the first argument nor the keyword job_id names a job".into(),
        )),
    }
}

/// What both versions of the protocol carry.
struct Call {
    task: String,
    id: Option<String>,
    arguments: Vec<Value>,
    keywords: Map<String, Value>,
    /// What is to follow, by its kind.
    embedded: Map<String, Value>,
}

impl Call {
    fn read(envelope: &Envelope) -> Result<Self, String> {
        if let Some(compression) = text(&envelope.headers, "compression") {
            return Err(format!("its body is compressed ({compression})"));
        }
        let content_type = envelope.content_type.as_deref().unwrap_or("application/json");
        if content_type != "application/json" {
            return Err(format!(
                "its body is {content_type:?}, and only application/json is read"
            ));
        }
        let body: Value = serde_json::from_slice(&envelope.body)
            .map_err(|error| format!("its body is not JSON: {error}"))?;
        match body {
            Value::Array(parts) => Self::second_version(envelope, parts),
            Value::Object(fields) => Self::first_version(fields),
            _ => Err("its body is neither a list nor an object".into()),
        }
    }

    /// Headers, and a list of arguments, keywords and what is to follow.
    fn second_version(envelope: &Envelope, parts: Vec<Value>) -> Result<Self, String> {
        let task = text(&envelope.headers, "task").ok_or("its headers name no task")?;
        let mut parts = parts.into_iter();
        let (Some(Value::Array(arguments)), Some(Value::Object(keywords))) = (parts.next(), parts.next())
        else {
            return Err("its body does not begin with arguments and keywords".into());
        };
        let embedded = match parts.next() {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(embedded)) => embedded,
            Some(_) => return Err("what is to follow it is no object".into()),
        };
        Ok(Self {
            task,
            id: text(&envelope.headers, "id"),
            arguments,
            keywords,
            embedded,
        })
    }

    /// Everything in the body.
    fn first_version(mut fields: Map<String, Value>) -> Result<Self, String> {
        let task = text(&fields, "task").ok_or("its body names no task")?;
        let arguments = match fields.remove("args") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(arguments)) => arguments,
            Some(_) => return Err("its arguments are no list".into()),
        };
        let keywords = match fields.remove("kwargs") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(keywords)) => keywords,
            Some(_) => return Err("its keywords are no object".into()),
        };
        Ok(Self {
            task,
            id: text(&fields, "id"),
            arguments,
            keywords,
            embedded: fields,
        })
    }

    /// The kinds of tasks that are to follow.
    fn callbacks(&self) -> Vec<&'static str> {
        CALLBACKS
            .into_iter()
            .filter(|kind| self.embedded.get(*kind).is_some_and(is_something))
            .collect()
    }

    /// Who waits for the tasks that are to follow. Celery writes it into each of them; the last one, for which the sender of
    /// a chain waits, comes first.
    fn followers(&self) -> Vec<Asker> {
        let chain = self.embedded.get("chain").and_then(Value::as_array);
        let chord = self.embedded.get("chord");
        chain
            .into_iter()
            .flatten()
            .chain(chord)
            .filter_map(|task| {
                let options = task.get("options")?.as_object()?;
                Some(Asker {
                    queue: text(options, "reply_to").filter(|name| is_name(name))?,
                    task_id: text(options, "task_id").filter(|id| is_name(id))?,
                })
            })
            .take(MAX_FOLLOWERS)
            .collect()
    }

    fn job(&self) -> Option<JobId> {
        let value = self.arguments.first().or_else(|| self.keywords.get("job_id"))?;
        match value {
            Value::String(id) => JobId::parse(id),
            // A `uuid.UUID`, as kombu writes it.
            Value::Object(typed) if typed.get("__type__").and_then(Value::as_str) == Some("uuid") => {
                let hex = typed.get("__value__")?.get("hex")?.as_str()?;
                JobId::parse(&uuid::Uuid::try_parse(hex).ok()?.to_string())
            }
            _ => None,
        }
    }
}

/// Celery sends the name of a queue with every task; `ignore_result` says that nobody reads it.
fn asker(envelope: &Envelope, id_in_body: Option<&str>) -> Option<Asker> {
    if envelope.headers.get("ignore_result") == Some(&Value::Bool(true)) {
        return None;
    }
    let queue = envelope.reply_to.as_ref().filter(|name| is_name(name))?;
    Some(Asker {
        queue: queue.clone(),
        task_id: task_id(envelope, id_in_body)?,
    })
}

/// What the sender calls a task.
fn task_id(envelope: &Envelope, id_in_body: Option<&str>) -> Option<String> {
    id_in_body
        .map(str::to_owned)
        .or_else(|| text(&envelope.headers, "id"))
        .or_else(|| envelope.correlation_id.clone())
        .filter(|id| is_name(id))
}

/// Whether AMQP can carry a name.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
}

/// What Python takes for true, where it is no number.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    Some(fields.get(name)?.as_str()?.to_owned())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Celery 5.7 sends for `app.send_task(INGEST_TASK, args=["0190-a"])`, less what nobody reads.
    fn from_python() -> Envelope {
        Envelope {
            headers: object(json!({
                "lang": "py", "task": INGEST_TASK, "id": "t-1", "shadow": null, "eta": null, "expires": null,
                "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "t-1",
                "parent_id": null, "argsrepr": "['0190-a']", "kwargsrepr": "{}", "origin": "gen9@host",
                "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {},
            })),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            correlation_id: Some("t-1".into()),
            reply_to: Some("reply-queue".into()),
            body: br#"[["0190-a"], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#
                .to_vec(),
        }
    }

    fn job(id: &str) -> JobId {
        JobId::parse(id).unwrap()
    }

    #[test]
    fn a_task_of_a_celery_client_is_read() {
        let asker = Asker {
            queue: "reply-queue".into(),
            task_id: "t-1".into(),
        };
        let mut message = from_python();
        let expected = IngestCall {
            job: job("0190-a"),
            task_id: Some("t-1".into()),
            asker: Some(asker),
        };
        assert_eq!(read(&message), Ok(expected.clone()));
        message.body = br#"[[], {"job_id": "0190-a"}, {}]"#.to_vec();
        assert_eq!(read(&message), Ok(expected));
    }

    #[test]
    fn a_uuid_object_of_python_names_a_job() {
        let mut message = from_python();
        message.body =
            br#"[[{"__type__": "uuid", "__value__": {"hex": "0190aaaabbbb7cccddddeeeeffff0000"}}], {}, {}]"#
                .to_vec();
        assert_eq!(
            read(&message).unwrap().job,
            job("0190aaaa-bbbb-7ccc-dddd-eeeeffff0000")
        );
    }

    #[test]
    fn the_first_version_of_the_protocol_is_read() {
        let body = json!({
            "task": INGEST_TASK, "id": "t-2", "args": ["0190-b"], "kwargs": {}, "retries": 0, "eta": null,
            "expires": null, "utc": true, "callbacks": null, "errbacks": null, "timelimit": [null, null],
            "taskset": null, "chord": null,
        });
        let message = Envelope {
            content_type: Some("application/json".into()),
            correlation_id: Some("t-2".into()),
            reply_to: Some("q".into()),
            body: body.to_string().into_bytes(),
            ..Envelope::default()
        };
        let call = read(&message).unwrap();
        assert_eq!(call.job, job("0190-b"));
        assert_eq!(call.asker.unwrap().task_id, "t-2");
    }

    #[test]
    fn nobody_waits_where_the_sender_says_so() {
        let mut message = from_python();
        message.headers.insert("ignore_result".into(), Value::Bool(true));
        assert_eq!(read(&message).unwrap().asker, None);
        let mut silent = from_python();
        silent.reply_to = Some(String::new());
        assert_eq!(read(&silent).unwrap().asker, None);
    }

    #[test]
    fn poison_says_what_is_wrong_and_who_asked() {
        let changed = |change: fn(&mut Envelope)| {
            let mut message = from_python();
            change(&mut message);
            *read(&message).unwrap_err()
        };
        let unknown = changed(|message| {
            message
                .headers
                .insert("task".into(), "library.tasks.other".into());
        });
        assert_eq!(unknown.reason, PoisonReason::UnknownTask);
        assert_eq!(unknown.task.as_deref(), Some("library.tasks.other"));
        assert_eq!(
            unknown.to_string(),
            "unknown_task: there is no task \"library.tasks.other\" here"
        );
        assert_eq!(unknown.asker.unwrap().queue, "reply-queue");
        for body in ["[[], {}, {}]", r#"[["a b"], {}, {}]"#, "[[7], {}, {}]"] {
            let mut message = from_python();
            message.body = body.as_bytes().to_vec();
            assert_eq!(read(&message).unwrap_err().reason, PoisonReason::NoJob, "{body}");
        }
        for body in ["", "{", "7", "[]", "[[1]]", "{}", "[[NaN], {}, {}]"] {
            let mut message = from_python();
            message.body = body.as_bytes().to_vec();
            let poison = read(&message).unwrap_err();
            assert_eq!(poison.reason, PoisonReason::Unreadable, "{body}");
            assert_eq!(poison.asker.unwrap().task_id, "t-1", "{body}");
        }
        let pickled = changed(|message| message.content_type = Some("application/x-python-serialize".into()));
        assert!(pickled.detail.contains("x-python-serialize"), "{pickled}");
        let compressed = changed(|message| {
            message
                .headers
                .insert("compression".into(), "application/x-gzip".into());
        });
        assert!(compressed.detail.contains("compressed"), "{compressed}");
    }

    #[test]
    fn what_is_to_follow_is_refused_and_never_dropped() {
        let last = json!({"task": "last", "options": {"task_id": "t-3", "reply_to": "reply-queue"}});
        let next = json!({"task": "next", "options": {"task_id": "t-2", "reply_to": "reply-queue"}});
        let nobody = json!({"task": "x", "options": {"task_id": "t-4", "reply_to": null}});
        for (kind, value, followers) in [
            ("callbacks", json!([next]), vec![]),
            ("errbacks", json!([next]), vec![]),
            ("chain", json!([last, nobody, next]), vec!["t-3", "t-2"]),
            ("chord", last.clone(), vec!["t-3"]),
        ] {
            let embedded =
                json!({"callbacks": null, "errbacks": [], "chain": null, "chord": {}, kind: value});
            let mut second = from_python();
            second.body = json!([["0190-a"], {}, embedded]).to_string().into_bytes();
            let mut first = from_python();
            let body =
                json!({"task": INGEST_TASK, "id": "t-1", "args": ["0190-a"], "kwargs": {}, kind: value});
            first.body = body.to_string().into_bytes();
            for message in [second, first] {
                let poison = read(&message).unwrap_err();
                assert_eq!(poison.reason, PoisonReason::UnsupportedCallbacks, "{kind}");
                assert!(poison.detail.contains(kind), "{poison}");
                assert_eq!(poison.asker.unwrap().task_id, "t-1");
                let told: Vec<&str> = poison
                    .followers
                    .iter()
                    .map(|asker| asker.task_id.as_str())
                    .collect();
                assert_eq!(told, followers, "{kind}");
            }
        }
        for nothing in [
            "",
            ", null",
            ", {}",
            r#", {"callbacks": [], "chain": null, "other": 1}"#,
        ] {
            let mut message = from_python();
            message.body = format!(r#"[["0190-a"], {{}}{nothing}]"#).into_bytes();
            assert_eq!(read(&message).unwrap().job, job("0190-a"), "{nothing}");
        }
        let mut broken = from_python();
        broken.body = br#"[["0190-a"], {}, ["chain"]]"#.to_vec();
        assert_eq!(read(&broken).unwrap_err().reason, PoisonReason::Unreadable);
    }

    #[test]
    fn an_announcement_is_what_celery_would_send() {
        let message = announce(&job("0190-a"), "mnemosyne@host");
        let theirs = from_python();
        for field in [
            "lang",
            "task",
            "argsrepr",
            "kwargsrepr",
            "retries",
            "timelimit",
            "group",
            "parent_id",
        ] {
            assert_eq!(message.headers[field], theirs.headers[field], "{field}");
        }
        assert_eq!(message.headers["id"], "0190-a");
        assert_eq!(message.headers["root_id"], "0190-a");
        let (ours, theirs): (Value, Value) = (
            serde_json::from_slice(&message.body).unwrap(),
            serde_json::from_slice(&theirs.body).unwrap(),
        );
        assert_eq!(ours, theirs);
    }

    proptest! {
        #[test]
        fn every_announcement_is_read_as_what_it_was(id in "[A-Za-z0-9_-]{1,64}", origin in ".{0,40}") {
            let call = read(&announce(&job(&id), &origin)).unwrap();
            prop_assert_eq!(call.job.as_str(), id);
            prop_assert_eq!(call.asker, None);
        }

        #[test]
        fn no_body_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), typed in any::<bool>()) {
            let message = Envelope {
                content_type: typed.then(|| "application/json".into()),
                body,
                ..from_python()
            };
            let _ = read(&message);
        }

        #[test]
        fn no_json_breaks_the_reader(text in r#"[\[\]{}",:a-z_0-9]{0,60}"#) {
            let message = Envelope { body: text.into_bytes(), ..from_python() };
            let _ = read(&message);
        }
    }
}
