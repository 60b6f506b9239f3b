//! Word documents, through docling.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use docling::{
    ConversionError, DoclingDocument, DocumentConverter, InputFormat, MetadataOutput, Node, SourceDocument,
};
use mnemosyne_domain::{Failure, FailureCode};

use super::builder::{DocumentBuilder, single_line};
use super::markdown::{paragraph_kind, table_text};
use crate::archive::Archive;
use crate::document::{BlockKind, Document, Format};

/// Reads a Word document.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, Failure> {
    Archive::open(bytes, "DOCX")?.check_declared_sizes("DOCX")?;
    let source = SourceDocument::from_bytes("document", InputFormat::Docx, bytes.to_vec());
    let converter =
        DocumentConverter::with_allowed_formats([InputFormat::Docx]).metadata_output(MetadataOutput::Json);
    let converted = converter
        .convert(source)
        .map_err(|error| explain(&error))?
        .document;
    let mut reader = Reader {
        builder: DocumentBuilder::new(),
        spacing: Spacing::of(bytes),
    };
    read_metadata(&mut reader.builder, &converted);
    for node in &converted.nodes {
        reader.append(node);
    }
    reader.builder.finish(Format::Docx)
}

fn explain(error: &ConversionError) -> Failure {
    if error.encryption().is_some() {
        return Failure::new(FailureCode::Encrypted, "The DOCX is protected by a password.");
    }
    if error.limit().is_some() {
        return Failure::new(
            FailureCode::ParserLimit,
            "The DOCX holds a table with more cells than can be read.",
        );
    }
    match error {
        ConversionError::Timeout(_) => {
            Failure::new(FailureCode::ParserLimit, "Reading the DOCX took too long.")
        }
        ConversionError::Panic(_) => Failure::new(
            FailureCode::ParserCrashed,
            "The DOCX reader broke down on this file.",
        ),
        _ => Failure::new(
            FailureCode::Damaged,
            "The DOCX is damaged: its parts do not fit together or are not well-formed.",
        ),
    }
}

fn read_metadata(builder: &mut DocumentBuilder, converted: &DoclingDocument) {
    let metadata = &converted.metadata;
    builder.title.clone_from(&metadata.title);
    builder.authors.clone_from(&metadata.authors);
    builder.language.clone_from(&metadata.language);
}

/// Writes docling's nodes as blocks.
struct Reader {
    builder: DocumentBuilder,
    spacing: Spacing,
}

