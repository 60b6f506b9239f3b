//! Servers of models and their models.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::Providers;
use mnemosyne_domain::{
    KeyChange, ModelDraft, ModelUid, Provider, ProviderDraft, ProviderModel, ProviderUid, StoreError,
    StoreResult,
};
use sqlx::{Postgres, Transaction};

use super::PostgresDatabase;
use super::errors::{conflict, store_error};
use crate::rows::{ModelRow, ProviderRow, not_as_seen, seconds, signed};
use crate::time::micros;

const INSERT_PROVIDER: &str = "INSERT INTO mnemosyne_provider \
    (uid, name, kind, base_url, sealed_key, verify_tls, allow_private, timeout_seconds, batch_size, batch_tokens, \
     text_tokens, max_parallel, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13) RETURNING *";
const UPDATE_PROVIDER: &str = "UPDATE mnemosyne_provider SET name = $2, kind = $3, base_url = $4, \
    sealed_key = CASE WHEN $5 THEN sealed_key ELSE $6 END, verify_tls = $7, allow_private = $8, timeout_seconds = $9, \
    batch_size = $10, batch_tokens = $11, text_tokens = $12, max_parallel = $13, updated_at = greatest($14, updated_at + 1) \
    WHERE uid = $1 AND updated_at = $15 RETURNING *";
const RESEAL: &str = "UPDATE mnemosyne_provider SET sealed_key = $3 WHERE uid = $1 AND sealed_key = $2";
const DELETE_PROVIDER: &str = "DELETE FROM mnemosyne_provider WHERE uid = $1 AND NOT EXISTS \
    (SELECT 1 FROM mnemosyne_model WHERE provider_uid = $1 AND is_default)";

const INSERT_MODEL: &str = "INSERT INTO mnemosyne_model \
    (uid, provider_uid, name, role, dimension, takes_instructions, is_default, created_at, updated_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) RETURNING *";
const UPDATE_MODEL: &str = "UPDATE mnemosyne_model SET name = $2, role = $3, dimension = $4, \
    takes_instructions = $5, is_default = $6, updated_at = greatest($7, updated_at + 1) \
    WHERE uid = $1 AND updated_at = $8 RETURNING *";
const NO_OTHER_DEFAULT: &str = "UPDATE mnemosyne_model \
    SET is_default = FALSE, updated_at = greatest($3, updated_at + 1) \
    WHERE role = $1 AND uid <> $2 AND is_default";
const DELETE_MODEL: &str = "DELETE FROM mnemosyne_model WHERE uid = $1 AND NOT is_default";

impl PostgresDatabase {
    async fn provider_where(&self, statement: &'static str, value: &str) -> StoreResult<Option<Provider>> {
        let row = sqlx::query_as::<_, ProviderRow>(statement)
            .bind(value)
            .fetch_optional(&self.pool)
            .await;
        row.map_err(store_error)?.map(ProviderRow::read).transpose()
    }
}

/// Two that want to be the system's model at once meet in the index that allows one.
fn model_conflict(error: sqlx::Error) -> StoreError {
    let is_default = matches!(
        &error,
        sqlx::Error::Database(database) if database.constraint() == Some("mnemosyne_model_default")
    );
    conflict(if is_default { "is_default" } else { "name" })(error)
}

async fn make_room(
    tx: &mut Transaction<'static, Postgres>,
    uid: &ModelUid,
    draft: &ModelDraft,
    now: DateTime<Utc>,
) -> StoreResult<()> {
    if !draft.is_default {
        return Ok(());
    }
    sqlx::query(NO_OTHER_DEFAULT)
        .bind(draft.role.as_str())
        .bind(uid.as_str())
        .bind(micros(now))
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(store_error)
}

#[async_trait::async_trait]
impl Providers for PostgresDatabase {
    async fn create_provider(
        &self,
        draft: &ProviderDraft,
        sealed_key: Option<&str>,
        now: DateTime<Utc>,
    ) -> StoreResult<Provider> {
        sqlx::query_as::<_, ProviderRow>(INSERT_PROVIDER)
            .bind(ProviderUid::generate().as_str())
            .bind(&draft.name)
            .bind(draft.kind.as_str())
            .bind(&draft.base_url)
            .bind(sealed_key)
            .bind(draft.verify_tls)
            .bind(draft.allow_private)
            .bind(seconds(draft.limits.timeout))
            .bind(i64::from(draft.limits.batch_size))
            .bind(i64::from(draft.limits.batch_tokens))
            .bind(i64::from(draft.limits.text_tokens))
            .bind(i64::from(draft.limits.max_parallel))
            .bind(micros(now))
            .fetch_one(&self.pool)
            .await
            .map_err(conflict("name"))?
            .read()
    }

    async fn provider(&self, uid: &ProviderUid) -> StoreResult<Option<Provider>> {
        self.provider_where("SELECT * FROM mnemosyne_provider WHERE uid = $1", uid.as_str())
            .await
    }

    async fn provider_by_name(&self, name: &str) -> StoreResult<Option<Provider>> {
        self.provider_where("SELECT * FROM mnemosyne_provider WHERE name = $1", name)
            .await
    }

