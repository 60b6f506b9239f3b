use chrono::{DateTime, Utc};

use crate::account::UserId;
use crate::audit::{Attempts, AuditEntry, AuditFilter, Mail, NewAuditEntry, Profile, ProfileChange};
use crate::error::StoreResult;
use crate::page::{Page, PageRequest};

/// What was written down.
#[async_trait::async_trait]
pub trait Audit: Send + Sync {
    /// Writes an entry, or counts it in the one of the same `merge_key`.
    async fn record(&self, entry: &NewAuditEntry, now: DateTime<Utc>) -> StoreResult<()>;
    /// Entries, those that happened last first.
    async fn audit(&self, filter: &AuditFilter, page: PageRequest) -> StoreResult<Page<AuditEntry>>;
    /// Removes what happened last before a moment, and says how many entries that were.
    async fn delete_audit_before(&self, before: DateTime<Utc>) -> StoreResult<u64>;
}

/// Failed attempts, counted for all processes together.
#[async_trait::async_trait]
pub trait Throttle: Send + Sync {
    /// What is known of a bucket; failures older than `forget_before` do not count.
    async fn attempts(&self, bucket: &str, forget_before: DateTime<Utc>) -> StoreResult<Attempts>;
    /// Counts a failure and answers what is known now. Failures older than `forget_before` do not count. Two at once
    /// count as two.
    async fn note_failure(
        &self,
        bucket: &str,
        now: DateTime<Utc>,
        forget_before: DateTime<Utc>,
    ) -> StoreResult<Attempts>;
    /// Notes a success: failures are forgotten.
    async fn note_success(&self, bucket: &str, now: DateTime<Utc>) -> StoreResult<()>;
    /// Notes that whoever succeeded before is still there: failures stay as they are.
    async fn note_presence(&self, bucket: &str, now: DateTime<Utc>) -> StoreResult<()>;
    /// Removes buckets in which nothing happened since a moment, and says how many.
    async fn delete_attempts_before(&self, before: DateTime<Utc>) -> StoreResult<u64>;
}

/// How pages look to a user.
#[async_trait::async_trait]
pub trait Profiles: Send + Sync {
    /// A user's profile; the default where none was saved.
    async fn profile(&self, id: UserId) -> StoreResult<Profile>;
    /// Changes a profile in one statement, the default where none was saved;
    /// [`NotFound`](crate::StoreError::NotFound) where there is no such user.
    async fn change_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<()>;
}

/// Hands mail to a server.
#[async_trait::async_trait]
pub trait Mailer: Send + Sync {
    /// Hands one mail over. The error is a sentence for the log, without secrets.
    async fn send(&self, mail: &Mail) -> Result<(), String>;
}
