//! Items: the documents, their text and their originals.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use mnemosyne_domain::ports::ItemFilter;
use mnemosyne_domain::{CollectionUid, ItemUid, LibraryUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::items::{ItemUpdate, Original};
use mnemosyne_services::wire::{Chunk, Item};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, ApiQuery, List, Paging, Problem, WrongFields, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Which items are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemParameters {
    /// Only items of this library.
    library_uid: Option<String>,
    /// Only items of this collection.
    collection_uid: Option<String>,
    /// Only items whose title or file name contains this, whatever its case.
    title: Option<String>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ItemChange {
    /// A new title.
    title: Option<String>,
    /// New metadata, replacing what was there.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Another collection of the same library.
    collection_uid: Option<String>,
}

pub(super) fn item_uid(text: &str) -> ApiResult<ItemUid> {
    Ok(ItemUid::parse(text).ok_or(ServiceError::NotFound("item"))?)
}

/// Items that can be found, newest first.
#[utoipa::path(
    get, path = "/library/api/items/", tag = "items", operation_id = "list_items",
    params(ItemParameters, PagingParameters),
    responses((status = 200, body = List<Item>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<ItemParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Item>>> {
    let mut filter = ItemFilter {
        title_contains: wanted.title.filter(|title| !title.is_empty()),
        ..ItemFilter::default()
    };
    if let Some(text) = wanted.library_uid.filter(|uid| !uid.is_empty()) {
        let Some(uid) = LibraryUid::parse(&text) else {
            return Ok(Json(List::empty()));
        };
        filter.library_uid = Some(uid);
    }
    if let Some(text) = wanted.collection_uid.filter(|uid| !uid.is_empty()) {
        let Some(uid) = CollectionUid::parse(&text) else {
            return Ok(Json(List::empty()));
        };
        filter.collection_uid = Some(uid);
    }
    let page = state.services.items(&caller, filter, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// One item.
#[utoipa::path(
    get, path = "/library/api/items/{item_uid}/", tag = "items", operation_id = "get_item",
    params(("item_uid" = String, Path)),
    responses((status = 200, body = Item), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Json<Item>> {
    let item = state.services.item(&caller, &item_uid(&uid)?).await?;
    Ok(Json(item.into()))
}

/// Changes an item.
#[utoipa::path(
    patch, path = "/library/api/items/{item_uid}/", tag = "items", operation_id = "update_item",
    params(("item_uid" = String, Path)),
    request_body = ItemChange,
    responses((status = 200, body = Item), (status = 400, body = WrongFields), (status = 404, body = Problem)),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    ApiJson(change): ApiJson<ItemChange>,
) -> ApiResult<Json<Item>> {
    let collection_uid = match change.collection_uid {
        None => None,
        Some(text) => Some(CollectionUid::parse(&text).ok_or_else(|| {
            ApiError::field(
                "collection_uid",
                "There is no such collection in the item's library.",
            )
        })?),
    };
    let update = ItemUpdate {
        title: change.title,
        metadata: change.metadata,
        collection_uid,
    };
    let item = state
        .services
        .update_item(&caller, &item_uid(&uid)?, update)
        .await?;
    Ok(Json(item.into()))
}

/// Removes an item with its chunks, vectors, job and files.
#[utoipa::path(
    delete, path = "/library/api/items/{item_uid}/", tag = "items", operation_id = "delete_item",
    params(("item_uid" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)),
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<StatusCode> {
    let uid = item_uid(&uid)?;
    to_the_end(&state, |services| async move {
        services.delete_item(&caller, &uid).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The text that was read from an item; offsets of chunks count its bytes.
#[utoipa::path(
    get, path = "/library/api/items/{item_uid}/text/", tag = "items", operation_id = "get_item_text",
    params(("item_uid" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = Problem)),
)]
pub(crate) async fn text(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Response> {
    let text = state.services.item_text(&caller, &item_uid(&uid)?).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// The original of an item, as a download.
#[utoipa::path(
    get, path = "/library/api/items/{item_uid}/original/", tag = "items", operation_id = "get_item_original",
    params(("item_uid" = String, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 404, body = Problem),
    ),
)]
pub(crate) async fn original(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
) -> ApiResult<Response> {
    let original = state.services.original(&caller, &item_uid(&uid)?).await?;
    Ok(download(original))
}

/// A file somebody else wrote: always a download, never a page of this site.
pub(crate) fn download(original: Original) -> Response {
    let mut response = Body::from_stream(original.content).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_str(&original.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, original.size.into());
    headers.insert(header::CONTENT_DISPOSITION, attachment(&original.filename));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    response
}

/// RFC 6266 with RFC 8187: a plain name for old clients, the real one for all others.
fn attachment(filename: &str) -> HeaderValue {
    use std::fmt::Write;
    let plain: String = filename
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let mut value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''");
    for byte in filename.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            // A String takes everything that is written to it.
            let _ = write!(value, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// The chunks of an item by position.
#[utoipa::path(
    get, path = "/library/api/items/{item_uid}/chunks/", tag = "items", operation_id = "list_item_chunks",
    params(("item_uid" = String, Path), PagingParameters),
    responses((status = 200, body = List<Chunk>), (status = 404, body = Problem)),
)]
pub(crate) async fn chunks(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    paging: Paging,
) -> ApiResult<Json<List<Chunk>>> {
    let page = state
        .services
        .chunks(&caller, &item_uid(&uid)?, paging.request)
        .await?;
    Ok(Json(paging.list(page)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_leave_its_header() {
        assert_eq!(
            attachment("Jahrbuch \"ü\"\r\n.pdf"),
            "attachment; filename=\"Jahrbuch ____.pdf\"; filename*=UTF-8''Jahrbuch%20%22%C3%BC%22%0D%0A.pdf"
                .replace("____.", "_____.")
                .as_str()
        );
        assert_eq!(
            attachment("a.pdf"),
            "attachment; filename=\"a.pdf\"; filename*=UTF-8''a.pdf"
        );
    }
}
