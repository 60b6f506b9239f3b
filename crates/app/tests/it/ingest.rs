//! Requests to ingest (contract §4.2).

use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use mnemosyne_domain::ports::BlobLedger;
use mnemosyne_domain::{Principal, Queue};
use mnemosyne_services::ServiceError;
use mnemosyne_services::ingest::IngestRequest;
use mnemosyne_services::upkeep::Reach;
use mnemosyne_testkit::app::{Form, MAX_FILE_BYTES, TestApp};
use serde_json::{Value, json};

use crate::support::{TEXT, object, text, workspace};

const INGEST: &str = "/library/api/ingest/";

#[tokio::test]
async fn an_object_of_the_bucket_is_ingested_once() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let library = workspace(&client, "w").await;
    app.put_into_bucket("team/bees.md", TEXT);
    let mut body = object("w", "team/bees.md", "hash-1");
    body["metadata"] = json!({ "origin": "daedalus", "pages": [1, 2] });
    let first = client.post(INGEST, &body).await.expect(202).json();
    assert_eq!(first["status"], "pending");
    assert_eq!(first["deduplicated"], false);
    assert_eq!(first["library_uid"], library["library_uid"]);
    let second = client.post(INGEST, &body).await.expect(200).json();
    assert_eq!(second["job_id"], first["job_id"]);
    assert_eq!(second["deduplicated"], true);

    app.run_jobs().await;
    let job = client
        .get(&format!("/library/api/jobs/{}/", text(&first, "job_id")))
        .await
        .expect(200)
        .json();
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["progress"], &job["error"]), (&json!(1.0), &Value::Null));
    assert!(job["counts"]["chunks"].as_u64().unwrap() > 0 && job["timings_ms"].is_object());
    let item = client
        .get(&format!("/library/api/items/{}/", text(&first, "item_uid")))
        .await
        .expect(200)
        .json();
    assert_eq!(item["metadata"], body["metadata"]);
    assert_eq!(item["filename"], "bees.md");
    assert_eq!(
        client.post(INGEST, &body).await.expect(200).json()["status"],
        "completed"
    );
}

#[tokio::test]
async fn another_hash_replaces_the_item_once_it_is_ready() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let old = client
        .post(INGEST, &object("w", "a.md", "1"))
        .await
        .expect(202)
        .json();
    app.run_jobs().await;
    app.put_into_bucket("a.md", b"# Wasps\n\nWasps build their nests of paper.\n");
    let new = client
        .post(INGEST, &object("w", "a.md", "2"))
        .await
        .expect(202)
        .json();
    let old_item = format!("/library/api/items/{}/", text(&old, "item_uid"));
    client.get(&old_item).await.expect(200);
    app.run_jobs().await;
    client.get(&old_item).await.expect(404);
    let items = client.get("/library/api/items/").await.expect(200).json();
    assert_eq!(items["count"], 1);
    assert_eq!(items["results"][0]["item_uid"], new["item_uid"]);
    let before = client
        .get(&format!("/library/api/jobs/{}/", text(&old, "job_id")))
        .await
        .expect(200)
        .json();
    assert_eq!(before["status"], "superseded");
}

