//! Servers of models (*providers*) and their models, as administrators register them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::{ModelUid, ProviderUid};

/// How a server of models speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// OpenAI's paths and bodies, as most servers offer them.
    #[default]
    OpenAi,
    /// `{inputs: …}` answered by `{embeddings: …}`; everything but embeddings as OpenAI has it.
    Synesis,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Synesis];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Synesis => "synesis",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelRole {
    /// Makes vectors.
    Embedding,
    /// Puts passages in order.
    Reranker,
    /// Answers in words.
    Chat,
    /// Answers in words about images.
    Vision,
}

impl ModelRole {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Embedding, Self::Reranker, Self::Chat, Self::Vision];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Reranker => "reranker",
            Self::Chat => "chat",
            Self::Vision => "vision",
        }
    }

    /// The role of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// A key that a server asks for. Never shown: `Debug` writes a word instead.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps a key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself, for the one header that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last characters, to recognise it by: a quarter of the key and four at the most, so that nothing of a short key
    /// is told.
    pub fn hint(&self) -> String {
        let length = self.0.chars().count();
        let shown = (length / 4).min(4);
        self.0.chars().skip(length - shown).collect()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// The bounds of calls to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderLimits {
    /// How long one request may take, in whole seconds.
    pub timeout: Duration,
    /// The most texts in one request.
    pub batch_size: u32,
    /// The most text in one request, in estimated tokens (one for every three bytes).
    pub batch_tokens: u32,
    /// The longest text that is sent in one piece, in estimated tokens.
    pub text_tokens: u32,
    /// The most requests of one process at the same time.
    pub max_parallel: u32,
}

impl Default for ProviderLimits {
    /// 120 s, 8 texts, 16,000 tokens, 8,000 tokens a text, 4 requests at the same time.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            batch_size: 8,
            batch_tokens: 16_000,
            text_tokens: 8_000,
            max_parallel: 4,
        }
    }
}

/// What is said of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDraft {
    /// What people call it; unique.
    pub name: String,
    /// How it speaks.
    pub kind: ProviderKind,
    /// Its address, with or without `/v1`.
    pub base_url: String,
    /// Whether its certificate is checked.
    pub verify_tls: bool,
    /// Whether its host may have a private address, as somebody said who may set the environment as well.
    pub allow_private: bool,
    /// The bounds of calls to it.
    pub limits: ProviderLimits,
}

/// What becomes of a stored key.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyChange {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// This takes its place; sealed.
    Replace(String),
}

impl fmt::Debug for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Remove => "Remove",
            Self::Replace(_) => "Replace(…)",
        })
    }
}

/// A server of models.
#[derive(Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its identifier.
    pub uid: ProviderUid,
    /// What is said of it.
    pub draft: ProviderDraft,
    /// The key that it asks for, sealed.
    pub sealed_key: Option<String>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("uid", &self.uid)
            .field("draft", &self.draft)
            .field("has_key", &self.sealed_key.is_some())
            .finish_non_exhaustive()
    }
}

/// What is said of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelDraft {
    /// Its name on the wire; for embeddings also the name of the vector space.
    pub name: String,
    /// What it is for.
    pub role: ModelRole,
    /// The length of its vectors; `None` but for embeddings.
    pub dimension: Option<usize>,
    /// Whether it was trained to be told its task. `None`: if its name says so.
    pub takes_instructions: Option<bool>,
    /// Whether it is the system's model for its role; there is one at the most.
    pub is_default: bool,
}

/// A model of a registered server. (Provider, role, name, dimension) is unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderModel {
    /// Its identifier.
    pub uid: ModelUid,
    /// The server.
    pub provider: ProviderUid,
    /// What is said of it.
    pub draft: ModelDraft,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// The key of a server, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKey {
    /// The server asks for none.
    None,
    /// The key.
    Open(ApiKey),
    /// There is one, and none of the configured encryption keys opens it.
    Unreadable,
}

/// A server and what is needed to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTarget {
    /// The server's identifier.
    pub provider: ProviderUid,
    /// What is said of it.
    pub server: ProviderDraft,
    /// Its key.
    pub key: ProviderKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for kind in ProviderKind::ALL {
            assert_eq!(ProviderKind::parse(kind.as_str()), Some(kind));
        }
        for role in ModelRole::ALL {
            assert_eq!(ModelRole::parse(role.as_str()), Some(role));
        }
        assert_eq!(ModelRole::parse("poet"), None);
    }

    #[test]
    fn a_key_tells_little_and_shows_nothing() {
        for (key, hint) in [
            ("sk-0123456789abcdef", "cdef"),
            ("secret", "t"),
            ("abc", ""),
            ("", ""),
        ] {
            assert_eq!(ApiKey::new(key).hint(), hint);
        }
        let change = KeyChange::Replace("sealed-text".into());
        let shown = format!("{:?} {change:?}", ApiKey::new("sk-0123456789abcdef"));
        assert!(
            !shown.contains("cdef") && !shown.contains("sealed-text"),
            "{shown}"
        );
    }
}
