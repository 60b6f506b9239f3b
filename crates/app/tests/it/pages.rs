//! The pages, as a browser without scripts meets them.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use mnemosyne_domain::ports::{BlobLedger, JobFilter, Jobs, KnowledgeStore};
use mnemosyne_domain::{LibraryUid, PageRequest, Principal};
use mnemosyne_services::libraries::LibraryRequest;
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
    let unread = stranger.clone().cookie("csrftoken", SECRET);
    post(&unread, "/activity/retry/", &[("code", "")])
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
async fn a_book_without_pages_is_cited_by_section() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address_of_library = library(&client, "Stories").await;
    let book = include_bytes!("../../../../tests/fixtures/documents/keeper.pandoc.epub");
    let form = Form::new().text("csrfmiddlewaretoken", SECRET).file(
        "file",
        "keeper.epub",
        "application/epub+zip",
        book,
    );
    client
        .post_form(&format!("{address_of_library}upload/"), &form)
        .await
        .expect(303);
    app.run_jobs().await;
    let list = client.get(&address_of_library).await.expect(200);
    assert!(list.text().contains("<span>3 sections</span>"), "{}", list.text());
    let found = client.get("/search/?q=crab+piano+pedals").await.expect(200);
    assert!(found.text().contains("<span>section 2</span>") && found.text().contains(", section 2 ("));
    assert!(!found.text().contains("p. 2"));
    let hit = address(&found, "/items/");
    let item = client.get(hit.split('#').next().unwrap()).await.expect(200);
    assert!(item.text().contains("<span>Section 2</span>") && item.text().contains("3 sections"));
    assert!(!item.text().contains("Page 2"));
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

/// The values of the hidden inputs of a page, by name.
fn hidden_inputs(page: &Answer) -> Vec<(String, String)> {
    page.text()
        .split("<input type=\"hidden\" name=\"")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"").unwrap();
            let value = rest.split('"').next().unwrap();
            (name.to_owned(), value.replace("&#38;", "&").replace("&#60;", "<"))
        })
        .collect()
}

