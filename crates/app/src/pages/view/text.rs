//! The text of documents on a page: matched words marked, the best excerpt of a passage, and passages with their
//! headings, tables and code told apart. Everything that comes out is escaped.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use mnemosyne_domain::{Chunk, ChunkUid};
use rust_stemmers::{Algorithm, Stemmer};

use super::format::{SafeHtml, escape};

/// Words that say nothing about what is looked for; they are marked only where a query has no others.
const STOP_WORDS: [&str; 60] = [
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "did", "do",
    "does", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "in", "is", "it", "its",
    "me", "my", "not", "of", "on", "or", "our", "she", "so", "that", "the", "their", "them", "there", "they",
    "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "you",
    "your",
];

/// Marks the words of a query in texts, whatever their case and English ending. Scripts without spaces between words
/// are marked wherever a run of the query stands.
pub struct Highlighter {
    stemmer: Stemmer,
    stems: BTreeSet<String>,
    runs: Vec<String>,
}

impl Highlighter {
    /// Marks the words of a query. An empty query marks nothing.
    pub fn new(query: &str) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let mut words = Vec::new();
        let mut runs = Vec::new();
        for range in words_of(query) {
            let word = query[range].to_lowercase();
            if word.chars().any(is_unspaced) {
                runs.push(word);
            } else {
                words.push(word);
            }
        }
        let telling: Vec<&String> = words
            .iter()
            .filter(|word| !STOP_WORDS.contains(&word.as_str()))
            .collect();
        let stem = |word: &String| stemmer.stem(word).into_owned();
        let stems = if telling.is_empty() && runs.is_empty() {
            words.iter().map(stem).collect()
        } else {
            telling.into_iter().map(stem).collect()
        };
        Self { stemmer, stems, runs }
    }

    /// Where the text matches, in bytes, ascending, apart.
    fn matches(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.stems.is_empty() && self.runs.is_empty() {
            return found;
        }
        for range in words_of(text) {
            let word = &text[range.clone()];
            let runs_before = found.len();
            for run in &self.runs {
                found.extend(
                    word.match_indices(run.as_str())
                        .map(|(at, _)| range.start + at..range.start + at + run.len()),
                );
            }
            if found.len() == runs_before {
                let lower = word.to_lowercase();
                if self.stems.contains(self.stemmer.stem(&lower).as_ref()) {
                    found.push(range);
                }
            }
        }
        found.sort_by_key(|range| range.start);
        let mut end = 0;
        found.retain(|range| {
            let apart = range.start >= end;
            if apart {
                end = range.end;
            }
            apart
        });
        found
    }

    /// The text, escaped, its matches in `<mark>`.
    pub fn mark(&self, text: &str) -> SafeHtml {
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        self.mark_into(text, &mut out);
        SafeHtml(out)
    }

    fn mark_into(&self, text: &str, out: &mut String) {
        let mut from = 0;
        for range in self.matches(text) {
            push_escaped(&text[from..range.start], out);
            out.push_str("<mark>");
            push_escaped(&text[range.clone()], out);
            out.push_str("</mark>");
            from = range.end;
        }
        push_escaped(&text[from..], out);
    }

    /// The stretch of a passage that holds the most different matches, about `chars` characters long, cut at words, with
    /// its matches marked and `…` where something was left out. It runs on: marks of headings, tables, lists and code
    /// are left out, white space is written as single spaces.
    pub fn excerpt(&self, passage: &str, chars: usize) -> SafeHtml {
        let text = running_text(passage);
        let length = text.chars().count();
        if length <= chars {
            return self.mark(&text);
        }
        let matches = self.matches(&text);
        // A window in bytes is close enough to one in characters to choose by.
        let width = text.len() * chars / length;
        let lead = width / 6;
        let distinct = |start: usize| {
            matches
                .iter()
                .filter(|range| range.start >= start && range.end <= start + width)
                .map(|range| {
                    self.stemmer
                        .stem(&text[range.clone()].to_lowercase())
                        .into_owned()
                })
                .collect::<BTreeSet<_>>()
                .len()
        };
        let mut best = (distinct(0), 0);
        for range in &matches {
            let start = range.start.saturating_sub(lead);
            let worth = distinct(start);
            if worth > best.0 {
                best = (worth, start);
            }
        }
        let start = word_start(&text, best.1.min(text.len() - width));
        let end = word_end(&text, (start + width).min(text.len()));
        let mut out = String::new();
        if start > 0 {
            out.push_str("… ");
        }
        self.mark_into(text[start..end].trim_end(), &mut out);
        if end < text.len() {
            out.push_str(" …");
        }
        SafeHtml(out)
    }
}