impl Reader {
    fn append(&mut self, node: &Node) {
        match node {
            Node::Heading { level, text } => {
                self.builder.push(
                    BlockKind::Heading { level: *level },
                    &single_line(&self.plain(text)),
                );
            }
            Node::Paragraph { text } => self.push_paragraph(&self.plain(text)),
            Node::InlineGroup { runs, md_text, .. } => {
                self.push_paragraph(&self.align(runs.iter().map(|run| run.text.as_str()), md_text));
            }
            Node::CheckboxItem { checked, text } => {
                let mark = if *checked { "[x] " } else { "[ ] " };
                self.builder
                    .push(BlockKind::ListItem, &format!("{mark}{}", self.plain(text)));
            }
            Node::ListItem {
                ordered,
                number,
                text,
                marker,
                dclx,
                ..
            } => {
                let mark = match marker {
                    Some(marker) => format!("{marker} "),
                    None if *ordered => format!("{number}. "),
                    None => "- ".to_owned(),
                };
                let text = match dclx {
                    Some(dclx) if !dclx.runs.is_empty() => {
                        self.align(dclx.runs.iter().map(|run| run.text.as_str()), text)
                    }
                    _ => self.plain(text),
                };
                self.builder.push(BlockKind::ListItem, &format!("{mark}{text}"));
            }
            Node::Code { text, pretty, .. } => self.push_code(pretty.as_deref().unwrap_or(text)),
            Node::Table(table) => {
                if let Some(caption) = &table.caption {
                    self.builder.push(BlockKind::Paragraph, &self.plain(caption));
                }
                self.push_table(table);
            }
            Node::Chart { table, caption, .. } => {
                if let Some(caption) = caption {
                    self.builder.push(BlockKind::Paragraph, &self.plain(caption));
                }
                self.push_table(table);
            }
            Node::Picture {
                caption: Some(caption),
                ..
            } => self.builder.push(BlockKind::Paragraph, &self.plain(caption)),
            Node::Formula { latex, .. } => self.builder.push(BlockKind::Paragraph, latex),
            Node::Caption { text, .. } | Node::LabeledText { text, .. } | Node::ListText { text, .. } => {
                self.push_paragraph(&self.plain(text));
            }
            // Footnotes and endnotes lie on the furniture layer in docling; they are the author's words.
            Node::FurnitureText { label, text } if label == "footnote" => {
                self.push_paragraph(&self.plain(text))
            }
            Node::Group {
                children,
                layer: None,
                ..
            }
            | Node::PictureChildren(children) => {
                for child in children {
                    self.append(child);
                }
            }
            Node::Commented { inner, .. }
            | Node::Located { inner, .. }
            | Node::Prov { inner, .. }
            | Node::Track { inner, .. } => {
                self.append(inner);
            }
            Node::TextDump(text) => self.push_paragraph(text),
            Node::FieldRegion { items } => {
                for item in items {
                    let parts = [&item.marker, &item.key, &item.value];
                    let line: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
                    self.builder.push(BlockKind::Paragraph, &line.join(" "));
                }
            }
            _ => {}
        }
    }

    fn push_paragraph(&mut self, text: &str) {
        let trimmed = text.trim();
        if super::lines::is_break(trimmed) {
            self.builder.push(BlockKind::Break, trimmed);
        } else {
            self.builder.push(paragraph_kind(trimmed), trimmed);
        }
    }

    fn push_table(&mut self, table: &docling::Table) {
        let rows: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| single_line(&self.plain(cell))).collect())
            .collect();
        match rows.as_slice() {
            [row] if row.len() == 1 => self.builder.push(BlockKind::Paragraph, &row[0]),
            rows => self.builder.push(BlockKind::Table, &table_text(rows)),
        }
    }

    /// Preformatted text: what does not look like a program is text that somebody typed.
    fn push_code(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        let marked = text
            .lines()
            .filter(|line| line.contains(['{', '}', ';', '=', '<', '>', '$', '#', '\\', '|']))
            .count();
        let indented = text.lines().filter(|line| line.starts_with([' ', '\t'])).count();
        if lines >= 3 && marked * 8 < lines && indented * 8 < lines {
            super::text::append(&mut self.builder, text);
        } else {
            self.builder.push(BlockKind::Code, text);
        }
    }

    fn plain(&self, text: &str) -> String {
        let text = plain(&unescape(text));
        match text.strip_prefix("$$").and_then(|rest| rest.strip_suffix("$$")) {
            Some(formula) => formula.trim().to_owned(),
            None => self.spacing.mend(text),
        }
    }

    fn align<'a>(&self, runs: impl Iterator<Item = &'a str>, markdown: &str) -> String {
        self.spacing.mend(unescape(&align(runs, markdown)))
    }
}

/// docling writes these three as HTML does.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// The paragraphs as they stand in the file, found by their text without white space. docling puts a space between any two
/// runs of one paragraph, also inside words and before commas; here is what was really there. Nothing but spaces is ever
/// changed by it, so that no figure can take another's place.
struct Spacing {
    /// `None` where paragraphs differ in their spaces alone: nobody can tell which of them is meant.
    paragraphs: HashMap<String, Option<String>>,
}

impl Spacing {
    /// Beyond this size of the main part, in bytes, a second look at it is not worth its memory.
    const MAX_PART_BYTES: usize = 48 * 1024 * 1024;