/// The cookies that an answer sets, as a browser would send them.
fn cookies_of(answer: &Answer) -> Vec<(String, String)> {
    answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| {
            let pair = value.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn what_was_typed_survives_the_end_of_the_session() {
    let app = TestApp::start().await;
    let address_of_library = library(&browser(&app).await, "Papers").await;
    for (path, fields, shown) in [
        (
            "/libraries/new/".to_owned(),
            vec![
                ("name", "Typed & kept"),
                ("library_type", "music"),
                ("description", "all of it"),
            ],
            vec!["Typed &#38; kept", "all of it"],
        ),
        (
            format!("{address_of_library}edit/"),
            vec![("name", "Typed again"), ("target_chars", "777")],
            vec!["Typed again", "777"],
        ),
        (
            "/connect/tokens/".to_owned(),
            vec![
                ("name", "Typed token"),
                ("expires_in", "30d"),
                ("tool", "search"),
                ("tool", "get_chunk"),
            ],
            vec!["Typed token", "value=\"30d\" selected"],
        ),
    ] {
        let stranger = app
            .stranger()
            .cookie("csrftoken", SECRET)
            .cookie("sessionid", "over")
            .with("accept", "text/html");
        let asked = post(&stranger, &path, &fields).await.expect(403);
        assert!(asked.text().contains("Your session has ended"), "{path}");
        let wrong = [("username", USERNAME), ("password", "wrong")];
        let kept = hidden_inputs(&asked);
        let along = |more: &[(&str, &str)]| {
            let mut all: Vec<(String, String)> = kept
                .iter()
                .filter(|(name, _)| name != "csrfmiddlewaretoken")
                .cloned()
                .collect();
            all.extend(
                more.iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            );
            all
        };
        let send = async |fields: Vec<(String, String)>| {
            let fields: Vec<(&str, &str)> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            post(&stranger, "/accounts/login/", &fields).await
        };
        let refused = send(along(&wrong)).await.expect(422);
        assert_eq!(
            hidden_inputs(&refused).len(),
            kept.len(),
            "a wrong password loses nothing"
        );
        let back = send(along(&[("username", USERNAME), ("password", PASSWORD)]))
            .await
            .expect(200);
        for text in shown {
            assert!(back.text().contains(text), "{path}: {text} in {}", back.text());
        }
        assert!(back.text().contains("nothing was done yet"));
        // The form is whole: sent as it stands by the browser that signed in, it does what it says.
        let mut client = app.stranger().with("accept", "text/html");
        for (name, value) in cookies_of(&back) {
            client = client.cookie(&name, &value);
        }
        let (_, token) = hidden_inputs(&back)
            .into_iter()
            .find(|(name, _)| name == "csrfmiddlewaretoken")
            .unwrap();
        let mut body = vec![format!("csrfmiddlewaretoken={token}")];
        body.extend(
            fields
                .iter()
                .map(|(name, value)| format!("{name}={}", encode(value))),
        );
        let kind = Some("application/x-www-form-urlencoded");
        let done = client.send(Method::POST, &path, kind, body.join("&")).await;
        assert!(matches!(done.code(), 200 | 303), "{path}: {}", done.code());
    }
    let client = browser(&app).await;
    let libraries = client.get("/libraries/").await.expect(200);
    assert!(libraries.text().contains("Typed &amp; kept") && libraries.text().contains("Typed again"));
}

#[tokio::test]
async fn what_was_typed_survives_a_page_that_is_out_of_date() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let kind = Some("application/x-www-form-urlencoded");
    let body = "csrfmiddlewaretoken=abcdefghijklmnopqrstuvwxyz543210&name=Kept&library_type=music";
    let again = client
        .send(Method::POST, "/libraries/new/", kind, body)
        .await
        .expect(403);
    assert!(again.text().contains("value=\"Kept\"") && again.text().contains("The page was out of date"));
    let foreign = client.clone().with("origin", "https://evil.example");
    let refused = foreign
        .send(Method::POST, "/libraries/new/", kind, body)
        .await
        .expect(403);
    assert!(!refused.text().contains("Kept"));
    let stranger = app
        .stranger()
        .with("origin", "https://evil.example")
        .with("accept", "text/html");
    let unread = stranger
        .send(Method::POST, "/libraries/new/", kind, body)
        .await
        .expect(303);
    assert!(!unread.text().contains("Kept"));
    let libraries = client.get("/libraries/").await.expect(200);
    assert!(!libraries.text().contains("Kept"), "nothing was done");
}

#[tokio::test]
async fn files_of_one_name_in_two_folders_are_two_items() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address_of_library = library(&client, "Tree").await;
    let upload = format!("{address_of_library}upload/");
    let form =
        ["a", "b"]
            .into_iter()
            .fold(Form::new().text("csrfmiddlewaretoken", SECRET), |form, folder| {
                let text = format!("# Notes of {folder}\n\nWhat is in the folder {folder} only.\n");
                form.text("source_ref", &format!("{folder}/notes.md")).file(
                    "file",
                    "notes.md",
                    "text/markdown",
                    text.as_bytes(),
                )
            });
    let dropped = client.clone().with("accept", "application/json");
    let taken = dropped.post_form(&upload, &form).await.expect(202).json();
    for (at, source) in ["a/notes.md", "b/notes.md"].into_iter().enumerate() {
        assert_eq!(taken["jobs"][at]["source_ref"], source);
        assert!(taken["jobs"][at]["replaces"].is_null(), "{taken}");
    }
    app.run_jobs().await;
    let page = client.get(&address_of_library).await.expect(200);
    assert!(page.text().contains("2 items"), "{}", page.text());

    // The name of a source holds for one file; the next is known by its own name.
    let later = |text: &str| {
        Form::new()
            .text("csrfmiddlewaretoken", SECRET)
            .text("source_ref", "a/notes.md")
            .file("file", "notes.md", "text/markdown", text.as_bytes())
            .file("file", "report.pdf.md", "text/markdown", text.as_bytes())
    };
    let taken = dropped
        .post_form(&upload, &later("# One\n\nMore.\n"))
        .await
        .expect(202)
        .json();
    assert_eq!(taken["jobs"][0]["replaces"], "notes.md");
    assert_eq!(taken["jobs"][1]["source_ref"], "report.pdf.md");
    assert!(taken["jobs"][1]["replaces"].is_null());
    let taken = dropped
        .post_form(&upload, &later("# Two\n\nMost.\n"))
        .await
        .expect(202)
        .json();
    assert_eq!(
        taken["jobs"][1]["replaces"], "report.pdf.md",
        "also what still waits"
    );
    let plain = client
        .post_form(&upload, &later("# Three\n\nAll.\n"))
        .await
        .expect(303);
    assert!(plain.header("set-cookie").starts_with("notice=replacing.2"));
    app.run_jobs().await;
    let page = client.get(&address_of_library).await.expect(200);
    assert!(page.text().contains("3 items"), "{}", page.text());
}