/// A passage without the marks of headings, tables, lists and code, on one line.
fn running_text(passage: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in passage.lines() {
        let line = line.trim();
        if line.starts_with("```") || is_rule_of_table(line) {
            continue;
        }
        let is_row = line.starts_with('|') && line.ends_with('|');
        let is_heading = line.starts_with('#');
        let bare = line.trim_start_matches(['#', '>']).trim();
        let bare = bare
            .strip_prefix("- ")
            .or(bare.strip_prefix("* "))
            .unwrap_or(bare);
        let words = bare.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            continue;
        }
        parts.push(if is_row {
            let cells: Vec<&str> = words.trim_matches('|').split('|').map(str::trim).collect();
            format!("{};", cells.join(", "))
        } else if is_heading {
            format!("{words}:")
        } else {
            words
        });
    }
    let text = parts.join(" ");
    text.strip_suffix([';', ':']).map(str::to_owned).unwrap_or(text)
}

/// Whether a line only parts the head of a table from its body.
fn is_rule_of_table(line: &str) -> bool {
    line.contains('-') && line.chars().all(|c| matches!(c, '-' | ':' | '|' | ' '))
}

fn push_escaped(text: &str, out: &mut String) {
    // A String takes everything that is written to it.
    let _ = escape(text, out);
}

/// Scripts that do not part their words by spaces: kana, Han, Hangul (whose particles cling), Thai, Lao, Khmer.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{20000}'..='\u{3FFFF}')
}

fn words_of(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let start = loop {
            let (at, c) = rest.next()?;
            if c.is_alphanumeric() {
                break at;
            }
        };
        while rest.next_if(|(_, c)| c.is_alphanumeric()).is_some() {}
        Some(start..rest.peek().map_or(text.len(), |(at, _)| *at))
    })
}

fn word_start(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    if at == 0 {
        return 0;
    }
    text[..at].rfind(' ').map_or(at, |space| {
        // A text without spaces is cut where it was asked for.
        if at - space > 40 { at } else { space + 1 }
    })
}

fn word_end(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    if at == text.len() {
        return at;
    }
    text[at..]
        .find(' ')
        .map_or(at, |space| if space > 40 { at } else { at + space })
}

/// A passage of an item as the item's page draws it.
pub struct PassageView {
    /// The passage; the anchor on the page is `c-` and this.
    pub uid: ChunkUid,
    /// Counted from 1.
    pub number: u64,
    /// The page or section it begins on, in words, given only where the passage before began on another.
    pub new_page: Option<String>,
    /// The headings it stands under, joined, for the margin's label.
    pub path: String,
    /// Its length in characters.
    pub characters: u64,
    /// Whether the page was opened to show this passage.
    pub is_target: bool,
    /// Its text: headings, paragraphs, tables and code as HTML.
    pub html: SafeHtml,
}

/// A heading of the document, for the outline.
pub struct OutlineEntry {
    /// 1 for the outermost, at most 4.
    pub level: u32,
    /// The heading.
    pub label: String,
    /// Where on the page it leads.
    pub href: String,
}

