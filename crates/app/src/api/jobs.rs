//! Jobs: what became of a request to ingest.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::ports::JobFilter;
use mnemosyne_domain::{FailureCode, JobId, JobStatus, LibraryUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::wire::Job;
use serde::Deserialize;
use utoipa::IntoParams;

use super::list::PagingParameters;
use super::{ApiPath, ApiQuery, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which jobs are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobParameters {
    /// `pending`, `processing`, `completed`, `failed`, `superseded` or `cancelled`.
    status: Option<String>,
    /// Only jobs of this library.
    library_uid: Option<String>,
    /// Only jobs that failed with this code.
    error_code: Option<String>,
}

fn job_id(text: &str) -> ApiResult<JobId> {
    Ok(JobId::parse(text).ok_or(ServiceError::NotFound("job"))?)
}

/// Jobs, newest first.
#[utoipa::path(
    get, path = "/library/api/jobs/", tag = "jobs", operation_id = "list_jobs",
    params(JobParameters, PagingParameters),
    responses((status = 200, body = List<Job>), (status = 400, body = WrongFields)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<JobParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Job>>> {
    let mut filter = JobFilter::default();
    if let Some(word) = wanted.status.filter(|word| !word.is_empty()) {
        let known = JobStatus::ALL.map(JobStatus::as_str).join(", ");
        let status = JobStatus::parse(&word).ok_or_else(|| {
            ApiError::field(
                "status",
                format!("{word:?} is not a valid choice; choose one of {known}."),
            )
        })?;
        filter.status = Some(status);
    }
    if let Some(word) = wanted.error_code.filter(|word| !word.is_empty()) {
        let code = FailureCode::parse(&word)
            .ok_or_else(|| ApiError::field("error_code", format!("{word:?} is not a valid choice.")))?;
        filter.failure = Some(code);
    }
    if let Some(uid) = wanted.library_uid.filter(|uid| !uid.is_empty()) {
        let Some(uid) = LibraryUid::parse(&uid) else {
            return Ok(Json(List::empty()));
        };
        filter.library_uid = Some(uid);
    }
    let page = state.services.jobs(&caller, &filter, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// One job. Poll it until its status is neither `pending` nor `processing`.
#[utoipa::path(
    get, path = "/library/api/jobs/{job_id}/", tag = "jobs", operation_id = "get_job",
    params(("job_id" = String, Path)),
    responses((status = 200, body = Job), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
) -> ApiResult<Json<Job>> {
    let job = state.services.job(&caller, &job_id(&id)?).await?;
    Ok(Json(job.into()))
}

/// Puts a failed job back to work.
#[utoipa::path(
    post, path = "/library/api/jobs/{job_id}/retry/", tag = "jobs", operation_id = "retry_job",
    params(("job_id" = String, Path)),
    responses(
        (status = 202, body = Job),
        (status = 404, body = Problem),
        (status = 409, description = "`not_failed`: only a failed job can be retried.", body = Problem),
    ),
)]
pub(crate) async fn retry(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
) -> ApiResult<(StatusCode, Json<Job>)> {
    let job = state.services.retry_job(&caller, &job_id(&id)?, None).await?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

/// Stops a job. One that is running stops at its next heartbeat.
#[utoipa::path(
    post, path = "/library/api/jobs/{job_id}/cancel/", tag = "jobs", operation_id = "cancel_job",
    params(("job_id" = String, Path)),
    responses(
        (status = 202, body = Job),
        (status = 404, body = Problem),
        (status = 409, description = "`not_running`: it has ended already.", body = Problem),
    ),
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
) -> ApiResult<(StatusCode, Json<Job>)> {
    let id = job_id(&id)?;
    let job = to_the_end(&state, |services| async move {
        services.cancel_job(&caller, &id).await
    })
    .await?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}
