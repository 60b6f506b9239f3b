//! Chooses the backends and builds the use cases over them.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_blobs::folder::FolderBucket;
use mnemosyne_blobs::s3::{S3Blobs, S3Bucket, S3Settings, UploadSettings};
use mnemosyne_cache::memcached::MemcachedCache;
use mnemosyne_cache::memory::MemoryCache;
use mnemosyne_config::{Config, EmailEncryption, EmbeddingDialect, QueueKind, S3Section};
use mnemosyne_crypto::fernet;
use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{
    BlobStore, Cache, EmbedderRegistry, ForeignTables, Mailer, Relational, SourceBucket, SystemClock,
};
use mnemosyne_graph::embedded::EmbeddedStore;
use mnemosyne_graph::neo4j::{Neo4jSettings, Neo4jStore};
use mnemosyne_http::{Outbound, OutboundSettings};
use mnemosyne_inference::{Clients, Dialect, ModelStore, OpenAiSettings, Registry, Servers};
use mnemosyne_mail::{Encryption, SmtpMailer, SmtpSettings};
use mnemosyne_queue::amqp::{AmqpQueue, AmqpSettings, AmqpWorkerSettings, BrokerUrl, QueueType};
use mnemosyne_queue::in_process::InProcessQueue;
use mnemosyne_sandbox::{Sandbox, SandboxSettings};
use mnemosyne_services::providers::RegisteredSource;
use mnemosyne_services::{
    Backends, IngestSettings, Keyring, SearchSettings, SecretKey, ServiceSettings, Services,
};
use mnemosyne_sql::postgres::{PostgresDatabase, PostgresSettings};
use mnemosyne_sql::sqlite::SqliteDatabase;

/// What a command or a role works with.
pub(crate) struct Context {
    pub(crate) services: Arc<Services>,
    pub(crate) config: Config,
    knowledge: Knowledge,
    relational: RelationalStore,
    queue: Option<Arc<AmqpQueue>>,
}

/// The knowledge store that was chosen.
#[derive(Clone)]
pub(crate) enum Knowledge {
    Embedded(Arc<EmbeddedStore>),
    Neo4j(Arc<Neo4jStore>),
}

/// The relational database that was chosen.
#[derive(Clone)]
enum RelationalStore {
    Sqlite(SqliteDatabase),
    Postgres(PostgresDatabase),
}

impl RelationalStore {
    fn port(&self) -> Arc<dyn Relational> {
        match self {
            Self::Sqlite(database) => Arc::new(database.clone()),
            Self::Postgres(database) => Arc::new(database.clone()),
        }
    }
}

impl Context {
    /// The knowledge store.
    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Brings the relational schema up to date. The embedded one is, whenever it is opened.
    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        match &self.relational {
            RelationalStore::Sqlite(_) => Ok(()),
            RelationalStore::Postgres(database) => database.migrate().await.context("PostgreSQL"),
        }
    }

    /// The tables of other programs in the relational database; `None` where it is ours alone.
    pub(crate) fn foreign_tables(&self) -> Option<&dyn ForeignTables> {
        match &self.relational {
            RelationalStore::Sqlite(_) => None,
            RelationalStore::Postgres(database) => Some(database),
        }
    }

    /// Makes the constraints and indexes of the knowledge store. The embedded one has them, whenever it is opened.
    pub(crate) async fn set_up_knowledge(&self) -> anyhow::Result<()> {
        match &self.knowledge {
            Knowledge::Embedded(_) => Ok(()),
            Knowledge::Neo4j(store) => store.setup().await.context("Neo4j"),
        }
    }

    /// Closes what is open, so that files need no recovery at the next start and servers see an end. Nothing is lost where
    /// this is not done, or not in time.
    pub(crate) async fn close(&self) {
        let closing = async {
            if let Some(queue) = &self.queue {
                queue.close().await;
            }
            if let Knowledge::Embedded(store) = &self.knowledge {
                store.close().await;
            }
            match &self.relational {
                RelationalStore::Sqlite(database) => database.close().await,
                RelationalStore::Postgres(database) => database.close().await,
            }
        };
        if tokio::time::timeout(CLOSE, closing).await.is_err() {
            tracing::warn!("the stores could not be closed in time; the next start reads their logs");
        }
    }
}

impl Knowledge {
    /// Brings the indexes in memory up to date, so that a search does not pay for what came in since the last one.
    pub(crate) async fn warm(&self) -> StoreResult<()> {
        match self {
            Self::Embedded(store) => store.warm().await,
            Self::Neo4j(_) => Ok(()),
        }
    }
}

