//! The life of the connection.
//!
//! lapin can recover connections by itself. It is not used: it brings back what was declared and consumed before, which is
//! wrong after a queue was deleted or declared anew by others, it gives up after a number of attempts, and it may consume
//! before the prefetch stands. Here whatever breaks (the connection, a channel, a consumer) ends the session, and the next
//! one begins from nothing: connect, look after the queues, prefetch, consume. That is one way to be in, and the same one
//! for a broker that restarts, one that comes up late, a channel that it closes and a queue that is deleted.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use lapin::{Connection, ConnectionProperties, Event};
use mnemosyne_domain::{Refusal, StoreError};
use tokio_util::sync::CancellationToken;

use super::receive::Intake;
use super::speak::{Outbox, Voice};
use super::topology::{self, reply_code};
use super::uplink::Uplink;
use super::{Link, Shared, machine, mailbox};

/// The pause after a session that ended, doubled with each further one that did not last, up to the longest. Contract §9:
/// at most 5 s to a broker that is back; what is left of it is for connecting.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A session that lasted this long was a good one.
const LASTED: Duration = Duration::from_secs(10);
/// How long connecting and looking after the queues may take.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection that nobody answers on is waited for.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long saying goodbye may take, and closing.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);
/// How often a connection is looked at besides listening to it.
const LOOK: Duration = Duration::from_secs(1);

const ACCESS_REFUSED: u16 = 403;
/// What RabbitMQ says of a virtual host that is not there, or closed to the user.
const NOT_ALLOWED: u16 = 530;

/// Why a session ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    text: Arc<str>,
    /// What of the settings the broker does not accept, where it says so.
    refusal: Option<Refusal>,
}

impl Problem {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            refusal: None,
        }
    }

    fn refused(refusal: Refusal, text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            refusal: Some(refusal),
        }
    }

    /// The same to those who wanted the queue.
    pub(super) fn to_store_error(&self) -> StoreError {
        match self.refusal {
            Some(refusal) => StoreError::Refused(refusal, self.to_string()),
            None => StoreError::Unavailable(self.to_string()),
        }
    }
}

