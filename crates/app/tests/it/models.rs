//! Servers of models and their models: over REST, by page, and what they change about ingest and search.

use axum::body::Body;
use http::Method;
use mnemosyne_domain::{ApiKey, Principal};
use mnemosyne_services::providers::{KeyRequest, ProviderRequest};
use mnemosyne_services::signing_keys::OtherKeys;
use mnemosyne_testkit::app::{Answer, Client, Form, PASSWORD, TestApp};
use mnemosyne_testkit::fake_embedder::{FakeAnswer, FakeEmbeddingServer, FakeLimits};
use serde_json::{Value, json};

use crate::support::{TEXT, text, workspace};

const ADMIN: &str = "admin";
const KEY: &str = "sk-0123456789-very-secret";
const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";

async fn start() -> (TestApp, FakeEmbeddingServer) {
    let app = TestApp::start_with_registry(&["127.0.0.1"]).await;
    app.add_user(ADMIN, true).await;
    let server = FakeEmbeddingServer::start(FakeLimits::default()).await.unwrap();
    (app, server)
}

fn admin(app: &TestApp) -> Client<'_> {
    app.stranger().basic(ADMIN, PASSWORD)
}

/// Registers a server; its address.
async fn provider(client: &Client<'_>, name: &str, base_url: &str) -> (String, Value) {
    let body = json!({"name": name, "base_url": base_url, "api_key": KEY});
    let made = client
        .post("/library/api/providers/", &body)
        .await
        .expect(201)
        .json();
    (
        format!("/library/api/providers/{}/", text(&made, "provider_uid")),
        made,
    )
}

/// Registers a model; its address.
async fn model(client: &Client<'_>, provider: &Value, body: Value) -> (String, Value) {
    let mut body = body;
    body["provider_uid"] = provider["provider_uid"].clone();
    let made = client
        .post("/library/api/models/", &body)
        .await
        .expect(201)
        .json();
    (format!("/library/api/models/{}/", text(&made, "model_uid")), made)
}

async fn ingest_bees(app: &TestApp, workspace_id: &str) {
    let form = Form::new()
        .text("workspace_id", workspace_id)
        .file("file", "bees.md", "text/markdown", TEXT);
    app.daedalus()
        .post_form("/library/api/ingest/", &form)
        .await
        .expect(202);
    app.run_jobs().await;
}

async fn search(app: &TestApp, workspace_id: &str) -> Value {
    let body = json!({"query": "How does a colony of bees winter?", "workspace_id": workspace_id});
    app.daedalus()
        .post("/library/api/search/", &body)
        .await
        .expect(200)
        .json()
}

#[tokio::test]
async fn a_provider_is_made_changed_and_removed_and_its_key_is_never_told() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (address, made) = provider(&client, "gpu", &server.base_url()).await;
    assert_eq!(
        (&made["kind"], &made["verify_tls"], &made["timeout_seconds"]),
        (&json!("openai"), &json!(true), &json!(120))
    );
    assert_eq!(
        (
            &made["api_key_set"],
            &made["api_key_hint"],
            &made["api_key_readable"]
        ),
        (&json!(true), &json!("cret"), &json!(true))
    );
    let change = json!({"name": "rack", "max_parallel": 2, "verify_tls": false, "kind": "synesis"});
    let changed = client.patch(&address, &change).await.expect(200).json();
    assert_eq!(
        (&changed["name"], &changed["max_parallel"], &changed["kind"]),
        (&json!("rack"), &json!(2), &json!("synesis"))
    );
    assert_eq!(changed["api_key_set"], true, "what is not said stays");
    let listed = client.get("/library/api/providers/").await.expect(200);
    assert_eq!(listed.json()["count"], 1);
    for answer in [&listed, &client.get(&address).await.expect(200)] {
        assert!(!answer.text().contains(KEY) && !answer.text().contains("very"));
    }
    for (value, is_set) in [(json!("another-key"), true), (json!(null), false)] {
        let changed = client
            .patch(&address, &json!({"api_key": value}))
            .await
            .expect(200);
        assert_eq!(changed.json()["api_key_set"], is_set);
        assert!(!changed.text().contains("another-key"));
    }
    client.delete(&address).await.expect(204);
    client.delete(&address).await.expect(404);
    client.get(&address).await.expect(404);
}

