//! Static files.

use mnemosyne_app::static_files::asset;
use mnemosyne_testkit::app::TestApp;

#[tokio::test]
async fn a_file_is_kept_for_ever_under_its_digest_only() {
    let app = TestApp::start().await;
    let client = app.stranger();
    let hashed = client.get(&asset("app.css")).await.expect(200);
    assert_eq!(
        hashed.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(hashed.header("content-type"), "text/css; charset=utf-8");
    let plain = client.get("/static/app.css").await.expect(200);
    assert_eq!(plain.header("cache-control"), "public, max-age=300");
    assert_eq!(plain.body, hashed.body);
    let head = client
        .send(http::Method::HEAD, "/static/app.css", None, "")
        .await
        .expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), plain.body.len().to_string());

    let tag = plain.header("etag").to_owned();
    let known = client
        .clone()
        .with("if-none-match", &tag)
        .get("/static/app.css")
        .await
        .expect(304);
    assert!(known.body.is_empty());
    client
        .clone()
        .with("if-none-match", "W/\"other\"")
        .get("/static/app.css")
        .await
        .expect(200);
    for missing in [
        "/static/nothing.css",
        "/static/",
        "/static/../Cargo.toml",
        "/static/app.0000000000000000.css",
    ] {
        client.get(missing).await.expect(404);
    }
    let squeezed = client
        .with("accept-encoding", "gzip")
        .get("/static/app.css")
        .await
        .expect(200);
    assert_eq!(squeezed.header("content-encoding"), "gzip");
    assert!(squeezed.body.len() < plain.body.len());
}
