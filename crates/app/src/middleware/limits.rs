//! How many requests at once, and how long one may take.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::is_probe;
use crate::error::{Audience, refuse};
use crate::routes::UPLOADS;
use crate::state::AppState;

/// Longest time until an answer begins. Uploads have their own limit: how long the client may be silent.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Answers 503 where too much is going on already. A slot is held until the answer begins, so streams do not take one.
pub(super) async fn concurrency(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if is_probe(path) {
        return next.run(request).await;
    }
    let Ok(_slot) = state.capacity.try_acquire() else {
        tracing::warn!("a request was turned away: too many at once");
        let mut response = refuse(
            Audience::of(path, request.headers()),
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests are being worked on; try again in a moment.",
        );
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    next.run(request).await
}

/// Answers 503 where a handler takes too long.
pub(super) async fn time(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    if route.is_some_and(|route| UPLOADS.contains(&route.as_str())) {
        return next.run(request).await;
    }
    let audience = Audience::of(request.uri().path(), request.headers());
    match tokio::time::timeout(ANSWER_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(
            audience,
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "The answer took too long and was given up.",
        ),
    }
}
