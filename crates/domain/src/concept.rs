//! Concepts: the named things that documents share, and that the graph leg of a search walks over.

use crate::id::ConceptUid;

/// What sort of thing a concept is (contract §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConceptKind {
    /// A human being.
    Person,
    /// A place on a map.
    Place,
    /// A subject.
    Topic,
    /// A way of doing something.
    Technique,
    /// A recurring idea of a work.
    Theme,
}

impl ConceptKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Person,
        Self::Place,
        Self::Topic,
        Self::Technique,
        Self::Theme,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Place => "place",
            Self::Topic => "topic",
            Self::Technique => "technique",
            Self::Theme => "theme",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A concept as it stands in the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Concept {
    /// Derived from the normalised name.
    pub uid: ConceptUid,
    /// The name as it was first written.
    pub name: String,
    /// What sort of thing it is.
    pub kind: ConceptKind,
    /// How it was found: `local` for the cheap extractor, otherwise the name of the chat model.
    pub extracted_by: String,
    /// In how many visible chunks it is mentioned, within the scope that was asked for.
    pub mentions: u64,
}

/// A concept found in an item, with the chunks that mention it. Written with the item.
#[derive(Clone, Debug, PartialEq)]
pub struct ConceptMention {
    /// The name as it is written in the document.
    pub name: String,
    /// What sort of thing it is.
    pub kind: ConceptKind,
    /// How it was found; see [`Concept::extracted_by`].
    pub extracted_by: String,
    /// Positions of the chunks that mention it, ascending. Never empty.
    pub chunk_positions: Vec<u32>,
    /// How much the concept matters to the document, 0 to 1.
    pub weight: f32,
}

impl ConceptMention {
    /// The name under which mentions of one concept meet: lower case, single spaces.
    pub fn normal_name(name: &str) -> String {
        name.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase()
    }
}
