//! The way of a job from its row to the broker.
//!
//! A request that records a job does not wait for the broker: that the job must be announced is part of its row. The relay
//! reads such rows, sends a message for each, and notes what the broker confirmed. Doubled messages are harmless, so two
//! relays need not know of each other.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use crate::context::Services;
use crate::error::ServiceResult;

/// How often the relay looks for rows that nobody rang for: those of a process that ended, retries that became due.
/// Contract §9: at most 5 s.
const POLL: Duration = Duration::from_secs(3);
/// What became due less than this ago is left to the process that recorded it.
const GRACE: TimeDelta = TimeDelta::seconds(1);
/// Jobs that are announced together: as few as keep the memory of a long queue at that of a short one.
const BATCH: u32 = 50;

impl Services {
    /// Announces jobs until `stop`. Returns at once where nudges stay in this process.
    pub async fn relay_jobs(&self, stop: &CancellationToken) {
        if !self.queue.is_remote() {
            return;
        }
        loop {
            let rung = tokio::select! {
                () = stop.cancelled() => return,
                () = self.outbox_bell.notified() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            let grace = if rung { TimeDelta::zero() } else { GRACE };
            if let Err(error) = self.announce_waiting(grace).await {
                tracing::warn!(%error, "jobs could not be announced; they are announced again later");
            }
        }
    }

    /// Announces what waits, and returns when nothing does.
    async fn announce_waiting(&self, grace: TimeDelta) -> ServiceResult<()> {
        loop {
            let waiting = self
                .relational
                .unannounced(self.clock.now() - grace, BATCH)
                .await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let sent = self.queue.announce(&waiting).await?;
            self.relational.announced(&sent).await?;
            if sent.len() < waiting.len() || waiting.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}