#[tokio::test]
async fn wrong_fields_are_named_and_names_are_unique() {
    let (app, server) = start().await;
    let client = admin(&app);
    provider(&client, "gpu", &server.base_url()).await;
    let taken = json!({"name": "gpu", "base_url": server.base_url()});
    let conflict = client
        .post("/library/api/providers/", &taken)
        .await
        .expect(409)
        .json();
    assert_eq!(conflict["code"], "name_conflict");
    let wrong = json!({"name": " ", "kind": "morse", "batch_size": 0, "api_key": "with space"});
    let fields = client
        .post("/library/api/providers/", &wrong)
        .await
        .expect(400)
        .json();
    for field in ["name", "kind", "batch_size", "api_key", "base_url"] {
        assert!(fields[field].is_array(), "{field}: {fields}");
    }
    for base_url in [
        "ftp://host/",
        "nonsense",
        "https://user:pass@host/",
        "https://host/?key=1",
    ] {
        let body = json!({"name": "x", "base_url": base_url});
        let fields = client
            .post("/library/api/providers/", &body)
            .await
            .expect(400)
            .json();
        assert!(fields["base_url"].is_array(), "{base_url}: {fields}");
        assert!(!fields.to_string().contains("user:pass"), "{fields}");
    }
}

#[tokio::test]
async fn a_private_address_is_refused_unless_a_setting_names_it() {
    let app = TestApp::start_with_registry(&[]).await;
    app.add_user(ADMIN, true).await;
    let client = admin(&app);
    for base_url in [
        "http://127.0.0.1:8080/v1",
        "http://localhost:8080",
        "http://169.254.169.254/latest",
        "http://0x7f000001/",
        "http://[::ffff:10.0.0.1]/",
    ] {
        let body = json!({"name": "inside", "base_url": base_url, "allow_private": true});
        let fields = client
            .post("/library/api/providers/", &body)
            .await
            .expect(400)
            .json();
        let said = fields["base_url"][0].as_str().unwrap();
        assert!(
            said.contains("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS"),
            "{base_url}: {said}"
        );
    }
    // Somebody who may set the environment can say so by command; a change over REST to another host takes it back.
    let request = ProviderRequest {
        name: Some("inside".into()),
        base_url: Some("http://127.0.0.1:8080/v1".into()),
        allow_private: Some(true),
        ..ProviderRequest::default()
    };
    let made = app
        .services
        .create_provider(&Principal::Local, request)
        .await
        .unwrap();
    let address = format!("/library/api/providers/{}/", made.provider.uid);
    let kept = client
        .patch(&address, &json!({"base_url": "http://127.0.0.1:8080"}))
        .await;
    assert_eq!(kept.expect(200).json()["private_address_allowed"], true);
    client
        .patch(&address, &json!({"base_url": "http://127.0.0.1:9"}))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_stored_key_does_not_follow_to_another_host() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (address, _) = provider(&client, "gpu", &server.base_url()).await;
    let elsewhere = json!({"base_url": "https://1.1.1.1/v1"});
    let fields = client.patch(&address, &elsewhere).await.expect(400).json();
    assert!(fields["api_key"].is_array(), "{fields}");
    let with_key = json!({"base_url": "https://1.1.1.1/v1", "api_key": "another-key"});
    client.patch(&address, &with_key).await.expect(200);
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_not_overwritten() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (address, made) = provider(&client, "gpu", &server.base_url()).await;
    let move_it = json!({"base_url": "https://1.1.1.1/v1", "api_key": "key-of-the-new-host"});
    let moved = client.patch(&address, &move_it).await.expect(200).json();
    let rotate = json!({"api_key": "rotated-key", "updated_at": made["updated_at"]});
    let refused = client.patch(&address, &rotate).await.expect(409);
    assert_eq!(refused.json()["code"], "conflict");
    assert!(!refused.text().contains("rotated"));
    assert_eq!(client.get(&address).await.expect(200).json(), moved);
    let rotate = json!({"api_key": "rotated-key", "updated_at": moved["updated_at"]});
    client.patch(&address, &rotate).await.expect(200);

    let words = json!({"name": "fake-words", "role": "embedding", "dimension": 8});
    let (address, made) = model(&client, &made, words).await;
    client
        .patch(&address, &json!({"is_default": true}))
        .await
        .expect(200);
    let stale = json!({"takes_instructions": true, "updated_at": made["updated_at"]});
    let refused = client.patch(&address, &stale).await.expect(409).json();
    assert_eq!(refused["code"], "conflict");
    let now = client.get(&address).await.expect(200).json();
    assert_eq!(
        (&now["is_default"], &now["takes_instructions"]),
        (&json!(true), &Value::Null)
    );
}

