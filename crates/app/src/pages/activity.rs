//! Jobs: what runs, what waits, what failed, one by one.

use axum::extract::{Path, State};
use axum::response::Redirect;
use http::StatusCode;
use mnemosyne_domain::ports::{JobFilter, Throughput};
use mnemosyne_domain::{FailureCode, Job, JobId, JobStatus, LibraryUid, PageRequest, Principal, Stage};
use mnemosyne_services::{ServiceResult, Services};

use super::live::activity;
use super::rows::{KnownLibraries, count_jobs, job_row};
use super::shell::{Done, Fields, PageError, PageResult, Params, Visitor, value};
use super::view::{ActivityPage, Choice, Crumb, JobPage, LibraryRef, Pager, Section, StageStep, href};
use crate::csrf::CheckedForm;
use crate::error::ApiError;
use crate::state::AppState;

/// Jobs on one page of the list.
const JOBS_PER_PAGE: u32 = 50;

fn job_id(text: &str) -> Result<JobId, PageError> {
    JobId::parse(text).ok_or_else(|| PageError::not_found("job"))
}

/// What an address asks of the list of jobs. What is not understood narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JobQuery {
    status: Option<JobStatus>,
    failure: Option<FailureCode>,
    library: Option<LibraryUid>,
}

impl JobQuery {
    fn parse(status: &str, code: &str, library: &str) -> Self {
        Self {
            status: JobStatus::parse(status),
            failure: FailureCode::parse(code),
            library: LibraryUid::parse(library),
        }
    }

    fn pairs(&self) -> [(&'static str, &str); 3] {
        [
            ("status", self.status.map(JobStatus::as_str).unwrap_or_default()),
            ("code", self.failure.map(FailureCode::as_str).unwrap_or_default()),
            (
                "library",
                self.library.as_ref().map(LibraryUid::as_str).unwrap_or_default(),
            ),
        ]
    }

    fn href(&self) -> String {
        href("/activity/", &self.pairs())
    }

    fn filter(&self) -> JobFilter {
        JobFilter {
            status: self.status,
            library_uid: self.library.clone(),
            failure: self.failure,
        }
    }
}

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let query = JobQuery::parse(params.get("status"), params.get("code"), params.get("library"));
    let throughput = services.throughput(caller).await?;
    let mut known = KnownLibraries::new(services, caller);
    let number = params.page();
    let per_page = u64::from(JOBS_PER_PAGE);
    let filter = query.filter();
    let mut found = services
        .jobs(
            caller,
            &filter,
            PageRequest::new((number - 1) * per_page, JOBS_PER_PAGE),
        )
        .await?;
    let pager = Pager::new(found.total, number, per_page, "/activity/", &query.pairs());
    if pager.page != number {
        found = services
            .jobs(caller, &filter, PageRequest::new(pager.offset(), JOBS_PER_PAGE))
            .await?;
    }
    let mut jobs = Vec::with_capacity(found.rows.len());
    for job in found.rows {
        let library = known.get(&job.request.library_uid).await?;
        jobs.push(job_row(job, library));
    }
    let library = match &query.library {
        Some(uid) => known.get(uid).await?,
        None => None,
    };
    let frame = visitor.frame(&state, "Activity", Section::Activity).await;
    let page = ActivityPage {
        live: activity(&state, caller, &frame.csrf).await?,
        frame,
        states: states(services, caller, &query, &throughput).await?,
        narrowed: narrowed(&query, library.as_ref()),
        jobs,
        pager,
    };
    visitor.page(StatusCode::OK, &page)
}

/// The states to choose from with how many jobs are in each; a cause of failure belongs to the state it was chosen in.
async fn states(
    services: &Services,
    caller: &Principal,
    query: &JobQuery,
    throughput: &Throughput,
) -> ServiceResult<Vec<Choice>> {
    let address = |status| {
        JobQuery {
            status,
            failure: None,
            library: query.library.clone(),
        }
        .href()
    };
    let mut choices = Vec::with_capacity(JobStatus::ALL.len() + 1);
    let mut total = 0;
    for status in JobStatus::ALL {
        let number = count_jobs(services, caller, query.library.as_ref(), status, throughput).await?;
        total += number;
        choices.push(Choice {
            label: state_label(status).to_owned(),
            href: address(Some(status)),
            count: Some(number),
            is_chosen: query.status == Some(status),
            kind: None,
        });
    }
    choices.insert(
        0,
        Choice {
            label: "All".to_owned(),
            href: address(None),
            count: Some(total),
            is_chosen: query.status.is_none(),
            kind: None,
        },
    );
    Ok(choices)
}

