//! Nothing that a stranger does lasts.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http::{Request, Response, StatusCode, header};
use mnemosyne_mcp::McpLimits;
use mnemosyne_testkit::app::TestApp;
use serde_json::json;
use tower::ServiceExt;

use crate::{json_of, post, request, server};

const SHORT: Duration = Duration::from_millis(50);
const ENDLESS: Duration = Duration::from_secs(3_600);

/// A body that begins and never goes on.
fn stalled() -> Body {
    let beginning = Ok::<_, std::io::Error>(Bytes::from_static(b"{\"jsonrpc\":"));
    Body::from_stream(stream::iter([beginning]).chain(stream::pending()))
}

async fn send(server: &Router, request: Request<Body>) -> Response<Body> {
    server.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn the_body_of_a_stranger_is_not_waited_for() {
    let app = TestApp::start().await;
    let limits = McpLimits {
        strangers_body: SHORT,
        answer: ENDLESS,
        ..McpLimits::default()
    };
    let server = server(&app, true, limits);
    for credentials in [None, Some("Bearer wrong"), Some("Basic YTpi")] {
        let mut request = post(stalled());
        if let Some(credentials) = credentials {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, credentials.parse().unwrap());
        }
        let answer = send(&server, request).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT, "{credentials:?}");
        assert_eq!(json_of(answer).await["code"], "timeout");
    }
}

#[tokio::test]
async fn no_request_lasts_longer_than_its_time() {
    let app = TestApp::start().await;
    let limits = McpLimits {
        strangers_body: ENDLESS,
        answer: SHORT,
        ..McpLimits::default()
    };
    // Where no token is needed, the body is read by the protocol itself.
    for require_auth in [true, false] {
        let answer = send(&server(&app, require_auth, limits), post(stalled())).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{require_auth}");
        assert_eq!(json_of(answer).await["code"], "timeout");
    }
}

#[tokio::test]
async fn beyond_the_capacity_only_the_probes_are_answered() {
    let app = TestApp::start().await;
    let limits = McpLimits {
        requests: 1,
        strangers_body: ENDLESS,
        answer: ENDLESS,
    };
    let server = server(&app, true, limits);
    let mut stalling = Box::pin(send(&server, post(stalled())));
    assert!(futures::poll!(&mut stalling).is_pending());
    let health = || {
        post(request(
            "tools/call",
            json!({ "name": "get_health", "arguments": {} }),
        ))
    };
    let refused = send(&server, health()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(json_of(refused).await["code"], "overloaded");
    for path in ["/mcp/health", "/live/"] {
        let probe = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(send(&server, probe).await.status(), StatusCode::OK, "{path}");
    }
    drop(stalling);
    assert_eq!(send(&server, health()).await.status(), StatusCode::OK);
}
