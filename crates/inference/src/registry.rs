//! Chooses among the models that can be had here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{
    EmbedError, EmbedText, Embedder, EmbedderRegistry, RegisteredModel, RegisteredModels,
};
use mnemosyne_domain::{
    EmbeddingModel, EmbeddingPurpose, ModelKind, ModelRole, ProviderKey, ProviderUid, StoreError,
    StoreResult, VectorSpace,
};
use mnemosyne_http::{HttpError, Outbound};
use tokio::sync::Semaphore;

use crate::clients::Clients;
use crate::lexical::LexicalEmbedder;
use crate::local::LocalEmbedder;
use crate::models::{KnownModel, ModelStore};
use crate::openai::{OpenAiEmbedder, OpenAiSettings};
use crate::servers::dialect;

/// How long what was read of the registered models is believed: another process's change shows within this time.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long reading them may take.
const READING: Duration = Duration::from_secs(10);

/// The models that can be had here. The system's is the registered one that was chosen for it; without one the
/// environment's server, a local model that was fetched, or the lexical embedder, in this order. The other registered ones
/// are there for the libraries whose vectors they made. Looks at the models' folder at every call, and at what is
/// registered at least once a second, so that a change is seen while the program runs.
pub struct Registry {
    registered: Option<Registered>,
    environment: Option<Arc<OpenAiEmbedder>>,
    store: ModelStore,
    /// By short name. An entry keeps its weights in memory once they are loaded; it goes when the model is removed.
    local: Mutex<HashMap<&'static str, Arc<LocalEmbedder>>>,
    lexical: Arc<LexicalEmbedder>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("environment", &self.environment)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// The registry with the embedding server of the environment (`EMBEDDING_BASE_URL` and its kin) and the models of a store.
    /// Calls nobody and loads nothing; fails where the server's key cannot stand in a header.
    pub fn with_store(
        environment: Option<OpenAiSettings>,
        store: ModelStore,
        outbound: &Outbound,
    ) -> Result<Self, HttpError> {
        let environment = match environment {
            Some(settings) => Some(Arc::new(OpenAiEmbedder::new(settings, outbound)?)),
            None => None,
        };
        Ok(Self {
            registered: None,
            environment,
            store,
            local: Mutex::new(HashMap::new()),
            lexical: Arc::new(LexicalEmbedder::new()),
        })
    }

    /// The same with the models that administrators registered, called through these clients.
    pub fn with_registered(self, source: Arc<dyn RegisteredModels>, clients: Clients) -> Self {
        Self {
            registered: Some(Registered {
                source,
                clients,
                generation: AtomicU64::new(0),
                known: Mutex::new(None),
                reading: tokio::sync::Mutex::new(()),
            }),
            ..self
        }
    }

    /// The embedder of a local model, where it is installed.
    fn local(&self, known: &KnownModel) -> Option<Arc<LocalEmbedder>> {
        let mut opened = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = self.store.installed(known.name) else {
            opened.remove(known.name);
            return None;
        };
        if let Some(embedder) = opened.get(known.name) {
            return Some(embedder.clone());
        }
        let embedder = open(&folder, known)?;
        opened.insert(known.name, embedder.clone());
        Some(embedder)
    }

    /// The first model like this. One that is not known may have been registered a moment ago by another process, whose
    /// vectors are there already, so what is registered is read again before it counts as missing.
    async fn find(&self, is_it: impl Fn(&EmbeddingModel) -> bool) -> StoreResult<Option<Arc<dyn Embedder>>> {
        let is_it = |embedder: &Arc<dyn Embedder>| is_it(embedder.model());
        if let Some(found) = self.all().await?.into_iter().find(is_it) {
            return Ok(Some(found));
        }
        self.changed();
        Ok(self.all().await?.into_iter().find(is_it))
    }

