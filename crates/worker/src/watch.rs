//! Jobs whose end somebody waits for.
//!
//! Whoever sent a task with a wish for its result is told by the worker that took the message, wherever the job runs: its
//! row says when it has ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mnemosyne_domain::ports::{TaskReport, TaskState};
use mnemosyne_domain::{Failure, FailureCode, JobId};
use mnemosyne_services::Services;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::tasks;

/// Jobs that are watched, at most. Whoever asked first is forgotten first.
const MAX_WATCHED: usize = 1_000;
/// How often rows are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Rows that are looked at each time, in turn, so that the table hardly notices.
const ROWS_EACH_LOOK: usize = 16;

/// Watches the jobs that it is given, until `stop`.
pub(crate) async fn watch(
    services: Arc<Services>,
    mut asked: mpsc::Receiver<JobId>,
    stop: CancellationToken,
) {
    let mut watched: VecDeque<JobId> = VecDeque::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(job) = asked.recv() => {
                if watched.contains(&job) || tell_end(&services, &job).await {
                    continue;
                }
                if watched.len() == MAX_WATCHED {
                    watched.pop_front();
                    tracing::warn!("too many senders wait for results; the first is forgotten");
                }
                watched.push_back(job);
            }
            _ = look.tick() => {
                for _ in 0..ROWS_EACH_LOOK.min(watched.len()) {
                    if let Some(job) = watched.pop_front()
                        && !tell_end(&services, &job).await
                    {
                        watched.push_back(job);
                    }
                }
            }
        }
    }
}

/// Tells of the end of a job that has ended; returns whether it has.
async fn tell_end(services: &Services, id: &JobId) -> bool {
    let state = match services.watched_job(id).await {
        Ok(Some(job)) => tasks::state_of_row(&job),
        Ok(None) => {
            let failure = Failure::new(
                FailureCode::LibraryGone,
                "There is no such job, or none any more.",
            );
            Some(TaskState::Failed(failure))
        }
        Err(error) => {
            tracing::debug!(job = %id, %error, "a watched job could not be looked at");
            None
        }
    };
    let Some(state) = state else {
        return false;
    };
    let job = id.clone();
    services.report_task(TaskReport { job, state });
    true
}
