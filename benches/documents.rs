//! Reading and cutting: `cargo bench -p mnemosyne-benches --bench documents`. One thread; each figure is documents of
//! 10 kB per second, read and cut by the rules of a technical library.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::time::{Duration, Instant};

use mnemosyne_benches::Vocabulary;
use mnemosyne_documents::{FileHint, chunk, parse};
use mnemosyne_domain::LibraryType;
use rand::SeedableRng;
use rand::rngs::StdRng;

const SIZE: usize = 10_000;
const TIME: Duration = Duration::from_secs(3);

fn main() {
    let mut rng = StdRng::seed_from_u64(7);
    let vocabulary = Vocabulary::new(20_000, &mut rng);
    let mut markdown = String::from("# A manual\n\n");
    let mut html =
        String::from("<!doctype html><html><head><title>A manual</title></head><body><h1>A manual</h1>");
    let mut section = 0;
    while markdown.len() < SIZE {
        section += 1;
        let (one, two) = (vocabulary.text(60, &mut rng), vocabulary.text(40, &mut rng));
        markdown.push_str(&format!(
            "## Section {section}\n\n{one}\n\n- {two}\n- item\n\n```\nlet x = {section};\n```\n\n| a | b |\n|---|---|\n| 1 | {section} |\n\n"
        ));
        html.push_str(&format!(
            "<h2>Section {section}</h2><p>{one}</p><ul><li>{two}</li><li>item</li></ul><pre><code>let x = {section};</code></pre><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>{section}</td></tr></table>"
        ));
    }
    html.push_str("</body></html>");
    for (name, text) in [("manual.md", markdown), ("manual.html", html)] {
        let hint = FileHint {
            filename: name.to_owned(),
            content_type: None,
        };
        let profile = LibraryType::Technical.profile();
        let began = Instant::now();
        let mut count = 0_u32;
        let mut chunks = 0;
        while began.elapsed() < TIME {
            let document = parse(text.as_bytes(), &hint).unwrap();
            chunks = chunk(&document, profile).len();
            count += 1;
        }
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        println!(
            "{name:<14} {:>6} bytes  {chunks:>3} chunks  {rate:>8.0} documents/s on one core",
            text.len()
        );
    }
}