/// The consecutive chunks of an item (all, or one page of them) as passages. Where one chunk begins with the end of the
/// one before (an overlap), that text is drawn once, where it stands, and set apart.
pub fn passages(chunks: &[Chunk], highlighter: &Highlighter, target: Option<&ChunkUid>) -> Vec<PassageView> {
    let mut views = Vec::with_capacity(chunks.len());
    let mut page = None;
    let mut path: &[String] = &[];
    let mut drawn_to = 0;
    for (at, chunk) in chunks.iter().enumerate() {
        let length = chunk.text.len();
        let inside = |byte: u64| {
            let offset = usize::try_from(byte.saturating_sub(chunk.byte_start)).unwrap_or(length);
            chunk.text.floor_char_boundary(offset.min(length))
        };
        let own_start = inside(drawn_to);
        let own_end = chunks
            .get(at + 1)
            .map_or(length, |next| inside(next.byte_start))
            .max(own_start);
        let mut html = String::with_capacity(length + length / 4);
        let kept = path
            .iter()
            .zip(&chunk.heading_path)
            .take_while(|(before, now)| before == now)
            .count();
        write_blocks(
            &chunk.text[own_start..own_end],
            &chunk.heading_path,
            kept,
            highlighter,
            &mut html,
        );
        if own_end < length {
            html.push_str(r#"<div class="shared" title="The next passage begins with this text, too">"#);
            write_blocks(&chunk.text[own_end..], &[], 0, highlighter, &mut html);
            html.push_str("</div>");
        }
        views.push(PassageView {
            uid: chunk.uid.clone(),
            number: u64::from(chunk.position) + 1,
            new_page: chunk
                .page
                .filter(|_| chunk.page != page)
                .map(|page| chunk.page_kind.heading(page)),
            path: chunk.heading_path.join(" › "),
            characters: chunk.text.chars().count() as u64,
            is_target: target == Some(&chunk.uid),
            html: SafeHtml(html),
        });
        page = chunk.page;
        path = &chunk.heading_path;
        drawn_to = drawn_to.max(chunk.byte_end);
    }
    views
}

/// The headings of these chunks in reading order, each once, leading to the first passage under it.
pub fn outline(chunks: &[Chunk]) -> Vec<OutlineEntry> {
    let mut entries = Vec::new();
    let mut path: &[String] = &[];
    for chunk in chunks {
        let kept = path
            .iter()
            .zip(&chunk.heading_path)
            .take_while(|(before, now)| before == now)
            .count();
        for (depth, label) in chunk.heading_path.iter().enumerate().skip(kept) {
            entries.push(OutlineEntry {
                level: (depth as u32 + 1).min(4),
                label: label.clone(),
                href: format!("#c-{}", chunk.uid),
            });
        }
        path = &chunk.heading_path;
    }
    entries
}

/// Writes a text block by block. `kept` headings of the path stood above the text before; the others are written where
/// they stand in the text, or before it.
fn write_blocks(text: &str, path: &[String], kept: usize, highlighter: &Highlighter, out: &mut String) {
    let blocks = split_blocks(text);
    let heading_of = |block: &str| {
        let bare = block
            .trim_start_matches(['#', '*', ' '])
            .trim_end_matches(['#', '*', ' ']);
        path.iter()
            .rposition(|heading| !bare.is_empty() && heading.trim() == bare)
    };
    let in_text: BTreeSet<usize> = blocks.iter().filter_map(|block| heading_of(block)).collect();
    let write_heading = |depth: usize, out: &mut String| {
        let level = (depth + 2).min(6);
        // A String takes everything that is written to it.
        let _ = write!(out, "<h{level}>");
        highlighter.mark_into(path[depth].trim(), out);
        let _ = write!(out, "</h{level}>");
    };
    for depth in (kept..path.len()).filter(|depth| !in_text.contains(depth)) {
        write_heading(depth, out);
    }
    for block in blocks {
        if let Some(depth) = heading_of(block) {
            write_heading(depth, out);
        } else if is_table(block) {
            write_table(block, highlighter, out);
        } else if let Some(entries) = list_entries(block) {
            out.push_str(r#"<ul class="doc-list">"#);
            for entry in entries {
                out.push_str("<li>");
                highlighter.mark_into(entry, out);
                out.push_str("</li>");
            }
            out.push_str("</ul>");
        } else if is_code(block) {
            out.push_str("<pre>");
            highlighter.mark_into(without_fence(block), out);
            out.push_str("</pre>");
        } else {
            out.push_str(if is_wrapped(block) {
                "<p>"
            } else {
                r#"<p class="lines">"#
            });
            highlighter.mark_into(block, out);
            out.push_str("</p>");
        }
    }
}

/// The runs of lines between blank lines; a fenced block stays whole.
fn split_blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut start = None;
    let mut fenced = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if line.trim().is_empty() && !fenced {
            if let Some(from) = start.take() {
                blocks.push(&text[from..at]);
            }
        } else if start.is_none() {
            start = Some(at);
        }
        at += line.len();
    }
    if let Some(from) = start {
        blocks.push(&text[from..]);
    }
    blocks.into_iter().map(|block| block.trim_end()).collect()
}