#[tokio::test]
async fn retrying_all_on_a_librarys_page_leaves_the_others_alone() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let mut addresses = Vec::new();
    for name in ["One", "Other"] {
        let address = library(&client, name).await;
        let broken = Form::new().text("csrfmiddlewaretoken", SECRET).file(
            "file",
            "broken.pdf",
            "application/pdf",
            format!("%PDF-1.7 {name}").as_bytes(),
        );
        client
            .post_form(&format!("{address}upload/"), &broken)
            .await
            .expect(303);
        addresses.push(address);
    }
    app.run_jobs().await;
    let page = client.get(&addresses[0]).await.expect(200);
    let uid = addresses[0].split('/').nth(2).unwrap();
    let form = page.text().split("action=\"/activity/retry/\"").nth(1).unwrap();
    let form = form.split("</form>").next().unwrap();
    assert!(
        form.contains(&format!("name=\"library\" value=\"{uid}\"")),
        "{form}"
    );
    let link = address(&page, "/activity/?status=failed&#38;code");
    assert!(link.contains(&format!("library={uid}")), "{link}");
    let done = post(&client, "/activity/retry/", &[("library", uid)])
        .await
        .expect(303);
    assert_eq!(done.header("location"), addresses[0]);
    let listed = async |status: &str| {
        let page = client
            .get(&format!("/activity/?status={status}"))
            .await
            .expect(200);
        page.text().split("id=\"h-jobs\"").nth(1).unwrap().to_owned()
    };
    let (waiting, failed) = (listed("pending").await, listed("failed").await);
    assert!(
        waiting.contains("One</span>") && !waiting.contains("Other</span>"),
        "{waiting}"
    );
    assert!(
        failed.contains("Other</span>") && !failed.contains("One</span>"),
        "{failed}"
    );
    post(&client, "/activity/retry/", &[("library", "gone")])
        .await
        .expect(404);
}

#[tokio::test]
async fn code_tables_and_lists_are_drawn_as_what_they_are() {
    const MANUAL: &[u8] = include_bytes!("../../../../tests/fixtures/documents/kestrel.pandoc-gfm.md");
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let fields = [("name", "Manuals"), ("library_type", "technical")];
    let made = post(&client, "/libraries/new/", &fields).await.expect(303);
    let upload = format!("{}upload/", made.header("location"));
    let form =
        Form::new()
            .text("csrfmiddlewaretoken", SECRET)
            .file("file", "kestrel.md", "text/markdown", MANUAL);
    client.post_form(&upload, &form).await.expect(303);
    app.run_jobs().await;
    let listed = client.get(made.header("location")).await.expect(200);
    let item = client.get(&address(&listed, "/items/")).await.expect(200);
    let code: Vec<&str> = item
        .text()
        .split("<pre>")
        .skip(1)
        .map(|rest| rest.split("</pre>").next().unwrap())
        .filter(|code| code.contains("[zone 3]"))
        .collect();
    assert_eq!(code.len(), 1, "{}", item.text());
    assert!(
        code[0].starts_with("[zone 3]\nname   = ") && code[0].ends_with("\nfactor = 80"),
        "{}",
        code[0]
    );
    assert!(
        item.text()
            .contains("<td>E27</td><td>no flow although a valve is open</td>")
    );
    assert!(item.text().contains("<li>ST prints the status word.</li>"));
    assert!(
        item.text()
            .contains("<li class=\"marked\">1. Switch off the supply")
    );
    let found = client.get("/search/?q=E27+flow").await.expect(200);
    assert!(
        found
            .text()
            .contains("Code | Meaning | Remedy; E11 | valve current too low"),
        "{}",
        found.text()
    );
}

