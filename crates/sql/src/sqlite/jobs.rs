//! The table of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{
    Announcement, Enqueued, JobFilter, JobOrder, JobUpdate, Jobs, Lease, LeaseOutcome, LeaseRequest,
    Throughput,
};
use mnemosyne_domain::{
    CollectionUid, Failure, FailureCode, ItemUid, Job, JobCounts, JobId, JobStatus, LibraryUid, NewJob, Page,
    PageRequest, Queue, Stage, StoreError, StoreResult,
};
use serde_json::{Map, Value};
use sqlx::{Sqlite, Transaction};

use super::SqliteDatabase;
use super::errors::store_error;
use super::time::{from_micros, micros};

#[derive(sqlx::FromRow)]
struct JobRow {
    sequence: i64,
    id: String,
    item_uid: String,
    library_uid: String,
    collection_uid: Option<String>,
    source_ref: String,
    content_hash: String,
    filename: String,
    content_type: Option<String>,
    title: Option<String>,
    metadata: String,
    bucket_key: Option<String>,
    blob_digest: Option<String>,
    blob_size: Option<i64>,
    queue: String,
    status: String,
    stage: String,
    progress: f64,
    attempts: i64,
    chunks: i64,
    images: i64,
    concepts: i64,
    timings_ms: String,
    error_code: Option<String>,
    error_message: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    due_at: i64,
    lease_token: Option<String>,
}

fn corrupt(what: &str, value: &str) -> StoreError {
    StoreError::Corrupt(format!("{value:?} is no {what}"))
}

fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|_| corrupt(what, text))
}

impl JobRow {
    fn status(&self) -> StoreResult<JobStatus> {
        JobStatus::parse(&self.status).ok_or_else(|| corrupt("status", &self.status))
    }

    fn read(self) -> StoreResult<Job> {
        let status = self.status()?;
        let source = match (self.bucket_key, self.blob_digest) {
            (Some(key), _) => JobSource::BucketObject { key },
            (None, Some(digest)) => JobSource::Blob {
                digest,
                size: unsigned(self.blob_size.unwrap_or_default()),
            },
            (None, None) => return Err(corrupt("source of a job", &self.id)),
        };
        let error = match (self.error_code, self.error_message) {
            (Some(code), message) => Some(Failure::new(
                FailureCode::parse(&code).ok_or_else(|| corrupt("failure", &code))?,
                message.unwrap_or_default(),
            )),
            (None, _) => None,
        };
        Ok(Job {
            id: JobId::from_store(self.id),
            sequence: self.sequence,
            item_uid: ItemUid::from_store(self.item_uid),
            request: NewJob {
                library_uid: LibraryUid::from_store(self.library_uid),
                collection_uid: self.collection_uid.map(CollectionUid::from_store),
                source_ref: self.source_ref,
                content_hash: self.content_hash,
                filename: self.filename,
                content_type: self.content_type,
                title: self.title,
                metadata: from_json::<Map<String, Value>>("metadata", &self.metadata)?,
                source,
                queue: Queue::parse(&self.queue).ok_or_else(|| corrupt("queue", &self.queue))?,
            },
            status,
            stage: Stage::parse(&self.stage).ok_or_else(|| corrupt("stage", &self.stage))?,
            progress: self.progress as f32,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            counts: JobCounts {
                chunks: unsigned(self.chunks),
                images: unsigned(self.images),
                concepts: unsigned(self.concepts),
            },
            timings_ms: from_json("timings", &self.timings_ms)?,
            error,
            created_at: from_micros(self.created_at)?,
            started_at: self.started_at.map(from_micros).transpose()?,
            finished_at: self.finished_at.map(from_micros).transpose()?,
            due_at: from_micros(self.due_at)?,
        })
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn after(now: DateTime<Utc>, time: Duration) -> i64 {
    let end = TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time));
    micros(end.unwrap_or(DateTime::<Utc>::MAX_UTC))
}

const LIVE_REQUEST: &str = "SELECT * FROM mnemosyne_job WHERE library_uid = ?1 AND source_ref = ?2 \
    AND content_hash = ?3 AND status NOT IN ('superseded', 'cancelled')";
// The second condition on the status looks idle; without it SQLite cannot use the index of live requests, and takes one
// that makes it look at every job of the library.
const SUPERSEDE_WAITING: &str = "UPDATE mnemosyne_job INDEXED BY mnemosyne_job_request SET status = 'superseded', finished_at = ?3 \
    WHERE library_uid = ?1 AND source_ref = ?2 AND status = 'pending' AND status NOT IN ('superseded', 'cancelled')";
