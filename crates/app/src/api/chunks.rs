//! Chunks: the passages of an item.

use axum::Json;
use axum::extract::State;
use mnemosyne_domain::ChunkUid;
use mnemosyne_services::ServiceError;
use mnemosyne_services::wire::Chunk;
use serde::Deserialize;
use utoipa::IntoParams;

use super::items::item_uid;
use super::list::PagingParameters;
use super::{ApiPath, ApiQuery, List, Paging, Problem, WrongFields};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Whose chunks are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChunkParameters {
    /// The item.
    #[param(value_type = String, required = true)]
    item_uid: Option<String>,
}

/// The chunks of an item by position.
#[utoipa::path(
    get, path = "/library/api/chunks/", tag = "chunks", operation_id = "list_chunks",
    params(ChunkParameters, PagingParameters),
    responses((status = 200, body = List<Chunk>), (status = 400, body = WrongFields), (status = 404, body = Problem)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<ChunkParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Chunk>>> {
    let uid = wanted
        .item_uid
        .filter(|uid| !uid.is_empty())
        .ok_or_else(|| ApiError::field("item_uid", "This parameter is required."))?;
    let page = state
        .services
        .chunks(&caller, &item_uid(&uid)?, paging.request)
        .await?;
    Ok(Json(paging.list(page)))
}

/// One chunk with its whole text and its neighbours.
#[utoipa::path(
    get, path = "/library/api/chunks/{chunk_uid}/", tag = "chunks", operation_id = "get_chunk",
    params(("chunk_uid" = String, Path)),
    responses((status = 200, body = Chunk), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<Chunk>> {
    let uid = ChunkUid::parse(&uid).ok_or(ServiceError::NotFound("chunk"))?;
    let chunk = state.services.chunk(&caller, &uid).await?;
    Ok(Json(chunk.into()))
}
