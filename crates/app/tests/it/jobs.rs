//! Jobs (contract §4.2).

use std::time::Duration;

use chrono::TimeDelta;
use mnemosyne_domain::ports::{BlobLedger, Clock, JobUpdate, Jobs};
use mnemosyne_domain::{FailureCode, JobId, Queue, Stage};
use mnemosyne_services::pipeline::JobEnd;
use mnemosyne_testkit::app::{Form, TestApp};
use serde_json::json;

use crate::support::{TEXT, object, text, workspace};

const INGEST: &str = "/library/api/ingest/";

#[tokio::test]
async fn a_failed_job_says_why_and_can_be_retried() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let asked = client
        .post(INGEST, &object("w", "later.md", "1"))
        .await
        .expect(202)
        .json();
    let job = format!("/library/api/jobs/{}/", text(&asked, "job_id"));
    let retry = format!("{job}retry/");
    assert_eq!(
        client.post(&retry, &json!({})).await.expect(409).json()["code"],
        "not_failed"
    );
    app.run_jobs().await;
    let failed = client.get(&job).await.expect(200).json();
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error"]["code"], "source_not_found");
    assert!(failed["error"]["message"].is_string());

    app.put_into_bucket("later.md", TEXT);
    let again = client
        .send(http::Method::POST, &retry, None, "")
        .await
        .expect(202)
        .json();
    assert_eq!(
        (&again["status"], &again["attempts"]),
        (&json!("pending"), &json!(0))
    );
    app.run_jobs().await;
    assert_eq!(client.get(&job).await.expect(200).json()["status"], "completed");
    assert_eq!(
        client.post(&retry, &json!({})).await.expect(409).json()["code"],
        "not_failed"
    );
}

#[tokio::test]
async fn a_job_that_waits_can_be_cancelled() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let asked = client
        .post(INGEST, &object("w", "a.md", "1"))
        .await
        .expect(202)
        .json();
    let cancel = format!("/library/api/jobs/{}/cancel/", text(&asked, "job_id"));
    assert_eq!(
        client.post(&cancel, &json!({})).await.expect(202).json()["status"],
        "cancelled"
    );
    assert_eq!(
        client.post(&cancel, &json!({})).await.expect(409).json()["code"],
        "not_running"
    );
    assert!(app.run_jobs().await.is_empty());
    client.post(INGEST, &object("w", "a.md", "1")).await.expect(202);
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_by_filter() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let one = workspace(&client, "one").await;
    workspace(&client, "two").await;
    for (workspace, key) in [("one", "a.md"), ("two", "b.md"), ("one", "c.md")] {
        client
            .post(INGEST, &object(workspace, key, "1"))
            .await
            .expect(202);
    }
    let names = |list: serde_json::Value| -> Vec<String> {
        list["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| text(job, "filename").to_owned())
            .collect()
    };
    let all = client.get("/library/api/jobs/").await.expect(200).json();
    assert_eq!(names(all), ["c.md", "b.md", "a.md"]);
    let of_one = format!(
        "/library/api/jobs/?status=pending&library_uid={}",
        text(&one, "library_uid")
    );
    assert_eq!(
        names(client.get(&of_one).await.expect(200).json()),
        ["c.md", "a.md"]
    );
    assert_eq!(
        client
            .get("/library/api/jobs/?status=failed")
            .await
            .expect(200)
            .json()["count"],
        0
    );
    assert_eq!(
        client
            .get("/library/api/jobs/?library_uid=no%20uid")
            .await
            .expect(200)
            .json()["count"],
        0
    );
    assert!(
        client
            .get("/library/api/jobs/?status=done")
            .await
            .expect(400)
            .json()["status"][0]
            .is_string()
    );
    app.run_jobs().await;
    let failed = client
        .get("/library/api/jobs/?error_code=source_not_found")
        .await
        .expect(200)
        .json();
    assert_eq!(failed["count"], 3);
}

