//! A handler that breaks down costs one answer, not the connection and not the process.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;

use crate::error::{Audience, answer, broken_down};

/// Answers 500 for a handler that panicked; what it said goes to the log.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    let audience = Audience::of(request.uri().path(), request.headers());
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let inside = said(panic.as_ref());
            tracing::error!(panic = inside, "a handler broke down");
            answer(audience, broken_down(inside.to_owned()))
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_keeps_its_secret() {
        let broken: fn() -> std::future::Ready<&'static str> = || panic!("secret");
        let router = Router::new()
            .route("/library/api/x/", get(broken))
            .layer(from_fn(catch));
        let request = Request::builder()
            .uri("/library/api/x/")
            .body(Body::empty())
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.contains("\"code\":\"internal\"") && !text.contains("secret"),
            "{text}"
        );
    }
}
