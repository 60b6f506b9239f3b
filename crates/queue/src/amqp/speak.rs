//! What a worker says without being asked: events, signs of life, results.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{Channel, Connection};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::wire::{self, Keep};
use super::{Shared, WorkerState, lock, machine};
use crate::celery::event::{self, Event, HEARTBEAT_SECONDS, Load, WorkerEvent};
use crate::celery::message::Asker;

/// The result of a task, for the one who asked.
#[derive(Clone, Debug)]
pub(super) struct ResultMessage {
    pub(super) asker: Asker,
    pub(super) body: Value,
}

/// What waits to be said, over the end of a connection.
pub(super) struct Outbox {
    events: mpsc::Receiver<Event>,
    results: mpsc::Receiver<ResultMessage>,
    /// The result whose sending may have failed. A result that comes twice is harmless, one that is lost is not.
    unsent: Option<ResultMessage>,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Receiver<Event>, results: mpsc::Receiver<ResultMessage>) -> Self {
        Self {
            events,
            results,
            unsent: None,
        }
    }
}

/// The voice of a worker on one connection.
pub(super) struct Voice {
    channel: Channel,
}

impl Voice {
    pub(super) async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        Ok(Self { channel })
    }

    /// Speaks until the connection fails; returns why.
    pub(super) async fn run(
        &self,
        shared: &Shared,
        worker: &WorkerState,
        outbox: &mut Outbox,
    ) -> lapin::Error {
        match self.speak(shared, worker, outbox).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn speak(
        &self,
        shared: &Shared,
        worker: &WorkerState,
        outbox: &mut Outbox,
    ) -> lapin::Result<std::convert::Infallible> {
        self.worker_event(shared, worker, WorkerEvent::Online).await?;
        let mut beat = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECONDS));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.send_unsent(outbox).await?;
            tokio::select! {
                biased;
                Some(result) = outbox.results.recv() => outbox.unsent = Some(result),
                Some(event) = outbox.events.recv() => self.event(worker, &event).await?,
                _ = beat.tick() => self.worker_event(shared, worker, WorkerEvent::Heartbeat).await?,
                () = worker.heartbeat_wanted.notified() => {
                    self.worker_event(shared, worker, WorkerEvent::Heartbeat).await?;
                }
            }
        }
    }

    /// Says what still waits, and goodbye.
    pub(super) async fn say_goodbye(
        &self,
        shared: &Shared,
        worker: &WorkerState,
        outbox: &mut Outbox,
    ) -> lapin::Result<()> {
        self.send_unsent(outbox).await?;
        while let Ok(result) = outbox.results.try_recv() {
            outbox.unsent = Some(result);
            self.send_unsent(outbox).await?;
        }
        while let Ok(event) = outbox.events.try_recv() {
            self.event(worker, &event).await?;
        }
        self.worker_event(shared, worker, WorkerEvent::Offline).await
    }

    async fn send_unsent(&self, outbox: &mut Outbox) -> lapin::Result<()> {
        if let Some(result) = &outbox.unsent {
            self.result(result).await?;
            outbox.unsent = None;
        }
        Ok(())
    }

    async fn worker_event(
        &self,
        shared: &Shared,
        worker: &WorkerState,
        what: WorkerEvent,
    ) -> lapin::Result<()> {
        let (active, processed) = {
            let activity = lock(&worker.activity);
            (activity.active().len(), activity.processed())
        };
        let load = Load {
            active,
            processed,
            loadavg: machine::loadavg(),
        };
        let event = event::worker(&worker.node, what, load, shared.moment());
        self.event(worker, &event).await
    }

    async fn event(&self, worker: &WorkerState, event: &Event) -> lapin::Result<()> {
        let headers = Map::from_iter([("hostname".to_owned(), json!(worker.node.name))]);
        let envelope = wire::json(headers, None, &event.body);
        self.publish(event::EXCHANGE, &event.routing_key, &envelope).await
    }

    /// Sends a result over the nameless exchange to the queue that was named with the task. Where that is gone, nobody
    /// waits any more, and the broker throws the message away.
    async fn result(&self, message: &ResultMessage) -> lapin::Result<()> {
        let envelope = wire::json(Map::new(), Some(message.asker.task_id.clone()), &message.body);
        self.publish("", &message.asker.queue, &envelope).await
    }

    async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        envelope: &crate::celery::message::Envelope,
    ) -> lapin::Result<()> {
        let Some(routing_key) = wire::name(routing_key) else {
            return Ok(());
        };
        let properties = wire::properties(envelope, Keep::InMemory);
        self.channel
            .basic_publish(
                exchange.into(),
                routing_key,
                BasicPublishOptions::default(),
                &envelope.body,
                properties,
            )
            .await?;
        Ok(())
    }
}
