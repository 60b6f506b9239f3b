//! Forms with a file. The file goes to its store piece by piece while it arrives; it is never whole in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, Request};
use bytes::Bytes;
use futures::StreamExt;
use http::{StatusCode, header};
use mnemosyne_domain::ports::Enqueued;
use mnemosyne_domain::{Principal, Queue};
use mnemosyne_services::Services;
use mnemosyne_services::ingest::{IngestRequest, Upload};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::{ApiError, ApiResult};

/// The field that holds the file.
pub const FILE_FIELD: &str = "file";
/// How long a client may be silent in the middle of an upload.
const SILENCE: Duration = Duration::from_secs(60);
/// The most text fields of a form.
const MAX_FIELDS: usize = 32;
/// The longest text field, in bytes: metadata may take 64 KiB.
const MAX_FIELD_BYTES: usize = 128 * 1024;
/// What a form may take beside its file, in bytes: fields, headers of parts, boundaries.
pub(crate) const FORM_OVERHEAD_BYTES: u64 = 5 * 1024 * 1024;
/// Pieces of a file that wait for the store.
const PIECES: usize = 4;
/// How much of a file that is refused is still read, so that the client gets to hear why instead of a broken connection.
const POLITE_BYTES: u64 = 64 * 1024 * 1024;
/// How long that may take.
const POLITE_TIME: Duration = Duration::from_secs(10);

/// A file that is stored and waits for the rest of its form. Dropped, it is forgotten: a client that goes away in the
/// middle leaves nothing behind.
struct PendingUpload {
    services: Arc<Services>,
    upload: Option<Upload>,
}

impl PendingUpload {
    /// Forgets the file of a form that is refused, before the answer: the same file may come again at once.
    async fn forget(mut self) {
        if let Some(upload) = self.upload.take() {
            self.services.abandon_upload(upload).await;
        }
    }
}

impl Drop for PendingUpload {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let services = Arc::clone(&self.services);
        tokio::spawn(async move { services.abandon_upload(upload).await });
    }
}

/// A form that was read to its end.
pub struct ReceivedForm {
    services: Arc<Services>,
    fields: BTreeMap<String, String>,
    file: Option<PendingUpload>,
    filename: Option<String>,
    content_type: Option<String>,
}

impl ReceivedForm {
    /// A text field; empty ones count as absent, as in any browser's form.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether a file came.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Forgets the file of a form that is refused.
    pub async fn forget(self) {
        if let Some(file) = self.file {
            file.forget().await;
        }
    }

    /// Asks for the file to be ingested with the fields as the form gives them. Runs to its end even where the client
    /// goes away.
    pub async fn ingest(mut self, caller: &Principal, queue: Queue) -> ApiResult<Enqueued> {
        let metadata = match self.field("metadata").map(serde_json::from_str).transpose() {
            Ok(metadata) => metadata,
            Err(error) => {
                self.forget().await;
                return Err(ApiError::field("metadata", format!("This is no JSON: {error}.")));
            }
        };
        let text = |name: &str| self.field(name).map(str::to_owned);
        let request = IngestRequest {
            workspace_id: text("workspace_id"),
            library_uid: text("library_uid"),
            source_ref: text("source_ref"),
            content_hash: text("content_hash"),
            s3_key: text("s3_key"),
            filename: text("filename").or_else(|| self.filename.clone()),
            content_type: text("content_type").or_else(|| self.content_type.clone()),
            title: text("title"),
            collection: text("collection"),
            metadata,
        };
        let upload = match self.file.take() {
            Some(mut pending) => pending.upload.take(),
            None if request.s3_key.is_none() => {
                return Err(ApiError::field(FILE_FIELD, "No file was submitted."));
            }
            None => None,
        };
        let (services, caller) = (Arc::clone(&self.services), caller.clone());
        let asked = tokio::spawn(async move { services.ingest(&caller, request, upload, queue).await });
        match asked.await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(ApiError::internal(&format!(
                "a request to ingest broke down: {error}"
            ))),
        }
    }
}

/// Reads a form whose fields and file may come in any order. `admit` sees the fields that came before the file, and can
/// refuse the form before a byte of the file is read.
pub async fn receive(
    services: &Arc<Services>,
    caller: &Principal,
    mut form: Multipart,
    admit: impl Fn(&BTreeMap<String, String>) -> ApiResult<()>,
) -> ApiResult<ReceivedForm> {
    let mut received = ReceivedForm {
        services: Arc::clone(services),
        fields: BTreeMap::new(),
        file: None,
        filename: None,
        content_type: None,
    };
    match read(services, caller, &mut form, &mut received, admit).await {
        Ok(()) => Ok(received),
        Err(error) => {
            received.forget().await;
            Err(error)
        }
    }
}

