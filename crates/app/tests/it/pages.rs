//! The pages, as a browser without scripts meets them.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use mnemosyne_domain::ports::{BlobLedger, JobFilter, Jobs, KnowledgeStore};
use mnemosyne_domain::{LibraryUid, PageRequest};
use mnemosyne_testkit::app::{Answer, Client, Form, PASSWORD, TestApp, USERNAME};

use crate::support::TEXT;

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";

/// A browser that is signed in and knows its CSRF secret.
async fn browser(app: &TestApp) -> Client<'_> {
    app.browser(USERNAME)
        .await
        .cookie("csrftoken", SECRET)
        .with("accept", "text/html")
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Posts a form with its token.
async fn post(client: &Client<'_>, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![("csrfmiddlewaretoken", SECRET)];
    pairs.extend(fields);
    let body: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let kind = "application/x-www-form-urlencoded";
    client
        .send(Method::POST, path, Some(kind), Body::from(body.join("&")))
        .await
}

/// A library, made by its form; its address.
async fn library(client: &Client<'_>, name: &str) -> String {
    let fields = [
        ("name", name),
        ("library_type", "nonfiction"),
        ("description", "All about <bees>"),
    ];
    let made = post(client, "/libraries/new/", &fields).await.expect(303);
    made.header("location").to_owned()
}

fn files(names: &[&str]) -> Form {
    names
        .iter()
        .fold(Form::new().text("csrfmiddlewaretoken", SECRET), |form, name| {
            form.file(
                "file",
                name,
                "application/octet-stream",
                format!("{name}\n\n{}", String::from_utf8_lossy(TEXT)).as_bytes(),
            )
        })
}

/// The first address in a page that begins like this.
fn address(page: &Answer, begin: &str) -> String {
    let text = page.text();
    let at = text
        .find(&format!("href=\"{begin}"))
        .unwrap_or_else(|| panic!("no {begin} in {text}"))
        + 6;
    text[at..]
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&")
        .replace("&#38;", "&")
}

#[tokio::test]
async fn every_page_needs_a_session_and_leads_back_after_signing_in() {
    let app = TestApp::start().await;
    let stranger = app.stranger();
    for path in [
        "/",
        "/libraries/",
        "/search/?q=a%20b",
        "/activity/",
        "/activity/stream/",
        "/connect/",
        "/items/x/",
    ] {
        let answer = stranger.get(path).await.expect(303);
        assert!(
            answer.header("location").starts_with("/accounts/login/?next=/"),
            "{path}"
        );
    }
    post(
        &stranger.clone().cookie("csrftoken", SECRET),
        "/libraries/new/",
        &[("name", "x")],
    )
    .await
    .expect(303);
    let drop_zone = stranger.clone().with("accept", "application/json");
    let json = drop_zone
        .post_form("/libraries/x/upload/", &files(&["a.md"]))
        .await
        .expect(401);
    assert!(json.json()["detail"].is_string() && json.header("www-authenticate").is_empty());

    let page = stranger
        .get("/accounts/login/?next=/search/%3Fq%3Dbees")
        .await
        .expect(200);
    assert!(
        page.text().contains("value=\"/search/?q=bees\"")
            && page.header("set-cookie").starts_with("csrftoken=")
    );
    let client = stranger.cookie("csrftoken", SECRET);
    let fields = [
        ("username", USERNAME),
        ("password", "wrong"),
        ("next", "/search/?q=bees"),
    ];
    let wrong = post(&client, "/accounts/login/", &fields).await.expect(422);
    assert!(
        wrong.text().contains(&format!("value=\"{USERNAME}\"")) && !wrong.text().contains("value=\"wrong\"")
    );
    let fields = [
        ("username", USERNAME),
        ("password", PASSWORD),
        ("next", "/search/?q=bees"),
    ];
    let right = post(&client, "/accounts/login/", &fields).await.expect(303);
    assert_eq!(right.header("location"), "/search/?q=bees");
    let cookies: Vec<_> = right
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert!(
        cookies.iter().any(|cookie| cookie.starts_with("sessionid=")),
        "{cookies:?}"
    );
    let fields = [
        ("username", USERNAME),
        ("password", PASSWORD),
        ("next", "//evil.example/"),
    ];
    assert_eq!(
        post(&client, "/accounts/login/", &fields)
            .await
            .expect(303)
            .header("location"),
        "/"
    );
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    client.get("/").await.expect(200);
    let out = post(&client, "/accounts/logout/", &[]).await.expect(303);
    assert!(out.header("set-cookie").starts_with("sessionid=; "));
    client.get("/").await.expect(303);
}

