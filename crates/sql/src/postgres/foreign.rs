//! What other programs keep in this database: read only.

use mnemosyne_domain::ports::{ForeignColumn, ForeignTable, ForeignTables};
use mnemosyne_domain::{StoreError, StoreResult};
use serde_json::{Map, Value};

use super::PostgresDatabase;
use super::errors::store_error;
use crate::rows::signed;

const COLUMNS: &str = "SELECT t.relname::text, c.attname::text, format_type(c.atttypid, NULL) \
    FROM pg_class t JOIN pg_namespace s ON s.oid = t.relnamespace JOIN pg_attribute c ON c.attrelid = t.oid \
    WHERE t.relkind IN ('r', 'p') AND s.nspname = current_schema() AND c.attnum > 0 AND NOT c.attisdropped \
    AND has_table_privilege(t.oid, 'SELECT') \
    AND t.relname NOT LIKE 'mnemosyne\\_%' AND t.relname <> '_sqlx_migrations' \
    ORDER BY t.relname COLLATE \"C\", c.attnum";

// The name of a table cannot be a parameter of a query. A function of this transaction only puts it into one, quoted by the
// server; the transaction is rolled back, so that not even the function stays.
const READER: &str = "CREATE FUNCTION pg_temp.mnemosyne_foreign_rows(wanted text, first bigint, most bigint) \
    RETURNS SETOF text LANGUAGE plpgsql AS $reader$ BEGIN \
    RETURN QUERY EXECUTE format('SELECT to_jsonb(found)::text FROM %I.%I AS found ORDER BY ctid OFFSET $1 LIMIT $2', \
    current_schema(), wanted) USING first, most; END $reader$";

#[async_trait::async_trait]
impl ForeignTables for PostgresDatabase {
    async fn foreign_tables(&self) -> StoreResult<Vec<ForeignTable>> {
        let columns: Vec<(String, String, String)> = sqlx::query_as(COLUMNS)
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let mut tables: Vec<ForeignTable> = Vec::new();
        for (table, name, kind) in columns {
            let column = ForeignColumn { name, kind };
            match tables.last_mut() {
                Some(last) if last.name == table => last.columns.push(column),
                _ => tables.push(ForeignTable {
                    name: table,
                    columns: vec![column],
                }),
            }
        }
        Ok(tables)
    }

    async fn foreign_rows(
        &self,
        table: &str,
        offset: u64,
        limit: u32,
    ) -> StoreResult<Vec<Map<String, Value>>> {
        let mut tx = self.begin().await?;
        sqlx::query(READER).execute(&mut *tx).await.map_err(store_error)?;
        let rows: Vec<String> = sqlx::query_scalar("SELECT pg_temp.mnemosyne_foreign_rows($1, $2, $3)")
            .bind(table)
            .bind(signed(offset))
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .map_err(|error| match store_error(error) {
                StoreError::Schema(_) => StoreError::NotFound,
                other => other,
            })?;
        tx.rollback().await.map_err(store_error)?;
        rows.iter()
            .map(|row| serde_json::from_str(row).map_err(|error| StoreError::Corrupt(error.to_string())))
            .collect()
    }
}
