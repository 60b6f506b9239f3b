//! MCP over Streamable HTTP, in raw JSON-RPC: both eras, no session, tokens.

use mnemosyne_tests::{Answer, Client, Installation, Part, Server};
use serde_json::{Value, json};

const TOOLS: [&str; 6] = [
    "get_chunk",
    "get_health",
    "list_collections",
    "list_items",
    "list_libraries",
    "search",
];
const ACCEPT: (&str, &str) = ("Accept", "application/json, text/event-stream");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sends a JSON-RPC message with further headers.
pub(crate) fn call_with(client: &Client, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![JSON, ACCEPT];
    all.extend_from_slice(headers);
    client.send(
        http::Method::POST,
        "/mcp/",
        &all,
        Some(body.to_string().as_bytes()),
    )
}

/// A JSON-RPC request.
pub(crate) fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// The JSON-RPC message of an answer, whether it came as JSON or as an event stream.
#[track_caller]
pub(crate) fn message(answer: Answer) -> Value {
    let answer = answer.expect(200);
    if answer.header("content-type").starts_with("text/event-stream") {
        let text = answer.text();
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .rfind(|data| !data.is_empty());
        return serde_json::from_str(data.expect("an event stream without data")).unwrap();
    }
    answer.json()
}

#[track_caller]
fn result(answer: Answer) -> Value {
    let message = message(answer);
    assert!(message["error"].is_null(), "{message}");
    message["result"].clone()
}

/// A call of a tool without any handshake.
#[track_caller]
pub(crate) fn tool(client: &Client, name: &str, arguments: Value) -> Value {
    let body = request("tools/call", json!({ "name": name, "arguments": arguments }));
    result(call_with(
        client,
        &[("MCP-Protocol-Version", "2025-06-18")],
        &body,
    ))
}

/// A server with the library `Common`, whose uid comes with it, and the workspace `closed`.
pub(crate) fn filled<'a>(installation: &'a Installation) -> (Server<'a>, String) {
    let server = installation.serve();
    let library = json!({ "name": "Common", "library_type": "nonfiction" });
    let library = server
        .api()
        .post("/library/api/libraries/", &library)
        .expect(201)
        .json();
    let uid = library["library_uid"].as_str().unwrap().to_owned();
    let text: &[u8] = b"# Whales\n\nThe cobalt whale of Unst sings at seventeen hertz.\n";
    let parts = [
        Part::Field("library_uid", &uid),
        Part::File("file", "whales.md", text),
    ];
    let job = server
        .api()
        .post_multipart("/library/api/ingest/", &parts)
        .expect(202)
        .json();
    assert_eq!(
        server.ended(job["job_id"].as_str().unwrap())["status"],
        "completed"
    );
    server.make_workspace("closed", "nonfiction");
    server.ingest(
        "closed",
        "closed.md",
        b"# Closed\n\nThe cobalt whale of the closed workspace is silent.\n",
    );
    (server, uid)
}

#[test]
fn an_old_client_shakes_hands_and_a_hasty_one_does_not() {
    let installation = Installation::new();
    let (server, _) = filled(&installation);
    let client = server.mcp().bearer(&server.token());
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let hello = request(
            "initialize",
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } }),
        );
        let answer = result(call_with(&client, &[], &hello));
        assert_eq!(
            (&answer["protocolVersion"], &answer["serverInfo"]["name"]),
            (&json!(version), &json!("mnemosyne"))
        );
        assert!(
            answer["instructions"].as_str().unwrap().contains("get_chunk"),
            "the workflow is not taught"
        );
        let listed = result(call_with(
            &client,
            &[("MCP-Protocol-Version", version)],
            &request("tools/list", json!({})),
        ));
        let mut names: Vec<&str> = listed["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, TOOLS, "{version}");
    }
    // No version, no handshake, no session.
    let answer = result(call_with(&client, &[], &request("tools/list", json!({}))));
    assert_eq!(answer["tools"].as_array().unwrap().len(), 6);
}

#[test]
fn a_new_client_needs_no_handshake() {
    let installation = Installation::new();
    let (server, _) = filled(&installation);
    let client = server.mcp().bearer(&server.token());
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let version = ("MCP-Protocol-Version", "2026-07-28");
    let discover = request("server/discover", json!({ "_meta": meta }));
    let answer = result(call_with(
        &client,
        &[version, ("Mcp-Method", "server/discover")],
        &discover,
    ));
    assert!(answer.to_string().contains("2026-07-28"), "{answer}");
    let list = request("tools/list", json!({ "_meta": meta }));
    let answer = result(call_with(
        &client,
        &[version, ("Mcp-Method", "tools/list")],
        &list,
    ));
    assert_eq!(answer["tools"].as_array().unwrap().len(), 6);
    let search = request(
        "tools/call",
        json!({ "name": "search", "arguments": { "query": "cobalt whale" }, "_meta": meta }),
    );
    let headers = [version, ("Mcp-Method", "tools/call"), ("Mcp-Name", "search")];
    let answer = result(call_with(&client, &headers, &search));
    assert_eq!(
        answer["structuredContent"]["results"][0]["item_title"], "Whales",
        "{answer}"
    );
}

