//! Collections: the shelves of a library.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::{CollectionUid, LibraryUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::wire::Collection;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, ApiQuery, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which collections are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CollectionParameters {
    /// Only collections of this library.
    library_uid: Option<String>,
}

/// What a collection is to be.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewCollection {
    /// The library that will contain it.
    #[schema(value_type = String)]
    library_uid: Option<String>,
    /// Unique inside the library.
    #[schema(value_type = String)]
    name: Option<String>,
    /// Free text.
    description: Option<String>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct CollectionChange {
    /// A new name.
    name: Option<String>,
    /// A new description.
    description: Option<String>,
}

fn collection_uid(text: &str) -> ApiResult<CollectionUid> {
    Ok(CollectionUid::parse(text).ok_or(ServiceError::NotFound("collection"))?)
}

/// Collections by name.
#[utoipa::path(
    get, path = "/library/api/collections/", tag = "collections", operation_id = "list_collections",
    params(CollectionParameters, PagingParameters),
    responses((status = 200, body = List<Collection>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<CollectionParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Collection>>> {
    let library = match wanted.library_uid.filter(|uid| !uid.is_empty()) {
        None => None,
        Some(text) => match LibraryUid::parse(&text) {
            Some(uid) => Some(uid),
            None => return Ok(Json(List::empty())),
        },
    };
    let page = state
        .services
        .collections(&caller, library.as_ref(), paging.request)
        .await?;
    Ok(Json(paging.list(page)))
}

/// Makes a collection.
#[utoipa::path(
    post, path = "/library/api/collections/", tag = "collections", operation_id = "create_collection",
    request_body = NewCollection,
    responses(
        (status = 201, body = Collection),
        (status = 400, body = WrongFields),
        (status = 404, description = "There is no such library.", body = Problem),
        (status = 409, description = "`name_conflict`", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewCollection>,
) -> ApiResult<(StatusCode, Json<Collection>)> {
    let Some(library) = wanted.library_uid.filter(|uid| !uid.is_empty()) else {
        return Err(ApiError::field("library_uid", "This field is required."));
    };
    let library = LibraryUid::parse(&library).ok_or(ServiceError::NotFound("library"))?;
    let (name, description) = (
        wanted.name.unwrap_or_default(),
        wanted.description.unwrap_or_default(),
    );
    let made = state
        .services
        .create_collection(&caller, &library, &name, &description)
        .await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One collection.
#[utoipa::path(
    get, path = "/library/api/collections/{collection_uid}/", tag = "collections", operation_id = "get_collection",
    params(("collection_uid" = String, Path)),
    responses((status = 200, body = Collection), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<Collection>> {
    let collection = state.services.collection(&caller, &collection_uid(&uid)?).await?;
    Ok(Json(collection.into()))
}

/// Changes a collection.
#[utoipa::path(
    patch, path = "/library/api/collections/{collection_uid}/", tag = "collections",
    operation_id = "update_collection",
    params(("collection_uid" = String, Path)),
    request_body = CollectionChange,
    responses(
        (status = 200, body = Collection),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`name_conflict`", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    ApiJson(change): ApiJson<CollectionChange>,
) -> ApiResult<Json<Collection>> {
    let uid = collection_uid(&uid)?;
    let changed = state
        .services
        .update_collection(
            &caller,
            &uid,
            change.name.as_deref(),
            change.description.as_deref(),
        )
        .await?;
    Ok(Json(changed.into()))
}

/// Removes a collection with its items. A library's default collection goes only with the library.
#[utoipa::path(
    delete, path = "/library/api/collections/{collection_uid}/", tag = "collections",
    operation_id = "delete_collection",
    params(("collection_uid" = String, Path)),
    responses(
        (status = 204),
        (status = 404, body = Problem),
        (status = 409, description = "`default_collection`", body = Problem),
    ),
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<StatusCode> {
    let uid = collection_uid(&uid)?;
    to_the_end(&state, |services| async move {
        services.delete_collection(&caller, &uid).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
