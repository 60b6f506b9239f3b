//! An embedding server that speaks OpenAI's `/v1/embeddings`, or the Synesis dialect of it.

mod batch;
mod retry;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder};
use mnemosyne_domain::{EmbeddingModel, EmbeddingPurpose, ModelKind};
use mnemosyne_http::{Headers, HttpError, Outbound};
use tokio::sync::Semaphore;

use batch::Part;
pub use retry::RetryPolicy;
pub use wire::Dialect;
pub(crate) use wire::api_address;

use crate::vector::{WeightedMean, normalise};

/// The shortest text that is still cut in two when the server finds it too long, in bytes. Below, the refusal has
/// another reason.
const MIN_SPLIT_BYTES: usize = 256;

/// How to reach the server and what to expect of it.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// The server's address. `/v1/embeddings` is added as far as it is missing: `https://host`, `https://host/v1` and
    /// `https://host/v1/embeddings` are one.
    pub base_url: String,
    /// The model's name, as the server knows it; also the name of the vector space.
    pub model: String,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// The length of the model's vectors. An answer of another length is an error. [`probe_dimension`] finds it out.
    pub dimension: usize,
    /// How the server speaks.
    pub dialect: Dialect,
    /// The most texts in one request.
    pub batch_size: usize,
    /// The most text in one request, in estimated tokens (see [`estimated_tokens`]).
    pub batch_tokens: usize,
    /// The longest text that is sent in one piece, in estimated tokens. Some servers drop what exceeds their model's
    /// window without a word, so longer texts are cut here and their parts' vectors averaged.
    pub text_tokens: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether the model was trained to be told its task. `None`: if its name says so ("qwen3", "instruct").
    pub takes_instructions: Option<bool>,
    /// How often and how patiently a request is repeated.
    pub retry: RetryPolicy,
    /// Holds requests back while as many as it has permits are under way; `None`: no limit.
    pub parallel: Option<Arc<Semaphore>>,
}

impl OpenAiSettings {
    /// The settings for a server and model with everything else at its default: no key, OpenAI's dialect, batches of
    /// at most 8 texts and 16,000 tokens, texts of at most 8,000 tokens, 120 s a request.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>, dimension: usize) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            dimension,
            dialect: Dialect::OpenAi,
            batch_size: 8,
            batch_tokens: 16_000,
            text_tokens: 8_000,
            timeout: Duration::from_secs(120),
            takes_instructions: None,
            retry: RetryPolicy::default(),
            parallel: None,
        }
    }
}

impl std::fmt::Debug for OpenAiSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiSettings")
            .field("model", &self.model)
            .field("dimension", &self.dimension)
            .field("dialect", &self.dialect)
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}

/// An estimate of a text's tokens that is rather too high than too low: one for every three bytes. English has about
/// four bytes a token, other alphabets about three.
pub fn estimated_tokens(text: &str) -> usize {
    text.len().div_ceil(3)
}

/// How an embedder waits; replaced in tests.
type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// See the [module](self).
pub struct OpenAiEmbedder {
    model: EmbeddingModel,
    settings: OpenAiSettings,
    url: String,
    headers: Headers,
    outbound: Outbound,
    sleep: Sleep,
}

impl std::fmt::Debug for OpenAiEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiEmbedder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl OpenAiEmbedder {
    /// An embedder for these settings. Connects to nothing; fails only where the key cannot stand in a header.
    pub fn new(settings: OpenAiSettings, outbound: &Outbound) -> Result<Self, HttpError> {
        Self::with_sleep(
            settings,
            outbound,
            Arc::new(|wait| Box::pin(tokio::time::sleep(wait))),
        )
    }

