//! The role over a real PostgreSQL, which keeps no NUL in a text and refuses to look for one:
//! `tests/services/run postgres minio -- cargo test -p mnemosyne-app --features services --test postgres`.
#![allow(
    clippy::unwrap_used,
    reason = "these are tests: what fails here is to be seen at once"
)]

use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use mnemosyne_domain::ports::{Accounts, Relational};
use mnemosyne_domain::{AuditEvent, Principal};
use mnemosyne_services::ServiceError;
use mnemosyne_sql::postgres::PostgresDatabase;
use mnemosyne_testkit::app::{Answer, Client, Form, PASSWORD, TestApp, USERNAME};
use mnemosyne_testkit::postgres::{Database, settings};
use serde_json::{Value, json};

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";
const ROOT: &str = "root-of-all";
const NEW: &str = "owls-fly-late-4711";

async fn app() -> (TestApp, Arc<PostgresDatabase>, Database) {
    let fresh = Database::create().await;
    let database = Arc::new(PostgresDatabase::connect_lazy(&settings(fresh.name())));
    database.migrate().await.unwrap();
    let app = TestApp::start_on_database(Arc::clone(&database) as Arc<dyn Relational>).await;
    app.add_user(ROOT, true).await;
    (app, database, fresh)
}

async fn post(client: &Client<'_>, path: &str, fields: &str) -> Answer {
    let body = Body::from(format!("csrfmiddlewaretoken={SECRET}&{fields}"));
    let kind = Some("application/x-www-form-urlencoded");
    client.send(Method::POST, path, kind, body).await
}

/// Complains of an answer that is none of these.
#[track_caller]
fn is_one_of(answer: &Answer, codes: &[u16], what: &str) {
    assert!(
        codes.contains(&answer.code()),
        "{what}: {} {}",
        answer.status,
        answer.text()
    );
}

#[tokio::test]
async fn a_name_with_a_nul_is_nobodys_and_its_failures_count() {
    let (app, _database, _fresh) = app().await;
    let guess = app.stranger().basic("a\0b", "x");
    for _ in 0..5 {
        let answer = guess.get("/library/api/libraries/").await.expect(401);
        assert_eq!(answer.json()["code"], "authentication_failed");
    }
    guess.get("/library/api/libraries/").await.expect(429);
    let page = app.stranger().cookie("csrftoken", SECRET).from("192.0.2.8");
    let with_nul = post(&page, "/accounts/login/", "username=%00&password=x").await;
    let with_letters = post(&page, "/accounts/login/", "username=zz&password=x").await;
    assert_eq!(with_nul.code(), with_letters.code());
    assert!((200..500).contains(&with_nul.code()), "{}", with_nul.status);
    app.daedalus()
        .from("192.0.2.9")
        .get("/library/api/libraries/")
        .await
        .expect(200);
}

