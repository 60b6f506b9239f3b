//! What a Celery client that waits for a task is told (`rpc://`).

use mnemosyne_domain::Failure;
use mnemosyne_domain::ports::TaskState;
use serde_json::{Value, json};

use super::message::Poison;

/// The result of a task that ended; `None` while it goes on.
pub fn of_state(state: &TaskState, task_id: &str) -> Option<Value> {
    match state {
        TaskState::Succeeded { result, .. } => Some(body(task_id, "SUCCESS", result.clone())),
        TaskState::Failed(failure) => Some(body(task_id, "FAILURE", exception_of(failure))),
        TaskState::Revoked => {
            let exception = exception("TaskRevokedError", "revoked", "celery.exceptions");
            Some(body(task_id, "REVOKED", exception))
        }
        TaskState::Started { .. } | TaskState::Retried(_) | TaskState::Released => None,
    }
}

/// The result of a message that cannot be run.
pub fn of_poison(poison: &Poison, task_id: &str) -> Value {
    let exception = match &poison.task {
        Some(task) if poison.reason == super::message::PoisonReason::UnknownTask => {
            exception("NotRegistered", task, "celery.exceptions")
        }
        _ => exception("ValueError", &poison.to_string(), "builtins"),
    };
    body(task_id, "FAILURE", exception)
}

/// The name of a failure as an exception: `NoTextExtracted`.
pub fn exception_name(failure: &Failure) -> String {
    let words = failure.code.as_str().split('_');
    words
        .flat_map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
        })
        .collect()
}

fn exception_of(failure: &Failure) -> Value {
    // No such module exists at the client, which then makes an exception class of this name.
    exception(&exception_name(failure), &failure.message, "mnemosyne")
}

fn exception(name: &str, message: &str, module: &str) -> Value {
    json!({"exc_type": name, "exc_message": [message], "exc_module": module})
}

fn body(task_id: &str, status: &str, result: Value) -> Value {
    json!({"task_id": task_id, "status": status, "result": result, "traceback": null, "children": []})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mnemosyne_domain::FailureCode;

    use super::*;

    #[test]
    fn only_an_end_is_a_result() {
        let failure = Failure::new(FailureCode::NoTextExtracted, "It holds no text.");
        let succeeded = TaskState::Succeeded {
            result: json!({"job_id": "j"}),
            runtime: Duration::from_secs(1),
        };
        assert_eq!(
            of_state(&succeeded, "t"),
            Some(
                json!({"task_id": "t", "status": "SUCCESS", "result": {"job_id": "j"}, "traceback": null, "children": []})
            )
        );
        let failed = of_state(&TaskState::Failed(failure.clone()), "t").unwrap();
        assert_eq!(failed["status"], "FAILURE");
        assert_eq!(failed["result"]["exc_type"], "NoTextExtracted");
        assert_eq!(failed["result"]["exc_message"], json!(["It holds no text."]));
        assert_eq!(of_state(&TaskState::Revoked, "t").unwrap()["status"], "REVOKED");
        for going_on in [
            TaskState::Started { attempt: 1 },
            TaskState::Retried(failure),
            TaskState::Released,
        ] {
            assert_eq!(of_state(&going_on, "t"), None);
        }
    }

    #[test]
    fn an_unknown_task_is_what_celery_calls_it() {
        let mut poison = Poison {
            reason: super::super::message::PoisonReason::UnknownTask,
            detail: "…".into(),
            task: Some("library.tasks.other".into()),
            asker: None,
            followers: Vec::new(),
        };
        let result = of_poison(&poison, "t");
        assert_eq!(result["result"]["exc_type"], "NotRegistered");
        assert_eq!(result["result"]["exc_message"], json!(["library.tasks.other"]));
        poison.reason = super::super::message::PoisonReason::NoJob;
        assert_eq!(of_poison(&poison, "t")["result"]["exc_type"], "ValueError");
    }
}
