//! "Worker tuning" of the deployment document.

use mnemosyne_domain::Queue;

use crate::reader::Reader;

/// What a worker serves, and how much at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSection {
    /// At least one, each once.
    pub queues: Vec<Queue>,
    /// Jobs at the same time, at least 1.
    pub concurrency: usize,
    /// Whether a task runs at once, inside the request that asks for it.
    pub always_eager: bool,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<WorkerSection> {
    let always_eager = reader.boolean("CELERY_TASK_ALWAYS_EAGER");
    let named = reader.list(
        "CELERY_QUEUES",
        "one of the queues celery, embedding and batch",
        Queue::parse,
    );
    let concurrency = reader.number("CELERY_CONCURRENCY", 1..=256);
    let queues: Vec<Queue> = Queue::ALL
        .into_iter()
        .filter(|queue| named.contains(queue))
        .collect();
    let only_commas = reader
        .text("CELERY_QUEUES")
        .is_some_and(|value| value.chars().all(|c| c == ',' || c.is_whitespace()));
    if only_commas {
        reader.problem("CELERY_QUEUES", "names no queue.");
    }
    Some(WorkerSection {
        queues,
        concurrency: concurrency?,
        always_eager: always_eager?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let worker = read(&[("CELERY_QUEUES", "")]).worker;
        assert_eq!(worker.queues, Queue::ALL);
        assert_eq!(worker.concurrency, 2);
        assert!(!worker.always_eager);
    }

    #[test]
    fn values() {
        let worker = read(&[
            ("CELERY_QUEUES", "batch, embedding,batch"),
            ("CELERY_CONCURRENCY", "8"),
            ("CELERY_TASK_ALWAYS_EAGER", "True"),
        ])
        .worker;
        assert_eq!(worker.queues, [Queue::Embedding, Queue::Batch]);
        assert_eq!(worker.concurrency, 8);
        assert!(worker.always_eager);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("CELERY_QUEUES", "celery,emebdding"),
            ("CELERY_QUEUES", " , ,"),
            ("CELERY_CONCURRENCY", "0"),
            ("CELERY_CONCURRENCY", "257"),
            ("CELERY_TASK_ALWAYS_EAGER", "never"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
