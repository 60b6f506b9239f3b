//! The MCP server in one process, over the use cases and backends of a test application.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod addresses;
mod limits;
mod permissions;
mod routes;
mod tools;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, Response, StatusCode, header};
use mnemosyne_config::IpNetwork;
use mnemosyne_domain::Principal;
use mnemosyne_mcp::{McpLimits, McpSettings};
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::pipeline::JobEnd;
use mnemosyne_testkit::app::{Form, TestApp};
use serde_json::{Value, json};
use tower::ServiceExt;

/// The server as everybody may call it, or only with a token.
fn server(app: &TestApp, require_auth: bool, limits: McpLimits) -> Router {
    mnemosyne_mcp::service(
        Arc::clone(&app.services),
        McpSettings {
            allowed_hosts: vec!["localhost".to_owned()],
            trusted_proxies: IpNetwork::parse("127.0.0.0/8").into_iter().collect(),
            require_auth,
            limits,
        },
    )
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/mcp/")
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .body(body.into())
        .unwrap()
}

fn request(method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn message(server: &Router, method: &str, params: Value) -> Value {
    let response = server
        .clone()
        .oneshot(post(request(method, params)))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    json_of(response).await
}

/// The structured answer of a tool.
async fn call(server: &Router, name: &str, arguments: Value) -> Value {
    let answer = message(
        server,
        "tools/call",
        json!({ "name": name, "arguments": arguments }),
    )
    .await;
    let result = &answer["result"];
    assert!(
        answer["error"].is_null() && result["isError"] != true,
        "{name}: {answer}"
    );
    result["structuredContent"].clone()
}

/// Makes a global library and fills it with these files; its uid.
async fn library(app: &TestApp, name: &str, library_type: &str, files: &[(String, String)]) -> String {
    let request = LibraryRequest {
        name: name.to_owned(),
        library_type: library_type.to_owned(),
        description: String::new(),
    };
    let made = app
        .services
        .create_library(&Principal::Local, request)
        .await
        .unwrap();
    fill(app, made.uid.as_str(), files).await;
    made.uid.to_string()
}

/// Puts files into a library.
async fn fill(app: &TestApp, library_uid: &str, files: &[(String, String)]) {
    for (filename, text) in files {
        let form = Form::new().text("library_uid", library_uid).file(
            "file",
            filename,
            "text/markdown",
            text.as_bytes(),
        );
        app.daedalus()
            .post_form("/library/api/ingest/", &form)
            .await
            .expect(202);
    }
    for end in app.run_jobs().await {
        assert_eq!(end, JobEnd::Completed);
    }
}