    fn of(bytes: &[u8]) -> Self {
        let mut paragraphs = HashMap::new();
        for part in ["word/document.xml", "word/footnotes.xml", "word/endnotes.xml"] {
            let content = Archive::open(bytes, "DOCX").and_then(|mut archive| archive.read(part, "DOCX"));
            let Ok(Some(content)) = content else {
                continue;
            };
            if content.len() > Self::MAX_PART_BYTES {
                continue;
            }
            if let Ok(source) = std::str::from_utf8(&content)
                && let Ok(xml) = roxmltree::Document::parse(source)
            {
                for paragraph in xml.descendants().filter(|node| node.tag_name().name() == "p") {
                    let text = paragraph_text(paragraph).trim().to_owned();
                    let key = without_spaces(&text);
                    if key.is_empty() {
                        continue;
                    }
                    match paragraphs.entry(key) {
                        Entry::Vacant(free) => {
                            free.insert(Some(text));
                        }
                        Entry::Occupied(mut taken) => {
                            if taken.get().as_ref() != Some(&text) {
                                taken.insert(None);
                            }
                        }
                    }
                }
            }
        }
        Self { paragraphs }
    }

    fn mend(&self, text: String) -> String {
        match self.paragraphs.get(&without_spaces(&text)) {
            Some(Some(original)) => original.clone(),
            _ => text,
        }
    }
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn paragraph_text(paragraph: roxmltree::Node<'_, '_>) -> String {
    let mut text = String::new();
    for node in paragraph.descendants() {
        match node.tag_name().name() {
            // Deleted text has a name of its own (`delText`).
            "t" => text.push_str(node.text().unwrap_or_default()),
            "tab"
                if node
                    .parent()
                    .is_some_and(|parent| parent.tag_name().name() == "r") =>
            {
                text.push('\t')
            }
            "br" | "cr" => text.push('\n'),
            "noBreakHyphen" => text.push('-'),
            _ => {}
        }
    }
    text
}

/// The text of styled runs with the white space that stands between them: docling trims the runs, and keeps the space in
/// the Markdown beside them.
fn align<'a>(runs: impl Iterator<Item = &'a str>, markdown: &str) -> String {
    let mut text = String::new();
    let mut cursor = 0;
    for run in runs {
        let Some(found) = markdown[cursor..].find(run) else {
            return plain(markdown);
        };
        let gap = &markdown[cursor..cursor + found];
        if !text.is_empty() {
            if gap.contains('\n') {
                text.push('\n');
            } else if gap.contains(char::is_whitespace) {
                text.push(' ');
            }
        }
        text.push_str(run);
        cursor += found + run.len();
    }
    text
}

/// Without the Markdown that docling writes around links and emphasis; anything that only looks like it stays.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['[', '*', '~', '`', '_']) {
        out.push_str(&rest[..at]);
        let here = &rest[at..];
        let before = out.chars().next_back();
        if let Some((label, length)) = link(here) {
            out.push_str(&plain(label));
            rest = &here[length..];
        } else if let Some((inner, length)) = emphasis(here, before) {
            out.push_str(&plain(inner));
            rest = &here[length..];
        } else {
            let step = here.chars().next().map_or(1, char::len_utf8);
            out.push_str(&here[..step]);
            rest = &here[step..];
        }
    }
    out.push_str(rest);
    out
}

/// `[label](target)` at the start: the label, and the length of it all.
fn link(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix('[')?;
    let middle = inner.find("](")?;
    let label = &inner[..middle];
    let target = &inner[middle + 2..];
    let end = target.find(')')?;
    let is_target =
        target.starts_with(['#', '/', '.']) || target[..end].contains(':') || target[..end].contains('.');
    (is_target && !label.contains(['[', '\n']) && !target[..end].contains(char::is_whitespace))
        .then_some((label, 1 + middle + 2 + end + 1))
}

