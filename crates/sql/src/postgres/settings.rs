//! Small named values.

use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::Settings;

use super::PostgresDatabase;
use super::errors::store_error;

#[async_trait::async_trait]
impl Settings for PostgresDatabase {
    async fn setting(&self, name: &str) -> StoreResult<Option<String>> {
        sqlx::query_scalar("SELECT value FROM mnemosyne_setting WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)
    }

    async fn set_setting(&self, name: &str, value: &str) -> StoreResult<()> {
        sqlx::query(
            "INSERT INTO mnemosyne_setting (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(store_error)
    }

    async fn delete_setting(&self, name: &str) -> StoreResult<()> {
        sqlx::query("DELETE FROM mnemosyne_setting WHERE name = $1")
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn settings_with_prefix(&self, prefix: &str) -> StoreResult<Vec<(String, String)>> {
        sqlx::query_as("SELECT name, value FROM mnemosyne_setting WHERE starts_with(name, $1) ORDER BY name")
            .bind(prefix)
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }
}