    async fn providers(&self) -> StoreResult<Vec<Provider>> {
        let rows = sqlx::query_as::<_, ProviderRow>("SELECT * FROM mnemosyne_provider ORDER BY name, uid")
            .fetch_all(&self.pool)
            .await;
        rows.map_err(store_error)?
            .into_iter()
            .map(ProviderRow::read)
            .collect()
    }

    async fn update_provider(
        &self,
        uid: &ProviderUid,
        seen: DateTime<Utc>,
        draft: &ProviderDraft,
        key: &KeyChange,
        now: DateTime<Utc>,
    ) -> StoreResult<Provider> {
        let sealed_key = match key {
            KeyChange::Replace(sealed) => Some(sealed.as_str()),
            KeyChange::Keep | KeyChange::Remove => None,
        };
        let row = sqlx::query_as::<_, ProviderRow>(UPDATE_PROVIDER)
            .bind(uid.as_str())
            .bind(&draft.name)
            .bind(draft.kind.as_str())
            .bind(&draft.base_url)
            .bind(*key == KeyChange::Keep)
            .bind(sealed_key)
            .bind(draft.verify_tls)
            .bind(draft.allow_private)
            .bind(seconds(draft.limits.timeout))
            .bind(i64::from(draft.limits.batch_size))
            .bind(i64::from(draft.limits.batch_tokens))
            .bind(i64::from(draft.limits.text_tokens))
            .bind(i64::from(draft.limits.max_parallel))
            .bind(micros(now))
            .bind(micros(seen))
            .fetch_optional(&self.pool)
            .await
            .map_err(conflict("name"))?;
        match row {
            Some(row) => row.read(),
            None => Err(not_as_seen(self.provider(uid).await?.is_some())),
        }
    }

    async fn reseal_provider_key(&self, uid: &ProviderUid, from: &str, to: &str) -> StoreResult<bool> {
        sqlx::query(RESEAL)
            .bind(uid.as_str())
            .bind(from)
            .bind(to)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(store_error)
    }

    async fn delete_provider(&self, uid: &ProviderUid) -> StoreResult<bool> {
        let deleted = sqlx::query(DELETE_PROVIDER)
            .bind(uid.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        if deleted.rows_affected() > 0 {
            return Ok(true);
        }
        match self.provider(uid).await? {
            Some(_) => Err(StoreError::Conflict("is_default")),
            None => Ok(false),
        }
    }

    async fn create_model(
        &self,
        provider: &ProviderUid,
        draft: &ModelDraft,
        now: DateTime<Utc>,
    ) -> StoreResult<ProviderModel> {
        let uid = ModelUid::generate();
        let mut tx = self.begin().await?;
        make_room(&mut tx, &uid, draft, now).await?;
        let row = sqlx::query_as::<_, ModelRow>(INSERT_MODEL)
            .bind(uid.as_str())
            .bind(provider.as_str())
            .bind(&draft.name)
            .bind(draft.role.as_str())
            .bind(draft.dimension.map(|dimension| signed(dimension as u64)))
            .bind(draft.takes_instructions)
            .bind(draft.is_default)
            .bind(micros(now))
            .fetch_one(&mut *tx)
            .await
            .map_err(model_conflict)?;
        tx.commit().await.map_err(store_error)?;
        row.read()
    }

    async fn model(&self, uid: &ModelUid) -> StoreResult<Option<ProviderModel>> {
        let row = sqlx::query_as::<_, ModelRow>("SELECT * FROM mnemosyne_model WHERE uid = $1")
            .bind(uid.as_str())
            .fetch_optional(&self.pool)
            .await;
        row.map_err(store_error)?.map(ModelRow::read).transpose()
    }

    async fn models(&self) -> StoreResult<Vec<ProviderModel>> {
        let rows = sqlx::query_as::<_, ModelRow>("SELECT * FROM mnemosyne_model ORDER BY sequence")
            .fetch_all(&self.pool)
            .await;
        rows.map_err(store_error)?
            .into_iter()
            .map(ModelRow::read)
            .collect()
    }

    async fn update_model(
        &self,
        uid: &ModelUid,
        seen: DateTime<Utc>,
        draft: &ModelDraft,
        now: DateTime<Utc>,
    ) -> StoreResult<ProviderModel> {
        let mut tx = self.begin().await?;
        make_room(&mut tx, uid, draft, now).await?;
        let row = sqlx::query_as::<_, ModelRow>(UPDATE_MODEL)
            .bind(uid.as_str())
            .bind(&draft.name)
            .bind(draft.role.as_str())
            .bind(draft.dimension.map(|dimension| signed(dimension as u64)))
            .bind(draft.takes_instructions)
            .bind(draft.is_default)
            .bind(micros(now))
            .bind(micros(seen))
            .fetch_optional(&mut *tx)
            .await
            .map_err(model_conflict)?;
        let Some(row) = row else {
            tx.rollback().await.map_err(store_error)?;
            return Err(not_as_seen(self.model(uid).await?.is_some()));
        };
        tx.commit().await.map_err(store_error)?;
        row.read()
    }

    async fn delete_model(&self, uid: &ModelUid) -> StoreResult<bool> {
        let deleted = sqlx::query(DELETE_MODEL)
            .bind(uid.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        if deleted.rows_affected() > 0 {
            return Ok(true);
        }
        match self.model(uid).await? {
            Some(_) => Err(StoreError::Conflict("is_default")),
            None => Ok(false),
        }
    }
}
