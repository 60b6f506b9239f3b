//! Scopes, filters and the answers of the legs of a search.

use std::collections::BTreeSet;

use crate::id::{ChunkUid, CollectionUid, ItemUid, LibraryUid, WorkspaceId};
use crate::item::PlaceKind;
use crate::library::LibraryType;

/// What a caller may see (contract §7, security-critical): either the global libraries or the library of one workspace,
/// never both; narrowed to `libraries` where that is given. Every leg and every read applies it inside its own query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `None`: the libraries that have no workspace. `Some`: the library of that workspace.
    pub workspace: Option<WorkspaceId>,
    /// Where given, only these of them. An empty set sees nothing.
    pub libraries: Option<BTreeSet<LibraryUid>>,
}

impl Scope {
    /// The global libraries.
    pub fn global() -> Self {
        Self {
            workspace: None,
            libraries: None,
        }
    }

    /// The library of one workspace.
    pub fn workspace(id: WorkspaceId) -> Self {
        Self {
            workspace: Some(id),
            libraries: None,
        }
    }

    /// Whether a library is inside the scope.
    pub fn admits(&self, library: &LibraryUid, workspace: Option<&WorkspaceId>) -> bool {
        self.workspace.as_ref() == workspace
            && self
                .libraries
                .as_ref()
                .is_none_or(|libraries| libraries.contains(library))
    }
}

/// A scope, and what the caller asks for inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchFilter {
    /// What the caller may see.
    pub scope: Scope,
    /// Only this library.
    pub library_uid: Option<LibraryUid>,
    /// Only libraries of this type.
    pub library_type: Option<LibraryType>,
    /// Only this collection.
    pub collection_uid: Option<CollectionUid>,
    /// Only this item.
    pub item_uid: Option<ItemUid>,
}

impl SearchFilter {
    /// Everything inside a scope.
    pub fn within(scope: Scope) -> Self {
        Self {
            scope,
            library_uid: None,
            library_type: None,
            collection_uid: None,
            item_uid: None,
        }
    }
}

/// The ways a search looks for chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Leg {
    /// Nearest vectors.
    Vector,
    /// Words.
    Fulltext,
    /// Concepts and their neighbours.
    Graph,
    /// Images near to the query.
    Image,
}

impl Leg {
    /// Every leg.
    pub const ALL: [Self; 4] = [Self::Vector, Self::Fulltext, Self::Graph, Self::Image];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Fulltext => "fulltext",
            Self::Graph => "graph",
            Self::Image => "image",
        }
    }
}

/// A chunk that one leg found.
#[derive(Clone, Debug, PartialEq)]
pub struct LegHit {
    /// The chunk.
    pub chunk_uid: ChunkUid,
    /// The leg's own score, larger is better. Vector: `(1 + cosine) / 2`. Full text: BM25. Graph: a sum of weights.
    /// Scores of different legs are not comparable; ranks are.
    pub score: f32,
}

/// A found chunk with what a person needs to recognise it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkHit {
    /// The chunk.
    pub chunk_uid: ChunkUid,
    /// Its item.
    pub item_uid: ItemUid,
    /// The item's title.
    pub item_title: String,
    /// The item's library.
    pub library_uid: LibraryUid,
    /// That library's type.
    pub library_type: LibraryType,
    /// The chunk's whole text.
    pub text: String,
    /// The headings it stands under.
    pub heading_path: Vec<String>,
    /// The page or section it begins on.
    pub page: Option<u32>,
    /// Which of the two; [`PlaceKind::of`] the item's media type.
    pub page_kind: PlaceKind,
    /// Its place in the item.
    pub position: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_workspace_or_the_global_libraries_never_both() {
        let (library, other) = (LibraryUid::generate(), LibraryUid::generate());
        let workspace = WorkspaceId::parse("w").unwrap();
        assert!(Scope::global().admits(&library, None));
        assert!(!Scope::global().admits(&library, Some(&workspace)));
        assert!(Scope::workspace(workspace.clone()).admits(&library, Some(&workspace)));
        assert!(!Scope::workspace(workspace.clone()).admits(&library, None));
        let narrowed = Scope {
            workspace: None,
            libraries: Some(BTreeSet::from([other.clone()])),
        };
        assert!(narrowed.admits(&other, None) && !narrowed.admits(&library, None));
        let nothing = Scope {
            workspace: None,
            libraries: Some(BTreeSet::new()),
        };
        assert!(!nothing.admits(&library, None));
    }
}
