//! The table of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{
    Announcement, Enqueued, Finished, JobFilter, JobOrder, JobUpdate, Jobs, Lease, LeaseOutcome,
    LeaseRequest, Throughput,
};
use mnemosyne_domain::{
    CollectionUid, Failure, FailureCode, ItemUid, Job, JobId, JobStatus, LibraryUid, NewJob, Page,
    PageRequest, Queue, Stage, StoreError, StoreResult,
};
use serde_json::Value;
use sqlx::{Postgres, Transaction};

use super::PostgresDatabase;
use super::errors::store_error;
use crate::rows::{JobRow, announcement, signed, throughput, unsettled, unsigned};
use crate::time::{after, micros};

// A source_ref may be longer than a row of an index may be, so the index of requests holds digests of it.
macro_rules! of_source {
    () => {
        "library_uid = $1 AND md5(source_ref) = md5($2) AND source_ref = $2"
    };
}
/// Until the end of the transaction nobody else decides about jobs of this source.
const LOCK_SOURCE: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 1))";
/// The same, for the source of a job. No row where there is no such job.
const LOCK_SOURCE_OF: &str = "SELECT pg_advisory_xact_lock(hashtextextended(library_uid || ' ' || source_ref, 1)) \
    FROM mnemosyne_job WHERE id = $1";
const LIVE_REQUEST: &str = concat!(
    "SELECT * FROM mnemosyne_job WHERE ",
    of_source!(),
    " AND md5(content_hash) = md5($3) AND content_hash = $3 AND status NOT IN ('superseded', 'cancelled')"
);
const SUPERSEDE_WAITING: &str = concat!(
    "UPDATE mnemosyne_job SET status = 'superseded', finished_at = $3 WHERE ",
    of_source!(),
    " AND sequence > $4 AND status = 'pending' AND status NOT IN ('superseded', 'cancelled') RETURNING *"
);
const SUPERSEDE: &str = "UPDATE mnemosyne_job SET status = 'superseded', finished_at = coalesce(finished_at, $2) \
    WHERE sequence = $1 RETURNING *";
// What is under way of the same source and comes after a job: 0 nothing, 1 something waits, 2 something runs.
const LATER_UNDER_WAY: &str = concat!(
    "SELECT coalesce(max(CASE status WHEN 'processing' THEN 2 ELSE 1 END), 0)::bigint FROM mnemosyne_job WHERE ",
    of_source!(),
    " AND sequence > $3 AND status IN ('pending', 'processing') AND status NOT IN ('superseded', 'cancelled')"
);
const CLAIM_OF_UPLOAD: &str = "INSERT INTO mnemosyne_blob_claim (holder, digest) \
    SELECT $2, digest FROM mnemosyne_blob_claim WHERE holder = $1 AND ($3::text IS NULL OR digest = $3) \
    ON CONFLICT DO NOTHING";
const FORGET_UPLOAD: &str = "DELETE FROM mnemosyne_blob_claim WHERE holder = $1";
const INSERT: &str = "INSERT INTO mnemosyne_job (id, item_uid, library_uid, collection_uid, source_ref, content_hash, \
    filename, content_type, title, metadata, bucket_key, blob_digest, blob_size, queue, status, stage, progress, \
    attempts, chunks, images, concepts, timings_ms, created_at, due_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'pending', 'queued', 0, 0, 0, 0, 0, '{}', \
    $15, $15) RETURNING *";
const BY_ID: &str = "SELECT * FROM mnemosyne_job WHERE id = $1";
const BY_IDS: &str = "SELECT * FROM mnemosyne_job WHERE id = ANY($1)";
const BY_ITEM: &str = "SELECT * FROM mnemosyne_job WHERE item_uid = $1";

// Values of a filter that is not asked for are NULL. PostgreSQL plans these statements for the values at hand, so what is
// asked for is looked up by its index.
macro_rules! listed {
    ($begin:literal, $end:literal) => {
        concat!(
            $begin,
            " FROM mnemosyne_job WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR library_uid = $2) \
             AND ($3::text IS NULL OR (status = 'failed' AND error_code = $3)) \
             AND ($4::text IS NULL OR strpos(lower(filename COLLATE \"C\"), $4) > 0 OR strpos(filename, $5::text) > 0)",
            $end
        )
    };
}
const NEWEST: &str = listed!("SELECT *", " ORDER BY sequence DESC LIMIT $6 OFFSET $7");
const OLDEST: &str = listed!("SELECT *", " ORDER BY sequence LIMIT $6 OFFSET $7");
const BY_NAME: &str = listed!(
    "SELECT *",
    " ORDER BY lower(filename COLLATE \"C\"), sequence DESC LIMIT $6 OFFSET $7"
);
const TOTAL: &str = listed!("SELECT count(*)", "");
const UNSETTLED: &str = "SELECT library_uid, status, count(*) FROM mnemosyne_job \
    WHERE library_uid = ANY($1) AND status IN ('pending', 'processing', 'failed') GROUP BY library_uid, status";

