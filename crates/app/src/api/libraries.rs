//! Libraries, global ones and those of workspaces.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::ports::{LibraryFilter, LibraryUpdate};
use mnemosyne_domain::{LibraryType, LibraryUid, ProfileOverrides, Scope, WorkspaceId};
use mnemosyne_services::ServiceError;
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::wire::Library;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, ApiQuery, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which libraries are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LibraryParameters {
    /// Only libraries of this type.
    library_type: Option<String>,
    /// Only libraries whose name contains this, whatever its case.
    name: Option<String>,
    /// Only the library of this workspace; empty: only global libraries; absent: all.
    workspace_id: Option<String>,
}

/// What a new global library is to be.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewLibrary {
    /// Unique.
    #[schema(value_type = String)]
    name: Option<String>,
    /// One of the nine library types; frozen.
    #[schema(value_type = String, example = "nonfiction")]
    library_type: Option<String>,
    /// Free text.
    description: Option<String>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct LibraryChange {
    /// A new name.
    name: Option<String>,
    /// A new description.
    description: Option<String>,
    /// The type that it has: frozen, so another one is refused.
    library_type: Option<String>,
    /// What this library does otherwise than its type; replaces all that was said before.
    overrides: Option<OverridesChange>,
}

/// What a library does otherwise than its type; what is absent or null is as the type has it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverridesChange {
    /// Size that a chunk aims at, in characters.
    target_chars: Option<usize>,
    /// Largest size of an ordinary chunk, in characters.
    max_chars: Option<usize>,
    /// Overlap of neighbouring chunks, in characters.
    overlap_chars: Option<usize>,
    /// What an embedding model is told about questions.
    embedding_instruction: Option<String>,
    /// What a reranker is told.
    rerank_instruction: Option<String>,
    /// What a model that reads the results should know about them.
    llm_context: Option<String>,
    /// What a vision model is asked about an image.
    vision_prompt: Option<String>,
}

impl From<OverridesChange> for ProfileOverrides {
    fn from(change: OverridesChange) -> Self {
        Self {
            target_chars: change.target_chars,
            max_chars: change.max_chars,
            overlap_chars: change.overlap_chars,
            embedding_instruction: change.embedding_instruction,
            rerank_instruction: change.rerank_instruction,
            llm_context: change.llm_context,
            vision_prompt: change.vision_prompt,
        }
    }
}

fn library_uid(text: &str) -> ApiResult<LibraryUid> {
    Ok(LibraryUid::parse(text).ok_or(ServiceError::NotFound("library"))?)
}

/// Libraries by name.
#[utoipa::path(
    get, path = "/library/api/libraries/", tag = "libraries", operation_id = "list_libraries",
    params(LibraryParameters, PagingParameters),
    responses((status = 200, body = List<Library>), (status = 400, body = WrongFields)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<LibraryParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Library>>> {
    let mut filter = LibraryFilter {
        name_contains: wanted.name.filter(|name| !name.is_empty()),
        ..LibraryFilter::default()
    };
    if let Some(word) = wanted.library_type.filter(|word| !word.is_empty()) {
        let known = LibraryType::ALL.map(LibraryType::as_str).join(", ");
        let kind = LibraryType::parse(&word).ok_or_else(|| {
            ApiError::field(
                "library_type",
                format!("{word:?} is not a valid choice; choose one of {known}."),
            )
        })?;
        filter.library_type = Some(kind);
    }
    match wanted.workspace_id.as_deref() {
        None => {}
        Some("") => filter.scope = Some(Scope::global()),
        Some(text) => match WorkspaceId::parse(text) {
            Some(id) => filter.scope = Some(Scope::workspace(id)),
            None => return Ok(Json(List::empty())),
        },
    }
    let page = state.services.libraries(&caller, filter, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// Makes a global library.
#[utoipa::path(
    post, path = "/library/api/libraries/", tag = "libraries", operation_id = "create_library",
    request_body = NewLibrary,
    responses(
        (status = 201, body = Library),
        (status = 400, body = WrongFields),
        (status = 409, description = "`name_conflict`", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewLibrary>,
) -> ApiResult<(StatusCode, Json<Library>)> {
    let request = LibraryRequest {
        name: wanted.name.unwrap_or_default(),
        library_type: wanted.library_type.unwrap_or_default(),
        description: wanted.description.unwrap_or_default(),
    };
    let library = state.services.create_library(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(library.into())))
}

/// One library.
#[utoipa::path(
    get, path = "/library/api/libraries/{library_uid}/", tag = "libraries", operation_id = "get_library",
    params(("library_uid" = String, Path)),
    responses((status = 200, body = Library), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<Library>> {
    let library = state.services.library(&caller, &library_uid(&uid)?).await?;
    Ok(Json(library.into()))
}

/// Changes a library.
#[utoipa::path(
    patch, path = "/library/api/libraries/{library_uid}/", tag = "libraries", operation_id = "update_library",
    params(("library_uid" = String, Path)),
    request_body = LibraryChange,
    responses(
        (status = 200, body = Library),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`name_conflict`, `library_type_frozen`", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    ApiJson(change): ApiJson<LibraryChange>,
) -> ApiResult<Json<Library>> {
    let uid = library_uid(&uid)?;
    if let Some(word) = change.library_type {
        state.services.require_type(&caller, &uid, &word).await?;
    }
    let update = LibraryUpdate {
        name: change.name,
        description: change.description,
        overrides: change.overrides.map(Into::into),
    };
    let library = state.services.update_library(&caller, &uid, update).await?;
    Ok(Json(library.into()))
}

/// Removes a library with everything that is reachable only through it.
#[utoipa::path(
    delete, path = "/library/api/libraries/{library_uid}/", tag = "libraries", operation_id = "delete_library",
    params(("library_uid" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)),
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<StatusCode> {
    let uid = library_uid(&uid)?;
    to_the_end(&state, |services| async move {
        services.delete_library(&caller, &uid).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
