//! The model itself: configuration, tokenizer, weights.

use std::path::Path;

use tokenizers::Tokenizer;

use super::transformer::{Configuration, Transformer};
use super::windows::{self, Window};
use super::{LocalModelError, weights};
use crate::vector::normalise;

const CONFIGURATION: &str = "config.json";
const WINDOW_CONFIGURATION: &str = "sentence_bert_config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// A model in memory.
pub(crate) struct Bert {
    transformer: Transformer,
    tokenizer: Tokenizer,
    /// The tokens before and after each window, such as `[CLS]` and `[SEP]`.
    opening: Vec<u32>,
    closing: Vec<u32>,
    /// The most tokens of text in one window.
    capacity: usize,
}

#[derive(serde::Deserialize)]
struct WindowConfiguration {
    max_seq_length: usize,
}

/// Reads `config.json`.
pub(crate) fn read_configuration(folder: &Path) -> Result<Configuration, LocalModelError> {
    let configuration: Configuration = read_json(folder, CONFIGURATION)?;
    match configuration.unsupported() {
        Some(reason) => Err(unusable(CONFIGURATION, reason)),
        None => Ok(configuration),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(
    folder: &Path,
    file: &'static str,
) -> Result<T, LocalModelError> {
    let bytes = std::fs::read(folder.join(file)).map_err(|error| LocalModelError::Unreadable {
        file,
        reason: error.to_string(),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| unusable(file, error))
}

impl Bert {
    pub(crate) fn load(folder: &Path) -> Result<Self, LocalModelError> {
        let started = std::time::Instant::now();
        let configuration = read_configuration(folder)?;
        let tokenizer = read_tokenizer(folder)?;
        let (opening, closing) = marks(&tokenizer)?;
        let window = match folder.join(WINDOW_CONFIGURATION).exists() {
            true => read_json::<WindowConfiguration>(folder, WINDOW_CONFIGURATION)?.max_seq_length,
            false => configuration.max_position_embeddings,
        };
        let marks = opening.len() + closing.len();
        let capacity = window
            .min(configuration.max_position_embeddings)
            .saturating_sub(marks);
        if capacity == 0 {
            return Err(unusable(WINDOW_CONFIGURATION, "the window has no room for text"));
        }
        let mut tensors = weights::read(folder)?;
        let transformer =
            Transformer::new(&configuration, &mut tensors).map_err(|error| unusable(WEIGHTS, error))?;
        tracing::info!(
            milliseconds = started.elapsed().as_millis() as u64,
            "the local embedding model is loaded"
        );
        Ok(Self {
            transformer,
            tokenizer,
            opening,
            closing,
            capacity,
        })
    }

    /// The windows of all texts.
    pub(crate) fn windows(&self, texts: &[String]) -> Result<Vec<Window>, LocalModelError> {
        let mut all = Vec::with_capacity(texts.len());
        for (text, content) in texts.iter().enumerate() {
            let encoding = self
                .tokenizer
                .encode(content.as_str(), false)
                .map_err(computation)?;
            let ids = encoding.get_ids();
            for range in windows::cut(encoding.get_word_ids(), self.capacity) {
                let ids = &ids[range];
                all.push(Window {
                    text,
                    tokens: [&self.opening, ids, &self.closing].concat(),
                    weight: ids.len().max(1) as f32,
                });
            }
        }
        Ok(all)
    }

    /// The vector of each window, of length 1.
    pub(crate) fn embed(&self, windows: &[Window]) -> Result<Vec<Vec<f32>>, LocalModelError> {
        let tokens: Vec<&[u32]> = windows.iter().map(|window| window.tokens.as_slice()).collect();
        let mut vectors = self.transformer.mean_vectors(&tokens).map_err(computation)?;
        for vector in &mut vectors {
            if !normalise(vector) {
                return Err(computation("it gave a vector without direction"));
            }
        }
        Ok(vectors)
    }
}

fn read_tokenizer(folder: &Path) -> Result<Tokenizer, LocalModelError> {
    let bytes = std::fs::read(folder.join(TOKENIZER)).map_err(|error| LocalModelError::Unreadable {
        file: TOKENIZER,
        reason: error.to_string(),
    })?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| unusable(TOKENIZER, error))?;
    // The file may ask to cut and pad every text (at 128 tokens, for MiniLM); windows and padding are made here.
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| unusable(TOKENIZER, error))?;
    // A text that spells a mark, such as "[SEP]", is text.
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// What the tokenizer puts around a text: read off from the empty one.
fn marks(tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<u32>), LocalModelError> {
    let bare = tokenizer
        .encode("", true)
        .map_err(|error| unusable(TOKENIZER, error))?;
    match bare.get_ids() {
        [opening, closing] => Ok((vec![*opening], vec![*closing])),
        other => Err(unusable(
            TOKENIZER,
            format!("it puts {} marks around a text, and 2 are expected", other.len()),
        )),
    }
}

fn unusable(file: &'static str, reason: impl std::fmt::Display) -> LocalModelError {
    LocalModelError::Unusable {
        file,
        reason: reason.to_string(),
    }
}

fn computation(reason: impl std::fmt::Display) -> LocalModelError {
    LocalModelError::Computation(reason.to_string())
}
