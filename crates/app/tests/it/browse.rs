//! Libraries, collections, items, chunks, concepts: browse, create, edit, download, delete.

use mnemosyne_domain::ports::{BlobLedger, KnowledgeStore};
use mnemosyne_domain::{EmbeddingStatus, ItemUid, Principal};
use mnemosyne_services::upkeep::Reach;
use mnemosyne_testkit::app::{Form, TestApp};
use serde_json::json;

use crate::support::{TEXT, object, text, with_one_item, workspace};

#[tokio::test]
async fn libraries_are_made_changed_and_removed() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let list = "/library/api/libraries/";
    let made = client
        .post(list, &json!({ "name": "Novels", "library_type": "fiction" }))
        .await
        .expect(201)
        .json();
    assert_eq!(made["workspace_id"], json!(null));
    assert!(made["profile"]["target_chars"].as_u64().unwrap() > 0);
    let taken = client
        .post(list, &json!({ "name": "Novels", "library_type": "art" }))
        .await
        .expect(409)
        .json();
    assert_eq!(taken["code"], "name_conflict");
    assert!(
        client
            .post(list, &json!({ "name": "x" }))
            .await
            .expect(400)
            .json()["library_type"][0]
            .is_string()
    );

    let one = format!("{list}{}/", text(&made, "library_uid"));
    let change = json!({ "description": "Old ones", "overrides": { "target_chars": 500 } });
    let changed = client.patch(&one, &change).await.expect(200).json();
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("Novels"), &json!("Old ones"))
    );
    assert_eq!(changed["profile"]["target_chars"], 500);
    assert!(
        client
            .patch(&one, &json!({ "overrides": { "target_chars": 1 } }))
            .await
            .expect(400)
            .json()["target_chars"][0]
            .is_string()
    );
    client
        .patch(&one, &json!({ "overrides": { "colour": 1 } }))
        .await
        .expect(400);
    // Sizes must fit those of the type that stay.
    for (overrides, field) in [
        (json!({ "max_chars": 70 }), "max_chars"),
        (json!({ "target_chars": 500, "max_chars": 499 }), "max_chars"),
        (json!({ "overlap_chars": 19_000 }), "overlap_chars"),
        (
            json!({ "target_chars": 500, "overlap_chars": 251 }),
            "overlap_chars",
        ),
    ] {
        let refused = client.patch(&one, &json!({ "overrides": overrides })).await;
        let said = refused.expect(400).json();
        assert!(said[field][0].is_string(), "{overrides}: {said}");
    }
    let overrides = json!({ "target_chars": 500, "max_chars": 500, "overlap_chars": 250 });
    let fitting = client
        .patch(&one, &json!({ "overrides": overrides }))
        .await
        .expect(200)
        .json();
    for (name, value) in overrides.as_object().unwrap() {
        assert_eq!(&fitting["profile"][name], value, "{name}");
    }
    let changed = client.patch(&one, &change).await.expect(200).json();
    // The type is frozen.
    let other = json!({ "library_type": "music", "description": "changed" });
    let frozen = client.patch(&one, &other).await.expect(409).json();
    assert_eq!(frozen["code"], "library_type_frozen");
    let none = json!({ "library_type": "poetry" });
    assert!(client.patch(&one, &none).await.expect(400).json()["library_type"][0].is_string());
    let same = json!({ "library_type": "fiction" });
    assert_eq!(client.patch(&one, &same).await.expect(200).json(), changed);

    client
        .post(list, &json!({ "name": "Papers", "library_type": "technical" }))
        .await
        .expect(201);
    let fiction = client
        .get("/library/api/libraries/?library_type=fiction")
        .await
        .expect(200)
        .json();
    assert_eq!(fiction["results"], json!([changed]));
    assert_eq!(
        client
            .get("/library/api/libraries/?name=APER")
            .await
            .expect(200)
            .json()["count"],
        1
    );
    assert_eq!(
        client
            .get("/library/api/libraries/?workspace_id=")
            .await
            .expect(200)
            .json()["count"],
        2
    );
    assert_eq!(
        client
            .get("/library/api/libraries/?workspace_id=w")
            .await
            .expect(200)
            .json()["count"],
        0
    );
    client
        .get("/library/api/libraries/?library_type=poetry")
        .await
        .expect(400);
    client.delete(&one).await.expect(204);
    client.get(&one).await.expect(404);
    client.delete(&one).await.expect(404);
    client.patch(&one, &json!({ "name": "x" })).await.expect(404);
}

