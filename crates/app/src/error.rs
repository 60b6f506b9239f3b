//! The one place that knows which failure is which status. What went wrong inside goes to the log and to nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mnemosyne_domain::FailureCode;
use mnemosyne_services::ServiceError;
use serde_json::json;

use crate::pages;
use crate::routes::API_ROOT;

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A program: errors are JSON.
    Program,
    /// A person in front of a browser: errors are pages.
    Person,
}

impl Audience {
    /// Judges by the address, and beside the API by what the client accepts.
    pub fn of(path: &str, headers: &HeaderMap) -> Self {
        if path.starts_with(API_ROOT) || matches!(path, "/live/" | "/ready/" | "/metrics") {
            return Self::Program;
        }
        let accepted = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if accepted.contains("application/json") && !accepted.contains("text/html") {
            Self::Program
        } else {
            Self::Person
        }
    }
}

/// A failure as somebody outside may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The status.
    pub status: StatusCode,
    /// The stable word.
    pub code: &'static str,
    /// A sentence or two for a person.
    pub detail: String,
    /// For each wrong field of the request, what is wrong with it; empty where the failure is no matter of fields.
    pub fields: BTreeMap<String, Vec<String>>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// What went wrong inside: for the log, and for visitors only where `DEBUG` is on.
    pub inside: Option<String>,
}

impl Described {
    /// A failure with nothing but status, word and sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(
            is_documented(status, code),
            "{status} {code} is not in REQUEST_CODES"
        );
        Self {
            status,
            code,
            detail: detail.into(),
            fields: BTreeMap::new(),
            retry_after: None,
            inside: None,
        }
    }

    /// The same with what went wrong inside as part of what is told.
    pub(crate) fn with_details(mut self) -> Self {
        if let Some(inside) = self.inside.take() {
            self.detail = format!("{} Inside: {inside}", self.detail);
        }
        self
    }
}

/// Every status and word that a request can be answered with, beside the codes of documents (400). `docs/errors.md` says
/// what they mean.
pub const REQUEST_CODES: &[(u16, &str)] = &[
    (400, "disallowed_host"),
    (400, "invalid"),
    (400, "invalid_form"),
    (400, "invalid_query"),
    (400, "parse_error"),
    (401, "authentication_failed"),
    (401, "not_authenticated"),
    (403, "csrf_failed"),
    (403, "permission_denied"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (408, "timeout"),
    (409, "conflict"),
    (409, "default_collection"),
    (409, "default_model"),
    (409, "last_administrator"),
    (409, "library_type_frozen"),
    (409, "model_in_use"),
    (409, "name_conflict"),
    (409, "not_failed"),
    (409, "not_running"),
    (409, "retired"),
    (409, "username_taken"),
    (413, "too_large"),
    (415, "unsupported_media_type"),
    (422, "no_file"),
    (429, "throttled"),
    (500, "internal"),
    (503, "overloaded"),
    (503, "timeout"),
    (503, "unavailable"),
];

fn is_documented(status: StatusCode, code: &str) -> bool {
    let is_of_a_document = || FailureCode::ALL.iter().any(|failure| failure.as_str() == code);
    REQUEST_CODES.contains(&(status.as_u16(), code))
        || (status == StatusCode::BAD_REQUEST && is_of_a_document())
}

/// How long a client should wait for a store that is away.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Says what a failed use case is to the outside, and writes into the log what it is inside.
pub fn describe(error: ServiceError) -> Described {
    match error {
        ServiceError::NotFound(what) => Described::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no such {what}."),
        ),
        ServiceError::Unauthenticated => Described::new(
            StatusCode::UNAUTHORIZED,
            "authentication_failed",
            "The user name or the password is wrong.",
        ),
        ServiceError::Forbidden(sentence) => {
            Described::new(StatusCode::FORBIDDEN, "permission_denied", sentence)
        }
        ServiceError::Invalid(fields) => Described {
            fields,
            ..Described::new(
                StatusCode::BAD_REQUEST,
                "invalid",
                "Some fields are not as they must be.",
            )
        },
        ServiceError::Conflict { code, message } => Described::new(StatusCode::CONFLICT, code, message),
        ServiceError::TooLarge(limit) => too_large(limit),
        ServiceError::Throttled(pause) => Described {
            retry_after: Some(pause),
            ..Described::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                "Too many requests; try again later.",
            )
        },
        ServiceError::Document(failure) => {
            Described::new(StatusCode::BAD_REQUEST, failure.code.as_str(), failure.message)
        }
        ServiceError::Unavailable(inside) => {
            tracing::error!(error = inside, "a store is unavailable");
            Described {
                retry_after: Some(STORE_PAUSE),
                inside: Some(inside),
                ..Described::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "A part of Mnemosyne does not answer right now; try again in a moment.",
                )
            }
        }
        ServiceError::Internal(inside) => {
            tracing::error!(error = inside, "a use case failed");
            broken_down(inside)
        }
    }
}

/// A mistake of ours.
pub(crate) fn broken_down(inside: String) -> Described {
    Described {
        inside: Some(inside),
        ..Described::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong inside Mnemosyne; the log has the details.",
        )
    }
}

