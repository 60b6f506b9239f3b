use serde_json::{Map, Value};

use crate::error::StoreResult;

/// A column of a table that another program made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignColumn {
    /// Its name.
    pub name: String,
    /// Its type, as PostgreSQL names it without its length: `character varying`, `timestamp with time zone`, `text[]`.
    pub kind: String,
}

/// A table that another program made in our database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignTable {
    /// Its name, without its schema.
    pub name: String,
    /// Its columns, in their order.
    pub columns: Vec<ForeignColumn>,
}

/// The tables of other programs in our database. They are only ever read.
#[async_trait::async_trait]
pub trait ForeignTables: Send + Sync {
    /// Every table of the schema that can be read but our own, whose names begin with `mnemosyne_` (and the list of our
    /// migrations), by name.
    async fn foreign_tables(&self) -> StoreResult<Vec<ForeignTable>>;
    /// Rows of a table, in the order they are stored in, from a place on, as PostgreSQL turns rows into JSON: times as ISO
    /// 8601, bytes as `\x` and hexadecimal digits, arrays as lists. [`crate::StoreError::NotFound`] where there is no such
    /// table.
    async fn foreign_rows(
        &self,
        table: &str,
        offset: u64,
        limit: u32,
    ) -> StoreResult<Vec<Map<String, Value>>>;
}
