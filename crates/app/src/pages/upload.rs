//! Files for a library, from the page's form (several at once) or from its drop zone (one a request, answered as JSON).
//!
//! A library knows a source by its name, so that a later version of a file replaces the earlier one. Before a file that
//! came from a folder the drop zone sends `source_ref`, its path inside what was dropped: files of one name in several
//! folders are several sources. Without it a file is known by its own name.

use axum::Json;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use mnemosyne_domain::ports::{Enqueued, ItemFilter, JobFilter};
use mnemosyne_domain::{JobStatus, Library, PageRequest, Principal, Queue};
use mnemosyne_services::Services;
use mnemosyne_services::ingest::IngestRequest;
use serde_json::json;

use super::libraries::{library_uid, render};
use super::rows::library_ref;
use super::shell::{Done, PageError, PageResult, Params, Visitor};
use crate::csrf;
use crate::error::{ApiError, ApiResult, Audience};
use crate::state::AppState;
use crate::upload::{FILE_FIELD, base_name, store, text, within};

/// How long a browser may be silent between two files.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// The field that names the source of the file after it.
const SOURCE_FIELD: &str = "source_ref";
/// The most files of one form.
const MAX_FILES: usize = 10_000;

/// A file that was not taken, and why.
struct Refused {
    filename: String,
    error: ApiError,
}

/// A file that was taken.
struct Taken {
    enqueued: Enqueued,
    /// Whether it takes the place of an earlier version of the same source.
    replaces: bool,
}

/// What became of the files of a form.
#[derive(Default)]
struct Received {
    taken: Vec<Taken>,
    refused: Vec<Refused>,
}

/// Where somebody lands who asks to read this address.
pub(super) async fn back(Path(uid): Path<String>) -> Result<Redirect, PageError> {
    Ok(Redirect::to(&format!("/libraries/{}/#add", library_uid(&uid)?)))
}

/// Takes the files, one after the other while they arrive; one that is refused does not keep the others out.
pub(super) async fn receive(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    params: Params,
    request: Request,
) -> PageResult {
    let audience = Audience::of(request.uri().path(), request.headers());
    let headers = request.headers().clone();
    let library = state
        .services()
        .library(&visitor.principal, &library_uid(&uid)?)
        .await?;
    let form = match Multipart::from_request(request, &state).await {
        Ok(form) => form,
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_form",
                "Files are sent as multipart/form-data.",
            )
            .into());
        }
    };
    let received = receive_files(&state, &visitor, &library, &headers, form).await?;
    match audience {
        Audience::Program => Ok(as_json(received)),
        Audience::Person => {
            if received.refused.is_empty() {
                let replacing = received.taken.iter().filter(|taken| taken.replaces).count();
                let done = match replacing {
                    0 => Done::Uploaded(received.taken.len() as u64),
                    files => Done::Replacing(files as u64),
                };
                return Ok(visitor.done(done, &library_ref(&library).href()));
            }
            let (status, problem) = (status(&received), problem(&received));
            render(&state, &visitor, &library, &params, status, Some(problem)).await
        }
    }
}

async fn receive_files(
    state: &AppState,
    visitor: &Visitor,
    library: &Library,
    headers: &HeaderMap,
    mut form: Multipart,
) -> ApiResult<Received> {
    let services = state.services();
    let mut received = Received::default();
    let mut token = None;
    let mut source_ref = None;
    let mut is_checked = false;
    let mut parts = 0;
    while let Some(field) = within(SILENCE, form.next_field()).await? {
        parts += 1;
        // A file may bring a part with the name of its source.
        if parts > 2 * MAX_FILES {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_form",
                "Too many files in one form.",
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name != FILE_FIELD {
            let value = text(&name, field).await?;
            match name.as_str() {
                csrf::FORM_FIELD => token = Some(value),
                SOURCE_FIELD => source_ref = Some(value).filter(|value| !value.trim().is_empty()),
                _ => {}
            }
            continue;
        }
        if !is_checked {
            // The form sends its token before its files, so not a byte of a forged upload is stored.
            csrf::check(
                headers,
                &visitor.info,
                &state.settings().csrf_trusted_origins,
                token.as_deref(),
            )?;
            is_checked = true;
        }
        // It belongs to the file that follows it and to no other.
        let source_ref = source_ref.take();
        let filename = field.file_name().map(base_name).unwrap_or_default();
        if filename.is_empty() {
            // What a browser sends where no file was chosen.
            continue;
        }
        let content_type = field
            .content_type()
            .filter(|kind| !kind.is_empty() && *kind != "application/octet-stream")
            .map(str::to_owned);
        let source = source_ref.as_deref().unwrap_or(&filename);
        let is_known = is_known(services, &visitor.principal, library, &filename, source).await?;
        let upload = match store(services, &visitor.principal, field).await {
            Ok(upload) => upload,
            Err(error) if error.0.code == "invalid_form" => return Err(error),
            Err(error) => {
                received.refused.push(Refused { filename, error });
                continue;
            }
        };
        let request = IngestRequest {
            library_uid: Some(library.uid.to_string()),
            source_ref,
            filename: Some(filename.clone()),
            content_type,
            ..IngestRequest::default()
        };
        let (services, caller) = (services.clone(), visitor.principal.clone());
        // Runs to its end even where the browser goes away, so that no stored file is left without a job.
        let asked = tokio::spawn(async move {
            services
                .ingest(&caller, request, Some(upload), Queue::Embedding)
                .await
        });
        match asked.await {
            Ok(Ok(enqueued)) => received.taken.push(Taken {
                replaces: is_known && !enqueued.deduplicated,
                enqueued,
            }),
            Ok(Err(error)) => received.refused.push(Refused {
                filename,
                error: error.into(),
            }),
            Err(error) => {
                let error = ApiError::internal(&format!("a request to ingest broke down: {error}"));
                received.refused.push(Refused { filename, error });
            }
        }
    }
    if !is_checked {
        csrf::check(
            headers,
            &visitor.info,
            &state.settings().csrf_trusted_origins,
            token.as_deref(),
        )?;
    }
    if received.taken.is_empty() && received.refused.is_empty() {
        received.refused.push(Refused {
            filename: String::new(),
            error: ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no_file",
                "Choose at least one file.",
            ),
        });
    }
    Ok(received)
}