    /// Everything that is available, the system's first.
    async fn all(&self) -> StoreResult<Vec<Arc<dyn Embedder>>> {
        let mut all: Vec<Arc<dyn Embedder>> = Vec::new();
        let mut others: Vec<Arc<dyn Embedder>> = Vec::new();
        if let Some(registered) = &self.registered {
            for entry in &registered.snapshot().await?.entries {
                if entry.registered.model.is_default {
                    all.push(entry.embedder.clone());
                } else {
                    others.push(entry.embedder.clone());
                }
            }
        }
        if let Some(environment) = &self.environment {
            all.push(environment.clone());
        }
        for known in self.store.known() {
            if let Some(local) = self.local(known) {
                all.push(local);
            }
        }
        all.push(self.lexical.clone());
        all.extend(others);
        Ok(all)
    }
}

/// What administrators registered, as it was last read.
struct Registered {
    source: Arc<dyn RegisteredModels>,
    clients: Clients,
    /// Counts the changes of this process.
    generation: AtomicU64,
    known: Mutex<Option<Arc<Snapshot>>>,
    /// Held by the one that reads.
    reading: tokio::sync::Mutex<()>,
}

/// What was read at one moment.
struct Snapshot {
    read_at: Instant,
    generation: u64,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    registered: RegisteredModel,
    embedder: Arc<dyn Embedder>,
    permits: Arc<Semaphore>,
}

impl Registered {
    fn known(&self) -> Option<Arc<Snapshot>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Arc<Snapshot>> {
        let generation = self.generation.load(Ordering::Acquire);
        self.known()
            .filter(|known| known.generation == generation && known.read_at.elapsed() < BELIEVED)
    }

    async fn snapshot(&self) -> StoreResult<Arc<Snapshot>> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _one_reads = self.reading.lock().await;
        // Somebody else may have read while this one waited.
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let generation = self.generation.load(Ordering::Acquire);
        let before = self.known();
        let read = match tokio::time::timeout(READING, self.source.registered_models()).await {
            Ok(read) => read,
            Err(_) => Err(StoreError::Unavailable(
                "the registered models could not be read in time".to_owned(),
            )),
        };
        let snapshot = match (read, &before) {
            (Ok(models), _) => Snapshot {
                read_at: Instant::now(),
                generation,
                entries: self.entries(models, before.as_deref()),
            },
            (Err(error), Some(before)) => {
                tracing::warn!(%error, "the registered models cannot be read; what they were still holds");
                Snapshot {
                    read_at: Instant::now(),
                    generation: before.generation,
                    entries: before.entries.clone(),
                }
            }
            (Err(error), None) => return Err(error),
        };
        let snapshot = Arc::new(snapshot);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Embedders for these models; those of before are kept where nothing about them changed.
    fn entries(&self, models: Vec<RegisteredModel>, before: Option<&Snapshot>) -> Vec<Entry> {
        let former = before.map_or(&[][..], |before| &before.entries);
        // The models of a server share its permits, also with requests that are under way.
        let mut permits: HashMap<ProviderUid, (u32, Arc<Semaphore>)> = former
            .iter()
            .map(|entry| {
                let target = &entry.registered.target;
                let most = target.server.limits.max_parallel;
                (target.provider.clone(), (most, entry.permits.clone()))
            })
            .collect();
        models
            .into_iter()
            .filter(|registered| registered.model.role == ModelRole::Embedding)
            .map(|registered| {
                let most = registered.target.server.limits.max_parallel;
                let shared = permits
                    .entry(registered.target.provider.clone())
                    .and_modify(|known| {
                        if known.0 != most {
                            *known = (most, Arc::new(Semaphore::new(most.max(1) as usize)));
                        }
                    })
                    .or_insert_with(|| (most, Arc::new(Semaphore::new(most.max(1) as usize))))
                    .1
                    .clone();
                match former.iter().find(|entry| entry.is_for(&registered)) {
                    Some(entry) => Entry {
                        registered,
                        ..entry.clone()
                    },
                    None => Entry {
                        embedder: self.embedder(&registered, &shared),
                        registered,
                        permits: shared,
                    },
                }
            })
            .collect()
    }