macro_rules! take {
    ($which:literal) => {
        concat!(
            "UPDATE mnemosyne_job SET status = 'processing', announced = TRUE, attempts = attempts + 1, \
             started_at = coalesce(started_at, $1), lease_holder = $2, lease_token = $3, lease_until = $4 \
             WHERE sequence = (SELECT sequence FROM mnemosyne_job WHERE status IN ('pending', 'processing') AND ",
            $which,
            " AND ((status = 'pending' AND due_at <= $1) \
             OR (status = 'processing' AND lease_until <= $1 AND attempts < $5)) \
             ORDER BY sequence LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *"
        )
    };
}
// Of several workers that ask at once each gets another job, and none waits for another.
const TAKE_NEXT: &str = take!("queue = ANY($6)");
const TAKE_OF_ID: &str = take!("id = $6");
// A later job of the same source is completed: what ends now has no place any more.
macro_rules! outdated {
    () => {
        "EXISTS (SELECT 1 FROM mnemosyne_job AS later WHERE later.library_uid = ended.library_uid \
         AND md5(later.source_ref) = md5(ended.source_ref) AND later.source_ref = ended.source_ref \
         AND later.sequence > ended.sequence AND later.status = 'completed' \
         AND later.status NOT IN ('superseded', 'cancelled'))"
    };
}
const GIVE_UP: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ",
    outdated!(),
    " THEN 'superseded' ELSE 'failed' END, finished_at = $1, error_code = $3, \
     error_message = 'It was begun ' || attempts || ' times and never came to an end.', \
     lease_holder = NULL, lease_token = NULL, lease_until = NULL \
     WHERE status = 'processing' AND lease_until <= $1 AND attempts >= $2"
);
const HEARTBEAT: &str = "UPDATE mnemosyne_job SET lease_until = $3, stage = coalesce($4, stage), \
    progress = coalesce($5, progress), chunks = coalesce($6, chunks), images = coalesce($7, images), \
    concepts = coalesce($8, concepts), timings_ms = coalesce($9, timings_ms) \
    WHERE id = $1 AND lease_token = $2 AND status = 'processing'";
const CHECKPOINTS: &str = "INSERT INTO mnemosyne_job_checkpoint (job_id, name, value) \
    SELECT $1, name, value FROM unnest($2::text[], $3::text[]) AS given (name, value) \
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value";
const FINISH: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN $3::text = 'completed' AND ",
    outdated!(),
    " THEN 'superseded' ELSE $3::text END, \
     stage = CASE $3::text WHEN 'completed' THEN 'complete' ELSE stage END, \
     progress = CASE $3::text WHEN 'completed' THEN 1 ELSE progress END, finished_at = $4, error_code = NULL, \
     error_message = NULL, lease_holder = NULL, lease_token = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'processing' RETURNING *"
);
const SUPERSEDE_EARLIER: &str = concat!(
    "UPDATE mnemosyne_job SET status = 'superseded' WHERE ",
    of_source!(),
    " AND sequence < $3 AND status IN ('completed', 'failed') AND status NOT IN ('superseded', 'cancelled') \
     RETURNING item_uid"
);
const FAIL: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ",
    outdated!(),
    " THEN 'superseded' WHEN $5::bigint IS NULL THEN 'failed' ELSE 'pending' END, \
     finished_at = CASE WHEN $5::bigint IS NULL OR ",
    outdated!(),
    " THEN $6::bigint END, attempts = greatest(attempts - 1, 0), failures = failures + 1, announced = FALSE, \
     due_at = coalesce($5::bigint, due_at), error_code = $3, error_message = $4, \
     lease_holder = NULL, lease_token = NULL, lease_until = NULL \
     WHERE id = $1 AND lease_token = $2 AND status = 'processing' RETURNING status"
);
const RELEASE: &str = "UPDATE mnemosyne_job SET status = 'pending', announced = FALSE, \
    attempts = greatest(attempts - 1, 0), due_at = $3, lease_holder = NULL, lease_token = NULL, lease_until = NULL \
    WHERE id = $1 AND lease_token = $2 AND status = 'processing'";