#[tokio::test]
async fn a_key_and_an_address_that_are_changed_at_once_stay_together() {
    let (app, server) = start().await;
    let client = admin(&app);
    for round in 0..12 {
        let (address, _) = provider(&client, &format!("gpu {round}"), &server.base_url()).await;
        let rotate = json!({"api_key": "rotated-key"});
        let elsewhere = json!({"base_url": "https://1.1.1.1/v1", "api_key": "key-of-the-new-host"});
        let (rotated, moved) = tokio::join!(
            client.patch(&address, &rotate),
            client.patch(&address, &elsewhere)
        );
        for answer in [&rotated, &moved] {
            assert!(matches!(answer.code(), 200 | 409), "{}", answer.text());
        }
        let now = client.get(&address).await.expect(200).json();
        if moved.code() == 200 {
            assert_eq!(now["base_url"], "https://1.1.1.1/v1", "a change was undone");
        }
    }
}

#[tokio::test]
async fn a_form_that_was_open_while_somebody_else_saved_says_so() {
    let (app, server) = start().await;
    let (client, browser) = (admin(&app), browser(&app).await);
    let base_url = server.base_url();
    let (address, made) = provider(&client, "gpu", &base_url).await;
    let form = format!("/models/providers/{}/edit/", text(&made, "provider_uid"));
    let seen_in = async |form: &str| {
        let page = browser.get(form).await.expect(200);
        between(page.text(), "name=\"seen\" value=\"", "\"").to_owned()
    };
    let fields = |seen: &str| {
        [
            ("name", "gpu".to_owned()),
            ("kind", "openai".to_owned()),
            ("base_url", base_url.clone()),
            ("api_key", "rotated-key".to_owned()),
            ("seen", seen.to_owned()),
        ]
    };
    let send = async |form: &str, fields: &[(&str, String)]| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        post(&browser, form, &fields).await
    };
    let seen = seen_in(&form).await;
    let elsewhere = json!({"base_url": "https://1.1.1.1/v1", "api_key": "key-of-the-new-host"});
    client.patch(&address, &elsewhere).await.expect(200);
    for wrong in [seen.as_str(), "0", "nonsense", "-1", "99999999999999999999"] {
        let refused = send(&form, &fields(wrong)).await.expect(422);
        assert!(
            refused.text().contains("changed by somebody else meanwhile"),
            "{wrong}"
        );
        assert!(!refused.text().contains("rotated-key"));
    }
    let now = client.get(&address).await.expect(200).json();
    assert_eq!(
        (&now["base_url"], &now["api_key_hint"]),
        (&json!("https://1.1.1.1/v1"), &json!("host"))
    );
    let seen = seen_in(&form).await;
    send(&form, &fields(&seen)).await.expect(303);

    let words = json!({"name": "fake-words", "role": "embedding", "dimension": 8});
    let (address, made) = model(&client, &made, words).await;
    let form = format!("/models/{}/edit/", text(&made, "model_uid"));
    let seen = seen_in(&form).await;
    client
        .patch(&address, &json!({"is_default": true}))
        .await
        .expect(200);
    let fields = |seen: String| {
        [
            ("name", "fake-words".to_owned()),
            ("role", "embedding".to_owned()),
            ("seen", seen),
        ]
    };
    let refused = send(&form, &fields(seen)).await.expect(422);
    assert!(refused.text().contains("changed by somebody else meanwhile"));
    assert_eq!(client.get(&address).await.expect(200).json()["is_default"], true);
    let seen = seen_in(&form).await;
    send(&form, &fields(seen)).await.expect(303);
}

