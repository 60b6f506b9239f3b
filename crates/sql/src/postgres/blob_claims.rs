//! Who needs which blob.

use std::collections::BTreeSet;

use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{BlobLedger, BlobStore};

use super::PostgresDatabase;
use super::errors::store_error;

/// Holders, or blobs, of one transaction: while it goes on, nobody can claim its blobs.
const BATCH: usize = 200;

/// Until the end of the transaction nobody else claims, or removes, this blob.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 2))";
const CLAIM: &str =
    "INSERT INTO mnemosyne_blob_claim (holder, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const RELEASE: &str = "DELETE FROM mnemosyne_blob_claim WHERE holder = ANY($1) RETURNING digest";
const STILL_HELD: &str = "SELECT EXISTS (SELECT 1 FROM mnemosyne_blob_claim WHERE digest = $1)";
const UNHELD: &str = "SELECT DISTINCT digest FROM unnest($1::text[]) AS given (digest) \
    WHERE NOT EXISTS (SELECT 1 FROM mnemosyne_blob_claim c WHERE c.digest = given.digest)";
const JOBLESS: &str = "SELECT DISTINCT c.holder FROM mnemosyne_blob_claim c \
    LEFT JOIN mnemosyne_job j ON j.item_uid = c.holder \
    WHERE j.status IS NULL OR j.status IN ('cancelled', 'superseded') ORDER BY c.holder";

impl PostgresDatabase {
    /// Lets go of what these holders claimed, and removes the blobs of `digests`, and of those claims, that nobody holds.
    ///
    /// Each blob goes under a lock that a claim on it has to wait for. A claim is written before its blob is looked for: one
    /// that came before the lock is seen here and keeps the blob; one that comes after it finds no blob, and stores it
    /// anew. Of two holders that let go at once, whoever has the lock last sees that nobody is left. Locks are taken in
    /// the order of the digests, so that no two of these wait for each other.
    async fn let_go(&self, holders: &[&str], digests: &[String], blobs: &dyn BlobStore) -> StoreResult<u64> {
        let mut tx = self.begin().await?;
        let released: Vec<String> = sqlx::query_scalar(RELEASE)
            .bind(holders)
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        let candidates: BTreeSet<&String> = released.iter().chain(digests).collect();
        let mut removed = 0;
        for digest in candidates {
            sqlx::query(LOCK)
                .bind(digest)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            let held: bool = sqlx::query_scalar(STILL_HELD)
                .bind(digest)
                .fetch_one(&mut *tx)
                .await
                .map_err(store_error)?;
            if !held {
                blobs.remove(digest).await?;
                removed += 1;
            }
        }
        tx.commit().await.map_err(store_error)?;
        Ok(removed)
    }
}

#[async_trait::async_trait]
impl BlobLedger for PostgresDatabase {
    async fn claim_blob(&self, digest: &str, holder: &str) -> StoreResult<()> {
        let mut tx = self.begin().await?;
        sqlx::query(LOCK)
            .bind(digest)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        sqlx::query(CLAIM)
            .bind(holder)
            .bind(digest)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        tx.commit().await.map_err(store_error)
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
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }

    async fn jobless_blob_holders(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar(JOBLESS)
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }

    async fn remove_unclaimed(&self, digests: &[String], blobs: &dyn BlobStore) -> StoreResult<u64> {
        let mut removed = 0;
        for some in digests.chunks(BATCH) {
            // Almost always all of them are held, and then no lock is taken.
            let unheld: Vec<String> = sqlx::query_scalar(UNHELD)
                .bind(some)
                .fetch_all(&self.pool)
                .await
                .map_err(store_error)?;
            if !unheld.is_empty() {
                removed += self.let_go(&[], &unheld, blobs).await?;
            }
        }
        Ok(removed)
    }
}