#[tokio::test]
async fn forms_of_foreign_pages_change_nothing() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address = library(&client, "Papers").await;
    let kind = Some("application/x-www-form-urlencoded");
    for path in [
        format!("{address}delete/"),
        format!("{address}edit/"),
        "/libraries/new/".to_owned(),
        "/activity/retry/".to_owned(),
        "/connect/tokens/".to_owned(),
        "/demo/".to_owned(),
        "/accounts/logout/".to_owned(),
    ] {
        client.send(Method::POST, &path, kind, "name=x").await.expect(403);
    }
    let forged = Form::new().file("file", "a.md", "text/markdown", TEXT);
    client
        .post_form(&format!("{address}upload/"), &forged)
        .await
        .expect(403);
    client.get(&address).await.expect(200);
    assert!(app.run_jobs().await.is_empty());
}

#[tokio::test]
async fn what_was_typed_into_a_form_survives_its_problems() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address = library(&client, "Papers").await;
    for (path, fields) in [
        (
            "/libraries/new/".to_owned(),
            vec![
                ("name", ""),
                ("library_type", "music"),
                ("description", "kept text"),
            ],
        ),
        (
            "/libraries/new/".to_owned(),
            vec![
                ("name", "Papers"),
                ("library_type", "music"),
                ("description", "kept text"),
            ],
        ),
        (
            "/libraries/new/".to_owned(),
            vec![
                ("name", "Other"),
                ("library_type", ""),
                ("description", "kept text"),
            ],
        ),
        (
            format!("{address}edit/"),
            vec![
                ("name", "Papers"),
                ("description", "kept text"),
                ("target_chars", "many"),
            ],
        ),
        (
            format!("{address}edit/"),
            vec![
                ("name", "Papers"),
                ("description", "kept text"),
                ("target_chars", "1"),
            ],
        ),
        (
            "/connect/tokens/".to_owned(),
            vec![("name", "kept text"), ("expires_in", "soon"), ("tool", "search")],
        ),
    ] {
        let answer = post(&client, &path, &fields).await.expect(422);
        assert!(
            answer.text().contains("kept text") && answer.text().contains("field-error"),
            "{path} {fields:?}"
        );
    }
    let fields = [
        ("name", "Papers & notes"),
        ("description", ""),
        ("target_chars", "700"),
    ];
    let changed = post(&client, &format!("{address}edit/"), &fields)
        .await
        .expect(303);
    assert_eq!(changed.header("location"), address);
    let page = client.get(&address).await.expect(200);
    assert!(page.text().contains("Papers &") && page.text().contains("about 700 characters"));
}

#[tokio::test]
async fn a_notice_is_said_once_after_a_redirect() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let fields = [("name", "Papers"), ("library_type", "music")];
    let made = post(&client, "/libraries/new/", &fields).await.expect(303);
    let cookie = made.header("set-cookie");
    let notice = cookie.strip_prefix("notice=").unwrap().split(';').next().unwrap();
    let page = client
        .clone()
        .cookie("notice", notice)
        .get(made.header("location"))
        .await
        .expect(200);
    assert!(page.text().contains("The library is ready."));
    assert!(
        page.headers
            .get_all("set-cookie")
            .iter()
            .any(|value| value.to_str().unwrap().starts_with("notice=; "))
    );
    let strange = client
        .clone()
        .cookie("notice", "<b>.1")
        .get("/")
        .await
        .expect(200);
    assert!(!strange.text().contains("<b>"));
}

