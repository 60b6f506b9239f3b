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
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::SqliteDatabase;
use super::errors::store_error;
use crate::rows::{JobRow, announcement, signed, throughput, unsettled, unsigned};
use crate::time::{after, micros};

const LIVE_REQUEST: &str = "SELECT * FROM mnemosyne_job WHERE library_uid = ?1 AND source_ref = ?2 \
    AND content_hash = ?3 AND status NOT IN ('superseded', 'cancelled')";
// The second condition on the status looks idle; without it SQLite cannot use the index of live requests, and takes one
// that makes it look at every job of the library.
const SUPERSEDE_WAITING: &str = "UPDATE mnemosyne_job INDEXED BY mnemosyne_job_request SET status = 'superseded', finished_at = ?3 \
    WHERE library_uid = ?1 AND source_ref = ?2 AND sequence > ?4 AND status = 'pending' \
    AND status NOT IN ('superseded', 'cancelled') RETURNING *";
const SUPERSEDE: &str = "UPDATE mnemosyne_job SET status = 'superseded', finished_at = coalesce(finished_at, ?2) \
    WHERE sequence = ?1 RETURNING *";
// What is under way of the same source and comes after a job: 0 nothing, 1 something waits, 2 something runs.
const LATER_UNDER_WAY: &str = "SELECT coalesce(max(CASE status WHEN 'processing' THEN 2 ELSE 1 END), 0) \
    FROM mnemosyne_job INDEXED BY mnemosyne_job_request WHERE library_uid = ?1 AND source_ref = ?2 AND sequence > ?3 \
    AND status IN ('pending', 'processing') AND status NOT IN ('superseded', 'cancelled')";
const CLAIM_OF_UPLOAD: &str = "INSERT OR IGNORE INTO mnemosyne_blob_claim (holder, digest) \
    SELECT ?2, digest FROM mnemosyne_blob_claim WHERE holder = ?1 AND (?3 IS NULL OR digest = ?3)";
const FORGET_UPLOAD: &str = "DELETE FROM mnemosyne_blob_claim WHERE holder = ?1";
const INSERT: &str = "INSERT INTO mnemosyne_job (id, item_uid, library_uid, collection_uid, source_ref, content_hash, \
    filename, content_type, title, metadata, bucket_key, blob_digest, blob_size, queue, status, stage, progress, \
    attempts, chunks, images, concepts, timings_ms, created_at, due_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'pending', 'queued', 0, 0, 0, 0, 0, '{}', \
    ?15, ?15) RETURNING *";
const BY_ID: &str = "SELECT * FROM mnemosyne_job WHERE id = ?1";
const BY_IDS: &str = "SELECT * FROM mnemosyne_job WHERE id IN (SELECT value FROM json_each(?1))";
const BY_ITEM: &str = "SELECT * FROM mnemosyne_job WHERE item_uid = ?1";
/// A list of jobs and its length, for one kind of filter: ?1 status, ?2 library, ?3 failure, ?4 limit, ?5 offset, ?6 and ?7
/// a part of the name in lower case and as it was given. One statement for all filters would keep SQLite from using an
/// index for any.
#[derive(Clone, Copy)]
struct Listing {
    newest: &'static str,
    oldest: &'static str,
    by_name: &'static str,
    total: &'static str,
}

macro_rules! listing {
    ($condition:literal, $name:literal) => {
        Listing {
            newest: concat!(
                "SELECT * FROM mnemosyne_job ",
                $condition,
                $name,
                " ORDER BY sequence DESC LIMIT ?4 OFFSET ?5"
            ),
            oldest: concat!(
                "SELECT * FROM mnemosyne_job ",
                $condition,
                $name,
                " ORDER BY sequence LIMIT ?4 OFFSET ?5"
            ),
            by_name: concat!(
                "SELECT * FROM mnemosyne_job ",
                $condition,
                $name,
                " ORDER BY lower(filename), sequence DESC LIMIT ?4 OFFSET ?5"
            ),
            total: concat!("SELECT count(*) FROM mnemosyne_job ", $condition, $name),
        }
    };
    ($condition:literal) => {
        [
            listing!($condition, ""),
            listing!(
                $condition,
                " AND (instr(lower(filename), ?6) > 0 OR instr(filename, ?7) > 0)"
            ),
        ]
    };
}

/// The lists of one condition: whatever the name, and with a part of it.
type Listings = [Listing; 2];

