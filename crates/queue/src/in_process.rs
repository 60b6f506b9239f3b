//! Nudges inside one process. Other processes on the same data folder find jobs by polling.

use std::time::Duration;

use mnemosyne_domain::ports::{Announcement, Health, JobQueue, Nudge, TaskReport};
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
impl Health for InProcessQueue {
    async fn check(&self) -> StoreResult<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl JobQueue for InProcessQueue {
    fn is_remote(&self) -> bool {
        false
    }

    async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>> {
        for announcement in jobs {
            self.bell(announcement.queue).notify_one();
        }
        Ok(jobs.iter().map(|announcement| announcement.job.clone()).collect())
    }

    async fn next(&self, queues: &[Queue], at_most: Duration) -> Option<Nudge> {
        let rung = async {
            let bells = queues.iter().map(|queue| Box::pin(self.bell(*queue).notified()));
            futures::future::select_all(bells).await;
        };
        if queues.is_empty() {
            tokio::time::sleep(at_most).await;
            return None;
        }
        tokio::time::timeout(at_most, rung).await.ok()?;
        Some(Nudge {
            job: None,
            receipt: None,
        })
    }

    fn report(&self, _report: TaskReport) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    async fn announce(queue: &InProcessQueue, of: Queue) {
        let announcement = Announcement {
            job: JobId::generate(),
            queue: of,
        };
        queue.announce(&[announcement]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_between_two_waits_is_not_lost() {
        let queue = InProcessQueue::default();
        announce(&queue, Queue::Batch).await;
        let began = tokio::time::Instant::now();
        assert!(queue.next(&Queue::ALL, LONG).await.is_some());
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(
            queue
                .next(&[Queue::Batch], Duration::from_secs(7))
                .await
                .is_none()
        );
        assert_eq!(began.elapsed(), Duration::from_secs(7), "a nudge rings once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_of_one_queue_sleeps_through_the_others() {
        let queue = InProcessQueue::default();
        announce(&queue, Queue::Batch).await;
        let began = tokio::time::Instant::now();
        assert!(
            queue
                .next(&[Queue::Embedding], Duration::from_secs(3))
                .await
                .is_none()
        );
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }
}