#[tokio::test]
async fn only_administrators_see_servers_and_models() {
    let (app, server) = start().await;
    let (provider_address, made) = provider(&admin(&app), "gpu", &server.base_url()).await;
    let (model_address, _) = model(
        &admin(&app),
        &made,
        json!({"name": "fake-words", "role": "embedding", "dimension": 8}),
    )
    .await;
    let client = app.daedalus();
    for address in [&provider_address, &model_address] {
        client.get(address).await.expect(403);
        client.patch(address, &json!({"name": "mine"})).await.expect(403);
        client.delete(address).await.expect(403);
        client
            .post(&format!("{address}test/"), &json!({}))
            .await
            .expect(403);
    }
    for address in ["/library/api/providers/", "/library/api/models/"] {
        client.get(address).await.expect(403);
        client.post(address, &json!({})).await.expect(403);
    }
    assert!(server.requests().is_empty());
    let browser = app
        .browser(mnemosyne_testkit::app::USERNAME)
        .await
        .cookie("csrftoken", SECRET);
    for page in [
        "/models/",
        "/models/providers/new/",
        "/models/new/?provider=x",
        "/models/x/edit/",
        "/models/providers/x/delete/",
    ] {
        browser.get(page).await.expect(403);
    }
    for page in [
        "/models/providers/new/",
        "/models/new/",
        "/models/x/test/",
        "/models/providers/x/test/",
        "/models/x/delete/",
    ] {
        post(&browser, page, &[("name", "x"), ("provider", "x")])
            .await
            .expect(403);
    }
    let home = browser.get("/").await.expect(200);
    assert!(!home.text().contains("href=\"/models/\""));
}

#[tokio::test]
async fn models_are_tested_by_a_real_call() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (address, made) = provider(&client, "gpu", &server.base_url()).await;
    let listed = client
        .post(&format!("{address}test/"), &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!((&listed["ok"], &listed["error"]), (&json!(true), &Value::Null));
    assert_eq!(listed["models"][0], "fake-words");
    assert!(listed["latency_ms"].is_f64(), "{listed}");
    for role in ["reranker", "chat", "vision"] {
        let (address, _) = model(&client, &made, json!({"name": "m", "role": role})).await;
        let test = client
            .post(&format!("{address}test/"), &json!({}))
            .await
            .expect(200)
            .json();
        assert_eq!(test["ok"], true, "{role}: {test}");
        server.next(FakeAnswer::Status {
            code: 401,
            retry_after: None,
            body: format!("the key {KEY} is unknown"),
        });
        let refused = client
            .post(&format!("{address}test/"), &json!({}))
            .await
            .expect(200);
        assert!(!refused.text().contains(KEY));
        let refused = refused.json();
        assert_eq!(refused["ok"], false);
        assert!(text(&refused, "error").contains("401"), "{refused}");
    }
    // Of an embedding model whose dimension is not said, the server is asked.
    let (address, asked) = model(&client, &made, json!({"name": "fake-words", "role": "embedding"})).await;
    assert_eq!(asked["dimension"], 8);
    let test = client
        .post(&format!("{address}test/"), &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!((&test["ok"], &test["dimension"]), (&json!(true), &json!(8)));
    client.patch(&address, &json!({"dimension": 9})).await.expect(200);
    let test = client
        .post(&format!("{address}test/"), &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&test["ok"], &test["dimension"]),
        (&json!(false), &json!(8)),
        "{test}"
    );
    server.next(FakeAnswer::Status {
        code: 404,
        retry_after: None,
        body: "no such model".into(),
    });
    let body = json!({"provider_uid": made["provider_uid"], "name": "other", "role": "embedding"});
    let fields = client
        .post("/library/api/models/", &body)
        .await
        .expect(400)
        .json();
    assert!(fields["dimension"].is_array(), "{fields}");
}

