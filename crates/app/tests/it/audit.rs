//! Everything that is written down: each event is caused, and found with who, to what and from where.

use axum::body::Body;
use chrono::TimeDelta;
use http::Method;
use mnemosyne_app::pages::view::event_title;
use mnemosyne_domain::ports::{Accounts, Audit};
use mnemosyne_domain::{AuditEntry, AuditEvent, AuditFilter, PageRequest, Principal};
use mnemosyne_services::origin;
use mnemosyne_services::signing_keys::OtherKeys;
use mnemosyne_testkit::app::{Answer, Client, PASSWORD, TestApp, USERNAME};
use serde_json::json;

use crate::support::{text, with_one_item};

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";
const ADDRESS: &str = "192.0.2.7";
const ROOT: &str = "root-of-all";
const NEW: &str = "owls-fly-late-4711";
const LOCAL: &Principal = &Principal::Local;

async fn entries(app: &TestApp, event: AuditEvent) -> Vec<AuditEntry> {
    let filter = AuditFilter {
        event: Some(event),
        ..AuditFilter::default()
    };
    let found = app.relational.audit(&filter, PageRequest::first(100)).await;
    found.unwrap().rows
}

async fn browser<'a>(app: &'a TestApp, username: &str) -> Client<'a> {
    let opened = app.services.sign_in(username, PASSWORD).await.unwrap();
    app.stranger()
        .from(ADDRESS)
        .cookie("sessionid", &opened.key)
        .cookie("csrftoken", SECRET)
}

async fn post(client: &Client<'_>, path: &str, fields: &str) -> Answer {
    let body = Body::from(format!("csrfmiddlewaretoken={SECRET}&{fields}"));
    let kind = Some("application/x-www-form-urlencoded");
    client.send(Method::POST, path, kind, body).await
}

/// What an entry is to say.
struct Expected {
    actor: &'static str,
    /// A part of what it was done to.
    subject: String,
}

fn by(actor: &'static str, subject: impl Into<String>) -> Expected {
    Expected {
        actor,
        subject: subject.into(),
    }
}

/// The uid of a new library, after [`USERNAME`] made one.
async fn library(client: &Client<'_>, name: &str) -> String {
    let body = json!({ "name": name, "library_type": "nonfiction" });
    let made = client
        .post("/library/api/libraries/", &body)
        .await
        .expect(201)
        .json();
    text(&made, "library_uid").to_owned()
}