const INSERT: &str = "INSERT INTO mnemosyne_job (id, item_uid, library_uid, collection_uid, source_ref, content_hash, \
    filename, content_type, title, metadata, bucket_key, blob_digest, blob_size, queue, status, stage, progress, \
    attempts, chunks, images, concepts, timings_ms, created_at, due_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'pending', 'queued', 0, 0, 0, 0, 0, '{}', \
    ?15, ?15) RETURNING *";
const BY_ID: &str = "SELECT * FROM mnemosyne_job WHERE id = ?1";
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
const GIVE_UP: &str = "UPDATE mnemosyne_job SET status = 'failed', finished_at = ?2, error_code = ?3, \
    error_message = ?4, lease_holder = NULL, lease_token = NULL, lease_until = NULL WHERE sequence = ?1";
const HEARTBEAT: &str = "UPDATE mnemosyne_job SET lease_until = ?3, stage = coalesce(?4, stage), \
    progress = coalesce(?5, progress), chunks = coalesce(?6, chunks), images = coalesce(?7, images), \
    concepts = coalesce(?8, concepts), timings_ms = coalesce(?9, timings_ms) \
    WHERE id = ?1 AND lease_token = ?2 AND status = 'processing'";
const CHECKPOINT: &str = "INSERT INTO mnemosyne_job_checkpoint (job_id, name, value) VALUES (?1, ?2, ?3) \
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value";
// A job can be cancelled while its worker makes the item visible. It ends as what it became; but where the same was asked
// for again meanwhile, that later job is the live one of this request, and of two only one may be.
const FINISH: &str = "UPDATE mnemosyne_job AS ended SET status = CASE WHEN ended.status = 'cancelled' AND EXISTS (\
    SELECT 1 FROM mnemosyne_job AS later WHERE later.library_uid = ended.library_uid \
    AND later.source_ref = ended.source_ref AND later.content_hash = ended.content_hash \
    AND later.status NOT IN ('superseded', 'cancelled')) THEN 'superseded' ELSE ?3 END, stage = CASE ?3 WHEN 'completed' THEN 'complete' ELSE stage \
    END, progress = CASE ?3 WHEN 'completed' THEN 1 ELSE progress END, finished_at = ?4, error_code = NULL, \
    error_message = NULL, lease_holder = NULL, lease_token = NULL, lease_until = NULL \
    WHERE id = ?1 AND lease_token = ?2 AND status IN ('processing', 'cancelled') RETURNING *";
const SUPERSEDE_EARLIER: &str = "UPDATE mnemosyne_job INDEXED BY mnemosyne_job_request SET status = 'superseded' \
    WHERE library_uid = ?1 \
    AND source_ref = ?2 AND sequence < ?3 AND status IN ('completed', 'failed') \
    AND status NOT IN ('superseded', 'cancelled')";
const FAIL: &str = "UPDATE mnemosyne_job SET status = CASE WHEN ?5 IS NULL THEN 'failed' ELSE 'pending' END, \
    finished_at = CASE WHEN ?5 IS NULL THEN ?6 ELSE NULL END, announced = 0, due_at = coalesce(?5, due_at), error_code = ?3, \
    error_message = ?4, lease_holder = NULL, lease_token = NULL, lease_until = NULL \
    WHERE id = ?1 AND lease_token = ?2 AND status = 'processing'";
const RELEASE: &str = "UPDATE mnemosyne_job SET status = 'pending', announced = 0, attempts = max(attempts - 1, 0), due_at = ?3, \
    lease_holder = NULL, lease_token = NULL, lease_until = NULL \
    WHERE id = ?1 AND lease_token = ?2 AND status = 'processing'";
const CANCEL: &str = "UPDATE mnemosyne_job SET status = 'cancelled', finished_at = ?2 \
    WHERE id = ?1 AND status IN ('pending', 'processing')";
const RETRY: &str = "UPDATE mnemosyne_job SET status = 'pending', announced = 0, attempts = 0, due_at = ?2, finished_at = NULL, \
    error_code = NULL, error_message = NULL WHERE id = ?1 AND status = 'failed' RETURNING *";
