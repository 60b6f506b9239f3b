//! The two dialects on the wire.

use mnemosyne_domain::EmbeddingPurpose;
use mnemosyne_http::HttpError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::OpenAiSettings;
use super::batch::Part;

/// How an embedding server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `{model, input: [text]}` → `{data: [{index, embedding}]}`. An instruction has no place of its own; models that
    /// take one expect it before a question as `Instruct: …`, a line break, `Query: …`, and passages bare.
    #[default]
    OpenAi,
    /// `{inputs: [{text, instruction?}], dimension, normalize}` → `{embeddings: [[…]]}`. The instruction goes with
    /// every text that the caller gives one for.
    Synesis,
}

impl Dialect {
    /// The word in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Synesis => "synesis",
        }
    }

    /// The dialect of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::OpenAi, Self::Synesis]
            .into_iter()
            .find(|dialect| dialect.as_str() == word)
    }

    /// A piece of text as this dialect sends it.
    pub(crate) fn part(
        self,
        text: usize,
        content: &str,
        instruction: Option<&str>,
        purpose: EmbeddingPurpose,
    ) -> Part {
        let prefix = match (self, instruction, purpose) {
            (Self::OpenAi, Some(instruction), EmbeddingPurpose::Query) => {
                format!("Instruct: {instruction}\nQuery: ")
            }
            _ => String::new(),
        };
        Part {
            text,
            prefix,
            // Servers refuse an empty string; a blank stands for it.
            content: if content.is_empty() {
                " ".into()
            } else {
                content.into()
            },
            instruction: instruction.filter(|_| self == Self::Synesis).map(str::to_owned),
        }
    }

    pub(crate) fn request(self, settings: &OpenAiSettings, batch: &[Part]) -> Value {
        match self {
            Self::OpenAi => {
                let input: Vec<String> = batch
                    .iter()
                    .map(|part| format!("{}{}", part.prefix, part.content))
                    .collect();
                let mut body = json!({"model": settings.model, "input": input, "encoding_format": "float"});
                // Other servers refuse the field for models whose vectors cannot be shortened.
                if settings.model.starts_with("text-embedding-3") {
                    body["dimensions"] = json!(settings.dimension);
                }
                body
            }
            Self::Synesis => {
                let inputs: Vec<Value> = batch
                    .iter()
                    .map(|part| match &part.instruction {
                        Some(instruction) => json!({"text": part.content, "instruction": instruction}),
                        None => json!({"text": part.content}),
                    })
                    .collect();
                json!({"inputs": inputs, "dimension": settings.dimension, "normalize": true})
            }
        }
    }

    /// The vectors of an answer, in the order of the request's texts; otherwise what is wrong with it.
    pub(crate) fn read(self, body: &[u8], count: usize) -> Result<Vec<Vec<f32>>, String> {
        let vectors = match self {
            Self::OpenAi => read_openai(body)?,
            Self::Synesis => {
                let answer: SynesisAnswer = parse(body)?;
                answer
                    .embeddings
                    .into_iter()
                    .map(SynesisVector::numbers)
                    .collect()
            }
        };
        if vectors.len() != count {
            return Err(format!("it holds {} vectors for {count} texts", vectors.len()));
        }
        Ok(vectors)
    }
}

#[derive(Deserialize)]
struct OpenAiAnswer {
    data: Vec<OpenAiVector>,
}

#[derive(Deserialize)]
struct OpenAiVector {
    index: Option<usize>,
    embedding: Vec<Number>,
}

#[derive(Deserialize)]
struct SynesisAnswer {
    embeddings: Vec<SynesisVector>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SynesisVector {
    Bare(Vec<Number>),
    Named { embedding: Vec<Number> },
}

impl SynesisVector {
    fn numbers(self) -> Vec<f32> {
        match self {
            Self::Bare(numbers) | Self::Named { embedding: numbers } => to_f32(numbers),
        }
    }
}

/// A number; servers write `null` for what is none.
type Number = Option<f32>;

fn to_f32(numbers: Vec<Number>) -> Vec<f32> {
    numbers
        .into_iter()
        .map(|number| number.unwrap_or(f32::NAN))
        .collect()
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("it is not the expected JSON ({error})"))
}

fn read_openai(body: &[u8]) -> Result<Vec<Vec<f32>>, String> {
    let answer: OpenAiAnswer = parse(body)?;
    let mut indexed: Vec<(usize, Vec<f32>)> = answer
        .data
        .into_iter()
        .enumerate()
        .map(|(place, vector)| (vector.index.unwrap_or(place), to_f32(vector.embedding)))
        .collect();
    indexed.sort_by_key(|(index, _)| *index);
    let in_order = indexed
        .iter()
        .enumerate()
        .all(|(place, (index, _))| place == *index);
    if !in_order {
        return Err("its vectors are not numbered from 0 without gaps".into());
    }
    Ok(indexed.into_iter().map(|(_, vector)| vector).collect())
}

/// The address of the embeddings call.
pub(crate) fn endpoint(base_url: &str) -> String {
    api_address(base_url, "embeddings")
}