/// Has an event happen, from [`ADDRESS`]. An event without a branch here does not compile.
async fn cause(app: &TestApp, event: AuditEvent) -> Expected {
    let program = app.daedalus().from(ADDRESS);
    let root = app.stranger().basic(ROOT, PASSWORD).from(ADDRESS);
    let services = &app.services;
    match event {
        AuditEvent::SignedIn => {
            let page = app.stranger().from(ADDRESS).cookie("csrftoken", SECRET);
            let fields = format!("username={USERNAME}&password={PASSWORD}");
            post(&page, "/accounts/login/", &fields).await.expect(303);
            by(USERNAME, "")
        }
        AuditEvent::SignInFailed => {
            let guess = app.stranger().basic(USERNAME, "wrong").from(ADDRESS);
            guess.get("/library/api/libraries/").await.expect(401);
            by("", USERNAME)
        }
        AuditEvent::SignedOut => {
            post(&browser(app, USERNAME).await, "/accounts/logout/", "")
                .await
                .expect(303);
            by(USERNAME, "")
        }
        AuditEvent::SessionsEnded => {
            let nothing = json!({});
            program
                .post("/library/api/profile/sign-out/", &nothing)
                .await
                .expect(200);
            by(USERNAME, USERNAME)
        }
        AuditEvent::PasswordChanged => {
            app.add_user("changed", false).await;
            let id = app
                .relational
                .user_by_name("changed")
                .await
                .unwrap()
                .unwrap()
                .id
                .0;
            let body = json!({ "password": NEW });
            let path = format!("/library/api/users/{id}/password/");
            root.post(&path, &body).await.expect(204);
            by(ROOT, "changed")
        }
        AuditEvent::ResetRequested => {
            services.request_reset("nobody@example.org", "http://localhost");
            // It is done after the answer.
            while entries(app, event).await.is_empty() {
                tokio::task::yield_now().await;
            }
            by("", "")
        }
        AuditEvent::UserCreated => {
            let body = json!({ "username": "made", "password": NEW });
            root.post("/library/api/users/", &body).await.expect(201);
            by(ROOT, "made")
        }
        AuditEvent::UserChanged => {
            app.add_user("other", false).await;
            let id = app.relational.user_by_name("other").await.unwrap().unwrap().id.0;
            let body = json!({ "first_name": "Ada" });
            root.patch(&format!("/library/api/users/{id}/"), &body)
                .await
                .expect(200);
            by(ROOT, "other")
        }
        AuditEvent::TokenCreated => {
            let page = browser(app, USERNAME).await;
            post(&page, "/connect/tokens/", "name=laptop").await;
            by(USERNAME, "laptop")
        }
        AuditEvent::TokenRevoked => {
            let page = browser(app, USERNAME).await;
            post(&page, "/connect/tokens/", "name=lost").await;
            let owner = app.relational.user_by_name(USERNAME).await.unwrap().unwrap();
            let tokens = services.tokens_of(LOCAL, Some(owner.id)).await.unwrap();
            let id = tokens
                .iter()
                .find(|(token, _)| token.name == "lost")
                .unwrap()
                .0
                .id;
            post(&page, &format!("/connect/tokens/{id}/revoke/"), "")
                .await
                .expect(303);
            by(USERNAME, id.to_string())
        }
        AuditEvent::KeyCreated => {
            let seeded = services.seed_signing_key(LOCAL, "k1", OtherKeys::Keep);
            seeded.await.unwrap();
            by("(command)", "k1")
        }
        AuditEvent::KeysRetired => {
            let seeded = services.seed_signing_key(LOCAL, "k2", OtherKeys::Keep);
            seeded.await.unwrap();
            assert!(services.retire_signing_key(LOCAL, "k2").await.unwrap());
            by("(command)", "k2")
        }
        AuditEvent::SecretsRotated => {
            services.rotate_secrets(LOCAL).await.unwrap();
            by("(command)", "")
        }
        AuditEvent::BearerRefused => {
            let bearer = "mnm_a-token-that-nobody-was-given";
            assert!(services.authenticate_bearer(bearer).await.is_err());
            by("", "")
        }
        AuditEvent::ModelsChanged => {
            // Nobody calls this address here.
            let body = json!({ "name": "acme", "base_url": "https://1.1.1.1/v1" });
            root.post("/library/api/providers/", &body).await.expect(201);
            by(ROOT, "acme")
        }
        AuditEvent::LibraryDeleted => {
            let uid = library(&program, "Short-lived").await;
            let path = format!("/library/api/libraries/{uid}/");
            program.delete(&path).await.expect(204);
            by(USERNAME, uid)
        }
        AuditEvent::CollectionDeleted => {
            let library_uid = library(&program, "With shelves").await;
            let body = json!({ "library_uid": library_uid, "name": "Shelf" });
            let made = program.post("/library/api/collections/", &body).await.expect(201);
            let uid = text(&made.json(), "collection_uid").to_owned();
            let path = format!("/library/api/collections/{uid}/");
            program.delete(&path).await.expect(204);
            by(USERNAME, uid)
        }
        AuditEvent::OriginalDownloaded | AuditEvent::TextDownloaded | AuditEvent::ItemDeleted => {
            let listed = program.get("/library/api/items/").await.expect(200).json();
            let uid = text(&listed["results"][0], "item_uid").to_owned();
            let path = format!("/library/api/items/{uid}/");
            match event {
                AuditEvent::OriginalDownloaded => program.get(&format!("{path}original/")).await.expect(200),
                AuditEvent::TextDownloaded => program.get(&format!("{path}text/")).await.expect(200),
                _ => program.delete(&path).await.expect(204),
            };
            by(USERNAME, uid)
        }
    }
}

#[tokio::test]
async fn every_event_is_written_down_with_who_did_it_to_what_and_from_where() {
    let app = TestApp::start().await;
    app.add_user(ROOT, true).await;
    with_one_item(&app).await;
    let mut titles = Vec::new();
    // The item is deleted after it was read.
    let mut events = AuditEvent::ALL;
    events.sort_by_key(|event| *event == AuditEvent::ItemDeleted);
    for event in events {
        // Entries of one hour are one row.
        app.clock.advance(TimeDelta::hours(1));
        let before = entries(&app, event).await.len();
        let expected = origin::from(ADDRESS.parse().ok(), cause(&app, event)).await;
        let after = entries(&app, event).await;
        assert!(after.len() > before, "{event:?} is not written down");
        let is_it = |entry: &AuditEntry| {
            entry.actor == expected.actor
                && entry.subject.contains(&expected.subject)
                && entry.address == ADDRESS
        };
        assert!(after.iter().any(is_it), "{event:?}: {after:?}");
        let shown = format!("{after:?}");
        for secret in [PASSWORD, NEW, "nobody-was-given", "pbkdf2"] {
            assert!(!shown.contains(secret), "{event:?} holds a secret");
        }
        let path = format!("/library/api/audit/?event={}", event.as_str());
        let root = app.stranger().basic(ROOT, PASSWORD);
        let listed = root.get(&path).await.expect(200).json();
        assert_eq!(listed["results"][0]["event"], event.as_str());
        titles.push(event_title(&event));
    }
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), AuditEvent::ALL.len(), "each has its own words");
}

