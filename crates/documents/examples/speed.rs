//! How fast documents are read, cut and searched for concepts on one core: `speed`, built for release.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]
#![expect(clippy::print_stdout, reason = "its purpose")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mnemosyne_documents::{FileHint, chunk, extract_concepts, parse};
use mnemosyne_domain::LibraryType;

fn main() {
    for (name, source) in [
        ("10kb.md", markdown()),
        ("10kb.html", html()),
        ("10kb.txt", markdown().replace("```", "")),
    ] {
        let hint = FileHint {
            filename: name.to_owned(),
            content_type: None,
        };
        let read = || parse(source.as_bytes(), &hint);
        let Ok(document) = read() else {
            println!("{name} cannot be read");
            continue;
        };
        let profile = LibraryType::Technical.profile();
        let chunks = chunk(&document, profile);
        let parsing = rate(|| drop(black_box(read())));
        let chunking = rate(|| drop(black_box(chunk(&document, profile))));
        let concepts = rate(|| drop(black_box(extract_concepts(&document, &chunks, 60))));
        let both = rate(|| {
            if let Ok(document) = read() {
                drop(black_box(chunk(&document, profile)));
            }
        });
        println!(
            "{name}: {} bytes, {} chunks; parse {parsing:.0}/s, chunk {chunking:.0}/s, both {both:.0}/s, concepts {concepts:.0}/s",
            source.len(),
            chunks.len()
        );
    }
}

fn rate(mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut times = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        work();
        times += 1;
    }
    f64::from(times) / begin.elapsed().as_secs_f64()
}

fn paragraphs() -> impl Iterator<Item = (usize, String)> {
    const WORDS: &[&str] = &[
        "controller",
        "waters",
        "Odile Brandt",
        "the supply line",
        "and",
        "measures",
        "of",
        "pressure",
        "in",
        "Saltmarsh Bridge",
        "with",
        "gradient descent",
        "schedule",
        "before",
        "valve",
        "the",
        "a",
        "reads",
        "memory card",
        "NASA",
        "every",
        "estuary",
    ];
    let mut state = 7_usize;
    (0..14).map(move |number| {
        let mut text = String::new();
        for word in 0..90 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(WORDS[(state >> 33) % WORDS.len()]);
            text.push_str(if word % 14 == 13 { ". " } else { " " });
        }
        (number, text)
    })
}

fn markdown() -> String {
    let mut source = String::from("---\ntitle: Test\n---\n\n# Test\n\n");
    for (number, text) in paragraphs() {
        source.push_str(&format!(
            "## Section {number}\n\n{text}\n\n- one *item*\n- another [link](http://example.org)\n\n"
        ));
        if number % 4 == 0 {
            source
                .push_str("```rust\nfn main() {\n    run();\n}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n");
        }
    }
    source
}

fn html() -> String {
    let mut source = String::from(
        "<!DOCTYPE html><html lang=en><head><title>Test</title></head><body><nav><a href=/>Home</a></nav><main>",
    );
    for (number, text) in paragraphs() {
        source.push_str(&format!("<h2 id=s{number}>Section {number}</h2><p class=x>{text}</p><ul><li>one <em>item</em></li><li>another</li></ul>"));
        if number % 4 == 0 {
            source.push_str("<pre><code>fn main() {\n    run();\n}</code></pre><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>");
        }
    }
    source + "</main></body></html>"
}