#[tokio::test]
async fn a_form_may_hold_its_fields_in_any_order() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let library = workspace(&client, "w").await;
    let form = Form::new()
        .text("title", "On bees")
        .file("file", "C:\\\\notes\\\\bees.md", "text/markdown", TEXT)
        .text("metadata", "{\"shelf\": 3}")
        .text("collection", "Insects")
        .text("library_uid", text(&library, "library_uid"));
    let first = client.post_form(INGEST, &form).await.expect(202).json();
    assert_eq!(
        client.post_form(INGEST, &form).await.expect(200).json()["job_id"],
        first["job_id"]
    );
    app.run_jobs().await;
    let item = client
        .get(&format!("/library/api/items/{}/", text(&first, "item_uid")))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&item["title"], &item["filename"]),
        (&json!("On bees"), &json!("bees.md"))
    );
    assert_eq!(item["metadata"], json!({ "shelf": 3 }));
    assert_eq!(item["source_ref"], "bees.md");
    let collection = format!("/library/api/collections/{}/", text(&item, "collection_uid"));
    assert_eq!(
        client.get(&collection).await.expect(200).json()["name"],
        "Insects"
    );
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing_behind() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let file = |form: Form| form.file("file", "a.md", "text/markdown", TEXT);
    let unknown = file(Form::new().text("workspace_id", "nowhere"));
    assert_eq!(
        client.post_form(INGEST, &unknown).await.expect(404).json()["code"],
        "not_found"
    );
    let no_object = file(Form::new().text("workspace_id", "w")).text("metadata", "[1]");
    assert_eq!(
        client.post_form(INGEST, &no_object).await.expect(400).json()["metadata"],
        json!(["Expected a JSON object."])
    );
    let no_json = file(Form::new().text("workspace_id", "w")).text("metadata", "{");
    assert!(client.post_form(INGEST, &no_json).await.expect(400).json()["metadata"][0].is_string());
    let both = file(Form::new().text("workspace_id", "w").text("s3_key", "a"));
    assert!(client.post_form(INGEST, &both).await.expect(400).json()["s3_key"][0].is_string());
    let two = file(file(Form::new().text("workspace_id", "w")));
    assert!(client.post_form(INGEST, &two).await.expect(400).json()["file"][0].is_string());
    let none = Form::new().text("workspace_id", "w");
    assert_eq!(
        client.post_form(INGEST, &none).await.expect(400).json()["file"],
        json!(["No file was submitted."])
    );

    let mut cut_off = file(Form::new().text("workspace_id", "w")).encode();
    cut_off.truncate(cut_off.len() - 60);
    let kind = "multipart/form-data; boundary=----testboundary7MA4YWxkTrZu0gW";
    let answer = client
        .send(http::Method::POST, INGEST, Some(kind), cut_off)
        .await
        .expect(400)
        .json();
    assert_eq!(answer["code"], "invalid_form");
    let boundless = client
        .send(http::Method::POST, INGEST, Some("multipart/form-data"), "x")
        .await
        .expect(400);
    assert_eq!(boundless.json()["code"], "invalid_form");

    assert_eq!(
        app.relational.blob_holders().await.unwrap(),
        [""; 0],
        "an upload is still held"
    );
    assert_eq!(
        client.get("/library/api/jobs/").await.expect(200).json()["count"],
        0
    );
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let largest = vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap()];
    let mut larger = largest.clone();
    larger.push(b'x');
    let form = |content: &[u8]| {
        Form::new()
            .text("workspace_id", "w")
            .file("file", "a.txt", "text/plain", content)
    };
    let answer = client.post_form(INGEST, &form(&larger)).await.expect(413).json();
    assert_eq!(answer["code"], "too_large");
    client.post_form(INGEST, &form(&largest)).await.expect(202);
    let declared = client
        .send(
            http::Method::POST,
            INGEST,
            Some("multipart/form-data; boundary=x"),
            vec![b'x'; 6 * 1024 * 1024],
        )
        .await
        .expect(413);
    assert_eq!(declared.json()["code"], "too_large");
}

#[tokio::test]
async fn wrong_requests_hear_what_is_wrong() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    workspace(&client, "v").await;
    let empty = client.post(INGEST, &json!({})).await.expect(400).json();
    for field in ["workspace_id", "source_ref", "content_hash", "s3_key"] {
        assert!(empty[field][0].is_string(), "{field}: {empty}");
    }
    let unknown = client
        .post(INGEST, &object("nowhere", "a.md", "1"))
        .await
        .expect(404)
        .json();
    assert_eq!(unknown["code"], "not_found");
    let mut metadata = object("w", "a.md", "1");
    metadata["metadata"] = json!("text");
    assert_eq!(
        client.post(INGEST, &metadata).await.expect(400).json()["metadata"],
        json!(["Expected a JSON object."])
    );
    let mut foreign = object("w", "a.md", "1");
    let other = client.get("/library/api/workspaces/v/").await.expect(200).json();
    foreign["library_uid"] = other["library_uid"].clone();
    assert!(client.post(INGEST, &foreign).await.expect(400).json()["library_uid"][0].is_string());
    let text = client
        .send(http::Method::POST, INGEST, Some("text/plain"), "x")
        .await
        .expect(415)
        .json();
    assert_eq!(text["code"], "unsupported_media_type");
}

