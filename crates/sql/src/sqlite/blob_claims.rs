//! Who needs which blob.

use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{BlobLedger, BlobStore};
use serde_json::Value;

use super::SqliteDatabase;
use super::errors::store_error;

/// Holders, or blobs, of one transaction: while it goes on nobody else writes.
const BATCH: usize = 200;

const RELEASE: &str = "DELETE FROM mnemosyne_blob_claim WHERE holder IN (SELECT value FROM json_each(?1)) \
    RETURNING digest";
const UNHELD: &str = "SELECT DISTINCT j.value FROM json_each(?1) j \
    WHERE NOT EXISTS (SELECT 1 FROM mnemosyne_blob_claim c WHERE c.digest = j.value)";
const JOBLESS: &str = "SELECT DISTINCT c.holder FROM mnemosyne_blob_claim c \
    LEFT JOIN mnemosyne_job j ON j.item_uid = c.holder \
    WHERE j.status IS NULL OR j.status IN ('cancelled', 'superseded') ORDER BY c.holder";

impl SqliteDatabase {
    /// Lets go of what these holders claimed, and removes the blobs of `digests`, and of those claims, that nobody holds.
    ///
    /// The files go while the transaction holds the only write lock of the database. A claim is written before its file is
    /// looked for: one that came before the lock is seen here and keeps the file; one that comes after it finds no file,
    /// and stores it anew.
    async fn let_go(&self, holders: &[&str], digests: &[String], blobs: &dyn BlobStore) -> StoreResult<u64> {
        let mut tx = self.begin().await?;
        let mut released: Vec<String> = sqlx::query_scalar(RELEASE)
            .bind(Value::from_iter(holders.iter().copied()).to_string())
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        released.extend_from_slice(digests);
        let unheld: Vec<String> = sqlx::query_scalar(UNHELD)
            .bind(Value::from(released).to_string())
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        for digest in &unheld {
            blobs.remove(digest).await?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(unheld.len() as u64)
    }
}

#[async_trait::async_trait]
impl BlobLedger for SqliteDatabase {
    async fn claim_blob(&self, digest: &str, holder: &str) -> StoreResult<()> {
        sqlx::query("INSERT OR IGNORE INTO mnemosyne_blob_claim (holder, digest) VALUES (?1, ?2)")
            .bind(holder)
            .bind(digest)
            .execute(&self.write)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn release_blobs(&self, holders: &[&str], blobs: &dyn BlobStore) -> StoreResult<u64> {
        let mut removed = 0;
        for some in holders.chunks(BATCH) {
            removed += self.let_go(some, &[], blobs).await?;
        }
        Ok(removed)
    }

    async fn blob_holders(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar("SELECT DISTINCT holder FROM mnemosyne_blob_claim ORDER BY holder")
            .fetch_all(&self.read)
            .await
            .map_err(store_error)
    }

    async fn jobless_blob_holders(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar(JOBLESS)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)
    }

    async fn remove_unclaimed(&self, digests: &[String], blobs: &dyn BlobStore) -> StoreResult<u64> {
        let mut removed = 0;
        for some in digests.chunks(BATCH) {
            // Almost always all of them are held, and then nobody has to wait for this.
            let unheld: Vec<String> = sqlx::query_scalar(UNHELD)
                .bind(Value::from(some).to_string())
                .fetch_all(&self.read)
                .await
                .map_err(store_error)?;
            if !unheld.is_empty() {
                removed += self.let_go(&[], &unheld, blobs).await?;
            }
        }
        Ok(removed)
    }
}
