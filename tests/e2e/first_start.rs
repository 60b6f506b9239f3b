//! A start on an empty folder, and the next one.

use std::time::{Duration, Instant};

use mnemosyne_tests::Installation;
use serde_json::json;

#[test]
fn a_first_start_makes_everything_and_shows_its_secrets_once() {
    let installation = Installation::new();
    let server = installation.serve();
    let (name, password) = server.administrator();
    assert_eq!(name, "admin");
    assert!(
        password.len() >= 12,
        "the password is too short to be a generated one"
    );
    assert!(server.token().len() >= 43, "256 bits take 43 characters at least");
    let data = server.announced("data:").expect("no `data:` line");
    assert_eq!(std::path::Path::new(&data), installation.data());
    assert!(server.app_address().starts_with("http://127.0.0.1:"));
    assert!(server.mcp_address().ends_with("/mcp/"));
    server.api().get("/library/api/workspaces/").expect(200);
    assert!(
        !server.log().contains(&password),
        "the password stands in the log"
    );
    assert!(
        !server.log().contains(&server.token()),
        "the token stands in the log"
    );
}

#[test]
fn two_installations_share_no_secret() {
    let (one, other) = (Installation::new(), Installation::new());
    let (first, second) = (one.serve(), other.serve());
    assert_ne!(first.administrator().1, second.administrator().1);
    assert_ne!(first.token(), second.token());
}

#[test]
fn a_termination_signal_drains_and_ends_well_within_seconds() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    server.upload("w", "a.md", b"# A\n\nSome words that are to be found again.\n");
    let asked = Instant::now();
    let status = server.stop();
    assert!(status.success(), "{status}");
    // Not a measurement: the promise is seconds, and a drain that waits for nothing would take minutes.
    assert!(asked.elapsed() < Duration::from_secs(30));
}

#[cfg(unix)]
#[test]
fn the_data_folder_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt as _;
    let installation = Installation::new();
    let _server = installation.serve();
    let mode = std::fs::metadata(installation.data())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "others can look into the data folder: {mode:o}");
}

#[test]
fn probes_answer_without_credentials() {
    let installation = Installation::new();
    let server = installation.serve();
    let visitor = server.anonymous();
    visitor.get("/live/").expect(200);
    let ready = visitor.get("/ready/").expect(200).json();
    assert!(ready.is_object(), "{ready}");
    let moved = visitor.get("/live");
    assert_eq!((moved.status, moved.header("location")), (301, "/live/"));
    // The home page leads to the sign-in page.
    let home = visitor.get("/");
    assert!(matches!(home.status, 302 | 303), "{}", home.status);
    let sign_in = visitor.get(
        home.header("location")
            .split("127.0.0.1")
            .last()
            .map_or("/", |path| path.find('/').map_or("/", |at| &path[at..])),
    );
    assert_eq!(sign_in.status, 200);
    assert!(sign_in.text().contains("password"), "no sign-in form");
}

#[test]
fn the_first_answered_question_needs_nothing_but_the_printed_lines() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("first", "nonfiction");
    server.ingest(
        "first",
        "otters.txt",
        b"The giant otter of the Rupununi sleeps in a den under fig roots.",
    );
    let answer = server.search(&json!({ "query": "Where does the otter sleep?", "workspace_id": "first" }));
    assert!(
        server
            .chunk_text(&answer["results"][0]["chunk_uid"])
            .contains("fig roots")
    );
}

#[test]
fn an_account_of_somebody_else_that_is_called_admin_stays_as_it_is() {
    let installation = Installation::new();
    installation
        .run(&[
            "ensure_service_user",
            "--username",
            "admin",
            "--password",
            "-of-the-service",
        ])
        .succeeded();
    let server = installation.serve();
    let (name, _) = server.administrator();
    assert_eq!(name, "admin-2");
    server.api().get("/library/api/workspaces/").expect(200);
    let service = server.anonymous().basic("admin", "-of-the-service");
    service.get("/library/api/workspaces/").expect(200);
    assert!(server.stop().success());
    // The next start has an administrator and announces none.
    let server = installation.serve();
    assert_eq!(server.announced("password:"), None);
    let service = server.anonymous().basic("admin", "-of-the-service");
    service.get("/library/api/workspaces/").expect(200);
}

#[test]
fn a_client_that_says_nothing_holds_up_neither_others_nor_the_end() {
    let installation = Installation::new();
    let server = installation.serve();
    let address = |base: &str| {
        let rest = base.trim_start_matches("http://");
        rest[..rest.find('/').unwrap()].to_owned()
    };
    let silent: Vec<_> = [server.app_address(), server.mcp_address()]
        .iter()
        .map(|base| std::net::TcpStream::connect(address(base)).unwrap())
        .collect();
    server.api().get("/library/api/workspaces/").expect(200);
    server.mcp().get("/mcp/health").expect(200);
    assert!(server.stop().success());
    drop(silent);
}
