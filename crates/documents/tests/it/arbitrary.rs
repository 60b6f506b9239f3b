//! Whatever is in a file: no panic, no place outside the text, nothing lost on the way to the chunks.

use std::io::Write as _;

use mnemosyne_documents::{BlockKind, Document, FileHint, Format, chunk, detect, parse};
use mnemosyne_domain::{LibraryType, ProfileOverrides};
use proptest::prelude::*;

fn hint(format: Format) -> FileHint {
    FileHint {
        filename: format!("a.{}", format.extensions()[0]),
        content_type: None,
    }
}

/// Lines as they stand in the documents of some library type, and some that stand in none.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => "[A-Za-zäöüß,;.!?“”\"'’ -]{0,120}",
        2 => Just(String::new()),
        1 => "\\PC{0,40}",
        1 => "[A-Z]{2,12}( \\((CONT'D|O\\.S\\.|softly)\\))?",
        1 => "(INT|EXT)\\. [A-Z ]{3,20} - (DAY|NIGHT)",
        1 => "(Chapter|Part|Act|Kapitel) ([1-9]|IV|Two)",
        1 => "[1-9](\\.[1-9]){0,3}\\.? [A-Z][a-z]{2,12}",
        1 => "([1-9]|[12][0-9]) (July|März|août) 20[0-9]{2}\\.?",
        1 => "20[0-9]{2}-0[1-9]-1[0-9]",
        1 => "(- |\\* |[1-9]\\. |\\([a-z]\\) |• |> |    |\t)[a-z ]{0,60}",
        1 => "(\\| ?[0-9.,a-z]{0,8} ?){2,5}\\|",
        1 => "([a-z0-9.]{1,8}(\t|    )){2,4}[a-z0-9]{1,8}",
        1 => "#{1,4} [A-Z][a-z ]{0,30}",
        1 => "(---|\\*\\*\\*|\\* \\* \\*|```|=====|\\+\\+\\+|§)",
        1 => "[A-Z][a-z]{2,8}: [a-z ;,]{0,30}",
        1 => "\\[(Chorus|Verse 1|x)\\]",
        1 => "<(/?(p|div|table|tr|td|ul|li|pre|b|h1|br|!--|script|title)|p class=\"x\")>?[a-z ]{0,20}",
        1 => "[x漢ß]{60,200}",
        1 => "[\u{0}-\u{1f}\u{7f}\u{85}\u{a0}\u{ad}\u{200b}\u{2028}\u{2029}\u{feff}a-c]{0,12}",
    ];
    let end = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 3 => Just("\n\n")];
    proptest::collection::vec((line, end), 0..40).prop_map(|lines| {
        lines
            .into_iter()
            .flat_map(|(line, end)| [line, end.to_owned()])
            .collect()
    })
}

/// Letters and digits alone.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Checks what every document and each of its cuttings promise.
fn check(document: &Document) -> Result<(), TestCaseError> {
    let text = document.text.as_str();
    let mut end = 0;
    for block in &document.blocks {
        let own = text.get(block.span.clone());
        prop_assert!(
            own.is_some_and(|own| !own.is_empty() && own.trim() == own),
            "{block:?}"
        );
        prop_assert!(block.span.start >= end && text[end..block.span.start].trim().is_empty());
        prop_assert!(block.page_turns.is_sorted(), "{block:?}");
        for (offset, _) in &block.page_turns {
            prop_assert!(
                block.span.contains(offset) && text.is_char_boundary(*offset),
                "{block:?}"
            );
        }
        end = block.span.end;
    }
    prop_assert!(text[end..].trim().is_empty());
    let small = ProfileOverrides {
        target_chars: Some(60),
        max_chars: Some(90),
        overlap_chars: Some(30),
        ..ProfileOverrides::default()
    };
    for kind in LibraryType::ALL {
        for profile in [kind.profile().clone(), kind.profile().with(&small)] {
            let mut covered = vec![false; text.len()];
            let mut last = 0;
            for draft in chunk(document, &profile) {
                let own = text.get(draft.span.clone());
                prop_assert!(own.is_some_and(|own| !own.trim().is_empty()), "{kind}: {draft:?}");
                prop_assert!(draft.span.end > last, "{kind}: {draft:?}");
                last = draft.span.end;
                covered[draft.span].fill(true);
            }
            for block in document
                .blocks
                .iter()
                .filter(|block| block.kind != BlockKind::Break)
            {
                for (offset, c) in text[block.span.clone()].char_indices() {
                    let is_kept = c.is_whitespace() || covered[block.span.start + offset];
                    prop_assert!(is_kept, "{kind}: {c:?} of {block:?} is lost");
                }
            }
        }
    }
    Ok(())
}

/// Reads a file and checks it; the text in it, where there is any.
fn read(bytes: &[u8], format: Format) -> Result<Option<String>, TestCaseError> {
    match parse(bytes, &hint(format)) {
        Ok(document) => {
            prop_assert_eq!(detect(bytes, &hint(format)), Ok(document.format));
            check(&document)?;
            Ok(Some(document.text))
        }
        Err(_) => Ok(None),
    }
}

fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .flat_map(|c| match c {
            '<' => "&lt;".chars().collect::<Vec<_>>(),
            '>' => "&gt;".chars().collect(),
            '&' => "&amp;".chars().collect(),
            '"' => "&quot;".chars().collect(),
            c => vec![c],
        })
        .collect()
}

