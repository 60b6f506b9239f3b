//! The scope and the filters of a read as parameters of its statement. Every statement that reads for a caller holds
//! [`library_admitted`] (and [`item_admitted`] where it reads items) in its own text.

use mnemosyne_domain::{CollectionUid, ItemUid, LibraryUid, Scope, SearchFilter};
use neo4rs::Query;

use super::database::{cypher, texts};

/// The condition on a library `l` that it is inside the scope and the filter.
macro_rules! library_admitted {
    () => {
        "(NOT $scoped OR ($workspace IS NULL AND l.workspace_id IS NULL) OR l.workspace_id = $workspace) \
         AND ($libraries IS NULL OR l.uid IN $libraries) AND ($library IS NULL OR l.uid = $library) \
         AND ($library_type IS NULL OR l.library_type = $library_type)"
    };
}

/// The condition on an item `i` in the collection `o` that it is inside the filter.
macro_rules! item_admitted {
    () => {
        "($collection IS NULL OR o.uid = $collection) AND ($item IS NULL OR i.uid = $item)"
    };
}

/// The pattern of an item `i`, its collection `o` and its library `l`, with the condition that the item is visible and
/// all three are inside the scope and the filter.
macro_rules! visible_item {
    () => {
        concat!(
            "(i:Item)<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
             WHERE i.embedding_status = 'completed' AND ",
            $crate::neo4j::scope::library_admitted!(),
            " AND ",
            $crate::neo4j::scope::item_admitted!()
        )
    };
}

pub(super) use {item_admitted, library_admitted, visible_item};

/// What a read may see and asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Admitted {
    scoped: bool,
    workspace: Option<String>,
    libraries: Option<Vec<String>>,
    library: Option<String>,
    library_type: Option<&'static str>,
    collection: Option<String>,
    item: Option<String>,
}

impl Admitted {
    /// Everything inside a scope; everything there is without one.
    pub(super) fn inside(scope: Option<&Scope>) -> Self {
        let Some(scope) = scope else {
            return Self::default();
        };
        Self {
            scoped: true,
            workspace: scope.workspace.as_ref().map(ToString::to_string),
            libraries: scope
                .libraries
                .as_ref()
                .map(|libraries| libraries.iter().map(ToString::to_string).collect()),
            ..Self::default()
        }
    }

    /// What a search asks for.
    pub(super) fn by(filter: &SearchFilter) -> Self {
        Self {
            library_type: filter.library_type.map(|kind| kind.as_str()),
            ..Self::inside(Some(&filter.scope))
                .library(filter.library_uid.as_ref())
                .collection(filter.collection_uid.as_ref())
                .item(filter.item_uid.as_ref())
        }
    }

    /// Narrowed to one library.
    pub(super) fn library(self, uid: Option<&LibraryUid>) -> Self {
        Self {
            library: uid.map(ToString::to_string),
            ..self
        }
    }

    /// Narrowed to one type of library.
    pub(super) fn library_type(self, kind: Option<&'static str>) -> Self {
        Self {
            library_type: kind,
            ..self
        }
    }

    /// Narrowed to one collection.
    pub(super) fn collection(self, uid: Option<&CollectionUid>) -> Self {
        Self {
            collection: uid.map(ToString::to_string),
            ..self
        }
    }

    /// Narrowed to one item.
    pub(super) fn item(self, uid: Option<&ItemUid>) -> Self {
        Self {
            item: uid.map(ToString::to_string),
            ..self
        }
    }

    /// The item that was asked for.
    pub(super) fn item_uid(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// Whether a collection was asked for.
    pub(super) fn has_collection(&self) -> bool {
        self.collection.is_some()
    }

    /// The statement with the parameters of the conditions; further ones are added by the caller.
    pub(super) fn query(&self, text: &'static str) -> Query {
        self.applied_to(cypher(text))
    }

    /// As [`Admitted::query`], for a statement that is no constant.
    pub(super) fn applied_to(&self, query: Query) -> Query {
        let libraries = self
            .libraries
            .as_ref()
            .map(|libraries| texts(libraries.iter().map(String::as_str)));
        query
            .param("scoped", self.scoped)
            .param("workspace", self.workspace.as_deref())
            .param("libraries", libraries)
            .param("library", self.library.as_deref())
            .param("library_type", self.library_type)
            .param("collection", self.collection.as_deref())
            .param("item", self.item.as_deref())
    }
}
