//! Trying out registered servers, and the registry over them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mnemosyne_domain::ports::{
    EmbedError, EmbedText, EmbedderRegistry, ModelServers, RegisteredModel, RegisteredModels,
};
use mnemosyne_domain::{
    ApiKey, EmbeddingPurpose, ModelDraft, ModelRole, ModelTarget, ProviderDraft, ProviderKey, ProviderKind,
    ProviderLimits, ProviderUid, StoreError, StoreResult, VectorSpace,
};
use mnemosyne_http::OutboundSettings;
use mnemosyne_inference::models::ModelStore;
use mnemosyne_inference::{Clients, OpenAiSettings, Registry, Servers};
use mnemosyne_testkit::fake_embedder::{FakeAnswer, FakeEmbeddingServer, FakeLimits};

const KEY: &str = "sk-very-secret-key";

fn clients(allowed: &[&str]) -> Clients {
    Clients::new(OutboundSettings {
        allowed_private_hosts: allowed.iter().map(|host| (*host).to_owned()).collect(),
        ..OutboundSettings::default()
    })
    .expect("usable")
}

fn target(base_url: String) -> ModelTarget {
    ModelTarget {
        provider: ProviderUid::parse("provider").expect("an identifier"),
        server: ProviderDraft {
            name: "gpu".into(),
            kind: ProviderKind::OpenAi,
            base_url,
            verify_tls: true,
            allow_private: false,
            limits: ProviderLimits::default(),
        },
        key: ProviderKey::Open(ApiKey::new(KEY)),
    }
}

fn model(role: ModelRole, name: &str) -> ModelDraft {
    ModelDraft {
        name: name.into(),
        role,
        dimension: (role == ModelRole::Embedding).then_some(8),
        takes_instructions: None,
        is_default: false,
    }
}

fn status(code: u16, body: &str) -> FakeAnswer {
    FakeAnswer::Status {
        code,
        retry_after: None,
        body: body.into(),
    }
}

async fn fake() -> FakeEmbeddingServer {
    FakeEmbeddingServer::start(FakeLimits::default())
        .await
        .expect("a port is free")
}

