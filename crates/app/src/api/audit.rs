//! What was written down, for administrators.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use mnemosyne_domain::{AuditEvent, AuditFilter};
use mnemosyne_services::wire::AuditEntry;
use serde::Deserialize;
use utoipa::IntoParams;

use super::list::PagingParameters;
use super::{ApiQuery, List, Paging, WrongFields};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which entries are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParameters {
    /// Only what happened last at this time (RFC 3339) or later.
    since: Option<String>,
    /// Only what this user did, or what was done to it.
    user: Option<String>,
    /// Only this kind.
    event: Option<String>,
}

/// Who did what, when and from where; the latest first.
#[utoipa::path(
    get, path = "/library/api/audit/", tag = "administration", operation_id = "list_audit",
    params(AuditParameters, PagingParameters),
    responses((status = 200, body = List<AuditEntry>), (status = 400, body = WrongFields)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<AuditParameters>,
    paging: Paging,
) -> ApiResult<Json<List<AuditEntry>>> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let event = match given(wanted.event) {
        None => None,
        Some(word) => Some(AuditEvent::parse(&word).ok_or_else(|| {
            let known = AuditEvent::ALL.map(AuditEvent::as_str).join(", ");
            ApiError::field(
                "event",
                format!("{word:?} is not a valid choice; choose one of {known}."),
            )
        })?),
    };
    let since = match given(wanted.since) {
        None => None,
        Some(text) => {
            let at = DateTime::parse_from_rfc3339(&text)
                .map_err(|_| ApiError::field("since", "Write a time as 2026-11-26T21:05:00Z."))?;
            Some(at.with_timezone(&Utc))
        }
    };
    let filter = AuditFilter {
        since,
        user: given(wanted.user),
        event,
    };
    let page = state.services.audit(&caller, &filter, paging.request).await?;
    Ok(Json(paging.list(page)))
}
