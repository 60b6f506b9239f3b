//! Plain text: paragraphs, headings, breaks, lists and verse as people type them.

use mnemosyne_domain::Failure;

use super::builder::DocumentBuilder;
use super::lines;
use crate::document::{BlockKind, Document, Format};

/// Reads decoded plain text.
pub(super) fn parse(text: &str) -> Result<Document, Failure> {
    let mut builder = DocumentBuilder::new();
    append(&mut builder, text);
    let first = builder.blocks().first().map(|block| block.kind);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if matches!(first, Some(BlockKind::Heading { .. })) || stands_as_title(text) {
        builder.title = lines().next().map(str::to_owned);
    }
    builder.finish(Format::Text)
}

/// Adds the blocks of text as people type it.
pub(super) fn append(builder: &mut DocumentBuilder, text: &str) {
    let text = text
        .replace("\r\n", "\n")
        .replace(['\r', '\u{c}', '\u{2029}'], "\n");
    let lines_apart = text.contains("\n\n");
    let groups = groups(&text);
    for (index, group) in groups.iter().enumerate() {
        let heading = groups.get(index + 1).and_then(|next| group.heading_over(next));
        match (heading, group.lines.as_slice()) {
            (Some(level), [line]) => builder.push(BlockKind::Heading { level }, line),
            (_, [line]) if lines::is_break(line.trim()) => builder.push(BlockKind::Break, line),
            (_, lines) => push_paragraph(builder, lines, lines_apart),
        }
    }
}

/// Lines without a blank one between them.
struct Group<'a> {
    lines: Vec<&'a str>,
    blank_before: usize,
}

fn groups(text: &str) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let mut blank_before = 0;
    for line in text.lines() {
        let trimmed = line.trim();
        let stands_apart = (trimmed.starts_with('[') && trimmed.ends_with(']') && !trimmed.contains("]("))
            || lines::is_break(trimmed);
        let follows_break = lines.last().is_some_and(|last| lines::is_break(last.trim()));
        if (trimmed.is_empty() || stands_apart || follows_break) && !lines.is_empty() {
            groups.push(Group {
                lines: std::mem::take(&mut lines),
                blank_before: std::mem::take(&mut blank_before),
            });
        }
        if trimmed.is_empty() {
            blank_before += 1;
        } else {
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        groups.push(Group { lines, blank_before });
    }
    groups
}

impl Group<'_> {
    /// The level of a lone short line that says nothing by itself, over text that does: a heading, though nothing marks it.
    fn heading_over(&self, next: &Group<'_>) -> Option<u8> {
        let [line] = self.lines.as_slice() else {
            return None;
        };
        let line = line.trim();
        let length = line.chars().count();
        let is_open = !line.ends_with(['.', ',', ';', ':', '!', '?', '”', '"', '»', '’', '\'']);
        let is_line = is_open
            && (2..=60).contains(&length)
            && line.chars().next().is_some_and(char::is_uppercase)
            && !lines::is_break(line);
        let text_follows = next.lines.iter().map(|line| line.chars().count()).sum::<usize>() >= 100;
        let apart = self.blank_before >= 2 || (length <= 40 && line.split_whitespace().count() <= 6);
        (is_line && text_follows && apart && next.blank_before >= 1)
            .then(|| lines::heading_level(line).unwrap_or(2))
    }
}

/// One or two short lines, and then white space: what stands on a title page.
fn stands_as_title(text: &str) -> bool {
    let head: Vec<&str> = text.trim_start().lines().take(4).map(str::trim).collect();
    let lines = head.iter().take_while(|line| !line.is_empty()).count();
    (1..=3).contains(&lines)
        && lines < head.len()
        && head[..lines].iter().all(|line| {
            (3..=70).contains(&line.chars().count())
                && !line.ends_with(['.', ',', ';', ':', '!', '?'])
                && !line.contains(": ")
        })
}

/// `lines_apart`: whether blank lines divide paragraphs; without any, each line is a paragraph of its own.
fn push_paragraph(builder: &mut DocumentBuilder, paragraph: &[&str], lines_apart: bool) {
    let trimmed: Vec<&str> = paragraph.iter().map(|line| line.trim()).collect();
    if let [line] = trimmed.as_slice() {
        push_line(builder, line);
    } else if !lines_apart && !is_labels(&trimmed) && !is_labelled_verse(&trimmed) {
        push_lines(builder, &trimmed);
    } else if !push_structured(builder, paragraph, &trimmed) {
        let headings = headings_over_text(&trimmed);
        for line in &trimmed[..headings] {
            let level = lines::marked_heading_level(line).unwrap_or(2);
            builder.push(BlockKind::Heading { level }, line);
        }
        match &trimmed[headings..] {
            [line] => push_line(builder, line),
            rest if headings > 0 && push_structured(builder, &paragraph[headings..], rest) => {}
            rest => push_running_text(builder, rest),
        }
    }
}

