//! Who needs which blob.

use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{BlobLedger, BlobStore};

use super::SqliteDatabase;
use super::errors::store_error;

const RELEASE: &str = "DELETE FROM mnemosyne_blob_claim WHERE holder = ?1 RETURNING digest";
const STILL_HELD: &str = "SELECT EXISTS (SELECT 1 FROM mnemosyne_blob_claim WHERE digest = ?1)";

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

    async fn release_blobs(&self, holder: &str, blobs: &dyn BlobStore) -> StoreResult<u64> {
        // The file goes while this transaction holds the only write lock of the database. A claim is written before its
        // file is looked for: one that came before the lock is seen here and keeps the file; one that comes after it
        // finds no file, and stores it anew.
        let mut tx = self.begin().await?;
        let released: Vec<String> = sqlx::query_scalar(RELEASE)
            .bind(holder)
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        let mut removed = 0;
        for digest in released {
            let held: bool = sqlx::query_scalar(STILL_HELD)
                .bind(&digest)
                .fetch_one(&mut *tx)
                .await
                .map_err(store_error)?;
            if !held {
                blobs.remove(&digest).await?;
                removed += 1;
            }
        }
        tx.commit().await.map_err(store_error)?;
        Ok(removed)
    }

    async fn transfer_blobs(&self, from: &str, to: &str) -> StoreResult<()> {
        if from == to {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT OR IGNORE INTO mnemosyne_blob_claim (holder, digest) \
             SELECT ?2, digest FROM mnemosyne_blob_claim WHERE holder = ?1",
        )
        .bind(from)
        .bind(to)
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        sqlx::query("DELETE FROM mnemosyne_blob_claim WHERE holder = ?1")
            .bind(from)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)
    }

    async fn blob_holders(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar("SELECT DISTINCT holder FROM mnemosyne_blob_claim ORDER BY holder")
            .fetch_all(&self.read)
            .await
            .map_err(store_error)
    }
}
