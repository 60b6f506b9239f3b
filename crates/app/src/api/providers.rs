//! Servers of models, for administrators.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use http::StatusCode;
use mnemosyne_domain::{ApiKey, ProviderUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::providers::{KeyRequest, ProviderRequest};
use mnemosyne_services::wire::{Provider, ServerTest};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::ApiResult;
use crate::state::AppState;

/// A server that is to be registered.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewProvider {
    /// Unique.
    #[schema(value_type = String)]
    name: Option<String>,
    /// The server's address, with or without `/v1`.
    #[schema(value_type = String, example = "https://api.openai.com/v1")]
    base_url: Option<String>,
    /// How it speaks: `openai` (which is usual) or `synesis`.
    #[schema(example = "openai")]
    kind: Option<String>,
    /// The key that it asks for. It is stored encrypted and never told again.
    api_key: Option<String>,
    /// Whether its certificate is checked; true where it is not said.
    verify_tls: Option<bool>,
    /// Seconds that one request may take, 1 to 3600; 120 where it is not said.
    timeout_seconds: Option<u64>,
    /// Texts in one request, 1 to 1024; 8 where it is not said.
    batch_size: Option<u64>,
    /// Estimated tokens in one request; 16000 where it is not said.
    batch_tokens: Option<u64>,
    /// Estimated tokens of the longest piece of text; 8000 where it is not said.
    text_tokens: Option<u64>,
    /// Requests of one process at the same time, 1 to 64; 4 where it is not said.
    max_parallel: Option<u64>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProviderChange {
    /// `updated_at` as it was read: where the server was changed since, nothing is changed, and the answer is 409.
    updated_at: Option<DateTime<Utc>>,
    /// A new name.
    name: Option<String>,
    /// A new address. On another host the key must be entered again, or removed.
    base_url: Option<String>,
    /// How it speaks.
    kind: Option<String>,
    /// A new key; null or an empty text removes it.
    #[serde(default, deserialize_with = "present")]
    api_key: Option<Option<String>>,
    /// Whether its certificate is checked.
    verify_tls: Option<bool>,
    /// Seconds that one request may take.
    timeout_seconds: Option<u64>,
    /// Texts in one request.
    batch_size: Option<u64>,
    /// Estimated tokens in one request.
    batch_tokens: Option<u64>,
    /// Estimated tokens of the longest piece of text.
    text_tokens: Option<u64>,
    /// Requests of one process at the same time.
    max_parallel: Option<u64>,
}

/// Tells a field that is null from one that is absent.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

fn key_request(given: Option<Option<String>>) -> KeyRequest {
    match given {
        None => KeyRequest::Keep,
        Some(key) => match key.filter(|key| !key.is_empty()) {
            None => KeyRequest::Remove,
            Some(key) => KeyRequest::Set(ApiKey::new(key)),
        },
    }
}

/// The server that a text names.
pub(super) fn provider_uid(text: &str) -> ApiResult<ProviderUid> {
    Ok(ProviderUid::parse(text).ok_or(ServiceError::NotFound("provider"))?)
}

/// Registered servers by name.
#[utoipa::path(
    get, path = "/library/api/providers/", tag = "models", operation_id = "list_providers",
    params(PagingParameters),
    responses((status = 200, body = List<Provider>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    paging: Paging,
) -> ApiResult<Json<List<Provider>>> {
    let page = state.services.providers(&caller, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// Registers a server. A private address is refused unless a setting of the operator names it.
#[utoipa::path(
    post, path = "/library/api/providers/", tag = "models", operation_id = "create_provider",
    request_body = NewProvider,
    responses(
        (status = 201, body = Provider),
        (status = 400, body = WrongFields),
        (status = 409, description = "`name_conflict`", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewProvider>,
) -> ApiResult<(StatusCode, Json<Provider>)> {
    let request = ProviderRequest {
        seen: None,
        name: wanted.name,
        kind: wanted.kind,
        base_url: wanted.base_url,
        api_key: key_request(Some(wanted.api_key)),
        verify_tls: wanted.verify_tls,
        allow_private: None,
        timeout_seconds: wanted.timeout_seconds,
        batch_size: wanted.batch_size,
        batch_tokens: wanted.batch_tokens,
        text_tokens: wanted.text_tokens,
        max_parallel: wanted.max_parallel,
    };
    let made = state.services.create_provider(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One registered server.
#[utoipa::path(
    get, path = "/library/api/providers/{provider_uid}/", tag = "models", operation_id = "get_provider",
    params(("provider_uid" = String, Path)),
    responses((status = 200, body = Provider), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<Provider>> {
    let provider = state.services.provider(&caller, &provider_uid(&uid)?).await?;
    Ok(Json(provider.into()))
}

/// Changes a registered server.
#[utoipa::path(
    patch, path = "/library/api/providers/{provider_uid}/", tag = "models", operation_id = "update_provider",
    params(("provider_uid" = String, Path)),
    request_body = ProviderChange,
    responses(
        (status = 200, body = Provider),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`name_conflict`, `conflict`: it was changed meanwhile", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    ApiJson(change): ApiJson<ProviderChange>,
) -> ApiResult<Json<Provider>> {
    let request = ProviderRequest {
        seen: change.updated_at,
        name: change.name,
        kind: change.kind,
        base_url: change.base_url,
        api_key: key_request(change.api_key),
        verify_tls: change.verify_tls,
        allow_private: None,
        timeout_seconds: change.timeout_seconds,
        batch_size: change.batch_size,
        batch_tokens: change.batch_tokens,
        text_tokens: change.text_tokens,
        max_parallel: change.max_parallel,
    };
    let changed = state
        .services
        .update_provider(&caller, &provider_uid(&uid)?, request)
        .await?;
    Ok(Json(changed.into()))
}

/// Removes a server with its models; refused while one of them is the system's, or made a library's vectors.
#[utoipa::path(
    delete, path = "/library/api/providers/{provider_uid}/", tag = "models", operation_id = "delete_provider",
    params(("provider_uid" = String, Path)),
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
    let uid = provider_uid(&uid)?;
    to_the_end(&state, |services| async move {
        services.delete_provider(&caller, &uid).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a server which models it has. What goes wrong is part of the answer.
#[utoipa::path(
    post, path = "/library/api/providers/{provider_uid}/test/", tag = "models", operation_id = "test_provider",
    params(("provider_uid" = String, Path)),
    responses((status = 200, body = ServerTest), (status = 404, body = Problem)),
)]
pub(crate) async fn test(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<ServerTest>> {
    let test = state
        .services
        .test_provider(&caller, &provider_uid(&uid)?)
        .await?;
    Ok(Json(test.into()))
}