#[tokio::test]
async fn each_role_is_tried_by_a_real_call() {
    let server = fake().await;
    let servers = Servers::new(clients(&["127.0.0.1"]));
    let target = target(server.base_url());
    let embedding = servers
        .try_model(&target, &model(ModelRole::Embedding, "fake-words"))
        .await
        .expect("a vector");
    assert_eq!(embedding.dimension, Some(8));
    for (role, said) in [
        (ModelRole::Reranker, "right one"),
        (ModelRole::Chat, "ready"),
        (ModelRole::Vision, "grey"),
    ] {
        let answer = servers
            .try_model(&target, &model(role, "m"))
            .await
            .expect("an answer");
        assert!(answer.detail.contains(said), "{answer:?}");
        assert_eq!(answer.dimension, None);
    }
    let listed = servers.ask_for_models(&target).await.expect("a list");
    assert_eq!(listed.models, ["fake-words", "fake-chat"]);
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    let bearer = format!("Bearer {KEY}");
    assert!(
        requests
            .iter()
            .all(|request| request.authorization.as_deref() == Some(&bearer))
    );
    assert_eq!(requests[1].body["documents"].as_array().map(Vec::len), Some(2));
    let picture = &requests[3].body["messages"][0]["content"][1]["image_url"]["url"];
    assert!(
        picture
            .as_str()
            .is_some_and(|url| url.starts_with("data:image/png"))
    );
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_the_key() {
    let server = fake().await;
    let servers = Servers::new(clients(&["127.0.0.1"]));
    let target = target(server.base_url());
    for role in ModelRole::ALL {
        let refused = format!("{{\"error\": \"wrong key {KEY}\"}}");
        server.next(status(401, &refused));
        let said = servers.try_model(&target, &model(role, "m")).await;
        let said = said.expect_err("refused").0;
        assert!(said.contains("401") && said.contains("[redacted]"), "{said}");
        assert!(!said.contains(KEY), "{said}");
        server.next(FakeAnswer::Body("no JSON".into()));
        let said = servers.try_model(&target, &model(role, "m")).await;
        assert!(said.expect_err("no JSON").0.contains("unusable"));
    }
    for nonsense in [
        "{\"results\": []}",
        "{\"results\": [{\"index\": 0, \"relevance_score\": 1}, {\"index\": 0, \"relevance_score\": 1}]}",
    ] {
        server.next(FakeAnswer::Body(nonsense.into()));
        let said = servers.try_model(&target, &model(ModelRole::Reranker, "m")).await;
        assert!(said.is_err(), "{nonsense}");
    }
    server.next(FakeAnswer::Body("{\"choices\": []}".into()));
    let said = servers.try_model(&target, &model(ModelRole::Chat, "m")).await;
    assert!(said.is_err());
}

#[tokio::test]
async fn a_server_without_a_list_of_models_is_there_all_the_same() {
    let server = fake().await;
    let servers = Servers::new(clients(&["127.0.0.1"]));
    server.next(status(404, ""));
    let answer = servers.ask_for_models(&target(server.base_url())).await;
    assert!(answer.expect("it answered").models.is_empty());
    server.next(status(403, "no"));
    assert!(servers.ask_for_models(&target(server.base_url())).await.is_err());
}

#[tokio::test]
async fn a_limit_by_another_name_is_tried() {
    let server = fake().await;
    let servers = Servers::new(clients(&["127.0.0.1"]));
    server.next(status(400, "Use 'max_completion_tokens' instead."));
    let answer = servers
        .try_model(&target(server.base_url()), &model(ModelRole::Chat, "m"))
        .await;
    assert!(answer.is_ok(), "{answer:?}");
    let requests = server.requests();
    assert!(requests[0].body["max_tokens"].is_u64());
    assert!(requests[1].body["max_completion_tokens"].is_u64() && requests[1].body["max_tokens"].is_null());
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = fake().await;
    let servers = Servers::new(clients(&["127.0.0.1"]));
    let mut target = target(server.base_url());
    target.server.limits.timeout = Duration::from_millis(50);
    for role in ModelRole::ALL {
        server.next(FakeAnswer::Silence);
        let said = servers.try_model(&target, &model(role, "m")).await;
        assert!(
            said.expect_err("silence").0.contains("did not answer"),
            "{role:?}"
        );
    }
}

#[tokio::test]
async fn a_private_address_needs_leave() {
    let server = fake().await;
    let strict = Servers::new(clients(&[]));
    let mut target = target(server.base_url());
    let refused = strict.admit(&target.server).await.expect_err("private").0;
    assert!(refused.contains("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS"), "{refused}");
    for role in ModelRole::ALL {
        let refused = strict.try_model(&target, &model(role, "m")).await;
        assert!(refused.expect_err("private").0.contains("private address"));
    }
    assert!(strict.ask_for_models(&target).await.is_err());
    assert!(server.requests().is_empty());

    target.server.allow_private = true;
    strict.admit(&target.server).await.expect("meant");
    strict.ask_for_models(&target).await.expect("meant");
    server.next(FakeAnswer::Redirect("http://127.0.0.2/v1/rerank".into()));
    let elsewhere = strict.try_model(&target, &model(ModelRole::Reranker, "m")).await;
    assert!(elsewhere.is_err(), "a redirect leads to no other private host");
    target.server.allow_private = false;
    target.server.verify_tls = false;
    assert!(
        strict.admit(&target.server).await.is_err(),
        "a variant keeps the rule"
    );
    let named = Servers::new(clients(&["127.0.0.1"]));
    named.admit(&target.server).await.expect("named");
}

/// What is registered, as a test changes it.
#[derive(Default)]
struct Source {
    models: Mutex<Vec<RegisteredModel>>,
    is_away: Mutex<bool>,
}

impl Source {
    fn set(&self, models: Vec<RegisteredModel>) {
        *self.models.lock().expect("no panic") = models;
    }
}

#[async_trait::async_trait]
impl RegisteredModels for Source {
    async fn registered_models(&self) -> StoreResult<Vec<RegisteredModel>> {
        if *self.is_away.lock().expect("no panic") {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(self.models.lock().expect("no panic").clone())
    }
}

fn registered(base_url: &str, name: &str, is_default: bool) -> RegisteredModel {
    RegisteredModel {
        target: target(base_url.to_owned()),
        model: ModelDraft {
            is_default,
            ..model(ModelRole::Embedding, name)
        },
    }
}

struct Setting {
    source: Arc<Source>,
    registry: Registry,
    _folder: tempfile::TempDir,
}

fn setting(environment: Option<OpenAiSettings>) -> Setting {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Arc::new(Source::default());
    let clients = clients(&["127.0.0.1"]);
    let store = ModelStore::with_catalogue(folder.path(), &[]);
    let registry = Registry::with_store(environment, store, clients.shared())
        .expect("usable")
        .with_registered(source.clone(), clients);
    Setting {
        source,
        registry,
        _folder: folder,
    }
}

async fn ids(registry: &Registry) -> Vec<String> {
    let available = registry.available().await.expect("readable");
    available.into_iter().map(|model| model.id).collect()
}

#[tokio::test]
async fn the_registered_system_model_comes_before_the_environments() {
    let environment = OpenAiSettings::new("http://127.0.0.1:1", "remote-model", 4);
    let Setting {
        source,
        registry,
        _folder,
    } = setting(Some(environment));
    assert_eq!(ids(&registry).await, ["remote-model", "lexical-hash-v1"]);
    source.set(vec![
        registered("http://127.0.0.1:2", "other", false),
        registered("http://127.0.0.1:2", "chosen", true),
    ]);
    registry.changed();
    assert_eq!(
        ids(&registry).await,
        ["chosen", "remote-model", "lexical-hash-v1", "other"]
    );
    assert_eq!(registry.system().await.expect("readable").model().id, "chosen");
    let space = |model: &str, dimension| VectorSpace {
        model: model.into(),
        dimension,
    };
    for (wanted, is_there) in [
        (space("other", 8), true),
        (space("other", 9), false),
        (space("remote-model", 4), true),
    ] {
        let found = registry.by_space(&wanted).await.expect("readable");
        assert_eq!(found.is_some(), is_there, "{wanted:?}");
    }
    source.set(vec![registered("http://127.0.0.1:2", "other", false)]);
    registry.changed();
    assert_eq!(
        registry.system().await.expect("readable").model().id,
        "remote-model"
    );
    assert!(registry.by_id("other").await.expect("readable").is_some());
}

#[tokio::test]
async fn a_change_of_another_process_is_seen_without_being_told() {
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    assert_eq!(ids(&registry).await, ["lexical-hash-v1"]);
    source.set(vec![registered("http://127.0.0.1:2", "chosen", true)]);
    let seen = async {
        while registry.system().await.expect("readable").model().id != "chosen" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen)
        .await
        .expect("seen");
}

#[tokio::test]
async fn a_model_that_another_process_registered_a_moment_ago_is_not_missing() {
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    assert_eq!(ids(&registry).await, ["lexical-hash-v1"]);
    source.set(vec![registered("http://127.0.0.1:2", "chosen", true)]);
    let space = VectorSpace {
        model: "chosen".into(),
        dimension: 8,
    };
    assert!(registry.by_space(&space).await.expect("readable").is_some());
    source.set(vec![registered("http://127.0.0.1:2", "another", true)]);
    assert!(registry.by_id("another").await.expect("readable").is_some());
}

#[tokio::test]
async fn a_database_that_is_away_changes_nothing_that_was_read() {
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    *source.is_away.lock().expect("no panic") = true;
    assert!(matches!(registry.system().await, Err(StoreError::Unavailable(_))));
    *source.is_away.lock().expect("no panic") = false;
    source.set(vec![registered("http://127.0.0.1:2", "chosen", true)]);
    assert_eq!(registry.system().await.expect("readable").model().id, "chosen");
    *source.is_away.lock().expect("no panic") = true;
    registry.changed();
    assert_eq!(registry.system().await.expect("held").model().id, "chosen");
    *source.is_away.lock().expect("no panic") = false;
    source.set(Vec::new());
    assert_eq!(
        ids(&registry).await,
        ["lexical-hash-v1"],
        "the change is not forgotten"
    );
}

#[tokio::test]
async fn an_embedder_is_kept_until_something_about_it_changes() {
    let server = fake().await;
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    let system = async || registry.system().await.expect("readable");
    source.set(vec![registered(&server.base_url(), "chosen", true)]);
    let first = system().await;
    registry.changed();
    assert!(Arc::ptr_eq(&first, &system().await));
    let mut other_key = registered(&server.base_url(), "chosen", true);
    other_key.target.key = ProviderKey::Open(ApiKey::new("another"));
    source.set(vec![other_key]);
    registry.changed();
    let second = system().await;
    assert!(!Arc::ptr_eq(&first, &second));
    let text = [EmbedText {
        text: "words",
        instruction: None,
    }];
    let vectors = second
        .embed(&text, EmbeddingPurpose::Query)
        .await
        .expect("vectors");
    assert_eq!(vectors[0].len(), 8);
    let authorization = server.requests()[0].authorization.clone();
    assert_eq!(authorization.as_deref(), Some("Bearer another"));
}

#[tokio::test]
async fn a_model_whose_key_cannot_be_opened_keeps_its_place() {
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    let mut locked = registered("http://127.0.0.1:2", "chosen", true);
    locked.target.key = ProviderKey::Unreadable;
    source.set(vec![locked]);
    let system = registry.system().await.expect("readable");
    assert_eq!(
        (system.model().id.as_str(), system.model().dimension),
        ("chosen", 8)
    );
    let text = [EmbedText {
        text: "words",
        instruction: None,
    }];
    let refused = system.embed(&text, EmbeddingPurpose::Query).await;
    assert!(
        matches!(&refused, Err(EmbedError::Permanent { message }) if message.contains("gpu")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn requests_to_a_server_are_held_back_beyond_its_limit() {
    let server = fake().await;
    let Setting {
        source,
        registry,
        _folder,
    } = setting(None);
    let mut narrow = registered(&server.base_url(), "chosen", true);
    narrow.target.server.limits.max_parallel = 1;
    narrow.target.server.limits.timeout = Duration::from_secs(600);
    source.set(vec![narrow]);
    let system = registry.system().await.expect("readable");
    server.next(FakeAnswer::Silence);
    let embed = |system: Arc<dyn mnemosyne_domain::ports::Embedder>| {
        tokio::spawn(async move {
            let text = [EmbedText {
                text: "words",
                instruction: None,
            }];
            system.embed(&text, EmbeddingPurpose::Query).await
        })
    };
    let embeddings = || {
        let requests = server.requests();
        requests
            .iter()
            .filter(|request| request.body["input"].is_array())
            .count()
    };
    let first = embed(system.clone());
    let arrived = async {
        while embeddings() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived)
        .await
        .expect("the first one arrives");
    let second = embed(system);
    // Calls that began after it and are not held back come and go meanwhile.
    let servers = Servers::new(clients(&["127.0.0.1"]));
    for _ in 0..3 {
        let target = target(server.base_url());
        servers.ask_for_models(&target).await.expect("a list");
    }
    assert_eq!(embeddings(), 1, "the second one waits");
    first.abort();
    assert!(second.await.expect("no panic").is_ok(), "and goes on");
}