// Without any condition SQLite counts the entries of an index.
const ALL: Listings = [
    listing!("", ""),
    listing!(
        "WHERE 1",
        " AND (instr(lower(filename), ?6) > 0 OR instr(filename, ?7) > 0)"
    ),
];
const OF_STATUS: Listings = listing!("WHERE status = ?1");
const OF_LIBRARY: Listings = listing!("WHERE library_uid = ?2");
const OF_LIBRARY_AND_STATUS: Listings = listing!("WHERE library_uid = ?2 AND status = ?1");
const OF_FAILURE: Listings = listing!("WHERE status = 'failed' AND error_code = ?3");
const OF_LIBRARY_AND_FAILURE: Listings =
    listing!("WHERE status = 'failed' AND error_code = ?3 AND library_uid = ?2");

const UNSETTLED: &str = "SELECT library_uid, status, count(*) FROM mnemosyne_job INDEXED BY mnemosyne_job_library_status \
    WHERE library_uid IN (SELECT value FROM json_each(?1)) AND status IN ('pending', 'processing', 'failed') \
    GROUP BY library_uid, status";
const NEXT: &str = "SELECT * FROM mnemosyne_job WHERE sequence = (SELECT min(sequence) FROM (\
    SELECT * FROM (SELECT sequence FROM mnemosyne_job INDEXED BY mnemosyne_job_waiting \
    WHERE status = 'pending' AND due_at <= ?1 AND queue IN (SELECT value FROM json_each(?2)) \
    ORDER BY sequence LIMIT 1) UNION ALL \
    SELECT min(sequence) FROM mnemosyne_job INDEXED BY mnemosyne_job_leased \
    WHERE status = 'processing' AND lease_until <= ?1 AND queue IN (SELECT value FROM json_each(?2))))";
const NEXT_OF_ID: &str = "SELECT * FROM mnemosyne_job WHERE id = ?1 \
    AND ((status = 'pending' AND due_at <= ?2) OR (status = 'processing' AND lease_until <= ?2))";
const TAKE: &str = "UPDATE mnemosyne_job SET status = 'processing', announced = 1, attempts = attempts + 1, \
    started_at = coalesce(started_at, ?2), lease_holder = ?3, lease_token = ?4, lease_until = ?5 \
    WHERE sequence = ?1 RETURNING *";
// A later job of the same source is completed: what ends now has no place any more.
macro_rules! outdated {
    () => {
        "EXISTS (SELECT 1 FROM mnemosyne_job AS later INDEXED BY mnemosyne_job_request \
         WHERE later.library_uid = ended.library_uid AND later.source_ref = ended.source_ref \
         AND later.sequence > ended.sequence AND later.status = 'completed' \
         AND later.status NOT IN ('superseded', 'cancelled'))"
    };
}
const GIVE_UP: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ",
    outdated!(),
    " THEN 'superseded' ELSE 'failed' END, finished_at = ?2, error_code = ?3, error_message = ?4, \
     lease_holder = NULL, lease_token = NULL, lease_until = NULL WHERE sequence = ?1"
);
const HEARTBEAT: &str = "UPDATE mnemosyne_job SET lease_until = ?3, stage = coalesce(?4, stage), \
    progress = coalesce(?5, progress), chunks = coalesce(?6, chunks), images = coalesce(?7, images), \
    concepts = coalesce(?8, concepts), timings_ms = coalesce(?9, timings_ms) \
    WHERE id = ?1 AND lease_token = ?2 AND status = 'processing'";
const CHECKPOINT: &str = "INSERT INTO mnemosyne_job_checkpoint (job_id, name, value) VALUES (?1, ?2, ?3) \
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value";
const FINISH: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ?3 = 'completed' AND ",
    outdated!(),
    " THEN 'superseded' ELSE ?3 END, stage = CASE ?3 WHEN 'completed' THEN 'complete' ELSE stage END, \
     progress = CASE ?3 WHEN 'completed' THEN 1 ELSE progress END, finished_at = ?4, error_code = NULL, \
     error_message = NULL, lease_holder = NULL, lease_token = NULL, lease_until = NULL \
     WHERE id = ?1 AND lease_token = ?2 AND status = 'processing' RETURNING *"
);
const SUPERSEDE_EARLIER: &str = "UPDATE mnemosyne_job INDEXED BY mnemosyne_job_request SET status = 'superseded' \
    WHERE library_uid = ?1 \
    AND source_ref = ?2 AND sequence < ?3 AND status IN ('completed', 'failed') \
    AND status NOT IN ('superseded', 'cancelled') RETURNING item_uid";
const FAIL: &str = concat!(
    "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ",
    outdated!(),
    " THEN 'superseded' WHEN ?5 IS NULL THEN 'failed' ELSE 'pending' END, finished_at = CASE WHEN ?5 IS NULL OR ",
    outdated!(),
    " THEN ?6 END, attempts = max(attempts - 1, 0), failures = failures + 1, \
     announced = 0, due_at = coalesce(?5, due_at), error_code = ?3, error_message = ?4, \
     lease_holder = NULL, lease_token = NULL, lease_until = NULL \
     WHERE id = ?1 AND lease_token = ?2 AND status = 'processing' RETURNING status"
);
const RELEASE: &str = "UPDATE mnemosyne_job SET status = 'pending', announced = 0, attempts = max(attempts - 1, 0), due_at = ?3, \
    lease_holder = NULL, lease_token = NULL, lease_until = NULL \
    WHERE id = ?1 AND lease_token = ?2 AND status = 'processing'";
