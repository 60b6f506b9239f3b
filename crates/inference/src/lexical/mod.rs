//! An embedder without a model: words and parts of words, hashed.
//!
//! Texts that share words, or spellings close to each other, get close vectors; meaning plays no part. It needs no
//! download and gives the same vector on every machine, so that the vector leg of the search works from the first
//! start, labelled for what it is.
//!
//! How a vector is made (changing any of this needs a new [`MODEL_ID`]):
//! 1. words by Unicode's rules, lower case; English stop words are left out unless there is nothing else;
//! 2. features: the stem of each word (Snowball, English), and the character 3- to 5-grams of each word between two
//!    marks;
//! 3. each feature counts `1 + ln(occurrences)`, an n-gram a quarter of that, because each word brings many;
//! 4. each feature is hashed to one of 1,024 places with a sign, added up, and the sum is scaled to length 1.

mod hash;
mod stop_words;

use std::collections::HashMap;

use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder};
use mnemosyne_domain::{EmbeddingModel, EmbeddingPurpose, ModelKind};
use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use crate::vector::normalise;

/// The name of this embedder's vector space.
pub const MODEL_ID: &str = "lexical-hash-v1";

/// The length of its vectors.
pub const DIMENSION: usize = 1_024;

const GRAM_SIZES: std::ops::RangeInclusive<usize> = 3..=5;
const GRAM_WEIGHT: f32 = 0.25;

/// Texts of more bytes than this are embedded away from the async executor: 4 kB take about half a millisecond.
const INLINE_BYTES: usize = 4_096;

/// See the [module](self).
#[derive(Debug)]
pub struct LexicalEmbedder {
    model: EmbeddingModel,
}

impl Default for LexicalEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl LexicalEmbedder {
    /// The embedder; it holds no state.
    pub fn new() -> Self {
        Self {
            model: EmbeddingModel {
                id: MODEL_ID.into(),
                dimension: DIMENSION,
                kind: ModelKind::Lexical,
                takes_instructions: false,
            },
        }
    }
}

#[async_trait::async_trait]
impl Embedder for LexicalEmbedder {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        _purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let bytes: usize = texts.iter().map(|text| text.text.len()).sum();
        if bytes <= INLINE_BYTES {
            return Ok(texts.iter().map(|text| vector_of(text.text)).collect());
        }
        let texts: Vec<String> = texts.iter().map(|text| text.text.to_owned()).collect();
        tokio::task::spawn_blocking(move || texts.iter().map(|text| vector_of(text)).collect())
            .await
            .map_err(|error| EmbedError::Permanent {
                message: format!("the lexical embedder broke down: {error}"),
            })
    }
}

/// The vector of a text, of length 1 whatever the text.
fn vector_of(text: &str) -> Vec<f32> {
    let all: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    let meaningful: Vec<&String> = all.iter().filter(|word| !stop_words::contains(word)).collect();
    // "To be or not to be" is still a question: where every word is a stop word, they all count.
    let words = if meaningful.is_empty() {
        all.iter().collect()
    } else {
        meaningful
    };

    let stemmer = Stemmer::create(Algorithm::English);
    let mut counts: HashMap<u64, (f32, u32)> = HashMap::new();
    let mut count = |feature: u64, weight: f32| counts.entry(feature).or_insert((weight, 0)).1 += 1;
    for word in &words {
        count(hash::word(&stemmer.stem(word)), 1.0);
        for_each_gram(word, |gram| count(hash::gram(gram), GRAM_WEIGHT));
    }

    // Floating-point sums depend on their order, and a hash map has none: sorted, every machine adds up alike.
    let mut features: Vec<(u64, f32)> = counts
        .into_iter()
        .map(|(feature, (weight, times))| (feature, weight * (1.0 + (times as f32).ln())))
        .collect();
    features.sort_unstable_by_key(|(feature, _)| *feature);

    let mut vector = vec![0.0; DIMENSION];
    for (feature, weight) in features {
        let (place, sign) = hash::place(feature, DIMENSION);
        vector[place] += sign * weight;
    }
    if !normalise(&mut vector) {
        // No word at all, or features that cancel each other out: a fixed direction that all such texts share.
        let (place, sign) = hash::place(hash::word(""), DIMENSION);
        vector[place] = sign;
    }
    vector
}

/// Calls `visit` with each character n-gram of the word between its marks: `<`, `w`, …, `d`, `>`.
fn for_each_gram(word: &str, mut visit: impl FnMut(&str)) {
    let marked = format!("<{word}>");
    let mut bounds: Vec<usize> = marked.char_indices().map(|(at, _)| at).collect();
    bounds.push(marked.len());
    for size in GRAM_SIZES {
        for window in bounds.windows(size + 1) {
            if let [first, .., last] = window {
                visit(&marked[*first..*last]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        vector_of(a).iter().zip(vector_of(b)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn every_text_has_a_vector_of_length_one() {
        let long = "word ".repeat(100_000);
        for text in [
            "",
            "   ",
            "the of and",
            "?!",
            "a",
            "日本語の文章",
            "🦀",
            "Hello, world",
            &long,
        ] {
            let vector = vector_of(text);
            assert_eq!(vector.len(), DIMENSION);
            let length: f32 = vector.iter().map(|value| value * value).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:.20}: {length}");
        }
    }

    #[test]
    fn shared_words_and_spellings_are_close_and_others_are_not() {
        let query = "maintenance of the hydraulic pump";
        let near = cosine(query, "How hydraulic pumps are maintained");
        let misspelt = cosine(query, "hydraulc pump maintenence");
        let far = cosine(query, "A sonnet about the autumn sea");
        assert!(near > 0.4, "{near}");
        assert!(misspelt > 0.3, "{misspelt}");
        assert!(far < 0.1, "{far}");
        assert_ne!(vector_of("to be or not to be"), vector_of("the of and"));
    }

    #[test]
    fn vectors_never_change_under_this_name() {
        // Stored vectors are compared with new ones: if this fails, the model needs a new name.
        let vector = vector_of("The quick brown fox jumps over the lazy dog; the dog sleeps.");
        let rounded: Vec<(usize, i64)> = vector
            .iter()
            .map(|value| (f64::from(*value) * 1e4).round() as i64)
            .enumerate()
            .collect();
        let mut largest = rounded.clone();
        largest.sort_by_key(|(place, value)| (-value.abs(), *place));
        largest.truncate(3);
        assert_eq!(largest, [(462, 4_520), (29, 2_669), (220, -2_669)]);
        let checksum: i64 = rounded
            .iter()
            .map(|(place, value)| (*place as i64 + 1) * value)
            .sum();
        assert_eq!(checksum, 4_011_452);
    }

    #[tokio::test]
    async fn long_and_short_batches_agree() {
        let embedder = LexicalEmbedder::new();
        let long = "wide open spaces ".repeat(2_000);
        let text = |text| EmbedText {
            text,
            instruction: None,
        };
        let alone = embedder
            .embed(&[text("a house by the sea")], EmbeddingPurpose::Query)
            .await
            .expect("always");
        let batch = embedder
            .embed(
                &[text(&long), text("a house by the sea")],
                EmbeddingPurpose::Passage,
            )
            .await
            .expect("always");
        assert_eq!(batch[1], alone[0]);
    }
}
