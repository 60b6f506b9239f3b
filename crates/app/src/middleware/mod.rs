//! What every request passes on its way in and every answer on its way out.

mod compression;
mod details;
mod hosts;
mod limits;
mod observe;
mod panics;
pub(crate) mod request_info;
mod security_headers;
mod slashes;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::state::AppState;

/// Wraps a router. Its own layers would run after it has chosen a route; these must run before, so an outer router that
/// knows no route hands everything on. Layers that are added later stand further outside.
pub(crate) fn wrap(routes: Router, state: &AppState) -> Router {
    let inner = routes
        .layer(from_fn(limits::time))
        .layer(from_fn(slashes::redirect))
        .layer(from_fn(observe::note_route));
    Router::new()
        .fallback_service(inner)
        .layer(from_fn(slashes::append))
        .layer(from_fn_with_state(state.clone(), hosts::check))
        .layer(from_fn_with_state(
            Arc::clone(&state.capacity),
            limits::concurrency,
        ))
        .layer(compression::layer())
        .layer(from_fn(panics::catch))
        .layer(from_fn_with_state(state.clone(), details::show))
        .layer(from_fn(security_headers::add))
        .layer(from_fn_with_state(state.clone(), observe::observe))
}

/// Paths that operators' tools ask for under whatever name and however busy the server is.
pub(crate) fn is_probe(path: &str) -> bool {
    matches!(path, "/live" | "/live/" | "/ready" | "/ready/" | "/metrics")
}