impl From<lapin::Error> for Problem {
    fn from(error: lapin::Error) -> Self {
        let text = error.to_string();
        match reply_code(&error) {
            Some(ACCESS_REFUSED) => Self::refused(Refusal::Permission, text),
            // A virtual host, or a user, that has as many connections as it may is not misconfigured.
            Some(NOT_ALLOWED) if !text.contains("limit") => Self::refused(Refusal::Place, text),
            _ => Self::new(text),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Keeps a connection until `stop`.
pub(super) async fn supervise(shared: Arc<Shared>, stop: CancellationToken, mut outbox: Outbox) {
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let began = Instant::now();
        let ended = session(&shared, &stop, &mut outbox).await;
        shared.inbox.forget();
        let problem = match ended {
            Ok(()) => break,
            Err(problem) => problem,
        };
        shared.link.send_replace(Link::Away(problem.clone()));
        if began.elapsed() >= LASTED {
            pause = FIRST_PAUSE;
            told = None;
        }
        // A broker that is away for an hour is one line, not a thousand.
        if told.as_ref() == Some(&problem) {
            tracing::debug!(%problem, "no connection to RabbitMQ");
        } else {
            tracing::warn!(broker = %shared.settings.url, %problem, "no connection to RabbitMQ; it is tried for ever");
            told = Some(problem);
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    shared
        .link
        .send_replace(Link::Away(Problem::new("the queue is closed")));
}

/// One connection, from its beginning to its end. An end without a problem is one that was asked for.
async fn session(shared: &Shared, stop: &CancellationToken, outbox: &mut Outbox) -> Result<(), Problem> {
    let Some(connection) = stop.run_until_cancelled(connect(shared)).await else {
        return Ok(());
    };
    let connection = connection?;
    let ended = work(shared, &connection, stop, outbox).await;
    shared
        .link
        .send_replace(Link::Away(Problem::new("the connection to RabbitMQ ended")));
    if connection.status().connected() {
        let closed = connection.close(200, "".into());
        if !matches!(tokio::time::timeout(GOODBYE_PATIENCE, closed).await, Ok(Ok(()))) {
            tracing::debug!("the connection to RabbitMQ could not be closed in order");
        }
    }
    ended
}

async fn connect(shared: &Shared) -> Result<Connection, Problem> {
    let name = match &shared.worker {
        Some(worker) => worker.node.name.clone(),
        None => format!("mnemosyne@{}", machine::host_name()),
    };
    let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
    let connecting = Connection::connect_uri(shared.settings.url.uri(), properties);
    match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if reply_code(&error) == Some(ACCESS_REFUSED) => Err(Problem::refused(
            Refusal::Login,
            format!(
                "RabbitMQ refused the login ({error}); if the user or the password holds special characters, they must be \
                 percent-encoded in the URL"
            ),
        )),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::new("RabbitMQ does not answer")),
    }
}

async fn work(
    shared: &Shared,
    connection: &Connection,
    stop: &CancellationToken,
    outbox: &mut Outbox,
) -> Result<(), Problem> {
    let broken = CancellationToken::new();
    let opening = open(shared, connection, broken.clone());
    let opened = tokio::time::timeout(OPEN_PATIENCE, opening);
    let Some(opened) = stop.run_until_cancelled(opened).await else {
        return Ok(());
    };
    let (uplink, worker_side) = opened.map_err(|_| Problem::new("RabbitMQ does not answer"))??;
    shared.link.send_replace(Link::Up(Arc::clone(&uplink)));
    tracing::info!(broker = %shared.settings.url, "connected to RabbitMQ");
    let Some((mut intake, voice)) = worker_side else {
        return tokio::select! {
            () = stop.cancelled() => Ok(()),
            problem = lost(connection, &uplink) => Err(problem),
            () = broken.cancelled() => Err(Problem::new("messages were not taken")),
        };
    };
    let Some(worker) = &shared.worker else {
        return Err(Problem::new("only a worker receives"));
    };
    tokio::select! {
        () = stop.cancelled() => {}
        problem = lost(connection, &uplink) => return Err(problem),
        () = broken.cancelled() => return Err(Problem::new("messages were not taken")),
        problem = intake.run(shared, worker, &uplink) => return Err(problem),
        error = voice.run(shared, worker, outbox) => return Err(error.into()),
        never = mailbox::serve(shared, worker, connection) => match never {},
    }
    let goodbye = voice.say_goodbye(shared, worker, outbox);
    if !matches!(tokio::time::timeout(GOODBYE_PATIENCE, goodbye).await, Ok(Ok(()))) {
        tracing::debug!("watchers could not be told that this worker ends");
    }
    Ok(())
}

/// Looks after the queues and opens the channels.
async fn open(
    shared: &Shared,
    connection: &Connection,
    broken: CancellationToken,
) -> lapin::Result<(Arc<Uplink>, Option<(Intake, Voice)>)> {
    let kind = shared.settings.queue_type;
    topology::declare_queues(connection, kind).await?;
    let origin = format!("mnemosyne@{}", machine::host_name());
    let uplink = Arc::new(Uplink::open(connection, origin, broken).await?);
    let Some(worker) = &shared.worker else {
        return Ok((uplink, None));
    };
    topology::declare_for_workers(connection, kind).await?;
    let voice = Voice::open(connection).await?;
    let intake = Intake::open(connection, worker).await?;
    Ok((uplink, Some((intake, voice))))
}

/// Ends when the connection does, or the channel for announcements, and says why.
async fn lost(connection: &Connection, uplink: &Uplink) -> Problem {
    let mut events = std::pin::pin!(connection.events_listener());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "RabbitMQ takes no messages for now");
                }
                Some(Event::ConnectionUnblocked) => tracing::info!("RabbitMQ takes messages again"),
                // An error may be one of a channel that others depend on, or one that an asker of remote control made.
                Some(_) => {}
                None => return Problem::new("the connection to RabbitMQ ended"),
            },
            // The end of a connection is no event.
            () = tokio::time::sleep(LOOK) => {
                if !connection.status().connected() || !uplink.is_open() {
                    return Problem::new("the connection to RabbitMQ ended");
                }
            }
        }
    }
}
