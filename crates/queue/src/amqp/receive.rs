//! The messages of the queues that a worker reads.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use mnemosyne_domain::Queue;
use tokio::time::MissedTickBehavior;

use super::session::Problem;
use super::speak::ResultMessage;
use super::uplink::Uplink;
use super::wire;
use super::{Shared, WorkerState, lock};
use crate::celery::message;
use crate::celery::result;

/// How often messages that wait too long are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// The consumers of one connection. Its channel lives as long as it does.
pub(super) struct Intake {
    deliveries: stream::SelectAll<BoxStream<'static, Arrival>>,
    _channel: Channel,
}

/// A delivery of a queue, or the end of its consumer.
type Arrival = (Queue, Option<lapin::Result<Delivery>>);

impl Intake {
    pub(super) async fn open(connection: &Connection, worker: &WorkerState) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        // For each consumer, not for the channel: quorum queues know no limit for a channel. It must stand before the
        // first consumer, or the broker sends all it has.
        channel
            .basic_qos(worker.node.concurrency, BasicQosOptions::default())
            .await?;
        let mut deliveries = stream::SelectAll::new();
        for queue in &worker.node.queues {
            let queue = *queue;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel
                .basic_consume(queue.as_str().into(), "".into(), options, arguments)
                .await?;
            let arrivals = consumer
                .map(move |delivery| (queue, Some(delivery)))
                .chain(stream::once(async move { (queue, None) }));
            deliveries.push(arrivals.boxed());
        }
        Ok(Self {
            deliveries,
            _channel: channel,
        })
    }

    /// Receives until the connection must be made anew; returns why.
    pub(super) async fn run(&mut self, shared: &Shared, worker: &WorkerState, uplink: &Uplink) -> Problem {
        let hold = shared.settings.hold_unsettled;
        let mut sweep = tokio::time::interval(SWEEP.min(hold).max(Duration::from_millis(1)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrival = self.deliveries.next() => match arrival {
                    Some((queue, Some(Ok(delivery)))) => {
                        if let Err(problem) = take(shared, worker, uplink, queue, delivery).await {
                            return problem;
                        }
                    }
                    Some((_, Some(Err(error)))) => return error.into(),
                    Some((queue, None)) => {
                        let text = format!("RabbitMQ ended the consumer of {}; the queue is gone", queue.as_str());
                        return Problem::new(text);
                    }
                    // A worker without queues.
                    None => std::future::pending().await,
                },
                _ = sweep.tick() => {
                    let settled = shared.inbox.settle_overdue(hold).await;
                    if settled > 0 {
                        tracing::debug!(settled, "messages were let go of while every slot is busy");
                    }
                }
            }
        }
    }
}

async fn take(
    shared: &Shared,
    worker: &WorkerState,
    uplink: &Uplink,
    queue: Queue,
    mut delivery: Delivery,
) -> Result<(), Problem> {
    let envelope = wire::envelope(&mut delivery);
    let poison = match message::read(&envelope) {
        Ok(call) => {
            if let Some(asker) = call.asker {
                lock(&worker.askers).add(&call.job, asker);
            }
            let revoked = call
                .task_id
                .is_some_and(|task| lock(&worker.tasks).received(&task, &call.job));
            if !revoked {
                shared.inbox.push(queue, call.job, delivery.acker);
                return Ok(());
            }
            // Whoever waits for the result hears from the row what came of it.
            drop(worker.cancel(call.job));
            delivery.acker.ack(BasicAckOptions::default()).await?;
            return Ok(());
        }
        Err(poison) => poison,
    };
    tracing::warn!(queue = queue.as_str(), task = poison.task, reason = %poison, "a message cannot be run and is parked");
    uplink
        .park(&delivery, envelope, &poison)
        .await
        .map_err(Problem::new)?;
    delivery.acker.ack(BasicAckOptions::default()).await?;
    for asker in poison.asker.iter().chain(&poison.followers).cloned() {
        let body = result::of_poison(&poison, &asker.task_id);
        worker.send_result(ResultMessage { asker, body });
    }
    Ok(())
}