/// How long a start waits for the database to say which model is the system's.
const SYSTEM_MODEL: Duration = Duration::from_secs(2);
/// How long closing the stores may take.
const CLOSE: Duration = Duration::from_secs(2);

/// Chunks that are embedded between two notes of progress.
const EMBED_STEP: usize = 32;
/// A job that was begun this often without coming to an end fails for good.
const MAX_ATTEMPTS: u32 = 5;
/// Together with a worker's poll below the 15 s after which a lost run must be taken over.
const LEASE: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a message may wait for a free slot before the worker lets go of it; see [`AmqpSettings`].
const HOLD_UNSETTLED: Duration = Duration::from_secs(60);
/// Connections to PostgreSQL besides those that jobs use.
const DATABASE_CONNECTIONS: u32 = 10;

/// Opens what the configuration chooses, makes what is missing in the data folder, and binds the use cases to it. Servers
/// are not asked whether they are there. `worker` is the name that a worker in this process has, if there is one.
pub(crate) async fn open(config: Config, worker: Option<&str>) -> anyhow::Result<Context> {
    let data = config.data.as_path();
    private_folder(data)?;
    let secret_key = match &config.secret_key {
        Some(secret) => SecretKey::new(secret.expose()),
        None => SecretKey::new(&stored_secret_key(&data.join("secret_key"))?),
    };
    let relational = relational(&config).await?;
    let clients =
        Clients::new(outbound_settings(&config)).context("the clients of outgoing calls cannot be made")?;
    let registered = RegisteredSource::new(relational.port(), keyring(&config, secret_key.clone())?);
    let registry = registry(&config, &clients)?.with_registered(Arc::new(registered), clients.clone());
    let embedders: Arc<dyn EmbedderRegistry> = Arc::new(registry);
    let knowledge = knowledge(&config, embedders.as_ref()).await?;
    let queue = broker(&config, worker)?;
    let backends = Backends {
        knowledge: match &knowledge {
            Knowledge::Embedded(store) => Arc::clone(store) as Arc<_>,
            Knowledge::Neo4j(store) => Arc::clone(store) as Arc<_>,
        },
        relational: relational.port(),
        blobs: blobs(&config).await?,
        cache: cache(&config)?,
        queue: match &queue {
            Some(queue) => Arc::clone(queue) as Arc<_>,
            None => Arc::new(InProcessQueue::default()) as Arc<_>,
        },
        bucket: bucket(&config)?,
        embedders,
        model_servers: Arc::new(Servers::new(clients)),
        extractor: Arc::new(sandbox(&config)?),
        clock: Arc::new(SystemClock),
    };
    let keyring = keyring(&config, secret_key)?;
    let mut services = Services::new(backends, keyring, settings(&config));
    if let Some(mailer) = mailer(&config)? {
        services = services.with_mailer(mailer);
    }
    let services = Arc::new(services);
    Ok(Context {
        services,
        config,
        knowledge,
        relational,
        queue,
    })
}

async fn knowledge(config: &Config, embedders: &dyn EmbedderRegistry) -> anyhow::Result<Knowledge> {
    let Some(url) = &config.servers.graph else {
        let data = config.data.as_path();
        let store = EmbeddedStore::open(data)
            .await
            .with_context(|| format!("the knowledge store in {} cannot be opened", data.display()))?;
        return Ok(Knowledge::Embedded(Arc::new(store)));
    };
    // A database that is away, or not migrated, does not hold the start up; `setup` has one.
    let system = tokio::time::timeout(SYSTEM_MODEL, embedders.system()).await;
    let settings = Neo4jSettings {
        system_space: system
            .ok()
            .and_then(Result::ok)
            .map(|embedder| embedder.model().space()),
        ..Neo4jSettings::from_url(url.expose()).context("NEOMODEL_NEO4J_BOLT_URL")?
    };
    let store = Neo4jStore::connect_lazy(settings).context("Neo4j")?;
    Ok(Knowledge::Neo4j(Arc::new(store)))
}

async fn relational(config: &Config) -> anyhow::Result<RelationalStore> {
    let Some(database) = &config.servers.database else {
        let data = config.data.as_path();
        let database = SqliteDatabase::open(&data.join("mnemosyne.db"))
            .await
            .with_context(|| format!("the database in {} cannot be opened", data.display()))?;
        return Ok(RelationalStore::Sqlite(database));
    };
    let concurrency = u32::try_from(config.worker.concurrency).unwrap_or(u32::MAX);
    Ok(RelationalStore::Postgres(PostgresDatabase::connect_lazy(
        &PostgresSettings {
            host: database.host.clone(),
            port: database.port,
            database: database.name.clone(),
            user: database.user.clone(),
            password: database.password.expose().to_owned(),
            connections: DATABASE_CONNECTIONS.saturating_add(concurrency),
        },
    )))
}

