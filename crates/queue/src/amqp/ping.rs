use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use mnemosyne_domain::{StoreError, StoreResult};
use serde_json::{Map, Value, json};

use super::BrokerUrl;
use super::wire::{self, Keep};
use crate::celery::control;

/// The exchange that answers to a ping come over, as with Celery's own client.
const REPLIES: &str = "reply.celery.pidbox";

/// Asks a worker over the broker whether it is there, as `celery inspect ping -d NODE` does. An error says what is missing:
/// the broker, or an answer within this time.
pub async fn ping(url: &BrokerUrl, node: &str, patience: Duration) -> StoreResult<()> {
    match tokio::time::timeout(patience, ask(url, node)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) | Err(_) => Err(StoreError::Unavailable(format!("no answer from {node}"))),
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("RabbitMQ: {error}"))),
    }
}

/// Whether the node answered; never `false` before the connection ends.
async fn ask(url: &BrokerUrl, node: &str) -> lapin::Result<bool> {
    let connection = Connection::connect_uri(url.uri(), ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let none = FieldTable::default;
    let transient = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(REPLIES.into(), ExchangeKind::Direct, transient, none())
        .await?;
    channel
        .exchange_declare(control::EXCHANGE.into(), ExchangeKind::Fanout, transient, none())
        .await?;
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let key = uuid::Uuid::new_v4().to_string();
    let queue = channel
        .queue_declare("".into(), own, none())
        .await?
        .name()
        .clone();
    channel
        .queue_bind(
            queue.clone(),
            REPLIES.into(),
            key.as_str().into(),
            QueueBindOptions::default(),
            none(),
        )
        .await?;
    let alone = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut answers = channel.basic_consume(queue, "".into(), alone, none()).await?;
    let command = json!({
        "method": "ping",
        "arguments": {},
        "destination": [node],
        "pattern": null,
        "matcher": null,
        "ticket": key,
        "reply_to": {"exchange": REPLIES, "routing_key": key},
    });
    let envelope = wire::json(Map::new(), None, &command);
    let properties = wire::properties(&envelope, Keep::InMemory);
    channel
        .basic_publish(
            control::EXCHANGE.into(),
            "".into(),
            BasicPublishOptions::default(),
            &envelope.body,
            properties,
        )
        .await?;
    while let Some(answer) = answers.next().await {
        let answer: Value = serde_json::from_slice(&answer?.data).unwrap_or_default();
        if answer[node]["ok"] == "pong" {
            connection.close(200, "".into()).await?;
            return Ok(true);
        }
    }
    Ok(false)
}