/// The address of a call, such as `embeddings` or `chat/completions`, at a server's address, which may end in `/v1` or in
/// the path of one of the calls.
pub(crate) fn api_address(base_url: &str, call: &str) -> String {
    const CALLS: [&str; 3] = ["/embeddings", "/chat/completions", "/rerank"];
    let base = base_url.trim().trim_end_matches('/');
    if let Some(root) = CALLS.iter().find_map(|path| base.strip_suffix(path)) {
        return format!("{root}/{call}");
    }
    let last = base.rsplit('/').next().unwrap_or_default();
    let is_version = last
        .strip_prefix('v')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    if is_version {
        format!("{base}/{call}")
    } else {
        format!("{base}/v1/{call}")
    }
}

/// The most bytes that an answer may have: room for vectors four times as long as expected, so that a wrong length is
/// recognised as such, at 32 bytes a number.
pub(crate) fn answer_limit(count: usize, dimension: usize) -> usize {
    count * dimension.max(4_096) * 4 * 32 + 64 * 1024
}

/// Whether smaller pieces may pass where a request with so many texts was refused. Servers word the limit of a batch in
/// many ways, or not at all, so any refusal of the content of a batch is tried again in halves: what is wrong with a
/// single text shows at the end of a few more requests. A single text must be said to be too long.
pub(crate) fn may_be_too_large(error: &HttpError, texts: usize) -> bool {
    let HttpError::Status {
        code, body_excerpt, ..
    } = error
    else {
        return false;
    };
    if *code == 413 || (texts > 1 && matches!(*code, 400 | 422)) {
        return true;
    }
    const PHRASES: [&str; 12] = [
        "too long",
        "too large",
        "too big",
        "too many tokens",
        "too many inputs",
        "context length",
        "context size",
        "maximum length",
        "token limit",
        "exceed",
        "must have less than",
        "maximum allowed",
    ];
    let text = body_excerpt.to_lowercase();
    // llama.cpp's server answers 500 where an input does not fit its batch.
    matches!(*code, 400 | 422 | 500) && PHRASES.iter().any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_completed() {
        for base in [
            "http://host:9000",
            "http://host:9000/",
            "http://host:9000/v1",
            "http://host:9000/v1/",
            "http://host:9000/v1/embeddings",
        ] {
            assert_eq!(endpoint(base), "http://host:9000/v1/embeddings", "{base}");
        }
        assert_eq!(endpoint("https://host/api/v3"), "https://host/api/v3/embeddings");
        assert_eq!(endpoint("https://host/vllm"), "https://host/vllm/v1/embeddings");
        assert_eq!(
            api_address("https://host/v1/embeddings", "chat/completions"),
            "https://host/v1/chat/completions"
        );
        assert_eq!(api_address("https://host", "rerank"), "https://host/v1/rerank");
    }

    #[test]
    fn an_openai_answer_is_put_in_order() {
        let body = br#"{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}],"model":"m"}"#;
        assert_eq!(
            Dialect::OpenAi.read(body, 2),
            Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]])
        );
        let twice = br#"{"data":[{"index":0,"embedding":[3]},{"index":0,"embedding":[1]}]}"#;
        assert!(Dialect::OpenAi.read(twice, 2).is_err());
        assert!(
            Dialect::OpenAi
                .read(body, 3)
                .is_err_and(|reason| reason.contains("2 vectors for 3"))
        );
    }

    #[test]
    fn a_synesis_answer_comes_in_two_shapes() {
        let bare = br#"{"embeddings":[[1,2],[3,4]]}"#;
        let named = br#"{"embeddings":[{"embedding":[1,2]},{"embedding":[3,4]}]}"#;
        for body in [&bare[..], named] {
            assert_eq!(
                Dialect::Synesis.read(body, 2),
                Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]])
            );
        }
    }

    #[test]
    fn an_instruction_goes_where_the_dialect_wants_it() {
        let settings = OpenAiSettings::new("http://host", "qwen3-embedding", 4);
        let body = |dialect: Dialect, purpose| {
            let part = dialect.part(0, "What is it?", Some("Find it."), purpose);
            dialect.request(&settings, &[part])
        };
        assert_eq!(
            body(Dialect::OpenAi, EmbeddingPurpose::Query)["input"],
            json!(["Instruct: Find it.\nQuery: What is it?"])
        );
        assert_eq!(
            body(Dialect::OpenAi, EmbeddingPurpose::Passage)["input"],
            json!(["What is it?"])
        );
        assert_eq!(
            body(Dialect::Synesis, EmbeddingPurpose::Query),
            json!({"inputs": [{"text": "What is it?", "instruction": "Find it."}], "dimension": 4, "normalize": true})
        );
    }

    #[test]
    fn refusals_for_size_are_recognised() {
        let refusal = |code, text: &str| HttpError::Status {
            host: "host".into(),
            code,
            body_excerpt: text.into(),
            retry_after: None,
        };
        assert!(may_be_too_large(&refusal(413, ""), 1));
        for text in [
            "This model's maximum context length is 8192 tokens",
            "`inputs` must have less than 512 tokens. Given: 600",
            "Input length 600 is above the maximum allowed",
        ] {
            assert!(may_be_too_large(&refusal(400, text), 1), "{text}");
        }
        assert!(!may_be_too_large(&refusal(400, "unknown model"), 1));
        for texts in [1, 8] {
            assert!(!may_be_too_large(&refusal(429, "rate limit exceeded"), texts));
            assert!(!may_be_too_large(&refusal(401, "no"), texts));
        }
        assert!(may_be_too_large(&refusal(400, "no"), 2));
        assert!(may_be_too_large(&refusal(422, ""), 2));
    }
}