/// A body above its limit, in bytes.
pub(crate) fn too_large(limit: u64) -> Described {
    Described::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("The request holds more than the {limit} bytes allowed here."),
    )
}

/// A failure as the API answers it: `{"detail", "code"}`, or `{"field": ["…"]}` for wrong fields (contract §4.2).
#[derive(Debug)]
pub struct ApiError(pub Described);

impl ApiError {
    /// A failure with nothing but status, word and sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Described::new(status, code, detail))
    }

    /// One wrong field.
    pub fn field(field: &str, problem: impl Into<String>) -> Self {
        ServiceError::field(field, problem).into()
    }

    /// A mistake of ours; the text is for the log.
    pub(crate) fn internal(inside: &str) -> Self {
        ServiceError::Internal(inside.to_owned()).into()
    }

    /// Nobody known is asking.
    pub(crate) fn not_authenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "not_authenticated",
            "Authentication credentials were not provided: send HTTP Basic, or sign in.",
        )
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self(describe(error))
    }
}

/// What an answer keeps to itself; `middleware::details` may tell it.
#[derive(Clone)]
pub(crate) struct Hidden {
    /// Who reads the answer.
    pub(crate) audience: Audience,
    /// The whole failure.
    pub(crate) failure: Described,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let hidden = self.0.inside.is_some().then(|| Hidden {
            audience: Audience::Program,
            failure: self.0.clone(),
        });
        let Described {
            status,
            code,
            detail,
            fields,
            retry_after,
            inside: _,
        } = self.0;
        let body = if fields.is_empty() {
            json!({ "detail": detail, "code": code })
        } else {
            json!(fields)
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"mnemosyne\""),
            );
        }
        if let Some(pause) = retry_after {
            headers.insert(
                header::RETRY_AFTER,
                u64::try_from(pause.as_millis().div_ceil(1000))
                    .unwrap_or(u64::MAX)
                    .max(1)
                    .into(),
            );
        }
        if let Some(hidden) = hidden {
            response.extensions_mut().insert(hidden);
        }
        response
    }
}

/// What an API handler answers.
pub type ApiResult<T> = Result<T, ApiError>;

/// An error that no handler answers: outside of every route, or in front of them.
pub(crate) fn refuse(audience: Audience, status: StatusCode, code: &'static str, detail: &str) -> Response {
    answer(audience, Described::new(status, code, detail))
}

/// The same for a failure that is described already.
pub(crate) fn answer(audience: Audience, failure: Described) -> Response {
    if audience == Audience::Program {
        return ApiError(failure).into_response();
    }
    let mut response = pages::error_page(failure.status, &failure.detail);
    if failure.inside.is_some() {
        response.extensions_mut().insert(Hidden { audience, failure });
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_status_of_the_contract_and_keeps_its_secrets() {
        let cases: [(ServiceError, u16, &str); 8] = [
            (ServiceError::NotFound("job"), 404, "not_found"),
            (ServiceError::Unauthenticated, 401, "authentication_failed"),
            (ServiceError::Forbidden("No.".into()), 403, "permission_denied"),
            (
                ServiceError::Conflict {
                    code: "library_type_frozen",
                    message: "m".into(),
                },
                409,
                "library_type_frozen",
            ),
            (ServiceError::TooLarge(10), 413, "too_large"),
            (ServiceError::Throttled(Duration::from_secs(3)), 429, "throttled"),
            (
                ServiceError::Unavailable("secret path".into()),
                503,
                "unavailable",
            ),
            (ServiceError::Internal("secret path".into()), 500, "internal"),
        ];
        for (error, status, code) in cases {
            let described = describe(error);
            assert_eq!((described.status.as_u16(), described.code), (status, code));
            assert!(!described.detail.contains("secret"));
        }
    }

    #[test]
    fn the_table_of_the_document_has_every_code_and_no_other() {
        let document = include_str!("../../../docs/errors.md");
        let (_, requests) = document.split_once("# Errors of requests").unwrap();
        let documented: Vec<(u16, String)> = requests
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
                let status = cells.next()?.parse().ok()?;
                let code = cells.next()?.trim_matches('`').to_owned();
                assert!(cells.next().is_some_and(|meaning| !meaning.is_empty()), "{line}");
                Some((status, code))
            })
            .collect();
        let known: Vec<(u16, String)> = REQUEST_CODES
            .iter()
            .map(|(status, code)| (*status, (*code).to_owned()))
            .collect();
        assert_eq!(documented, known);
    }

    #[test]
    fn only_debug_shows_what_went_wrong_inside() {
        let described = describe(ServiceError::Internal("the disk".into()));
        assert!(!described.detail.contains("the disk"));
        let told = described.with_details();
        assert!(told.detail.ends_with("Inside: the disk") && told.inside.is_none());
    }

    #[test]
    fn wrong_fields_are_400_and_named() {
        let described = describe(ServiceError::field("name", "This field is required."));
        assert_eq!(described.status, StatusCode::BAD_REQUEST);
        assert_eq!(described.fields["name"], ["This field is required."]);
    }
}
