//! Queues and exchanges, as kombu declares them.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ErrorKind, ExchangeKind};
use mnemosyne_domain::Queue;

use super::QueueType;
use crate::celery::event;

/// The queue of messages that cannot be run.
pub(super) const DEAD_LETTERS: &str = "mnemosyne.dead";

const NOT_FOUND: u16 = 404;

/// The broker's own number for an error, where it sent one.
pub(super) fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Makes sure of the queues of jobs: each durable, bound to a durable direct exchange of its own name. What exists is
/// taken as it is, whatever its kind.
pub(super) async fn declare_queues(connection: &Connection, kind: QueueType) -> lapin::Result<()> {
    for queue in Queue::ALL {
        let name = queue.as_str();
        declare_exchange(connection, name, ExchangeKind::Direct).await?;
        declare_queue(connection, name, kind).await?;
        let channel = connection.create_channel().await?;
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(name.into(), name.into(), name.into(), options, arguments)
            .await?;
        channel.close(200, "".into()).await?;
    }
    Ok(())
}

/// Makes sure of what a worker needs besides.
pub(super) async fn declare_for_workers(connection: &Connection, kind: QueueType) -> lapin::Result<()> {
    declare_queue(connection, DEAD_LETTERS, kind).await?;
    declare_exchange(connection, event::EXCHANGE, ExchangeKind::Topic).await
}

/// A declaration that differs from what exists is an error that closes its channel. So each name is only looked for at
/// first, on a channel of its own, and declared where it is missing.
async fn declare_queue(connection: &Connection, name: &str, kind: QueueType) -> lapin::Result<()> {
    let look = connection.create_channel().await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match look
        .queue_declare(name.into(), passive, FieldTable::default())
        .await
    {
        Ok(_) => return look.close(200, "".into()).await,
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => {}
        Err(error) => return Err(error),
    }
    let create = connection.create_channel().await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    create
        .queue_declare(name.into(), durable, kind.arguments())
        .await?;
    create.close(200, "".into()).await
}

async fn declare_exchange(connection: &Connection, name: &str, kind: ExchangeKind) -> lapin::Result<()> {
    let look = connection.create_channel().await?;
    let passive = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    match look
        .exchange_declare(name.into(), kind.clone(), passive, FieldTable::default())
        .await
    {
        Ok(()) => return look.close(200, "".into()).await,
        Err(error) if reply_code(&error) == Some(NOT_FOUND) => {}
        Err(error) => return Err(error),
    }
    let create = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    create
        .exchange_declare(name.into(), kind, durable, FieldTable::default())
        .await?;
    create.close(200, "".into()).await
}

impl QueueType {
    fn arguments(self) -> FieldTable {
        let mut arguments = FieldTable::default();
        match self {
            // No argument at all, so that a Celery client that declares the queue in its own way agrees.
            Self::Classic => {}
            Self::Quorum => {
                arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            }
        }
        arguments
    }
}
