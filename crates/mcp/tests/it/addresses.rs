//! Whose address is written down.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use http::{StatusCode, header};
use mnemosyne_domain::ports::Audit;
use mnemosyne_domain::{AuditEvent, AuditFilter, PageRequest};
use mnemosyne_mcp::McpLimits;
use mnemosyne_testkit::app::TestApp;
use serde_json::json;
use tower::ServiceExt;

use crate::{post, request, server};

#[tokio::test]
async fn a_refused_bearer_is_written_down_with_the_real_clients_address() {
    let app = TestApp::start().await;
    let closed = server(&app, true, McpLimits::default());
    for (peer, forwarded) in [
        ("192.0.2.1:4000", "203.0.113.9"),
        ("127.0.0.1:4000", "203.0.113.9, 192.0.2.2"),
        ("127.0.0.1:4000", "2001:db8::7"),
    ] {
        let mut message = post(request("tools/list", json!({})));
        let peer: SocketAddr = peer.parse().unwrap();
        message.extensions_mut().insert(ConnectInfo(peer));
        let headers = message.headers_mut();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer mnm_nobodys".parse().unwrap());
        let answer = closed.clone().oneshot(message).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let filter = AuditFilter {
        event: Some(AuditEvent::BearerRefused),
        ..AuditFilter::default()
    };
    let found = app
        .relational
        .audit(&filter, PageRequest::first(10))
        .await
        .unwrap();
    let mut addresses: Vec<_> = found.rows.iter().map(|entry| entry.address.as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(
        addresses,
        ["192.0.2.1", "192.0.2.2", "2001:db8::7"],
        "only a trusted proxy is believed"
    );
}
