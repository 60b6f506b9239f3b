//! The libraries that Daedalus makes for its own users.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mnemosyne_services::wire::Workspace;
use mnemosyne_services::workspaces::{Made, WorkspaceRequest};
use serde::Deserialize;
use utoipa::ToSchema;

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::ApiResult;
use crate::state::AppState;

/// What a workspace is to be.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewWorkspace {
    /// The client's own name for it: 1 to 200 characters.
    #[schema(value_type = String, example = "team-7")]
    workspace_id: Option<String>,
    /// Name of its library; unique.
    #[schema(value_type = String, example = "Team 7")]
    name: Option<String>,
    /// One of the nine library types; frozen.
    #[schema(value_type = String, example = "technical")]
    library_type: Option<String>,
    /// Free text.
    description: Option<String>,
}

/// Workspaces by name.
#[utoipa::path(
    get, path = "/library/api/workspaces/", tag = "workspaces", operation_id = "list_workspaces",
    params(PagingParameters),
    responses((status = 200, body = List<Workspace>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    paging: Paging,
) -> ApiResult<Json<List<Workspace>>> {
    let page = state.services.workspaces(&caller, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// Makes a workspace with its library. Idempotent on `workspace_id`.
#[utoipa::path(
    post, path = "/library/api/workspaces/", tag = "workspaces", operation_id = "create_workspace",
    request_body = NewWorkspace,
    responses(
        (status = 201, description = "It is new.", body = Workspace),
        (status = 200, description = "It was there already.", body = Workspace),
        (status = 400, body = WrongFields),
        (status = 409, description = "`library_type_frozen`, or `name_conflict`.", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewWorkspace>,
) -> ApiResult<(StatusCode, Json<Workspace>)> {
    let request = WorkspaceRequest {
        workspace_id: wanted.workspace_id,
        name: wanted.name,
        library_type: wanted.library_type,
        description: wanted.description,
    };
    Ok(match state.services.create_workspace(&caller, request).await? {
        Made::New(library) => (StatusCode::CREATED, Json(library.into())),
        Made::Known(library) => (StatusCode::OK, Json(library.into())),
    })
}

/// One workspace.
#[utoipa::path(
    get, path = "/library/api/workspaces/{workspace_id}/", tag = "workspaces", operation_id = "get_workspace",
    params(("workspace_id" = String, Path)),
    responses((status = 200, body = Workspace), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(workspace_id): ApiPath,
) -> ApiResult<Json<Workspace>> {
    let library = state.services.workspace(&caller, &workspace_id).await?;
    Ok(Json(library.into()))
}

/// Removes a workspace with its library and all that is reachable only through it.
#[utoipa::path(
    delete, path = "/library/api/workspaces/{workspace_id}/", tag = "workspaces", operation_id = "delete_workspace",
    params(("workspace_id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)),
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(workspace_id): ApiPath,
) -> ApiResult<StatusCode> {
    to_the_end(&state, |services| async move {
        services.delete_workspace(&caller, &workspace_id).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
