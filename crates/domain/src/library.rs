//! Libraries, their nine types, and what a type does to a document.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};

use crate::id::{LibraryUid, WorkspaceId};

/// What kind of works a library holds. Frozen once the library exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LibraryType {
    /// Novels, stories, plays.
    Fiction,
    /// Books about the world.
    Nonfiction,
    /// Manuals, papers, specifications, code.
    Technical,
    /// Lyrics, scores, liner notes.
    Music,
    /// Scripts, subtitles, reviews.
    Film,
    /// Catalogues, descriptions of works.
    Art,
    /// Diaries, logs, minutes.
    Journal,
    /// Contracts, plans, correspondence.
    Business,
    /// Statements, reports, tables of figures.
    Finance,
}

impl LibraryType {
    /// Every type, in the order they are offered.
    pub const ALL: [Self; 9] = [
        Self::Fiction,
        Self::Nonfiction,
        Self::Technical,
        Self::Music,
        Self::Film,
        Self::Art,
        Self::Journal,
        Self::Business,
        Self::Finance,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fiction => "fiction",
            Self::Nonfiction => "nonfiction",
            Self::Technical => "technical",
            Self::Music => "music",
            Self::Film => "film",
            Self::Art => "art",
            Self::Journal => "journal",
            Self::Business => "business",
            Self::Finance => "finance",
        }
    }

    /// The type of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What this type does to a document, as shipped.
    pub fn profile(self) -> &'static LibraryTypeProfile {
        &PROFILES[&self]
    }
}

impl fmt::Display for LibraryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How text is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkStrategy {
    /// By scene; dialogue stays together.
    Scene,
    /// By chapter and section, whole paragraphs.
    Section,
    /// By section; never inside a code block, a table or a list.
    Technical,
    /// By verse; a verse is never cut where it fits.
    Verse,
    /// By entry; an entry's date goes with each of its chunks.
    Entry,
    /// By clause and paragraph; numbering stays with its text.
    Clause,
    /// By section; tables and the figures' captions stay whole.
    Table,
}

/// What a library type does to a document and to a search. Shipped in `library_types.toml`; a library may override
/// parts of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryTypeProfile {
    /// The name that people see.
    pub title: String,
    /// What belongs in such a library, in one sentence.
    pub description: String,
    /// How text is cut.
    pub strategy: ChunkStrategy,
    /// Size that a chunk aims at, in characters.
    pub target_chars: usize,
    /// Size that a chunk exceeds only where the strategy keeps a table or a code block whole, in characters.
    pub max_chars: usize,
    /// How much of the end of a chunk stands again at the beginning of the next one of the same section, in characters.
    pub overlap_chars: usize,
    /// What an embedding model that takes instructions is told about questions.
    pub embedding_instruction: String,
    /// What a reranker that takes instructions is told.
    pub rerank_instruction: String,
    /// What a model that reads the results is told about them.
    pub llm_context: String,
    /// What a vision model is asked about an image.
    pub vision_prompt: String,
}

/// What one library changes about its type. `None` keeps the type's own value.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileOverrides {
    /// See [`LibraryTypeProfile::target_chars`].
    pub target_chars: Option<usize>,
    /// See [`LibraryTypeProfile::max_chars`].
    pub max_chars: Option<usize>,
    /// See [`LibraryTypeProfile::overlap_chars`].
    pub overlap_chars: Option<usize>,
    /// See [`LibraryTypeProfile::embedding_instruction`].
    pub embedding_instruction: Option<String>,
    /// See [`LibraryTypeProfile::rerank_instruction`].
    pub rerank_instruction: Option<String>,
    /// See [`LibraryTypeProfile::llm_context`].
    pub llm_context: Option<String>,
    /// See [`LibraryTypeProfile::vision_prompt`].
    pub vision_prompt: Option<String>,
}

impl LibraryTypeProfile {
    /// The profile of one library: its type's, with what it overrides. Sizes are held inside what chunking can work
    /// with: `64 <= target <= max <= 20000`, `overlap <= target / 2`.
    pub fn with(&self, overrides: &ProfileOverrides) -> Self {
        let target = overrides
            .target_chars
            .unwrap_or(self.target_chars)
            .clamp(64, 20_000);
        let max = overrides
            .max_chars
            .unwrap_or(self.max_chars.max(target))
            .clamp(target, 20_000);
        let overlap = overrides
            .overlap_chars
            .unwrap_or(self.overlap_chars)
            .min(target / 2);
        let text = |own: &Option<String>, shipped: &String| own.clone().unwrap_or_else(|| shipped.clone());
        Self {
            title: self.title.clone(),
            description: self.description.clone(),
            strategy: self.strategy,
            target_chars: target,
            max_chars: max,
            overlap_chars: overlap,
            embedding_instruction: text(&overrides.embedding_instruction, &self.embedding_instruction),
            rerank_instruction: text(&overrides.rerank_instruction, &self.rerank_instruction),
            llm_context: text(&overrides.llm_context, &self.llm_context),
            vision_prompt: text(&overrides.vision_prompt, &self.vision_prompt),
        }
    }
}

/// The shipped profiles. The file is part of the program and a test reads it, so that it cannot fail at run time.
#[expect(clippy::expect_used, reason = "a compiled-in file, read by a test")]
static PROFILES: LazyLock<BTreeMap<LibraryType, LibraryTypeProfile>> = LazyLock::new(|| {
    toml::from_str(include_str!("library_types.toml")).expect("library_types.toml is well-formed")
});

/// A library as it stands in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Library {
    /// Its identifier.
    pub uid: LibraryUid,
    /// Unique among all libraries.
    pub name: String,
    /// The workspace it belongs to; `None` for a global library.
    pub workspace_id: Option<WorkspaceId>,
    /// Frozen.
    pub library_type: LibraryType,
    /// Free text.
    pub description: String,
    /// What it changes about its type.
    pub overrides: ProfileOverrides,
    /// The name of the model that makes its vectors; `None` until the first item.
    pub embedding_model: Option<String>,
    /// Visible items.
    pub item_count: u64,
    /// Chunks of visible items.
    pub chunk_count: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Library {
    /// What happens to a document in this library.
    pub fn profile(&self) -> LibraryTypeProfile {
        self.library_type.profile().with(&self.overrides)
    }
}

/// A library to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewLibrary {
    /// Unique among all libraries, 1 to 200 characters.
    pub name: String,
    /// The workspace it belongs to.
    pub workspace_id: Option<WorkspaceId>,
    /// Its type for good.
    pub library_type: LibraryType,
    /// Free text.
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_profile_whose_sizes_fit_together() {
        for kind in LibraryType::ALL {
            assert_eq!(LibraryType::parse(kind.as_str()), Some(kind));
            let profile = kind.profile();
            assert_eq!(&profile.with(&ProfileOverrides::default()), profile, "{kind}");
            assert!(!profile.embedding_instruction.is_empty() && !profile.vision_prompt.is_empty());
        }
    }

    #[test]
    fn overrides_stay_inside_what_chunking_can_work_with() {
        let wild = ProfileOverrides {
            target_chars: Some(1),
            max_chars: Some(usize::MAX),
            overlap_chars: Some(9999),
            ..ProfileOverrides::default()
        };
        let profile = LibraryType::Fiction.profile().with(&wild);
        assert_eq!(
            (profile.target_chars, profile.max_chars, profile.overlap_chars),
            (64, 20_000, 32)
        );
    }
}
