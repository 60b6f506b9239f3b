//! What an S3 server's refusals mean, in sentences for people. They name the server and the bucket, never a key or a secret.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mnemosyne_domain::{Refusal, StoreError};
use mnemosyne_http::HttpError;

use crate::s3::S3Settings;

/// How much of a server's own words is repeated.
const MAX_WORDS: usize = 200;

/// The bucket that errors speak of.
#[derive(Clone)]
pub(super) struct Place {
    host: Arc<str>,
    bucket: Arc<str>,
    /// What must not be repeated.
    credentials: [Arc<str>; 2],
}

impl Place {
    pub(super) fn new(settings: &S3Settings) -> Self {
        let authority = url::Url::parse(&settings.endpoint).ok().and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host,
            })
        });
        Self {
            host: authority.unwrap_or_default().into(),
            bucket: settings.bucket.as_str().into(),
            credentials: [
                settings.access_key.as_str().into(),
                settings.secret_key.as_str().into(),
            ],
        }
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Anything that kept an operation from its end.
    pub(super) fn unavailable<E>(&self, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let sentence = self.sentence(error);
        match refusal_of(error) {
            Some(refusal) => StoreError::Refused(refusal, sentence),
            None => StoreError::Unavailable(sentence),
        }
    }

    /// The same as a sentence.
    pub(super) fn sentence<E>(&self, error: &SdkError<E, HttpResponse>) -> String
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(answer) = error {
            let (status, refusal) = (answer.raw().status().as_u16(), answer.err());
            return self.refusal(status, refusal.code(), refusal.message());
        }
        if let Some(error) = http_error(error) {
            return error.to_string();
        }
        let host = &self.host;
        match error {
            SdkError::TimeoutError(_) => format!("{host} did not answer in time"),
            SdkError::ResponseError(answer) => format!(
                "{host} answered with status {} and no S3 answer; check the endpoint",
                answer.raw().status().as_u16()
            ),
            _ => format!("the call to {host} could not be made"),
        }
    }

    fn refusal(&self, status: u16, code: Option<&str>, message: Option<&str>) -> String {
        let (host, bucket) = (&self.host, &self.bucket);
        match (code, status) {
            (Some("NoSuchBucket"), _) => format!("the bucket {bucket} does not exist at {host}"),
            (Some("InvalidAccessKeyId" | "XAdminUserNotFound"), _) => {
                format!(
                    "{host} refused the credentials for the bucket {bucket}: it does not know the access key"
                )
            }
            (Some("SignatureDoesNotMatch"), _) => {
                format!("{host} refused the credentials for the bucket {bucket}: the secret key is wrong")
            }
            (Some("RequestTimeTooSkewed"), _) => {
                format!("{host} refused the call: its clock and the one of this machine differ too much")
            }
            (Some("AccessDenied"), _) | (None, 401 | 403) => {
                format!("{host} refused the credentials for the bucket {bucket}: they may not do this")
            }
            (Some(code), _) => {
                let words = self.words(message.unwrap_or_default());
                let code = self.words(code);
                match words.as_str() {
                    "" => format!("{host} answered with status {status} ({code})"),
                    words => format!("{host} answered with status {status} ({code}): {words}"),
                }
            }
            (None, _) => format!("{host} answered with status {status}"),
        }
    }

    /// A server's own words, on one line, without credentials.
    fn words(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.credentials {
            if !secret.is_empty() {
                text = text.replace(&**secret, "…");
            }
        }
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ").chars().take(MAX_WORDS).collect()
    }
}

/// What of the settings the server does not accept; `None` where the settings are not what it complains of.
fn refusal_of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Refusal> {
    let SdkError::ServiceError(answer) = error else {
        return None;
    };
    match (answer.err().code(), answer.raw().status().as_u16()) {
        (Some("NoSuchBucket"), _) => Some(Refusal::Place),
        (Some("InvalidAccessKeyId" | "XAdminUserNotFound" | "SignatureDoesNotMatch"), _) => {
            Some(Refusal::Login)
        }
        (Some("AccessDenied"), _) | (None, 401 | 403) => Some(Refusal::Permission),
        _ => None,
    }
}

/// Whether the server said that there is no object of this key. Its own words count: a status alone may come from
/// something between us and it.
pub(super) fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("NoSuchKey")
}

/// Whether the server said that the credentials may not do this. As above, its own words count.
pub(super) fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("AccessDenied")
}

/// Whether the server said that there is no such upload in parts.
pub(super) fn is_no_such_upload<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("NoSuchUpload")
}

/// Whether the answer to a `HEAD`, which has no words, was 404.
pub(super) fn is_missing_to_head<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error
        .raw_response()
        .is_some_and(|answer| answer.status().as_u16() == 404)
}

/// The transport's own error somewhere below this one; it names the server and what happened.
pub(super) fn http_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a HttpError> {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|error| error.downcast_ref::<HttpError>())
}
