use std::collections::{HashMap, VecDeque};

use mnemosyne_domain::JobId;

/// Tasks whose names are remembered, at most; the oldest is forgotten first.
const MAX_KNOWN: usize = 10_000;
/// Names that were revoked before a task had them, at most; the oldest is forgotten first.
const MAX_REVOKED: usize = 1_000;
/// The longest name that is remembered, in bytes: longer ones do not fit into AMQP's own field for them.
const MAX_NAME: usize = 255;

/// The names that senders gave their tasks, and the jobs that these ask for. A task of our own has the name of its job,
/// which need not be remembered.
#[derive(Debug, Default)]
pub struct TaskNames {
    jobs: HashMap<String, JobId>,
    order: VecDeque<String>,
    revoked: VecDeque<String>,
}

impl TaskNames {
    /// Remembers a task that was received; returns whether it had been revoked before.
    pub fn received(&mut self, task: &str, job: &JobId) -> bool {
        if task == job.as_str() || task.len() > MAX_NAME {
            return false;
        }
        if self.jobs.insert(task.to_owned(), job.clone()).is_none() {
            self.order.push_back(task.to_owned());
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.jobs.remove(&oldest);
        }
        let place = self.revoked.iter().position(|revoked| revoked == task);
        place.and_then(|place| self.revoked.remove(place)).is_some()
    }

    /// The job of a task that was received.
    pub fn job(&self, task: &str) -> Option<&JobId> {
        self.jobs.get(task)
    }

    /// Remembers that a task is revoked that was not received: its message may still be under way.
    pub fn revoke(&mut self, task: &str) {
        if task.len() > MAX_NAME || self.revoked.iter().any(|revoked| revoked == task) {
            return;
        }
        self.revoked.push_back(task.to_owned());
        if self.revoked.len() > MAX_REVOKED {
            self.revoked.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_job_and_may_be_revoked_before_it_comes() {
        let (mut names, job) = (TaskNames::default(), JobId::generate());
        assert!(!names.received("t-1", &job));
        assert_eq!(names.job("t-1"), Some(&job));
        assert_eq!(names.job("t-2"), None);
        names.revoke("t-2");
        assert!(names.received("t-2", &job));
        // A message that comes again after that was revoked once.
        assert!(!names.received("t-2", &job));
        names.revoke(job.as_str());
        assert!(!names.received(job.as_str(), &job), "it has the name of its job");
        assert_eq!(names.job(job.as_str()), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let (mut names, job) = (TaskNames::default(), JobId::generate());
        for number in 0..=MAX_KNOWN {
            names.received(&number.to_string(), &job);
            names.received(&number.to_string(), &job);
            names.revoke(&format!("revoked-{number}"));
            names.revoke(&format!("revoked-{number}"));
        }
        assert_eq!((names.jobs.len(), names.order.len()), (MAX_KNOWN, MAX_KNOWN));
        assert_eq!((names.job("0"), names.job("1")), (None, Some(&job)));
        assert_eq!(names.revoked.len(), MAX_REVOKED);
        assert!(!names.received("revoked-0", &job));
        names.received(&"x".repeat(256), &job);
        names.revoke(&"x".repeat(256));
        assert_eq!(names.jobs.len(), MAX_KNOWN);
        assert_eq!(names.revoked.len(), MAX_REVOKED);
    }
}
