use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapin::Acker;
use lapin::options::BasicAckOptions;
use mnemosyne_domain::ports::{Nudge, Receipt};
use mnemosyne_domain::{JobId, Queue};
use tokio::sync::Notify;

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
    since: Instant,
    acker: Acker,
}

impl Inbox {
    pub(super) fn push(&self, queue: Queue, job: JobId, acker: Acker) {
        self.lock().push_back(Waiting {
            queue,
            job,
            since: Instant::now(),
            acker,
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
            receipt: Some(Box::new(taken.delivered())),
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
        let (overdue, kept): (VecDeque<_>, VecDeque<_>) =
            waiting.drain(..).partition(|nudge| nudge.since.elapsed() >= hold);
        *waiting = kept;
        overdue.into_iter().map(Waiting::delivered).collect()
    }

    /// Forgets the messages of a connection that is gone: the broker delivers them again.
    pub(super) fn forget(&self) {
        self.lock().clear();
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

impl Waiting {
    fn delivered(self) -> Delivered {
        Delivered {
            job: self.job,
            acker: self.acker,
        }
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

    fn push(inbox: &Inbox, queue: Queue) -> (JobId, Acker) {
        let job = JobId::generate();
        let acker = Delivery::mock(1, "".into(), "".into(), false, Vec::new()).acker;
        inbox.push(queue, job.clone(), acker.clone());
        (job, acker)
    }

    #[tokio::test]
    async fn what_nobody_took_is_let_go_of() {
        let inbox = Inbox::default();
        let (job, first) = push(&inbox, Queue::Default);
        let (_, second) = push(&inbox, Queue::Batch);
        assert_eq!(inbox.settle_overdue(Duration::from_secs(3_600)).await, 0);
        assert!(first.usable() && second.usable());
        let nudge = inbox.take(&[Queue::Default]).unwrap();
        assert_eq!(nudge.job, Some(job));
        assert_eq!(inbox.settle_overdue(Duration::ZERO).await, 1);
        assert!(first.usable() && !second.usable());
        assert_eq!(inbox.settle_overdue(Duration::ZERO).await, 0);
        assert_eq!(inbox.listed(), []);
    }

    #[tokio::test]
    async fn messages_of_a_lost_connection_are_forgotten() {
        let inbox = Inbox::default();
        push(&inbox, Queue::Default);
        inbox.forget();
        assert!(inbox.take(&Queue::ALL).is_none());
    }
}
