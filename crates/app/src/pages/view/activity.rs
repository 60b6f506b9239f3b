//! Jobs, and the fragments that keep pages live.
//!
//! **Live pages.** A page that changes by itself holds an element with `data-live` (the address of a stream of
//! server-sent events) and `data-live-poll` (the address of the same as a plain fragment). Each event of the stream, and
//! each answer of the other address, is HTML: one or more elements with an `id`. The script puts each in the place of the
//! element of the page that has the same `id`, changing only what differs, so that focus and open details stay. Without
//! the script the page shows the state of its loading.
//!
//! | page | stream, and fragment with `live` instead of `stream` | struct |
//! |---|---|---|
//! | `/activity/` | `/activity/stream/` | [`ActivityLive`] |
//! | `/libraries/{uid}/` | `/activity/stream/?library=UID` | [`super::LibraryLive`] |
//!
//! An event needs no name; its data is the rendered struct, one `data:` line for each line. Send one when something
//! changed, at most once a second, and a comment at least every 15 seconds.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use mnemosyne_domain::{Failure, ItemUid, JobCounts, JobId, JobStatus, Stage};

use super::assets::icon;
use super::format::{
    SafeHtml, compact, count, duration, job_state, middle, percent, plural, stage_word, type_icon, when,
};
use super::frame::{ActivityBadge, Choice, FailureGroup, Frame, LibraryRef, Pager, RunningJob};

/// A job that waits.
#[derive(Clone, Debug)]
pub struct WaitingJob {
    /// Its identifier.
    pub id: JobId,
    /// The file.
    pub filename: String,
    /// Where it goes.
    pub library: LibraryRef,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it is tried again, and why the last attempt failed.
    pub retry: Option<(DateTime<Utc>, Failure)>,
}

/// Jobs completed and failed in each minute of the last hour, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// Jobs completed in each minute.
    pub completed: Vec<u64>,
    /// Jobs failed in each minute; may be empty where that is not known.
    pub failed: Vec<u64>,
}

impl Chart {
    /// How many were completed.
    pub fn total_completed(&self) -> u64 {
        self.completed.iter().sum()
    }

    /// How many failed.
    pub fn total_failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// The most of one minute.
    pub fn peak(&self) -> u64 {
        (0..self.completed.len().max(self.failed.len()))
            .map(|minute| self.of(minute).0 + self.of(minute).1)
            .max()
            .unwrap_or(0)
    }

    fn of(&self, minute: usize) -> (u64, u64) {
        let at = |numbers: &[u64]| numbers.get(minute).copied().unwrap_or(0);
        (at(&self.completed), at(&self.failed))
    }

    /// The chart as SVG: one bar a minute, failures on top of completions, the numbers on hover and in words.
    pub fn svg(&self) -> SafeHtml {
        const HEIGHT: f64 = 56.0;
        let minutes = self.completed.len().max(self.failed.len()).max(1);
        let peak = self.peak().max(1) as f64;
        let mut out = format!(
            r#"<svg class="chart" viewBox="0 0 {} 56" preserveAspectRatio="none" role="img" aria-label="Last hour: {} done, {} failed; at most {} in one minute">"#,
            minutes * 10,
            count(self.total_completed()),
            count(self.total_failed()),
            count(self.peak()),
        );
        for minute in 0..minutes {
            let (done, failed) = self.of(minute);
            let x = minute * 10 + 1;
            let height = |number: u64| {
                if number == 0 {
                    0.0
                } else {
                    (number as f64 / peak * HEIGHT).max(1.5)
                }
            };
            let (done_height, failed_height) = (height(done), height(failed));
            let done_top = HEIGHT - done_height;
            // A String takes everything that is written to it.
            let _ = write!(
                out,
                r#"<g><title>{} ago: {} done, {} failed</title><rect class="chart-space" x="{x}" width="8" height="56"/><rect class="chart-done" x="{x}" y="{done_top:.1}" width="8" height="{done_height:.1}"/><rect class="chart-failed" x="{x}" y="{:.1}" width="8" height="{failed_height:.1}"/></g>"#,
                plural(minutes - minute, "minute", "minutes"),
                count(done),
                count(failed),
                (done_top - failed_height).max(0.0),
            );
        }
        out.push_str("</svg>");
        SafeHtml(out)
    }
}

