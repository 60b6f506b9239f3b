//! Sentence embeddings of BERT-family weights on the processors of this machine.
//!
//! The weights are read at the first use and then kept; before that an embedder costs next to nothing. One text's
//! vector is the mean of its tokens' vectors (padding left out), scaled to length 1, as the sentence-transformers
//! library computes it for such models.
//!
//! A text that is longer than the model's window is cut, between words, into windows that follow each other without
//! overlap; its vector is the mean of their vectors, weighted by their tokens, scaled to length 1. So every word counts,
//! where the Python library would drop the rest.

mod bert;
mod math;
mod transformer;
mod weights;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder};
use mnemosyne_domain::{EmbeddingModel, EmbeddingPurpose, ModelKind};
use tokio::sync::Semaphore;

use bert::Bert;
use windows::Window;

use crate::vector::WeightedMean;

/// Windows that are computed together: enough to keep every processor busy, few enough that their intermediate results
/// stay small and a question need not wait long for its turn.
const BATCH: usize = 8;

/// Why a folder holds no usable model.
#[derive(Debug, thiserror::Error)]
pub enum LocalModelError {
    /// A file is missing or unreadable.
    #[error("the model file {file} cannot be read: {reason}")]
    Unreadable {
        /// Its name inside the model's folder.
        file: &'static str,
        /// What the system said.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("the model file {file} is unusable: {reason}")]
    Unusable {
        /// Its name inside the model's folder.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The computation failed: a defect.
    #[error("the local model failed: {0}")]
    Computation(String),
}

/// See the [module](self).
pub struct LocalEmbedder {
    model: EmbeddingModel,
    floor: Option<f32>,
    folder: PathBuf,
    /// One computation at a time: each uses all processors already. First come, first served, batch by batch, so that a
    /// question waits for one batch of a long job and not for the whole of it.
    turn: Arc<Semaphore>,
    loaded: Arc<Mutex<Option<Arc<Bert>>>>,
}

impl std::fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalEmbedder")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl LocalEmbedder {
    /// Takes the model in this folder (`config.json`, `tokenizer.json`, `model.safetensors`, and where the window is
    /// shorter than the positions, `sentence_bert_config.json`). Reads the small configuration only.
    pub fn open(folder: &Path, model_id: &str) -> Result<Self, LocalModelError> {
        let configuration = bert::read_configuration(folder)?;
        Ok(Self {
            model: EmbeddingModel {
                id: model_id.to_owned(),
                dimension: configuration.hidden_size,
                kind: ModelKind::Neural,
                takes_instructions: false,
            },
            floor: None,
            folder: folder.to_owned(),
            turn: Arc::new(Semaphore::new(1)),
            loaded: Arc::new(Mutex::new(None)),
        })
    }

    /// The same with the floor that was measured for the model (see [`Embedder::floor`]).
    pub fn with_floor(mut self, cosine: f32) -> Self {
        self.floor = Some(cosine);
        self
    }

    /// Whether the weights are in memory.
    pub fn is_loaded(&self) -> bool {
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Runs `work` with the model (loading it first where need be), away from the async executor, when it is its turn.
    async fn with_model<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bert) -> Result<T, LocalModelError> + Send + 'static,
    ) -> Result<T, EmbedError> {
        let turn = self.turn.clone().acquire_owned().await.map_err(permanent)?;
        let loaded = self.loaded.clone();
        let folder = self.folder.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            // Held by the computation itself: it goes on even when nobody waits for it any more.
            let _turn = turn;
            let bert = {
                let mut slot = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                match slot.as_ref() {
                    Some(bert) => bert.clone(),
                    None => slot.insert(Arc::new(Bert::load(&folder)?)).clone(),
                }
            };
            work(&bert)
        });
        outcome.await.map_err(permanent)?.map_err(permanent)
    }
}

fn permanent(error: impl std::fmt::Display) -> EmbedError {
    EmbedError::Permanent {
        message: error.to_string(),
    }
}

#[async_trait::async_trait]
impl Embedder for LocalEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    fn floor(&self) -> Option<f32> {
        self.floor
    }

    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        _purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let count = texts.len();
        let owned: Vec<String> = texts.iter().map(|text| text.text.to_owned()).collect();
        let mut windows = self.with_model(move |bert| bert.windows(&owned)).await?;
        // Windows of one length together: the shorter ones of a batch are padded to its longest, for nothing.
        windows.sort_by_key(|window| window.tokens.len());

        let mut means: Vec<WeightedMean> = (0..count)
            .map(|_| WeightedMean::new(self.model.dimension))
            .collect();
        while !windows.is_empty() {
            let batch: Vec<Window> = windows.split_off(windows.len().saturating_sub(BATCH));
            let (batch, vectors) = self
                .with_model(move |bert| bert.embed(&batch).map(|vectors| (batch, vectors)))
                .await?;
            for (window, vector) in batch.iter().zip(&vectors) {
                means[window.text].add(vector, window.weight);
            }
        }
        means
            .into_iter()
            .map(|mean| {
                mean.finish()
                    .ok_or_else(|| permanent("the local model gave a vector without direction"))
            })
            .collect()
    }
}