    fn embedder(&self, registered: &RegisteredModel, permits: &Arc<Semaphore>) -> Arc<dyn Embedder> {
        let server = &registered.target.server;
        let model = &registered.model;
        let dimension = model.dimension.unwrap_or_default();
        let api_key = match &registered.target.key {
            ProviderKey::None => None,
            ProviderKey::Open(key) => Some(key.expose().to_owned()),
            ProviderKey::Unreadable => {
                tracing::error!(
                    provider = server.name,
                    "the stored key cannot be opened with the configured encryption keys"
                );
                let reason = format!(
                    "The stored key of the provider {:?} cannot be opened with the configured encryption keys.",
                    server.name
                );
                return Arc::new(BrokenEmbedder::new(&model.name, dimension, reason));
            }
        };
        let settings = OpenAiSettings {
            api_key,
            dialect: dialect(server.kind),
            batch_size: server.limits.batch_size as usize,
            batch_tokens: server.limits.batch_tokens as usize,
            text_tokens: server.limits.text_tokens as usize,
            timeout: server.limits.timeout,
            takes_instructions: model.takes_instructions,
            parallel: Some(permits.clone()),
            ..OpenAiSettings::new(&server.base_url, &model.name, dimension)
        };
        let made = self
            .clients
            .of(server)
            .and_then(|outbound| OpenAiEmbedder::new(settings, &outbound));
        match made {
            Ok(embedder) => Arc::new(embedder),
            Err(error) => {
                let reason = format!("The provider {:?} cannot be called: {error}.", server.name);
                tracing::error!("{reason}");
                Arc::new(BrokenEmbedder::new(&model.name, dimension, reason))
            }
        }
    }
}

impl Entry {
    /// Whether its embedder does what this model asks for.
    fn is_for(&self, other: &RegisteredModel) -> bool {
        let (own, model) = (&self.registered.model, &other.model);
        self.registered.target == other.target
            && (&own.name, own.dimension, own.takes_instructions)
                == (&model.name, model.dimension, model.takes_instructions)
    }
}

/// Stands for a model that is registered and cannot be called: another one in its place would make vectors that do not
/// belong to its libraries.
struct BrokenEmbedder {
    model: EmbeddingModel,
    reason: String,
}

impl BrokenEmbedder {
    fn new(name: &str, dimension: usize, reason: String) -> Self {
        Self {
            model: EmbeddingModel {
                id: name.to_owned(),
                dimension,
                kind: ModelKind::Neural,
                takes_instructions: false,
            },
            reason,
        }
    }
}

#[async_trait::async_trait]
impl Embedder for BrokenEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    async fn embed(
        &self,
        _texts: &[EmbedText<'_>],
        _purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        Err(EmbedError::Permanent {
            message: self.reason.clone(),
        })
    }
}

fn open(folder: &Path, known: &KnownModel) -> Option<Arc<LocalEmbedder>> {
    match LocalEmbedder::open(folder, known.repository) {
        Ok(embedder) => Some(Arc::new(embedder.with_floor(known.floor))),
        Err(error) => {
            tracing::error!(model = known.name, %error, "the local model is unusable; fetch it again");
            None
        }
    }
}

#[async_trait::async_trait]
impl EmbedderRegistry for Registry {
    async fn system(&self) -> StoreResult<Arc<dyn Embedder>> {
        let first = self.all().await?.into_iter().next();
        Ok(first.unwrap_or_else(|| self.lexical.clone()))
    }

    async fn by_id(&self, model: &str) -> StoreResult<Option<Arc<dyn Embedder>>> {
        self.find(|known| known.id == model).await
    }

    async fn by_space(&self, space: &VectorSpace) -> StoreResult<Option<Arc<dyn Embedder>>> {
        self.find(|known| known.space() == *space).await
    }

    async fn available(&self) -> StoreResult<Vec<EmbeddingModel>> {
        let all = self.all().await?;
        Ok(all.iter().map(|embedder| embedder.model().clone()).collect())
    }

    fn changed(&self) {
        if let Some(registered) = &self.registered {
            registered.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}
