//! Requests to ingest a file: one that lies in the bucket already, or one that comes with the request.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::{FromRequest, Multipart, Request, State};
use http::StatusCode;
use mnemosyne_domain::Queue;
use mnemosyne_services::ingest::IngestRequest;
use mnemosyne_services::wire::IngestAnswer;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::body::{MAX_JSON_BYTES, media_type};
use super::{Problem, WrongFields, read_json, to_the_end};
use crate::auth::ApiCaller;
use crate::error::{ApiError, ApiResult, too_large};
use crate::state::AppState;
use crate::upload::{self, FORM_OVERHEAD_BYTES};

/// A file in the bucket, and what is to become of it. `workspace_id` or `library_uid` says where to.
#[derive(Deserialize, ToSchema)]
pub(crate) struct IngestObject {
    /// The workspace to put the item in.
    workspace_id: Option<String>,
    /// Or the library.
    library_uid: Option<String>,
    /// The name the client knows the source by. Another request of this name replaces the item.
    #[schema(value_type = String)]
    source_ref: Option<String>,
    /// The client's hash of the content; compared, never interpreted.
    #[schema(value_type = String)]
    content_hash: Option<String>,
    /// The object in the Daedalus bucket.
    #[schema(value_type = String)]
    s3_key: Option<String>,
    /// File name; the last part of the key where it is absent.
    filename: Option<String>,
    /// Media type; the content decides where they differ.
    content_type: Option<String>,
    /// Title; the document's own where it is absent.
    title: Option<String>,
    /// Uid of a collection of the library, or a name: a collection of this name is made where there is none.
    collection: Option<String>,
    /// Whatever is to be kept with the item, at most 64 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// The file itself, and what is to become of it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a form that is read field by field")]
pub(crate) struct IngestForm {
    /// The file.
    #[schema(value_type = String, format = Binary)]
    file: String,
    /// The workspace to put the item in.
    workspace_id: Option<String>,
    /// Or the library.
    library_uid: Option<String>,
    /// The name the client knows the source by; the file name where it is absent.
    source_ref: Option<String>,
    /// The client's hash of the content; the file's SHA-256 where it is absent.
    content_hash: Option<String>,
    /// File name, where it differs from the file's own.
    filename: Option<String>,
    /// Media type; the content decides where they differ.
    content_type: Option<String>,
    /// Title; the document's own where it is absent.
    title: Option<String>,
    /// Uid of a collection of the library, or a name.
    collection: Option<String>,
    /// A JSON object as text.
    metadata: Option<String>,
}

/// Asks for a file to be ingested. Idempotent on library, `source_ref` and `content_hash`: the same three answer the job
/// that is there, with 200; the same `source_ref` with another hash replaces the item once the new one is ready.
#[utoipa::path(
    post, path = "/library/api/ingest/", tag = "ingest", operation_id = "ingest",
    request_body(content(
        (IngestObject = "application/json"),
        (IngestForm = "multipart/form-data"),
    )),
    responses(
        (status = 202, description = "A job was made; poll it.", body = IngestAnswer),
        (status = 200, description = "The same request was made before; this is its job.", body = IngestAnswer),
        (status = 400, body = WrongFields),
        (status = 404, description = "There is no such workspace or library.", body = Problem),
        (status = 413, body = Problem),
        (status = 415, body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    request: Request,
) -> ApiResult<(StatusCode, Json<IngestAnswer>)> {
    let enqueued = match media_type(request.headers()).as_str() {
        "application/json" => {
            let wanted: IngestObject = read_json(request.into_body(), MAX_JSON_BYTES).await?;
            let request = IngestRequest {
                workspace_id: wanted.workspace_id,
                library_uid: wanted.library_uid,
                source_ref: wanted.source_ref,
                content_hash: wanted.content_hash,
                s3_key: wanted.s3_key,
                filename: wanted.filename,
                content_type: wanted.content_type,
                title: wanted.title,
                collection: wanted.collection,
                metadata: wanted.metadata,
            };
            to_the_end(&state, |services| async move {
                services.ingest(&caller, request, None, Queue::Embedding).await
            })
            .await?
        }
        "multipart/form-data" => {
            let form = form_of(request, &state).await?;
            let received = upload::receive(&state.services, &caller, form, |_| Ok(())).await?;
            received.ingest(&caller, Queue::Embedding).await?
        }
        _ => {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send application/json, or multipart/form-data with the field `file`.",
            ));
        }
    };
    let status = if enqueued.deduplicated {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(enqueued.into())))
}

/// A form with a body limit that fits the largest file. A declared length beyond it is refused before anything is stored.
async fn form_of(mut request: Request, state: &AppState) -> ApiResult<Multipart> {
    let largest = state.services.settings().ingest.max_file_bytes;
    let limit = largest.saturating_add(FORM_OVERHEAD_BYTES);
    DefaultBodyLimit::max(usize::try_from(limit).unwrap_or(usize::MAX)).apply(&mut request);
    let declared = axum::body::HttpBody::size_hint(request.body()).lower();
    if declared > limit {
        upload::drain_refused(request).await;
        return Err(ApiError(too_large(largest)));
    }
    Multipart::from_request(request, state).await.map_err(|error| {
        tracing::debug!(%error, "a form could not be read");
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_form",
            "The form has no boundary; let your HTTP client write the Content-Type header of a form.",
        )
    })
}