#[tokio::test]
async fn wrong_fields_of_a_model_are_named() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (_, made) = provider(&client, "gpu", &server.base_url()).await;
    let uid = &made["provider_uid"];
    for (body, field) in [
        (json!({"name": "m", "role": "chat"}), "provider_uid"),
        (json!({"provider_uid": uid, "role": "chat"}), "name"),
        (json!({"provider_uid": uid, "name": "m"}), "role"),
        (json!({"provider_uid": uid, "name": "m", "role": "poet"}), "role"),
        (
            json!({"provider_uid": uid, "name": "m", "role": "chat", "dimension": 8}),
            "dimension",
        ),
        (
            json!({"provider_uid": uid, "name": "m", "role": "embedding", "dimension": 0}),
            "dimension",
        ),
        (
            json!({"provider_uid": uid, "name": "m", "role": "embedding", "dimension": 99_999}),
            "dimension",
        ),
    ] {
        let fields = client
            .post("/library/api/models/", &body)
            .await
            .expect(400)
            .json();
        assert!(fields[field].is_array(), "{body}: {fields}");
    }
    let homeless = json!({"provider_uid": "unknown", "name": "m", "role": "chat"});
    client.post("/library/api/models/", &homeless).await.expect(404);
    let (address, _) = model(
        &client,
        &made,
        json!({"name": "m", "role": "chat", "is_default": true}),
    )
    .await;
    let again = json!({"provider_uid": uid, "name": "m", "role": "chat"});
    let conflict = client
        .post("/library/api/models/", &again)
        .await
        .expect(409)
        .json();
    assert_eq!(conflict["code"], "name_conflict");
    client
        .patch(&address, &json!({"role": "vision"}))
        .await
        .expect(400);
    client.patch(&address, &json!({"role": "chat"})).await.expect(200);
    let kept = client.delete(&address).await.expect(409).json();
    assert_eq!(kept["code"], "default_model");
    client
        .patch(&address, &json!({"is_default": false}))
        .await
        .expect(200);
    client.delete(&address).await.expect(204);
    let listed = client
        .get("/library/api/models/?role=chat")
        .await
        .expect(200)
        .json();
    assert_eq!(listed["count"], 0);
    client.get("/library/api/models/?role=poet").await.expect(400);
}

