//! What every queue of nudges promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::JobQueue;
use mnemosyne_domain::{JobId, Queue};

type Fresh = Arc<dyn JobQueue>;

/// Far beyond what any machine needs, so that a rule that waits for it has failed.
const FOR_EVER: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(30);

async fn nudge(queue: &dyn JobQueue, of: Queue) {
    queue.nudge(of, &JobId::generate()).await.unwrap();
}

async fn in_time(wait: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("a nudge is heard");
}

/// A nudge wakes who waits, for any of the queues waited for.
pub async fn a_nudge_wakes_who_waits(queue: Fresh) {
    for of in Queue::ALL {
        let waiting = Arc::clone(&queue);
        let waiter = tokio::spawn(async move { waiting.wait(&Queue::ALL, FOR_EVER).await });
        tokio::task::yield_now().await;
        nudge(queue.as_ref(), of).await;
        in_time(async { waiter.await.unwrap() }).await;
    }
}

/// A nudge that came while nobody waited is heard by the next wait.
pub async fn a_nudge_between_two_waits_is_not_lost(queue: Fresh) {
    nudge(queue.as_ref(), Queue::Batch).await;
    queue.wait(&[Queue::Embedding], SHORT).await;
    in_time(queue.wait(&[Queue::Batch, Queue::Default], FOR_EVER)).await;
}

/// A nudge that comes while a wait is given up is heard by the next.
pub async fn a_nudge_to_a_wait_given_up_is_not_lost(queue: Fresh) {
    for _ in 0..50 {
        let (waiting, nudging) = (Arc::clone(&queue), Arc::clone(&queue));
        let given_up = tokio::spawn(async move { waiting.wait(&Queue::ALL, FOR_EVER).await });
        let nudged = tokio::spawn(async move { nudge(nudging.as_ref(), Queue::Default).await });
        given_up.abort();
        nudged.await.unwrap();
        if given_up.await.is_err() {
            in_time(queue.wait(&Queue::ALL, FOR_EVER)).await;
        }
    }
}

/// Without a nudge a wait ends when its time is over, not before; nudges of other queues do not end it.
pub async fn a_wait_ends_when_its_time_is_over(queue: Fresh) {
    nudge(queue.as_ref(), Queue::Batch).await;
    let begun = Instant::now();
    in_time(queue.wait(&[Queue::Embedding], SHORT)).await;
    assert!(begun.elapsed() >= SHORT);
    in_time(queue.wait(&[], SHORT)).await;
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
