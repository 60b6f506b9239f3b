//! What every use case works with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mnemosyne_documents::Extractor;
use mnemosyne_domain::ports::{
    BlobStore, Cache, Clock, EmbedderRegistry, JobQueue, KnowledgeStore, Mailer, ModelServers, Relational,
    SourceBucket,
};
use tokio::sync::{Notify, Semaphore};

use crate::audit::FloodGate;
use crate::basic::Remembered;
use crate::health::{Look, Told};
use crate::secrets::Keyring;

/// The installation's `SECRET_KEY`. Sessions, CSRF tokens and stored secrets depend on it.
#[derive(Clone)]
pub struct SecretKey(Arc<str>);

impl SecretKey {
    /// Takes the key as it is configured.
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    /// The key itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// The chosen backends.
#[derive(Clone)]
pub struct Backends {
    /// The knowledge graph.
    pub knowledge: Arc<dyn KnowledgeStore>,
    /// Users, tokens, jobs.
    pub relational: Arc<dyn Relational>,
    /// Files.
    pub blobs: Arc<dyn BlobStore>,
    /// The cache.
    pub cache: Arc<dyn Cache>,
    /// Nudges to workers.
    pub queue: Arc<dyn JobQueue>,
    /// The bucket that clients leave files in.
    pub bucket: Arc<dyn SourceBucket>,
    /// Embedding models.
    pub embedders: Arc<dyn EmbedderRegistry>,
    /// Servers of models, as those who register them try them out.
    pub model_servers: Arc<dyn ModelServers>,
    /// The reader of files.
    pub extractor: Arc<dyn Extractor>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How a search is done (seed §4, *Search & re-ranker*).
#[derive(Clone, Debug)]
pub struct SearchSettings {
    /// Candidates of the vector leg.
    pub vector_top_k: usize,
    /// Candidates of the full-text leg.
    pub fulltext_top_k: usize,
    /// Steps that the graph leg walks.
    pub graph_max_depth: u32,
    /// The constant of reciprocal rank fusion.
    pub rrf_k: f32,
    /// Results where the caller does not say how many.
    pub default_limit: usize,
    /// Weight of the vector leg, where the model is neural.
    pub weight_vector: f32,
    /// Weight of the vector leg, where the model is lexical: it repeats what full text knows, and worse.
    pub weight_lexical: f32,
    /// Weight of the full-text leg.
    pub weight_fulltext: f32,
    /// Weight of the graph leg.
    pub weight_graph: f32,
}

/// The bounds of ingest.
#[derive(Clone, Debug)]
pub struct IngestSettings {
    /// The largest file, in bytes.
    pub max_file_bytes: u64,
    /// Chunks that are embedded between two notes of progress.
    pub embed_step: usize,
    /// A job that was begun this often without coming to an end fails for good (it kills its worker, say).
    pub max_attempts: u32,
    /// How long a lease holds without a heartbeat. Contract §9: a lost run is taken over at most 15 s after its last
    /// heartbeat, so this and the workers' poll together stay below.
    pub lease: Duration,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Whether a new job runs at once, inside the request that asks for it.
    pub always_eager: bool,
    /// Whether this process can read the bucket that files are taken from; where it cannot, they are left to those who can.
    pub reads_bucket: bool,
}

/// Settings of the use cases.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// See [`SearchSettings`].
    pub search: SearchSettings,
    /// See [`IngestSettings`].
    pub ingest: IngestSettings,
    /// How far ahead a per-turn token's `exp` may lie.
    pub turn_token_max_lifetime: Duration,
    /// Days that the audit is kept.
    pub audit_days: u32,
}

/// Whoever floods the form for links by mail must not fill the memory.
const MAIL_REQUESTS: usize = 64;

/// The use cases, bound to their backends.
pub struct Services {
    pub(crate) knowledge: Arc<dyn KnowledgeStore>,
    pub(crate) relational: Arc<dyn Relational>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) cache: Arc<dyn Cache>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) bucket: Arc<dyn SourceBucket>,
    pub(crate) embedders: Arc<dyn EmbedderRegistry>,
    pub(crate) model_servers: Arc<dyn ModelServers>,
    pub(crate) extractor: Arc<dyn Extractor>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secret_key: SecretKey,
    pub(crate) keyring: Keyring,
    pub(crate) settings: ServiceSettings,
    /// `None`: there is no mail server.
    pub(crate) mailer: Option<Arc<dyn Mailer>>,
    /// Requests for links by mail that are worked on at once; more than these are dropped.
    pub(crate) mail_gate: Arc<Semaphore>,
    pub(crate) flood_gate: FloodGate,
    pub(crate) remembered: Remembered,
    /// What the log says of the dependencies.
    pub(crate) told: Told,
    pub(crate) look: Look,
    pub(crate) short_look: Look,
    /// Rung when a job was recorded that must be announced.
    pub(crate) outbox_bell: Notify,
    /// Password checks cost most of a second of one core each; more of them at once than cores only makes all late.
    pub(crate) password_gate: Semaphore,
}

impl Services {
    /// Binds the use cases to their backends. A [`SecretKey`] alone is a keyring, too.
    pub fn new(backends: Backends, keyring: impl Into<Keyring>, settings: ServiceSettings) -> Self {
        let keyring = keyring.into();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            knowledge: backends.knowledge,
            relational: backends.relational,
            blobs: backends.blobs,
            cache: backends.cache,
            queue: backends.queue,
            bucket: backends.bucket,
            embedders: backends.embedders,
            model_servers: backends.model_servers,
            extractor: backends.extractor,
            clock: backends.clock,
            secret_key: keyring.secret_key().clone(),
            remembered: Remembered::new(keyring.secret_key()),
            keyring,
            settings,
            mailer: None,
            mail_gate: Arc::new(Semaphore::new(MAIL_REQUESTS)),
            flood_gate: FloodGate::default(),
            told: Told::default(),
            look: Look::default(),
            short_look: Look::default(),
            outbox_bell: Notify::new(),
            password_gate: Semaphore::new(cores),
        }
    }

    /// The same with a mail server.
    pub fn with_mailer(mut self, mailer: Arc<dyn Mailer>) -> Self {
        self.mailer = Some(mailer);
        self
    }

    /// The settings in force.
    pub fn settings(&self) -> &ServiceSettings {
        &self.settings
    }

    /// The key that cookies and forms are signed with.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
