use std::collections::{HashMap, VecDeque};

use mnemosyne_domain::JobId;

use crate::celery::message::Asker;

/// Jobs whose end somebody waits for, at most; those who asked first are forgotten first.
const MAX_JOBS: usize = 10_000;
/// How many may wait for one job.
const MAX_EACH: usize = 32;

/// Who waits for the end of which job.
#[derive(Debug, Default)]
pub(super) struct Askers {
    by_job: HashMap<JobId, Vec<Asker>>,
    /// In the order in which they were first asked for. Jobs that ended meanwhile stay until they come to the front.
    order: VecDeque<JobId>,
}

impl Askers {
    /// Remembers who asks. A message that comes again is the same asker.
    pub(super) fn add(&mut self, job: &JobId, asker: Asker) {
        let askers = self.by_job.entry(job.clone()).or_default();
        if askers.is_empty() {
            self.order.push_back(job.clone());
        }
        if askers.len() < MAX_EACH && !askers.contains(&asker) {
            askers.push(asker);
        }
        while self.order.len() > MAX_JOBS {
            if let Some(oldest) = self.order.pop_front() {
                self.by_job.remove(&oldest);
            }
        }
    }

    /// Those who waited for this job.
    pub(super) fn take(&mut self, job: &JobId) -> Vec<Asker> {
        let Some(askers) = self.by_job.remove(job) else {
            return Vec::new();
        };
        self.order.retain(|asked| asked != job);
        askers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(task_id: &str) -> Asker {
        Asker {
            queue: "q".into(),
            task_id: task_id.into(),
        }
    }

    #[test]
    fn everybody_who_asked_is_answered_once() {
        let mut askers = Askers::default();
        let (first, second) = (JobId::generate(), JobId::generate());
        askers.add(&first, asker("a"));
        askers.add(&first, asker("a"));
        askers.add(&first, asker("b"));
        askers.add(&second, asker("c"));
        assert_eq!(askers.take(&first), [asker("a"), asker("b")]);
        assert_eq!(askers.take(&first), []);
        assert_eq!(askers.take(&second), [asker("c")]);
        assert!(askers.order.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut askers = Askers::default();
        let oldest = JobId::generate();
        askers.add(&oldest, asker("a"));
        for number in 0..MAX_EACH * 2 {
            askers.add(&oldest, asker(&number.to_string()));
        }
        assert_eq!(askers.by_job[&oldest].len(), MAX_EACH);
        for _ in 0..MAX_JOBS {
            askers.add(&JobId::generate(), asker("b"));
        }
        assert_eq!(askers.by_job.len(), MAX_JOBS);
        assert_eq!(askers.take(&oldest), []);
    }
}
