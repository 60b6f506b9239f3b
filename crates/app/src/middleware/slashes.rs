//! Every address ends with a slash. Without it GET and HEAD are sent on to the slashed form, as Django does; other
//! methods are served as if slashed, because a redirect would lose their body.

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::routes::is_unslashed;

/// Marks a request whose address had no slash at its end.
#[derive(Clone, Copy)]
struct WasUnslashed;

/// Routes every request by the slashed form of its address.
pub(super) async fn append(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.starts_with('/')
        && !path.ends_with('/')
        && !is_unslashed(path)
        && let Some(slashed) = slashed(request.uri())
    {
        *request.uri_mut() = slashed;
        request.extensions_mut().insert(WasUnslashed);
    }
    next.run(request).await
}

/// Sends readers on to the slashed form, where that leads somewhere.
pub(super) async fn redirect(request: Request, next: Next) -> Response {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let leads_somewhere = request.extensions().get::<MatchedPath>().is_some();
    if !(is_reading && leads_somewhere && request.extensions().get::<WasUnslashed>().is_some()) {
        return next.run(request).await;
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(target) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn slashed(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let target = match uri.query() {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_and_every_escape_are_kept() {
        let uri = Uri::from_static("/library/api/workspaces/a%2Fb?x=1&y=%20");
        assert_eq!(
            slashed(&uri).unwrap().to_string(),
            "/library/api/workspaces/a%2Fb/?x=1&y=%20"
        );
    }
}
