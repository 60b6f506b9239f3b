//! The local embedder: `cargo bench -p mnemosyne-benches --bench embedder -- --model FOLDER` with the folder of a model
//! that `mnemosyne models pull` made. Run it with `RAYON_NUM_THREADS=1` for the figure of one core. Texts have about 187
//! word pieces, as chunks have.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::path::PathBuf;
use std::time::Instant;

use mnemosyne_benches::{argument, text_argument};
use mnemosyne_domain::EmbeddingPurpose;
use mnemosyne_domain::ports::{EmbedText, Embedder};
use mnemosyne_inference::local::LocalEmbedder;

const SENTENCE: &str = "The keeper of the light wrote down the wind, the height of the sea and every ship that passed, \
    because on some later evening somebody might ask what had been seen and when. ";

#[tokio::main]
async fn main() {
    let Some(folder) = text_argument("model") else {
        println!("give the folder of a model: -- --model FOLDER");
        return;
    };
    let count = argument("texts", 64);
    let began = Instant::now();
    let embedder = LocalEmbedder::open(&PathBuf::from(folder), "bench").unwrap();
    let text: String = SENTENCE.repeat(5).chars().take(830).collect();
    let one = [EmbedText {
        text: &text,
        instruction: None,
    }];
    embedder.embed(&one, EmbeddingPurpose::Passage).await.unwrap();
    println!(
        "{:<44} {:>9.0} ms",
        "loading and the first text",
        began.elapsed().as_secs_f64() * 1e3
    );
    let texts: Vec<String> = (0..count).map(|index| format!("{index} {text}")).collect();
    let inputs: Vec<EmbedText<'_>> = texts
        .iter()
        .map(|text| EmbedText {
            text,
            instruction: None,
        })
        .collect();
    let began = Instant::now();
    embedder.embed(&inputs, EmbeddingPurpose::Passage).await.unwrap();
    println!(
        "{:<44} {:>9.1} texts/s",
        "embedding",
        count as f64 / began.elapsed().as_secs_f64()
    );
}