/// More lines in a row than this that all read as headings are a list of such lines.
const MOST_HEADINGS: usize = 3;

/// Lines that are a paragraph each.
fn push_lines(builder: &mut DocumentBuilder, trimmed: &[&str]) {
    let reads_as_heading = |line: &str| lines::heading_level(line).is_some();
    for run in trimmed.chunk_by(|one, next| reads_as_heading(one) == reads_as_heading(next)) {
        let are_entries = run.len() > MOST_HEADINGS && reads_as_heading(run[0]);
        for line in run {
            if are_entries {
                builder.push(BlockKind::Paragraph, line);
            } else {
                push_line(builder, line);
            }
        }
    }
}

/// A line by itself.
fn push_line(builder: &mut DocumentBuilder, line: &str) {
    let kind = match lines::heading_level(line) {
        Some(level) => BlockKind::Heading { level },
        None if lines::list_mark(line).is_some() => BlockKind::ListItem,
        None => BlockKind::Paragraph,
    };
    builder.push(kind, line);
}

/// How many lines at the beginning are headings: `CHAPTER I` right over its text, say. Mere capitals are none here: they name
/// who speaks.
fn headings_over_text(trimmed: &[&str]) -> usize {
    const LONGEST_OVER_MUCH: usize = 40;
    let headings = trimmed
        .iter()
        .enumerate()
        .take_while(|(index, line)| {
            // Over a long paragraph, a long line is its first.
            let over_much = trimmed.len() - index > 3 && line.chars().count() > LONGEST_OVER_MUCH;
            !over_much && lines::marked_heading_level(line).is_some()
        })
        .take(MOST_HEADINGS + 1)
        .count();
    if headings > MOST_HEADINGS || headings == trimmed.len() {
        0
    } else {
        headings
    }
}

/// Writes several lines that are a table, a list, code, a quote, labels or verse, and says whether they were.
fn push_structured(builder: &mut DocumentBuilder, paragraph: &[&str], trimmed: &[&str]) -> bool {
    let is_first = builder.blocks().is_empty();
    if is_table(paragraph) {
        builder.push(BlockKind::Table, &paragraph.join("\n"));
    } else if is_list(trimmed) {
        push_list(builder, trimmed);
    } else if !lines::is_cue(trimmed[0])
        && paragraph
            .iter()
            .all(|line| line.starts_with("    ") || line.starts_with('\t'))
        && looks_like_code(paragraph)
    {
        builder.push(BlockKind::Code, &paragraph.join("\n"));
    } else if trimmed.iter().all(|line| line.starts_with('>')) {
        let quoted = trimmed.iter().map(|line| line.trim_start_matches(['>', ' ']));
        builder.push(BlockKind::Quote, &lines::join_lines(quoted));
    } else if is_labels(trimmed) {
        builder.push(BlockKind::Paragraph, &trimmed.join("\n"));
    } else if (!is_first && lines::is_verse(trimmed)) || is_labelled_verse(trimmed) {
        builder.push(BlockKind::Verse, &trimmed.join("\n"));
    } else {
        return false;
    }
    true
}

/// Several lines of prose.
fn push_running_text(builder: &mut DocumentBuilder, trimmed: &[&str]) {
    if builder.blocks().is_empty() && lines::is_verse(trimmed) {
        // What stands first in short lines is a title page.
        builder.push(BlockKind::Paragraph, &trimmed.join("\n"));
        return;
    }
    match trimmed {
        // Who speaks stands in a line of its own.
        [cue, speech @ ..] if lines::is_cue(cue) && !speech.is_empty() => {
            let speech = lines::join_lines(speech.iter().copied());
            builder.push(BlockKind::Paragraph, &format!("{cue}\n{speech}"));
        }
        _ => builder.push(BlockKind::Paragraph, &lines::join_lines(trimmed.iter().copied())),
    }
}

fn is_list(trimmed: &[&str]) -> bool {
    let marked = trimmed
        .iter()
        .filter(|line| lines::list_mark(line).is_some())
        .count();
    marked * 2 >= trimmed.len() && lines::list_mark(trimmed[0]).is_some()
}

fn push_list(builder: &mut DocumentBuilder, trimmed: &[&str]) {
    let mut item: Vec<&str> = Vec::new();
    for line in trimmed {
        if lines::list_mark(line).is_some() && !item.is_empty() {
            builder.push(BlockKind::ListItem, &lines::join_lines(item.drain(..)));
        }
        item.push(line);
    }
    builder.push(BlockKind::ListItem, &lines::join_lines(item));
}

/// `Artist: …` over `Year: …`: lines that each name one thing.
fn is_labels(trimmed: &[&str]) -> bool {
    trimmed.iter().all(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.len() <= 30 && name.split_whitespace().count() <= 3 && value.starts_with([' ', '\t'])
        })
    })
}

