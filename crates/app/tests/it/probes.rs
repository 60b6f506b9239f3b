//! Probes and metrics (contract §4.1).

use mnemosyne_app::AppSettings;
use mnemosyne_domain::Dependency;
use mnemosyne_testkit::app::{TestApp, settings};
use serde_json::json;

#[tokio::test]
async fn probes_answer_whatever_the_host() {
    let app = TestApp::start().await;
    let stranger = app.stranger().with("host", "evil.example").from("203.0.113.9");
    assert_eq!(
        stranger.get("/live/").await.expect(200).json(),
        json!({ "status": "ok" })
    );
    let ready = stranger.get("/ready/").await.expect(200).json();
    assert_eq!(ready["status"], "ok");
    for (name, required) in [
        ("database", true),
        ("cache", true),
        ("knowledge", false),
        ("broker", false),
        ("storage", false),
        ("bucket", false),
    ] {
        let dependency = &ready["dependencies"][name];
        assert_eq!(
            (&dependency["ok"], &dependency["required"]),
            (&json!(true), &json!(required)),
            "{name}"
        );
        assert!(dependency["ms"].is_number() && dependency["problem"].is_null());
    }
    for path in ["/live", "/ready"] {
        let moved = app.stranger().get(path).await.expect(301);
        assert_eq!(moved.header("location"), format!("{path}/"));
    }
}

#[tokio::test]
async fn what_is_away_is_named_without_its_secrets() {
    let app = TestApp::start_with(AppSettings {
        ready_requires: vec![Dependency::Storage],
        ..settings()
    })
    .await;
    std::fs::remove_dir_all(app.folder().join("blobs")).unwrap();
    std::fs::write(app.folder().join("blobs"), b"no folder").unwrap();
    let ready = app.stranger().get("/ready/").await.expect(503);
    let storage = &ready.json()["dependencies"]["storage"];
    assert_eq!(
        (&ready.json()["status"], &storage["ok"]),
        (&json!("unavailable"), &json!(false))
    );
    assert!(storage["problem"].is_string());
    assert!(!ready.text().contains(app.folder().to_str().unwrap()));
    app.stranger().get("/live/").await.expect(200);
}

#[tokio::test]
async fn metrics_are_for_internal_networks() {
    let app = TestApp::start().await;
    app.stranger().get("/library/api/workspaces/").await.expect(401);
    let text = app.stranger().get("/metrics").await.expect(200);
    assert_eq!(
        text.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let line =
        "mnemosyne_http_requests_total{method=\"GET\",route=\"/library/api/workspaces/\",status=\"401\"} 1";
    assert!(text.text().lines().any(|found| found == line), "{}", text.text());
    app.stranger().from("10.0.0.7").get("/metrics").await.expect(200);
    app.stranger()
        .from("203.0.113.9")
        .get("/metrics")
        .await
        .expect(403);
    // Through a proxy it is the client that counts, and who is no proxy cannot say that it is one.
    app.stranger()
        .with("x-forwarded-for", "203.0.113.9")
        .get("/metrics")
        .await
        .expect(403);
    app.stranger()
        .with("x-forwarded-for", "garbage")
        .get("/metrics")
        .await
        .expect(403);
    app.stranger()
        .with("x-forwarded-for", "127.0.0.1")
        .from("203.0.113.9")
        .get("/metrics")
        .await
        .expect(403);
}

#[tokio::test]
async fn addresses_that_nobody_knows_do_not_make_the_metrics_grow() {
    let app = TestApp::start().await;
    for path in ["/x1/", "/x2/", "/library/api/y/", "/static/nothing.js"] {
        app.stranger().get(path).await.expect(404);
    }
    let text = app.stranger().get("/metrics").await.expect(200);
    assert!(
        !text.text().contains("/x1/") && !text.text().contains("nothing.js"),
        "{}",
        text.text()
    );
}
