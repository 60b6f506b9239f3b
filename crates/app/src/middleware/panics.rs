//! A handler that breaks down costs one answer, not the connection and not the process.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use http::StatusCode;

use crate::error::{Audience, refuse};

/// Answers 500 for a handler that panicked; what it said goes to the log.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    let audience = Audience::of(request.uri().path(), request.headers());
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            tracing::error!(panic = said(panic.as_ref()), "a handler broke down");
            refuse(
                audience,
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong inside Mnemosyne; the log has the details.",
            )
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