#[tokio::test]
async fn the_system_model_makes_vectors_and_a_library_keeps_its_own() {
    let (app, server) = start().await;
    let client = admin(&app);
    let daedalus = app.daedalus();
    for id in ["before", "with", "after"] {
        workspace(&daedalus, id).await;
    }
    ingest_bees(&app, "before").await;
    let (provider_address, made) = provider(&client, "gpu", &server.base_url()).await;
    let (address, _) = model(
        &client,
        &made,
        json!({"name": "fake-words", "role": "embedding", "dimension": 8, "is_default": true}),
    )
    .await;
    assert!(server.requests().is_empty());
    ingest_bees(&app, "with").await;
    let passages = server.requests().len();
    assert!(passages > 0, "passages are embedded by the registered model");
    assert_eq!(
        server.requests()[0].authorization.as_deref(),
        Some(format!("Bearer {KEY}").as_str())
    );
    let found = search(&app, "with").await;
    assert_eq!(found["degraded"], json!([]), "{found}");
    assert!(found["results"][0]["legs"]["vector"]["rank"].is_u64(), "{found}");
    assert!(server.requests().len() > passages, "questions are, too");
    let questions = server.requests().len();
    let found = search(&app, "before").await;
    assert_eq!(found["degraded"], json!([]), "{found}");
    assert_eq!(
        server.requests().len(),
        questions,
        "a library from before keeps its lexical model"
    );

    let kept = client.delete(&address).await.expect(409).json();
    assert_eq!(kept["code"], "default_model");
    client
        .patch(&address, &json!({"is_default": false}))
        .await
        .expect(200);
    for (answer, what) in [
        (client.delete(&address).await, "the model"),
        (client.delete(&provider_address).await, "its server"),
        (
            client.patch(&address, &json!({"dimension": 16})).await,
            "its dimension",
        ),
        (
            client.patch(&address, &json!({"name": "other"})).await,
            "its name",
        ),
    ] {
        let kept = answer.expect(409).json();
        assert_eq!(kept["code"], "model_in_use", "{what}");
        assert!(text(&kept, "detail").contains("Library of with"), "{kept}");
    }
    ingest_bees(&app, "after").await;
    assert_eq!(
        server.requests().len(),
        questions,
        "no new library takes a model that is not the system's"
    );
    search(&app, "with").await;
    assert!(
        server.requests().len() > questions,
        "the library with its vectors is still asked by it"
    );
    // Where another server offers the same, neither is needed.
    let (_, second) = provider(&client, "spare", &server.base_url()).await;
    model(
        &client,
        &second,
        json!({"name": "fake-words", "role": "embedding", "dimension": 8}),
    )
    .await;
    client.delete(&address).await.expect(204);
    assert_eq!(search(&app, "with").await["degraded"], json!([]));
    daedalus.delete("/library/api/workspaces/with/").await.expect(204);
    client.delete(&provider_address).await.expect(204);
}

#[tokio::test]
async fn what_is_sealed_is_not_the_secret_and_is_the_same_after_a_rotation() {
    let (app, server) = start().await;
    let client = admin(&app);
    let (_, made) = provider(&client, "gpu", &server.base_url()).await;
    app.services
        .seed_signing_key(&Principal::Local, "k", OtherKeys::Keep)
        .await
        .unwrap();
    let rotation = app.services.rotate_secrets(&Principal::Local).await.unwrap();
    assert!(rotation.is_complete());
    assert_eq!(
        (rotation.provider_keys.current, rotation.provider_keys.resealed),
        (1, 0)
    );
    assert_eq!(
        (rotation.signing_keys.current, rotation.signing_keys.resealed),
        (1, 0)
    );
    let uid = mnemosyne_domain::ProviderUid::parse(text(&made, "provider_uid")).unwrap();
    let stored = mnemosyne_domain::ports::Providers::provider(app.relational.as_ref(), &uid)
        .await
        .unwrap()
        .unwrap();
    assert!(!stored.sealed_key.clone().unwrap().contains(KEY));
    assert!(!format!("{stored:?}").contains(&stored.sealed_key.clone().unwrap()));
    // What no key opens is named, and stays.
    mnemosyne_domain::ports::Providers::reseal_provider_key(
        app.relational.as_ref(),
        &uid,
        &stored.sealed_key.unwrap(),
        "gAAAAA-nonsense",
    )
    .await
    .unwrap();
    let rotation = app.services.rotate_secrets(&Principal::Local).await.unwrap();
    assert_eq!(rotation.provider_keys.unreadable, ["gpu"]);
    let shown = client
        .get(&format!("/library/api/providers/{uid}/"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            &shown["api_key_set"],
            &shown["api_key_readable"],
            &shown["api_key_hint"]
        ),
        (&json!(true), &json!(false), &Value::Null)
    );
    let test = client
        .post(&format!("/library/api/providers/{uid}/test/"), &json!({}))
        .await
        .expect(200)
        .json();
    assert!(text(&test, "error").contains("enter it again"), "{test}");
    let request = ProviderRequest {
        api_key: KeyRequest::Set(ApiKey::new("another")),
        ..ProviderRequest::default()
    };
    app.services
        .update_provider(&Principal::Local, &uid, request)
        .await
        .unwrap();
    assert!(
        app.services
            .rotate_secrets(&Principal::Local)
            .await
            .unwrap()
            .is_complete()
    );
}

