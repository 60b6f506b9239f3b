//! Markdown (CommonMark with GitHub's tables, footnotes and task lists, YAML front matter).

use mnemosyne_domain::Failure;
use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::builder::DocumentBuilder;
use super::{html, lines};
use crate::document::{BlockKind, Document, Format};

/// Reads decoded Markdown.
pub(super) fn parse(source: &str) -> Result<Document, Failure> {
    let source = source.trim_start_matches('\u{feff}');
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_DEFINITION_LIST
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut walker = Walker::default();
    for event in Parser::new_ext(source, options) {
        walker.event(event);
    }
    walker.flush();
    walker.builder.finish(Format::Markdown)
}

/// What the inline text that is being collected belongs to.
struct Walker {
    builder: DocumentBuilder,
    inline: String,
    kind: BlockKind,
    /// Numbers of the lists one is in; `None` for bullets.
    lists: Vec<Option<u64>>,
    /// The mark of an item that has not been written yet.
    mark: Option<String>,
    quotes: usize,
    verbatim: bool,
    front_matter: bool,
    image_depth: usize,
    table: Option<Vec<Vec<String>>>,
    raw_html: String,
}

impl Default for Walker {
    fn default() -> Self {
        Self {
            builder: DocumentBuilder::new(),
            inline: String::new(),
            kind: BlockKind::Paragraph,
            lists: Vec::new(),
            mark: None,
            quotes: 0,
            verbatim: false,
            front_matter: false,
            image_depth: 0,
            table: None,
            raw_html: String::new(),
        }
    }
}

impl Walker {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.inline.push_str(&text),
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.inline.push_str(&text)
            }
            Event::InlineHtml(tag) if tag.starts_with("<br") => self.inline.push('\n'),
            Event::Html(text) => self.raw_html.push_str(&text),
            Event::InlineHtml(_) => {}
            Event::SoftBreak => self.inline.push(' '),
            Event::HardBreak => self.inline.push('\n'),
            Event::Rule => {
                self.flush();
                self.builder.push(BlockKind::Break, "* * *");
            }
            Event::TaskListMarker(done) => self.inline.push_str(if done { "[x] " } else { "[ ] " }),
            Event::FootnoteReference(label) => {
                self.inline.push_str(&format!("[{label}]"));
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.flush(),
            Tag::Heading { level, .. } => {
                self.flush();
                self.kind = BlockKind::Heading {
                    level: level_number(level),
                };
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.quotes += 1;
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.verbatim = true;
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                self.mark = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let mark = format!("{number}. ");
                        *number += 1;
                        mark
                    }
                    _ => "- ".to_owned(),
                });
            }
            Tag::FootnoteDefinition(label) => {
                self.flush();
                self.mark = Some(format!("[{label}] "));
            }
            Tag::Table(_) => {
                self.flush();
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(rows) = &mut self.table {
                    rows.push(Vec::new());
                }
            }
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle | MetadataBlockKind::PlusesStyle) => {
                self.flush();
                self.front_matter = true;
            }
            Tag::DefinitionListTitle => self.flush(),
            Tag::DefinitionListDefinition => {
                if !self.inline.trim().is_empty() {
                    self.inline.push_str(": ");
                }
            }
            Tag::Image { .. } => self.image_depth += 1,
            Tag::DefinitionList
            | Tag::TableCell
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Link { .. } => {}
            Tag::Superscript | Tag::Subscript => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::FootnoteDefinition => {
                self.flush()
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                self.verbatim = false;
                let code = std::mem::take(&mut self.inline);
                self.mark = None;
                self.builder.push(BlockKind::Code, &code);
            }
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
            }
            TagEnd::TableCell => {
                let cell = super::builder::single_line(&std::mem::take(&mut self.inline));
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    row.push(cell);
                }
            }
            TagEnd::Table => {
                if let Some(rows) = self.table.take() {
                    self.builder.push(BlockKind::Table, &table_text(&rows));
                }
            }
            TagEnd::MetadataBlock(_) => {
                self.front_matter = false;
                let lines = std::mem::take(&mut self.inline);
                read_front_matter(&mut self.builder, &lines);
            }
            TagEnd::HtmlBlock => {
                let raw = std::mem::take(&mut self.raw_html);
                html::append_fragment(&mut self.builder, &raw);
            }
            TagEnd::Image => self.image_depth = self.image_depth.saturating_sub(1),
            TagEnd::DefinitionListDefinition => self.flush(),
            _ => {}
        }
    }

    /// Writes the collected text as a block of the kind that the place asks for.
    fn flush(&mut self) {
        let kind = std::mem::replace(&mut self.kind, BlockKind::Paragraph);
        if self.inline.trim().is_empty() {
            self.inline.clear();
            return;
        }
        let text = std::mem::take(&mut self.inline);
        let kind = match kind {
            BlockKind::Paragraph if self.mark.is_some() || !self.lists.is_empty() => BlockKind::ListItem,
            BlockKind::Paragraph if self.quotes > 0 => BlockKind::Quote,
            BlockKind::Paragraph => paragraph_kind(&text),
            other => other,
        };
        match self.mark.take() {
            Some(mark) if kind == BlockKind::ListItem => self.builder.push(kind, &(mark + &text)),
            _ if matches!(kind, BlockKind::Heading { .. }) => {
                self.builder.push(kind, &super::builder::single_line(&text))
            }
            _ => self.builder.push(kind, &text),
        }
    }
}

