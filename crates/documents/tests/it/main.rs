//! Every document of the fixtures, made by other people's programs, through its reader and its library type's chunker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod arbitrary;

use std::path::{Path, PathBuf};

use mnemosyne_documents::{
    BlockKind, Document, FileHint, Format, HARD_CAP_FACTOR, chunk, extract_concepts, parse,
};
use mnemosyne_domain::LibraryType;
use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    document: Vec<Facts>,
}

/// What other programs, or the source, say of a document.
#[derive(Deserialize)]
struct Facts {
    file: String,
    format: String,
    library_type: String,
    title: Option<String>,
    words: Option<usize>,
    pages: Option<u32>,
    #[serde(default)]
    headings: Vec<String>,
    #[serde(default)]
    passages: Vec<String>,
    phrase: String,
    /// The page or section on which the phrase stands.
    page: Option<u32>,
    section: Option<u32>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/documents")
}

fn facts() -> Vec<Facts> {
    let source = std::fs::read_to_string(folder().join("MANIFEST.toml")).expect("the manifest");
    toml::from_str::<Manifest>(&source).expect("well-formed").document
}

fn read(facts: &Facts) -> Document {
    let bytes = std::fs::read(folder().join(&facts.file)).expect("the document");
    let hint = FileHint {
        filename: facts.file.clone(),
        content_type: None,
    };
    parse(&bytes, &hint).unwrap_or_else(|failure| panic!("{}: {failure}", facts.file))
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[test]
fn documents_are_what_their_makers_say() {
    let mut wrong = Vec::new();
    for facts in facts() {
        let document = read(&facts);
        let name = &facts.file;
        let format = match facts.format.as_str() {
            "txt" | "text" => Format::Text,
            "md" | "markdown" => Format::Markdown,
            "html" => Format::Html,
            "pdf" => Format::Pdf,
            "docx" => Format::Docx,
            "epub" => Format::Epub,
            other => panic!("{name}: {other} is no format"),
        };
        if document.format != format {
            wrong.push(format!("{name}: {:?}", document.format));
        }
        if let Some(title) = &facts.title
            && document.title.as_ref() != Some(title)
        {
            wrong.push(format!("{name}: title {:?}, not {title:?}", document.title));
        }
        if format == Format::Pdf && facts.pages.is_some() && document.page_count != facts.pages {
            wrong.push(format!(
                "{name}: pages {:?}, not {:?}",
                document.page_count, facts.pages
            ));
        }
        if let Some(words) = facts.words {
            let found = document
                .text
                .split_whitespace()
                .filter(|word| word.contains(char::is_alphanumeric))
                .count();
            if found * 100 < words * 88 || found * 100 > words * 112 {
                wrong.push(format!("{name}: {found} words, not {words}"));
            }
        }
        let text = letters(&document.text);
        let mut from = 0;
        for passage in &facts.passages {
            match text[from..].find(&letters(passage)) {
                Some(at) => from += at,
                None => wrong.push(format!("{name}: {passage:?} is missing or out of order")),
            }
        }
        check_blocks(name, &document, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn check_blocks(name: &str, document: &Document, wrong: &mut Vec<String>) {
    let mut end = 0;
    for (index, block) in document.blocks.iter().enumerate() {
        let text = &document.text[block.span.clone()];
        let gap = &document.text[end..block.span.start];
        if text.trim() != text
            || text.is_empty()
            || !gap.trim().is_empty()
            || (index > 0 && !gap.starts_with("\n\n"))
        {
            wrong.push(format!(
                "{name}: block {index} {:?} is not apart or not trimmed",
                block.kind
            ));
        }
        end = block.span.end;
    }
}

/// Byte offsets in a text of all places where a phrase begins, whatever the spaces, quotes and case.
fn places(text: &str, phrase: &str) -> Vec<usize> {
    let mut plain = String::new();
    let mut offsets = Vec::new();
    for (offset, c) in text.char_indices().filter(|(_, c)| c.is_alphanumeric()) {
        for lower in c.to_lowercase() {
            plain.push(lower);
            offsets.extend(std::iter::repeat_n(offset, lower.len_utf8()));
        }
    }
    let wanted = letters(phrase);
    plain.match_indices(&wanted).map(|(at, _)| offsets[at]).collect()
}

#[test]
fn passages_stand_on_the_pages_that_other_programs_give() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for facts in facts() {
        let document = read(&facts);
        let expected = facts.page.or(facts.section);
        if expected.is_none() {
            if document.blocks.iter().any(|block| block.page.is_some()) {
                wrong.push(format!("{}: it has no pages", facts.file));
            }
            continue;
        }
        checked += 1;
        let found: Vec<Option<u32>> = places(&document.text, &facts.phrase)
            .into_iter()
            .map(|offset| document.page_at(offset))
            .collect();
        if found != [expected] {
            wrong.push(format!("{}: {found:?}, not {expected:?}", facts.file));
        }
        let kind = LibraryType::parse(&facts.library_type).expect("a type");
        let mut last = Some(0);
        let mut holder = None;
        for draft in chunk(&document, kind.profile()) {
            let ends_on = document.page_at(draft.span.end - 1);
            if draft.page < last || draft.page > ends_on || draft.page < document.page_at(draft.span.start) {
                wrong.push(format!("{}: a chunk on {:?}", facts.file, draft.page));
            }
            last = draft.page;
            let holds = !places(&document.text[draft.span], &facts.phrase).is_empty();
            if holds && holder.is_none() {
                holder = draft.page;
            }
        }
        if holder != expected {
            wrong.push(format!(
                "{}: its chunk is on {holder:?}, not {expected:?}",
                facts.file
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= 16, "only {checked} documents have places");
}

#[test]
fn figures_of_a_table_are_those_of_its_source() {
    let all = facts();
    let report = all
        .iter()
        .find(|facts| facts.file == "quarterly-report.libreoffice.docx")
        .expect("a document");
    let text = read(report).text;
    for row in [
        "Lighthouses and buoys | 11.9 | 17.7 | 95",
        "Research | 4.7 | 4.2 | +11.9 %",
        "Net income | 4.0 | 4.4 | −9.1 %",
    ] {
        assert!(text.contains(row), "{row:?} in {text}");
    }
}

#[test]
fn each_row_of_a_table_over_pages_is_in_the_text() {
    let all = facts();
    let soundings = all
        .iter()
        .find(|facts| facts.file == "soundings.groff.pdf")
        .expect("a document");
    let text = read(soundings).text;
    for station in 1..=190_u32 {
        let depth = 2.1 + f64::from(station * 37 % 89) / 10.0;
        let row = format!("Station {station} | {depth:.1} | ");
        assert!(text.contains(&row), "{row:?} is missing");
    }
    assert!(
        text.contains("1. The sounding line\n\nThe pole was set"),
        "{text}"
    );
    // The heads and feet of the pages are no part of it.
    assert!(
        !text.contains("Harbour Office of Wickstead") && !text.contains("- 2 -"),
        "{text}"
    );
}

#[test]
fn code_over_a_page_break_is_one_block() {
    let all = facts();
    let manual = all
        .iter()
        .find(|facts| facts.file == "kestrel.xelatex.pdf")
        .expect("a document");
    let document = read(manual);
    let code = document
        .blocks
        .iter()
        .find(|block| document.text[block.span.clone()].contains("struct kestrel_status"))
        .expect("the code");
    assert_eq!((code.kind, code.page), (BlockKind::Code, Some(2)));
    let text = &document.text[code.span.clone()];
    assert!(text.ends_with("};"), "{text}");
    let field = code.span.start + text.find("uint8_t zone").expect("a field");
    assert_eq!(document.page_at(field), Some(3));
}

#[test]
fn a_screenplay_is_cut_by_scene() {
    let all = facts();
    let ferry = all
        .iter()
        .find(|facts| facts.file == "last-ferry.txt")
        .expect("a document");
    let document = read(ferry);
    let drafts = chunk(&document, LibraryType::Film.profile());
    let paths: Vec<&[String]> = drafts.iter().map(|draft| draft.heading_path.as_slice()).collect();
    assert_eq!(
        paths,
        [["INT. TICKET OFFICE - NIGHT"], ["EXT. FERRY LANDING - NIGHT"]]
    );
}

#[derive(Deserialize)]
struct Broken {
    file: Vec<BrokenFacts>,
}

#[derive(Deserialize)]
struct BrokenFacts {
    file: String,
    codes: Vec<String>,
}

#[test]
fn broken_files_have_the_code_that_fits() {
    let folder = folder().join("../broken");
    let source = std::fs::read_to_string(folder.join("BROKEN.toml")).expect("the list");
    for facts in toml::from_str::<Broken>(&source).expect("well-formed").file {
        let bytes = std::fs::read(folder.join(&facts.file)).expect("the file");
        let hint = FileHint {
            filename: facts.file.clone(),
            content_type: None,
        };
        let code = match parse(&bytes, &hint) {
            Ok(_) => "ok",
            Err(failure) => failure.code.as_str(),
        };
        assert!(
            facts.codes.iter().any(|one| one == code),
            "{}: {code}, not {:?}",
            facts.file,
            facts.codes
        );
    }
}

#[test]
fn chunks_stand_under_their_headings_and_inside_their_bounds() {
    let mut wrong = Vec::new();
    for facts in facts() {
        let document = read(&facts);
        let kind = LibraryType::parse(&facts.library_type).expect("a type");
        let profile = kind.profile();
        let chunks = chunk(&document, profile);
        for heading in &facts.headings {
            let found = chunks.iter().any(|draft| {
                draft
                    .heading_path
                    .iter()
                    .any(|one| letters(one).contains(&letters(heading)))
            });
            if !found {
                wrong.push(format!("{}: no chunk stands under {heading:?}", facts.file));
            }
        }
        for draft in &chunks {
            let size = document.text[draft.span.clone()].chars().count();
            let whole = document.blocks.iter().any(|block| {
                matches!(block.kind, BlockKind::Code | BlockKind::Table)
                    && block.span.start >= draft.span.start
                    && block.span.end <= draft.span.end
            });
            if size > profile.max_chars * if whole { HARD_CAP_FACTOR } else { 1 } {
                wrong.push(format!("{}: a chunk of {size}", facts.file));
            }
        }
        let concepts = extract_concepts(&document, &chunks, 60);
        if concepts.is_empty() || concepts.len() > 60 {
            wrong.push(format!("{}: {} concepts", facts.file, concepts.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