#[tokio::test]
async fn no_metric_tells_a_secret() {
    let (app, server) = start().await;
    let (address, _) = provider(&admin(&app), "gpu", &server.base_url()).await;
    admin(&app).get(&address).await.expect(200);
    let metrics = app.stranger().get("/metrics").await.expect(200);
    assert!(!metrics.text().contains(KEY) && !metrics.text().contains("gAAAAA"));
}

// -- the pages --

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

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

async fn browser(app: &TestApp) -> Client<'_> {
    app.browser(ADMIN)
        .await
        .cookie("csrftoken", SECRET)
        .with("accept", "text/html")
}

/// What stands between two texts in a page.
fn between<'p>(page: &'p str, begin: &str, end: &str) -> &'p str {
    let at = page.find(begin).unwrap_or_else(|| panic!("no {begin} in {page}")) + begin.len();
    page[at..].split(end).next().unwrap()
}

#[tokio::test]
async fn everything_can_be_done_by_page() {
    let (app, server) = start().await;
    let client = browser(&app).await;
    let empty = client.get("/models/").await.expect(200);
    assert!(empty.text().contains("No provider yet") && empty.text().contains("lexical-hash-v1"));
    assert!(empty.text().contains("href=\"/models/\" aria-current"));
    let new = client.get("/models/providers/new/").await.expect(200);
    assert!(new.text().contains("name=\"verify_tls\" value=\"on\" checked"));
    let base_url = server.base_url();
    let fields = [
        ("name", "Rack <1>"),
        ("kind", "openai"),
        ("base_url", base_url.as_str()),
        ("api_key", KEY),
        ("verify_tls", "on"),
        ("timeout_seconds", "7"),
    ];
    let saved = post(&client, "/models/providers/new/", &fields).await.expect(303);
    assert_eq!(saved.header("location"), "/models/");
    let page = client.get("/models/").await.expect(200);
    assert!(page.text().contains("Rack &#60;1&#62;") && page.text().contains("key …cret"));
    assert!(!page.text().contains(KEY));
    let provider = between(page.text(), "/models/new/?provider=", "\"").to_owned();

    let tested = post(&client, &format!("/models/providers/{provider}/test/"), &[]).await;
    assert!(tested.expect(200).text().contains("fake-words"));
    let form = client
        .get(&format!("/models/new/?provider={provider}"))
        .await
        .expect(200);
    assert!(form.text().contains("Rack &lt;1&gt;"));
    let fields = [
        ("provider", provider.as_str()),
        ("name", "fake-words"),
        ("role", "embedding"),
        ("dimension", ""),
        ("is_default", "on"),
    ];
    post(&client, "/models/new/", &fields).await.expect(303);
    let page = client.get("/models/").await.expect(200);
    assert!(
        page.text().contains("8 numbers a vector") && page.text().contains("<strong>fake-words</strong>")
    );
    let at = page.text().rfind("/edit/").unwrap();
    let model = page.text()[..at].rsplit('/').next().unwrap().to_owned();
    let tested = post(&client, &format!("/models/{model}/test/"), &[])
        .await
        .expect(200);
    assert!(tested.text().contains("vector of 8 numbers") && tested.text().contains(" ms"));
    server.next(FakeAnswer::Status {
        code: 401,
        retry_after: None,
        body: format!("wrong key {KEY}"),
    });
    let tested = post(&client, &format!("/models/{model}/test/"), &[])
        .await
        .expect(200);
    assert!(tested.text().contains("401") && !tested.text().contains(KEY));

    let edit = client.get(&format!("/models/{model}/edit/")).await.expect(200);
    assert!(edit.text().contains("name=\"is_default\" value=\"on\" checked"));
    client.get(&format!("/models/{model}/delete/")).await.expect(200);
    post(&client, &format!("/models/{model}/delete/"), &[])
        .await
        .expect(409);
    let fields = [
        ("name", "fake-words"),
        ("role", "embedding"),
        ("takes_instructions", "yes"),
    ];
    post(&client, &format!("/models/{model}/edit/"), &fields)
        .await
        .expect(303);
    let edit = client.get(&format!("/models/{model}/edit/")).await.expect(200);
    assert!(edit.text().contains("value=\"yes\" selected") && edit.text().contains("value=\"8\""));

    let edit = client
        .get(&format!("/models/providers/{provider}/edit/"))
        .await
        .expect(200);
    assert!(edit.text().contains("ends in cret") && !edit.text().contains(KEY));
    assert!(edit.text().contains("value=\"7\""));
    let gone = client
        .get(&format!("/models/providers/{provider}/delete/"))
        .await
        .expect(200);
    assert!(gone.text().contains("fake-words"));
    post(&client, &format!("/models/{model}/delete/"), &[])
        .await
        .expect(303);
    post(&client, &format!("/models/providers/{provider}/delete/"), &[])
        .await
        .expect(303);
    let page = client.get("/models/").await.expect(200);
    assert!(page.text().contains("No provider yet"));
}

