use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreResult;
use crate::model::{EmbeddingModel, EmbeddingPurpose, VectorSpace};

/// A text to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedText<'a> {
    /// The text. An embedder never drops a part of it in silence: what exceeds the model's window is embedded in parts.
    pub text: &'a str,
    /// What a model that takes instructions is told; others ignore it.
    pub instruction: Option<&'a str>,
}

/// Why no vectors came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// Overloaded, unreachable or too slow; trying again may help, not before `retry_after` where it is given.
    #[error("{message}")]
    Transient {
        /// What happened, for a person.
        message: String,
        /// How long the server asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The request itself is refused, or the answer is wrong (another dimension, say).
    #[error("{message}")]
    Permanent {
        /// What happened, for a person.
        message: String,
    },
}

/// Makes vectors of texts with one model.
#[async_trait::async_trait]
pub trait Embedder: Send + Sync {
    /// The model. Its dimension is that of every vector returned.
    fn model(&self) -> &EmbeddingModel;
    /// The cosine below which a passage has nothing to do with a question, as measured for the model; `None` where that is
    /// not known.
    fn floor(&self) -> Option<f32> {
        None
    }
    /// One vector of length 1 for each text, in their order. Batches internally as the model needs; a batch that is
    /// too large for the server is split, a transient failure is retried a few times before it is reported.
    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// The models that can be had here. What administrators registered is read from the database, so every question may fail;
/// where the database is away and was read before, what it said then still holds.
#[async_trait::async_trait]
pub trait EmbedderRegistry: Send + Sync {
    /// The model that new libraries take.
    async fn system(&self) -> StoreResult<Arc<dyn Embedder>>;
    /// The model of this name, where it is available.
    async fn by_id(&self, model: &str) -> StoreResult<Option<Arc<dyn Embedder>>>;
    /// The model whose vectors are of this space, where it is available.
    async fn by_space(&self, space: &VectorSpace) -> StoreResult<Option<Arc<dyn Embedder>>>;
    /// Every model that is available, the system's first. One that two servers offer is there twice.
    async fn available(&self) -> StoreResult<Vec<EmbeddingModel>>;
    /// Says that this process changed what is registered: the next question reads it again. Other processes notice within
    /// a second or two.
    fn changed(&self);
}