#[tokio::test]
async fn content_that_comes_back_while_other_content_is_under_way_is_found() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let other = b"# Wasps\n\nWasps build their nests of paper.\n";
    for (content, hash) in [(TEXT, "A"), (other, "B")] {
        app.put_into_bucket("a.md", content);
        client.post(INGEST, &object("w", "a.md", hash)).await.expect(202);
        if hash == "A" {
            app.run_jobs().await;
        }
    }
    app.put_into_bucket("a.md", TEXT);
    client.post(INGEST, &object("w", "a.md", "A")).await.expect(202);
    app.run_jobs().await;
    let items = client.get("/library/api/items/").await.expect(200).json();
    assert_eq!(items["count"], 1);
    let path = format!(
        "/library/api/items/{}/text/",
        text(&items["results"][0], "item_uid")
    );
    let found = client.get(&path).await.expect(200);
    assert!(found.text().contains("old queen"), "{}", found.text());
}

#[tokio::test]
async fn an_upload_that_was_forgotten_is_removed_after_a_day_and_no_sooner() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let library = workspace(&client, "w").await;
    let upload = async || {
        let content = Box::pin(futures::stream::once(async {
            Ok(bytes::Bytes::from_static(TEXT))
        }));
        app.services
            .receive_upload(&Principal::Local, content)
            .await
            .unwrap()
    };
    let request = || IngestRequest {
        library_uid: Some(text(&library, "library_uid").to_owned()),
        filename: Some("a.md".to_owned()),
        ..IngestRequest::default()
    };
    let take = async |upload| {
        app.services
            .ingest(&Principal::Local, request(), Some(upload), Queue::Embedding)
            .await
    };
    let (forgotten, late) = (upload().await, upload().await);
    drop(forgotten);
    app.clock.advance(TimeDelta::hours(23));
    app.services.mend(Reach::Jobless).await.unwrap();
    assert_eq!(app.relational.blob_holders().await.unwrap().len(), 2);
    app.clock.advance(TimeDelta::hours(2));
    app.services.mend(Reach::Jobless).await.unwrap();
    assert_eq!(app.relational.blob_holders().await.unwrap(), [""; 0]);

    // Whoever comes after that has to send the file again, and hears so instead of having a job that cannot succeed.
    let refused = take(late).await;
    assert!(
        matches!(&refused, Err(ServiceError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(
        client.get("/library/api/jobs/").await.expect(200).json()["count"],
        0
    );
    take(upload().await).await.unwrap();
    app.clock.advance(TimeDelta::hours(25));
    app.services.mend(Reach::Whole).await.unwrap();
    app.run_jobs().await;
    assert_eq!(
        client.get("/library/api/items/").await.expect(200).json()["count"],
        1
    );
}

#[tokio::test]
async fn files_that_nobody_claims_are_removed_after_an_hour() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let form = Form::new()
        .text("workspace_id", "w")
        .file("file", "a.md", "text/markdown", TEXT);
    client.post_form(INGEST, &form).await.expect(202);
    app.run_jobs().await;
    let blobs = app.folder().join("blobs");
    let made = |digit: &str| {
        let name = digit.repeat(64);
        let file = blobs.join(&name[..2]).join(&name[2..4]).join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "lost").unwrap();
        file
    };
    let (lost, young) = (made("0"), made("f"));
    let draft = blobs.join("tmp/draft");
    std::fs::write(&draft, "half").unwrap();
    let files = walk(&blobs);
    assert_eq!(
        files.len(),
        6,
        "an original, its text, its structure, and these: {files:?}"
    );
    for file in files.iter().filter(|file| **file != young) {
        let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3_600);
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(hours_ago)
            .unwrap();
    }
    assert_eq!(app.services.sweep_blobs().await.unwrap(), 1);
    assert!(!lost.exists() && !draft.exists() && young.exists());
    assert_eq!(walk(&blobs).len(), 4);
    let items = client.get("/library/api/items/").await.expect(200).json();
    let path = format!(
        "/library/api/items/{}/original/",
        text(&items["results"][0], "item_uid")
    );
    assert_eq!(&client.get(&path).await.expect(200).body[..], TEXT);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
