//! What was written down, failed attempts, and profiles.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{Audit, Profiles, Throttle};
use mnemosyne_domain::{
    Attempts, AuditEntry, AuditFilter, DateFormat, NewAuditEntry, Page, PageRequest, Profile, ProfileChange,
    StoreResult, Theme, UserId,
};

use super::PostgresDatabase;
use super::errors::store_error;
use crate::rows::{AttemptsRow, AuditRow, ProfileRow, signed, unsigned};
use crate::time::micros;

const RECORD: &str = "INSERT INTO mnemosyne_audit \
    (at, last_at, count, event, actor, address, subject, detail, merge_key) \
    VALUES ($1, $1, 1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT (merge_key) DO UPDATE SET count = mnemosyne_audit.count + 1, last_at = excluded.last_at";
const LIST: &str = "SELECT id, at, last_at, count, event, actor, address, subject, detail FROM mnemosyne_audit \
    WHERE ($1::bigint IS NULL OR last_at >= $1) AND ($2::text IS NULL OR actor = $2 OR subject = $2) \
    AND ($3::text IS NULL OR event = $3) ORDER BY last_at DESC, id DESC LIMIT $4 OFFSET $5";
const COUNT: &str = "SELECT count(*) FROM mnemosyne_audit \
    WHERE ($1::bigint IS NULL OR last_at >= $1) AND ($2::text IS NULL OR actor = $2 OR subject = $2) \
    AND ($3::text IS NULL OR event = $3)";
const NOTE_FAILURE: &str = "INSERT INTO mnemosyne_throttle (bucket, failures, failed_at, touched_at) \
    VALUES ($1, 1, $2, $2) ON CONFLICT (bucket) DO UPDATE SET failed_at = excluded.failed_at, \
    touched_at = excluded.touched_at, failures = CASE \
        WHEN mnemosyne_throttle.failed_at >= $3 THEN mnemosyne_throttle.failures + 1 ELSE 1 END \
    RETURNING failures, failed_at, succeeded_at";
const NOTE_SUCCESS: &str = "INSERT INTO mnemosyne_throttle (bucket, failures, succeeded_at, touched_at) \
    VALUES ($1, 0, $2, $2) ON CONFLICT (bucket) DO UPDATE SET failures = 0, failed_at = NULL, \
    succeeded_at = excluded.succeeded_at, touched_at = excluded.touched_at";
const NOTE_PRESENCE: &str = "INSERT INTO mnemosyne_throttle (bucket, failures, succeeded_at, touched_at) \
    VALUES ($1, 0, $2, $2) ON CONFLICT (bucket) DO UPDATE SET succeeded_at = excluded.succeeded_at, \
    touched_at = excluded.touched_at";
const CHANGE_PROFILE: &str = "INSERT INTO mnemosyne_profile (user_id, time_zone, date_format, theme) \
    VALUES ($1, $3, COALESCE($4, $6), COALESCE($5, $7)) \
    ON CONFLICT (user_id) DO UPDATE SET \
    time_zone = CASE WHEN $2 THEN excluded.time_zone ELSE mnemosyne_profile.time_zone END, \
    date_format = COALESCE($4, mnemosyne_profile.date_format), theme = COALESCE($5, mnemosyne_profile.theme)";

#[async_trait::async_trait]
impl Audit for PostgresDatabase {
    async fn record(&self, entry: &NewAuditEntry, now: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query(RECORD)
            .bind(micros(now))
            .bind(entry.event.as_str())
            .bind(&entry.actor)
            .bind(&entry.address)
            .bind(&entry.subject)
            .bind(&entry.detail)
            .bind(&entry.merge_key)
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn audit(&self, filter: &AuditFilter, page: PageRequest) -> StoreResult<Page<AuditEntry>> {
        let since = filter.since.map(micros);
        let event = filter.event.map(|event| event.as_str());
        let total: i64 = sqlx::query_scalar(COUNT)
            .bind(since)
            .bind(&filter.user)
            .bind(event)
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        let rows = sqlx::query_as::<_, AuditRow>(LIST)
            .bind(since)
            .bind(&filter.user)
            .bind(event)
            .bind(i64::from(page.limit))
            .bind(signed(page.offset))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(Page {
            total: unsigned(total),
            rows: rows.into_iter().map(AuditRow::read).collect::<StoreResult<_>>()?,
        })
    }

    async fn delete_audit_before(&self, before: DateTime<Utc>) -> StoreResult<u64> {
        sqlx::query("DELETE FROM mnemosyne_audit WHERE last_at < $1")
            .bind(micros(before))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }
}

impl PostgresDatabase {
    /// Notes in a bucket what the statement says, as of a moment.
    async fn note(&self, statement: &'static str, bucket: &str, now: DateTime<Utc>) -> StoreResult<()> {
        sqlx::query(statement)
            .bind(bucket)
            .bind(micros(now))
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }
}

#[async_trait::async_trait]
impl Throttle for PostgresDatabase {
    async fn attempts(&self, bucket: &str, forget_before: DateTime<Utc>) -> StoreResult<Attempts> {
        let row = sqlx::query_as::<_, AttemptsRow>(
            "SELECT failures, failed_at, succeeded_at FROM mnemosyne_throttle WHERE bucket = $1",
        )
        .bind(bucket)
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        let attempts = row.map(AttemptsRow::read).transpose()?.unwrap_or_default();
        if attempts.failed_at.is_some_and(|at| at < forget_before) {
            return Ok(Attempts {
                failures: 0,
                failed_at: None,
                ..attempts
            });
        }
        Ok(attempts)
    }

    async fn note_failure(
        &self,
        bucket: &str,
        now: DateTime<Utc>,
        forget_before: DateTime<Utc>,
    ) -> StoreResult<Attempts> {
        sqlx::query_as::<_, AttemptsRow>(NOTE_FAILURE)
            .bind(bucket)
            .bind(micros(now))
            .bind(micros(forget_before))
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?
            .read()
    }

    async fn note_success(&self, bucket: &str, now: DateTime<Utc>) -> StoreResult<()> {
        self.note(NOTE_SUCCESS, bucket, now).await
    }

    async fn note_presence(&self, bucket: &str, now: DateTime<Utc>) -> StoreResult<()> {
        self.note(NOTE_PRESENCE, bucket, now).await
    }

    async fn delete_attempts_before(&self, before: DateTime<Utc>) -> StoreResult<u64> {
        sqlx::query("DELETE FROM mnemosyne_throttle WHERE touched_at < $1")
            .bind(micros(before))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(store_error)
    }
}

#[async_trait::async_trait]
impl Profiles for PostgresDatabase {
    async fn profile(&self, id: UserId) -> StoreResult<Profile> {
        let row = sqlx::query_as::<_, ProfileRow>(
            "SELECT time_zone, date_format, theme FROM mnemosyne_profile WHERE user_id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        Ok(row.map(ProfileRow::read).transpose()?.unwrap_or_default())
    }

    async fn change_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<()> {
        let usual = Profile::default();
        sqlx::query(CHANGE_PROFILE)
            .bind(id.0)
            .bind(change.time_zone.is_some())
            .bind(change.time_zone.clone().flatten())
            .bind(change.date_format.map(DateFormat::as_str))
            .bind(change.theme.map(Theme::as_str))
            .bind(usual.date_format.as_str())
            .bind(usual.theme.as_str())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(store_error)
    }
}
