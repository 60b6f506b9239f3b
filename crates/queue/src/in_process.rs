//! Nudges inside one process. Other processes on the same data folder find jobs by polling.

use std::time::Duration;

use mnemosyne_domain::ports::JobQueue;
use mnemosyne_domain::{JobId, Queue, StoreResult};
use tokio::sync::Notify;

/// One bell for each queue. A bell that was rung while nobody waited rings for the next who waits.
#[derive(Debug, Default)]
pub struct InProcessQueue {
    default: Notify,
    embedding: Notify,
    batch: Notify,
}

impl InProcessQueue {
    fn bell(&self, queue: Queue) -> &Notify {
        match queue {
            Queue::Default => &self.default,
            Queue::Embedding => &self.embedding,
            Queue::Batch => &self.batch,
        }
    }
}

#[async_trait::async_trait]
impl JobQueue for InProcessQueue {
    async fn nudge(&self, queue: Queue, _job: &JobId) -> StoreResult<()> {
        self.bell(queue).notify_one();
        Ok(())
    }

    async fn wait(&self, queues: &[Queue], at_most: Duration) {
        let rung = async {
            let bells = queues.iter().map(|queue| Box::pin(self.bell(*queue).notified()));
            futures::future::select_all(bells).await;
        };
        if queues.is_empty() {
            tokio::time::sleep(at_most).await;
        } else {
            // Whether it rang or the time is over, the caller looks into the table.
            let _ = tokio::time::timeout(at_most, rung).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_nudge_between_two_waits_is_not_lost() {
        let queue = InProcessQueue::default();
        queue.nudge(Queue::Batch, &JobId::generate()).await.unwrap();
        let began = tokio::time::Instant::now();
        queue.wait(&Queue::ALL, LONG).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        queue.wait(&[Queue::Batch], Duration::from_secs(7)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(7), "a nudge rings once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_of_one_queue_sleeps_through_the_others() {
        let queue = InProcessQueue::default();
        queue.nudge(Queue::Batch, &JobId::generate()).await.unwrap();
        let began = tokio::time::Instant::now();
        queue.wait(&[Queue::Embedding], Duration::from_secs(3)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