/// `**bold**`, `*italic*`, `~~struck~~`, `` `code` `` with nothing of a word on either outer side.
fn emphasis(text: &str, before: Option<char>) -> Option<(&str, usize)> {
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    for mark in ["***", "**", "~~", "*", "`"] {
        let Some(inner) = text.strip_prefix(mark) else {
            continue;
        };
        let end = inner.find(mark)?;
        let content = &inner[..end];
        let after = inner[end + mark.len()..].chars().next();
        let fits = !content.is_empty()
            && !content.starts_with(char::is_whitespace)
            && !content.ends_with(char::is_whitespace)
            && !content.contains('\n')
            && !after.is_some_and(char::is_alphanumeric);
        return fits.then_some((content, mark.len() * 2 + end));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_and_look_alikes_stay() {
        assert_eq!(
            plain("RUN n opens zone *n* for **two** minutes"),
            "RUN n opens zone n for two minutes"
        );
        assert_eq!(plain("see [the page](https://a.b/c_d) now"), "see the page now");
        assert_eq!(
            plain("2*3*4 and a [note] and f(x)[0](y) * * *"),
            "2*3*4 and a [note] and f(x)[0](y) * * *"
        );
        assert_eq!(plain("snake_case stays"), "snake_case stays");
    }

    #[test]
    fn runs_keep_the_space_between_them() {
        let runs = ["hold", "Enter", ", please"];
        assert_eq!(
            align(runs.into_iter(), "hold **Enter**, please"),
            "hold Enter, please"
        );
    }

    /// A Word file with this body.
    fn docx(body: &str) -> Vec<u8> {
        use std::io::Write as _;
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let parts = [
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
        ];
        for (name, content) in parts {
            archive
                .start_file(name, zip::write::SimpleFileOptions::default())
                .expect("a part");
            archive.write_all(content.as_bytes()).expect("a part");
        }
        archive.finish().expect("an archive").into_inner()
    }

    /// A paragraph of runs, every second of them bold.
    fn paragraph(runs: &[&str]) -> String {
        let runs: String = runs
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let style = if index % 2 == 1 {
                    "<w:rPr><w:b/></w:rPr>"
                } else {
                    ""
                };
                format!(r#"<w:r>{style}<w:t xml:space="preserve">{run}</w:t></w:r>"#)
            })
            .collect();
        format!("<w:p>{runs}</w:p>")
    }

    #[test]
    fn figures_stay_what_they_are() {
        let rows = [
            ["1.5", "15", "1 5"],
            ["(1,200)", "1,200", "12.00"],
            ["−1,200", "-1,200", "+1,200"],
            ["1,200", "1200", "12,00"],
        ];
        let table: String = rows
            .iter()
            .map(|row| {
                let cells: String = row
                    .iter()
                    .map(|cell| format!("<w:tc>{}</w:tc>", paragraph(&[cell])))
                    .collect();
                format!("<w:tr>{cells}</w:tr>")
            })
            .collect();
        let body = format!(
            "{}<w:tbl>{table}</w:tbl>{}",
            paragraph(&["Sums"]),
            paragraph(&["End"])
        );
        let document = parse(&docx(&body)).expect("parses");
        for row in rows {
            assert!(
                document.text.contains(&row.join(" | ")),
                "{row:?} in {}",
                document.text
            );
        }
    }

    #[test]
    fn words_that_runs_divide_are_whole() {
        let body = [
            paragraph(&[
                "The lamp",
                "-keep",
                "er, ",
                "Odile",
                ", counts 1",
                ",200 matches.",
            ]),
            paragraph(&["It is 1", "5 here."]),
            paragraph(&["It is 1.", "5 here."]),
            "<w:p><w:r><w:t>well</w:t></w:r><w:r><w:noBreakHyphen/><w:t>known</w:t></w:r></w:p>".to_owned(),
        ]
        .concat();
        let document = parse(&docx(&body)).expect("parses");
        assert_eq!(
            document.text,
            "The lamp-keeper, Odile, counts 1,200 matches.\n\nIt is 15 here.\n\nIt is 1.5 here.\n\nwell-known"
        );
    }
}
