//! Remote control: kombu's mailbox.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{self, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use mnemosyne_domain::ports::CancelOutcome;
use serde_json::{Map, Value, json};

use super::topology::reply_code;
use super::wire::{self, Keep};
use super::{Shared, WorkerState, lock, machine};
use crate::celery::control::{self, Command, Effect, ReplyTo, RevokedTask, View};

/// The pause before the mailbox is opened again.
const PAUSE: Duration = Duration::from_secs(5);
/// Commands that may wait in this process.
const PREFETCH: u16 = 32;
/// Milliseconds after which an unread command is thrown away, and a mailbox without a reader: those of Celery 5.
const COMMAND_TTL: i32 = 300_000;
const MAILBOX_TTL: i32 = 10_000;

const RESOURCE_LOCKED: u16 = 405;

/// Answers for ever. It has channels of its own and opens them again by itself: whoever sends commands can close them (by
/// naming an exchange that is not there), and must not disturb the work.
pub(super) async fn serve(
    shared: &Shared,
    worker: &WorkerState,
    connection: &Connection,
) -> std::convert::Infallible {
    // Two workers of one name are one line in the log, not one every five seconds.
    let mut told = false;
    loop {
        match converse(shared, worker, connection).await {
            Err(error) if reply_code(&error) == Some(RESOURCE_LOCKED) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        node = worker.node.name,
                        "another connection reads the mailbox of this name: two workers must not share a name (after a \
                         broken connection this passes by itself)"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "remote control is interrupted"),
            Ok(()) => tracing::debug!("RabbitMQ ended remote control"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn converse(shared: &Shared, worker: &WorkerState, connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let (transient, no_arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
    channel
        .exchange_declare(
            control::EXCHANGE.into(),
            ExchangeKind::Fanout,
            transient,
            no_arguments,
        )
        .await?;
    let Some(queue) = wire::name(&control::queue_of(&worker.node.name)) else {
        tracing::error!(
            node = worker.node.name,
            "the name of this worker is too long; it cannot be controlled"
        );
        return std::future::pending().await;
    };
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(COMMAND_TTL));
    arguments.insert("x-expires".into(), AMQPValue::LongInt(MAILBOX_TTL));
    channel.queue_declare(queue.clone(), own, arguments).await?;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(
            queue.clone(),
            control::EXCHANGE.into(),
            "".into(),
            options,
            arguments,
        )
        .await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut commands = channel
        .basic_consume(queue, "".into(), options, arguments)
        .await?;
    let mut replies = Replies::default();
    // A command that takes its time must not hold up others.
    let mut answers = FuturesUnordered::new();
    loop {
        let delivery = tokio::select! {
            delivery = commands.next() => delivery,
            Some((command, answer)) = answers.next() => {
                reply(shared, worker, connection, &mut replies, &command, answer).await;
                continue;
            }
        };
        let Some(delivery) = delivery else {
            return Ok(());
        };
        let delivery = delivery?;
        delivery.acker.ack(BasicAckOptions::default()).await?;
        shared
            .clock
            .adjust(wire::number(&delivery.properties, "clock").unwrap_or(0));
        let Some(command) = Command::read(&delivery.data).filter(|command| command.is_for(&worker.node.name))
        else {
            continue;
        };
        let answer = obey(shared, worker, &command);
        answers.push(answer.map(|answer| (command, answer)));
    }
}

async fn reply(
    shared: &Shared,
    worker: &WorkerState,
    connection: &Connection,
    replies: &mut Replies,
    command: &Command,
    answer: Value,
) {
    if let Some(reply_to) = &command.reply_to
        && let Err(error) = replies
            .send(shared, worker, connection, reply_to, command, answer)
            .await
    {
        tracing::debug!(%error, method = command.method, "an answer could not be sent");
    }
}

/// Does at once what a command asks for. The answer comes when it is known what came of it.
fn obey(shared: &Shared, worker: &WorkerState, command: &Command) -> BoxFuture<'static, Value> {
    let (answer, effect) = {
        let activity = lock(&worker.activity);
        let tasks = lock(&worker.tasks);
        command.answer(&View {
            node: &worker.node,
            activity: &activity,
            tasks: &tasks,
            reserved: shared.inbox.listed(),
            prefetch: worker.node.concurrency,
            task_events: worker.sends_task_events.load(Ordering::Relaxed),
            clock: shared.clock.value(),
            usage: machine::usage(),
        })
    };
    match effect {
        Effect::None => {}
        Effect::Heartbeat => worker.heartbeat_wanted.notify_one(),
        Effect::TaskEvents { sent } => worker.sends_task_events.store(sent, Ordering::Relaxed),
        Effect::Revoke(tasks) => return revoke(worker, tasks).boxed(),
    }
    future::ready(answer).boxed()
}

/// Hands the jobs of these tasks to the worker at once. Tasks that were not received are remembered: a message and a
/// command take different ways, so that the one that was sent first may come last.
fn revoke(worker: &WorkerState, tasks: Vec<RevokedTask>) -> impl Future<Output = Value> + use<> {
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        if !task.received {
            lock(&worker.tasks).revoke(&task.name);
        }
        let outcome = match task.job.clone() {
            Some(job) => worker.cancel(job).boxed(),
            None => future::ready(CancelOutcome::NoJob).boxed(),
        };
        outcomes.push(outcome.map(|outcome| (task, outcome)));
    }
    future::join_all(outcomes).map(|outcomes| control::revoked(&outcomes))
}

/// The channel of answers, opened again after each mistake of an asker.
#[derive(Default)]
struct Replies {
    channel: Option<Channel>,
}

impl Replies {
    async fn send(
        &mut self,
        shared: &Shared,
        worker: &WorkerState,
        connection: &Connection,
        reply_to: &ReplyTo,
        command: &Command,
        answer: Value,
    ) -> lapin::Result<()> {
        let (Some(exchange), Some(routing_key)) =
            (wire::name(&reply_to.exchange), wire::name(&reply_to.routing_key))
        else {
            return Ok(());
        };
        let channel = match self.channel.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => connection.create_channel().await?,
        };
        let (transient, no_arguments) = (ExchangeDeclareOptions::default(), FieldTable::default());
        channel
            .exchange_declare(exchange.clone(), ExchangeKind::Direct, transient, no_arguments)
            .await?;
        let headers = Map::from_iter([
            ("ticket".to_owned(), json!(command.ticket)),
            ("clock".to_owned(), json!(shared.clock.forward())),
        ]);
        let body = Value::Object(Map::from_iter([(worker.node.name.clone(), answer)]));
        let envelope = wire::json(headers, None, &body);
        let properties = wire::properties(&envelope, Keep::InMemory);
        channel
            .basic_publish(
                exchange,
                routing_key,
                BasicPublishOptions::default(),
                &envelope.body,
                properties,
            )
            .await?;
        self.channel = Some(channel);
        Ok(())
    }
}