#[test]
fn every_tool_declares_itself_and_answers_in_structure_and_text() {
    let installation = Installation::new();
    let (server, library) = filled(&installation);
    let client = server.mcp().bearer(&server.token());
    let listed = result(call_with(&client, &[], &request("tools/list", json!({}))));
    for tool in listed["tools"].as_array().unwrap() {
        assert!(tool["description"].as_str().unwrap().len() > 20, "{tool}");
        assert_eq!(
            (&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]),
            (&json!("object"), &json!("object"))
        );
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        assert!(
            !tool["inputSchema"].to_string().contains("workspace_id"),
            "the hidden argument is shown: {tool}"
        );
    }
    let answer = tool(
        &client,
        "search",
        json!({ "query": "At what pitch does the whale sing?", "library_uid": library, "limit": 5 }),
    );
    let hit = &answer["structuredContent"]["results"][0];
    assert!(
        hit["text_preview"].as_str().unwrap().contains("seventeen hertz"),
        "{answer}"
    );
    assert!(
        answer["content"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("seventeen hertz")),
        "{answer}"
    );
    let chunk = tool(&client, "get_chunk", json!({ "chunk_uid": hit["chunk_uid"] }));
    assert!(
        chunk["structuredContent"]["text"]
            .as_str()
            .unwrap()
            .contains("cobalt whale")
    );
    let libraries = tool(&client, "list_libraries", json!({}));
    assert!(libraries.to_string().contains("Common"), "{libraries}");
    assert!(
        tool(&client, "list_collections", json!({ "library_uid": library }))["structuredContent"].is_object()
    );
    let items = tool(&client, "list_items", json!({ "library_uid": library }));
    assert!(items.to_string().contains("Whales"), "{items}");
    let health = tool(&client, "get_health", json!({}));
    assert_eq!(health["structuredContent"]["status"], "ok");

    // What is wrong is said to the model, and the server lives on.
    let wrong = message(call_with(
        &client,
        &[],
        &request("tools/call", json!({ "name": "search", "arguments": {} })),
    ));
    assert!(
        wrong["error"].is_object() || wrong["result"]["isError"] == true,
        "{wrong}"
    );
    let unknown = message(call_with(
        &client,
        &[],
        &request(
            "tools/call",
            json!({ "name": "get_chunk", "arguments": { "chunk_uid": "nothing" } }),
        ),
    ));
    assert!(
        unknown["error"].is_object() || unknown["result"]["isError"] == true,
        "{unknown}"
    );
    let nonsense = call_with(
        &client,
        &[],
        &request("tools/call", json!({ "name": "rm", "arguments": {} })),
    );
    assert!(nonsense.status < 500);
    tool(&client, "get_health", json!({}));
}

#[test]
fn nothing_but_health_is_answered_without_a_token() {
    let installation = Installation::new();
    let (server, _) = filled(&installation);
    let visitor = server.mcp();
    let initialize = request(
        "initialize",
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } }),
    );
    let search = request(
        "tools/call",
        json!({ "name": "search", "arguments": { "query": "whale" } }),
    );
    for body in [&initialize, &request("tools/list", json!({})), &search] {
        for client in [
            &visitor,
            &visitor.bearer("mnemosyne-wrong-token"),
            &visitor.basic("admin", &server.administrator().1),
        ] {
            let answer = call_with(client, &[], body).expect(401);
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{:?}",
                answer.headers
            );
        }
    }
    // A batch must not smuggle a call in beside the one that is free.
    let health = request("tools/call", json!({ "name": "get_health", "arguments": {} }));
    assert_ne!(call_with(&visitor, &[], &json!([health, search])).status, 200);
    let answer = result(call_with(
        &visitor,
        &[("MCP-Protocol-Version", "2025-06-18")],
        &health,
    ));
    assert_eq!(answer["structuredContent"]["status"], "ok");
    let probe = visitor.get("/mcp/health").expect(200).json();
    assert_eq!(probe["status"], "ok");
}

