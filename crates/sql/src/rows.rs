//! Rows of our own tables: they have the same columns in every database.

use std::time::Duration;

use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{Announcement, Throughput};
use mnemosyne_domain::{
    Attempts, AuditEntry, AuditEvent, CollectionUid, DateFormat, Failure, FailureCode, ItemUid, Job,
    JobCounts, JobId, JobStatus, LibraryUid, McpToken, ModelDraft, ModelRole, ModelUid, NewJob, Profile,
    Provider, ProviderDraft, ProviderKind, ProviderLimits, ProviderModel, ProviderUid, Queue, SigningKey,
    Stage, StoreError, StoreResult, Theme, Tool, UserId,
};
use serde_json::{Map, Value};

use crate::time::from_micros;

/// A row of `mnemosyne_mcp_token`.
#[derive(sqlx::FromRow)]
pub(crate) struct TokenRow {
    id: i64,
    user_id: i64,
    name: String,
    prefix: String,
    digest: String,
    tools: Option<String>,
    libraries: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl TokenRow {
    pub(crate) fn read(self) -> StoreResult<McpToken> {
        let tools = names(self.tools)?
            .map(|names| {
                names
                    .iter()
                    .map(|name| Tool::parse(name).ok_or_else(|| corrupt("tool", name)))
                    .collect()
            })
            .transpose()?;
        let libraries =
            names(self.libraries)?.map(|names| names.into_iter().map(LibraryUid::from_store).collect());
        Ok(McpToken {
            id: self.id,
            name: self.name,
            prefix: self.prefix,
            digest: self.digest,
            user_id: UserId(self.user_id),
            tools,
            libraries,
            created_at: from_micros(self.created_at)?,
            expires_at: self.expires_at.map(from_micros).transpose()?,
            last_used_at: self.last_used_at.map(from_micros).transpose()?,
            revoked_at: self.revoked_at.map(from_micros).transpose()?,
        })
    }
}

fn names(list: Option<String>) -> StoreResult<Option<Vec<String>>> {
    list.map(|text| serde_json::from_str(&text).map_err(|error| StoreError::Corrupt(error.to_string())))
        .transpose()
}

/// The names as a JSON list, where there is a list.
pub(crate) fn list<'a>(names: Option<impl Iterator<Item = &'a str>>) -> Option<String> {
    names.map(|names| serde_json::Value::from_iter(names).to_string())
}

/// A row of `mnemosyne_signing_key`.
#[derive(sqlx::FromRow)]
pub(crate) struct KeyRow {
    kid: String,
    sealed_secret: String,
    created_at: i64,
    retired_at: Option<i64>,
}

impl KeyRow {
    pub(crate) fn read(self) -> StoreResult<SigningKey> {
        Ok(SigningKey {
            kid: self.kid,
            sealed_secret: self.sealed_secret,
            created_at: from_micros(self.created_at)?,
            retired_at: self.retired_at.map(from_micros).transpose()?,
        })
    }
}

/// A row of `mnemosyne_provider`.
#[derive(sqlx::FromRow)]
pub(crate) struct ProviderRow {
    uid: String,
    name: String,
    kind: String,
    base_url: String,
    sealed_key: Option<String>,
    verify_tls: bool,
    allow_private: bool,
    timeout_seconds: i64,
    batch_size: i64,
    batch_tokens: i64,
    text_tokens: i64,
    max_parallel: i64,
    created_at: i64,
    updated_at: i64,
}

impl ProviderRow {
    pub(crate) fn read(self) -> StoreResult<Provider> {
        Ok(Provider {
            uid: ProviderUid::from_store(self.uid),
            draft: ProviderDraft {
                name: self.name,
                kind: ProviderKind::parse(&self.kind).ok_or_else(|| corrupt("kind", &self.kind))?,
                base_url: self.base_url,
                verify_tls: self.verify_tls,
                allow_private: self.allow_private,
                limits: ProviderLimits {
                    timeout: Duration::from_secs(unsigned(self.timeout_seconds)),
                    batch_size: small(self.batch_size),
                    batch_tokens: small(self.batch_tokens),
                    text_tokens: small(self.text_tokens),
                    max_parallel: small(self.max_parallel),
                },
            },
            sealed_key: self.sealed_key,
            created_at: from_micros(self.created_at)?,
            updated_at: from_micros(self.updated_at)?,
        })
    }
}

/// A row of `mnemosyne_audit`.
#[derive(sqlx::FromRow)]
pub(crate) struct AuditRow {
    id: i64,
    at: i64,
    last_at: i64,
    count: i64,
    event: String,
    actor: String,
    address: String,
    subject: String,
    detail: String,
}

impl AuditRow {
    pub(crate) fn read(self) -> StoreResult<AuditEntry> {
        Ok(AuditEntry {
            id: self.id,
            at: from_micros(self.at)?,
            last_at: from_micros(self.last_at)?,
            count: unsigned(self.count),
            event: AuditEvent::parse(&self.event).ok_or_else(|| corrupt("event", &self.event))?,
            actor: self.actor,
            address: self.address,
            subject: self.subject,
            detail: self.detail,
        })
    }
}