const RETRY_ALL: &str = "UPDATE mnemosyne_job SET status = 'pending', announced = 0, attempts = 0, due_at = ?2, finished_at = NULL, \
    error_code = NULL, error_message = NULL WHERE status = 'failed' AND (?1 IS NULL OR error_code = ?1) \
    AND (?3 IS NULL OR library_uid = ?3)";
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

#[async_trait::async_trait]
impl Jobs for SqliteDatabase {
    async fn enqueue(&self, job: NewJob, now: DateTime<Utc>) -> StoreResult<Enqueued> {
        let mut tx = self.begin().await?;
        let known = sqlx::query_as::<_, JobRow>(LIVE_REQUEST)
            .bind(job.library_uid.as_str())
            .bind(&job.source_ref)
            .bind(&job.content_hash)
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        if let Some(known) = known {
            return Ok(Enqueued {
                job: known.read()?,
                deduplicated: true,
            });
        }
        sqlx::query(SUPERSEDE_WAITING)
            .bind(job.library_uid.as_str())
            .bind(&job.source_ref)
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .map_err(store_error)?;
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
        tx.commit().await.map_err(store_error)?;
        Ok(Enqueued {
            job: row.read()?,
            deduplicated: false,
        })
    }

    async fn job(&self, id: &JobId) -> StoreResult<Option<Job>> {
        self.job_row(BY_ID, id.as_str()).await
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
                return Ok(Page {
                    rows: Vec::new(),
                    total: 0,
                });
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
        rows.into_iter()
            .map(|(library, status, number)| {
                let status = JobStatus::parse(&status).ok_or_else(|| corrupt("status", &status))?;
                Ok((LibraryUid::from_store(library), status, unsigned(number)))
            })
            .collect()
    }

    async fn lease(&self, request: LeaseRequest<'_>) -> StoreResult<Option<Lease>> {
        let queues = Value::from_iter(request.queues.iter().map(|queue| queue.as_str())).to_string();
        let now = micros(request.now);
        let next = || match request.job {
            Some(id) => sqlx::query_as::<_, JobRow>(NEXT_OF_ID)
                .bind(id.as_str())
                .bind(now),
            None => sqlx::query_as::<_, JobRow>(NEXT).bind(now).bind(&queues),
        };
        // An idle worker only reads: the write lock is for those who have something to write.
        if next()
            .fetch_optional(&self.read)
            .await
            .map_err(store_error)?
            .is_none()
        {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        loop {
            let Some(row) = next().fetch_optional(&mut *tx).await.map_err(store_error)? else {
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
        rows.into_iter()
            .map(|(id, queue)| {
                Ok(Announcement {
                    job: JobId::from_store(id),
                    queue: Queue::parse(&queue).ok_or_else(|| corrupt("queue", &queue))?,
                })
            })
            .collect()
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
    ) -> StoreResult<LeaseOutcome> {
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
            return self.lease_state(&mut tx, id, token).await;
        };
        if status == JobStatus::Completed {
            sqlx::query(SUPERSEDE_EARLIER)
                .bind(&row.library_uid)
                .bind(&row.source_ref)
                .bind(row.sequence)
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
        }
        tx.commit().await.map_err(store_error)?;
        Ok(LeaseOutcome::Held)
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
        let done = sqlx::query(FAIL)
            .bind(id.as_str())
            .bind(token)
            .bind(failure.code.as_str())
            .bind(&failure.message)
            .bind(retry_at.map(micros))
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

    async fn retry(&self, id: &JobId, now: DateTime<Utc>) -> StoreResult<Option<Job>> {
        let row = sqlx::query_as::<_, JobRow>(RETRY)
            .bind(id.as_str())
            .bind(micros(now))
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

    async fn delete_job_of_item(&self, item: &ItemUid) -> StoreResult<()> {
        sqlx::query("DELETE FROM mnemosyne_job WHERE item_uid = ?1")
            .bind(item.as_str())
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
        let mut completed_per_minute = vec![0; 60];
        for (minute, count) in minutes {
            let place = usize::try_from(minute).unwrap_or_default().min(59);
            completed_per_minute[place] += unsigned(count);
        }
        Ok(Throughput {
            by_status: JobStatus::ALL
                .into_iter()
                .map(|status| (status.as_str().to_owned(), 0))
                .chain(
                    by_status
                        .into_iter()
                        .map(|(status, count)| (status, unsigned(count))),
                )
                .collect(),
            completed_per_minute,
            failures: failures
                .into_iter()
                .map(|(code, count)| (code, unsigned(count)))
                .collect(),
        })
    }
}
