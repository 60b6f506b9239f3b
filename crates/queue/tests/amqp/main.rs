//! The queue on a real RabbitMQ: the conformance of every queue, faults of the broker, messages of others, Celery itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod broker;
mod celery;
mod faults;
mod messages;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::ports::{Announcement, Health, JobQueue, Nudge, TaskReport};
use mnemosyne_domain::{JobId, Queue, StoreResult};
use mnemosyne_queue::amqp::AmqpQueue;

use crate::broker::{Quiet, VirtualHost};

/// A queue on a virtual host of its own, on a broker that nobody stops meanwhile.
struct OnItsOwn {
    queue: AmqpQueue,
    _quiet: Quiet,
}

#[async_trait::async_trait]
impl Health for OnItsOwn {
    async fn check(&self) -> StoreResult<()> {
        self.queue.check().await
    }
}

#[async_trait::async_trait]
impl JobQueue for OnItsOwn {
    fn is_remote(&self) -> bool {
        self.queue.is_remote()
    }

    async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>> {
        self.queue.announce(jobs).await
    }

    async fn next(&self, queues: &[Queue], at_most: Duration) -> Option<Nudge> {
        self.queue.next(queues, at_most).await
    }

    fn report(&self, report: TaskReport) {
        self.queue.report(report);
    }
}

async fn on_rabbitmq() -> Arc<dyn JobQueue> {
    let quiet = broker::quiet().await;
    let queue = AmqpQueue::connect_lazy(VirtualHost::fresh().worker());
    Arc::new(OnItsOwn { queue, _quiet: quiet })
}

mnemosyne_testkit::queue_conformance!(crate::on_rabbitmq);