/// `[Chorus]` over lines of song.
fn is_labelled_verse(trimmed: &[&str]) -> bool {
    trimmed[0].starts_with('[')
        && trimmed[0].ends_with(']')
        && trimmed[1..].iter().all(|line| line.chars().count() <= 80)
}

/// Columns set apart by pipes, tabs or runs of spaces at the same places in each line.
fn is_table(paragraph: &[&str]) -> bool {
    let piped = paragraph
        .iter()
        .filter(|line| line.matches('|').count() >= 2)
        .count();
    if piped == paragraph.len() {
        return true;
    }
    let cells = |line: &str| {
        line.trim()
            .split('\t')
            .flat_map(|part| part.split("   "))
            .filter(|cell| !cell.trim().is_empty())
            .count()
    };
    let wide = paragraph.iter().filter(|line| cells(line) >= 3).count();
    paragraph.len() >= 2 && wide * 10 >= paragraph.len() * 8
}

fn looks_like_code(paragraph: &[&str]) -> bool {
    let marks = paragraph
        .iter()
        .filter(|line| line.contains(['{', '}', ';', '=', '<', '>', '$', '#', '(']))
        .count();
    marks * 2 >= paragraph.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(BlockKind, String)> {
        let document = parse(text).expect("parses");
        document
            .blocks
            .iter()
            .map(|block| (block.kind, document.text[block.span.clone()].to_owned()))
            .collect()
    }

    #[test]
    fn a_book_as_typed() {
        let blocks = kinds(
            "CHAPTER I\n\nIt was a dark\nand stormy night, and nobody who could help it was out of doors.\n\n* * *\n\n- one\n- two\n  more\n\n    let x = 1;\n    let y = 2;\n",
        );
        let found: Vec<BlockKind> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            found,
            [
                BlockKind::Heading { level: 2 },
                BlockKind::Paragraph,
                BlockKind::Break,
                BlockKind::ListItem,
                BlockKind::ListItem,
                BlockKind::Code,
            ]
        );
        assert!(blocks[1].1.starts_with("It was a dark and stormy night"));
        assert_eq!(blocks[4].1, "- two more");
    }

    #[test]
    fn who_speaks_is_no_heading() {
        let long = "I counted the matches twice, and each time there was one more than the time before, which is not what matches do.";
        let blocks = kinds(&format!(
            "INT. LAMP ROOM - NIGHT\n\nThe lamp is out.\n\n          ODILE\n      (whispering)\n   Forty-one.\n\nMATTHIS (O.S.)\n{long}\n{long}\n\nCHAPTER II\n{long}\n{long}\n"
        ));
        let found: Vec<BlockKind> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            found,
            [
                BlockKind::Heading { level: 2 },
                BlockKind::Paragraph,
                BlockKind::Paragraph,
                BlockKind::Paragraph,
                BlockKind::Heading { level: 2 },
                BlockKind::Paragraph,
            ]
        );
        assert_eq!(blocks[2].1, "ODILE\n(whispering) Forty-one.");
        assert!(
            blocks[3].1.starts_with("MATTHIS (O.S.)\nI counted"),
            "{}",
            blocks[3].1
        );
    }

    #[test]
    fn long_lists_of_lines_that_read_as_headings_are_read_at_once() {
        // Each of these lines once cost a look at all that follow, and a frame of the stack.
        const LINES: usize = 100_000;
        let end =
            "and this last line is too long for all of it to be taken for verse, as short lines would be.";
        for first in ["", "Fruit\n\n"] {
            for line in ["7 Apples", "APPLES", "Chapter 7"] {
                let blocks = kinds(&format!("{first}{}{end}", format!("{line}\n").repeat(LINES)));
                let headings = blocks
                    .iter()
                    .filter(|(kind, _)| matches!(kind, BlockKind::Heading { .. }))
                    .count();
                assert!(headings <= 1, "{line}: {headings} headings");
                let text: usize = blocks.iter().map(|(_, text)| text.matches(line).count()).sum();
                assert_eq!(text, LINES, "{line}");
            }
        }
    }

    #[test]
    fn a_song_as_typed() {
        let document =
            parse("Title: Tide\nArtist: Us\n\n[Verse 1]\nThe tide came in\nAnd the boats leaned over\n")
                .expect("parses");
        assert_eq!(document.title.as_deref(), Some("Tide"));
        assert_eq!(document.blocks[1].kind, BlockKind::Verse);
        assert!(document.text.contains("came in\nAnd"));
    }

    #[test]
    fn lines_without_blank_lines_are_paragraphs() {
        assert_eq!(kinds("First line of a log.\nSecond line of a log.").len(), 2);
    }
}