#[test]
fn both_spellings_of_the_address_are_served_and_foreign_hosts_are_not() {
    let installation = Installation::new();
    let (server, _) = filled(&installation);
    let client = server.mcp().bearer(&server.token());
    let body = request("tools/list", json!({})).to_string();
    for path in ["/mcp", "/mcp/"] {
        let answer = client.send(http::Method::POST, path, &[JSON, ACCEPT], Some(body.as_bytes()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let evil = client.send(
        http::Method::POST,
        "/mcp/",
        &[JSON, ACCEPT, ("Host", "evil.example")],
        Some(body.as_bytes()),
    );
    assert!((400..500).contains(&evil.status), "{}", evil.status);
    let origin = [JSON, ACCEPT, ("Origin", "http://evil.example")];
    let evil = client.send(http::Method::POST, "/mcp/", &origin, Some(body.as_bytes()));
    assert!((400..500).contains(&evil.status), "{}", evil.status);
    // The probe answers whatever the host.
    let probe = client.send(
        http::Method::GET,
        "/mcp/health",
        &[("Host", "evil.example")],
        None,
    );
    assert_eq!(probe.status, 200);
}

#[test]
fn a_token_reaches_no_further_than_it_was_made_for() {
    let installation = Installation::new();
    let (server, library) = filled(&installation);
    let other = json!({ "name": "Other", "library_type": "technical" });
    let other = server
        .api()
        .post("/library/api/libraries/", &other)
        .expect(201)
        .json();
    let other = other["library_uid"].as_str().unwrap();
    let token = |name: &str, arguments: &[&str]| {
        let mut words = vec!["create_mcp_token", "--name", name, "--json"];
        words.extend(arguments);
        let made = installation.run(&words).succeeded().json();
        server.mcp().bearer(made["token"].as_str().unwrap())
    };
    // One tool.
    let lists = token("one tool", &["--tool", "list_libraries"]);
    assert!(
        tool(&lists, "list_libraries", json!({}))
            .to_string()
            .contains("Common")
    );
    let search = request(
        "tools/call",
        json!({ "name": "search", "arguments": { "query": "whale" } }),
    );
    let refused = call_with(&lists, &[], &search);
    let said = refused.text();
    assert!(
        refused.status == 403 || said.contains("\"error\"") || said.contains("\"isError\":true"),
        "{said}"
    );
    assert!(!said.contains("seventeen"), "{said}");
    // One library.
    let narrow = token("one library", &["--library", other]);
    let answer = tool(&narrow, "search", json!({ "query": "cobalt whale" }));
    assert_eq!(answer["structuredContent"]["results"], json!([]), "{answer}");
    assert!(
        !tool(&narrow, "list_libraries", json!({}))
            .to_string()
            .contains("Common")
    );
    let wide = server.mcp().bearer(&server.token());
    let hit = tool(
        &wide,
        "search",
        json!({ "query": "cobalt whale", "library_uid": library }),
    );
    let uid = hit["structuredContent"]["results"][0]["chunk_uid"].clone();
    let answer = message(call_with(
        &narrow,
        &[],
        &request(
            "tools/call",
            json!({ "name": "get_chunk", "arguments": { "chunk_uid": uid } }),
        ),
    ));
    assert!(!answer.to_string().contains("seventeen"), "{answer}");
    // The hidden argument opens nothing.
    let answer = tool(
        &wide,
        "search",
        json!({ "query": "cobalt whale", "workspace_id": "closed" }),
    );
    assert!(
        !answer.to_string().contains("silent"),
        "an argument reached into a workspace: {answer}"
    );
    assert!(answer.to_string().contains("seventeen"), "{answer}");
}

#[test]
fn an_open_server_shows_the_global_libraries_or_the_workspace_that_a_call_names() {
    let installation = Installation::new().with("MCP_REQUIRE_AUTH", "False");
    let (server, _) = filled(&installation);
    let anybody = server.mcp();
    for (arguments, global) in [
        (json!({ "query": "cobalt whale" }), true),
        (json!({ "query": "cobalt whale", "workspace_id": "" }), true),
        (
            json!({ "query": "cobalt whale", "workspace_id": "closed" }),
            false,
        ),
    ] {
        let answer = tool(&anybody, "search", arguments.clone());
        let found = answer["structuredContent"]["results"].to_string();
        assert_eq!(found.contains("seventeen"), global, "{arguments}: {found}");
        assert_eq!(found.contains("is silent"), !global, "{arguments}: {found}");
    }
    // A token counts here, too, and a wrong one is not taken for none.
    let list = request("tools/list", json!({}));
    call_with(&anybody.bearer("mnemosyne-wrong-token"), &[], &list).expect(401);
    let bound = anybody.bearer(&server.token());
    let answer = tool(
        &bound,
        "search",
        json!({ "query": "cobalt whale", "workspace_id": "closed" }),
    );
    assert!(
        !answer["structuredContent"].to_string().contains("is silent"),
        "{answer}"
    );
}
