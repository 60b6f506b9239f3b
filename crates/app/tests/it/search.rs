//! Search (contract §4.2 and §7).

use mnemosyne_testkit::app::TestApp;
use serde_json::{Value, json};

use crate::support::{text, with_one_item, workspace};

const SEARCH: &str = "/library/api/search/";

#[tokio::test]
async fn a_passage_is_found_with_how_it_was_found() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let question = json!({ "query": "when does the queen leave?", "workspace_id": "w", "limit": 5 });
    let answer = client.post(SEARCH, &question).await.expect(200).json();
    let best = &answer["results"][0];
    assert_eq!(best["item_uid"], job["item_uid"]);
    assert!(text(best, "text_preview").contains("queen"), "{answer}");
    assert_eq!(best["rank"], 1);
    assert!(best["legs"]["fulltext"]["rank"].is_u64());
    assert!(best["heading_path"].is_array() && best["rerank_score"].is_null());
    assert_eq!(
        (&answer["rerank_status"], &answer["image_results"]),
        (&json!("skipped"), &json!([]))
    );
    assert!(answer["timings_ms"]["total"].is_number() && answer["degraded"].is_array());
    assert_eq!(answer["models"][0]["kind"], "lexical");
}

#[tokio::test]
async fn one_workspace_or_the_global_libraries_never_both() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    workspace(&client, "empty").await;
    for scope in [json!(""), Value::Null, json!("empty")] {
        let question = json!({ "query": "queen", "workspace_id": scope });
        let answer = client.post(SEARCH, &question).await.expect(200).json();
        assert_eq!(answer["results"], json!([]), "{scope}");
    }
    let foreign = json!({ "query": "queen", "workspace_id": "empty", "library_uid": job["library_uid"] });
    client.post(SEARCH, &foreign).await.expect(404);
    let unknown = json!({ "query": "queen", "workspace_id": "nowhere" });
    assert_eq!(
        client.post(SEARCH, &unknown).await.expect(404).json()["code"],
        "not_found"
    );
}

#[tokio::test]
async fn what_is_not_there_or_not_in_sight_is_not_found() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    workspace(&client, "empty").await;
    let item = client
        .get(&format!("/library/api/items/{}/", text(&job, "item_uid")))
        .await
        .expect(200)
        .json();
    for (field, uid) in [
        ("collection_uid", &item["collection_uid"]),
        ("item_uid", &item["item_uid"]),
    ] {
        let seen = json!({ "query": "queen", "workspace_id": "w", field: uid });
        let found = client.post(SEARCH, &seen).await.expect(200).json();
        assert!(found["results"][0].is_object(), "{field}: {found}");
        for unseen in [
            json!({ "query": "queen", "workspace_id": "empty", field: uid }),
            json!({ "query": "queen", field: uid }),
            json!({ "query": "queen", "workspace_id": "w", field: "unknown" }),
            json!({ "query": "queen", "workspace_id": "w", field: "no uid at all" }),
        ] {
            let refused = client.post(SEARCH, &unseen).await.expect(404).json();
            assert_eq!(refused["code"], "not_found", "{unseen}");
        }
    }
}

#[tokio::test]
async fn wrong_questions_hear_what_is_wrong() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    assert!(client.post(SEARCH, &json!({})).await.expect(400).json()["query"][0].is_string());
    let image = client
        .post(SEARCH, &json!({ "query": "x", "image": "aGk=" }))
        .await
        .expect(400)
        .json();
    assert_eq!(
        image["image"],
        json!(["Searching by image is not available yet."])
    );
    for (field, value) in [
        ("limit", json!(0)),
        ("limit", json!(-1)),
        ("limit", json!("x")),
        ("rerank", json!(5)),
    ] {
        let mut question = json!({ "query": "x" });
        question[field] = value;
        assert!(
            client.post(SEARCH, &question).await.expect(400).json()[field][0].is_string(),
            "{question}"
        );
    }
    let huge = json!({ "query": "x".repeat(70_000) });
    client.post(SEARCH, &huge).await.expect(413);
    let hostile = json!({ "query": "\" OR (NEAR* ) AND: -^ \u{0000} '; DROP TABLE chunks" });
    client.post(SEARCH, &hostile).await.expect(200);
}
