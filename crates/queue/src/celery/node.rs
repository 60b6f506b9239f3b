//! A worker as Celery's tools see it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{TaskReport, TaskState};
use mnemosyne_domain::{Failure, JobId, Queue};
use serde_json::Value;

/// Cancelled jobs that are remembered for `inspect revoked`.
const MAX_REVOKED: usize = 200;

/// What does not change while a worker lives.
#[derive(Clone, Debug)]
pub struct Node {
    /// `celery@HOST`, unlike that of every other worker on the broker.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Number of the process.
    pub pid: u32,
    /// How many jobs it runs at once.
    pub concurrency: u16,
    /// The queues that it reads.
    pub queues: Vec<Queue>,
    /// The broker as `inspect stats` shows it, without the password.
    pub broker: Value,
    /// When it began.
    pub began: Instant,
}

/// A job that the worker runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveTask {
    /// From 1.
    pub attempt: u32,
    /// When it began, in seconds since 1970.
    pub since: f64,
}

/// What a worker does and has done.
#[derive(Debug, Default)]
pub struct Activity {
    active: BTreeMap<JobId, ActiveTask>,
    processed: u64,
    revoked: VecDeque<JobId>,
}

/// What is told of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskEvent {
    /// The worker has it.
    Received {
        /// How often it was begun before.
        retries: u32,
    },
    /// The worker runs it.
    Started,
    /// It ended well.
    Succeeded {
        /// What it made.
        result: Value,
        /// How long it ran.
        runtime: Duration,
    },
    /// The attempt failed, another follows.
    Retried(Failure),
    /// It failed.
    Failed(Failure),
    /// It was cancelled.
    Revoked,
    /// The worker let go of it.
    Rejected,
}

impl Activity {
    /// Takes note of a report, and says what watchers are told. What ends here without having begun here was run by
    /// another worker, which tells of it.
    pub fn note(&mut self, report: &TaskReport, now: f64) -> Vec<TaskEvent> {
        if let TaskState::Started { attempt } = report.state {
            let task = ActiveTask { attempt, since: now };
            self.active.insert(report.job.clone(), task);
            self.processed += 1;
            let retries = attempt.saturating_sub(1);
            return vec![TaskEvent::Received { retries }, TaskEvent::Started];
        }
        if self.active.remove(&report.job).is_none() {
            return Vec::new();
        }
        vec![match report.state.clone() {
            TaskState::Succeeded { result, runtime } => TaskEvent::Succeeded { result, runtime },
            TaskState::Retried(failure) => TaskEvent::Retried(failure),
            TaskState::Failed(failure) => TaskEvent::Failed(failure),
            TaskState::Revoked => {
                self.revoked.push_back(report.job.clone());
                if self.revoked.len() > MAX_REVOKED {
                    self.revoked.pop_front();
                }
                TaskEvent::Revoked
            }
            TaskState::Started { .. } | TaskState::Released => TaskEvent::Rejected,
        }]
    }

    /// The jobs that run, by identifier.
    pub fn active(&self) -> &BTreeMap<JobId, ActiveTask> {
        &self.active
    }

    /// How many attempts were begun.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// The jobs that were cancelled here lately.
    pub fn revoked(&self) -> impl Iterator<Item = &JobId> {
        self.revoked.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(job: &JobId, state: TaskState) -> TaskReport {
        TaskReport {
            job: job.clone(),
            state,
        }
    }

    #[test]
    fn what_ran_here_is_told_once_and_what_ran_elsewhere_is_not() {
        let mut activity = Activity::default();
        let (here, elsewhere) = (JobId::generate(), JobId::generate());
        let began = activity.note(&report(&here, TaskState::Started { attempt: 3 }), 5.0);
        assert_eq!(began, [TaskEvent::Received { retries: 2 }, TaskEvent::Started]);
        assert_eq!(
            activity.active()[&here],
            ActiveTask {
                attempt: 3,
                since: 5.0
            }
        );
        assert!(
            activity
                .note(&report(&elsewhere, TaskState::Revoked), 6.0)
                .is_empty()
        );
        assert_eq!(
            activity.note(&report(&here, TaskState::Revoked), 7.0),
            [TaskEvent::Revoked]
        );
        assert!(activity.note(&report(&here, TaskState::Revoked), 8.0).is_empty());
        assert!(activity.active().is_empty());
        assert_eq!(activity.processed(), 1);
        assert_eq!(activity.revoked().collect::<Vec<_>>(), [&here]);
    }

    #[test]
    fn the_memory_of_cancelled_jobs_is_bounded() {
        let mut activity = Activity::default();
        for _ in 0..MAX_REVOKED + 50 {
            let job = JobId::generate();
            activity.note(&report(&job, TaskState::Started { attempt: 1 }), 0.0);
            activity.note(&report(&job, TaskState::Revoked), 0.0);
        }
        assert_eq!(activity.revoked().count(), MAX_REVOKED);
    }
}
