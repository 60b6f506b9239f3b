//! What every request passes: hosts, slashes, proxies, headers (contract §4.1).

use mnemosyne_testkit::app::{TestApp, USERNAME};
use serde_json::json;

use crate::support::workspace;

#[tokio::test]
async fn readers_are_sent_to_the_slash_and_writers_are_served_without_it() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let moved = client
        .get("/library/api/workspaces?limit=2&x=%20")
        .await
        .expect(301);
    assert_eq!(moved.header("location"), "/library/api/workspaces/?limit=2&x=%20");
    let head = client
        .send(http::Method::HEAD, "/library/api/jobs", None, "")
        .await
        .expect(301);
    assert_eq!(head.header("location"), "/library/api/jobs/");
    let body = json!({ "workspace_id": "a.b", "name": "A", "library_type": "art" });
    client.post("/library/api/workspaces", &body).await.expect(201);
    assert_eq!(
        client
            .get("/library/api/workspaces/a.b")
            .await
            .expect(301)
            .header("location"),
        "/library/api/workspaces/a.b/"
    );
    client.delete("/library/api/workspaces/a.b").await.expect(204);
    client.get("/library/api/nothing").await.expect(404);
    client.get("//evil.example").await.expect(404);
    assert_eq!(
        client
            .delete("/library/api/workspaces")
            .await
            .expect(405)
            .header("allow"),
        "GET,HEAD,POST"
    );
}

#[tokio::test]
async fn only_our_own_names_are_served() {
    let app = TestApp::start().await;
    for host in [
        "evil.example",
        "localhost.evil.example",
        "",
        "localhost:80:80",
        "a b",
    ] {
        let answer = app
            .daedalus()
            .with("host", host)
            .get("/library/api/workspaces/")
            .await
            .expect(400);
        assert_eq!(answer.json()["code"], "disallowed_host", "{host:?}");
    }
    app.daedalus()
        .without("host")
        .get("/library/api/workspaces/")
        .await
        .expect(400);
    app.daedalus()
        .with("host", "LOCALHOST:8000")
        .get("/library/api/workspaces/")
        .await
        .expect(200);
    // A proxy that is trusted says what the visitor asked for; nobody else does.
    let forwarded = app.daedalus().with("x-forwarded-host", "evil.example");
    forwarded.get("/library/api/workspaces/").await.expect(400);
    forwarded
        .from("203.0.113.9")
        .get("/library/api/workspaces/")
        .await
        .expect(200);
    let hidden = app
        .daedalus()
        .with("host", "app:8000")
        .with("x-forwarded-host", "localhost");
    hidden.get("/library/api/workspaces/").await.expect(200);
    hidden
        .from("203.0.113.9")
        .get("/library/api/workspaces/")
        .await
        .expect(400);
}

#[tokio::test]
async fn an_untrusted_hop_cannot_say_how_it_was_reached() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "a").await;
    workspace(&client, "b").await;
    let lying = client
        .from("203.0.113.9")
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-host", "evil.example");
    let list = lying
        .get("/library/api/workspaces/?limit=1")
        .await
        .expect(200)
        .json();
    assert_eq!(
        list["next"],
        "http://localhost/library/api/workspaces/?limit=1&offset=1"
    );
}

#[tokio::test]
async fn every_answer_carries_its_id_and_what_a_browser_must_refuse() {
    let app = TestApp::start().await;
    for (client, path) in [
        (app.stranger(), "/live/"),
        (app.stranger(), "/library/api/workspaces/"),
        (app.stranger(), "/nothing/"),
        (app.stranger().with("host", "evil.example"), "/"),
        (app.stranger(), "/static/app.css"),
    ] {
        let answer = client.clone().with("x-request-id", "my-id.1").get(path).await;
        assert_eq!(answer.header("x-request-id"), "my-id.1", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(
            answer.header("cross-origin-opener-policy"),
            "same-origin",
            "{path}"
        );
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
            "{path}"
        );
        let own = client.with("x-request-id", "not ok!").get(path).await;
        assert_eq!(own.header("x-request-id").len(), 36, "{path}");
    }
    let private = app.daedalus().get("/library/api/workspaces/").await.expect(200);
    assert_eq!(private.header("cache-control"), "no-store");
}

#[tokio::test]
async fn text_is_compressed_for_those_who_ask() {
    let app = TestApp::start().await;
    let client = app.daedalus().with("accept-encoding", "gzip");
    let schema = client.get("/library/api/schema/").await.expect(200);
    assert_eq!(schema.header("content-encoding"), "gzip");
    assert!(
        schema
            .header("vary")
            .to_ascii_lowercase()
            .contains("accept-encoding")
    );
    assert_eq!(
        app.daedalus()
            .get("/library/api/schema/")
            .await
            .header("content-encoding"),
        ""
    );
}

#[tokio::test]
async fn people_get_pages_and_programs_get_json() {
    let app = TestApp::start().await;
    let person = app.stranger().with("accept", "text/html,*/*;q=0.8");
    let missing = person.get("/nothing/").await.expect(404);
    assert!(missing.header("content-type").starts_with("text/html"));
    let program = app.stranger().with("accept", "application/json");
    assert_eq!(
        program.get("/nothing/").await.expect(404).json()["code"],
        "not_found"
    );
    assert_eq!(
        person.get("/library/api/nothing/").await.expect(404).json()["code"],
        "not_found"
    );
}

#[tokio::test]
async fn strangers_are_sent_to_sign_in_and_the_signed_in_are_named() {
    let app = TestApp::start().await;
    let sent = app.stranger().get("/?x=1").await.expect(303);
    assert_eq!(sent.header("location"), "/accounts/login/?next=/%3Fx%3D1");
    let home = app.browser(USERNAME).await.get("/").await.expect(200);
    assert!(home.text().contains(USERNAME));
    assert!(home.header("set-cookie").starts_with("csrftoken="));
    let secure = app
        .browser(USERNAME)
        .await
        .with("x-forwarded-proto", "https")
        .get("/")
        .await
        .expect(200);
    assert!(secure.header("set-cookie").ends_with("; SameSite=Lax; Secure"));
}
