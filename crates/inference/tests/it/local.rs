//! The local embedder against vectors of PyTorch and sentence-transformers; see `tests/vectors/make.py`.

use mnemosyne_domain::EmbeddingPurpose::{Passage, Query};
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

/// Questions with a passage that answers each, in other words.
const ANSWERED: [(&str, &str); 8] = [
    (
        "Why did the car fail to go in winter weather?",
        "Garage\nThe automobile would not start because its battery was flat after the cold night.",
    ),
    (
        "doctor treats a sick kid",
        "Surgery\nThe physician examined the child and prescribed bed rest and plenty of fluids.",
    ),
    (
        "ships catching sea animals",
        "Harbour\nFishing vessels leave the port before dawn and come back with herring.",
    ),
    (
        "How long must dough stand?",
        "Bakery\nSourdough needs a warm kitchen and twelve hours of rest before it goes into the oven.",
    ),
    (
        "Who founded the ropeworks?",
        "A Short History of Teal\nThe ropeworks were begun in 1871 by the widow Dorothea Larkin, who had four children.",
    ),
    (
        "What do five red blinks of the weather station mean?",
        "Tern 3 Weather Station\nBlinks | Meaning\n3 red | the battery is low\n5 red | the vane is stuck",
    ),
    (
        "How long does the controller wait after fault E27?",
        "Kestrel K-40 > Faults\nAfter E27 the controller waits ninety minutes before it opens the same zone again, so \
         that a dry well can recover.",
    ),
    (
        "money the cooperative earned",
        "Annual Report 2022\nThe surplus of 31,900 crowns was carried forward to the reserve for new machines.",
    ),
];

/// What nobody asks.
const NONSENSE: [&str; 10] = [
    "qwertzuiopasdfgh",
    "zxcvbnm asdfgh qwerty",
    "qwertzuiop",
    "lkjhgfdsa mnbvcxy",
    "xxxxxxxxxxxxxxxx",
    "asdf asdf asdf",
    "fjdksla ghtyru eiwoqp",
    "1234567890 0987654321",
    "blorptang frimmled",
    "%%% ### @@@",
];

#[tokio::test]
#[ignore = "needs the weights"]
async fn the_floor_parts_answers_from_what_has_nothing_to_do_with_a_question() {
    let embedder = LocalEmbedder::open(&real_weights(), "minilm").expect("the weights are there");
    let floor = mnemosyne_inference::KNOWN_MODELS[0].floor;
    let (questions, passages): (Vec<&str>, Vec<&str>) = ANSWERED.into_iter().unzip();
    let texts = |texts: &[&'static str]| -> Vec<EmbedText<'static>> {
        texts
            .iter()
            .map(|text| EmbedText {
                text,
                instruction: None,
            })
            .collect()
    };
    let passages = embedder
        .embed(&texts(&passages), Passage)
        .await
        .expect("computed");
    let asked = embedder.embed(&texts(&questions), Query).await.expect("computed");
    let nonsense = embedder.embed(&texts(&NONSENSE), Query).await.expect("computed");
    let cosine = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    let mut outside = Vec::new();
    for ((question, vector), passage) in questions.iter().zip(&asked).zip(&passages) {
        let near = cosine(vector, passage);
        if near < floor {
            outside.push(format!("{question}: {near:.3} is below the floor"));
        }
    }
    for (words, vector) in NONSENSE.iter().zip(&nonsense) {
        for (passage, question) in passages.iter().zip(&questions) {
            let near = cosine(vector, passage);
            if near >= floor {
                outside.push(format!("{words}: {near:.3} to the answer of {question}"));
            }
        }
    }
    assert!(outside.is_empty(), "{}", outside.join("\n"));
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
