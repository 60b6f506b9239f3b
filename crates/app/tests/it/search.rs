//! Search (contract §4.2 and §7).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder, LibraryUpdate};
use mnemosyne_domain::{
    EmbeddingModel, EmbeddingPurpose, LibraryType, LibraryUid, ModelKind, Principal, ProfileOverrides,
};
use mnemosyne_services::search::SearchRequest;
use mnemosyne_testkit::app::{Form, TestApp};
use mnemosyne_testkit::fake_embedder::fake_vector;
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

/// A neural model that takes instructions, and writes down what it was told about questions. Texts are close where they
/// share words.
struct Instructed {
    model: EmbeddingModel,
    floor: Option<f32>,
    told: Mutex<Vec<String>>,
}

impl Instructed {
    fn new(floor: Option<f32>) -> Arc<Self> {
        Arc::new(Self {
            model: EmbeddingModel {
                id: "instructed".to_owned(),
                dimension: 64,
                kind: ModelKind::Neural,
                takes_instructions: true,
            },
            floor,
            told: Mutex::default(),
        })
    }

    fn told_last(&self) -> String {
        self.told.lock().unwrap().last().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Embedder for Instructed {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    fn floor(&self) -> Option<f32> {
        self.floor
    }

    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        if purpose == EmbeddingPurpose::Query {
            let told = texts
                .iter()
                .filter_map(|text| text.instruction.map(str::to_owned));
            self.told.lock().unwrap().extend(told);
        }
        Ok(texts
            .iter()
            .map(|text| fake_vector(text.text, self.model.dimension))
            .collect())
    }
}

#[tokio::test]
async fn a_model_is_told_what_the_library_says_about_questions() {
    let embedder = Instructed::new(None);
    let app = TestApp::start_with_embedder(embedder.clone()).await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let made = json!({ "name": "Songs", "library_type": "music" });
    let made = client
        .post("/library/api/libraries/", &made)
        .await
        .expect(201)
        .json();
    let songs = text(&made, "library_uid").to_owned();
    let form = Form::new().text("library_uid", &songs).file(
        "file",
        "song.md",
        "text/markdown",
        b"# Song\n\nThe queen of bees sings.\n",
    );
    client.post_form("/library/api/ingest/", &form).await.expect(202);
    app.run_jobs().await;
    let of_workspace = text(&job, "library_uid").to_owned();

    let shipped = |kind: LibraryType| kind.profile().embedding_instruction.clone();
    let ask = async |narrowed: Value| {
        let mut question = json!({ "query": "queen" });
        question
            .as_object_mut()
            .unwrap()
            .extend(narrowed.as_object().unwrap().clone());
        client.post(SEARCH, &question).await.expect(200);
        embedder.told_last()
    };
    assert_eq!(ask(json!({})).await, shipped(LibraryType::Nonfiction));
    assert_eq!(
        ask(json!({ "library_type": "music" })).await,
        shipped(LibraryType::Music)
    );
    assert_eq!(
        ask(json!({ "library_uid": songs })).await,
        shipped(LibraryType::Music),
        "the type of the library that is searched"
    );
    for (uid, instruction) in [(&songs, "Find songs."), (&of_workspace, "Find bees.")] {
        let own = ProfileOverrides {
            embedding_instruction: Some(instruction.to_owned()),
            llm_context: Some(format!("About: {instruction}")),
            ..ProfileOverrides::default()
        };
        let update = LibraryUpdate {
            overrides: Some(own),
            ..LibraryUpdate::default()
        };
        let uid = LibraryUid::parse(uid).unwrap();
        app.services
            .update_library(&Principal::Local, &uid, update)
            .await
            .unwrap();
    }
    assert_eq!(ask(json!({ "library_uid": songs })).await, "Find songs.");
    assert_eq!(ask(json!({ "workspace_id": "w" })).await, "Find bees.");
    let request = SearchRequest {
        query: "queen".to_owned(),
        workspace_id: Some("w".to_owned()),
        ..SearchRequest::default()
    };
    let outcome = app.services.search(&Principal::Local, request).await.unwrap();
    assert_eq!(
        outcome.reading_notes,
        BTreeMap::from([(LibraryType::Nonfiction, "About: Find bees.".to_owned())])
    );
}

#[tokio::test]
async fn what_only_vectors_found_counts_from_the_models_floor_on() {
    let found = async |floor: Option<f32>, query: &str| {
        let app = TestApp::start_with_embedder(Instructed::new(floor)).await;
        with_one_item(&app).await;
        let question = json!({ "query": query, "workspace_id": "w" });
        let answer = app.daedalus().post(SEARCH, &question).await.expect(200).json();
        answer["results"].as_array().unwrap().clone()
    };
    assert!(
        !found(None, "qwertzuiopasdfgh").await.is_empty(),
        "vectors always find something"
    );
    assert!(found(Some(0.95), "qwertzuiopasdfgh").await.is_empty());
    let by_words = found(Some(0.95), "queen").await;
    assert!(
        by_words[0]["legs"]["fulltext"].is_object() && by_words[0]["legs"]["vector"].is_object(),
        "what another leg found keeps its place among the vectors: {by_words:?}"
    );
}