/// Hard breaks make verse of a paragraph of short lines.
pub(super) fn paragraph_kind(text: &str) -> BlockKind {
    let trimmed: Vec<&str> = text
        .trim()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let labels = trimmed.iter().filter(|line| line.contains(": ")).count() * 2 > trimmed.len();
    if trimmed.len() >= 2
        && !labels
        && (lines::is_verse(&trimmed) || trimmed.iter().all(|line| line.chars().count() <= 60))
    {
        BlockKind::Verse
    } else {
        BlockKind::Paragraph
    }
}

/// One line a row, cells apart by ` | `.
pub(super) fn table_text(rows: &[Vec<String>]) -> String {
    let lines: Vec<String> = rows
        .iter()
        .filter(|row| row.iter().any(|cell| !cell.trim().is_empty()))
        .map(|row| row.join(" | ").trim().to_owned())
        .collect();
    lines.join("\n")
}

fn level_number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

/// The few keys of front matter that name a document; anything else is left alone.
fn read_front_matter(builder: &mut DocumentBuilder, source: &str) {
    let mut list_key = String::new();
    for line in source.lines() {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            if list_key.starts_with("author") {
                builder.authors.push(author_name(item));
            }
            continue;
        }
        let Some((key, value)) = line.split_once([':', '=']) else {
            continue;
        };
        if line.starts_with(char::is_whitespace) {
            continue;
        }
        let key = key.trim().to_lowercase();
        let value = unquote(value);
        match key.as_str() {
            "title" if !value.is_empty() => builder.title = Some(value.to_owned()),
            "author" | "authors" | "creator" | "artist" if !value.is_empty() => {
                builder.authors.extend(authors_in(value));
            }
            "lang" | "language" if !value.is_empty() => builder.language = Some(value.to_owned()),
            _ => {}
        }
        list_key = key;
    }
}

/// `Odile Brandt; Ilse Marrow`, or `[Odile Brandt, "Marrow, Ilse"]`: only a list in brackets is divided by commas, since a
/// comma may also stand inside a name.
fn authors_in(value: &str) -> Vec<String> {
    let list = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in list.unwrap_or(value).chars() {
        match quote {
            None if c == ';' || (c == ',' && list.is_some()) => {
                parts.push(String::new());
                continue;
            }
            // An apostrophe inside a name opens nothing.
            None if matches!(c, '"' | '\'') && parts.last().is_some_and(|part| part.trim().is_empty()) => {
                quote = Some(c);
            }
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| author_name(part)).collect()
}

fn author_name(item: &str) -> String {
    let item = unquote(item);
    unquote(item.strip_prefix("name:").unwrap_or(item)).to_owned()
}

fn unquote(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_and_front_matter() {
        let document = parse(
            "---\ntitle: \"The Lamp\"\nauthor:\n  - Ilse Marrow\n  - B. C.\nlang: en\n---\n\n# One\n\nSome *text* with `code` and [a link](http://x.y).\n\n1. first\n2. second\n   - inner\n\n```rust\nfn main() {\n\n    x();\n}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n---\n\n> quoted\n> words\n\nline one\\\nline two\n",
        )
        .expect("parses");
        assert_eq!(document.title.as_deref(), Some("The Lamp"));
        assert_eq!(document.authors, ["Ilse Marrow", "B. C."]);
        assert_eq!(document.language.as_deref(), Some("en"));
        let found: Vec<(BlockKind, &str)> = document
            .blocks
            .iter()
            .map(|block| (block.kind, &document.text[block.span.clone()]))
            .collect();
        assert_eq!(
            found,
            [
                (BlockKind::Heading { level: 1 }, "One"),
                (BlockKind::Paragraph, "Some text with code and a link."),
                (BlockKind::ListItem, "1. first"),
                (BlockKind::ListItem, "2. second"),
                (BlockKind::ListItem, "- inner"),
                (BlockKind::Code, "fn main() {\n\n    x();\n}"),
                (BlockKind::Table, "a | b\n1 | 2"),
                (BlockKind::Break, "* * *"),
                (BlockKind::Quote, "quoted words"),
                (BlockKind::Verse, "line one\nline two"),
            ]
        );
    }

    #[test]
    fn authors_are_divided_where_the_writer_divides_them() {
        for (line, expected) in [
            (r#"author: "Brandt, Odile""#, &["Brandt, Odile"][..]),
            ("author: Brandt, Odile", &["Brandt, Odile"]),
            (
                "author: Brandt, Odile; Marrow, Ilse",
                &["Brandt, Odile", "Marrow, Ilse"],
            ),
            (
                r#"authors: ["Brandt, Odile", 'Marrow, Ilse', Pat O'Dea, R.]"#,
                &["Brandt, Odile", "Marrow, Ilse", "Pat O'Dea", "R."],
            ),
            (
                "author:\n  - Brandt, Odile\n  - name: Ilse Marrow",
                &["Brandt, Odile", "Ilse Marrow"],
            ),
        ] {
            let document = parse(&format!("---\n{line}\n---\n\ntext")).expect("parses");
            assert_eq!(document.authors, expected, "{line}");
        }
    }

    #[test]
    fn raw_html_gives_its_text_only() {
        let document =
            parse("<div>\n<p>inside</p>\n<script>bad()</script>\n</div>\n\nafter").expect("parses");
        assert_eq!(document.text, "inside\n\nafter");
    }
}
