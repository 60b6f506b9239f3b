//! What a second start finds.

use mnemosyne_tests::Installation;
use serde_json::json;

#[test]
fn a_second_start_finds_everything_and_shows_no_secret_again() {
    let installation = Installation::new();
    let server = installation.serve();
    let library = server.make_workspace("kept", "technical");
    let job = server.ingest(
        "kept",
        "kept.md",
        b"# Valve\n\nThe vermilion valve closes at nine bar.\n",
    );
    let token = server.token();
    let before = server.search(&json!({ "query": "vermilion valve", "workspace_id": "kept" }));
    assert!(server.stop().success());
    for entry in std::fs::read_dir(installation.data()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            !name.ends_with("-wal"),
            "{name} is left of a server that stopped in order"
        );
    }

    let server = installation.serve();
    for label in ["password:", "token:", "administrator:"] {
        assert_eq!(server.announced(label), None, "a second start shows its secrets");
    }
    let workspace = server
        .api()
        .get("/library/api/workspaces/kept/")
        .expect(200)
        .json();
    assert_eq!(workspace["library_uid"], library.as_str());
    assert_eq!(workspace["item_count"], 1);
    let again = server.job(job["job_id"].as_str().unwrap());
    assert_eq!(again["status"], "completed");
    let after = server.search(&json!({ "query": "vermilion valve", "workspace_id": "kept" }));
    assert_eq!(
        before["results"][0]["chunk_uid"],
        after["results"][0]["chunk_uid"]
    );
    assert_eq!(
        before["results"].as_array().unwrap().len(),
        after["results"].as_array().unwrap().len()
    );
    let answer = server.mcp().bearer(&token).post(
        "/mcp/",
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} }),
    );
    assert_ne!(answer.status, 401, "the token of the first start is forgotten");
}

#[test]
fn two_servers_on_one_port_are_refused_with_the_setting_that_helps() {
    let mut installation = Installation::new();
    let server = installation.serve();
    let taken = server
        .app_address()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    server.kill();
    let holder = std::net::TcpListener::bind(&taken).unwrap();
    installation.set("MNEMOSYNE_APP_LISTEN", &taken);
    let output = installation.run(&["serve"]).failed();
    assert!(
        output.stderr.contains("MNEMOSYNE_APP_LISTEN"),
        "{}",
        output.stderr
    );
    drop(holder);
}

#[test]
fn commands_work_beside_a_running_server_on_the_same_folder() {
    let installation = Installation::new();
    let server = installation.serve();
    std::fs::write(
        installation.path("note.md"),
        "# Note\n\nThe saffron sextant hangs in the chart room.\n",
    )
    .unwrap();
    let file = installation.path("note.md");
    let jobs = installation
        .run(&[
            "ingest",
            &file.to_string_lossy(),
            "--library",
            "Notes",
            "--type",
            "nonfiction",
            "--json",
        ])
        .succeeded()
        .json();
    assert_eq!(jobs[0]["status"], "completed", "{jobs}");
    // A job reads `completed` only when any search that begins afterwards, in any process, finds the item.
    let served = server.search(&json!({ "query": "saffron sextant" }));
    assert!(
        server
            .chunk_text(&served["results"][0]["chunk_uid"])
            .contains("chart room")
    );

    server.make_workspace("beside", "nonfiction");
    server.ingest(
        "beside",
        "late.md",
        b"# Late\n\nThe turquoise theodolite came by mail.\n",
    );
    let printed = installation
        .run(&[
            "search",
            "turquoise theodolite",
            "--workspace",
            "beside",
            "--json",
        ])
        .succeeded()
        .json();
    assert_eq!(printed["results"][0]["item_title"], "Late", "{printed}");

    let made = installation
        .run(&["create_mcp_token", "--name", "beside", "--json"])
        .succeeded()
        .json();
    let token = made["token"].as_str().unwrap();
    assert_eq!(made["name"], "beside");
    assert!(token.starts_with(made["prefix"].as_str().unwrap()));
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    assert_ne!(server.mcp().bearer(token).post("/mcp/", &list).status, 401);

    installation
        .run(&[
            "ensure_service_user",
            "--username",
            "daedalus",
            "--password",
            "first secret 1",
        ])
        .succeeded();
    let service = server.anonymous().basic("daedalus", "first secret 1");
    service.get("/library/api/workspaces/").expect(200);
    installation
        .run(&[
            "ensure-service-user",
            "--username",
            "daedalus",
            "--password",
            "second secret 2",
        ])
        .succeeded();
    server
        .anonymous()
        .basic("daedalus", "second secret 2")
        .get("/library/api/workspaces/")
        .expect(200);
    service.get("/library/api/workspaces/").expect(401);
}
