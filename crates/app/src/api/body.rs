//! Reading requests, with errors that a client's developer can act on.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use mnemosyne_services::ServiceError;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use crate::error::{ApiError, ApiResult, too_large};

/// The largest JSON body where a route does not say otherwise, in bytes.
pub(crate) const MAX_JSON_BYTES: usize = 1024 * 1024;

/// How long a JSON body may take to arrive. Routes that take files have no other limit on the whole request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// A JSON body of at most `MAX_BYTES`.
pub(crate) struct ApiJson<T, const MAX_BYTES: usize = MAX_JSON_BYTES>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned, const MAX_BYTES: usize> FromRequest<S> for ApiJson<T, MAX_BYTES> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> ApiResult<Self> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send JSON with the header Content-Type: application/json.",
            ));
        }
        Ok(Self(read_json(request.into_body(), MAX_BYTES).await?))
    }
}

/// The media type of a request, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// Reads a JSON body of at most `limit` bytes, which must be here within [`BODY_TIME`].
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limit: usize) -> ApiResult<T> {
    read_json_within(BODY_TIME, body, limit).await
}

async fn read_json_within<T: DeserializeOwned>(time: Duration, body: Body, limit: usize) -> ApiResult<T> {
    let Ok(read) = tokio::time::timeout(time, to_bytes(body, limit)).await else {
        return Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The body took too long to arrive and was given up.",
        ));
    };
    let bytes: Bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if is_over_limit(&error) => return Err(ApiError(too_large(limit as u64))),
        Err(error) => {
            tracing::debug!(%error, "a body broke off");
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "parse_error",
                "The body broke off.",
            ));
        }
    };
    parse_json(&bytes)
}

fn is_over_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    // A list would be taken for the fields in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => ApiError::new(StatusCode::BAD_REQUEST, "parse_error", "Expected a JSON object."),
            Err(error) => wrong_json(".", &error),
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        wrong_json(&field, error.inner())
    })?;
    reader.end().map_err(|error| wrong_json(".", &error))?;
    Ok(value)
}

/// A value of the wrong kind is a matter of its field; JSON that is none is a matter of the line and column where it
/// stops being JSON.
fn wrong_json(field: &str, error: &serde_json::Error) -> ApiError {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let problem = text.strip_suffix(&place).unwrap_or(&text);
    if error.classify() == Category::Data && field != "." {
        return ApiError::field(field, format!("This value is not valid: {problem}."));
    }
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "parse_error",
        format!(
            "JSON parse error at line {}, column {}: {problem}.",
            error.line(),
            error.column()
        ),
    )
}

/// The parameters of a query string.
pub(crate) struct ApiQuery<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> ApiResult<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => {
                let problem = error
                    .source()
                    .map_or_else(|| error.to_string(), ToString::to_string);
                Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "invalid_query",
                    format!("The parameters of the address are not valid: {problem}."),
                ))
            }
        }
    }
}

/// The variable part of a path. What is no text names nothing.
pub(crate) struct ApiPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for ApiPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(ServiceError::NotFound("object").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        name: Option<String>,
    }

    fn problem(json: &str) -> ApiError {
        parse_json::<Wanted>(json.as_bytes()).unwrap_err()
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let pieces = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{\"name\":"))]);
        let body = Body::from_stream(futures::StreamExt::chain(pieces, futures::stream::pending()));
        let error = read_json_within::<Wanted>(Duration::from_millis(20), body, MAX_JSON_BYTES)
            .await
            .unwrap_err();
        assert_eq!(
            (error.0.status, error.0.code),
            (StatusCode::REQUEST_TIMEOUT, "timeout")
        );
    }

    #[test]
    fn broken_json_is_named_with_its_place() {
        let error = problem("{\n \"name\": \"a\",,\n}");
        assert_eq!(
            (error.0.status, error.0.code),
            (StatusCode::BAD_REQUEST, "parse_error")
        );
        assert!(error.0.detail.contains("line 2, column 14"), "{}", error.0.detail);
        assert!(problem("").0.detail.contains("line 1, column 0"));
        assert!(problem("{} x").0.detail.contains("trailing characters"));
        for no_object in ["[1]", "[\"a\"]", "null", "5"] {
            assert_eq!(
                problem(no_object).0.detail,
                "Expected a JSON object.",
                "{no_object}"
            );
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_field() {
        let error = problem("{\"name\": 5}");
        assert_eq!(
            error.0.fields["name"],
            ["This value is not valid: invalid type: integer `5`, expected a string."]
        );
        assert_eq!(
            parse_json::<Wanted>(b"{\"name\": null, \"other\": 1}")
                .unwrap()
                .name,
            None
        );
    }
}
