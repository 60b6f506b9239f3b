//! What every queue of nudges promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{Announcement, JobQueue, Nudge};
use mnemosyne_domain::{JobId, Queue};

type Fresh = Arc<dyn JobQueue>;

/// Far beyond what any machine needs, so that a rule that waits for it has failed.
const FOR_EVER: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(30);

/// Announces a new job and returns its id.
async fn announce(queue: &dyn JobQueue, of: Queue) -> JobId {
    let job = JobId::generate();
    let announcement = Announcement {
        job: job.clone(),
        queue: of,
    };
    let sent = queue.announce(&[announcement]).await.unwrap();
    assert_eq!(sent, std::slice::from_ref(&job));
    job
}

/// The nudge that comes at last, settled; it names the job, or none.
async fn heard(next: impl Future<Output = Option<Nudge>>, job: &JobId) {
    let nudge = tokio::time::timeout(Duration::from_secs(60), next)
        .await
        .expect("a nudge is heard")
        .expect("a nudge and not the end of the time");
    assert!(nudge.job.is_none_or(|named| named == *job));
    if let Some(receipt) = nudge.receipt {
        receipt.settle().await;
    }
}

/// A nudge wakes who waits, for any of the queues waited for.
pub async fn a_nudge_wakes_who_waits(queue: Fresh) {
    for of in Queue::ALL {
        let waiting = Arc::clone(&queue);
        let waiter = tokio::spawn(async move { waiting.next(&Queue::ALL, FOR_EVER).await });
        tokio::task::yield_now().await;
        let job = announce(queue.as_ref(), of).await;
        heard(async { waiter.await.unwrap() }, &job).await;
    }
}

/// A nudge that came while nobody waited is heard by the next wait.
pub async fn a_nudge_between_two_waits_is_not_lost(queue: Fresh) {
    let job = announce(queue.as_ref(), Queue::Batch).await;
    assert!(queue.next(&[Queue::Embedding], SHORT).await.is_none());
    heard(queue.next(&[Queue::Batch, Queue::Default], FOR_EVER), &job).await;
}

/// A nudge that comes while a wait is given up is heard by the next.
pub async fn a_nudge_to_a_wait_given_up_is_not_lost(queue: Fresh) {
    for _ in 0..50 {
        let (waiting, nudging) = (Arc::clone(&queue), Arc::clone(&queue));
        let given_up = tokio::spawn(async move { waiting.next(&Queue::ALL, FOR_EVER).await });
        let nudged = tokio::spawn(async move { announce(nudging.as_ref(), Queue::Default).await });
        given_up.abort();
        let job = nudged.await.unwrap();
        match given_up.await {
            Ok(nudge) => heard(async { nudge }, &job).await,
            Err(_) => heard(queue.next(&Queue::ALL, FOR_EVER), &job).await,
        }
    }
}

/// Without a nudge a wait ends when its time is over, not before; nudges of other queues do not end it.
pub async fn a_wait_ends_when_its_time_is_over(queue: Fresh) {
    announce(queue.as_ref(), Queue::Batch).await;
    let begun = Instant::now();
    assert!(queue.next(&[Queue::Embedding], SHORT).await.is_none());
    assert!(begun.elapsed() >= SHORT);
    assert!(queue.next(&[], SHORT).await.is_none());
    assert!(begun.elapsed() >= 2 * SHORT);
}

/// Runs the suite over a backend: a function that makes an empty queue, `async fn() -> Arc<dyn JobQueue>`.
#[macro_export]
macro_rules! queue_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            queue,
            $make,
            [
                a_nudge_wakes_who_waits,
                a_nudge_between_two_waits_is_not_lost,
                a_nudge_to_a_wait_given_up_is_not_lost,
                a_wait_ends_when_its_time_is_over,
            ]
        );
    };
}