#[tokio::test]
async fn documents_go_from_upload_to_answer_to_deletion() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address_of_library = library(&client, "Bees").await;
    let page = client.get(&address_of_library).await.expect(200);
    assert!(page.text().contains("All about &#") || page.text().contains("All about &lt;"));

    let upload = format!("{address_of_library}upload/");
    let several = client
        .post_form(&upload, &files(&["a.md", "b.md"]))
        .await
        .expect(303);
    assert_eq!(several.header("location"), address_of_library);
    let dropped = client
        .clone()
        .with("accept", "application/json")
        .post_form(&upload, &files(&["c.md"]))
        .await
        .expect(202);
    assert_eq!(dropped.json()["jobs"][0]["deduplicated"], false);
    let again = client
        .clone()
        .with("accept", "application/json")
        .post_form(&upload, &files(&["c.md"]))
        .await
        .expect(202);
    assert_eq!(again.json()["jobs"][0]["deduplicated"], true);
    client.post_form(&upload, &files(&[])).await.expect(422);
    let large = files(&["d.md"]).file("file", "e.md", "text/markdown", &vec![b'x'; 300 * 1024]);
    let large = client.post_form(&upload, &large).await.expect(413);
    assert!(large.text().contains("e.md") && large.text().contains("The other file was taken."));

    let live = client.get("/activity/live/").await.expect(200);
    assert!(live.text().contains("id=\"activity-live\""));
    client.get("/activity/?status=pending").await.expect(200);
    assert_eq!(app.run_jobs().await.len(), 4);

    for path in [
        "/",
        "/libraries/",
        "/libraries/?q=bee&type=nonfiction&page=99",
        "/search/",
        "/connect/",
        "/libraries/new/",
    ] {
        client.get(path).await.expect(200);
    }
    for sort in [
        "",
        "title",
        "-title",
        "passages",
        "-passages",
        "size",
        "-size",
        "added",
        "nonsense",
    ] {
        let list = client
            .get(&format!("{address_of_library}?sort={sort}&page=7"))
            .await
            .expect(200);
        for name in ["a.md", "b.md", "c.md", "d.md"] {
            assert!(list.text().contains(name), "{sort}: {name}");
        }
    }
    let sorted = client
        .get(&format!("{address_of_library}?sort=-title"))
        .await
        .expect(200);
    let at = |name: &str| sorted.text().rfind(&format!(">{name}<")).unwrap();
    assert!(at("d.md") < at("a.md"), "by name, Z first");

    let found = client.get("/search/?q=colony+of+bees").await.expect(200);
    assert!(found.text().contains("<mark>") && found.text().contains("lexical"));
    let hit = address(&found, "/items/");
    let (path, _) = hit.split_once('#').unwrap();
    let item = client.get(path).await.expect(200);
    assert!(
        item.text().contains("is-target") && item.text().contains("<mark>") && item.text().contains("hit ")
    );
    let item_address = path.split('?').next().unwrap();
    let original = client.get(&format!("{item_address}original/")).await.expect(200);
    assert!(original.header("content-disposition").starts_with("attachment"));

    let jobs = client.get("/activity/?status=completed").await.expect(200);
    let job = address(&jobs, "/activity/jobs/");
    client.get(&job).await.expect(200);
    post(&client, &format!("{job}cancel/"), &[]).await.expect(409);
    post(&client, &format!("{job}retry/"), &[]).await.expect(409);
    assert_eq!(
        client
            .get(&format!("{job}retry/"))
            .await
            .expect(303)
            .header("location"),
        job
    );
    post(&client, "/activity/retry/", &[("code", "encrypted")])
        .await
        .expect(303);
    post(&client, "/activity/retry/", &[("code", "nonsense")])
        .await
        .expect(400);

    let asked = client.get(&format!("{item_address}delete/")).await.expect(200);
    assert!(asked.text().contains("Delete the item"));
    post(&client, &format!("{item_address}delete/"), &[])
        .await
        .expect(303);
    let gone = client.get(item_address).await.expect(404);
    assert!(gone.text().contains("Nothing here") && gone.text().contains("Sign out"));

    let asked = client
        .get(&format!("{address_of_library}delete/"))
        .await
        .expect(200);
    assert!(asked.text().contains("3 items and their originals"));
    post(&client, &format!("{address_of_library}delete/"), &[])
        .await
        .expect(303);
    client.get(&address_of_library).await.expect(404);
    client
        .get(&format!(
            "/activity/stream/?library={}",
            address_of_library.split('/').nth(2).unwrap()
        ))
        .await
        .expect(404);
}

