//! Workspaces (contract §4.2).

use mnemosyne_testkit::app::TestApp;
use serde_json::json;

use crate::support::{text, with_one_item, workspace};

const LIST: &str = "/library/api/workspaces/";

#[tokio::test]
async fn a_workspace_is_made_once_and_keeps_its_type() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let body = json!({ "workspace_id": "team/7 ü", "name": "Team 7", "library_type": "technical" });
    let made = client.post(LIST, &body).await.expect(201).json();
    assert_eq!(made["workspace_id"], "team/7 ü");
    assert_eq!(
        (&made["item_count"], &made["chunk_count"]),
        (&json!(0), &json!(0))
    );
    assert!(made["library_uid"].is_string() && made["created_at"].is_string());
    let again = client.post(LIST, &body).await.expect(200).json();
    assert_eq!(again["library_uid"], made["library_uid"]);

    let mut other_type = body.clone();
    other_type["library_type"] = json!("fiction");
    assert_eq!(
        client.post(LIST, &other_type).await.expect(409).json()["code"],
        "library_type_frozen"
    );
    let mut other_id = body.clone();
    other_id["workspace_id"] = json!("other");
    assert_eq!(
        client.post(LIST, &other_id).await.expect(409).json()["code"],
        "name_conflict"
    );

    let one = client
        .get("/library/api/workspaces/team%2F7%20%C3%BC/")
        .await
        .expect(200)
        .json();
    assert_eq!(one, made);
    let list = client.get(LIST).await.expect(200).json();
    assert_eq!(
        list,
        json!({ "count": 1, "next": null, "previous": null, "results": [made] })
    );
}

#[tokio::test]
async fn wrong_requests_hear_what_is_wrong() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let empty = client.post(LIST, &json!({})).await.expect(400).json();
    for field in ["workspace_id", "name", "library_type"] {
        assert_eq!(empty[field], json!(["This field is required."]), "{field}");
    }
    let wrong = json!({ "workspace_id": "w", "name": 5, "library_type": "technical" });
    assert!(client.post(LIST, &wrong).await.expect(400).json()["name"][0].is_string());
    let unknown = json!({ "workspace_id": "w", "name": "n", "library_type": "poetry" });
    let problem = client.post(LIST, &unknown).await.expect(400).json();
    assert!(
        problem["library_type"][0]
            .as_str()
            .unwrap()
            .contains("nonfiction"),
        "{problem}"
    );

    let json_type = Some("application/json");
    let broken = client
        .send(http::Method::POST, LIST, json_type, "{\n  \"name\": ,\n}")
        .await
        .expect(400)
        .json();
    assert_eq!(broken["code"], "parse_error");
    assert!(text(&broken, "detail").contains("line 2, column 11"), "{broken}");
    let list = client
        .send(http::Method::POST, LIST, json_type, "[]")
        .await
        .expect(400)
        .json();
    assert_eq!(list["code"], "parse_error");
    let form = client
        .send(
            http::Method::POST,
            LIST,
            Some("application/x-www-form-urlencoded"),
            "name=x",
        )
        .await;
    assert_eq!(form.expect(415).json()["code"], "unsupported_media_type");
    client
        .send(http::Method::POST, LIST, None, "{}")
        .await
        .expect(415);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
    let answer = client
        .send(http::Method::POST, LIST, json_type, huge)
        .await
        .expect(413)
        .json();
    assert_eq!(answer["code"], "too_large");
}

#[tokio::test]
async fn what_is_deleted_is_gone_with_all_that_hung_on_it() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let library = text(&job, "library_uid").to_owned();
    let before = client.get("/library/api/workspaces/w/").await.expect(200).json();
    assert_eq!(before["item_count"], 1);
    assert!(before["chunk_count"].as_u64().unwrap() > 0);
    let gone = client.delete("/library/api/workspaces/w/").await.expect(204);
    assert!(gone.body.is_empty());
    assert_eq!(
        client
            .delete("/library/api/workspaces/w/")
            .await
            .expect(404)
            .json()["code"],
        "not_found"
    );
    client.get("/library/api/workspaces/w/").await.expect(404);
    client
        .get(&format!("/library/api/jobs/{}/", text(&job, "job_id")))
        .await
        .expect(404);
    client
        .get(&format!("/library/api/items/{}/", text(&job, "item_uid")))
        .await
        .expect(404);
    for list in ["jobs", "items", "collections"] {
        let rows = client
            .get(&format!("/library/api/{list}/?library_uid={library}"))
            .await
            .expect(200)
            .json();
        assert_eq!(rows["count"], 0, "{list}");
    }
    assert_eq!(blobs(app.folder()), 0, "a file was left behind");
}

/// How many blobs there are.
fn blobs(folder: &std::path::Path) -> usize {
    fn walk(folder: &std::path::Path) -> usize {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { walk(&path) } else { 1 })
            .sum()
    }
    walk(&folder.join("blobs"))
}

#[tokio::test]
async fn lists_come_in_parts() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    for id in ["a", "b", "c"] {
        workspace(&client, id).await;
    }
    let first = client
        .get("/library/api/workspaces/?limit=2")
        .await
        .expect(200)
        .json();
    assert_eq!(first["count"], 3);
    assert_eq!(first["results"].as_array().unwrap().len(), 2);
    assert_eq!(
        first["next"],
        "http://localhost/library/api/workspaces/?limit=2&offset=2"
    );
    let second = client
        .get("/library/api/workspaces/?limit=2&offset=2")
        .await
        .expect(200)
        .json();
    assert_eq!(second["results"].as_array().unwrap().len(), 1);
    assert_eq!(second["next"], json!(null));
    assert_eq!(
        second["previous"],
        "http://localhost/library/api/workspaces/?limit=2&offset=0"
    );
    let outside = client
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-host", "localhost:8443");
    let first = outside
        .get("/library/api/workspaces/?limit=2")
        .await
        .expect(200)
        .json();
    assert_eq!(
        first["next"],
        "https://localhost:8443/library/api/workspaces/?limit=2&offset=2"
    );
    let wrong = outside
        .get("/library/api/workspaces/?limit=none")
        .await
        .expect(400)
        .json();
    assert!(wrong["limit"][0].is_string());
}