    /// The same with another way to wait between attempts.
    pub fn with_sleep(
        settings: OpenAiSettings,
        outbound: &Outbound,
        sleep: Sleep,
    ) -> Result<Self, HttpError> {
        let headers = match &settings.api_key {
            Some(key) => Headers::new().bearer(key)?,
            None => Headers::new(),
        };
        let takes_instructions = settings
            .takes_instructions
            .unwrap_or_else(|| name_promises_instructions(&settings.model));
        Ok(Self {
            model: EmbeddingModel {
                id: settings.model.clone(),
                dimension: settings.dimension,
                kind: ModelKind::Neural,
                takes_instructions,
            },
            url: wire::endpoint(&settings.base_url),
            headers,
            outbound: outbound.with_timeout(settings.timeout),
            settings,
            sleep,
        })
    }

    fn parts(&self, texts: &[EmbedText<'_>], purpose: EmbeddingPurpose) -> Vec<Part> {
        let mut parts = Vec::with_capacity(texts.len());
        for (text, content) in texts.iter().enumerate() {
            let instruction = content
                .instruction
                .filter(|instruction| self.model.takes_instructions && !instruction.is_empty());
            for piece in batch::pieces(content.text, self.settings.text_tokens) {
                parts.push(self.settings.dialect.part(text, piece, instruction, purpose));
            }
        }
        parts
    }

    /// Embeds parts, cutting the batch (or a single text) in two wherever the server finds it too large. The work list
    /// instead of recursion bounds the depth by the memory of the list.
    async fn embed_parts(
        &self,
        batch: Vec<Part>,
        purpose: EmbeddingPurpose,
        means: &mut [WeightedMean],
    ) -> Result<(), EmbedError> {
        let mut waiting = vec![batch];
        while let Some(mut batch) = waiting.pop() {
            match self.request_with_retry(&batch, purpose).await {
                Ok(vectors) => {
                    for (part, vector) in batch.iter().zip(&vectors) {
                        means[part.text].add(vector, part.weight());
                    }
                }
                Err(Refusal::TooLarge(error)) => {
                    if batch.len() > 1 {
                        waiting.push(batch.split_off(batch.len() / 2));
                        waiting.push(batch);
                        continue;
                    }
                    let halves = batch.pop().filter(|part| part.content.len() >= MIN_SPLIT_BYTES);
                    match halves.and_then(Part::halves) {
                        Some((first, second)) => {
                            waiting.push(vec![second]);
                            waiting.push(vec![first]);
                        }
                        None => return Err(self.permanent(&error)),
                    }
                }
                Err(Refusal::Final(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn request_with_retry(
        &self,
        batch: &[Part],
        purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, Refusal> {
        let mut attempt = 1;
        loop {
            let error = match self.request(batch).await {
                Ok(body) => {
                    return self.read(&body, batch.len()).map_err(Refusal::Final);
                }
                Err(error) => error,
            };
            if wire::may_be_too_large(&error, batch.len()) {
                return Err(Refusal::TooLarge(error));
            }
            if !error.is_transient() {
                return Err(Refusal::Final(self.permanent(&error)));
            }
            let Some(wait) = self.settings.retry.wait(attempt, &error, purpose, rand::random()) else {
                return Err(Refusal::Final(EmbedError::Transient {
                    message: format!("The embedding server failed: {error}."),
                    retry_after: error.retry_after(),
                }));
            };
            tracing::debug!(attempt, wait_ms = wait.as_millis() as u64, %error, "the embedding request is repeated");
            (self.sleep)(wait).await;
            attempt += 1;
        }
    }

    async fn request(&self, batch: &[Part]) -> Result<Vec<u8>, HttpError> {
        let body = self.settings.dialect.request(&self.settings, batch);
        let limit = wire::answer_limit(batch.len(), self.settings.dimension);
        let _permit = match &self.settings.parallel {
            // It is never closed, so there always is a permit in the end.
            Some(permits) => permits.acquire().await.ok(),
            None => None,
        };
        let answer = self
            .outbound
            .post_json_bounded(&self.url, &self.headers, &body, limit)
            .await?;
        Ok(answer.into())
    }

    fn read(&self, body: &[u8], count: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
        let wrong = |reason: String| EmbedError::Permanent {
            message: format!("The embedding server's answer is unusable: {reason}."),
        };
        let mut vectors = self.settings.dialect.read(body, count).map_err(wrong)?;
        for vector in &mut vectors {
            if vector.len() != self.settings.dimension {
                return Err(wrong(format!(
                    "the model {} gave a vector of {} numbers where {} are configured (EMBEDDING_DIMENSION, or the dimension of the registered model)",
                    self.settings.model,
                    vector.len(),
                    self.settings.dimension
                )));
            }
            if !normalise(vector) {
                return Err(wrong(
                    "a vector has numbers that are not finite, or only zeros".into(),
                ));
            }
        }
        Ok(vectors)
    }

    fn permanent(&self, error: &HttpError) -> EmbedError {
        EmbedError::Permanent {
            message: format!(
                "The embedding server refused the request for the model {}: {error}.",
                self.settings.model
            ),
        }
    }
}

/// Why a batch gave no vectors.
enum Refusal {
    /// Smaller pieces may pass.
    TooLarge(HttpError),
    Final(EmbedError),
}

fn name_promises_instructions(model: &str) -> bool {
    let name = model.to_lowercase();
    name.contains("qwen3") || name.contains("instruct")
}

#[async_trait::async_trait]
impl Embedder for OpenAiEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut means: Vec<WeightedMean> = texts
            .iter()
            .map(|_| WeightedMean::new(self.model.dimension))
            .collect();
        let parts = self.parts(texts, purpose);
        for batch in batch::batches(parts, self.settings.batch_size, self.settings.batch_tokens) {
            self.embed_parts(batch, purpose, &mut means).await?;
        }
        means
            .into_iter()
            .map(|mean| {
                mean.finish().ok_or_else(|| EmbedError::Permanent {
                    message: "The parts of a long text have vectors that cancel each other out.".into(),
                })
            })
            .collect()
    }
}

/// Asks the server for one vector and returns its length: for an installation that does not say `EMBEDDING_DIMENSION`.
/// `settings.dimension` is ignored.
pub async fn probe_dimension(settings: &OpenAiSettings, outbound: &Outbound) -> Result<usize, EmbedError> {
    let embedder =
        OpenAiEmbedder::new(settings.clone(), outbound).map_err(|error| EmbedError::Permanent {
            message: error.to_string(),
        })?;
    let text = EmbedText {
        text: "How long is a vector?",
        instruction: None,
    };
    let parts = embedder.parts(&[text], EmbeddingPurpose::Query);
    let body = embedder.request(&parts).await.map_err(|error| {
        if error.is_transient() {
            return EmbedError::Transient {
                message: format!("The embedding server failed: {error}."),
                retry_after: error.retry_after(),
            };
        }
        embedder.permanent(&error)
    })?;
    let vectors = settings
        .dialect
        .read(&body, parts.len())
        .map_err(|reason| EmbedError::Permanent {
            message: format!("The embedding server's answer is unusable: {reason}."),
        })?;
    match vectors.first().map(Vec::len) {
        Some(length) if length > 0 => Ok(length),
        _ => Err(EmbedError::Permanent {
            message: "The embedding server gave an empty vector.".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whether_a_model_takes_instructions() {
        assert!(name_promises_instructions("Qwen/Qwen3-Embedding-0.6B"));
        assert!(name_promises_instructions(
            "intfloat/multilingual-e5-large-instruct"
        ));
        assert!(!name_promises_instructions("text-embedding-3-small"));
    }

    #[test]
    fn settings_show_no_key() {
        let mut settings = OpenAiSettings::new("http://user:pass@host", "model", 3);
        settings.api_key = Some("sk-secret".into());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("sk-secret") && !shown.contains("pass"), "{shown}");
    }
}
