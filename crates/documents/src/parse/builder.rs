//! Puts a [`Document`] together, so that its invariants hold whatever a reader hands in.

use mnemosyne_domain::{Failure, FailureCode};

use crate::document::{Block, BlockKind, Coverage, Document, Format};

/// Collects blocks in reading order.
pub(crate) struct DocumentBuilder {
    text: String,
    blocks: Vec<Block>,
    /// Page or section of the blocks that follow.
    pub(crate) page: Option<u32>,
    /// The title the document gives itself.
    pub(crate) title: Option<String>,
    /// Authors as named.
    pub(crate) authors: Vec<String>,
    /// BCP 47.
    pub(crate) language: Option<String>,
    /// Pages or sections.
    pub(crate) page_count: Option<u32>,
    /// How completely the file was read.
    pub(crate) coverage: Coverage,
}

impl DocumentBuilder {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            blocks: Vec::new(),
            page: None,
            title: None,
            authors: Vec::new(),
            language: None,
            page_count: None,
            coverage: Coverage::Full,
        }
    }

    /// Adds a block; one without anything visible is left out. Control characters go, line ends become `\n`, and only
    /// verse, code and tables keep more than single spaces inside a line.
    pub(crate) fn push(&mut self, kind: BlockKind, content: &str) {
        self.push_over_pages(kind, content, &[]);
    }

    /// The same for a block that goes on over the end of a page: `turns` are the bytes of `content` at which each further page
    /// begins, ascending.
    pub(crate) fn push_over_pages(&mut self, kind: BlockKind, content: &str, turns: &[(usize, u32)]) {
        let keeps_layout = matches!(kind, BlockKind::Code | BlockKind::Table);
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        let start = self.text.len();
        if keeps_layout {
            append_verbatim(&mut self.text, content);
        } else {
            append_flowing(&mut self.text, content);
        }
        let written = &self.text[start..];
        let span_start = start + (written.len() - written.trim_start().len());
        let span_end = start + written.trim_end().len();
        if span_start >= span_end {
            self.text
                .truncate(start.saturating_sub(if start == 0 { 0 } else { 2 }));
            return;
        }
        self.text.truncate(span_end);
        let page_turns = turns
            .iter()
            .map(|(offset, page)| {
                // What stands before the turn is written as it is inside the block, so its length tells the place.
                let mut before = String::new();
                let head = &content[..content.floor_char_boundary(*offset)];
                if keeps_layout {
                    append_verbatim(&mut before, head);
                } else {
                    append_flowing(&mut before, head);
                }
                let place = (start + before.len()).clamp(span_start, span_end);
                let white = self.text[place..].len() - self.text[place..].trim_start().len();
                (place + white, *page)
            })
            .collect();
        let kind = match kind {
            BlockKind::Heading { level } => BlockKind::Heading {
                level: level.clamp(1, 6),
            },
            other => other,
        };
        self.blocks.push(Block {
            kind,
            span: span_start..span_end,
            page: self.page,
            page_turns,
        });
    }

    /// The blocks so far.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Makes a heading of the block at an index, if it reads exactly as a title does.
    pub(crate) fn promote_to_heading(&mut self, index: usize, title: &str) {
        if let Some(block) = self.blocks.get_mut(index)
            && single_line(&self.text[block.span.clone()]) == title
        {
            block.kind = BlockKind::Heading { level: 1 };
        }
    }

    /// What `Title: …` and `Author: …` at the very beginning say.
    fn leading_labels(&self) -> Labels {
        let mut labels = Labels::default();
        for block in self.blocks.iter().take(3) {
            for line in self.text[block.span.clone()].lines().take(12) {
                let Some((name, value)) = line.split_once(':') else {
                    continue;
                };
                let value = value.trim();
                if value.is_empty() || value.chars().count() > 200 {
                    continue;
                }
                match name.trim().to_lowercase().as_str() {
                    "title" | "titel" | "titre" if labels.title.is_none() => {
                        labels.title = Some(single_line(value))
                    }
                    "author" | "artist" | "autor" | "auteur" if labels.authors.is_empty() => {
                        labels.authors.push(value.to_owned())
                    }
                    _ => {}
                }
            }
        }
        labels
    }

    /// The document, if it holds any text.
    pub(crate) fn finish(self, format: Format) -> Result<Document, Failure> {
        let has_text = self.blocks.iter().any(|block| {
            block.kind != BlockKind::Break && self.text[block.span.clone()].chars().any(char::is_alphanumeric)
        });
        if !has_text {
            return Err(Failure::new(
                FailureCode::NoTextExtracted,
                format!("The {} file was read, and holds no text.", format.title()),
            ));
        }
        let labels = self.leading_labels();
        let first_heading = self
            .blocks
            .iter()
            .enumerate()
            .find_map(|(index, block)| match block.kind {
                BlockKind::Heading { level } if level == 1 || index == 0 => {
                    Some(single_line(&self.text[block.span.clone()]))
                }
                _ => None,
            });
        Ok(Document {
            format,
            title: self
                .title
                .map(|title| single_line(&title))
                .filter(|title| !title.is_empty())
                .or(labels.title)
                .or(first_heading),
            authors: tidy_authors(if self.authors.is_empty() {
                labels.authors
            } else {
                self.authors
            }),
            language: self.language.and_then(|language| tidy_language(&language)),
            page_count: self.page_count,
            text: self.text,
            blocks: self.blocks,
            coverage: self.coverage,
        })
    }
}

