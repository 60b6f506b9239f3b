//! Jobs: what runs, what waits, what failed, one by one.

use axum::extract::{Path, State};
use axum::response::Redirect;
use chrono::Utc;
use http::StatusCode;
use mnemosyne_domain::ports::{JobFilter, JobOrder, Throughput};
use mnemosyne_domain::{FailureCode, Job, JobId, JobStatus, LibraryUid, PageRequest, Principal, Stage};
use mnemosyne_services::{ServiceResult, Services};

use super::libraries::library_uid;
use super::live::activity;
use super::rows::{KnownLibraries, count_jobs, job_row, library_ref};
use super::shell::{Done, Fields, PageError, PageResult, Params, Visitor, value};
use super::view::{
    ActivityPage, Choice, Crumb, JobLive, JobPage, LibraryRef, Pager, Section, StageStep, href,
};
use crate::csrf::CheckedForm;
use crate::error::ApiError;
use crate::state::{AppState, to_the_end};

/// Jobs on one page of the list.
const JOBS_PER_PAGE: u32 = 50;

pub(super) fn job_id(text: &str) -> Result<JobId, PageError> {
    JobId::parse(text).ok_or_else(|| PageError::not_found("job"))
}

/// The orders of the list with the word of each in an address and for people, the usual one first.
const SORTS: [(&str, &str, JobOrder); 3] = [
    ("", "Newest first", JobOrder::NewestFirst),
    ("oldest", "Oldest first", JobOrder::OldestFirst),
    ("name", "File name", JobOrder::ByName),
];

/// What an address asks of the list of jobs. What is not understood narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JobQuery {
    status: Option<JobStatus>,
    failure: Option<FailureCode>,
    library: Option<LibraryUid>,
    name: String,
    order: JobOrder,
}

impl JobQuery {
    fn of(params: &Params) -> Self {
        Self {
            status: JobStatus::parse(params.get("status")),
            failure: FailureCode::parse(params.get("code")),
            library: LibraryUid::parse(params.get("library")),
            name: params.get("q").to_owned(),
            order: SORTS
                .into_iter()
                .find(|(word, ..)| *word == params.get("sort"))
                .map(|(.., order)| order)
                .unwrap_or_default(),
        }
    }