fn archive(parts: &[(&str, String)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in parts {
        archive
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("a part");
        archive.write_all(content.as_bytes()).expect("a part");
    }
    archive.finish().expect("an archive").into_inner()
}

fn docx(body: &str) -> Vec<u8> {
    archive(&[
        (
            "[Content_Types].xml",
            r#"<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"#.to_owned(),
        ),
        (
            "_rels/.rels",
            r#"<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#.to_owned(),
        ),
        (
            "word/document.xml",
            format!(
                r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{body}</w:body></w:document>"#
            ),
        ),
    ])
}

fn epub(sections: &[String]) -> Vec<u8> {
    const NAMES: [&str; 4] = ["s0.xhtml", "s1.xhtml", "s2.xhtml", "s3.xhtml"];
    let names = &NAMES[..sections.len().min(NAMES.len())];
    let items: String = names
        .iter()
        .map(|name| format!(r#"<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>"#))
        .collect();
    let spine: String = names
        .iter()
        .map(|name| format!(r#"<itemref idref="{name}"/>"#))
        .collect();
    let mut parts = vec![
        ("mimetype", "application/epub+zip".to_owned()),
        (
            "META-INF/container.xml",
            r#"<container><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>"#.to_owned(),
        ),
        (
            "p.opf",
            format!(r#"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"#),
        ),
    ];
    parts.extend(names.iter().copied().zip(sections.iter().cloned()));
    archive(&parts)
}

/// A page for each text, a line of it for each of its lines.
fn pdf(pages: &[String]) -> Vec<u8> {
    use lopdf::content::{Content, Operation};
    use lopdf::{Object, Stream, dictionary};
    let mut document = lopdf::Document::with_version("1.5");
    let tree = document.new_object_id();
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
    });
    let resources = document.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
    let kids: Vec<Object> = pages
        .iter()
        .map(|text| {
            let mut operations = vec![
                Operation::new("BT", vec![]),
                Operation::new("Tf", vec!["F1".into(), 10.into()]),
                Operation::new("TL", vec![12.into()]),
                Operation::new("Td", vec![60.into(), 800.into()]),
            ];
            for line in text.lines() {
                let line: String = line.chars().filter(|c| (' '..='~').contains(c)).collect();
                operations.push(Operation::new("Tj", vec![Object::string_literal(line)]));
                operations.push(Operation::new("T*", vec![]));
            }
            operations.push(Operation::new("ET", vec![]));
            let content = Content { operations }.encode().expect("a content stream");
            let content = document.add_object(Stream::new(dictionary! {}, content));
            let page = document.add_object(dictionary! {
                "Type" => "Page", "Parent" => tree, "Contents" => content, "Resources" => resources,
                "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
            });
            page.into()
        })
        .collect();
    let count = i64::try_from(kids.len()).expect("a few pages");
    document.objects.insert(
        tree,
        Object::Dictionary(dictionary! { "Type" => "Pages", "Kids" => kids, "Count" => count }),
    );
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).expect("a file");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_file(
        head in prop_oneof![
            Just(&b""[..]), Just(&b"%PDF-1.7\n"[..]), Just(&b"PK\x03\x04"[..]), Just(&b"\xFF\xFE"[..]), Just(&b"<html>"[..]),
        ],
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        for format in Format::ALL {
            read(&[head, &bytes].concat(), format)?;
        }
    }

    #[test]
    fn plain_text_loses_nothing(source in lines()) {
        let Some(text) = read(source.as_bytes(), Format::Text)? else {
            return Ok(());
        };
        prop_assume!(!source.contains('\0'));
        prop_assert_eq!(letters(&text), letters(&source));
    }

    #[test]
    fn markdown_of_any_text(source in lines()) {
        read(source.as_bytes(), Format::Markdown)?;
    }

    #[test]
    fn html_of_any_text(source in lines()) {
        read(source.as_bytes(), Format::Html)?;
        let paragraphs: String = source.lines().map(|line| format!("<p>{}</p>\n", escaped(line))).collect();
        if let Some(text) = read(format!("<!DOCTYPE html><body>{paragraphs}</body>").as_bytes(), Format::Html)? {
            prop_assert_eq!(letters(&text), letters(&source));
        }
    }

    #[test]
    fn docx_of_any_text(source in lines()) {
        let paragraphs: String = source
            .lines()
            .map(|line| format!(r#"<w:p><w:r><w:t xml:space="preserve">{}</w:t></w:r></w:p>"#, escaped(line)))
            .collect();
        if let Some(text) = read(&docx(&paragraphs), Format::Docx)? {
            prop_assert_eq!(letters(&text), letters(&source));
        }
    }

    #[test]
    fn epub_of_any_text(sections in proptest::collection::vec(lines(), 1..4)) {
        read(&epub(&sections), Format::Epub)?;
        let pages: Vec<String> = sections
            .iter()
            .map(|source| {
                let paragraphs: String = source.lines().map(|line| format!("<p>{}</p>\n", escaped(line))).collect();
                format!("<html><body>{paragraphs}</body></html>")
            })
            .collect();
        if let Some(text) = read(&epub(&pages), Format::Epub)? {
            prop_assert_eq!(letters(&text), letters(&sections.concat()));
        }
    }

    #[test]
    fn pdf_of_any_text(pages in proptest::collection::vec(lines(), 1..4)) {
        read(&pdf(&pages), Format::Pdf)?;
    }
}
