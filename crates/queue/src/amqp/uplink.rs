use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lapin::message::Delivery;
use lapin::options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection, ConnectionStatus};
use mnemosyne_domain::ports::Announcement;
use mnemosyne_domain::{JobId, StoreError, StoreResult};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::lock;
use super::topology::DEAD_LETTERS;
use super::wire::{self, Keep};
use crate::celery::message::{self, Envelope, Poison};

/// How long the broker may take to confirm what it was sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the broker for messages that must not be lost.
pub(super) struct Uplink {
    /// In confirm mode.
    channel: Channel,
    /// For questions that only ask whether there is an answer.
    probe: Channel,
    /// The question that was asked last.
    asked: Mutex<Option<RoundTrip>>,
    connection: ConnectionStatus,
    origin: String,
    /// Cancelled when the connection must be made anew.
    broken: CancellationToken,
}

/// A question to the broker and its answer. It goes on where it stood for the next who waits for it, so that however many
/// ask and give up, one question is under way.
type RoundTrip = Shared<BoxFuture<'static, Result<(), String>>>;

impl Uplink {
    pub(super) async fn open(
        connection: &Connection,
        origin: String,
        broken: CancellationToken,
    ) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self {
            channel,
            probe: connection.create_channel().await?,
            asked: Mutex::default(),
            connection: connection.status().clone(),
            origin,
            broken,
        })
    }

    /// Whether announcements can be sent.
    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected() && self.probe.status().connected()
    }

    /// Whether announcements can be sent and the broker answers. Waits for that as long as it takes.
    pub(super) async fn check(&self) -> StoreResult<()> {
        self.known_state()?;
        let (answer, was_under_way) = self.ask();
        let mut answer = answer.await;
        // That one may have been answered long ago, when nobody waited any more.
        if was_under_way && answer.is_ok() {
            answer = self.ask().0.await;
        }
        answer.map_err(|error| StoreError::Unavailable(format!("RabbitMQ: {error}")))
    }

    /// A question to the broker, and whether it had been asked before.
    fn ask(&self) -> (RoundTrip, bool) {
        let mut asked = lock(&self.asked);
        if let Some(under_way) = asked.as_ref().filter(|question| question.peek().is_none()) {
            return (under_way.clone(), true);
        }
        let probe = self.probe.clone();
        // Nothing is consumed on this channel, so that its prefetch is nothing but something to be confirmed.
        let question = async move {
            let confirmed = probe.basic_qos(1, BasicQosOptions::default()).await;
            confirmed.map_err(|error| error.to_string())
        };
        let question = question.boxed().shared();
        *asked = Some(question.clone());
        (question, false)
    }

    /// What is known of the connection without asking.
    fn known_state(&self) -> StoreResult<()> {
        if !self.connection.connected() || !self.is_open() {
            return Err(StoreError::Unavailable("the connection to RabbitMQ broke".into()));
        }
        if self.connection.blocked() {
            let text = "RabbitMQ takes no messages: it has an alarm (memory or disk)";
            return Err(StoreError::Unavailable(text.into()));
        }
        Ok(())
    }

    /// Sends a message for each job and returns those that a queue has for certain.
    pub(super) async fn announce(&self, jobs: &[Announcement]) -> StoreResult<Vec<JobId>> {
        self.known_state()?;
        let mut sent = Vec::with_capacity(jobs.len());
        let problem = match tokio::time::timeout(PATIENCE, self.announce_all(jobs, &mut sent)).await {
            Ok(Ok(())) => return Ok(sent),
            Ok(Err(problem)) => problem,
            Err(_) => "it did not confirm in time".into(),
        };
        // A new connection looks after the queues again.
        self.broken.cancel();
        if sent.is_empty() {
            return Err(StoreError::Unavailable(format!(
                "RabbitMQ did not take messages: {problem}"
            )));
        }
        tracing::warn!(
            problem,
            sent = sent.len(),
            of = jobs.len(),
            "RabbitMQ did not take every message"
        );
        Ok(sent)
    }

    /// All are written before the first confirmation is waited for.
    async fn announce_all(&self, jobs: &[Announcement], sent: &mut Vec<JobId>) -> Result<(), String> {
        let mut confirmations = Vec::with_capacity(jobs.len());
        for announcement in jobs {
            let envelope = message::announce(&announcement.job, &self.origin);
            // As Celery does: through the nameless exchange, which knows every queue by its name.
            let confirmation = self.publish(announcement.queue.as_str(), &envelope).await;
            confirmations.push((announcement, confirmation.map_err(|error| error.to_string())?));
        }
        let mut problem = Ok(());
        for (announcement, confirmation) in confirmations {
            match confirmation.await.map_err(|error| error.to_string())? {
                Confirmation::Ack(None) => sent.push(announcement.job.clone()),
                Confirmation::Ack(Some(_)) => {
                    problem = Err(format!("there is no queue {}", announcement.queue.as_str()))
                }
                Confirmation::Nack(_) => problem = Err("it refused some".into()),
                Confirmation::NotRequested => problem = Err("it confirms nothing".into()),
            }
        }
        problem
    }

    async fn publish(&self, queue: &str, envelope: &Envelope) -> lapin::Result<lapin::PublisherConfirm> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = wire::properties(envelope, Keep::OnDisk);
        self.channel
            .basic_publish("".into(), queue.into(), options, &envelope.body, properties)
            .await
    }

    /// Puts a message that cannot be run aside, with the reason. Returns whether the broker has it for certain.
    pub(super) async fn park(
        &self,
        delivery: &Delivery,
        mut envelope: Envelope,
        poison: &Poison,
    ) -> Result<(), String> {
        let queue = delivery.routing_key.as_str();
        let headers = &mut envelope.headers;
        headers.insert("x-mnemosyne-reason".into(), json!(poison.reason.as_str()));
        headers.insert("x-mnemosyne-detail".into(), json!(poison.detail));
        headers.insert("x-mnemosyne-queue".into(), json!(queue));
        // A message of the first version carries these in its body.
        for (field, value) in [
            ("task", poison.task.as_deref()),
            ("id", poison.asker.as_ref().map(|asker| asker.task_id.as_str())),
        ] {
            if let Some(value) = value {
                headers.entry(field).or_insert_with(|| json!(value));
            }
        }
        let parked = async {
            let confirmation = self.publish(DEAD_LETTERS, &envelope).await?;
            confirmation.await
        };
        match tokio::time::timeout(PATIENCE, parked).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(_)) => Err(format!("RabbitMQ did not take a message into {DEAD_LETTERS}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("RabbitMQ did not confirm a parked message in time".into()),
        }
    }
}
