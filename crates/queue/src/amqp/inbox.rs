use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapin::Acker;
use lapin::options::BasicAckOptions;
use mnemosyne_domain::ports::{Nudge, Receipt};
use mnemosyne_domain::{JobId, Queue};
use tokio::sync::Notify;

/// Nudges that are kept although their messages were let go of, because their senders wait for a result.
const MAX_SETTLED: usize = 1_000;
/// How long letting go of a message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that were delivered and that no worker took yet. The broker delivers no more than the prefetch of unsettled
/// ones, so this stays small however long the queue is.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<VecDeque<Waiting>>,
    arrived: Notify,
}

struct Waiting {
    queue: Queue,
    job: JobId,
    wants_result: bool,
    since: Instant,
    /// `None` once the message was let go of.
    acker: Option<Acker>,
}

impl Inbox {
    pub(super) fn push(&self, queue: Queue, job: JobId, wants_result: bool, acker: Acker) {
        self.lock().push_back(Waiting {
            queue,
            job,
            wants_result,
            since: Instant::now(),
            acker: Some(acker),
        });
        self.arrived.notify_waiters();
    }

    /// The oldest nudge of these queues, waiting for one as long as it takes.
    pub(super) async fn next(&self, queues: &[Queue]) -> Nudge {
        loop {
            let mut arrival = std::pin::pin!(self.arrived.notified());
            // From here on an arrival is not missed, and the look below sees those before.
            arrival.as_mut().enable();
            if let Some(nudge) = self.take(queues) {
                return nudge;
            }
            arrival.await;
        }
    }

    /// The oldest nudge of these queues, if there is one.
    pub(super) fn take(&self, queues: &[Queue]) -> Option<Nudge> {
        let mut waiting = self.lock();
        let place = waiting.iter().position(|nudge| queues.contains(&nudge.queue))?;
        let taken = waiting.remove(place)?;
        Some(Nudge {
            job: Some(taken.job.clone()),
            wants_result: taken.wants_result,
            receipt: taken.acker.map(|acker| {
                let job = taken.job;
                Box::new(Delivered { job, acker }) as Box<dyn Receipt>
            }),
        })
    }

    /// Lets go of messages that nobody took for this long, so that the broker's time-out for consumers never strikes: all
    /// slots are busy, and whoever becomes free finds the jobs in their table. Returns how many these were.
    pub(super) async fn settle_overdue(&self, hold: Duration) -> usize {
        let overdue = self.overdue(hold);
        let count = overdue.len();
        for delivered in overdue {
            Box::new(delivered).settle().await;
        }
        count
    }

    fn overdue(&self, hold: Duration) -> Vec<Delivered> {
        let mut waiting = self.lock();
        let mut overdue = Vec::new();
        for nudge in waiting.iter_mut().filter(|nudge| nudge.since.elapsed() >= hold) {
            if let Some(acker) = nudge.acker.take() {
                let job = nudge.job.clone();
                overdue.push(Delivered { job, acker });
            }
        }
        if overdue.is_empty() {
            return overdue;
        }
        // Who waits for a result still must be found by a worker.
        waiting.retain(|nudge| nudge.acker.is_some() || nudge.wants_result);
        let settled = waiting.iter().filter(|nudge| nudge.acker.is_none()).count();
        let mut too_many = settled.saturating_sub(MAX_SETTLED);
        waiting.retain(|nudge| {
            let drop_it = nudge.acker.is_none() && too_many > 0;
            too_many -= usize::from(drop_it);
            !drop_it
        });
        overdue
    }

    /// Forgets the messages of a connection that is gone: the broker delivers them again.
    pub(super) fn forget_unsettled(&self) {
        self.lock().retain(|nudge| nudge.acker.is_none());
    }

    /// What waits, oldest first.
    pub(super) fn listed(&self) -> Vec<(JobId, Queue)> {
        self.lock()
            .iter()
            .map(|nudge| (nudge.job.clone(), nudge.queue))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // No holder of the lock leaves the list half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Delivered {
    job: JobId,
    acker: Acker,
}

#[async_trait::async_trait]
impl Receipt for Delivered {
    async fn settle(self: Box<Self>) {
        let acknowledged = self.acker.ack(BasicAckOptions::default());
        // A message whose connection is gone comes again, which is harmless.
        match tokio::time::timeout(PATIENCE, acknowledged).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                tracing::debug!(job = %self.job, "a message comes again: its connection is gone")
            }
            Ok(Err(error)) => tracing::debug!(job = %self.job, %error, "a message comes again"),
            Err(_) => tracing::debug!(job = %self.job, "the broker did not take an acknowledgement in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::message::Delivery;

    use super::*;

    fn push(inbox: &Inbox, queue: Queue, wants_result: bool) -> (JobId, Acker) {
        let job = JobId::generate();
        let acker = Delivery::mock(1, "".into(), "".into(), false, Vec::new()).acker;
        inbox.push(queue, job.clone(), wants_result, acker.clone());
        (job, acker)
    }

    #[tokio::test]
    async fn what_nobody_took_is_let_go_of_and_only_those_with_a_result_are_kept() {
        let inbox = Inbox::default();
        let (_, plain) = push(&inbox, Queue::Default, false);
        let (wanted, asked) = push(&inbox, Queue::Batch, true);
        assert_eq!(inbox.settle_overdue(Duration::from_secs(3_600)).await, 0);
        assert!(plain.usable() && asked.usable());
        assert_eq!(inbox.settle_overdue(Duration::ZERO).await, 2);
        assert!(!plain.usable() && !asked.usable());
        assert_eq!(inbox.settle_overdue(Duration::ZERO).await, 0);
        inbox.forget_unsettled();
        assert_eq!(inbox.listed(), [(wanted, Queue::Batch)]);
        let nudge = inbox.take(&[Queue::Batch]).unwrap();
        assert!(nudge.wants_result && nudge.receipt.is_none());
    }

    #[tokio::test]
    async fn nudges_kept_for_their_results_are_bounded() {
        let inbox = Inbox::default();
        for _ in 0..3 {
            for _ in 0..MAX_SETTLED {
                push(&inbox, Queue::Default, true);
            }
            inbox.settle_overdue(Duration::ZERO).await;
        }
        let (last, _) = push(&inbox, Queue::Default, true);
        inbox.settle_overdue(Duration::ZERO).await;
        assert_eq!(inbox.listed().len(), MAX_SETTLED);
        assert_eq!(inbox.listed().last(), Some(&(last, Queue::Default)));
    }

    #[tokio::test]
    async fn messages_of_a_lost_connection_are_forgotten() {
        let inbox = Inbox::default();
        push(&inbox, Queue::Default, true);
        inbox.forget_unsettled();
        assert!(inbox.take(&Queue::ALL).is_none());
    }
}
