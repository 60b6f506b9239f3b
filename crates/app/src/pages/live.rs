//! The parts of pages that keep themselves up to date: as fragments, and as streams of them. A stream sends a fragment
//! when it differs from the one before, at most once a second, and ends when the process stops or the session is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse};
use chrono::Utc;
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use mnemosyne_domain::{JobStatus, LibraryUid, Principal};
use mnemosyne_services::ServiceResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::libraries::{library_uid, live as library};
use super::rows::{KnownLibraries, count_jobs, failure_groups, next_jobs, running_jobs};
use super::shell::{PageError, PageResult, Params, Visitor, badge_of};
use super::view::{ActivityLive, Chart};
use crate::error::ApiError;
use crate::state::AppState;

/// Streams at once; further pages ask from time to time instead.
const MAX_STREAMS: usize = 128;
/// Time between two looks while jobs are open.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Time between two looks while nothing runs and nothing waits.
const IDLE_PAUSE: Duration = Duration::from_secs(2);
/// Time between two signs of life, so that no proxy takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Time between two looks at the session.
const SESSION_CHECK: Duration = Duration::from_secs(30);
/// Waiting jobs that are named.
const NEXT_SHOWN: u32 = 5;
/// Minutes whose completions tell how fast the queue empties.
const PACE_MINUTES: usize = 10;

/// The places for streams.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

/// A layer with the places for streams of one server.
pub(super) fn streams() -> Extension<Streams> {
    Extension(Streams(Arc::new(Semaphore::new(MAX_STREAMS))))
}

/// What is going on in all libraries.
pub(super) async fn activity(
    state: &AppState,
    caller: &Principal,
    csrf: &str,
) -> ServiceResult<ActivityLive> {
    let services = state.services();
    let throughput = services.throughput(caller).await?;
    let mut known = KnownLibraries::new(services, caller);
    let now = Utc::now();
    let (running, running_count) = running_jobs(&mut known, None, now).await?;
    let waiting_count = count_jobs(services, caller, None, JobStatus::Pending, &throughput).await?;
    Ok(ActivityLive {
        csrf: csrf.to_owned(),
        now: now.with_timezone(&state.settings.time_zone),
        badge: badge_of(&throughput.by_status),
        running,
        running_count,
        next: next_jobs(&mut known, waiting_count, NEXT_SHOWN).await?,
        waiting_count,
        queue_eta_ms: queue_eta_ms(running_count + waiting_count, &throughput.completed_per_minute),
        failures: failure_groups(services, caller, None, &throughput).await?,
        chart: Chart {
            completed: throughput.completed_per_minute,
            failed: Vec::new(),
        },
    })
}

/// When the queue should be empty at the pace of the last minutes; `None` where it is empty or nothing was done.
fn queue_eta_ms(open: u64, completed_per_minute: &[u64]) -> Option<u64> {
    let recent = completed_per_minute.iter().rev().take(PACE_MINUTES);
    let (minutes, done) = recent.fold((0_u64, 0_u64), |(minutes, done), number| {
        (minutes + 1, done + number)
    });
    (open > 0 && done > 0).then(|| open.saturating_mul(minutes * 60_000) / done)
}

/// A fragment, and whether jobs are open.
struct Fragment {
    html: String,
    is_busy: bool,
}

async fn render(
    state: &AppState,
    caller: &Principal,
    scope: Option<&LibraryUid>,
    csrf: &str,
) -> Result<Fragment, PageError> {
    let services = state.services();
    let Some(uid) = scope else {
        let live = activity(state, caller, csrf).await?;
        return Ok(Fragment {
            is_busy: !live.is_idle(),
            html: live.render()?,
        });
    };
    let found = services.library(caller, uid).await?;
    let throughput = services.throughput(caller).await?;
    let live = library(services, caller, &found, csrf, &throughput).await?;
    Ok(Fragment {
        is_busy: !live.running.is_empty() || live.waiting > 0,
        html: live.render()?,
    })
}

fn scope(params: &Params) -> Result<Option<LibraryUid>, PageError> {
    match params.get("library") {
        "" => Ok(None),
        text => library_uid(text).map(Some),
    }
}

/// The fragment as it stands.
pub(super) async fn fragment(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let scope = scope(&params)?;
    let fragment = render(&state, &visitor.principal, scope.as_ref(), &visitor.csrf.token()).await?;
    Ok(Html(fragment.html).into_response())
}

/// The fragment whenever it changes.
pub(super) async fn stream(
    State(state): State<AppState>,
    Extension(Streams(places)): Extension<Streams>,
    visitor: Visitor,
    params: Params,
) -> PageResult {
    let scope = scope(&params)?;
    if let Some(uid) = &scope {
        state.services().library(&visitor.principal, uid).await?;
    }
    let Ok(place) = places.try_acquire_owned() else {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many pages are being kept up to date; this one asks from time to time instead.",
        )
        .into());
    };
    let follower = Follower {
        csrf: visitor.csrf.token(),
        principal: visitor.principal,
        session_key: visitor.session_key,
        scope,
        shown: None,
        pause: None,
        session_checked: Instant::now(),
        state,
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(follower.into_stream())
        .keep_alive(keep_alive)
        .into_response();
    // Proxies of the nginx family hold answers back otherwise.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// One page that is kept up to date.
struct Follower {
    state: AppState,
    principal: Principal,
    session_key: String,
    scope: Option<LibraryUid>,
    csrf: String,
    /// What the page shows.
    shown: Option<String>,
    /// How long to wait before the next look; `None` before the first.
    pause: Option<Duration>,
    session_checked: Instant,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        futures::stream::unfold(self, |mut follower| async move {
            let html = follower.next().await?;
            // A carriage return would end a line of the stream.
            let event = Event::default().data(html.replace('\r', ""));
            Some((Ok(event), follower))
        })
    }

    /// The next fragment that differs; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let stop = self.state.stop().clone();
        loop {
            if let Some(pause) = self.pause {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            if stop.is_cancelled() || !self.is_still_signed_in().await {
                return None;
            }
            let fragment = match render(&self.state, &self.principal, self.scope.as_ref(), &self.csrf).await {
                Ok(fragment) => fragment,
                // The library is gone, or a store is away; the browser connects again and hears which.
                Err(_) => return None,
            };
            self.pause = Some(if fragment.is_busy { BUSY_PAUSE } else { IDLE_PAUSE });
            if self.shown.as_ref() != Some(&fragment.html) {
                self.shown = Some(fragment.html.clone());
                return Some(fragment.html);
            }
        }
    }

    async fn is_still_signed_in(&mut self) -> bool {
        if self.session_checked.elapsed() < SESSION_CHECK {
            return true;
        }
        self.session_checked = Instant::now();
        matches!(
            self.state.services().session_principal(&self.session_key).await,
            Ok(Some(_))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_done_at_the_pace_of_the_last_minutes() {
        let mut minutes = vec![1000; 50];
        minutes.extend([2; 10]);
        assert_eq!(queue_eta_ms(4, &minutes), Some(120_000));
        assert_eq!(queue_eta_ms(0, &minutes), None);
        assert_eq!(queue_eta_ms(4, &[0; 60]), None);
        assert_eq!(queue_eta_ms(4, &[]), None);
    }
}