#[tokio::test]
async fn a_search_in_a_workspaces_library_stays_inside_it() {
    let app = TestApp::start().await;
    crate::support::with_one_item(&app).await;
    let client = browser(&app).await;
    let everywhere = client.get("/search/?q=bees").await.expect(200);
    assert!(everywhere.text().contains("Nothing relevant"));
    let libraries = client.get("/libraries/").await.expect(200);
    let address = address(&libraries, "/libraries/0");
    let uid = address.split('/').nth(2).unwrap();
    let inside = client
        .get(&format!("/search/?q=bees&library={uid}"))
        .await
        .expect(200);
    assert!(inside.text().contains("<mark>"));
    client.get("/search/?q=bees&library=unknown").await.expect(404);
    let long = "x".repeat(9000);
    client.get(&format!("/search/?q={long}")).await.expect(400);
}

#[tokio::test]
async fn a_token_is_shown_once_and_in_no_address() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let fields = [
        ("name", "editor"),
        ("expires_in", "30d"),
        ("tool", "search"),
        ("tool", "get_chunk"),
    ];
    let made = post(&client, "/connect/tokens/", &fields).await.expect(200);
    let text = made.text();
    let begin = text.find("id=\"new-token\">").unwrap() + 15;
    let token = text[begin..].split('<').next().unwrap().to_owned();
    assert!(
        token.len() > 20
            && made.header("location").is_empty()
            && made.header("cache-control").contains("no-store")
    );
    app.services.authenticate_bearer(&token).await.unwrap();
    let later = client.get("/connect/").await.expect(200);
    assert!(later.text().contains("editor") && !later.text().contains(&token));
    post(&client, "/connect/tokens/", &fields).await.expect(422);
    let revoke = later
        .text()
        .split("action=\"/connect/tokens/")
        .nth(2)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    post(&client, &format!("/connect/tokens/{revoke}/revoke/"), &[])
        .await
        .expect(303);
    assert!(app.services.authenticate_bearer(&token).await.is_err());
    post(&client, "/connect/tokens/nonsense/revoke/", &[])
        .await
        .expect(404);
}

#[tokio::test]
async fn the_demo_library_is_loaded_once() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    assert!(
        client
            .get("/")
            .await
            .expect(200)
            .text()
            .contains("Load the demo library")
    );
    let loaded = post(&client, "/demo/", &[]).await.expect(303);
    assert!(
        loaded.header("set-cookie").starts_with("notice=demo.")
            && !loaded.header("set-cookie").starts_with("notice=demo.0")
    );
    assert!(
        post(&client, "/demo/", &[])
            .await
            .expect(303)
            .header("set-cookie")
            .starts_with("notice=demo.0")
    );
}

#[tokio::test]
async fn a_deletion_goes_on_when_the_browser_goes_away() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let mut ended = false;
    let mut polls = 0_usize;
    while !ended {
        let address = library(&client, &format!("Bees {polls}")).await;
        client
            .post_form(&format!("{address}upload/"), &files(&["a.md"]))
            .await
            .expect(303);
        app.run_jobs().await;
        let uid = address.trim_end_matches('/').rsplit('/').next().unwrap();
        let uid = LibraryUid::parse(uid).unwrap();
        let path = format!("{address}delete/");
        let mut deleting = Box::pin(post(&client, &path, &[]));
        for _ in 0..polls {
            ended = futures::poll!(&mut deleting).is_ready();
            if ended {
                break;
            }
            // The threads of the database answer in their own time.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(deleting);
        // Nothing of it goes, or all of it.
        if whole(&app, &uid, polls).await {
            let code = post(&client, &path, &[]).await.code();
            assert!(code == 303 || code == 404, "{code}");
            assert!(!whole(&app, &uid, polls).await);
        }
        polls += 1;
    }
    assert!(polls > 5);
}

/// Waits until a library with one job is there with all that belongs to it, or gone with all of it; whether it is there.
async fn whole(app: &TestApp, uid: &LibraryUid, polls: usize) -> bool {
    let look = async {
        loop {
            let filter = JobFilter {
                library_uid: Some(uid.clone()),
                ..JobFilter::default()
            };
            let page = PageRequest::first(1);
            let jobs = app.relational.jobs(&filter, page).await.unwrap().total;
            let holders = app.relational.blob_holders().await.unwrap().len();
            match app.knowledge.library(uid).await.unwrap() {
                Some(_) if jobs == 1 && holders == 1 => return true,
                None if jobs == 0 && holders == 0 => return false,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look)
        .await
        .unwrap_or_else(|_| panic!("half a library is left after {polls}"))
}
