//! The local embedder against vectors of PyTorch and sentence-transformers; see `tests/vectors/make.py`.

use mnemosyne_domain::EmbeddingPurpose::Passage;
use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder};
use mnemosyne_inference::LocalEmbedder;

use crate::real_weights;

#[derive(serde::Deserialize)]
struct Reference {
    text: String,
    windows: usize,
    vector: Vec<f32>,
}

fn references() -> Vec<Reference> {
    serde_json::from_str(include_str!("../vectors/minilm.json")).expect("the file is sound")
}

#[tokio::test]
#[ignore = "needs the weights"]
async fn vectors_equal_those_of_another_implementation() {
    let embedder = LocalEmbedder::open(&real_weights(), "minilm").expect("the weights are there");
    assert_eq!(embedder.model().dimension, 384);
    assert!(!embedder.is_loaded());
    let references = references();
    let texts: Vec<EmbedText<'_>> = references
        .iter()
        .map(|reference| EmbedText {
            text: &reference.text,
            instruction: None,
        })
        .collect();
    let vectors = embedder.embed(&texts, Passage).await.expect("computed");
    assert!(embedder.is_loaded());
    assert_eq!(vectors.len(), references.len());
    for (reference, vector) in references.iter().zip(&vectors) {
        let farthest = vector
            .iter()
            .zip(&reference.vector)
            .map(|(ours, theirs)| (ours - theirs).abs())
            .fold(0.0, f32::max);
        assert!(farthest < 1e-5, "{:.40}: {farthest}", reference.text);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_references_cover_long_texts() {
    let references = references();
    assert!(references.len() >= 10);
    assert!(
        references
            .iter()
            .filter(|reference| reference.windows > 1)
            .count()
            >= 2
    );
    assert!(references.iter().all(|reference| reference.vector.len() == 384));
}

#[tokio::test]
#[ignore = "needs the weights"]
async fn the_end_of_a_long_text_counts() {
    let embedder = LocalEmbedder::open(&real_weights(), "minilm").expect("the weights are there");
    let start = "The committee discussed the budget of the coming year. ".repeat(40);
    let with_end = format!("{start} Volcanoes erupt when magma rises through the crust.");
    let text = |text| EmbedText {
        text,
        instruction: None,
    };
    let vectors = embedder
        .embed(
            &[text(&start), text(&with_end), text("volcanic eruption")],
            Passage,
        )
        .await
        .expect("computed");
    let cosine = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    assert!(cosine(&vectors[1], &vectors[2]) > cosine(&vectors[0], &vectors[2]) + 0.005);
}

#[tokio::test]
async fn a_broken_folder_is_an_error_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = LocalEmbedder::open(folder.path(), "m").expect_err("nothing there");
    assert!(missing.to_string().contains("config.json"), "{missing}");

    let configuration = r#"{"vocab_size":10,"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":1,
        "intermediate_size":4,"hidden_act":"gelu","hidden_dropout_prob":0.1,"max_position_embeddings":8,
        "type_vocab_size":2,"initializer_range":0.02,"layer_norm_eps":1e-12,"pad_token_id":0}"#;
    std::fs::write(folder.path().join("config.json"), configuration).expect("writable");
    let embedder = LocalEmbedder::open(folder.path(), "m").expect("the weights are not looked at yet");
    let text = EmbedText {
        text: "text",
        instruction: None,
    };
    let refused = embedder.embed(&[text], Passage).await;
    let Err(EmbedError::Permanent { message }) = refused else {
        panic!("{refused:?}");
    };
    assert!(message.contains("tokenizer.json"), "{message}");
}
