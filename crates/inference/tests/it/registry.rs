//! Which model is chosen.

use std::path::Path;

use mnemosyne_domain::ModelKind;
use mnemosyne_domain::ports::EmbedderRegistry;
use mnemosyne_inference::{KnownModel, ModelFile, ModelStore, OpenAiSettings, Registry};

use crate::outbound;

const CONFIGURATION: &str = r#"{"vocab_size":10,"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":1,
"intermediate_size":4,"hidden_act":"gelu","hidden_dropout_prob":0.1,"max_position_embeddings":8,"type_vocab_size":2,
"initializer_range":0.02,"layer_norm_eps":1e-12,"pad_token_id":0,"model_type":"bert"}"#;

const CATALOGUE: &[KnownModel] = &[KnownModel {
    name: "tiny",
    repository: "people/tiny",
    revision: "0123456789abcdef0123456789abcdef01234567",
    description: "For tests.",
    licence: "MIT",
    floor: 0.0,
    files: &[ModelFile {
        name: "config.json",
        size: CONFIGURATION.len() as u64,
        sha256: "",
    }],
}];

fn registry(models: &Path, environment: Option<OpenAiSettings>) -> Registry {
    Registry::with_store(
        environment,
        ModelStore::with_catalogue(models, CATALOGUE),
        &outbound(),
    )
    .expect("usable")
}

async fn ids(registry: &Registry) -> Vec<String> {
    let available = registry.available().await.expect("readable");
    available.into_iter().map(|model| model.id).collect()
}

#[test]
fn a_model_that_an_image_brings_is_found_behind_a_fetched_one_and_stays() {
    let (data, image) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let store = ModelStore::with_catalogue(data.path(), CATALOGUE).with_brought(image.path());
    let name = CATALOGUE[0].name;
    assert_eq!(store.installed(name), None);
    for folder in [image.path(), data.path()] {
        std::fs::create_dir(folder.join(name)).expect("writable");
        std::fs::write(folder.join(name).join("config.json"), CONFIGURATION).expect("writable");
        assert_eq!(store.installed(name), Some(folder.join(name)));
    }
    assert!(store.remove(name).expect("removable"));
    assert_eq!(store.installed(name), Some(image.path().join(name)));
    assert!(!store.remove(name).expect("nothing to remove"));
}

#[tokio::test]
async fn a_model_that_is_fetched_meanwhile_is_seen_and_a_removed_one_is_not() {
    let models = tempfile::tempdir().expect("a folder");
    let registry = registry(models.path(), None);
    assert_eq!(ids(&registry).await, ["lexical-hash-v1"]);
    assert_eq!(
        registry.system().await.expect("readable").model().kind,
        ModelKind::Lexical
    );

    let folder = models.path().join("tiny");
    std::fs::create_dir(&folder).expect("writable");
    std::fs::write(folder.join("config.json"), CONFIGURATION).expect("writable");
    assert_eq!(ids(&registry).await, ["people/tiny", "lexical-hash-v1"]);
    let system = registry.system().await.expect("readable");
    assert_eq!(
        (system.model().dimension, system.model().kind),
        (4, ModelKind::Neural)
    );
    assert!(
        registry
            .by_id("lexical-hash-v1")
            .await
            .expect("readable")
            .is_some()
    );

    std::fs::remove_dir_all(&folder).expect("removable");
    assert_eq!(ids(&registry).await, ["lexical-hash-v1"]);
    assert!(registry.by_id("people/tiny").await.expect("readable").is_none());
}

#[tokio::test]
async fn the_environments_server_comes_first_and_the_others_stay() {
    let models = tempfile::tempdir().expect("a folder");
    let folder = models.path().join("tiny");
    std::fs::create_dir(&folder).expect("writable");
    std::fs::write(folder.join("config.json"), CONFIGURATION).expect("writable");
    let settings = OpenAiSettings::new("http://127.0.0.1:1", "remote-model", 1_024);
    let registry = registry(models.path(), Some(settings));
    assert_eq!(
        ids(&registry).await,
        ["remote-model", "people/tiny", "lexical-hash-v1"]
    );
    assert_eq!(
        registry.system().await.expect("readable").model().id,
        "remote-model"
    );
    assert_eq!(
        registry.system().await.expect("readable").model().dimension,
        1_024
    );
    assert!(registry.by_id("people/tiny").await.expect("readable").is_some());
    assert!(registry.by_id("unknown").await.expect("readable").is_none());
}