fn broker(config: &Config, worker: Option<&str>) -> anyhow::Result<Option<Arc<AmqpQueue>>> {
    let Some(url) = &config.servers.broker else {
        return Ok(None);
    };
    let url = BrokerUrl::parse(url.expose()).context("CELERY_BROKER_URL")?;
    let settings = AmqpSettings {
        url,
        queue_type: match config.servers.queue_kind {
            QueueKind::Classic => QueueType::Classic,
            QueueKind::Quorum => QueueType::Quorum,
        },
        software_version: env!("CARGO_PKG_VERSION").to_owned(),
        worker: worker.map(|node| AmqpWorkerSettings {
            node: node.to_owned(),
            concurrency: u16::try_from(config.worker.concurrency).unwrap_or(u16::MAX),
            queues: config.worker.queues.clone(),
        }),
        hold_unsettled: HOLD_UNSETTLED,
    };
    Ok(Some(Arc::new(AmqpQueue::connect_lazy(settings))))
}

async fn blobs(config: &Config) -> anyhow::Result<Arc<dyn BlobStore>> {
    let Some(storage) = &config.servers.storage else {
        let data = config.data.as_path();
        let files = FileBlobs::open(&data.join("blobs"))
            .await
            .with_context(|| format!("the files in {} cannot be opened", data.display()))?;
        return Ok(Arc::new(files));
    };
    let spool = UploadSettings::new(config.data.join("spool"));
    let blobs = S3Blobs::open(&s3(config, storage), spool)
        .await
        .context("AWS_S3_ENDPOINT_URL")?;
    Ok(Arc::new(blobs))
}

fn bucket(config: &Config) -> anyhow::Result<Arc<dyn SourceBucket>> {
    Ok(match &config.servers.daedalus {
        None => Arc::new(FolderBucket::new(config.files.daedalus_folder.clone())),
        Some(bucket) => Arc::new(S3Bucket::open(&s3(config, bucket)).context("DAEDALUS_S3_ENDPOINT_URL")?),
    })
}

fn s3(config: &Config, section: &S3Section) -> S3Settings {
    S3Settings {
        verify_tls: section.verify,
        ca_file: config.network.ca_file.clone(),
        ..S3Settings::new(
            &section.endpoint_url,
            &section.region,
            &section.bucket,
            &section.access_key_id,
            section.secret_access_key.expose(),
        )
    }
}

fn cache(config: &Config) -> anyhow::Result<Arc<dyn Cache>> {
    Ok(match &config.servers.memcached {
        None => Arc::new(MemoryCache::default()),
        Some(memcached) => {
            Arc::new(MemcachedCache::open(&memcached.location, &memcached.prefix).context("KVDB_LOCATION")?)
        }
    })
}

fn mailer(config: &Config) -> anyhow::Result<Option<Arc<dyn Mailer>>> {
    let Some(email) = &config.email else {
        return Ok(None);
    };
    let mailer = SmtpMailer::new(SmtpSettings {
        host: email.host.clone(),
        port: email.port,
        encryption: match email.encryption {
            EmailEncryption::None => Encryption::None,
            EmailEncryption::StartTls => Encryption::StartTls,
            EmailEncryption::Tls => Encryption::Tls,
        },
        credentials: email.user.as_ref().map(|user| {
            let password = email.password.as_ref().map_or("", |password| password.expose());
            (user.clone(), password.to_owned())
        }),
        from: email.from.clone(),
        timeout: email.timeout,
    })
    .context("EMAIL_HOST")?;
    Ok(Some(Arc::new(mailer)))
}

/// The reader of files.
pub(crate) fn sandbox(config: &Config) -> anyhow::Result<Sandbox> {
    let executable = std::env::current_exe().context("this executable cannot be found")?;
    Ok(Sandbox::new(SandboxSettings {
        executable,
        argument: crate::PARSE_CHILD.to_owned(),
        children: config.worker.concurrency.max(1),
        memory_bytes: config.files.parser_memory_bytes,
        wall: Duration::from_secs(config.files.parser_seconds),
        cpu: Duration::from_secs(config.files.parser_seconds),
        ..SandboxSettings::default()
    }))
}