    fn sort_word(&self) -> &'static str {
        SORTS
            .into_iter()
            .find(|(.., order)| *order == self.order)
            .map(|(word, ..)| word)
            .unwrap_or_default()
    }

    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("status", self.status.map(JobStatus::as_str).unwrap_or_default()),
            ("code", self.failure.map(FailureCode::as_str).unwrap_or_default()),
            (
                "library",
                self.library.as_ref().map(LibraryUid::as_str).unwrap_or_default(),
            ),
            ("q", &self.name),
            ("sort", self.sort_word()),
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
            name_contains: (!self.name.is_empty()).then(|| self.name.clone()),
            order: self.order,
        }
    }

    fn sorts(&self) -> Vec<Choice> {
        SORTS
            .into_iter()
            .map(|(_, label, order)| Choice {
                label: label.to_owned(),
                href: Self {
                    order,
                    ..self.clone()
                }
                .href(),
                count: None,
                is_chosen: order == self.order,
                kind: None,
            })
            .collect()
    }

    /// What the form that filters by name keeps.
    fn kept(&self) -> Vec<(&'static str, String)> {
        self.pairs()
            .into_iter()
            .filter(|(name, value)| *name != "q" && !value.is_empty())
            .map(|(name, value)| (name, value.to_owned()))
            .collect()
    }
}

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let query = JobQuery::of(&params);
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
        sorts: query.sorts(),
        filter: query.name.clone(),
        kept: query.kept(),
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
            ..query.clone()
        }
        .href()
    };
    let mut choices = Vec::with_capacity(JobStatus::ALL.len() + 1);
    let mut total = 0;
    for status in JobStatus::ALL {
        let number = if query.name.is_empty() {
            count_jobs(services, caller, query.library.as_ref(), status, throughput).await?
        } else {
            let filter = JobFilter {
                status: Some(status),
                failure: None,
                ..query.filter()
            };
            services.jobs(caller, &filter, PageRequest::first(1)).await?.total
        };
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
    if !query.name.is_empty() {
        let without = JobQuery {
            name: String::new(),
            ..query.clone()
        };
        narrowed.push((format!("“{}” in the name", query.name), without.href()));
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
    let mut frame = visitor.frame(&state, "Job", Section::Activity).await;
    let live = live(state.services(), &visitor.principal, &job_id(&id)?, &frame.csrf).await?;
    frame.title = live.job.filename.clone();
    frame.crumbs = vec![Crumb::new("Activity", "/activity/")];
    visitor.page(StatusCode::OK, &JobPage { frame, live })
}

/// How one job stands.
pub(super) async fn live(
    services: &Services,
    caller: &Principal,
    id: &JobId,
    csrf: &str,
) -> ServiceResult<JobLive> {
    let job = services.job(caller, id).await?;
    let library = KnownLibraries::new(services, caller)
        .get(&job.request.library_uid)
        .await?;
    Ok(JobLive {
        csrf: csrf.to_owned(),
        now: Utc::now(),
        source_ref: job.request.source_ref.clone(),
        steps: steps(&job),
        started_at: job.started_at,
        finished_at: job.finished_at,
        job: job_row(job, library),
    })
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
    let (caller, id) = (visitor.principal.clone(), job_id(&id)?);
    let job = to_the_end(&state, |services| async move {
        services.cancel_job(&caller, &id).await
    })
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
        .retry_job(&visitor.principal, &job_id(&id)?, None)
        .await?;
    Ok(visitor.done(Done::Retried, &job_path(&job.id)))
}

/// Puts every job back to work that failed of one cause (of any where none is named) in one library (in all where none is
/// named), and leads back to where that was asked.
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
    let services = state.services();
    let library = match value(&fields, "library") {
        "" => None,
        // One that is gone must not widen what is retried.
        uid => Some(services.library(&visitor.principal, &library_uid(uid)?).await?),
    };
    let uid = library.as_ref().map(|library| &library.uid);
    let jobs = services.retry_failed_jobs(&visitor.principal, code, uid).await?;
    let back = library.map_or_else(|| "/activity/".to_owned(), |library| library_ref(&library).href());
    Ok(visitor.done(Done::RetriedMany(jobs), &back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_narrows_nothing() {
        let of = |pairs: &[(&str, &str)]| JobQuery::of(&Params::from_pairs(pairs));
        let strange = [
            ("status", "nonsense"),
            ("code", "nonsense"),
            ("library", "a b"),
            ("sort", "nonsense"),
        ];
        assert_eq!(of(&strange), JobQuery::default());
        let query = of(&[
            ("status", "failed"),
            ("code", "encrypted"),
            ("library", "abc"),
            ("q", "a b"),
            ("sort", "oldest"),
        ]);
        assert_eq!(
            query.href(),
            "/activity/?status=failed&code=encrypted&library=abc&q=a%20b&sort=oldest"
        );
        assert!(query.kept().iter().all(|(name, _)| *name != "q") && query.kept().len() == 4);
    }

    #[test]
    fn each_filter_can_be_dropped_by_itself() {
        let query = JobQuery {
            status: Some(JobStatus::Failed),
            failure: Some(FailureCode::Encrypted),
            library: LibraryUid::parse("abc"),
            name: "x".to_owned(),
            order: JobOrder::NewestFirst,
        };
        let narrowed = narrowed(&query, None);
        assert_eq!(
            narrowed[0],
            (
                "the cause encrypted".into(),
                "/activity/?status=failed&library=abc&q=x".into()
            )
        );
        assert_eq!(
            narrowed[1].1,
            "/activity/?status=failed&code=encrypted&library=abc"
        );
        assert_eq!(narrowed[2].1, "/activity/?status=failed&code=encrypted&q=x");
    }
}
