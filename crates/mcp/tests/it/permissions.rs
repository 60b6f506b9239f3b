//! Every tool with every kind of caller, against the one function that says who may do what.

use std::collections::BTreeSet;

use axum::Router;
use http::header;
use mnemosyne_domain::{Principal, TokenGrant, Tool};
use mnemosyne_mcp::McpLimits;
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::permission::{self, Action};
use mnemosyne_services::tokens::TokenRequest;
use mnemosyne_services::workspaces::WorkspaceRequest;
use mnemosyne_testkit::app::TestApp;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{json_of, post, request, server};

/// What a tool can be called with.
fn arguments(tool: Tool) -> Value {
    match tool {
        Tool::Search => json!({ "query": "anything" }),
        Tool::GetChunk => json!({ "chunk_uid": "some-id" }),
        Tool::ListLibraries | Tool::ListCollections | Tool::ListItems | Tool::GetHealth => json!({}),
    }
}

async fn send(server: &Router, token: Option<&str>, method: &str, params: Value) -> (u16, Value) {
    let mut message = post(request(method, params));
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        message.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let response = server.clone().oneshot(message).await.unwrap();
    (response.status().as_u16(), json_of(response).await)
}

fn grant(tools: Option<BTreeSet<Tool>>) -> Principal {
    Principal::Bearer(TokenGrant {
        label: "t".to_owned(),
        tools,
        workspace: None,
        libraries: None,
    })
}

#[tokio::test]
async fn every_tool_answers_every_caller_as_the_table_says() {
    let app = TestApp::start().await;
    let closed = server(&app, true, McpLimits::default());
    let owner = app.services.default_token_owner(&Principal::Local).await.unwrap();
    let mut limits = vec![None, Some(BTreeSet::from(Tool::ALL))];
    limits.extend(Tool::ALL.map(|tool| Some(BTreeSet::from([tool]))));
    limits.extend(
        Tool::ALL.map(|left_out| Some(Tool::ALL.into_iter().filter(|&tool| tool != left_out).collect())),
    );
    for (number, tools) in limits.into_iter().enumerate() {
        let token = TokenRequest {
            name: format!("t{number}"),
            tools: tools.clone(),
            ..TokenRequest::default()
        };
        let made = app
            .services
            .create_token(&Principal::Local, Some(owner.id), token)
            .await
            .unwrap();
        let principal = grant(tools.clone());
        let may = |tool| permission::require(&principal, Action::Call(tool)).is_ok();
        let (status, listed) = send(&closed, Some(&made.token), "tools/list", json!({})).await;
        let names: Vec<&str> = listed["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        let allowed: Vec<&str> = Tool::ALL
            .into_iter()
            .filter(|&tool| may(tool))
            .map(Tool::as_str)
            .collect();
        assert_eq!((status, names), (200, allowed), "{tools:?}");
        for tool in Tool::ALL {
            let params = json!({ "name": tool.as_str(), "arguments": arguments(tool) });
            let (status, answer) = send(&closed, Some(&made.token), "tools/call", params).await;
            let refusal = format!("This token may not call {}.", tool.as_str());
            let is_refused = answer["error"]["message"] == refusal;
            assert_eq!((status, is_refused), (200, !may(tool)), "{tools:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn without_a_token_there_is_health_or_where_none_is_needed_everything() {
    let app = TestApp::start().await;
    for (require_auth, wanted) in [(true, vec![Tool::GetHealth]), (false, Tool::ALL.to_vec())] {
        let server = server(&app, require_auth, McpLimits::default());
        for tool in Tool::ALL {
            let params = json!({ "name": tool.as_str(), "arguments": arguments(tool) });
            let (status, answer) = send(&server, None, "tools/call", params).await;
            let expected = if wanted.contains(&tool) { 200 } else { 401 };
            assert_eq!(status, expected, "{}: {answer}", tool.as_str());
        }
        for token in ["nonsense", "a.b.c", "mnm_"] {
            let (status, _) = send(&server, Some(token), "tools/list", json!({})).await;
            assert_eq!(status, 401, "a wrong token is refused even where none is needed");
        }
    }
}

#[tokio::test]
async fn every_listing_shows_what_the_table_lets_be_seen() {
    let app = TestApp::start().await;
    let local = &Principal::Local;
    let mut uids = Vec::new();
    for name in ["One", "Two"] {
        let library = LibraryRequest {
            name: name.to_owned(),
            library_type: "technical".to_owned(),
            description: String::new(),
        };
        uids.push(app.services.create_library(local, library).await.unwrap().uid);
    }
    let workspace = WorkspaceRequest {
        workspace_id: Some("w".to_owned()),
        name: Some("Inside".to_owned()),
        library_type: Some("technical".to_owned()),
        ..WorkspaceRequest::default()
    };
    app.services.create_workspace(local, workspace).await.unwrap();
    let closed = server(&app, true, McpLimits::default());
    let owner = app.services.default_token_owner(local).await.unwrap();
    for (number, libraries) in [None, Some(BTreeSet::from([uids[0].clone()]))]
        .into_iter()
        .enumerate()
    {
        let token = TokenRequest {
            name: format!("l{number}"),
            libraries: libraries.clone(),
            ..TokenRequest::default()
        };
        let made = app
            .services
            .create_token(local, Some(owner.id), token)
            .await
            .unwrap();
        let principal = app.services.authenticate_bearer(&made.token).await.unwrap();
        for asked in [
            json!({}),
            json!({ "workspace_id": "w" }),
            json!({ "workspace_id": "" }),
        ] {
            let params = json!({ "name": "list_libraries", "arguments": asked });
            let (_, answer) = send(&closed, Some(&made.token), "tools/call", params).await;
            let seen: BTreeSet<String> = answer["result"]["structuredContent"]["libraries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|library| library["library_uid"].as_str().unwrap().to_owned())
                .collect();
            let expected: BTreeSet<String> = uids
                .iter()
                .filter(|uid| permission::sees(&principal, uid, None))
                .map(ToString::to_string)
                .collect();
            assert_eq!(seen, expected, "{libraries:?} {asked}");
        }
    }
}