const CANCEL: &str = "UPDATE mnemosyne_job SET status = 'cancelled', finished_at = ?2 \
    WHERE id = ?1 AND status IN ('pending', 'processing') AND stage NOT IN ('publish', 'complete')";
macro_rules! begin_anew {
    () => {
        "UPDATE mnemosyne_job SET status = 'pending', announced = 0, attempts = 0, failures = 0, due_at = ?2, \
         started_at = NULL, finished_at = NULL, error_code = NULL, error_message = NULL"
    };
}
const RETRY: &str = concat!(
    begin_anew!(),
    ", queue = coalesce(?3, queue) WHERE id = ?1 AND status = 'failed' RETURNING *"
);
const RETRY_ALL: &str = concat!(
    begin_anew!(),
    " WHERE status = 'failed' AND (?1 IS NULL OR error_code = ?1) AND (?3 IS NULL OR library_uid = ?3)"
);
const UNANNOUNCED: &str = "SELECT id, queue FROM mnemosyne_job INDEXED BY mnemosyne_job_unannounced \
    WHERE status = 'pending' AND announced = 0 AND due_at <= ?1 ORDER BY due_at LIMIT ?2";
const ANNOUNCED: &str =
    "UPDATE mnemosyne_job SET announced = 1 WHERE id IN (SELECT value FROM json_each(?1))";
const LEASE_STATE: &str = "SELECT status, lease_token FROM mnemosyne_job WHERE id = ?1";