const CANCEL: &str = "UPDATE mnemosyne_job SET status = 'cancelled', finished_at = $2 \
    WHERE id = $1 AND status IN ('pending', 'processing') AND stage NOT IN ('publish', 'complete')";
macro_rules! begin_anew {
    () => {
        "UPDATE mnemosyne_job SET status = 'pending', announced = FALSE, attempts = 0, failures = 0, due_at = $2, \
         started_at = NULL, finished_at = NULL, error_code = NULL, error_message = NULL"
    };
}
const RETRY: &str = concat!(
    begin_anew!(),
    ", queue = coalesce($3, queue) WHERE id = $1 AND status = 'failed' RETURNING *"
);
const RETRY_ALL: &str = concat!(
    begin_anew!(),
    " WHERE status = 'failed' AND ($1::text IS NULL OR error_code = $1) AND ($3::text IS NULL OR library_uid = $3)"
);
const UNANNOUNCED: &str = "SELECT id, queue FROM mnemosyne_job \
    WHERE status = 'pending' AND NOT announced AND due_at <= $1 ORDER BY due_at LIMIT $2";
const ANNOUNCED: &str = "UPDATE mnemosyne_job SET announced = TRUE WHERE id = ANY($1)";
const LEASE_STATE: &str = "SELECT status, lease_token FROM mnemosyne_job WHERE id = $1";

impl PostgresDatabase {
    /// What became of a job that a worker thought to hold.
    async fn lease_state(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        id: &JobId,
        token: &str,
    ) -> StoreResult<LeaseOutcome> {
        let row = sqlx::query_as::<_, (String, Option<String>)>(LEASE_STATE)
            .bind(id.as_str())
            .fetch_optional(&mut **tx)
            .await
            .map_err(store_error)?;
        let Some((status, holder)) = row else {
            return Ok(LeaseOutcome::Lost);
        };
        if holder.as_deref() != Some(token) {
            return Ok(LeaseOutcome::Lost);
        }
        Ok(match JobStatus::parse(&status) {
            Some(JobStatus::Cancelled) => LeaseOutcome::Cancelled,
            Some(JobStatus::Superseded) => LeaseOutcome::Superseded,
            Some(JobStatus::Processing) => LeaseOutcome::Held,
            _ => LeaseOutcome::Lost,
        })
    }

    async fn job_row(&self, statement: &'static str, key: &str) -> StoreResult<Option<Job>> {
        let row = sqlx::query_as::<_, JobRow>(statement)
            .bind(key)
            .fetch_optional(&self.pool)
            .await;
        row.map_err(store_error)?.map(JobRow::read).transpose()
    }
}

/// Answers of [`LATER_UNDER_WAY`].
const WAITS: i64 = 1;
/// See [`WAITS`].
const RUNS: i64 = 2;

/// Takes the place of what waits of the same source and comes after a job.
async fn supersede_waiting(
    tx: &mut Transaction<'_, Postgres>,
    job: &NewJob,
    after: i64,
    now: DateTime<Utc>,
) -> StoreResult<Vec<Job>> {
    let rows = sqlx::query_as::<_, JobRow>(SUPERSEDE_WAITING)
        .bind(job.library_uid.as_str())
        .bind(&job.source_ref)
        .bind(micros(now))
        .bind(after)
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    rows.into_iter().map(JobRow::read).collect()
}

/// Gives an item the claims of an upload, or the one on this blob; says how many.
async fn claim_of_upload(
    tx: &mut Transaction<'_, Postgres>,
    upload: &str,
    item: &str,
    digest: Option<&str>,
) -> StoreResult<u64> {
    sqlx::query(CLAIM_OF_UPLOAD)
        .bind(upload)
        .bind(item)
        .bind(digest)
        .execute(&mut **tx)
        .await
        .map(|done| done.rows_affected())
        .map_err(store_error)
}

/// The names of the queues in two groups: bulk work yields to single documents.
fn by_urgency(queues: &[Queue]) -> [Vec<&'static str>; 2] {
    let (bulk, single): (Vec<&Queue>, Vec<&Queue>) = queues.iter().partition(|queue| **queue == Queue::Batch);
    [single, bulk].map(|queues| queues.into_iter().map(|queue| queue.as_str()).collect())
}

async fn lock_source_of(tx: &mut Transaction<'_, Postgres>, id: &JobId) -> StoreResult<()> {
    sqlx::query(LOCK_SOURCE_OF)
        .bind(id.as_str())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(store_error)
}