#[tokio::test]
async fn unknown_jobs_are_not_there() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    for id in ["0190a5d2-0000-7000-8000-000000000000", "no%20uid", "%FF"] {
        assert_eq!(
            client
                .get(&format!("/library/api/jobs/{id}/"))
                .await
                .expect(404)
                .json()["code"],
            "not_found"
        );
        client
            .post(&format!("/library/api/jobs/{id}/retry/"), &json!({}))
            .await
            .expect(404);
        client
            .post(&format!("/library/api/jobs/{id}/cancel/"), &json!({}))
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn a_job_whose_item_is_about_to_be_visible_is_not_cancelled() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    client.post(INGEST, &object("w", "a.md", "1")).await.expect(202);
    let lease = app
        .services
        .lease_job("test", &Queue::ALL, None)
        .await
        .unwrap()
        .unwrap();
    let update = JobUpdate {
        stage: Some(Stage::Publish),
        ..JobUpdate::default()
    };
    let (id, ttl) = (&lease.job.id, Duration::from_secs(10));
    app.relational
        .heartbeat(id, &lease.token, update, ttl, app.clock.now())
        .await
        .unwrap();
    let refused = client
        .post(&format!("/library/api/jobs/{id}/cancel/"), &json!({}))
        .await
        .expect(409)
        .json();
    assert_eq!(refused["code"], "not_running");
    let job = client
        .get(&format!("/library/api/jobs/{id}/"))
        .await
        .expect(200)
        .json();
    assert_eq!(job["status"], "processing");
}

#[tokio::test]
async fn an_outage_of_hours_fails_no_job() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let asked = client
        .post(INGEST, &object("w", "a.md", "1"))
        .await
        .expect(202)
        .json();
    app.embedder.fail(10, None);
    for round in 0..10 {
        let ends = app.run_jobs().await;
        assert!(
            matches!(&ends[..], [JobEnd::RetryLater(failure)] if failure.code == FailureCode::EmbedderUnavailable),
            "round {round}: {ends:?}"
        );
        app.clock.advance(TimeDelta::minutes(6));
    }
    assert_eq!(app.run_jobs().await, [JobEnd::Completed]);
    let job = format!("/library/api/jobs/{}/", text(&asked, "job_id"));
    assert_eq!(client.get(&job).await.expect(200).json()["attempts"], 11);
}

#[tokio::test]
async fn an_outage_of_a_day_fails_the_job_and_a_retry_begins_a_new_day() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let asked = client
        .post(INGEST, &object("w", "a.md", "1"))
        .await
        .expect(202)
        .json();
    let job = format!("/library/api/jobs/{}/", text(&asked, "job_id"));
    app.embedder.fail(3, None);
    assert!(matches!(app.run_jobs().await[..], [JobEnd::RetryLater(_)]));
    app.clock.advance(TimeDelta::hours(24));
    assert!(matches!(app.run_jobs().await[..], [JobEnd::Failed(_)]));
    assert_eq!(client.get(&job).await.expect(200).json()["status"], "failed");

    client.post(&format!("{job}retry/"), &json!({})).await.expect(202);
    assert!(matches!(app.run_jobs().await[..], [JobEnd::RetryLater(_)]));
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_is_left_alone() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let asked = client
        .post(INGEST, &object("w", "a.md", "1"))
        .await
        .expect(202)
        .json();
    app.embedder.fail(1, Some(Duration::from_secs(300)));
    let before = app.clock.now();
    app.run_jobs().await;
    let id = JobId::parse(text(&asked, "job_id")).unwrap();
    let job = app.relational.job(&id).await.unwrap().unwrap();
    assert!(job.due_at >= before + TimeDelta::seconds(300), "{}", job.due_at);
}

#[tokio::test]
async fn what_a_later_request_replaces_is_removed_at_once() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    let upload = async |content: &[u8]| {
        let form = Form::new()
            .text("workspace_id", "w")
            .file("file", "a.md", "text/markdown", content);
        client.post_form(INGEST, &form).await.expect(202).json()
    };
    // One that waits.
    upload(b"# One\n\nThe first text of this file.\n").await;
    let second = upload(b"# Two\n\nThe second text of this file.\n").await;
    let holders = app.relational.blob_holders().await.unwrap();
    assert_eq!(holders, [text(&second, "item_uid")]);
    // One that failed, with something written already.
    app.embedder.fail(1, None);
    app.run_jobs().await;
    app.clock.advance(TimeDelta::hours(24));
    app.embedder.fail(1, None);
    assert!(matches!(app.run_jobs().await[..], [JobEnd::Failed(_)]));
    let third = upload(b"# Three\n\nThe third text of this file.\n").await;
    assert_eq!(app.run_jobs().await, [JobEnd::Completed]);
    let holders = app.relational.blob_holders().await.unwrap();
    assert_eq!(holders, [text(&third, "item_uid")]);
}
