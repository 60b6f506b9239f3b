//! MCP tokens.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::Tokens;
use mnemosyne_domain::{LibraryUid, McpToken, NewMcpToken, StoreResult, Tool, UserId};

use super::PostgresDatabase;
use super::errors::{conflict, store_error};
use crate::rows::{TokenRow, list};
use crate::time::micros;

const INSERT: &str = "INSERT INTO mnemosyne_mcp_token \
    (user_id, name, prefix, digest, tools, libraries, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *";
const BY_DIGEST: &str = "SELECT * FROM mnemosyne_mcp_token WHERE digest = $1";
const LIST: &str =
    "SELECT * FROM mnemosyne_mcp_token WHERE ($1::bigint IS NULL OR user_id = $1) ORDER BY id DESC";
const REVOKE: &str = "UPDATE mnemosyne_mcp_token SET revoked_at = $3 \
    WHERE id = $1 AND ($2::bigint IS NULL OR user_id = $2) AND revoked_at IS NULL";

#[async_trait::async_trait]
impl Tokens for PostgresDatabase {
    async fn create_token(&self, token: NewMcpToken, now: DateTime<Utc>) -> StoreResult<McpToken> {
        let tools: Option<&BTreeSet<Tool>> = token.tools.as_ref();
        sqlx::query_as::<_, TokenRow>(INSERT)
            .bind(token.user_id.0)
            .bind(&token.name)
            .bind(&token.prefix)
            .bind(&token.digest)
            .bind(list(tools.map(|tools| tools.iter().map(|tool| tool.as_str()))))
            .bind(list(
                token
                    .libraries
                    .as_ref()
                    .map(|uids| uids.iter().map(LibraryUid::as_str)),
            ))
            .bind(micros(now))
            .bind(token.expires_at.map(micros))
            .fetch_one(&self.pool)
            .await
            .map_err(|error| match &error {
                sqlx::Error::Database(database)
                    if database.constraint() == Some("mnemosyne_mcp_token_digest") =>
                {
                    conflict("digest")(error)
                }
                _ => conflict("name")(error),
            })?
            .read()
    }

    async fn token_by_digest(&self, digest: &str) -> StoreResult<Option<McpToken>> {
        let row = sqlx::query_as::<_, TokenRow>(BY_DIGEST)
            .bind(digest)
            .fetch_optional(&self.pool)
            .await;
        row.map_err(store_error)?.map(TokenRow::read).transpose()
    }

    async fn tokens(&self, owner: Option<UserId>) -> StoreResult<Vec<McpToken>> {
        let rows = sqlx::query_as::<_, TokenRow>(LIST)
            .bind(owner.map(|id| id.0))
            .fetch_all(&self.pool)
            .await;
        rows.map_err(store_error)?
            .into_iter()
            .map(TokenRow::read)
            .collect()
    }

    async fn revoke_token(&self, id: i64, owner: Option<UserId>, now: DateTime<Utc>) -> StoreResult<bool> {
        sqlx::query(REVOKE)
            .bind(id)
            .bind(owner.map(|id| id.0))
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(store_error)
    }

    async fn touch_token(&self, id: i64, at: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query("UPDATE mnemosyne_mcp_token SET last_used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(micros(at))
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }
}
