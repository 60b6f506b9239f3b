//! Keys of per-turn tokens, and the turns that were seen.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::SigningKeys;
use mnemosyne_domain::{SigningKey, StoreResult};

use super::PostgresDatabase;
use super::errors::{conflict, store_error};
use crate::rows::KeyRow;
use crate::time::micros;

const RETIRE_OTHERS: &str =
    "UPDATE mnemosyne_signing_key SET retired_at = $2 WHERE kid <> $1 AND retired_at IS NULL";

const KNOWN_TURN: &str =
    "SELECT content_digest FROM mnemosyne_turn WHERE kid = $1 AND jti = $2 AND expires_at > $3";
// Of two processes that see a turn for the first time one inserts it, and the other is told what that was. One that is
// over and not yet removed counts for nothing.
const REMEMBER_TURN: &str = "INSERT INTO mnemosyne_turn AS known (kid, jti, content_digest, expires_at) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (kid, jti) DO UPDATE SET \
    content_digest = CASE WHEN known.expires_at <= $5 THEN excluded.content_digest ELSE known.content_digest END, \
    expires_at = CASE WHEN known.expires_at <= $5 THEN excluded.expires_at ELSE known.expires_at END \
    RETURNING content_digest";

const RETIRE: &str = "UPDATE mnemosyne_signing_key SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL";

#[async_trait::async_trait]
impl SigningKeys for PostgresDatabase {
    async fn signing_key(&self, kid: &str) -> StoreResult<Option<SigningKey>> {
        let row = sqlx::query_as::<_, KeyRow>("SELECT * FROM mnemosyne_signing_key WHERE kid = $1")
            .bind(kid)
            .fetch_optional(&self.pool)
            .await;
        row.map_err(store_error)?.map(KeyRow::read).transpose()
    }

    async fn signing_keys(&self) -> StoreResult<Vec<SigningKey>> {
        let rows =
            sqlx::query_as::<_, KeyRow>("SELECT * FROM mnemosyne_signing_key ORDER BY created_at DESC, kid")
                .fetch_all(&self.pool)
                .await;
        rows.map_err(store_error)?.into_iter().map(KeyRow::read).collect()
    }

    async fn create_signing_key(&self, key: SigningKey, retire_others: bool) -> StoreResult<()> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO mnemosyne_signing_key (kid, sealed_secret, created_at, retired_at) VALUES ($1, $2, $3, $4)")
            .bind(&key.kid)
            .bind(&key.sealed_secret)
            .bind(micros(key.created_at))
            .bind(key.retired_at.map(micros))
            .execute(&mut *tx)
            .await
            .map_err(conflict("kid"))?;
        if retire_others {
            sqlx::query(RETIRE_OTHERS)
                .bind(&key.kid)
                .bind(micros(key.created_at))
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)
    }

    async fn retire_signing_key(&self, kid: &str, now: DateTime<Utc>) -> StoreResult<bool> {
        sqlx::query(RETIRE)
            .bind(kid)
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(store_error)
    }

    async fn retire_other_signing_keys(&self, kid: &str, now: DateTime<Utc>) -> StoreResult<u64> {
        sqlx::query(RETIRE_OTHERS)
            .bind(kid)
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }

    async fn reseal_signing_key(&self, kid: &str, from: &str, to: &str) -> StoreResult<bool> {
        sqlx::query(
            "UPDATE mnemosyne_signing_key SET sealed_secret = $3 WHERE kid = $1 AND sealed_secret = $2",
        )
        .bind(kid)
        .bind(from)
        .bind(to)
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(store_error)
    }

    async fn remember_turn(
        &self,
        kid: &str,
        jti: &str,
        content_digest: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool> {
        // All calls of a turn but its first find it here, without writing.
        let known: Option<String> = sqlx::query_scalar(KNOWN_TURN)
            .bind(kid)
            .bind(jti)
            .bind(micros(now))
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        if let Some(known) = known {
            return Ok(known == content_digest);
        }
        sqlx::query("DELETE FROM mnemosyne_turn WHERE expires_at <= $1")
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        sqlx::query_scalar::<_, String>(REMEMBER_TURN)
            .bind(kid)
            .bind(jti)
            .bind(content_digest)
            .bind(micros(expires_at))
            .bind(micros(now))
            .fetch_one(&self.pool)
            .await
            .map(|known| known == content_digest)
            .map_err(store_error)
    }
}
