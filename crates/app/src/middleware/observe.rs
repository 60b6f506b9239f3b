//! One span, one line and a few numbers for every request. Never a query string: it may hold what somebody searched for.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Method};
use mnemosyne_services::origin;
use tracing::Instrument;

use super::is_probe;
use super::request_info::{REQUEST_ID, RequestInfo};
use crate::state::AppState;

/// The route that answered, as it stands in the table of contents.
#[derive(Clone)]
struct Route(Arc<str>);

/// What stands for the route of a request that no route answered.
const NO_ROUTE: &str = "(none)";

/// Tells the outer layers which route answered.
pub(super) async fn note_route(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| Route(path.as_str().into()));
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Finds out who is asking, and records what became of it.
pub(super) async fn observe(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let info = RequestInfo::read(
        request.extensions(),
        request.headers(),
        request.uri(),
        &state.settings.trusted_proxies,
    );
    let method = method_label(request.method());
    let is_noise = is_probe(request.uri().path()) || request.uri().path().starts_with("/static/");
    let span = tracing::info_span!("request", id = info.id, method);
    let id = HeaderValue::from_str(&info.id);
    let client = info.client.map(|address| address.to_string()).unwrap_or_default();
    let address = info.client;
    request.extensions_mut().insert(info);
    let began = Instant::now();
    let in_flight = state.metrics.begin();
    let work = next.run(request).instrument(span.clone());
    let mut response = origin::from(address, work).await;
    drop(in_flight);
    let elapsed = began.elapsed();
    let route = response.extensions_mut().remove::<Route>();
    let route = route.as_ref().map_or(NO_ROUTE, |route| &*route.0);
    let status = response.status();
    state.metrics.record(method, route, status.as_u16(), elapsed);
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let _entered = span.enter();
    if status.is_server_error() {
        tracing::warn!(route, status = status.as_u16(), ms, client, "request");
    } else if is_noise {
        tracing::debug!(route, status = status.as_u16(), ms, client, "request");
    } else {
        tracing::info!(route, status = status.as_u16(), ms, client, "request");
    }
    if let Ok(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The method as a label: a client can invent methods, but not make the metrics grow with them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