#[derive(Default)]
struct Labels {
    title: Option<String>,
    authors: Vec<String>,
}

/// Without control characters and with single spaces, as one line.
pub(crate) fn single_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !is_invisible(*c)));
    }
    line
}

fn tidy_authors(authors: Vec<String>) -> Vec<String> {
    let mut tidy: Vec<String> = Vec::new();
    for author in authors {
        let author = single_line(&author);
        if !author.is_empty() && !tidy.contains(&author) {
            tidy.push(author);
        }
    }
    tidy
}

/// A language tag as far as it is one: `en_US.UTF-8` becomes `en-US`.
fn tidy_language(tag: &str) -> Option<String> {
    let tag = tag.trim().split(['.', '@', ';', ',']).next()?.replace('_', "-");
    let is_tag = tag.len() >= 2
        && tag.len() <= 35
        && tag
            .split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()))
        && tag.split('-').next().is_some_and(|first| {
            (2..=3).contains(&first.len()) && first.chars().all(|c| c.is_ascii_alphabetic())
        });
    is_tag.then_some(tag)
}

/// Marks that take no place on paper: byte order marks, zero-width spaces, soft hyphens. Joiners stay: scripts need them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{feff}' | '\u{200b}' | '\u{ad}' | '\u{2060}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn append_verbatim(text: &mut String, content: &str) {
    let content = content.trim_start_matches(['\n', '\r']);
    let mut previous_was_return = false;
    for c in content.chars() {
        let return_before = std::mem::replace(&mut previous_was_return, c == '\r');
        match c {
            '\n' if return_before => {}
            '\r' | '\n' | '\u{2028}' | '\u{85}' => text.push('\n'),
            '\t' => text.push('\t'),
            c if c.is_control() || c == '\u{feff}' => {}
            c => text.push(c),
        }
    }
}

fn append_flowing(text: &mut String, content: &str) {
    let begin = text.len();
    let mut pending_space = false;
    let mut previous_was_return = false;
    for c in content.chars() {
        let return_before = std::mem::replace(&mut previous_was_return, c == '\r');
        match c {
            '\n' if return_before => {}
            '\r' | '\n' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{b}' | '\u{c}' => {
                pending_space = false;
                if text.len() > begin && !text.ends_with('\n') {
                    text.push('\n');
                }
            }
            c if c.is_whitespace() => pending_space = true,
            c if c.is_control() || is_invisible(c) => {}
            c => {
                if pending_space && text.len() > begin && !text.ends_with('\n') {
                    text.push(' ');
                }
                pending_space = false;
                text.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_clean_apart_and_in_order() {
        let mut builder = DocumentBuilder::new();
        builder.push(BlockKind::Heading { level: 9 }, " Title\u{0} \u{feff}");
        builder.push(BlockKind::Paragraph, "\u{1}\u{2} \n");
        builder.push(BlockKind::Paragraph, "one\ttwo\r\n  three   four\r\n\r\n");
        builder.push(BlockKind::Code, "\r\n    indented\r\n\tmore  \n\n");
        let document = builder.finish(Format::Text).expect("has text");
        assert_eq!(
            document.text,
            "Title\n\none two\nthree four\n\n    indented\n\tmore"
        );
        assert_eq!(document.blocks.len(), 3);
        assert_eq!(document.blocks[0].kind, BlockKind::Heading { level: 6 });
        assert_eq!(
            &document.text[document.blocks[2].span.clone()],
            "indented\n\tmore"
        );
    }

    #[test]
    fn a_block_over_pages_knows_where_each_begins() {
        let mut builder = DocumentBuilder::new();
        builder.page = Some(3);
        builder.push(BlockKind::Paragraph, "before");
        let content = "one \u{ad} two  three   four";
        let turns =
            [("three", 4), ("four", 5)].map(|(word, page)| (content.find(word).expect("a word"), page));
        builder.push_over_pages(BlockKind::Paragraph, content, &turns);
        let document = builder.finish(Format::Pdf).expect("has text");
        assert_eq!(document.text, "before\n\none two three four");
        for (word, page) in [("before", 3), ("one", 3), ("two", 3), ("three", 4), ("four", 5)] {
            let offset = document.text.find(word).expect("a word");
            assert_eq!(document.page_at(offset), Some(page), "{word}");
        }
    }

    #[test]
    fn nothing_visible_is_no_text() {
        let mut builder = DocumentBuilder::new();
        builder.push(BlockKind::Break, "* * *");
        builder.push(BlockKind::Paragraph, "…");
        let failure = builder.finish(Format::Html).expect_err("no text");
        assert_eq!(failure.code, FailureCode::NoTextExtracted);
    }

    #[test]
    fn languages_become_tags() {
        assert_eq!(tidy_language("en_US.UTF-8").as_deref(), Some("en-US"));
        assert_eq!(tidy_language("German language"), None);
        assert_eq!(tidy_language("de").as_deref(), Some("de"));
    }
}