fn state_label(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Pending => "Waiting",
        JobStatus::Processing => "Running",
        JobStatus::Completed => "Done",
        JobStatus::Failed => "Failed",
        JobStatus::Superseded => "Replaced",
        JobStatus::Cancelled => "Cancelled",
    }
}

fn narrowed(query: &JobQuery, library: Option<&LibraryRef>) -> Vec<(String, String)> {
    let mut narrowed = Vec::new();
    if let Some(code) = query.failure {
        let without = JobQuery {
            failure: None,
            ..query.clone()
        };
        narrowed.push((format!("the cause {code}"), without.href()));
    }
    if query.library.is_some() {
        let without = JobQuery {
            library: None,
            ..query.clone()
        };
        let label = match library {
            Some(library) => format!("the library {}", library.name),
            None => "a deleted library".to_owned(),
        };
        narrowed.push((label, without.href()));
    }
    narrowed
}

/// One job.
pub(super) async fn show_job(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let services = state.services();
    let job = services.job(&visitor.principal, &job_id(&id)?).await?;
    let library = KnownLibraries::new(services, &visitor.principal)
        .get(&job.request.library_uid)
        .await?;
    let mut frame = visitor
        .frame(&state, job.request.filename.as_str(), Section::Activity)
        .await;
    frame.crumbs = vec![Crumb::new("Activity", "/activity/")];
    let page = JobPage {
        frame,
        source_ref: job.request.source_ref.clone(),
        steps: steps(&job),
        started_at: job.started_at,
        finished_at: job.finished_at,
        job: job_row(job, library),
    };
    visitor.page(StatusCode::OK, &page)
}

/// The stages that take time.
fn steps(job: &Job) -> Vec<StageStep> {
    Stage::ALL
        .into_iter()
        .filter(|stage| !matches!(stage, Stage::Queued | Stage::Complete))
        .map(|stage| StageStep {
            stage,
            took_ms: job.timings_ms.get(stage.as_str()).copied(),
        })
        .collect()
}

/// Where somebody lands who asks to read the address of a form about all jobs.
pub(super) async fn back() -> Redirect {
    Redirect::to("/activity/")
}

/// Where somebody lands who asks to read the address of a form about one job.
pub(super) async fn back_to_job(Path(id): Path<String>) -> Result<Redirect, PageError> {
    Ok(Redirect::to(&job_path(&job_id(&id)?)))
}

fn job_path(id: &JobId) -> String {
    format!("/activity/jobs/{id}/")
}

/// Stops a job.
pub(super) async fn cancel(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let job = state
        .services()
        .cancel_job(&visitor.principal, &job_id(&id)?)
        .await?;
    Ok(visitor.done(Done::Cancelled, &job_path(&job.id)))
}

/// Puts a failed job back to work.
pub(super) async fn retry(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let job = state
        .services()
        .retry_job(&visitor.principal, &job_id(&id)?)
        .await?;
    Ok(visitor.done(Done::Retried, &job_path(&job.id)))
}

/// Puts every job back to work that failed of one cause, or of any where none is named.
pub(super) async fn retry_many(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let code = match value(&fields, "code") {
        "" => None,
        word => match FailureCode::parse(word) {
            Some(code) => Some(code.as_str()),
            None => return Err(ApiError::field("code", "There is no such cause.").into()),
        },
    };
    let jobs = state
        .services()
        .retry_failed_jobs(&visitor.principal, code)
        .await?;
    Ok(visitor.done(Done::RetriedMany(jobs), "/activity/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_narrows_nothing() {
        assert_eq!(
            JobQuery::parse("nonsense", "nonsense", "a b"),
            JobQuery::default()
        );
        let query = JobQuery::parse("failed", "encrypted", "abc");
        assert_eq!(
            query.href(),
            "/activity/?status=failed&code=encrypted&library=abc"
        );
    }

    #[test]
    fn each_filter_can_be_dropped_by_itself() {
        let narrowed = narrowed(&JobQuery::parse("failed", "encrypted", "abc"), None);
        assert_eq!(
            narrowed[0],
            (
                "the cause encrypted".into(),
                "/activity/?status=failed&library=abc".into()
            )
        );
        assert_eq!(narrowed[1].1, "/activity/?status=failed&code=encrypted");
    }
}
