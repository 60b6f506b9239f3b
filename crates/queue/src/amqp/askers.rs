use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use mnemosyne_domain::JobId;
use mnemosyne_domain::ports::Awaited;

use crate::celery::message::Asker;

/// Jobs whose end somebody waits for, at most; those who asked first are forgotten first.
pub(super) const MAX_JOBS: usize = 10_000;
/// How many may wait for one job.
const MAX_EACH: usize = 32;

/// Who waits for the end of which job.
#[derive(Debug, Default)]
pub(super) struct Askers {
    by_job: HashMap<JobId, Waiting>,
    /// The jobs in the order in which they were first asked for.
    order: BTreeMap<u64, JobId>,
    turns: u64,
    forgotten: u64,
}

#[derive(Debug)]
struct Waiting {
    turn: u64,
    askers: Vec<Asker>,
}

impl Askers {
    /// Remembers who asks. A message that comes again is the same asker.
    pub(super) fn add(&mut self, job: &JobId, asker: Asker) {
        let waiting = self.by_job.entry(job.clone()).or_insert_with(|| {
            self.turns += 1;
            self.order.insert(self.turns, job.clone());
            Waiting {
                turn: self.turns,
                askers: Vec::new(),
            }
        });
        if waiting.askers.len() < MAX_EACH && !waiting.askers.contains(&asker) {
            waiting.askers.push(asker);
        }
        if self.order.len() > MAX_JOBS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_job.remove(&oldest);
            // A line for each would fill the log.
            if self.forgotten.is_multiple_of(1_000) {
                tracing::warn!(
                    remembered = MAX_JOBS,
                    forgotten = self.forgotten + 1,
                    "too many senders wait for results; those who asked first are forgotten"
                );
            }
            self.forgotten += 1;
        }
    }

    /// Those who waited for this job.
    pub(super) fn take(&mut self, job: &JobId) -> Vec<Asker> {
        let Some(waiting) = self.by_job.remove(job) else {
            return Vec::new();
        };
        self.order.remove(&waiting.turn);
        waiting.askers
    }

    /// The jobs after this turn, as many as are wanted.
    pub(super) fn awaited(&self, after: u64, limit: usize) -> Vec<Awaited> {
        self.order
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take(limit)
            .map(|(turn, job)| Awaited {
                turn: *turn,
                job: job.clone(),
            })
            .collect()
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
    fn those_who_wait_are_named_in_turn() {
        let mut askers = Askers::default();
        let jobs: Vec<JobId> = (0..5).map(|_| JobId::generate()).collect();
        for job in &jobs {
            askers.add(job, asker("a"));
        }
        askers.add(&jobs[0], asker("b"));
        let first = askers.awaited(0, 2);
        assert_eq!(
            first.iter().map(|awaited| &awaited.job).collect::<Vec<_>>(),
            [&jobs[0], &jobs[1]]
        );
        // Who was answered meanwhile does not disturb the order.
        askers.take(&jobs[1]);
        askers.take(&jobs[2]);
        let rest = askers.awaited(first[1].turn, 10);
        assert_eq!(
            rest.iter().map(|awaited| &awaited.job).collect::<Vec<_>>(),
            [&jobs[3], &jobs[4]]
        );
        assert_eq!(askers.awaited(rest[1].turn, 10), []);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let mut askers = Askers::default();
        let oldest = JobId::generate();
        askers.add(&oldest, asker("a"));
        for number in 0..MAX_EACH * 2 {
            askers.add(&oldest, asker(&number.to_string()));
        }
        assert_eq!(askers.by_job[&oldest].askers.len(), MAX_EACH);
        for _ in 0..MAX_JOBS {
            askers.add(&JobId::generate(), asker("b"));
        }
        assert_eq!(askers.by_job.len(), MAX_JOBS);
        assert_eq!(askers.take(&oldest), []);
    }
}