/// The keys that stored secrets are sealed with.
fn keyring(config: &Config, secret_key: SecretKey) -> anyhow::Result<Keyring> {
    let fallbacks = config
        .secret_key_fallbacks
        .iter()
        .map(|secret| SecretKey::new(secret.expose()))
        .collect();
    let provider_keys = config
        .provider_keys
        .iter()
        .map(|key| fernet::Key::parse(key.expose()))
        .collect::<Result<Vec<_>, _>>()
        .context("LLM_API_SECRETS_ENCRYPTION_KEY")?;
    Ok(Keyring::new(secret_key, fallbacks, provider_keys))
}

fn registry(config: &Config, clients: &Clients) -> anyhow::Result<Registry> {
    let environment = config.embedding.as_ref().map(|embedding| OpenAiSettings {
        api_key: embedding.api_key.as_ref().map(|key| key.expose().to_owned()),
        dialect: match embedding.dialect {
            EmbeddingDialect::OpenAi => Dialect::OpenAi,
            EmbeddingDialect::Synesis => Dialect::Synesis,
        },
        batch_size: config.embedding_limits.batch_size,
        timeout: config.embedding_limits.timeout,
        ..OpenAiSettings::new(&embedding.base_url, &embedding.model, embedding.dimension)
    });
    Registry::with_store(environment, models(config), clients.shared())
        .context("the embedding server cannot be used")
}

/// Where an image brings models: outside of the data folder, which is a volume there, and hides what the image has.
const BROUGHT_MODELS: &str = "/usr/share/mnemosyne/models";

/// The models on this machine.
pub(crate) fn models(config: &Config) -> ModelStore {
    ModelStore::new(config.data.join("models")).with_brought(BROUGHT_MODELS)
}

/// The client of outgoing calls.
pub(crate) fn outbound(config: &Config) -> anyhow::Result<Outbound> {
    Outbound::new(outbound_settings(config)).context("the client of outgoing calls cannot be made")
}

/// How outgoing calls are made. Hosts that the operator named in a setting may have a private address.
fn outbound_settings(config: &Config) -> OutboundSettings {
    let mut settings = OutboundSettings {
        allowed_private_hosts: config.network.allowed_private_hosts.clone(),
        ca_file: config.network.ca_file.clone(),
        ..OutboundSettings::default()
    };
    settings.allow_host_of(&config.network.hf_endpoint);
    if let Some(embedding) = &config.embedding {
        settings.allow_host_of(&embedding.base_url);
    }
    settings
}

fn settings(config: &Config) -> ServiceSettings {
    let search = &config.search;
    ServiceSettings {
        search: SearchSettings {
            vector_top_k: search.vector_top_k,
            fulltext_top_k: search.fulltext_top_k,
            graph_max_depth: search.graph_max_depth,
            rrf_k: search.rrf_k,
            default_limit: search.default_limit,
            weight_vector: search.weight_vector,
            weight_lexical: search.weight_lexical,
            weight_fulltext: search.weight_fulltext,
            weight_graph: search.weight_graph,
        },
        ingest: IngestSettings {
            max_file_bytes: config.files.max_bytes,
            embed_step: EMBED_STEP,
            max_attempts: MAX_ATTEMPTS,
            lease: LEASE,
            heartbeat: HEARTBEAT,
            always_eager: config.worker.always_eager,
            // In a fleet only workers have its credentials.
            reads_bucket: config.servers.daedalus.is_some() || config.servers.broker.is_none(),
        },
        turn_token_max_lifetime: config.mcp.turn_token_max_lifetime,
        audit_days: config.audit_days,
    }
}

pub(crate) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("MNEMOSYNE_DATA: the folder {} cannot be made", folder.display()))
}

/// The `SECRET_KEY` of this data folder; made at the first start, by whichever process is first.
fn stored_secret_key(file: &Path) -> anyhow::Result<String> {
    for _ in 0..2 {
        match fs::read_to_string(file) {
            Ok(text) if text.trim().len() >= 32 => return Ok(text.trim().to_owned()),
            Ok(_) => bail!(
                "{} is damaged: restore it from a backup; without it sessions and signing keys are lost. To begin with a \
                 new key all the same, remove the file",
                file.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
        let draft = file.with_extension(format!("new-{}", std::process::id()));
        let written = write_private(&draft, &mnemosyne_crypto::secret::random_secret_key());
        // A link fails where the file exists, so of two first starts exactly one key stays.
        let linked = written.and_then(|()| fs::hard_link(&draft, file));
        let _ = fs::remove_file(&draft);
        match linked {
            // Whoever reads the key from now on relies on it, so its name has to outlive a power cut too.
            Ok(()) => {
                sync_folder_of(file).with_context(|| format!("{} cannot be written", file.display()))?
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be written", file.display())),
        }
    }
    bail!("{} cannot be read back", file.display())
}

fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}