#[tokio::test]
async fn a_nul_in_a_filter_finds_nothing() {
    let (app, _database, _fresh) = app().await;
    let root = app.stranger().basic(ROOT, PASSWORD);
    for path in [
        "/library/api/audit/?user=a%00b",
        "/library/api/jobs/?library_uid=a%00b",
        "/library/api/items/?title=a%00b",
        "/library/api/items/?library_uid=a%00b",
        "/library/api/items/?collection_uid=a%00b",
    ] {
        let found = root.get(path).await.expect(200).json();
        assert_eq!(found["count"], 0, "{path}");
    }
    for (path, code) in [
        ("/library/api/audit/?event=a%00b", 400),
        ("/library/api/audit/?since=a%00b", 400),
        ("/library/api/jobs/?status=a%00b", 400),
        ("/library/api/jobs/?error_code=a%00b", 400),
        ("/library/api/jobs/a%00b/", 404),
        ("/library/api/users/a%00b/", 404),
        ("/library/api/items/a%00b/", 404),
        ("/library/api/workspaces/a%00b/", 404),
        ("/library/api/libraries/a%00b/", 404),
        ("/library/api/providers/a%00b/", 404),
        ("/library/api/models/a%00b/", 404),
        ("/library/api/chunks/a%00b/", 404),
    ] {
        is_one_of(&root.get(path).await, &[code], path);
    }
    let browser = app.browser(ROOT).await.cookie("csrftoken", SECRET);
    for path in [
        "/audit/?user=a%00b",
        "/audit/?event=a%00b&since=a%00b",
        "/activity/?q=a%00b",
        "/activity/?status=a%00b&code=a%00b&library=a%00b&sort=a%00b",
        "/activity/live/?q=a%00b",
        "/people/?q=a%00b",
        "/libraries/?q=a%00b",
        "/search/?q=a%00b",
    ] {
        is_one_of(&browser.get(path).await, &[200], path);
    }
    for path in [
        "/accounts/reset/a%00b/a%00b/",
        "/people/a%00b/",
        "/activity/jobs/a%00b/",
    ] {
        let answer = browser.get(path).await;
        assert!(answer.code() < 500, "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_nul_in_what_is_to_be_kept_is_refused() {
    let (app, database, _fresh) = app().await;
    let root = app.stranger().basic(ROOT, PASSWORD);
    let id = database.user_by_name(USERNAME).await.unwrap().unwrap().id.0;
    let user = format!("/library/api/users/{id}/");
    let password = format!("{user}password/");
    let workspace = json!({ "workspace_id": "w", "name": "W", "library_type": "nonfiction" });
    root.post("/library/api/workspaces/", &workspace)
        .await
        .expect(201);
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    let ingest = json!({
        "workspace_id": "w", "source_ref": "r", "content_hash": "h", "s3_key": "k", "filename": "f.md",
    });
    let bad = || json!("a\0b");
    let mut refused: Vec<(&str, &str, Value)> = vec![
        (
            "POST",
            "/library/api/users/",
            json!({ "username": "a\0b", "password": NEW }),
        ),
        (
            "POST",
            "/library/api/users/",
            json!({ "username": "ab", "password": NEW, "email": "a\0@example.org" }),
        ),
        ("PATCH", &user, json!({ "first_name": "a\0b" })),
        ("PATCH", &user, json!({ "last_name": "a\0b" })),
        ("PATCH", &user, json!({ "email": "a\0b@example.org" })),
        ("PATCH", "/library/api/profile/", json!({ "time_zone": "a\0b" })),
        ("PATCH", "/library/api/profile/", json!({ "theme": "a\0b" })),
        (
            "POST",
            "/library/api/profile/password/",
            json!({ "old_password": "a\0b", "new_password": NEW }),
        ),
        (
            "POST",
            "/library/api/providers/",
            json!({ "name": "a\0b", "base_url": "https://1.1.1.1/v1" }),
        ),
        (
            "POST",
            "/library/api/providers/",
            json!({ "name": "ab", "base_url": "https://1.1.1.1/a\0b" }),
        ),
        (
            "POST",
            "/library/api/models/",
            json!({ "provider_uid": "a\0b", "name": "a\0b", "role": "a\0b" }),
        ),
        (
            "POST",
            "/library/api/libraries/",
            json!({ "name": "a\0b", "library_type": "nonfiction" }),
        ),
        (
            "POST",
            "/library/api/collections/",
            json!({ "library_uid": "a\0b", "name": "a\0b" }),
        ),
    ];
    for field in ["workspace_id", "name", "library_type", "description"] {
        let body = with(workspace.clone(), field, bad());
        refused.push(("POST", "/library/api/workspaces/", body));
    }
    for field in [
        "source_ref",
        "content_hash",
        "s3_key",
        "filename",
        "content_type",
        "title",
        "collection",
        "workspace_id",
        "library_uid",
    ] {
        refused.push(("POST", "/library/api/ingest/", with(ingest.clone(), field, bad())));
    }
    for (method, path, body) in &refused {
        let method: Method = method.parse().unwrap();
        let answer = root
            .send(method, path, Some("application/json"), body.to_string())
            .await;
        is_one_of(&answer, &[400, 404], &format!("{path} {body}"));
    }
    // A password is no text that is kept, and what is kept with an item is JSON, which has a way to write it.
    root.post(&password, &json!({ "password": format!("{NEW}\0") }))
        .await
        .expect(204);
    let metadata = with(ingest, "metadata", json!({ "a\0b": "c\0d" }));
    root.post("/library/api/ingest/", &metadata).await.expect(202);
    let form = Form::new()
        .text("workspace_id", "w")
        .text("source_ref", "a\0b")
        .file("file", "a.md", "text/markdown", b"# A");
    let answer = root.post_form("/library/api/ingest/", &form).await;
    is_one_of(&answer, &[400], "a form of many parts");
    root.post("/library/api/search/", &json!({ "query": "a\0b" }))
        .await
        .expect(200);

    let browser = app.browser(ROOT).await.cookie("csrftoken", SECRET);
    for (path, fields) in [
        ("/connect/tokens/", "name=a%00b"),
        ("/connect/tokens/", "name=ab&tools=a%00b&libraries=a%00b"),
        ("/connect/test/", "token=a%00b"),
        ("/activity/retry/", "code=a%00b&library=a%00b"),
        ("/profile/", "time_zone=a%00b&date_format=a%00b&theme=a%00b"),
        ("/accounts/password_reset/", "email=a%00b"),
        ("/people/new/", "username=a%00b&password=owls-fly-late-4711"),
        ("/models/providers/new/", "name=a%00b&base_url=https://1.1.1.1/"),
        ("/libraries/new/", "name=a%00b&library_type=nonfiction"),
    ] {
        let answer = post(&browser, path, fields).await;
        assert!(answer.code() < 500, "{path} {fields}: {}", answer.status);
    }
    let users = database.users().await.unwrap();
    assert_eq!(users.len(), 2, "nobody was made");
}

#[tokio::test]
async fn a_nul_in_a_bearer_is_refused_like_any_other() {
    let (app, _database, _fresh) = app().await;
    let encoded = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encoded(json!({ "alg": "HS256", "kid": "a\0b" }));
    for bearer in [format!("{header}.e30.AAAA"), "mnm_a\0b".to_owned()] {
        let answer = app.services.authenticate_bearer(&bearer).await;
        assert!(matches!(answer, Err(ServiceError::Unauthenticated)), "{answer:?}");
    }
    let filter = mnemosyne_domain::AuditFilter {
        event: Some(AuditEvent::BearerRefused),
        ..Default::default()
    };
    let page = mnemosyne_domain::PageRequest::first(10);
    let written = app
        .services
        .audit(&Principal::Local, &filter, page)
        .await
        .unwrap();
    assert_eq!(written.total, 2);
}
