//! How many requests at once, and how long one may take.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use super::is_probe;
use crate::error::{Audience, refuse};
use crate::routes::UPLOADS;

/// Longest time until an answer begins. Uploads have their own limit: how long the client may be silent.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Answers 503 where too much is going on already. A slot is held until the answer begins, so streams do not take one.
pub(super) async fn concurrency(
    State(capacity): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if is_probe(path) {
        return next.run(request).await;
    }
    let Ok(_slot) = capacity.try_acquire() else {
        tracing::warn!("a request was turned away: too many at once");
        let mut response = refuse(
            Audience::of(path, request.headers()),
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests are being worked on; try again in a moment.",
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
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

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn beyond_the_capacity_only_probes_are_answered() {
        let capacity = Arc::new(Semaphore::new(1));
        let router = Router::new()
            .route("/x/", get(|| async { "x" }))
            .route("/live/", get(|| async { "live" }))
            .layer(from_fn_with_state(Arc::clone(&capacity), concurrency));
        let ask = async |path: &str| {
            let request = Request::builder().uri(path).header("accept", "application/json");
            router
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap()
        };
        assert_eq!(ask("/x/").await.status(), StatusCode::OK);
        let taken = capacity.try_acquire().unwrap();
        let refused = ask("/x/").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
        assert_eq!(ask("/live/").await.status(), StatusCode::OK);
        drop(taken);
        assert_eq!(ask("/x/").await.status(), StatusCode::OK);
    }
}
