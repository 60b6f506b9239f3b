//! "Embedding pipeline" of the deployment document, and the model server of the contract's `EMBEDDING_*`.

use std::time::Duration;

use crate::reader::Reader;
use crate::secret::Secret;

/// How an embedding server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingDialect {
    /// `/v1/embeddings`, as many servers offer it.
    OpenAi,
    /// `{inputs: …}` answered by `{embeddings: …}`.
    Synesis,
}

impl EmbeddingDialect {
    /// The word of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Synesis => "synesis",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::OpenAi, Self::Synesis]
            .into_iter()
            .find(|dialect| dialect.as_str().eq_ignore_ascii_case(word))
    }
}

/// The embedding server, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingSection {
    /// `http` or `https`, as it was given but for a slash at its end.
    pub base_url: String,
    /// The model's name on that server.
    pub model: String,
    /// Sent as a bearer token.
    pub api_key: Option<Secret>,
    /// The length of its vectors.
    pub dimension: usize,
    /// How it is spoken to.
    pub dialect: EmbeddingDialect,
}

/// The bounds of one request for vectors, whichever model makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingLimits {
    /// Texts in one request, at least 1.
    pub batch_size: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

pub(crate) fn read_limits(reader: &mut Reader<'_>) -> Option<EmbeddingLimits> {
    let batch_size = reader.number("EMBEDDING_BATCH_SIZE", 1..=1024);
    let timeout = reader.seconds("EMBEDDING_TIMEOUT", 1..=3600);
    Some(EmbeddingLimits {
        batch_size: batch_size?,
        timeout: timeout?,
    })
}

/// The outer `None`: a value is wrong. The inner one: there is no server.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Option<EmbeddingSection>> {
    let base_url_is_set = reader.is_set("EMBEDDING_BASE_URL");
    let base_url = reader.base_url("EMBEDDING_BASE_URL");
    let model_is_set = reader.is_set("EMBEDDING_MODEL");
    let model = reader.text("EMBEDDING_MODEL");
    let api_key = reader.secret("EMBEDDING_API_KEY");
    let dimension_is_set = reader.is_set("EMBEDDING_DIMENSION");
    let dimension = reader.number("EMBEDDING_DIMENSION", 1..=16_384);
    let dialect = reader.parsed("EMBEDDING_DIALECT", "openai or synesis", EmbeddingDialect::parse);

    if !base_url_is_set {
        let orphans = [
            ("EMBEDDING_MODEL", model_is_set),
            ("EMBEDDING_API_KEY", api_key.is_some()),
            ("EMBEDDING_DIMENSION", dimension_is_set),
        ];
        for (name, _) in orphans.into_iter().filter(|(_, is_set)| *is_set) {
            reader.problem_with_example(
                name,
                "is set, but EMBEDDING_BASE_URL is not: set that too, or leave both unset for the embedded model.",
                None,
            );
        }
        return Some(None);
    }
    for (name, is_set) in [
        ("EMBEDDING_MODEL", model_is_set),
        ("EMBEDDING_DIMENSION", dimension_is_set),
    ] {
        if !is_set {
            reader.problem(name, "is missing: EMBEDDING_BASE_URL is set and needs it.");
        }
    }
    Some(Some(EmbeddingSection {
        base_url: base_url?,
        model: model?,
        api_key,
        dimension: dimension?,
        dialect: dialect?,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    fn complete() -> MapEnvironment {
        MapEnvironment::new()
            .with("EMBEDDING_BASE_URL", "https://models.example.org/v1/")
            .with("EMBEDDING_MODEL", "some/model")
            .with("EMBEDDING_DIMENSION", "1024")
    }

    #[test]
    fn defaults() {
        let config = read(&[("EMBEDDING_BASE_URL", "")]);
        assert_eq!(config.embedding, None);
        assert_eq!(config.embedding_limits.batch_size, 8);
        assert_eq!(config.embedding_limits.timeout, Duration::from_secs(120));
    }

    #[test]
    fn values() {
        let environment = complete()
            .with("EMBEDDING_API_KEY", "hunter2")
            .with("EMBEDDING_DIALECT", "Synesis")
            .with("EMBEDDING_BATCH_SIZE", "16");
        let config = crate::Config::read(&environment).unwrap();
        let embedding = config.embedding.clone().unwrap();
        assert_eq!(embedding.base_url, "https://models.example.org/v1");
        assert_eq!(embedding.model, "some/model");
        assert_eq!(embedding.dimension, 1024);
        assert_eq!(embedding.dialect, EmbeddingDialect::Synesis);
        assert_eq!(embedding.api_key.unwrap().expose(), "hunter2");
        assert_eq!(config.embedding_limits.batch_size, 16);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_half_configured_server_names_what_is_missing() {
        for missing in ["EMBEDDING_MODEL", "EMBEDDING_DIMENSION", "EMBEDDING_BASE_URL"] {
            let problems = problems(&complete().with(missing, ""));
            assert!(!problems.is_empty(), "{missing}");
            assert!(
                problems
                    .iter()
                    .all(|problem| problem.to_string().contains(missing)),
                "{problems:?}"
            );
        }
        let alone = MapEnvironment::new().with("EMBEDDING_BASE_URL", "http://127.0.0.1:8080");
        assert_eq!(problems(&alone).len(), 2);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("EMBEDDING_BASE_URL", "models.example.org"),
            ("EMBEDDING_BASE_URL", "ftp://models.example.org"),
            ("EMBEDDING_BASE_URL", "http://"),
            ("EMBEDDING_BASE_URL", "http://user:pass@models.example.org"),
            ("EMBEDDING_BASE_URL", "http://models.example.org/?key=1"),
            ("EMBEDDING_DIMENSION", "0"),
            ("EMBEDDING_DIMENSION", "-1"),
            ("EMBEDDING_DIMENSION", "many"),
            ("EMBEDDING_DIMENSION", "99999999999999999999999"),
            ("EMBEDDING_DIALECT", "esperanto"),
            ("EMBEDDING_BATCH_SIZE", "0"),
            ("EMBEDDING_TIMEOUT", "1.5"),
        ] {
            let problems = problems(&complete().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert_eq!(problems[0].name, name);
        }
    }
}
