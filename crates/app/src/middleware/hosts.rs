//! `ALLOWED_HOSTS`: a page of another site must not reach this server under a name of its own, and no address is built
//! from a name that an attacker chose.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

use super::is_probe;
use super::request_info::{RequestInfo, split_port};
use crate::error::{Audience, refuse};
use crate::state::AppState;

/// Refuses names that are not ours.
pub(super) async fn check(
    State(state): State<AppState>,
    info: RequestInfo,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if is_probe(path) || admits(&state.settings.allowed_hosts, &info.host) {
        return next.run(request).await;
    }
    refuse(
        Audience::of(path, request.headers()),
        StatusCode::BAD_REQUEST,
        "disallowed_host",
        "This host name is not served here; the setting ALLOWED_HOSTS lists those that are.",
    )
}

/// Whether a host is in a list of patterns as Django reads them: a name, `.name` for it and all below it, `*` for any.
/// Ports do not count.
fn admits(patterns: &[String], host: &str) -> bool {
    let name = split_port(host).0;
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.is_empty()
        && patterns.iter().any(|pattern| {
            let pattern = pattern.to_ascii_lowercase();
            match pattern.strip_prefix('.') {
                _ if pattern == "*" => true,
                Some(domain) => name == domain || name.ends_with(&pattern),
                None => name == pattern,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_django() {
        let patterns = ["localhost", ".Example.org", "[::1]"].map(str::to_owned);
        for host in [
            "localhost",
            "localhost:8000",
            "example.org",
            "a.b.example.org",
            "example.org.",
            "[::1]:80",
        ] {
            assert!(admits(&patterns, host), "{host}");
        }
        for host in [
            "",
            "evil.org",
            "notexample.org",
            "localhost.evil.org",
            ".example.com",
        ] {
            assert!(!admits(&patterns, host), "{host}");
        }
        assert!(admits(&["*".to_owned()], "anything") && !admits(&["*".to_owned()], ""));
        assert!(!admits(&[], "localhost"));
    }
}