/// The part of the activity page that keeps itself up to date, with the rail's badge. Also served alone.
#[derive(Template)]
#[template(path = "partials/activity_live.html")]
pub struct ActivityLive {
    /// For the forms.
    pub csrf: String,
    /// The moment that relative times are relative to, in the time zone that times are shown in.
    pub now: DateTime<Tz>,
    /// What the rail shows.
    pub badge: ActivityBadge,
    /// What runs (the first twenty or so).
    pub running: Vec<RunningJob>,
    /// How many run.
    pub running_count: u64,
    /// What is next (the first few).
    pub next: Vec<WaitingJob>,
    /// How many wait.
    pub waiting_count: u64,
    /// Milliseconds until the queue should be empty, where that can be told.
    pub queue_eta_ms: Option<u64>,
    /// Causes of failure, most frequent first.
    pub failures: Vec<FailureGroup>,
    /// The last hour.
    pub chart: Chart,
}

impl HtmlSafe for ActivityLive {}

impl ActivityLive {
    /// How many jobs failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|group| group.count).sum()
    }

    /// Whether nothing runs and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.running_count == 0 && self.waiting_count == 0
    }
}

/// A job in the list of jobs.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Its identifier.
    pub id: JobId,
    /// The file.
    pub filename: String,
    /// Where it goes; `None` where the library is gone.
    pub library: Option<LibraryRef>,
    /// The item, where it is visible.
    pub item: Option<ItemUid>,
    /// Where it stands.
    pub status: JobStatus,
    /// The stage it is in, or ended in.
    pub stage: Stage,
    /// 0 to 1.
    pub progress: f32,
    /// How often it was begun.
    pub attempts: u32,
    /// What it made.
    pub counts: JobCounts,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// How long it took, once it ended.
    pub took_ms: Option<u64>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<Failure>,
}

impl JobRow {
    /// Its page.
    pub fn href(&self) -> String {
        format!("/activity/jobs/{}/", self.id)
    }

    /// Whether a form may post to `/activity/jobs/{id}/cancel/`.
    pub fn can_cancel(&self) -> bool {
        !self.status.is_final()
    }

    /// Whether a form may post to `/activity/jobs/{id}/retry/`.
    pub fn can_retry(&self) -> bool {
        self.status == JobStatus::Failed
    }
}

/// `/activity/?status=&code=&library=&page=`. Forms post to `/activity/jobs/{id}/cancel/`, `/activity/jobs/{id}/retry/`
/// and, with `code` (empty for every cause), to `/activity/retry/`.
#[derive(Template)]
#[template(path = "activity.html")]
pub struct ActivityPage {
    /// The frame.
    pub frame: Frame,
    /// What is going on.
    pub live: ActivityLive,
    /// The states, *all* first, with counts; each keeps `library`.
    pub states: Vec<Choice>,
    /// What else narrows the list: `the cause encrypted`, `the library Papers`, with the address that drops it.
    pub narrowed: Vec<(String, String)>,
    /// The rows of this page.
    pub jobs: Vec<JobRow>,
    /// Steps through the list.
    pub pager: Pager,
}

/// A stage of a job on its page.
#[derive(Clone, Debug)]
pub struct StageStep {
    /// The stage.
    pub stage: Stage,
    /// How long it took, or has taken so far.
    pub took_ms: Option<u64>,
}

/// `/activity/jobs/{id}/`. Forms post to its `cancel/` and `retry/`.
#[derive(Template)]
#[template(path = "job.html")]
pub struct JobPage {
    /// The frame.
    pub frame: Frame,
    /// The job.
    pub job: JobRow,
    /// The name the client knows the source by.
    pub source_ref: String,
    /// Its stages in order, without `queued` and `complete`.
    pub steps: Vec<StageStep>,
    /// When a worker first began it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl JobPage {
    /// How a step stands: `done`, `now`, `failed` or `later`.
    pub fn step_state(&self, step: &StageStep) -> &'static str {
        if self.job.status == JobStatus::Completed || step.stage < self.job.stage {
            "done"
        } else if step.stage > self.job.stage {
            "later"
        } else if self.job.status == JobStatus::Failed {
            "failed"
        } else if self.job.status == JobStatus::Processing {
            "now"
        } else {
            "later"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_nothing_and_of_a_peak_stay_inside_their_frame() {
        assert!(Chart::default().svg().as_str().contains("0 done, 0 failed"));
        let chart = Chart {
            completed: vec![0, 1, 1000],
            failed: vec![0, 0, 1000],
        };
        let svg = chart.svg().0;
        assert_eq!(chart.peak(), 2000);
        assert!(svg.contains(r#"y="28.0" width="8" height="28.0""#) && svg.contains(r#"y="0.0" width="8""#));
        assert!(svg.contains("<title>1 minute ago: 1,000 done, 1,000 failed</title>"));
    }
}
