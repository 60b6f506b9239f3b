//! The broker that the tests talk to, and what they do to it.

use std::process::Command;
use std::time::{Duration, Instant};

use lapin::{Connection, ConnectionProperties};
use mnemosyne_domain::ports::{Announcement, Health, JobQueue, Nudge};
use mnemosyne_domain::{JobId, Queue};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, AmqpWorkerSettings, BrokerUrl, QueueType};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use url::Url;

const HOW: &str =
    "run it as: tests/services/run rabbitmq -- cargo test -p mnemosyne-queue --features services --test amqp";
/// Far beyond what any machine needs, so that what waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at something that is elsewhere.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Quiet = RwLockReadGuard<'static, ()>;
pub(crate) type Alone = RwLockWriteGuard<'static, ()>;

/// Tests that stop the whole broker have it for themselves.
static BROKER: RwLock<()> = RwLock::const_new(());

/// A broker that nobody stops.
pub(crate) async fn quiet() -> Quiet {
    BROKER.read().await
}

/// A broker that nobody else uses.
pub(crate) async fn alone() -> Alone {
    BROKER.write().await
}

/// A broker that hangs, as long as this lives: its connections stay open, and nobody answers.
pub(crate) struct Frozen(());

impl Frozen {
    /// Stops the processes of the broker where they are. Needs [`alone`].
    pub(crate) fn freeze(_alone: &Alone) -> Self {
        let frozen = Self(());
        Self::disturb("pause");
        frozen
    }

    fn disturb(action: &str) {
        let output = Command::new(variable("MNEMOSYNE_TEST_SERVICES"))
            .args(["rabbitmq", action])
            .output()
            .unwrap();
        assert!(output.status.success(), "{action}: {output:?}");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        Self::disturb("resume");
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; {HOW}"))
}

/// Runs `rabbitmqctl`; what it printed.
pub(crate) fn rabbitmqctl(arguments: &[&str]) -> String {
    // The variable is a command line; the arguments go behind it one by one.
    let line = format!("{} \"$@\"", variable("MNEMOSYNE_TEST_RABBITMQCTL"));
    let output = Command::new("sh")
        .args(["-c", &line, "sh"])
        .args(arguments)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "rabbitmqctl {arguments:?}: {shown}{complaint}"
    );
    shown
}

/// A virtual host that one test uses. It goes with the broker.
#[derive(Clone, Debug)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl VirtualHost {
    /// One that does not exist yet.
    pub(crate) fn named_only() -> Self {
        Self::named(&format!("test/{}", JobId::generate()))
    }

    fn named(name: &str) -> Self {
        let mut url = Url::parse(&variable("MNEMOSYNE_TEST_AMQP_URL")).unwrap();
        url.set_path(&format!("/{}", percent_encoded(name)));
        Self {
            name: name.to_owned(),
            url: url.to_string(),
        }
    }

    pub(crate) fn fresh() -> Self {
        let host = Self::named_only();
        host.make();
        host
    }

    pub(crate) fn make(&self) {
        rabbitmqctl(&["add_vhost", &self.name]);
        let url = Url::parse(&self.url).unwrap();
        let user = match url.username() {
            "" => "guest",
            user => user,
        };
        self.permit(user);
    }

    pub(crate) fn permit(&self, user: &str) {
        rabbitmqctl(&["set_permissions", "-p", &self.name, user, ".*", ".*", ".*"]);
    }

    /// The same virtual host as another user.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = Url::parse(&self.url).unwrap();
        let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5_672));
        let (user, password, name) = (
            percent_encoded(user),
            percent_encoded(password),
            percent_encoded(&self.name),
        );
        format!("amqp://{user}:{password}@{host}:{port}/{name}")
    }

    /// Settings of who only announces.
    pub(crate) fn producer(&self) -> AmqpSettings {
        AmqpSettings {
            url: BrokerUrl::parse(&self.url).unwrap(),
            queue_type: QueueType::Classic,
            software_version: "0.0.0-test".into(),
            worker: None,
            hold_unsettled: Duration::from_secs(60),
        }
    }

    /// Settings of a worker of all queues, two jobs at once.
    pub(crate) fn worker(&self) -> AmqpSettings {
        AmqpSettings {
            worker: Some(AmqpWorkerSettings {
                node: format!("celery@{}", self.name.replace('/', "-")),
                concurrency: 2,
                queues: Queue::ALL.to_vec(),
            }),
            ..self.producer()
        }
    }

    /// A connection beside the queue's.
    pub(crate) async fn connection(&self) -> Connection {
        Connection::connect(&self.url, ConnectionProperties::default())
            .await
            .unwrap()
    }

    /// Messages in a queue by their state: ready, and delivered but not let go of.
    pub(crate) fn counted(&self, queue: &str) -> (u64, u64) {
        self.listed(queue)
            .unwrap_or_else(|| panic!("there is no queue {queue}"))
    }

    /// The channels of all connections, as the broker counts them.
    pub(crate) fn channels(&self) -> usize {
        let listed = rabbitmqctl(&["list_channels", "--quiet", "--no-table-headers", "pid", "vhost"]);
        listed
            .lines()
            .filter(|line| line.split_whitespace().nth(1) == Some(&self.name))
            .count()
    }

    /// Whether there is a queue of this name.
    pub(crate) fn has(&self, queue: &str) -> bool {
        self.listed(queue).is_some()
    }

    fn listed(&self, queue: &str) -> Option<(u64, u64)> {
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        let mut arguments = vec!["list_queues", "-p", &self.name, "--quiet", "--no-table-headers"];
        arguments.extend(columns);
        rabbitmqctl(&arguments).lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, ready, unsettled) = (fields.next()?, fields.next()?, fields.next()?);
            (name == queue).then(|| (ready.parse().unwrap(), unsettled.parse().unwrap()))
        })
    }
}

pub(crate) fn percent_encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub(crate) fn announcement(queue: Queue) -> Announcement {
    Announcement {
        job: JobId::generate(),
        queue,
    }
}

/// Announces a new job, again and again until the broker has it.
pub(crate) async fn announced(queue: &AmqpQueue, of: Queue) -> JobId {
    let announcement = announcement(of);
    let began = Instant::now();
    loop {
        let sent = queue.announce(std::slice::from_ref(&announcement)).await;
        if sent.as_ref().is_ok_and(|sent| sent.len() == 1) {
            return announcement.job;
        }
        assert!(began.elapsed() < PATIENCE, "never announced: {sent:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The nudge of this job, at last. Others that come before it are settled.
pub(crate) async fn heard(queue: &AmqpQueue, job: &JobId) -> Nudge {
    loop {
        let nudge = queue.next(&Queue::ALL, PATIENCE).await.expect("a nudge in time");
        if nudge.job.as_ref() == Some(job) {
            return nudge;
        }
        settle(nudge).await;
    }
}

pub(crate) async fn settle(nudge: Nudge) {
    if let Some(receipt) = nudge.receipt {
        receipt.settle().await;
    }
}

/// Waits until the queue is connected.
pub(crate) async fn ready(queue: &AmqpQueue) {
    let began = Instant::now();
    while let Err(error) = queue.check().await {
        assert!(began.elapsed() < PATIENCE, "never ready: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the queue is not connected; why.
pub(crate) async fn away(queue: &AmqpQueue) -> String {
    let began = Instant::now();
    loop {
        if let Err(error) = queue.check().await {
            return error.to_string();
        }
        assert!(began.elapsed() < PATIENCE, "never away");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Repeats until the condition holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
    }
}
