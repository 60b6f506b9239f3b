//! Every route of the server with strangers. A route without a rule here fails.

use std::collections::BTreeSet;
use std::path::Path;

use http::{Method, Request, StatusCode, header};
use mnemosyne_mcp::McpLimits;
use mnemosyne_testkit::app::TestApp;
use mnemosyne_testkit::routes::routes_below;
use tower::ServiceExt;

use crate::server;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Whoever reaches the server.
    Everybody,
    /// Whoever brings a token that is good.
    Bearers,
}

const RULES: [(&str, &str, Rule); 3] = [
    ("GET", "/mcp/health", Rule::Everybody),
    ("GET", "/live/", Rule::Everybody),
    ("ANY", "/mcp", Rule::Bearers),
];

#[test]
fn every_route_has_one_rule_and_every_rule_a_route() {
    let ruled: BTreeSet<_> = RULES
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    assert_eq!(routes_below(Path::new(sources)), ruled);
}

#[tokio::test]
async fn every_route_answers_strangers_as_its_rule_says() {
    let app = TestApp::start().await;
    let closed = server(&app, true, McpLimits::default());
    for (method, path, rule) in RULES {
        let methods = match method {
            "ANY" => vec![
                Method::GET,
                Method::POST,
                Method::DELETE,
                Method::PUT,
                Method::OPTIONS,
            ],
            one => vec![one.parse().unwrap()],
        };
        for method in methods {
            for slash in ["", "/"] {
                let path = format!("{}{slash}", path.trim_end_matches('/'));
                let request = Request::builder()
                    .method(&method)
                    .uri(&path)
                    .header(header::HOST, "localhost")
                    .body(axum::body::Body::empty())
                    .unwrap();
                let answer = closed.clone().oneshot(request).await.unwrap();
                let expected = match rule {
                    Rule::Everybody => StatusCode::OK,
                    Rule::Bearers => StatusCode::UNAUTHORIZED,
                };
                assert_eq!(answer.status(), expected, "{method} {path}");
            }
        }
    }
}
