//! What operators' tools ask for.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use mnemosyne_domain::{Dependency, Principal};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::middleware::request_info::RequestInfo;
use crate::state::AppState;

/// 200 while the process serves.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 when everything that is required answers, otherwise 503; each dependency's state and time.
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    let dependencies = state.services.dependencies().await;
    let is_required = |dependency: Dependency| {
        dependency.is_always_required() || state.settings.ready_requires.contains(&dependency)
    };
    let is_ready = dependencies
        .iter()
        .all(|one| one.problem.is_none() || !is_required(one.dependency));
    let described: Map<String, Value> = dependencies
        .into_iter()
        .map(|one| {
            let report = json!({
                "ok": one.problem.is_none(),
                "required": is_required(one.dependency),
                "ms": one.milliseconds,
                "problem": one.problem,
            });
            (one.dependency.as_str().to_owned(), report)
        })
        .collect();
    let (status, word) = if is_ready {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    (status, Json(json!({ "status": word, "dependencies": described }))).into_response()
}

/// The numbers, for internal networks only.
pub(crate) async fn metrics(State(state): State<AppState>, info: RequestInfo) -> Result<Response, ApiError> {
    if !info.client.is_some_and(is_internal) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "permission_denied",
            "Metrics are for internal networks only.",
        ));
    }
    let jobs = match state.services.throughput(&Principal::Local).await {
        Ok(jobs) => Some(jobs),
        // The other numbers are wanted most of all when the database is away.
        Err(error) => {
            tracing::warn!(%error, "jobs could not be counted");
            None
        }
    };
    let text = state.metrics.render(
        &state.settings.version,
        jobs.as_ref(),
        state.services.cache_counters().as_ref(),
    );
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

/// Loopback, private and link-local networks.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_is_what_no_stranger_can_be() {
        for internal in [
            "127.0.0.1",
            "10.1.2.3",
            "172.18.0.9",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_internal(internal.parse().unwrap()), "{internal}");
        }
        for external in [
            "203.0.113.9",
            "172.32.0.1",
            "100.64.0.1",
            "2001:db8::1",
            "8.8.8.8",
        ] {
            assert!(!is_internal(external.parse().unwrap()), "{external}");
        }
    }
}