#[async_trait::async_trait]
impl Jobs for PostgresDatabase {
    async fn enqueue(&self, job: NewJob, upload: Option<&str>, now: DateTime<Utc>) -> StoreResult<Enqueued> {
        let mut tx = self.begin().await?;
        sqlx::query(LOCK_SOURCE)
            .bind(job.library_uid.as_str())
            .bind(&job.source_ref)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        let mut superseded = Vec::new();
        let known = sqlx::query_as::<_, JobRow>(LIVE_REQUEST)
            .bind(job.library_uid.as_str())
            .bind(&job.source_ref)
            .bind(&job.content_hash)
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        if let Some(known) = known {
            let later: i64 = sqlx::query_scalar(LATER_UNDER_WAY)
                .bind(&known.library_uid)
                .bind(&known.source_ref)
                .bind(known.sequence)
                .fetch_one(&mut *tx)
                .await
                .map_err(store_error)?;
            let outrun = later == RUNS || (later == WAITS && known.status()?.is_final());
            if !outrun {
                if later == WAITS {
                    superseded = supersede_waiting(&mut tx, &job, known.sequence, now).await?;
                }
                if let (Some(upload), Some(digest)) = (upload, &known.blob_digest) {
                    claim_of_upload(&mut tx, upload, &known.item_uid, Some(digest)).await?;
                }
                tx.commit().await.map_err(store_error)?;
                return Ok(Enqueued {
                    job: known.read()?,
                    deduplicated: true,
                    superseded,
                });
            }
            let outrun = sqlx::query_as::<_, JobRow>(SUPERSEDE)
                .bind(known.sequence)
                .bind(micros(now))
                .fetch_one(&mut *tx)
                .await
                .map_err(store_error)?;
            superseded.push(outrun.read()?);
        }
        superseded.extend(supersede_waiting(&mut tx, &job, 0, now).await?);
        let (bucket_key, blob_digest, blob_size) = match &job.source {
            JobSource::BucketObject { key } => (Some(key.as_str()), None, None),
            JobSource::Blob { digest, size } => (None, Some(digest.as_str()), Some(signed(*size))),
        };
        let row = sqlx::query_as::<_, JobRow>(INSERT)
            .bind(JobId::generate().as_str())
            .bind(ItemUid::generate().as_str())
            .bind(job.library_uid.as_str())
            .bind(job.collection_uid.as_ref().map(CollectionUid::as_str))
            .bind(&job.source_ref)
            .bind(&job.content_hash)
            .bind(&job.filename)
            .bind(job.content_type.as_deref())
            .bind(job.title.as_deref())
            .bind(Value::Object(job.metadata.clone()).to_string())
            .bind(bucket_key)
            .bind(blob_digest)
            .bind(blob_size)
            .bind(job.queue.as_str())
            .bind(micros(now))
            .fetch_one(&mut *tx)
            .await
            .map_err(store_error)?;
        if let Some(upload) = upload {
            if claim_of_upload(&mut tx, upload, &row.item_uid, None).await? == 0 {
                return Err(StoreError::NotFound);
            }
            sqlx::query(FORGET_UPLOAD)
                .bind(upload)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(Enqueued {
            job: row.read()?,
            deduplicated: false,
            superseded,
        })
    }

    async fn job(&self, id: &JobId) -> StoreResult<Option<Job>> {
        self.job_row(BY_ID, id.as_str()).await
    }

    async fn jobs_by_id(&self, ids: &[JobId]) -> StoreResult<Vec<Job>> {
        let rows = sqlx::query_as::<_, JobRow>(BY_IDS)
            .bind(ids.iter().map(JobId::as_str).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(JobRow::read).collect()
    }

    async fn job_of_item(&self, item: &ItemUid) -> StoreResult<Option<Job>> {
        self.job_row(BY_ITEM, item.as_str()).await
    }

    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> StoreResult<Page<Job>> {
        let status = filter.status.map(JobStatus::as_str);
        let library = filter.library_uid.as_ref().map(LibraryUid::as_str);
        let failure = filter.failure.map(FailureCode::as_str);
        let name = filter.name_contains.as_deref();
        let lower = name.map(str::to_lowercase);
        let statement = match filter.order {
            JobOrder::NewestFirst => NEWEST,
            JobOrder::OldestFirst => OLDEST,
            JobOrder::ByName => BY_NAME,
        };
        let rows = sqlx::query_as::<_, JobRow>(statement)
            .bind(status)
            .bind(library)
            .bind(failure)
            .bind(&lower)
            .bind(name)
            .bind(i64::from(page.limit))
            .bind(signed(page.offset))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        let total: i64 = sqlx::query_scalar(TOTAL)
            .bind(status)
            .bind(library)
            .bind(failure)
            .bind(&lower)
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(Page {
            rows: rows.into_iter().map(JobRow::read).collect::<StoreResult<_>>()?,
            total: unsigned(total),
        })
    }

    async fn unsettled_jobs(
        &self,
        libraries: &[LibraryUid],
    ) -> StoreResult<Vec<(LibraryUid, JobStatus, u64)>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(UNSETTLED)
            .bind(libraries.iter().map(LibraryUid::as_str).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(unsettled).collect()
    }

    async fn lease(&self, request: LeaseRequest<'_>) -> StoreResult<Option<Lease>> {
        let now = micros(request.now);
        let max_attempts = i64::from(request.max_attempts);
        sqlx::query(GIVE_UP)
            .bind(now)
            .bind(max_attempts)
            .bind(FailureCode::TooManyAttempts.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        let token = uuid::Uuid::new_v4().to_string();
        let take = |statement: &'static str| {
            sqlx::query_as::<_, JobRow>(statement)
                .bind(now)
                .bind(request.holder)
                .bind(&token)
                .bind(after(request.now, request.ttl))
                .bind(max_attempts)
        };
        let mut taken = None;
        if let Some(id) = request.job {
            taken = take(TAKE_OF_ID)
                .bind(id.as_str())
                .fetch_optional(&self.pool)
                .await
                .map_err(store_error)?;
        } else {
            for queues in by_urgency(request.queues) {
                if taken.is_none() && !queues.is_empty() {
                    taken = take(TAKE_NEXT)
                        .bind(queues)
                        .fetch_optional(&self.pool)
                        .await
                        .map_err(store_error)?;
                }
            }
        }
        let Some(row) = taken else {
            return Ok(None);
        };
        Ok(Some(Lease {
            job: row.read()?,
            token,
        }))
    }

    async fn heartbeat(
        &self,
        id: &JobId,
        token: &str,
        update: JobUpdate,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> StoreResult<LeaseOutcome> {
        let timings = update
            .timings_ms
            .map(|timings| Value::from_iter(timings).to_string());
        let counts = update.counts;
        let mut tx = self.begin().await?;
        let done = sqlx::query(HEARTBEAT)
            .bind(id.as_str())
            .bind(token)
            .bind(after(now, ttl))
            .bind(update.stage.map(Stage::as_str))
            .bind(
                update
                    .progress
                    .map(|progress| f64::from(progress.clamp(0.0, 1.0))),
            )
            .bind(counts.map(|counts| signed(counts.chunks)))
            .bind(counts.map(|counts| signed(counts.images)))
            .bind(counts.map(|counts| signed(counts.concepts)))
            .bind(timings)
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        if done.rows_affected() == 0 {
            return self.lease_state(&mut tx, id, token).await;
        }
        if !update.checkpoints.is_empty() {
            let (names, values): (Vec<String>, Vec<String>) = update.checkpoints.into_iter().unzip();
            sqlx::query(CHECKPOINTS)
                .bind(id.as_str())
                .bind(names)
                .bind(values)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(LeaseOutcome::Held)
    }

    async fn unannounced(&self, due_before: DateTime<Utc>, limit: u32) -> StoreResult<Vec<Announcement>> {
        let rows: Vec<(String, String)> = sqlx::query_as(UNANNOUNCED)
            .bind(micros(due_before))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(announcement).collect()
    }

    async fn announced(&self, jobs: &[JobId]) -> StoreResult<()> {
        sqlx::query(ANNOUNCED)
            .bind(jobs.iter().map(JobId::as_str).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn checkpoints(&self, id: &JobId) -> StoreResult<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, value FROM mnemosyne_job_checkpoint WHERE job_id = $1")
                .bind(id.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(store_error)?;
        Ok(rows.into_iter().collect())
    }

    async fn finish(
        &self,
        id: &JobId,
        token: &str,
        status: JobStatus,
        now: DateTime<Utc>,
    ) -> StoreResult<Finished> {
        if !matches!(status, JobStatus::Completed | JobStatus::Superseded) {
            return Err(StoreError::Conflict("status"));
        }
        let mut tx = self.begin().await?;
        lock_source_of(&mut tx, id).await?;
        let row = sqlx::query_as::<_, JobRow>(FINISH)
            .bind(id.as_str())
            .bind(token)
            .bind(status.as_str())
            .bind(micros(now))
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        let Some(row) = row else {
            return Ok(Finished {
                outcome: self.lease_state(&mut tx, id, token).await?,
                superseded: Vec::new(),
            });
        };
        let mut superseded: Vec<String> = match row.status()? {
            JobStatus::Completed => sqlx::query_scalar(SUPERSEDE_EARLIER)
                .bind(&row.library_uid)
                .bind(&row.source_ref)
                .bind(row.sequence)
                .fetch_all(&mut *tx)
                .await
                .map_err(store_error)?,
            _ => vec![row.item_uid],
        };
        superseded.sort();
        tx.commit().await.map_err(store_error)?;
        Ok(Finished {
            outcome: LeaseOutcome::Held,
            superseded: superseded.into_iter().map(ItemUid::from_store).collect(),
        })
    }

    async fn fail(
        &self,
        id: &JobId,
        token: &str,
        failure: &Failure,
        retry_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> StoreResult<LeaseOutcome> {
        let mut tx = self.begin().await?;
        lock_source_of(&mut tx, id).await?;
        let status: Option<String> = sqlx::query_scalar(FAIL)
            .bind(id.as_str())
            .bind(token)
            .bind(failure.code.as_str())
            .bind(&failure.message)
            .bind(retry_at.map(micros))
            .bind(micros(now))
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        let Some(status) = status else {
            return self.lease_state(&mut tx, id, token).await;
        };
        tx.commit().await.map_err(store_error)?;
        Ok(match JobStatus::parse(&status) {
            Some(JobStatus::Superseded) => LeaseOutcome::Superseded,
            _ => LeaseOutcome::Held,
        })
    }

    async fn release(&self, id: &JobId, token: &str, now: DateTime<Utc>) -> StoreResult<LeaseOutcome> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(RELEASE)
            .bind(id.as_str())
            .bind(token)
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
        if done.rows_affected() == 0 {
            return self.lease_state(&mut tx, id, token).await;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(LeaseOutcome::Held)
    }

    async fn cancel(&self, id: &JobId, now: DateTime<Utc>) -> StoreResult<Option<Job>> {
        sqlx::query(CANCEL)
            .bind(id.as_str())
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        self.job(id).await
    }

    async fn retry(&self, id: &JobId, queue: Option<Queue>, now: DateTime<Utc>) -> StoreResult<Option<Job>> {
        let row = sqlx::query_as::<_, JobRow>(RETRY)
            .bind(id.as_str())
            .bind(micros(now))
            .bind(queue.map(Queue::as_str))
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
        match row {
            Some(row) => row.read().map(Some),
            None if self.job(id).await?.is_some() => Err(StoreError::Conflict("status")),
            None => Ok(None),
        }
    }

    async fn retry_failed(
        &self,
        code: Option<&str>,
        library: Option<&LibraryUid>,
        now: DateTime<Utc>,
    ) -> StoreResult<u64> {
        sqlx::query(RETRY_ALL)
            .bind(code)
            .bind(micros(now))
            .bind(library.map(LibraryUid::as_str))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }

    async fn delete_jobs_of_library(&self, library: &LibraryUid) -> StoreResult<u64> {
        sqlx::query("DELETE FROM mnemosyne_job WHERE library_uid = $1")
            .bind(library.as_str())
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }

    async fn delete_jobs_of_items(&self, items: &[ItemUid]) -> StoreResult<()> {
        sqlx::query("DELETE FROM mnemosyne_job WHERE item_uid = ANY($1)")
            .bind(items.iter().map(ItemUid::as_str).collect::<Vec<_>>())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn throughput(&self, now: DateTime<Utc>) -> StoreResult<Throughput> {
        const MINUTE: i64 = 60_000_000;
        let begin = micros(now) - 60 * MINUTE;
        let by_status: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM mnemosyne_job GROUP BY status")
                .fetch_all(&self.pool)
                .await
                .map_err(store_error)?;
        let minutes: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT (finished_at - $1) / 60000000, count(*) FROM mnemosyne_job \
             WHERE finished_at > $1 AND finished_at <= $2 AND stage = 'complete' GROUP BY 1",
        )
        .bind(begin)
        .bind(micros(now))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error)?;
        let failures: Vec<(String, i64)> = sqlx::query_as(
            "SELECT error_code, count(*) FROM mnemosyne_job WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(store_error)?;
        Ok(throughput(by_status, minutes, failures))
    }
}
