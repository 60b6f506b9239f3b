//! Finishing what a kill interrupted, and removing what nobody needs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::{ItemUid, JobStatus};

use crate::context::Services;
use crate::error::ServiceResult;
use crate::ingest::upload_began;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What no job needs any more.
    Jobless,
    /// Everything, so that an item that went without its job is noticed as well.
    Whole,
}

/// What was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Items that were written and belong to no job any more.
    pub staged_items: u64,
    /// Files whose last holder is gone.
    pub blobs: u64,
    /// Sessions that are over.
    pub sessions: u64,
}

/// Staged items younger than this may belong to a request that is just being recorded.
const GRACE: TimeDelta = TimeDelta::minutes(10);
/// An upload older than this belongs to no request that still goes on.
const LONGEST_UPLOAD: TimeDelta = TimeDelta::hours(24);
/// A file that is younger may be claimed at any moment.
const UNCLAIMED: Duration = Duration::from_secs(3_600);

impl Services {
    /// Removes what interrupted deletions, cancellations and uploads left behind. Safe beside running workers, and safe to
    /// be given up in the middle: only what no job and no visible item refers to is touched.
    pub async fn mend(&self, reach: Reach) -> ServiceResult<Mended> {
        let now = self.clock.now();
        let mut mended = Mended {
            sessions: self.relational.delete_expired_sessions(now).await?,
            ..Mended::default()
        };
        self.forget_attempts(now).await?;
        self.forget_audit(now).await?;
        for uid in self.knowledge.staged_before(now - GRACE).await? {
            if self.needs_nothing_more(&uid).await? && self.knowledge.delete_staged_item(&uid).await? {
                mended.staged_items += 1;
            }
        }
        let holders = match reach {
            Reach::Jobless => self.relational.jobless_blob_holders().await?,
            Reach::Whole => self.relational.blob_holders().await?,
        };
        for holder in holders {
            if self.is_abandoned(&holder, now).await? {
                mended.blobs += self
                    .relational
                    .release_blobs(&[&holder], self.blobs.as_ref())
                    .await?;
            }
        }
        Ok(mended)
    }

    /// Removes files that nobody claims: a writer was killed, or its client went away, between storing and claiming.
    /// Answers how many. Safe to be given up in the middle.
    pub async fn sweep_blobs(&self) -> ServiceResult<u64> {
        let mut removed = 0;
        for first_byte in 0..=u8::MAX {
            let old = self.blobs.older_than(first_byte, UNCLAIMED).await?;
            removed += self
                .relational
                .remove_unclaimed(&old, self.blobs.as_ref())
                .await?;
        }
        Ok(removed)
    }

    /// Whether nobody will ever ask for what this holder claimed.
    async fn is_abandoned(&self, holder: &str, now: DateTime<Utc>) -> ServiceResult<bool> {
        if let Some(began) = upload_began(holder) {
            return Ok(now - began >= LONGEST_UPLOAD);
        }
        let Some(uid) = ItemUid::parse(holder) else {
            return Ok(false);
        };
        // The job is read before the item: one that is completed had its item visible before.
        let job = self.relational.job_of_item(&uid).await?;
        let status = job.map(|job| job.status);
        if matches!(
            status,
            Some(JobStatus::Pending | JobStatus::Processing | JobStatus::Failed)
        ) || self.knowledge.item(&uid).await?.is_some()
        {
            return Ok(false);
        }
        if status == Some(JobStatus::Completed) {
            tracing::warn!(item = %uid, "a completed job had lost its item; it can be asked for again");
            self.relational.delete_jobs_of_items(&[uid]).await?;
        }
        Ok(true)
    }

    /// Whether no job will ever write to, or read from, this item.
    async fn needs_nothing_more(&self, uid: &ItemUid) -> ServiceResult<bool> {
        let job = self.relational.job_of_item(uid).await?;
        Ok(job.is_none_or(|job| matches!(job.status, JobStatus::Cancelled | JobStatus::Superseded)))
    }
}