fn is_table(block: &str) -> bool {
    block.lines().count() > 1 && block.lines().all(|line| line.contains('|'))
}

/// The entries of a list whose every line begins with a mark.
fn list_entries(block: &str) -> Option<Vec<&str>> {
    block
        .lines()
        .map(|line| ["- ", "* ", "• "].iter().find_map(|mark| line.strip_prefix(mark)))
        .collect()
}

fn is_code(block: &str) -> bool {
    block.trim_start().starts_with("```")
        || block
            .lines()
            .all(|line| line.starts_with("    ") || line.starts_with('\t'))
}

fn without_fence(block: &str) -> &str {
    let Some(rest) = block.trim_start().strip_prefix("```") else {
        return block;
    };
    let body = rest.split_once('\n').map_or("", |(_, body)| body);
    body.strip_suffix("```").unwrap_or(body).trim_end()
}

/// Whether the line breaks of a paragraph come from wrapping at a column and mean nothing.
fn is_wrapped(block: &str) -> bool {
    let lengths: Vec<usize> = block.lines().map(|line| line.chars().count()).collect();
    let Some((_, full)) = lengths.split_last() else {
        return true;
    };
    full.iter().all(|length| (55..=120).contains(length))
}

fn write_table(block: &str, highlighter: &Highlighter, out: &mut String) {
    out.push_str(r#"<table class="doc-table">"#);
    for line in block.lines() {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        if is_rule_of_table(inner) {
            continue;
        }
        out.push_str("<tr>");
        for cell in inner.split('|') {
            out.push_str("<td>");
            highlighter.mark_into(cell.trim(), out);
            out.push_str("</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use mnemosyne_domain::{ItemUid, LibraryUid, PlaceKind};

    use super::*;

    fn chunk(item: &ItemUid, position: u32, start: u64, text: &str, path: &[&str]) -> Chunk {
        Chunk {
            uid: ChunkUid::from_store(format!("c{position}")),
            item_uid: item.clone(),
            item_title: "T".into(),
            library_uid: LibraryUid::from_store("l".into()),
            position,
            text: text.into(),
            heading_path: path.iter().map(|heading| (*heading).to_owned()).collect(),
            page: Some(position / 2 + 1),
            page_kind: PlaceKind::Page,
            byte_start: start,
            byte_end: start + text.len() as u64,
            previous: None,
            next: None,
        }
    }

    #[test]
    fn words_are_marked_by_stem_and_never_inside_others_or_unescaped() {
        let highlighter = Highlighter::new("the running of <b>cats");
        assert_eq!(
            highlighter.mark("The cat <b>runs</b> & concatenates.").as_str(),
            "The <mark>cat</mark> &lt;<mark>b</mark>&gt;<mark>runs</mark>&lt;/<mark>b</mark>&gt; &amp; concatenates."
        );
        assert_eq!(Highlighter::new("").mark("<x>").as_str(), "&lt;x&gt;");
        assert_eq!(
            Highlighter::new("who is it").mark("Who?").as_str(),
            "<mark>Who</mark>?"
        );
        assert_eq!(
            Highlighter::new("図書館").mark("新しい図書館です").as_str(),
            "新しい<mark>図書館</mark>です"
        );
    }

    #[test]
    fn an_excerpt_shows_the_stretch_with_the_most_matches() {
        let text = format!(
            "{} a needle in the haystack lies here {}",
            "filler ".repeat(90),
            "more ".repeat(90)
        );
        let excerpt = Highlighter::new("needle haystack").excerpt(&text, 120).0;
        assert!(
            excerpt.contains("<mark>needle</mark> in the <mark>haystack</mark>"),
            "{excerpt}"
        );
        assert!(
            excerpt.starts_with("… ") && excerpt.ends_with(" …") && excerpt.len() < 220,
            "{excerpt}"
        );
        let marked_up = "## Seals\n\n- rubber\n- steel\n\n| a | b |\n|---|---|\n| 1 | 2 |\n```\nx\n```";
        assert_eq!(
            Highlighter::new("").excerpt(marked_up, 200).0,
            "Seals: rubber steel a, b; 1, 2; x"
        );
        let unbroken = "ü".repeat(5000);
        assert!(Highlighter::new("x").excerpt(&unbroken, 100).0.chars().count() < 120);
    }

    #[test]
    fn an_overlap_is_drawn_once_and_headings_where_they_change() {
        let item = ItemUid::from_store("i".into());
        let chunks = [
            chunk(&item, 0, 0, "Wine\n\nOne two. Three four.", &["Wine"]),
            chunk(&item, 1, 15, "Three four. Five six.", &["Wine"]),
            chunk(&item, 2, 40, "Seven.", &["Wine", "Red"]),
        ];
        let views = passages(&chunks, &Highlighter::new(""), Some(&chunks[1].uid));
        assert_eq!(
            views[0].html.as_str(),
            "<h2>Wine</h2><p>One two.</p><div class=\"shared\" title=\"The next passage begins with this text, too\">\
             <p>Three four.</p></div>"
        );
        assert_eq!(views[1].html.as_str(), "<p> Five six.</p>");
        assert_eq!(views[2].html.as_str(), "<h3>Red</h3><p>Seven.</p>");
        assert!(views[1].is_target && !views[0].is_target);
        assert_eq!(
            views
                .iter()
                .map(|view| view.new_page.as_deref())
                .collect::<Vec<_>>(),
            [Some("Page 1"), None, Some("Page 2")]
        );
        assert_eq!(
            outline(&chunks)
                .iter()
                .map(|entry| (entry.level, entry.label.as_str()))
                .collect::<Vec<_>>(),
            [(1, "Wine"), (2, "Red")]
        );
    }

    #[test]
    fn tables_code_and_wrapped_text_are_told_apart() {
        let mut html = String::new();
        let text = "| a | b |\n|---|---|\n| 1 | <2> |\n\n```rust\nlet x = 1;\n\nx\n```\n\n- one\n- <two>\n\nA rose\nis red";
        write_blocks(text, &[], 0, &Highlighter::new(""), &mut html);
        assert_eq!(
            html,
            "<table class=\"doc-table\"><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>&lt;2&gt;</td></tr></table>\
             <pre>let x = 1;\n\nx</pre><ul class=\"doc-list\"><li>one</li><li>&lt;two&gt;</li></ul><p class=\"lines\">A rose\nis red</p>"
        );
        let wrapped = format!("{}\n{}\nend", "w".repeat(70), "w".repeat(72));
        assert!(is_wrapped(&wrapped) && !is_wrapped("A rose\nis red\nand blue"));
    }
}
