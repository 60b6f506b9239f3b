//! Models of registered servers, for administrators.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use http::StatusCode;
use mnemosyne_domain::{ModelRole, ModelUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::models::ModelRequest;
use mnemosyne_services::wire::{RegisteredModel, ServerTest};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::list::PagingParameters;
use super::providers::{present, provider_uid};
use super::{ApiJson, ApiPath, ApiQuery, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which models are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelParameters {
    /// Only models of this server.
    provider_uid: Option<String>,
    /// Only models for this: `embedding`, `reranker`, `chat` or `vision`.
    role: Option<String>,
}

/// A model that is to be registered.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewModel {
    /// The server.
    #[schema(value_type = String)]
    provider_uid: Option<String>,
    /// Its name, as the server knows it.
    #[schema(value_type = String, example = "text-embedding-3-small")]
    name: Option<String>,
    /// `embedding`, `reranker`, `chat` or `vision`; frozen.
    #[schema(value_type = String, example = "embedding")]
    role: Option<String>,
    /// The length of the vectors of an embedding model; where it is not said, the server is asked.
    dimension: Option<u64>,
    /// Whether it was trained to be told its task; null or absent: if its name says so.
    takes_instructions: Option<bool>,
    /// Whether it is the system's for its role.
    is_default: Option<bool>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ModelChange {
    /// `updated_at` as it was read: where the model was changed since, nothing is changed, and the answer is 409.
    updated_at: Option<DateTime<Utc>>,
    /// Another name on the wire; refused while a library has its vectors.
    name: Option<String>,
    /// The role that it has: frozen, so another one is refused.
    role: Option<String>,
    /// Another dimension; refused while a library has its vectors.
    dimension: Option<u64>,
    /// Whether it was trained to be told its task; null: if its name says so.
    #[serde(default, deserialize_with = "present")]
    takes_instructions: Option<Option<bool>>,
    /// Whether it is the system's for its role.
    is_default: Option<bool>,
}

fn model_uid(text: &str) -> ApiResult<ModelUid> {
    Ok(ModelUid::parse(text).ok_or(ServiceError::NotFound("model"))?)
}

/// Registered models by role.
#[utoipa::path(
    get, path = "/library/api/models/", tag = "models", operation_id = "list_models",
    params(ModelParameters, PagingParameters),
    responses((status = 200, body = List<RegisteredModel>), (status = 400, body = WrongFields)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<ModelParameters>,
    paging: Paging,
) -> ApiResult<Json<List<RegisteredModel>>> {
    let provider = match wanted.provider_uid.filter(|text| !text.is_empty()) {
        Some(text) => Some(provider_uid(&text)?),
        None => None,
    };
    let role = match wanted.role.filter(|word| !word.is_empty()) {
        Some(word) => Some(ModelRole::parse(&word).ok_or_else(|| {
            let known = ModelRole::ALL.map(ModelRole::as_str).join(", ");
            ApiError::field(
                "role",
                format!("{word:?} is not a valid choice; choose one of {known}."),
            )
        })?),
        None => None,
    };
    let page = state
        .services
        .registered_models(&caller, provider.as_ref(), role, paging.request)
        .await?;
    Ok(Json(paging.list(page)))
}

/// Registers a model.
#[utoipa::path(
    post, path = "/library/api/models/", tag = "models", operation_id = "create_model",
    request_body = NewModel,
    responses(
        (status = 201, body = RegisteredModel),
        (status = 400, body = WrongFields),
        (status = 404, description = "There is no such provider.", body = Problem),
        (status = 409, description = "`name_conflict`, `conflict`", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewModel>,
) -> ApiResult<(StatusCode, Json<RegisteredModel>)> {
    let provider = match wanted.provider_uid.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => Some(provider_uid(text)?),
    };
    let request = ModelRequest {
        seen: None,
        name: wanted.name,
        role: wanted.role,
        dimension: wanted.dimension,
        takes_instructions: Some(wanted.takes_instructions),
        is_default: wanted.is_default,
    };
    let made = state
        .services
        .create_model(&caller, provider.as_ref(), request)
        .await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One registered model.
#[utoipa::path(
    get, path = "/library/api/models/{model_uid}/", tag = "models", operation_id = "get_model",
    params(("model_uid" = String, Path)),
    responses((status = 200, body = RegisteredModel), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<RegisteredModel>> {
    let model = state
        .services
        .registered_model(&caller, &model_uid(&uid)?)
        .await?;
    Ok(Json(model.into()))
}

/// Changes a registered model.
#[utoipa::path(
    patch, path = "/library/api/models/{model_uid}/", tag = "models", operation_id = "update_model",
    params(("model_uid" = String, Path)),
    request_body = ModelChange,
    responses(
        (status = 200, body = RegisteredModel),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`name_conflict`, `model_in_use`, `conflict`", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    ApiJson(change): ApiJson<ModelChange>,
) -> ApiResult<Json<RegisteredModel>> {
    let request = ModelRequest {
        seen: change.updated_at,
        name: change.name,
        role: change.role,
        dimension: change.dimension,
        takes_instructions: change.takes_instructions,
        is_default: change.is_default,
    };
    let changed = state
        .services
        .update_model(&caller, &model_uid(&uid)?, request)
        .await?;
    Ok(Json(changed.into()))
}

/// Removes a model; refused while it is the system's, or made a library's vectors.
#[utoipa::path(
    delete, path = "/library/api/models/{model_uid}/", tag = "models", operation_id = "delete_model",
    params(("model_uid" = String, Path)),
    responses(
        (status = 204),
        (status = 404, body = Problem),
        (status = 409, description = "`default_model`, `model_in_use`", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<StatusCode> {
    let uid = model_uid(&uid)?;
    to_the_end(&state, |services| async move {
        services.delete_model(&caller, &uid).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes one small real call to a model, by its role. What goes wrong is part of the answer.
#[utoipa::path(
    post, path = "/library/api/models/{model_uid}/test/", tag = "models", operation_id = "test_model",
    params(("model_uid" = String, Path)),
    responses((status = 200, body = ServerTest), (status = 404, body = Problem)),
)]
pub(crate) async fn test(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<ServerTest>> {
    let test = state.services.test_model(&caller, &model_uid(&uid)?).await?;
    Ok(Json(test.into()))
}
