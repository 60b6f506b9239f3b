//! What settings change about the answers.

use chrono_tz::Tz;
use mnemosyne_app::AppSettings;
use mnemosyne_domain::Dependency;
use mnemosyne_testkit::app::{Form, TestApp, USERNAME, service_settings, settings};
use serde_json::{Value, json};

use crate::support::{TEXT, object, text, with_one_item, workspace};

/// Breaks the store of files.
fn break_storage(app: &TestApp) {
    std::fs::remove_dir_all(app.folder().join("blobs")).unwrap();
    std::fs::write(app.folder().join("blobs"), b"no folder").unwrap();
}

#[tokio::test]
async fn readiness_demands_what_it_is_told_to() {
    for (ready_requires, status) in [
        (Vec::new(), 200),
        (vec![Dependency::Knowledge, Dependency::Broker], 200),
        (vec![Dependency::Storage], 503),
    ] {
        let app = TestApp::start_with(AppSettings {
            ready_requires: ready_requires.clone(),
            ..settings()
        })
        .await;
        break_storage(&app);
        let ready = app.stranger().get("/ready/").await.expect(status).json();
        for dependency in Dependency::ALL {
            let told = &ready["dependencies"][dependency.as_str()];
            let required = matches!(dependency, Dependency::Database | Dependency::Cache)
                || ready_requires.contains(&dependency);
            assert_eq!(
                (&told["ok"], &told["required"]),
                (&json!(dependency != Dependency::Storage), &json!(required)),
                "{}: {ready}",
                dependency.as_str()
            );
        }
    }
}

#[tokio::test]
async fn only_debug_shows_visitors_what_went_wrong_inside() {
    for debug in [false, true] {
        let app = TestApp::start_with(AppSettings { debug, ..settings() }).await;
        let job = with_one_item(&app).await;
        break_storage(&app);
        let api = format!("/library/api/items/{}/text/", text(&job, "item_uid"));
        let answer = app.daedalus().get(&api).await;
        assert!(answer.code() >= 500, "{}", answer.text());
        assert_eq!(answer.text().contains("Inside: "), debug, "{}", answer.text());
        assert!(answer.json()["code"].is_string());
        let browser = app.browser(USERNAME).await.with("accept", "text/html");
        let page = browser
            .get(&format!("/items/{}/original/", text(&job, "item_uid")))
            .await;
        assert!(page.code() >= 500, "{}", page.text());
        assert_eq!(page.text().contains("Inside: "), debug, "{}", page.text());
    }
}

#[tokio::test]
async fn pages_are_in_the_configured_language_and_time_zone() {
    let app = TestApp::start_with(AppSettings {
        time_zone: Tz::Asia__Kathmandu,
        language_code: "de-at".to_owned(),
        ..settings()
    })
    .await;
    let job = with_one_item(&app).await;
    let browser = app.browser(USERNAME).await.with("accept", "text/html");
    let item = format!("/items/{}/", text(&job, "item_uid"));
    for path in ["/", &item, "/activity/"] {
        let page = browser.get(path).await.expect(200);
        let html = page.text();
        assert!(html.contains("<html lang=\"de-at\" "), "{path}");
        assert!(html.contains(" +0545\""), "{path}: {html}");
        assert!(!html.contains(" UTC\""), "{path}");
    }
    let sign_in = app.stranger().get("/accounts/login/").await.expect(200);
    assert!(sign_in.text().contains("<html lang=\"de-at\">"));
    let missing = browser.get("/items/unknown/").await.expect(404);
    assert!(missing.text().contains("<html lang=\"de-at\" "));
}

#[tokio::test]
async fn an_eager_ingest_is_over_when_it_is_answered() {
    let mut eager = service_settings();
    eager.ingest.always_eager = true;
    let app = TestApp::start_as(settings(), eager).await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let form = Form::new()
        .text("workspace_id", "w")
        .file("file", "bees.md", "text/markdown", TEXT);
    let accepted = client
        .post_form("/library/api/ingest/", &form)
        .await
        .expect(202)
        .json();
    assert_eq!(accepted["status"], "completed", "{accepted}");
    let question = json!({ "query": "queen", "workspace_id": "w" });
    let found = client
        .post("/library/api/search/", &question)
        .await
        .expect(200)
        .json();
    assert_eq!(found["results"][0]["item_uid"], accepted["item_uid"]);
    let failed = client
        .post("/library/api/ingest/", &object("w", "missing.md", "h"))
        .await
        .expect(202)
        .json();
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(app.run_jobs().await.is_empty(), "nothing is left for a worker");
    let again = client
        .post_form("/library/api/ingest/", &form)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&again["job_id"], &again["deduplicated"]),
        (&accepted["job_id"], &Value::Bool(true))
    );
}
