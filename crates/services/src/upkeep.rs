//! Finishing at a start what a kill interrupted.

use chrono::TimeDelta;
use mnemosyne_domain::ItemUid;

use crate::context::Services;
use crate::error::ServiceResult;

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

impl Services {
    /// Removes what interrupted deletions and cancellations left behind. Safe beside running workers: only what no job
    /// and no visible item refers to is touched.
    pub async fn mend(&self) -> ServiceResult<Mended> {
        let now = self.clock.now();
        let mut mended = Mended {
            sessions: self.relational.delete_expired_sessions(now).await?,
            ..Mended::default()
        };
        for uid in self.knowledge.staged_before(now - GRACE).await? {
            if self.needs_nothing_more(&uid).await? {
                self.knowledge.delete_item(&uid).await?;
                mended.staged_items += 1;
            }
        }
        for holder in self.relational.blob_holders().await? {
            let Some(uid) = ItemUid::parse(&holder) else {
                continue;
            };
            if self.knowledge.item(&uid).await?.is_none() && self.needs_nothing_more(&uid).await? {
                mended.blobs += self
                    .relational
                    .release_blobs(&holder, self.blobs.as_ref())
                    .await?;
            }
        }
        Ok(mended)
    }

    /// Whether no job will ever write to, or read from, this item.
    async fn needs_nothing_more(&self, uid: &ItemUid) -> ServiceResult<bool> {
        let job = self.relational.job_of_item(uid).await?;
        Ok(job.is_none_or(|job| {
            matches!(
                job.status,
                mnemosyne_domain::JobStatus::Cancelled | mnemosyne_domain::JobStatus::Superseded
            )
        }))
    }
}
