//! Measures the local embedder: time to load, texts a second, memory.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release -p mnemosyne-inference --example local_throughput -- FOLDER [TEXTS]
//! ```

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::Instant;

use mnemosyne_domain::EmbeddingPurpose::Passage;
use mnemosyne_domain::ports::{EmbedText, Embedder};
use mnemosyne_inference::LocalEmbedder;

/// 185 words that the tokenizer of BERT keeps whole; with the two marks 187 tokens.
fn text(number: usize) -> String {
    const WORDS: [&str; 12] = [
        "library", "river", "engine", "letter", "winter", "garden", "music", "history", "window", "stone",
        "market", "science",
    ];
    let words: Vec<&str> = (0..185)
        .map(|place| WORDS[(place * 7 + number) % WORDS.len()])
        .collect();
    words.join(" ")
}

fn memory(what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map_or("?", str::trim)
            .to_owned()
    };
    println!("{what}: resident {}, peak {}", of("VmRSS:"), of("VmHWM:"));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("the folder of the model is missing")?;
    let count: usize = arguments.next().map_or(Ok(80), |count| count.parse())?;
    let embedder = LocalEmbedder::open(Path::new(&folder), "measured")?;
    memory("opened, not loaded");

    let one = [EmbedText {
        text: "load",
        instruction: None,
    }];
    let started = Instant::now();
    embedder.embed(&one, Passage).await?;
    println!("loaded and first short text: {:?}", started.elapsed());
    memory("loaded");
    let started = Instant::now();
    embedder.embed(&one, Passage).await?;
    println!("a short text: {:?}", started.elapsed());

    let texts: Vec<String> = (0..count).map(text).collect();
    let texts: Vec<EmbedText<'_>> = texts
        .iter()
        .map(|text| EmbedText {
            text,
            instruction: None,
        })
        .collect();
    let started = Instant::now();
    embedder.embed(&texts, Passage).await?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{count} texts of 187 tokens: {seconds:.2} s, {:.1} texts a second",
        count as f64 / seconds
    );
    memory("after work");
    Ok(())
}