#[tokio::test]
async fn results_say_what_was_compared_and_come_in_pages_with_counts() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address_of_library = library(&client, "Bees").await;
    let other = library(&client, "Elsewhere").await;
    let many = (0..25).fold(Form::new().text("csrfmiddlewaretoken", SECRET), |form, at| {
        let text = format!("# Part {at}\n\nA zeppelin number {at}.\n");
        form.file("file", &format!("{at}.md"), "text/markdown", text.as_bytes())
    });
    client
        .post_form(&format!("{address_of_library}upload/"), &many)
        .await
        .expect(303);
    let one = Form::new().text("csrfmiddlewaretoken", SECRET).file(
        "file",
        "sky.md",
        "text/markdown",
        b"# Sky\n\nOne zeppelin more, and nothing else.\n",
    );
    client
        .post_form(&format!("{other}upload/"), &one)
        .await
        .expect(303);
    app.run_jobs().await;
    let first = client.get("/search/?q=zeppelin").await.expect(200);
    assert!(first.text().contains("Spelling (lexical)") && !first.text().contains(">Meaning<"));
    assert_eq!(first.text().matches("class=\"hit ").count(), 20);
    assert!(first.text().contains("1–20 of 26"), "{}", first.text());
    let uid = other.split('/').nth(2).unwrap();
    let choice = |page: &Answer, begin: &str| {
        let text = page.text().split(&format!("href=\"{begin}")).nth(1).unwrap();
        text.split("</a>").next().unwrap().to_owned()
    };
    let elsewhere = choice(&first, &format!("/search/?q=zeppelin&#38;library={uid}"));
    assert!(
        elsewhere.contains("<span class=\"muted\">1</span>"),
        "{elsewhere}"
    );
    let nonfiction = choice(&first, "/search/?q=zeppelin&#38;type=nonfiction");
    assert!(
        nonfiction.contains("<span class=\"muted\">26</span>"),
        "{nonfiction}"
    );
    let second = client.get("/search/?q=zeppelin&page=2").await.expect(200);
    assert_eq!(second.text().matches("class=\"hit ").count(), 6);
    assert!(second.text().contains("id=\"hit-21\""));

    let narrowed = client
        .get(&format!("/search/?q=zeppelin&library={uid}&type=nonfiction"))
        .await
        .expect(200);
    let hit = address(&narrowed, "/items/");
    let item = client.get(hit.split('#').next().unwrap()).await.expect(200);
    assert_eq!(
        address(&item, "/search/?q=zeppelin"),
        format!("/search/?q=zeppelin&library={uid}&type=nonfiction")
    );
    let hit = address(&second, "/items/");
    let item = client.get(hit.split('#').next().unwrap()).await.expect(200);
    assert_eq!(
        address(&item, "/search/?q=zeppelin"),
        "/search/?q=zeppelin&page=2"
    );
}

#[tokio::test]
async fn lists_can_be_ordered_and_narrowed() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let first = library(&client, "Alpha").await;
    library(&client, "Beta").await;
    client
        .post_form(&format!("{first}upload/"), &files(&["one.md", "two.md"]))
        .await
        .expect(303);
    app.run_jobs().await;
    let before = |page: &Answer, one: &str, other: &str| {
        let at = |name: &str| page.text().find(&format!(">{name}<")).unwrap();
        at(one) < at(other)
    };
    for (sort, alpha_first) in [("", true), ("newest", false), ("items", true), ("passages", true)] {
        let page = client.get(&format!("/libraries/?sort={sort}")).await.expect(200);
        assert_eq!(before(&page, "Alpha", "Beta"), alpha_first, "{sort}");
    }
    let sorted = client
        .get("/libraries/?sort=newest&q=a&type=nonfiction")
        .await
        .expect(200);
    assert!(
        sorted
            .text()
            .contains("/libraries/?q=a&#38;type=nonfiction&#38;sort=items")
    );
    assert!(sorted.text().contains("name=\"sort\" value=\"newest\""));

    for (sort, one_first) in [("", false), ("oldest", true), ("name", true)] {
        let page = client.get(&format!("/activity/?sort={sort}")).await.expect(200);
        assert_eq!(before(&page, "one.md", "two.md"), one_first, "{sort}");
    }
    let named = client.get("/activity/?q=TWO&status=completed").await.expect(200);
    assert!(named.text().contains(">two.md<") && !named.text().contains(">one.md<"));
    assert!(named.text().contains("“TWO” in the name"));

    for number in 0..21 {
        let name = format!("token {number}");
        let fields = [("name", name.as_str()), ("expires_in", "30d")];
        post(&client, "/connect/tokens/", &fields).await.expect(200);
    }
    let page = client.get("/connect/").await.expect(200);
    assert_eq!(page.text().matches("/revoke/\"").count(), 20);
    let rest = client.get("/connect/?page=2").await.expect(200);
    assert_eq!(rest.text().matches("/revoke/\"").count(), 1);
    let named = client.get("/connect/?q=TOKEN+20").await.expect(200);
    assert_eq!(named.text().matches("/revoke/\"").count(), 1);
}