#[tokio::test]
async fn what_was_typed_survives_and_the_key_does_not() {
    let (app, _server) = start().await;
    let client = browser(&app).await;
    for fields in [
        vec![
            ("name", "kept text"),
            ("base_url", "http://10.1.2.3/"),
            ("api_key", KEY),
        ],
        vec![("name", "kept text"), ("base_url", "nonsense"), ("api_key", KEY)],
        vec![
            ("name", "kept text"),
            ("base_url", "https://1.1.1.1/"),
            ("batch_size", "many"),
            ("api_key", KEY),
        ],
    ] {
        let again = post(&client, "/models/providers/new/", &fields).await.expect(422);
        assert!(
            again.text().contains("kept text") && again.text().contains("field-error"),
            "{fields:?}"
        );
        assert!(!again.text().contains(KEY), "{fields:?}");
    }
    let over = app
        .stranger()
        .cookie("csrftoken", SECRET)
        .cookie("sessionid", "over")
        .with("accept", "text/html");
    let fields = [
        ("name", "kept text"),
        ("base_url", "https://1.1.1.1/"),
        ("api_key", KEY),
    ];
    let asked = post(&over, "/models/providers/new/", &fields).await.expect(403);
    assert!(asked.text().contains("kept text") && !asked.text().contains(KEY));
    let back = [
        ("username", ADMIN),
        ("password", PASSWORD),
        ("next", "/models/providers/new/"),
        ("kept.name", "kept text"),
        ("kept.base_url", "https://1.1.1.1/"),
    ];
    let shown = post(&over, "/accounts/login/", &back).await.expect(200);
    assert!(shown.text().contains("value=\"kept text\"") && shown.text().contains("Add the provider"));
    let forged = client
        .send(
            Method::POST,
            "/models/providers/new/",
            Some("application/x-www-form-urlencoded"),
            "name=x&base_url=https://1.1.1.1/&api_key=k",
        )
        .await
        .expect(403);
    assert!(forged.text().contains("value=\"x\""));
    assert_eq!(
        admin(&app)
            .get("/library/api/providers/")
            .await
            .expect(200)
            .json()["count"],
        0
    );
}
