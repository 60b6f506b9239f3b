//! Who may call: HTTP Basic, or a session with its token.

use mnemosyne_testkit::app::{PASSWORD, TestApp, USERNAME};
use serde_json::json;

const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";

#[tokio::test]
async fn basic_needs_the_right_password_of_an_active_user() {
    let app = TestApp::start().await;
    let list = "/library/api/workspaces/";
    app.daedalus().get(list).await.expect(200);
    app.daedalus().get(list).await.expect(200);
    for (username, password) in [
        (USERNAME, "wrong"),
        ("nobody", PASSWORD),
        (USERNAME, ""),
        ("", ""),
    ] {
        let answer = app
            .stranger()
            .basic(username, password)
            .get(list)
            .await
            .expect(401);
        assert_eq!(answer.json()["code"], "authentication_failed");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"mnemosyne\"");
    }
    let malformed = app
        .stranger()
        .with("authorization", "Basic !!!")
        .get(list)
        .await
        .expect(401);
    assert_eq!(malformed.json()["code"], "authentication_failed");
    assert_eq!(
        app.stranger().get(list).await.expect(401).json()["code"],
        "not_authenticated"
    );
}

#[tokio::test]
async fn a_session_reads_freely_and_writes_with_its_token() {
    let app = TestApp::start().await;
    let browser = app.browser(USERNAME).await;
    browser.get("/library/api/libraries/").await.expect(200);
    let library = json!({ "name": "A", "library_type": "fiction" });
    let refused = browser
        .post("/library/api/libraries/", &library)
        .await
        .expect(403);
    assert_eq!(refused.json()["code"], "csrf_failed");
    let with_cookie = browser.clone().cookie("csrftoken", SECRET);
    with_cookie
        .post("/library/api/libraries/", &library)
        .await
        .expect(403);
    let wrong = with_cookie
        .clone()
        .with("x-csrftoken", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");
    wrong.post("/library/api/libraries/", &library).await.expect(403);
    let right = with_cookie.with("x-csrftoken", SECRET);
    let foreign = right.clone().with("origin", "http://evil.example");
    assert_eq!(
        foreign
            .post("/library/api/libraries/", &library)
            .await
            .expect(403)
            .json()["code"],
        "csrf_failed"
    );
    right
        .clone()
        .with("origin", "http://localhost")
        .post("/library/api/libraries/", &library)
        .await
        .expect(201);
    let library = json!({ "name": "B", "library_type": "fiction" });
    right
        .with("origin", "https://trusted.example")
        .post("/library/api/libraries/", &library)
        .await
        .expect(201);
}

#[tokio::test]
async fn over_https_the_page_must_be_known() {
    let app = TestApp::start().await;
    let library = json!({ "name": "A", "library_type": "fiction" });
    let browser = app
        .browser(USERNAME)
        .await
        .cookie("csrftoken", SECRET)
        .with("x-csrftoken", SECRET);
    let secure = browser.with("x-forwarded-proto", "https");
    secure.post("/library/api/libraries/", &library).await.expect(403);
    let elsewhere = secure.clone().with("referer", "https://evil.example/form");
    elsewhere
        .post("/library/api/libraries/", &library)
        .await
        .expect(403);
    secure
        .with("referer", "https://localhost/libraries/")
        .post("/library/api/libraries/", &library)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_foreign_page_cannot_use_credentials_that_the_browser_remembers() {
    let app = TestApp::start().await;
    let library = json!({ "name": "A", "library_type": "fiction" });
    let foreign = app.daedalus().with("origin", "https://evil.example");
    foreign
        .post("/library/api/libraries/", &library)
        .await
        .expect(403);
    let answer = foreign.get("/library/api/libraries/").await.expect(200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "",
        "no page of another site may read an answer"
    );
}

#[tokio::test]
async fn a_session_that_is_over_or_forged_is_nobody() {
    let app = TestApp::start().await;
    let opened = app.services.sign_in(USERNAME, PASSWORD).await.unwrap();
    let client = app.stranger().cookie("sessionid", &opened.key);
    client.get("/library/api/libraries/").await.expect(200);
    app.services.sign_out(&opened.key).await.unwrap();
    client.get("/library/api/libraries/").await.expect(401);
}
