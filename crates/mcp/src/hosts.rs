//! Host and Origin checks: against DNS rebinding, a page of another site must not reach this server through the visitor's
//! browser.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

/// Patterns as in Django's `ALLOWED_HOSTS`: a name, `.name` for it and all below it, `*` for any.
#[derive(Clone, Debug)]
pub(crate) struct AllowedHosts(Arc<[String]>);

impl AllowedHosts {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(
            patterns
                .iter()
                .map(|pattern| pattern.to_ascii_lowercase())
                .collect(),
        )
    }

    fn admits(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|pattern| match pattern.strip_prefix('.') {
            _ if pattern == "*" => true,
            Some(domain) => {
                host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            }
            None => *pattern == host,
        })
    }
}

/// The host of an authority, without its port; IPv6 addresses keep their brackets, as in `ALLOWED_HOSTS`.
fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(authority, |end| &authority[..end + 2]),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok().map(without_port)
}

fn origin_host(origin: &str) -> Option<&str> {
    let (_, authority) = origin.split_once("://")?;
    Some(without_port(authority.split(['/', '?', '#']).next()?))
}

/// Refuses foreign hosts and origins. A request without `Origin` does not come from a page.
pub(crate) async fn check(State(allowed): State<AllowedHosts>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = host_of(headers).or_else(|| request.uri().host().map(without_port));
    if !host.is_some_and(|host| allowed.admits(host)) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "This host name is not served here; see ALLOWED_HOSTS.",
        );
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let known = origin
            .to_str()
            .ok()
            .and_then(origin_host)
            .is_some_and(|host| allowed.admits(host));
        if !known {
            return refusal(
                StatusCode::FORBIDDEN,
                "This origin may not call this server; see ALLOWED_HOSTS.",
            );
        }
    }
    next.run(request).await
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "detail": detail }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_django() {
        let allowed = AllowedHosts::new(&["localhost".into(), ".Example.org".into(), "[::1]".into()]);
        for host in [
            "localhost",
            "LOCALHOST",
            "example.org",
            "a.b.example.org",
            "example.org.",
            "[::1]",
        ] {
            assert!(allowed.admits(host), "{host}");
        }
        for host in ["evil.org", "notexample.org", "localhost.evil.org", ""] {
            assert!(!allowed.admits(host), "{host}");
        }
        assert!(AllowedHosts::new(&["*".into()]).admits("anything"));
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        assert_eq!(without_port("localhost:8001"), "localhost");
        assert_eq!(without_port("[::1]:8001"), "[::1]");
        assert_eq!(origin_host("https://example.org:8443/x"), Some("example.org"));
        assert_eq!(origin_host("null"), None);
    }
}
