//! What several files need.

use mnemosyne_testkit::app::{Client, Form, TestApp};
use serde_json::{Value, json};

pub(crate) const TEXT: &[u8] =
    b"# Bees\n\nA colony of bees winters as a cluster. The beekeeper feeds sugar in autumn.\n\n\
      ## Swarms\n\nIn May the old queen leaves with half of the colony, and Vienna hears them pass.\n";

/// Makes a workspace and returns it.
pub(crate) async fn workspace(client: &Client<'_>, id: &str) -> Value {
    let body =
        json!({ "workspace_id": id, "name": format!("Library of {id}"), "library_type": "nonfiction" });
    client
        .post("/library/api/workspaces/", &body)
        .await
        .expect(201)
        .json()
}

/// Asks for an object of the bucket to be ingested.
pub(crate) fn object(workspace: &str, key: &str, hash: &str) -> Value {
    json!({
        "workspace_id": workspace,
        "source_ref": format!("daedalus:{key}"),
        "content_hash": hash,
        "s3_key": key,
        "filename": key.rsplit('/').next(),
    })
}

/// A workspace `w` with one item that can be found; its job.
pub(crate) async fn with_one_item(app: &TestApp) -> Value {
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
    app.run_jobs().await;
    let address = format!("/library/api/jobs/{}/", accepted["job_id"].as_str().unwrap());
    let job = client.get(&address).await.expect(200).json();
    assert_eq!(job["status"], "completed", "{job}");
    job
}

/// A text value.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no text in {value}"))
}
