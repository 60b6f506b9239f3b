//! Chooses among the models that can be had here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mnemosyne_domain::EmbeddingModel;
use mnemosyne_domain::ports::{Embedder, EmbedderRegistry};
use mnemosyne_http::{HttpError, Outbound};

use crate::lexical::LexicalEmbedder;
use crate::local::LocalEmbedder;
use crate::models::{KnownModel, ModelStore};
use crate::openai::{OpenAiEmbedder, OpenAiSettings};

/// What the operator configured.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// The embedding server of the environment (`EMBEDDING_BASE_URL` and its kin).
    pub environment: Option<OpenAiSettings>,
    /// Where fetched models are.
    pub models_folder: PathBuf,
}

/// The models that can be had here: the environment's server, local models that were fetched, and the lexical embedder,
/// in this order of preference. Looks at the models' folder at every call, so that a model that is fetched or removed
/// while the program runs is seen.
pub struct Registry {
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
    /// The registry for these settings. Calls nobody and loads nothing; fails where the server's key cannot stand in a
    /// header.
    pub fn new(settings: RegistrySettings, outbound: &Outbound) -> Result<Self, HttpError> {
        Self::with_store(
            settings.environment,
            ModelStore::new(settings.models_folder),
            outbound,
        )
    }

    /// The registry over a given store.
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
            environment,
            store,
            local: Mutex::new(HashMap::new()),
            lexical: Arc::new(LexicalEmbedder::new()),
        })
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

    /// Everything that is available, the most preferred first.
    fn all(&self) -> Vec<Arc<dyn Embedder>> {
        let mut all: Vec<Arc<dyn Embedder>> = Vec::new();
        if let Some(environment) = &self.environment {
            all.push(environment.clone());
        }
        for known in self.store.known() {
            if let Some(local) = self.local(known) {
                all.push(local);
            }
        }
        all.push(self.lexical.clone());
        all
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

impl EmbedderRegistry for Registry {
    fn system(&self) -> Arc<dyn Embedder> {
        self.all()
            .into_iter()
            .next()
            .unwrap_or_else(|| self.lexical.clone())
    }

    fn by_id(&self, model: &str) -> Option<Arc<dyn Embedder>> {
        self.all()
            .into_iter()
            .find(|embedder| embedder.model().id == model)
    }

    fn available(&self) -> Vec<EmbeddingModel> {
        self.all()
            .iter()
            .map(|embedder| embedder.model().clone())
            .collect()
    }
}