#[tokio::test]
async fn collections_are_made_changed_and_removed() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let list = "/library/api/collections/";
    let body = json!({ "library_uid": job["library_uid"], "name": "Insects" });
    let made = client.post(list, &body).await.expect(201).json();
    assert_eq!(
        client.post(list, &body).await.expect(409).json()["code"],
        "name_conflict"
    );
    client
        .post(list, &json!({ "library_uid": "unknown", "name": "x" }))
        .await
        .expect(404);
    client.post(list, &json!({ "name": "x" })).await.expect(400);
    let one = format!("{list}{}/", text(&made, "collection_uid"));
    assert_eq!(
        client
            .patch(&one, &json!({ "name": "Bees" }))
            .await
            .expect(200)
            .json()["name"],
        "Bees"
    );

    let item = format!("/library/api/items/{}/", text(&job, "item_uid"));
    let change = json!({ "title": "New", "metadata": { "a": 1 }, "collection_uid": made["collection_uid"] });
    let moved = client.patch(&item, &change).await.expect(200).json();
    assert_eq!(
        (&moved["title"], &moved["metadata"]),
        (&json!("New"), &json!({ "a": 1 }))
    );
    assert_eq!(client.get(&one).await.expect(200).json()["item_count"], 1);
    let query = format!(
        "/library/api/items/?collection_uid={}",
        text(&made, "collection_uid")
    );
    assert_eq!(client.get(&query).await.expect(200).json()["count"], 1);
    client
        .patch(&item, &json!({ "collection_uid": "unknown" }))
        .await
        .expect(400);
    client.patch(&item, &json!({ "metadata": [1] })).await.expect(400);

    client.delete(&one).await.expect(204);
    client.get(&item).await.expect(404);
    client.delete(&one).await.expect(404);
    let rest = client
        .get(&format!("{list}?library_uid={}", text(&job, "library_uid")))
        .await
        .expect(200)
        .json();
    assert_eq!(rest["count"], 1);
    let default = format!("{list}{}/", text(&rest["results"][0], "collection_uid"));
    assert_eq!(
        client.delete(&default).await.expect(409).json()["code"],
        "default_collection"
    );
}