impl SqliteDatabase {
    /// What became of a job that a worker thought to hold.
    async fn lease_state(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
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
            .fetch_optional(&self.read)
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
    tx: &mut Transaction<'_, Sqlite>,
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
    tx: &mut Transaction<'_, Sqlite>,
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
fn by_urgency(queues: &[Queue]) -> [String; 2] {
    let (bulk, single): (Vec<&Queue>, Vec<&Queue>) = queues.iter().partition(|queue| **queue == Queue::Batch);
    [single, bulk].map(|queues| Value::from_iter(queues.iter().map(|queue| queue.as_str())).to_string())
}

/// The job to be taken next.
async fn next(connection: &mut SqliteConnection, request: &LeaseRequest<'_>) -> StoreResult<Option<JobRow>> {
    let now = micros(request.now);
    if let Some(id) = request.job {
        return sqlx::query_as::<_, JobRow>(NEXT_OF_ID)
            .bind(id.as_str())
            .bind(now)
            .fetch_optional(connection)
            .await
            .map_err(store_error);
    }
    for queues in by_urgency(request.queues) {
        let row = sqlx::query_as::<_, JobRow>(NEXT)
            .bind(now)
            .bind(queues)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        if row.is_some() {
            return Ok(row);
        }
    }
    Ok(None)
}

#[async_trait::async_trait]
impl Jobs for SqliteDatabase {
    async fn enqueue(&self, job: NewJob, upload: Option<&str>, now: DateTime<Utc>) -> StoreResult<Enqueued> {
        let mut tx = self.begin().await?;
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
            .bind(Value::from_iter(ids.iter().map(JobId::as_str)).to_string())
            .fetch_all(&self.read)
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
        let [whatever_the_name, of_name] = match (filter.status, library, failure) {
            (None, None, None) => ALL,
            (Some(_), None, None) => OF_STATUS,
            (None, Some(_), None) => OF_LIBRARY,
            (Some(_), Some(_), None) => OF_LIBRARY_AND_STATUS,
            (None | Some(JobStatus::Failed), None, Some(_)) => OF_FAILURE,
            (None | Some(JobStatus::Failed), Some(_), Some(_)) => OF_LIBRARY_AND_FAILURE,
            (Some(_), _, Some(_)) => {
                return Ok(Page::empty());
            }
        };
        let name = filter.name_contains.as_deref();
        let lower = name.map(str::to_lowercase);
        let listing = match name {
            None => whatever_the_name,
            Some(_) => of_name,
        };
        let statement = match filter.order {
            JobOrder::NewestFirst => listing.newest,
            JobOrder::OldestFirst => listing.oldest,
            JobOrder::ByName => listing.by_name,
        };
        let rows = sqlx::query_as::<_, JobRow>(statement)
            .bind(status)
            .bind(library)
            .bind(failure)
            .bind(page.limit)
            .bind(signed(page.offset))
            .bind(lower.as_deref())
            .bind(name)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        let total: i64 = sqlx::query_scalar(listing.total)
            .bind(status)
            .bind(library)
            .bind(failure)
            .bind(page.limit)
            .bind(signed(page.offset))
            .bind(lower.as_deref())
            .bind(name)
            .fetch_one(&self.read)
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
            .bind(Value::from_iter(libraries.iter().map(LibraryUid::as_str)).to_string())
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(unsettled).collect()
    }

    async fn lease(&self, request: LeaseRequest<'_>) -> StoreResult<Option<Lease>> {
        let now = micros(request.now);
        // An idle worker only reads: the write lock is for those who have something to write.
        let mut reader = self.read.acquire().await.map_err(store_error)?;
        if next(&mut reader, &request).await?.is_none() {
            return Ok(None);
        }
        drop(reader);
        let mut tx = self.begin().await?;
        loop {
            let Some(row) = next(&mut tx, &request).await? else {
                tx.commit().await.map_err(store_error)?;
                return Ok(None);
            };
            if row.status()? == JobStatus::Processing && row.attempts >= i64::from(request.max_attempts) {
                sqlx::query(GIVE_UP)
                    .bind(row.sequence)
                    .bind(now)
                    .bind(FailureCode::TooManyAttempts.as_str())
                    .bind(format!(
                        "It was begun {} times and never came to an end.",
                        row.attempts
                    ))
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
                continue;
            }
            let token = uuid::Uuid::new_v4().to_string();
            let row = sqlx::query_as::<_, JobRow>(TAKE)
                .bind(row.sequence)
                .bind(now)
                .bind(request.holder)
                .bind(&token)
                .bind(after(request.now, request.ttl))
                .fetch_one(&mut *tx)
                .await
                .map_err(store_error)?;
            tx.commit().await.map_err(store_error)?;
            debug_assert_eq!(row.lease_token.as_deref(), Some(token.as_str()));
            return Ok(Some(Lease {
                job: row.read()?,
                token,
            }));
        }
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
        for (name, value) in &update.checkpoints {
            sqlx::query(CHECKPOINT)
                .bind(id.as_str())
                .bind(name)
                .bind(value)
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
            .bind(limit)
            .fetch_all(&self.read)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(announcement).collect()
    }

    async fn announced(&self, jobs: &[JobId]) -> StoreResult<()> {
        sqlx::query(ANNOUNCED)
            .bind(Value::from_iter(jobs.iter().map(JobId::as_str)).to_string())
            .execute(&self.write)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn checkpoints(&self, id: &JobId) -> StoreResult<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, value FROM mnemosyne_job_checkpoint WHERE job_id = ?1")
                .bind(id.as_str())
                .fetch_all(&self.read)
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
            .execute(&self.write)
            .await
            .map_err(store_error)?;
        self.job(id).await
    }

    async fn retry(&self, id: &JobId, queue: Option<Queue>, now: DateTime<Utc>) -> StoreResult<Option<Job>> {
        let row = sqlx::query_as::<_, JobRow>(RETRY)
            .bind(id.as_str())
            .bind(micros(now))
            .bind(queue.map(Queue::as_str))
            .fetch_optional(&self.write)
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
            .execute(&self.write)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }

    async fn delete_jobs_of_library(&self, library: &LibraryUid) -> StoreResult<u64> {
        sqlx::query("DELETE FROM mnemosyne_job WHERE library_uid = ?1")
            .bind(library.as_str())
            .execute(&self.write)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }

    async fn delete_jobs_of_items(&self, items: &[ItemUid]) -> StoreResult<()> {
        sqlx::query("DELETE FROM mnemosyne_job WHERE item_uid IN (SELECT value FROM json_each(?1))")
            .bind(Value::from_iter(items.iter().map(ItemUid::as_str)).to_string())
            .execute(&self.write)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn throughput(&self, now: DateTime<Utc>) -> StoreResult<Throughput> {
        const MINUTE: i64 = 60_000_000;
        let begin = micros(now) - 60 * MINUTE;
        let by_status: Vec<(String, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM mnemosyne_job GROUP BY status")
                .fetch_all(&self.read)
                .await
                .map_err(store_error)?;
        let minutes: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT (finished_at - ?1) / 60000000, count(*) FROM mnemosyne_job \
             WHERE finished_at > ?1 AND finished_at <= ?2 AND stage = 'complete' GROUP BY 1",
        )
        .bind(begin)
        .bind(micros(now))
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        let failures: Vec<(String, i64)> = sqlx::query_as(
            "SELECT error_code, count(*) FROM mnemosyne_job WHERE status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1",
        )
        .fetch_all(&self.read)
        .await
        .map_err(store_error)?;
        Ok(throughput(by_status, minutes, failures))
    }
}