#[tokio::test]
async fn the_demos_questions_are_offered_while_they_can_be_answered() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let question = "/search/?q=Who%20founded%20the%20ropeworks%3F";
    for path in ["/", "/search/"] {
        assert!(
            !client.get(path).await.expect(200).text().contains(question),
            "{path}"
        );
    }
    post(&client, "/demo/", &[]).await.expect(303);
    app.run_jobs().await;
    for path in ["/", "/search/"] {
        let page = client.get(path).await.expect(200);
        assert!(page.text().contains(question), "{path}");
        assert_eq!(page.text().matches("<ul class=\"questions\">").count(), 1);
    }
    let answer = client.get(question).await.expect(200);
    assert!(answer.text().contains("Larkin") && !answer.text().contains("class=\"questions\""));
    let libraries = client.get("/libraries/?q=History").await.expect(200);
    let history = address(&libraries, "/libraries/0");
    post(&client, &format!("{history}delete/"), &[]).await.expect(303);
    let page = client.get("/search/").await.expect(200);
    assert!(!page.text().contains(question) && page.text().contains("class=\"questions\""));
}

#[tokio::test]
async fn a_jobs_page_keeps_itself_up_to_date() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    let address_of_library = library(&client, "Bees").await;
    client
        .post_form(&format!("{address_of_library}upload/"), &files(&["a.md"]))
        .await
        .expect(303);
    let jobs = client.get("/activity/?status=pending").await.expect(200);
    let job = address(&jobs, "/activity/jobs/");
    let id = job.split('/').nth(3).unwrap();
    let page = client.get(&job).await.expect(200);
    assert!(
        page.text()
            .contains(&format!("data-live=\"/activity/stream/?job={id}\""))
    );
    let part = client.get(&format!("/activity/live/?job={id}")).await.expect(200);
    assert!(
        part.text().starts_with("<section class=\"live\" id=\"job-live\"") && part.text().contains("waiting")
    );
    app.run_jobs().await;
    let part = client.get(&format!("/activity/live/?job={id}")).await.expect(200);
    assert!(part.text().contains("Open the item"));
    for path in ["/activity/live/?job=none", "/activity/stream/?job=none"] {
        client.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn the_last_of_very_many_libraries_can_be_searched() {
    let app = TestApp::start().await;
    let client = browser(&app).await;
    for number in 0..5_001 {
        let request = LibraryRequest {
            name: format!("Library {number:04}"),
            library_type: "art".to_owned(),
            description: String::new(),
        };
        app.services
            .create_library(&Principal::Local, request)
            .await
            .unwrap();
    }
    let last = app
        .services
        .library_by_name(&Principal::Local, "Library 5000")
        .await
        .unwrap()
        .unwrap();
    let page = client
        .get(&format!("/search/?q=bees&library={}", last.uid))
        .await
        .expect(200);
    assert!(page.text().contains("Library 5000"));
    assert!(
        page.text().matches("Library ").count() < 100,
        "only some are offered"
    );
    assert!(
        client
            .get("/")
            .await
            .expect(200)
            .text()
            .contains("5,001 libraries")
    );
}
