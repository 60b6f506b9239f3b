//! What the tools answer.

use std::collections::BTreeSet;

use mnemosyne_domain::ports::LibraryUpdate;
use mnemosyne_domain::{LibraryUid, Principal, ProfileOverrides};
use mnemosyne_mcp::McpLimits;
use mnemosyne_testkit::app::{TestApp, service_settings, settings};
use serde_json::{Value, json};

use crate::{call, fill, library, message, server};

fn whales(number: usize) -> Vec<(String, String)> {
    (0..number)
        .map(|at| {
            (
                format!("{at}.md"),
                format!("# Whale {at}\n\nThe cobalt whale number {at} sings.\n"),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_search_says_that_there_is_more_until_there_is_not() {
    let app = TestApp::start().await;
    library(&app, "Sea", "nonfiction", &whales(10)).await;
    let server = server(&app, false, McpLimits::default());
    let mut seen = BTreeSet::new();
    let mut cursor = Value::Null;
    for expected in [3, 3, 3, 1] {
        let arguments = json!({ "query": "cobalt whale", "limit": 3, "cursor": cursor });
        let answer = call(&server, "search", arguments).await;
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), expected, "{answer}");
        for result in results {
            assert!(
                seen.insert(result["chunk_uid"].as_str().unwrap().to_owned()),
                "{result} came twice"
            );
        }
        cursor = answer["next_cursor"].clone();
    }
    assert_eq!((seen.len(), cursor), (10, Value::Null));
    let all = call(&server, "search", json!({ "query": "cobalt whale", "limit": 10 })).await;
    assert_eq!(all["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_search_that_does_not_say_how_many_gets_what_is_configured() {
    let mut wanted = service_settings();
    wanted.search.default_limit = 4;
    let app = TestApp::start_as(settings(), wanted).await;
    library(&app, "Sea", "nonfiction", &whales(6)).await;
    let server = server(&app, false, McpLimits::default());
    let answer = call(&server, "search", json!({ "query": "cobalt whale" })).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 4);
    let listed = message(&server, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let search = tools.iter().find(|tool| tool["name"] == "search").unwrap();
    let limit = &search["inputSchema"]["properties"]["limit"];
    assert_eq!(
        (&limit["default"], &limit["type"]),
        (&json!(4), &json!("integer"))
    );
}

#[tokio::test]
async fn a_passage_that_is_too_long_for_one_answer_comes_in_parts() {
    let app = TestApp::start().await;
    let code: String = (0..1_500)
        .map(|line| format!("let größe_{line} = \"{}{line}\";\n", "ü".repeat(25)))
        .collect();
    assert!(code.len() > 100_000);
    let uid = library(&app, "Code", "technical", &[]).await;
    let overrides = ProfileOverrides {
        target_chars: Some(20_000),
        max_chars: Some(20_000),
        ..ProfileOverrides::default()
    };
    let update = LibraryUpdate {
        overrides: Some(overrides),
        ..LibraryUpdate::default()
    };
    let uid = LibraryUid::parse(&uid).unwrap();
    app.services
        .update_library(&Principal::Local, &uid, update)
        .await
        .unwrap();
    let text = format!("# Code\n\nAll of the zirconium code:\n\n```rust\n{code}```\n");
    fill(&app, uid.as_str(), &[("code.md".to_owned(), text)]).await;
    let server = server(&app, false, McpLimits::default());
    let found = call(&server, "search", json!({ "query": "größe_7" })).await;
    let uid = found["results"][0]["chunk_uid"].clone();
    let mut whole = String::new();
    let mut cursor = Value::Null;
    let mut parts = 0;
    loop {
        let part = call(
            &server,
            "get_chunk",
            json!({ "chunk_uid": uid, "cursor": cursor }),
        )
        .await;
        assert!(part.to_string().len() <= 33_000, "{}", part.to_string().len());
        assert_eq!((&part["chunk_uid"], &part["item_title"]), (&uid, &json!("Code")));
        whole.push_str(part["text"].as_str().unwrap());
        cursor = part["next_cursor"].clone();
        parts += 1;
        if cursor.is_null() {
            break;
        }
    }
    assert!(parts >= 4 && whole.contains(code.trim_end()), "{parts} parts");
    for cursor in ["o999999999", "x", "o-1"] {
        let arguments = json!({ "name": "get_chunk", "arguments": { "chunk_uid": uid, "cursor": cursor } });
        let refused = message(&server, "tools/call", arguments).await;
        assert!(
            refused["error"]["message"].as_str().unwrap().contains("cursor"),
            "{refused}"
        );
    }
}
