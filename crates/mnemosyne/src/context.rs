//! Chooses the backends and builds the use cases over them.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_blobs::folder::FolderBucket;
use mnemosyne_cache::memory::MemoryCache;
use mnemosyne_config::{Config, EmbeddingDialect};
use mnemosyne_domain::ports::SystemClock;
use mnemosyne_graph::embedded::EmbeddedStore;
use mnemosyne_http::{Outbound, OutboundSettings};
use mnemosyne_inference::{Dialect, OpenAiSettings, Registry, RegistrySettings};
use mnemosyne_queue::in_process::InProcessQueue;
use mnemosyne_sandbox::{Sandbox, SandboxSettings};
use mnemosyne_services::{Backends, IngestSettings, SearchSettings, SecretKey, ServiceSettings, Services};
use mnemosyne_sql::sqlite::SqliteDatabase;

/// What a command or a role works with.
pub(crate) struct Context {
    pub(crate) services: Arc<Services>,
    pub(crate) knowledge: Arc<EmbeddedStore>,
    pub(crate) config: Config,
}

/// Chunks that are embedded between two notes of progress.
const EMBED_STEP: usize = 32;
/// Attempts before a job fails for good.
const MAX_ATTEMPTS: u32 = 5;
/// Together with a worker's poll below the 15 s after which a lost run must be taken over.
const LEASE: Duration = Duration::from_secs(10);
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Opens the data folder, makes what is missing in it, and binds the use cases to it.
pub(crate) async fn open(config: Config) -> anyhow::Result<Context> {
    let data = config.data.as_path();
    private_folder(data)?;
    let secret_key = match &config.secret_key {
        Some(secret) => SecretKey::new(secret.expose()),
        None => SecretKey::new(&stored_secret_key(&data.join("secret_key"))?),
    };
    let knowledge = Arc::new(
        EmbeddedStore::open(data)
            .await
            .with_context(|| format!("the knowledge store in {} cannot be opened", data.display()))?,
    );
    let relational = SqliteDatabase::open(&data.join("mnemosyne.db"))
        .await
        .with_context(|| format!("the database in {} cannot be opened", data.display()))?;
    let blobs = FileBlobs::open(&data.join("blobs"))
        .await
        .with_context(|| format!("the files in {} cannot be opened", data.display()))?;
    let backends = Backends {
        knowledge: Arc::clone(&knowledge) as Arc<_>,
        relational: Arc::new(relational),
        blobs: Arc::new(blobs),
        cache: Arc::new(MemoryCache::default()),
        queue: Arc::new(InProcessQueue::default()),
        bucket: Arc::new(FolderBucket::new(config.files.daedalus_folder.clone())),
        embedders: Arc::new(registry(&config)?),
        extractor: Arc::new(sandbox(&config)?),
        clock: Arc::new(SystemClock),
    };
    let services = Arc::new(Services::new(backends, secret_key, settings(&config)));
    Ok(Context {
        services,
        knowledge,
        config,
    })
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

fn registry(config: &Config) -> anyhow::Result<Registry> {
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
    let settings = RegistrySettings {
        environment,
        models_folder: models_folder(config),
    };
    Registry::new(settings, &outbound(config)?).context("the embedding server cannot be used")
}

/// Where fetched models are.
pub(crate) fn models_folder(config: &Config) -> PathBuf {
    config.data.join("models")
}

/// The client of all outgoing calls. Hosts that the operator named in a setting may have a private address.
pub(crate) fn outbound(config: &Config) -> anyhow::Result<Outbound> {
    let mut settings = OutboundSettings {
        allowed_private_hosts: config.network.allowed_private_hosts.clone(),
        ..OutboundSettings::default()
    };
    settings.allow_host_of(&config.network.hf_endpoint);
    if let Some(embedding) = &config.embedding {
        settings.allow_host_of(&embedding.base_url);
    }
    Outbound::new(settings).context("the client of outgoing calls cannot be made")
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
        },
        turn_token_max_lifetime: config.mcp.turn_token_max_lifetime,
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
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be written", file.display())),
        }
    }
    bail!("{} cannot be read back", file.display())
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
