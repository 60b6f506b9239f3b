//! Hybrid search.

use axum::Json;
use axum::extract::State;
use mnemosyne_services::search::SearchRequest;
use mnemosyne_services::wire::SearchAnswer;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{ApiJson, Problem, WrongFields};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// A question needs no more, in bytes.
const MAX_SEARCH_BYTES: usize = 64 * 1024;

/// A question, and where to look. Sees either one workspace or the global libraries, never both.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Question {
    /// The question, at most 8,000 characters.
    #[schema(value_type = String)]
    query: Option<String>,
    /// An image to look for; not available yet.
    #[schema(value_type = Option<String>)]
    image: Option<Value>,
    /// The workspace to search; absent or empty: the global libraries.
    workspace_id: Option<String>,
    /// Only this library.
    library_uid: Option<String>,
    /// Only libraries of this type.
    library_type: Option<String>,
    /// Only this collection.
    collection_uid: Option<String>,
    /// Only this item.
    item_uid: Option<String>,
    /// How many results, 1 to 100; `SEARCH_DEFAULT_LIMIT` (20) where it is absent.
    limit: Option<usize>,
    /// Whether to rerank where a reranker is configured.
    rerank: Option<bool>,
}

/// Searches by meaning, words and concepts at once, and says how each result was found.
#[utoipa::path(
    post, path = "/library/api/search/", tag = "search", operation_id = "search",
    request_body = Question,
    responses(
        (status = 200, body = SearchAnswer),
        (status = 400, body = WrongFields),
        (status = 404, description = "There is no such workspace, library, collection or item.", body = Problem),
    ),
)]
pub(crate) async fn search(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(question): ApiJson<Question, MAX_SEARCH_BYTES>,
) -> ApiResult<Json<SearchAnswer>> {
    if question.image.is_some_and(|image| !image.is_null()) {
        return Err(ApiError::field(
            "image",
            "Searching by image is not available yet.",
        ));
    }
    let request = SearchRequest {
        query: question.query.unwrap_or_default(),
        workspace_id: question.workspace_id,
        library_uid: question.library_uid,
        library_type: question.library_type,
        collection_uid: question.collection_uid,
        item_uid: question.item_uid,
        limit: question.limit,
        rerank: question.rerank,
    };
    let outcome = state.services.search(&caller, request).await?;
    Ok(Json(outcome.into()))
}