/// A row of `mnemosyne_model`.
#[derive(sqlx::FromRow)]
pub(crate) struct ModelRow {
    uid: String,
    provider_uid: String,
    name: String,
    role: String,
    dimension: Option<i64>,
    takes_instructions: Option<bool>,
    is_default: bool,
    created_at: i64,
    updated_at: i64,
}

impl ModelRow {
    pub(crate) fn read(self) -> StoreResult<ProviderModel> {
        Ok(ProviderModel {
            uid: ModelUid::from_store(self.uid),
            provider: ProviderUid::from_store(self.provider_uid),
            draft: ModelDraft {
                name: self.name,
                role: ModelRole::parse(&self.role).ok_or_else(|| corrupt("role", &self.role))?,
                dimension: self.dimension.map(|dimension| unsigned(dimension) as usize),
                takes_instructions: self.takes_instructions,
                is_default: self.is_default,
            },
            created_at: from_micros(self.created_at)?,
            updated_at: from_micros(self.updated_at)?,
        })
    }
}

/// A row of `mnemosyne_throttle`.
#[derive(sqlx::FromRow)]
pub(crate) struct AttemptsRow {
    failures: i64,
    failed_at: Option<i64>,
    succeeded_at: Option<i64>,
}

impl AttemptsRow {
    pub(crate) fn read(self) -> StoreResult<Attempts> {
        Ok(Attempts {
            failures: u32::try_from(self.failures).unwrap_or(u32::MAX),
            failed_at: self.failed_at.map(from_micros).transpose()?,
            succeeded_at: self.succeeded_at.map(from_micros).transpose()?,
        })
    }
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// Whole seconds.
pub(crate) fn seconds(time: Duration) -> i64 {
    signed(time.as_secs())
}

/// A row of `mnemosyne_profile`.
#[derive(sqlx::FromRow)]
pub(crate) struct ProfileRow {
    time_zone: Option<String>,
    date_format: String,
    theme: String,
}

impl ProfileRow {
    pub(crate) fn read(self) -> StoreResult<Profile> {
        Ok(Profile {
            time_zone: self.time_zone,
            date_format: DateFormat::parse(&self.date_format)
                .ok_or_else(|| corrupt("date format", &self.date_format))?,
            theme: Theme::parse(&self.theme).ok_or_else(|| corrupt("theme", &self.theme))?,
        })
    }
}

/// A row of `mnemosyne_job`.
#[derive(sqlx::FromRow)]
pub(crate) struct JobRow {
    pub(crate) sequence: i64,
    id: String,
    pub(crate) item_uid: String,
    pub(crate) library_uid: String,
    collection_uid: Option<String>,
    pub(crate) source_ref: String,
    content_hash: String,
    filename: String,
    content_type: Option<String>,
    title: Option<String>,
    metadata: String,
    bucket_key: Option<String>,
    pub(crate) blob_digest: Option<String>,
    blob_size: Option<i64>,
    queue: String,
    pub(crate) status: String,
    stage: String,
    progress: f64,
    pub(crate) attempts: i64,
    failures: i64,
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
    pub(crate) lease_token: Option<String>,
}

pub(crate) fn corrupt(what: &str, value: &str) -> StoreError {
    StoreError::Corrupt(format!("{value:?} is no {what}"))
}

fn from_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|_| corrupt(what, text))
}

impl JobRow {
    pub(crate) fn status(&self) -> StoreResult<JobStatus> {
        JobStatus::parse(&self.status).ok_or_else(|| corrupt("status", &self.status))
    }

    pub(crate) fn read(self) -> StoreResult<Job> {
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
            failures: u32::try_from(self.failures).unwrap_or(u32::MAX),
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

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Why a change that asks for what was read found no row: it is another one by now, or gone.
pub(crate) fn not_as_seen(is_there: bool) -> StoreError {
    if is_there {
        StoreError::Conflict("updated_at")
    } else {
        StoreError::NotFound
    }
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row of the outbox: id and queue.
pub(crate) fn announcement((id, queue): (String, String)) -> StoreResult<Announcement> {
    Ok(Announcement {
        job: JobId::from_store(id),
        queue: Queue::parse(&queue).ok_or_else(|| corrupt("queue", &queue))?,
    })
}

/// A row of the counts of unsettled jobs: library, status, number.
pub(crate) fn unsettled(
    (library, status, number): (String, String, i64),
) -> StoreResult<(LibraryUid, JobStatus, u64)> {
    let status = JobStatus::parse(&status).ok_or_else(|| corrupt("status", &status))?;
    Ok((LibraryUid::from_store(library), status, unsigned(number)))
}

/// What was done lately, from counts of jobs by status, of completed ones by minute of the last hour, and of failed ones by
/// code.
pub(crate) fn throughput(
    by_status: Vec<(String, i64)>,
    minutes: Vec<(i64, i64)>,
    failures: Vec<(String, i64)>,
) -> Throughput {
    let mut completed_per_minute = vec![0; 60];
    for (minute, count) in minutes {
        let place = usize::try_from(minute).unwrap_or_default().min(59);
        completed_per_minute[place] += unsigned(count);
    }
    Throughput {
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
    }
}