#[test]
fn every_event_is_documented() {
    let documented = include_str!("../../../../docs/permissions.md");
    for event in AuditEvent::ALL {
        let row = format!("| `{}` | ", event.as_str());
        assert_eq!(documented.matches(&row).count(), 1, "{event:?}");
    }
}

#[tokio::test]
async fn a_wrong_old_password_is_a_failure_to_sign_in() {
    let app = TestApp::start().await;
    let wrong = json!({ "old_password": "no", "new_password": NEW });
    let program = app.daedalus().from(ADDRESS);
    for _ in 0..2 {
        program
            .post("/library/api/profile/password/", &wrong)
            .await
            .expect(400);
    }
    let failed = entries(&app, AuditEvent::SignInFailed).await;
    let said = |entry: &AuditEntry| {
        let (actor, subject, detail) = (&entry.actor, &entry.subject, &entry.detail);
        format!("{actor} {subject} {detail} {}", entry.address)
    };
    assert_eq!(
        said(&failed[0]),
        format!("{USERNAME} {USERNAME} old password {ADDRESS}")
    );
    assert_eq!(failed.iter().map(|entry| entry.count).sum::<u64>(), 2);
}

#[tokio::test]
async fn a_deleted_collection_is_written_down_with_how_much_it_held() {
    let app = TestApp::start().await;
    let job = with_one_item(&app).await;
    let program = app.daedalus();
    let body = json!({ "library_uid": text(&job, "library_uid"), "name": "Shelf" });
    let made = program
        .post("/library/api/collections/", &body)
        .await
        .expect(201)
        .json();
    let shelf = text(&made, "collection_uid");
    let moved = json!({ "collection_uid": shelf });
    let item = format!("/library/api/items/{}/", text(&job, "item_uid"));
    program.patch(&item, &moved).await.expect(200);
    program
        .delete(&format!("/library/api/collections/{shelf}/"))
        .await
        .expect(204);
    let entry = entries(&app, AuditEvent::CollectionDeleted).await.remove(0);
    assert_eq!(
        (entry.subject.as_str(), entry.detail.as_str()),
        (shelf, "Shelf, 1 items")
    );
    // What is not there is not deleted.
    program
        .delete(&format!("/library/api/collections/{shelf}/"))
        .await
        .expect(404);
    assert_eq!(entries(&app, AuditEvent::CollectionDeleted).await.len(), 1);
}

#[tokio::test]
async fn a_refused_bearer_is_named_where_it_was_one_of_ours() {
    let app = TestApp::start().await;
    let page = browser(&app, USERNAME).await;
    post(&page, "/connect/tokens/", "name=lost").await;
    let owner = app.relational.user_by_name(USERNAME).await.unwrap().unwrap();
    let request = mnemosyne_services::tokens::TokenRequest {
        name: "found".to_owned(),
        ..Default::default()
    };
    let made = app
        .services
        .create_token(LOCAL, Some(owner.id), request)
        .await
        .unwrap();
    app.services.authenticate_bearer(&made.token).await.unwrap();
    assert!(entries(&app, AuditEvent::BearerRefused).await.is_empty());
    app.services
        .revoke_token_named(LOCAL, None, "found")
        .await
        .unwrap();
    // As fast as they come, one row of a second has one entry.
    for _ in 0..3 {
        assert!(app.services.authenticate_bearer(&made.token).await.is_err());
    }
    assert!(app.services.authenticate_bearer("x.y.z").await.is_err());
    let refused = entries(&app, AuditEvent::BearerRefused).await;
    let of = |subject: &str| refused.iter().filter(|entry| entry.subject == subject).count();
    let named = format!("found ({}…)", made.stored.prefix);
    // Two where an hour, or with it a row, ends in between.
    assert!((1..=2).contains(&of(&named)) && of("") == 1, "{refused:?}");
    let shown = format!("{refused:?}");
    assert!(!shown.contains(&made.token) && !shown.contains("x.y.z"));
}