async fn read(
    services: &Arc<Services>,
    caller: &Principal,
    form: &mut Multipart,
    received: &mut ReceivedForm,
    admit: impl Fn(&BTreeMap<String, String>) -> ApiResult<()>,
) -> ApiResult<()> {
    while let Some(field) = within(SILENCE, form.next_field()).await? {
        let Some(name) = field.name().map(str::to_owned) else {
            continue;
        };
        if name == FILE_FIELD && field.file_name().is_some() {
            if received.file.is_some() {
                return Err(ApiError::field(FILE_FIELD, "Send one file in one request."));
            }
            admit(&received.fields)?;
            received.filename = field.file_name().map(base_name).filter(|name| !name.is_empty());
            received.content_type = field
                .content_type()
                .filter(|kind| *kind != "application/octet-stream")
                .map(str::to_owned);
            received.file = Some(PendingUpload {
                services: Arc::clone(services),
                upload: Some(store(services, caller, field).await?),
            });
            continue;
        }
        if received.fields.len() >= MAX_FIELDS {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_form",
                "The form has too many fields.",
            ));
        }
        let value = text(&name, field).await?;
        received.fields.insert(name, value);
    }
    admit(&received.fields)
}

/// Sends a file to its store while it arrives.
pub(crate) async fn store(
    services: &Services,
    caller: &Principal,
    mut field: Field<'_>,
) -> ApiResult<Upload> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let failure = {
        let storing = services.receive_upload(caller, Box::pin(ReceiverStream::new(receiver)));
        let reading = pump(&mut field, sender);
        tokio::pin!(storing, reading);
        tokio::select! {
            biased;
            stored = &mut storing => match stored {
                Ok(upload) => return Ok(upload),
                Err(error) => ApiError::from(error),
            },
            // Ends only with what is wrong with the request; a whole file is for the store to judge.
            broken = &mut reading => return Err(broken),
        }
    };
    if failure.0.status == StatusCode::PAYLOAD_TOO_LARGE {
        // Whatever happens here, the answer stands.
        let _ = tokio::time::timeout(POLITE_TIME, drain(&mut field)).await;
    }
    Err(failure)
}

/// Hands the pieces of a file on. Never returns after the last one, and returns early with what broke.
async fn pump(field: &mut Field<'_>, sender: mpsc::Sender<io::Result<Bytes>>) -> ApiError {
    loop {
        match within(SILENCE, field.chunk()).await {
            Ok(Some(piece)) => {
                if sender.send(Ok(piece)).await.is_err() {
                    // The store has had enough; its answer is on its way.
                    return forever().await;
                }
            }
            Ok(None) => {
                drop(sender);
                return forever().await;
            }
            Err(error) => {
                let broken = io::Error::new(io::ErrorKind::ConnectionAborted, "the upload broke off");
                let _ = sender.send(Err(broken)).await;
                return error;
            }
        }
    }
}

async fn forever() -> ApiError {
    match std::future::pending::<Infallible>().await {}
}

async fn drain(field: &mut Field<'_>) {
    let mut read = 0;
    while let Ok(Some(piece)) = field.chunk().await {
        read += piece.len() as u64;
        if read > POLITE_BYTES {
            return;
        }
    }
}

/// Reads on for a while in the body of a request that is refused for its declared length. A client that waits to be
/// asked for its body (`Expect: 100-continue`) is not asked.
pub(crate) async fn drain_refused(request: Request) {
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut pieces = request.into_body().into_data_stream();
    let mut read = 0;
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            read += piece.len() as u64;
            if read > POLITE_BYTES {
                return;
            }
        }
    };
    // Whatever happens here, the answer stands.
    let _ = tokio::time::timeout(POLITE_TIME, reading).await;
}

pub(crate) async fn text(name: &str, mut field: Field<'_>) -> ApiResult<String> {
    let mut bytes = Vec::new();
    while let Some(piece) = within(SILENCE, field.chunk()).await? {
        if bytes.len() + piece.len() > MAX_FIELD_BYTES {
            return Err(ApiError::field(
                name,
                format!("This field may take {MAX_FIELD_BYTES} bytes at most."),
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| ApiError::field(name, "This is no UTF-8 text."))
}

pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, MultipartError>>,
) -> ApiResult<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let status = error.status();
            tracing::debug!(%error, "a form could not be read");
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                return Err(ApiError::new(
                    status,
                    "too_large",
                    "The form is larger than allowed.",
                ));
            }
            Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_form",
                "The form is malformed or broke off; it must be multipart/form-data.",
            ))
        }
        Err(_) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_form",
            "The upload was silent for too long and was given up.",
        )),
    }
}

/// The last part of a path: some clients send the whole of it.
pub(crate) fn base_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_no_path() {
        assert_eq!(base_name("C:\\Users\\me\\a b.pdf"), "a b.pdf");
        assert_eq!(base_name("../../etc/passwd"), "passwd");
        assert_eq!(base_name("ü.txt"), "ü.txt");
        assert_eq!(base_name("x/"), "");
    }
}