#[tokio::test]
async fn an_item_gives_back_its_text_its_chunks_and_its_original() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let item = format!("/library/api/items/{}/", text(&job, "item_uid"));
    let whole = client.get(&format!("{item}text/")).await.expect(200);
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");

    let chunks = client
        .get(&format!("{item}chunks/?limit=1"))
        .await
        .expect(200)
        .json();
    let first = &chunks["results"][0];
    assert_eq!(first["position"], 0);
    let (start, end) = (
        first["byte_start"].as_u64().unwrap() as usize,
        first["byte_end"].as_u64().unwrap() as usize,
    );
    assert_eq!(text(first, "text"), &whole.text()[start..end]);
    let chunk = client
        .get(&format!("/library/api/chunks/{}/", text(first, "chunk_uid")))
        .await
        .expect(200)
        .json();
    assert_eq!(&chunk, first);
    let again = client
        .get(&format!(
            "/library/api/chunks/?item_uid={}&limit=1",
            text(&job, "item_uid")
        ))
        .await;
    assert_eq!(again.expect(200).json()["results"], chunks["results"]);
    assert!(client.get("/library/api/chunks/").await.expect(400).json()["item_uid"][0].is_string());
    client.get("/library/api/chunks/unknown/").await.expect(404);

    let original = client.get(&format!("{item}original/")).await.expect(200);
    assert_eq!(&original.body[..], TEXT);
    assert_eq!(
        original.header("content-disposition"),
        "attachment; filename=\"bees.md\"; filename*=UTF-8''bees.md"
    );
    assert_eq!(original.header("x-content-type-options"), "nosniff");
    assert_eq!(original.header("content-length"), TEXT.len().to_string());
    assert!(original.header("content-security-policy").contains("sandbox"));

    client.delete(&item).await.expect(204);
    for path in ["", "text/", "original/", "chunks/"] {
        client.get(&format!("{item}{path}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_page_somebody_uploads_is_never_a_page_of_this_site() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    with_one_item(&app).await;
    let page = b"<html><body><h1>Hi</h1><p>A page about bees with <script>alert(1)</script> inside.</p></body></html>";
    let form = Form::new()
        .text("workspace_id", "w")
        .file("file", "ü \"x\".html", "text/html", page);
    let asked = client
        .post_form("/library/api/ingest/", &form)
        .await
        .expect(202)
        .json();
    app.run_jobs().await;
    let path = format!("/library/api/items/{}/original/", text(&asked, "item_uid"));
    let original = client.get(&path).await.expect(200);
    assert!(original.header("content-disposition").starts_with("attachment; "));
    assert!(
        original
            .header("content-disposition")
            .contains("filename*=UTF-8''%C3%BC")
    );
    assert_eq!(
        original.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
}

#[tokio::test]
async fn concepts_can_be_walked() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let job = with_one_item(&app).await;
    let list = format!("/library/api/concepts/?item_uid={}", text(&job, "item_uid"));
    let concepts = client.get(&list).await.expect(200).json();
    let first = &concepts["results"][0];
    assert!(first["mentions"].as_u64().unwrap() > 0, "{concepts}");
    assert_eq!(first["extracted_by"], "local");
    let related = format!("/library/api/concepts/{}/related/", text(first, "concept_uid"));
    let near = client.get(&related).await.expect(200).json();
    assert!(
        near["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["strength"].is_number())
    );
    for uid in ["unknown", "no%20uid"] {
        let path = format!("/library/api/concepts/{uid}/related/");
        assert_eq!(
            client.get(&path).await.expect(404).json()["code"],
            "not_found",
            "{uid}"
        );
    }
    assert_eq!(
        client
            .get("/library/api/concepts/?library_uid=no%20uid")
            .await
            .expect(200)
            .json()["count"],
        0
    );
}

#[tokio::test]
async fn a_file_whose_item_is_lost_is_taken_in_again() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let (ingest, body) = ("/library/api/ingest/", object("w", "a.md", "1"));
    let job = client.post(ingest, &body).await.expect(202).json();
    app.run_jobs().await;
    let uid = ItemUid::parse(text(&job, "item_uid")).unwrap();
    app.knowledge.delete_item(&uid).await.unwrap().unwrap();
    client.post(ingest, &body).await.expect(200);

    app.services.mend(Reach::Whole).await.unwrap();
    assert_eq!(app.relational.blob_holders().await.unwrap(), [""; 0]);
    client.post(ingest, &body).await.expect(202);
}

#[tokio::test]
async fn a_deletion_that_is_cut_off_anywhere_leaves_nothing_that_counts_as_done() {
    let app = TestApp::start().await;
    let client = app.daedalus();
    let library = workspace(&client, "w").await;
    app.put_into_bucket("a.md", TEXT);
    let (ingest, body) = ("/library/api/ingest/", object("w", "a.md", "1"));
    let mut cut_off = 0;
    for polls in 0..200 {
        let job = client.post(ingest, &body).await.json();
        app.run_jobs().await;
        let uid = ItemUid::parse(text(&job, "item_uid")).unwrap();
        // Polled a few times and dropped, wherever it then is.
        let mut deleting = Box::pin(app.services.delete_item(&Principal::Local, &uid));
        let mut ended = false;
        for _ in 0..polls {
            ended = futures::poll!(&mut deleting).is_ready();
            if ended {
                break;
            }
            // The threads of the database answer in their own time.
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
        drop(deleting);
        cut_off += usize::from(!ended);
        // What was sent already is done behind this.
        let unknown = ItemUid::generate();
        assert!(app.knowledge.delete_staged_item(&unknown).await.unwrap());
        app.services.mend(Reach::Jobless).await.unwrap();
        let item = app.knowledge.item(&uid).await.unwrap();
        let answer = client.post(ingest, &body).await;
        if item.is_none() {
            assert_eq!(answer.code(), 202, "cut off after {polls}");
            app.run_jobs().await;
        }
        let library = format!("/library/api/libraries/{}/", text(&library, "library_uid"));
        assert_eq!(client.get(&library).await.expect(200).json()["item_count"], 1);
        if ended {
            break;
        }
    }
    assert!(cut_off > 3, "it was over after {cut_off}");
    let filter = mnemosyne_domain::ports::ItemFilter {
        status: Some(EmbeddingStatus::Processing),
        ..Default::default()
    };
    let page = mnemosyne_domain::PageRequest::first(10);
    assert_eq!(app.knowledge.items(&filter, page).await.unwrap().total, 0);
}