/// Whether a library holds a version of a source already, or is about to.
async fn is_known(
    services: &Services,
    caller: &Principal,
    library: &Library,
    filename: &str,
    source: &str,
) -> ApiResult<bool> {
    let page = PageRequest::first(PageRequest::MAX_LIMIT);
    let filter = ItemFilter {
        library_uid: Some(library.uid.clone()),
        title_contains: Some(filename.to_owned()),
        ..ItemFilter::default()
    };
    let items = services.items(caller, filter, page).await?.rows;
    if items.iter().any(|item| item.source_ref == source) {
        return Ok(true);
    }
    for status in [JobStatus::Pending, JobStatus::Processing] {
        let filter = JobFilter {
            status: Some(status),
            library_uid: Some(library.uid.clone()),
            name_contains: Some(filename.to_owned()),
            ..JobFilter::default()
        };
        let jobs = services.jobs(caller, &filter, page).await?.rows;
        if jobs.iter().any(|job| job.request.source_ref == source) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The status where something was refused: that of the first refusal.
fn status(received: &Received) -> StatusCode {
    received
        .refused
        .first()
        .map_or(StatusCode::OK, |refused| refused.error.0.status)
}

/// One file's problem in a sentence.
fn sentence(refused: &Refused) -> String {
    let described = &refused.error.0;
    let fields = described
        .fields
        .values()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    let what = if fields.is_empty() {
        described.detail.as_str()
    } else {
        fields.as_str()
    };
    if refused.filename.is_empty() {
        what.to_owned()
    } else {
        format!("“{}”: {what}", refused.filename)
    }
}

/// All problems in a few sentences, with what was taken all the same.
fn problem(received: &Received) -> String {
    const SHOWN: usize = 5;
    let mut sentences: Vec<String> = received.refused.iter().take(SHOWN).map(sentence).collect();
    if received.refused.len() > SHOWN {
        sentences.push(format!("{} more were refused.", received.refused.len() - SHOWN));
    }
    match received.taken.len() {
        0 => {}
        1 => sentences.push("The other file was taken.".to_owned()),
        taken => sentences.push(format!("The other {taken} files were taken.")),
    }
    sentences.join(" ")
}

fn as_json(received: Received) -> Response {
    let jobs: Vec<_> = received
        .taken
        .iter()
        .map(|Taken { enqueued, replaces }| {
            let filename = &enqueued.job.request.filename;
            json!({
                "job_id": enqueued.job.id,
                "item_uid": enqueued.job.item_uid,
                "filename": filename,
                "source_ref": enqueued.job.request.source_ref,
                "status": enqueued.job.status.as_str(),
                "deduplicated": enqueued.deduplicated,
                "replaces": replaces.then_some(filename),
            })
        })
        .collect();
    let Some(first) = received.refused.first() else {
        return (StatusCode::ACCEPTED, Json(json!({ "jobs": jobs }))).into_response();
    };
    let body = json!({
        "jobs": jobs,
        "detail": received.refused.iter().map(sentence).collect::<Vec<_>>().join(" "),
        "code": first.error.0.code,
    });
    let status = if jobs.is_empty() {
        status(&received)
    } else {
        StatusCode::MULTI_STATUS
    };
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_their_files_and_what_was_taken() {
        let refused = |name: &str| Refused {
            filename: name.to_owned(),
            error: ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "It is too large."),
        };
        let received = Received {
            taken: Vec::new(),
            refused: vec![refused("a.pdf"), refused("")],
        };
        assert_eq!(problem(&received), "“a.pdf”: It is too large. It is too large.");
        assert_eq!(status(&received), StatusCode::PAYLOAD_TOO_LARGE);
        let many = Received {
            taken: Vec::new(),
            refused: (0..7).map(|_| refused("x")).collect(),
        };
        assert!(problem(&many).ends_with("2 more were refused."));
    }
}
