//! Jobs whose end somebody waits for.
//!
//! Whoever sent a task with a wish for its result is told by the worker that took the message, wherever the job runs: its
//! row says when it has ended. The queue remembers who waits for what; here the rows of those jobs are looked at in turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::ports::{TaskReport, TaskState};
use mnemosyne_domain::{Failure, FailureCode, JobId};
use mnemosyne_services::{ServiceResult, Services};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::tasks;

/// How often rows are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Rows that are looked at each time, with one question, so that the table hardly notices.
const ROWS_EACH_LOOK: usize = 1_000;

/// Watches the jobs that the queue names, until `stop`. One that runs here, too: this attempt may not be the last one.
pub(crate) async fn watch(services: Arc<Services>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked_at = 0;
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let awaited = services.awaited_jobs(looked_at, ROWS_EACH_LOOK);
        looked_at = match awaited.last() {
            Some(last) if awaited.len() == ROWS_EACH_LOOK => last.turn,
            // These were the last ones; the next look begins anew.
            _ => 0,
        };
        if awaited.is_empty() {
            continue;
        }
        let jobs = awaited.into_iter().map(|awaited| awaited.job).collect();
        if let Err(error) = tell_ends(&services, jobs).await {
            tracing::debug!(%error, "watched jobs could not be looked at");
        }
    }
}

/// Tells of the ends of those of these jobs that have ended.
async fn tell_ends(services: &Services, ids: Vec<JobId>) -> ServiceResult<()> {
    let rows = services.watched_jobs(&ids).await?;
    let mut rows: HashMap<JobId, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
    for job in ids {
        let state = match rows.remove(&job) {
            Some(row) => tasks::state_of_row(&row),
            None => Some(TaskState::Failed(Failure::new(
                FailureCode::LibraryGone,
                "There is no such job, or none any more.",
            ))),
        };
        if let Some(state) = state {
            services.report_task(TaskReport { job, state });
        }
    }
    Ok(())
}
