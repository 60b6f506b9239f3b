//! The scope and the filters of a read as parameters 1 to 7 of its statement. Every statement that reads for a caller
//! holds [`library_admitted`] (and [`item_admitted`] where it reads items) in its own text.
//!
//! Limits are written `LIMIT ?8 + 0`: a bare parameter there takes part in the planning of SQLite, which then compiles
//! the statement anew at every call, and that takes longer than many a statement itself.

use mnemosyne_domain::{CollectionUid, ItemUid, LibraryUid, Scope, SearchFilter};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use super::schema::store_error;
use mnemosyne_domain::StoreResult;

/// A statement with its parameters.
pub(crate) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The condition on a library `l` that it is inside the scope and the filter.
macro_rules! library_admitted {
    () => {
        "(?1 = 0 OR l.workspace_id IS ?2) \
         AND (?3 IS NULL OR l.uid IN (SELECT value FROM json_each(?3))) \
         AND (?4 IS NULL OR l.uid = ?4) AND (?5 IS NULL OR l.library_type = ?5)"
    };
}

/// The condition on an item `i` that it is inside the filter.
macro_rules! item_admitted {
    () => {
        "(?6 IS NULL OR i.collection = (SELECT key FROM collection WHERE uid = ?6)) \
         AND (?7 IS NULL OR i.uid = ?7)"
    };
}

pub(crate) use {item_admitted, library_admitted};

/// What a read may see and asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admitted {
    scoped: bool,
    workspace: Option<String>,
    libraries: Option<String>,
    library: Option<String>,
    library_type: Option<&'static str>,
    collection: Option<String>,
    item: Option<String>,
}

impl Admitted {
    /// Everything inside a scope; everything there is without one.
    pub(crate) fn inside(scope: Option<&Scope>) -> Self {
        let Some(scope) = scope else {
            return Self::default();
        };
        let libraries = scope.libraries.as_ref().map(|libraries| {
            let uids: Vec<&str> = libraries.iter().map(LibraryUid::as_str).collect();
            serde_json::Value::from(uids).to_string()
        });
        Self {
            scoped: true,
            workspace: scope.workspace.as_ref().map(ToString::to_string),
            libraries,
            ..Self::default()
        }
    }

    /// What a search asks for.
    pub(crate) fn by(filter: &SearchFilter) -> Self {
        Self {
            library_type: filter.library_type.map(|kind| kind.as_str()),
            ..Self::inside(Some(&filter.scope))
                .library(filter.library_uid.as_ref())
                .collection(filter.collection_uid.as_ref())
                .item(filter.item_uid.as_ref())
        }
    }

    /// Narrowed to one library.
    pub(crate) fn library(self, uid: Option<&LibraryUid>) -> Self {
        Self {
            library: uid.map(ToString::to_string),
            ..self
        }
    }

    /// Narrowed to one type of library.
    pub(crate) fn library_type(self, kind: Option<&'static str>) -> Self {
        Self {
            library_type: kind,
            ..self
        }
    }

    /// Narrowed to one collection.
    pub(crate) fn collection(self, uid: Option<&CollectionUid>) -> Self {
        Self {
            collection: uid.map(ToString::to_string),
            ..self
        }
    }

    /// Narrowed to one item.
    pub(crate) fn item(self, uid: Option<&ItemUid>) -> Self {
        Self {
            item: uid.map(ToString::to_string),
            ..self
        }
    }

    /// The statement with parameters 1 to 7; further ones are bound after them.
    pub(crate) fn query<'q>(&self, sql: &'static str) -> Statement<'q> {
        sqlx::query(sql)
            .bind(i64::from(self.scoped))
            .bind(self.workspace.clone())
            .bind(self.libraries.clone())
            .bind(self.library.clone())
            .bind(self.library_type)
            .bind(self.collection.clone())
            .bind(self.item.clone())
    }
}

/// One column of a row.
pub(crate) fn get<'r, T>(row: &'r SqliteRow, column: usize) -> StoreResult<T>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    sqlx::Row::try_get(row, column).map_err(store_error)
}
