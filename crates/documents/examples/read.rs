//! Shows what a reader makes of files, and how they are cut: `read [TYPE] FILE…`. For looking at with one's own eyes.
#![expect(clippy::print_stdout, reason = "its purpose")]

use mnemosyne_documents::{FileHint, chunk, extract_concepts, parse};
use mnemosyne_domain::LibraryType;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.first().and_then(|word| LibraryType::parse(word));
    if kind.is_some() {
        arguments.remove(0);
    }
    for path in arguments {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                println!("{path}: {error}");
                continue;
            }
        };
        println!("\n=== {path}");
        let document = match parse(
            &bytes,
            &FileHint {
                filename: path,
                content_type: None,
            },
        ) {
            Ok(document) => document,
            Err(failure) => {
                println!("{failure}");
                continue;
            }
        };
        println!(
            "{} | {:?} | {:?} | {:?} | pages {:?} | {:?}",
            document.format.title(),
            document.title,
            document.authors,
            document.language,
            document.page_count,
            document.coverage
        );
        let Some(kind) = kind else {
            for block in &document.blocks {
                println!(
                    "{:?} p{} {}",
                    block.kind,
                    block.page.unwrap_or(0),
                    &document.text[block.span.clone()]
                );
            }
            continue;
        };
        let chunks = chunk(&document, kind.profile());
        for draft in &chunks {
            let text = &document.text[draft.span.clone()];
            println!(
                "--- {} p{:?} {} characters\n{text}",
                draft.heading_path.join(" > "),
                draft.page,
                text.chars().count()
            );
        }
        for concept in extract_concepts(&document, &chunks, 60) {
            println!(
                "{:?} {} {:.2} {:?}",
                concept.kind, concept.name, concept.weight, concept.chunk_positions
            );
        }
    }
}
