//! How many requests at once, and how long one may take. Strangers reach this server, so nothing of theirs may last.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

/// The bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct McpLimits {
    /// Requests that may be worked on at once; more are answered 503.
    pub requests: usize,
    /// How long the body of a request without a valid token may take to arrive.
    pub strangers_body: Duration,
    /// How long a request may take until its answer begins.
    pub answer: Duration,
}

impl Default for McpLimits {
    fn default() -> Self {
        Self {
            requests: 256,
            strangers_body: Duration::from_secs(10),
            answer: Duration::from_secs(60),
        }
    }
}

/// What the layer needs.
#[derive(Clone)]
pub(crate) struct Bounds {
    places: Arc<Semaphore>,
    answer: Duration,
}

impl Bounds {
    pub(crate) fn new(limits: McpLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.requests)),
            answer: limits.answer,
        }
    }
}

/// Answers 503 where too much is going on already, or where an answer takes too long.
pub(crate) async fn bound(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let Ok(_place) = bounds.places.try_acquire() else {
        tracing::warn!("a request was turned away: too many at once");
        let mut response = refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests are being worked on; try again in a moment.",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    match tokio::time::timeout(bounds.answer, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "The answer took too long and was given up.",
        ),
    }
}

/// The answer to a body that does not arrive.
pub(crate) fn body_too_slow() -> Response {
    refusal(
        StatusCode::REQUEST_TIMEOUT,
        "timeout",
        "The body took too long to arrive and was given up.",
    )
}

fn refusal(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = serde_json::json!({ "detail": detail, "code": code });
    (status, axum::Json(body)).into_response()
}
