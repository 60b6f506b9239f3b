//! The text of documents on a page: matched words marked, the best excerpt of a passage, and passages with their
//! headings, lists, tables and code drawn as what the reader of the file found them to be. Everything that comes out is
//! escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use mnemosyne_domain::words::{STOP_WORDS, running_text};
use mnemosyne_domain::{Chunk, ChunkUid};
use mnemosyne_services::{Block, BlockKind};
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization as _;

use super::format::{SafeHtml, escape};

/// Of a longer word the beginning counts, as in the full-text index.
const MAX_WORD_CHARS: usize = 64;

/// Marks the words of a query in texts, whatever their case, accents and English ending: what full text takes for one word
/// is marked as one. Scripts without spaces between words are marked wherever a run of the query stands.
pub struct Highlighter {
    stemmer: Stemmer,
    /// The terms of the query with their numbers.
    terms: BTreeMap<String, usize>,
    runs: Vec<String>,
}

/// A place in a text that matches, and the number of what it matches.
struct Match {
    range: Range<usize>,
    term: usize,
}

impl Highlighter {
    /// Marks the words of a query. An empty query marks nothing.
    pub fn new(query: &str) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let mut words = Vec::new();
        let mut runs = Vec::new();
        for range in words_of(query) {
            let word = &query[range];
            if word.chars().any(is_unspaced) {
                runs.push(word.to_owned());
            } else {
                words.push(folded(word));
            }
        }
        // Words that say nothing are marked only where a query has no others.
        if !runs.is_empty() || words.iter().any(|word| !is_stop_word(word)) {
            words.retain(|word| !is_stop_word(word));
        }
        let mut terms = BTreeMap::new();
        for word in words {
            let number = terms.len();
            terms.entry(stemmer.stem(&word).into_owned()).or_insert(number);
        }
        Self { stemmer, terms, runs }
    }

    /// Where the text matches, ascending, apart.
    fn matches(&self, text: &str) -> Vec<Match> {
        let mut found = Vec::new();
        if self.terms.is_empty() && self.runs.is_empty() {
            return found;
        }
        for range in words_of(text) {
            let word = &text[range.clone()];
            if word.chars().any(is_unspaced) {
                for (number, run) in self.runs.iter().enumerate() {
                    found.extend(word.match_indices(run.as_str()).map(|(at, _)| Match {
                        range: range.start + at..range.start + at + run.len(),
                        term: self.terms.len() + number,
                    }));
                }
            } else if let Some(term) = self.terms.get(self.stemmer.stem(&folded(word)).as_ref()) {
                found.push(Match { range, term: *term });
            }
        }
        found.sort_by_key(|found| found.range.start);
        let mut end = 0;
        found.retain(|found| {
            let apart = found.range.start >= end;
            if apart {
                end = found.range.end;
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
        for Match { range, .. } in self.matches(text) {
            push_escaped(&text[from..range.start], out);
            out.push_str("<mark>");
            push_escaped(&text[range.clone()], out);
            out.push_str("</mark>");
            from = range.end;
        }
        push_escaped(&text[from..], out);
    }

    /// The stretch of a passage that holds the most different matches, about `chars` characters long, cut at words, with
    /// its matches marked and `…` where something was left out. It runs on: [`running_text`] says how.
    pub fn excerpt(&self, passage: &str, chars: usize) -> SafeHtml {
        let text = running_text(passage);
        let length = text.chars().count();
        if length <= chars {
            return self.mark(&text);
        }
        // A window in bytes is close enough to one in characters to choose by.
        let width = text.len() * chars / length;
        let begin = self.richest_window(&self.matches(&text), width);
        let start = word_start(&text, begin.min(text.len() - width));
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

    /// Where the first window of this width begins that holds the most different terms. Windows begin at the text's
    /// beginning or a little before a match; one pass over the matches moves both of their ends.
    fn richest_window(&self, matches: &[Match], width: usize) -> usize {
        let lead = width / 6;
        let mut inside = vec![0_usize; self.terms.len() + self.runs.len()];
        let (mut first, mut behind, mut different) = (0, 0, 0);
        let mut best = (0, 0);
        let starts =
            std::iter::once(0).chain(matches.iter().map(|found| found.range.start.saturating_sub(lead)));
        for start in starts {
            while let Some(next) = matches.get(behind).filter(|next| next.range.end <= start + width) {
                inside[next.term] += 1;
                different += usize::from(inside[next.term] == 1);
                behind += 1;
            }
            while let Some(left) = matches
                .get(first)
                .filter(|left| first < behind && left.range.start < start)
            {
                inside[left.term] -= 1;
                different -= usize::from(inside[left.term] == 0);
                first += 1;
            }
            if different > best.0 {
                best = (different, start);
            }
        }
        best.1
    }
}

/// A word in lower case and without accents, as the full-text index folds it.
fn folded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word
        .chars()
        .filter(|c| !is_accent(*c))
        .take(MAX_WORD_CHARS)
        .flat_map(char::to_lowercase)
    {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        match c {
            'ß' => out.push_str("ss"),
            'æ' | 'ǽ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' | 'ǿ' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ħ' => out.push('h'),
            'ı' => out.push('i'),
            'ł' => out.push('l'),
            'ŧ' => out.push('t'),
            _ => {
                let plain: String = c.nfkd().filter(|part| !is_accent(*part)).collect();
                // Letters of other alphabets keep their marks.
                if plain.is_ascii() {
                    out.push_str(&plain);
                } else {
                    out.push(c);
                }
            }
        }
    }
    out
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.contains(&word)
}

fn push_escaped(text: &str, out: &mut String) {
    // A String takes everything that is written to it.
    let _ = escape(text, out);
}

/// Scripts that do not part their words by spaces: kana, Han, Hangul (whose particles cling), Thai, Lao, Khmer, Burmese.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}'
        | '\u{20000}'..='\u{3FFFF}')
}

/// An accent that is written as a character of its own.
fn is_accent(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036F}')
}

/// Marks inside words of Indic and South-East Asian scripts that are not letters to Unicode.
fn is_inner_mark(c: char) -> bool {
    matches!(c,
        '\u{093C}' | '\u{094D}' | '\u{09BC}' | '\u{09CD}' | '\u{0A3C}' | '\u{0A4D}' | '\u{0ABC}' | '\u{0ACD}'
        | '\u{0B3C}' | '\u{0B4D}' | '\u{0BCD}' | '\u{0C4D}' | '\u{0CBC}' | '\u{0CCD}' | '\u{0D4D}' | '\u{0DCA}'
        | '\u{0E47}'..='\u{0E4E}' | '\u{0EC8}'..='\u{0ECD}' | '\u{1037}'..='\u{103A}' | '\u{17C9}'..='\u{17D3}')
}

/// The words of a text; a run of a script without spaces is one.
fn words_of(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut rest = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, first) = rest.find(|(_, c)| c.is_alphanumeric())?;
        let goes_on = |c: char| {
            is_accent(c) || (c.is_alphanumeric() || is_inner_mark(c)) && is_unspaced(c) == is_unspaced(first)
        };
        while rest.next_if(|(_, c)| goes_on(*c)).is_some() {}
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

/// The consecutive chunks of an item (all, or one page of them) as passages. `blocks` are those of the document that stand
/// in them, ascending, their offsets those of the item's text; text that no block covers is drawn as paragraphs. Where one
/// chunk begins with the end of the one before (an overlap), that text is drawn once, where it stands, and set apart.
pub fn passages(
    chunks: &[Chunk],
    blocks: &[Block],
    highlighter: &Highlighter,
    target: Option<&ChunkUid>,
) -> Vec<PassageView> {
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
        let own = pieces(chunk, blocks, own_start..own_end);
        write_pieces(&own, &chunk.heading_path, kept, highlighter, &mut html);
        if own_end < length {
            html.push_str(r#"<div class="shared" title="The next passage begins with this text, too">"#);
            write_pieces(
                &pieces(chunk, blocks, own_end..length),
                &[],
                0,
                highlighter,
                &mut html,
            );
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

/// A block of the document, or the part of it that stands in a passage.
struct Piece<'a> {
    kind: BlockKind,
    text: &'a str,
}

/// What stands in a part of a chunk, block by block. A chunk is a run of whole blocks, or a part of one that is too large.
fn pieces<'a>(chunk: &'a Chunk, blocks: &[Block], part: Range<usize>) -> Vec<Piece<'a>> {
    let base = usize::try_from(chunk.byte_start).unwrap_or(usize::MAX);
    let (from, to) = (base.saturating_add(part.start), base.saturating_add(part.end));
    let first = blocks.partition_point(|block| block.span.end <= from);
    let known = blocks[first..].iter().take_while(|block| block.span.start < to);
    let mut found: Vec<Piece<'a>> = Vec::new();
    for block in known {
        let mut start = chunk.text.floor_char_boundary(block.span.start.max(from) - base);
        let end = chunk.text.floor_char_boundary(block.span.end.min(to) - base);
        if block.kind == BlockKind::Code {
            // A block begins with its first letter; the first line's indentation stands before it.
            let before = &chunk.text[part.start..start];
            start -= before.len() - before.trim_end_matches([' ', '\t']).len();
        }
        found.push(Piece {
            kind: block.kind,
            text: &chunk.text[start..end],
        });
    }
    if found.is_empty() {
        found.extend(chunk.text[part].split("\n\n").map(|text| Piece {
            kind: BlockKind::Paragraph,
            text,
        }));
    }
    found.retain(|piece| !piece.text.trim().is_empty());
    found
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

/// Writes blocks as what they are. `kept` headings of the path stood above the text before; the others are written where
/// they stand in the text, or before it.
fn write_pieces(
    pieces: &[Piece<'_>],
    path: &[String],
    kept: usize,
    highlighter: &Highlighter,
    out: &mut String,
) {
    let depth_of = |piece: &Piece<'_>| match piece.kind {
        BlockKind::Heading { .. } | BlockKind::Paragraph => path
            .iter()
            .rposition(|heading| heading.split_whitespace().eq(piece.text.split_whitespace())),
        _ => None,
    };
    let write_heading = |level: usize, text: &str, out: &mut String| {
        let level = level.clamp(2, 6);
        // A String takes everything that is written to it.
        let _ = write!(out, "<h{level}>");
        highlighter.mark_into(text.trim(), out);
        let _ = write!(out, "</h{level}>");
    };
    for (depth, heading) in path.iter().enumerate().skip(kept) {
        if !pieces.iter().any(|piece| depth_of(piece) == Some(depth)) {
            write_heading(depth + 2, heading, out);
        }
    }
    let is_item = |piece: &Piece<'_>| piece.kind == BlockKind::ListItem;
    for run in pieces.chunk_by(|one, next| is_item(one) && is_item(next)) {
        match run {
            [] => {}
            [piece, ..] if is_item(piece) => write_list(run, highlighter, out),
            [piece, ..] => match (piece.kind, depth_of(piece)) {
                (_, Some(depth)) => write_heading(depth + 2, piece.text, out),
                (BlockKind::Code, _) => write_marked("pre", "", piece.text.trim_end(), highlighter, out),
                (BlockKind::Table, _) => write_table(piece.text, highlighter, out),
                (BlockKind::Quote, _) => {
                    write_marked("blockquote", "lines", piece.text.trim(), highlighter, out);
                }
                (BlockKind::Verse, _) => write_marked("p", "lines", piece.text.trim(), highlighter, out),
                (BlockKind::Break, _) => out.push_str("<hr>"),
                (BlockKind::Heading { level }, _) => write_heading(usize::from(level) + 1, piece.text, out),
                (BlockKind::Paragraph | BlockKind::ListItem, _) => {
                    let text = piece.text.trim();
                    let class = if is_wrapped(text) { "" } else { "lines" };
                    write_marked("p", class, text, highlighter, out);
                }
            },
        }
    }
}

/// Writes an element with marked text.
fn write_marked(tag: &str, class: &str, text: &str, highlighter: &Highlighter, out: &mut String) {
    // A String takes everything that is written to it.
    let _ = if class.is_empty() {
        write!(out, "<{tag}>")
    } else {
        write!(out, "<{tag} class=\"{class}\">")
    };
    highlighter.mark_into(text, out);
    let _ = write!(out, "</{tag}>");
}

/// Writes entries that follow each other as a list. Bullets are drawn; numbers and other marks stay as they are written.
fn write_list(entries: &[Piece<'_>], highlighter: &Highlighter, out: &mut String) {
    out.push_str(r#"<ul class="doc-list">"#);
    for entry in entries {
        let text = entry.text.trim();
        let bare = ["- ", "* ", "• "].iter().find_map(|mark| text.strip_prefix(mark));
        let class = if bare.is_some() { "" } else { "marked" };
        write_marked("li", class, bare.unwrap_or(text), highlighter, out);
    }
    out.push_str("</ul>");
}

/// Whether the line breaks of a paragraph come from wrapping at a column and mean nothing.
fn is_wrapped(block: &str) -> bool {
    let lengths: Vec<usize> = block.lines().map(|line| line.chars().count()).collect();
    let Some((_, full)) = lengths.split_last() else {
        return true;
    };
    full.iter().all(|length| (55..=120).contains(length))
}

/// Writes a table, whose text has a line for each row and ` | ` between cells.
fn write_table(block: &str, highlighter: &Highlighter, out: &mut String) {
    out.push_str(r#"<table class="doc-table">"#);
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str("<tr>");
        for cell in line.split(" | ") {
            write_marked("td", "", cell.trim(), highlighter, out);
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
        assert_eq!(
            Highlighter::new("Rust図書館").mark("rust 図書館x").as_str(),
            "<mark>rust</mark> <mark>図書館</mark>x"
        );
    }

    #[test]
    fn words_are_marked_whatever_their_accents() {
        for (query, text, marked) in [
            ("naive cafe", "Naïve café", "<mark>Naïve</mark> <mark>café</mark>"),
            ("Ångström", "angstrom", "<mark>angstrom</mark>"),
            ("strasse", "Straße", "<mark>Straße</mark>"),
            ("cafes", "cafe\u{301}!", "<mark>cafe\u{301}</mark>!"),
            ("smørrebrød", "SMORREBROD", "<mark>SMORREBROD</mark>"),
            ("мои", "мой", "мой"),
        ] {
            assert_eq!(Highlighter::new(query).mark(text).as_str(), marked, "{query}");
        }
        assert_eq!(
            Highlighter::new("no seals into")
                .mark("No seals go into it")
                .as_str(),
            "No <mark>seals</mark> go into it",
            "what full text leaves out says nothing"
        );
    }

    #[test]
    fn an_excerpt_of_a_text_full_of_matches_is_chosen_in_one_pass() {
        let text = format!(
            "{}needle haystack {}",
            "needle ".repeat(60_000),
            "needle ".repeat(60_000)
        );
        let highlighter = Highlighter::new("needle haystack");
        let matches = highlighter.matches(&text);
        assert_eq!(matches.len(), 120_002);
        let begin = highlighter.richest_window(&matches, 700);
        let place = text.find("haystack").unwrap();
        assert!((place - 700..place).contains(&begin), "{begin} for {place}");
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
        let rows = "Code | Meaning\nE11 | low\nE27 | no flow";
        assert_eq!(
            Highlighter::new("flow").excerpt(rows, 200).0,
            "Code | Meaning; E11 | low; E27 | no <mark>flow</mark>"
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
        let views = passages(&chunks, &[], &Highlighter::new(""), Some(&chunks[1].uid));
        assert_eq!(
            views[0].html.as_str(),
            "<h2>Wine</h2><p>One two.</p><div class=\"shared\" title=\"The next passage begins with this text, too\">\
             <p>Three four.</p></div>"
        );
        assert_eq!(views[1].html.as_str(), "<p>Five six.</p>");
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
    fn blocks_are_drawn_as_what_they_are() {
        let parts = [
            (BlockKind::Heading { level: 2 }, "Red"),
            (BlockKind::Table, "a | b\n1 | <2>"),
            (BlockKind::Code, "ls | wc\n\n  x | y"),
            (BlockKind::ListItem, "- one"),
            (BlockKind::ListItem, "2. <two>"),
            (BlockKind::Verse, "A rose\nis red"),
            (BlockKind::Break, "* * *"),
            (BlockKind::Quote, "said"),
        ];
        let mut text = String::new();
        let mut blocks = Vec::new();
        for (kind, content) in parts {
            // What stands between blocks may be indentation of the next.
            text.push_str(if kind == BlockKind::Code {
                "\n\n    "
            } else {
                "\n\n"
            });
            let start = 100 + text.len();
            text.push_str(content);
            blocks.push(Block {
                kind,
                span: start..100 + text.len(),
                page: None,
                page_turns: Vec::new(),
            });
        }
        let item = ItemUid::from_store("i".into());
        let passage = chunk(&item, 0, 100, &text, &["Wine", "Red"]);
        let views = passages(
            std::slice::from_ref(&passage),
            &blocks,
            &Highlighter::new(""),
            None,
        );
        assert_eq!(
            views[0].html.as_str(),
            "<h2>Wine</h2><h3>Red</h3>\
             <table class=\"doc-table\"><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>&lt;2&gt;</td></tr></table>\
             <pre>    ls | wc\n\n  x | y</pre>\
             <ul class=\"doc-list\"><li>one</li><li class=\"marked\">2. &lt;two&gt;</li></ul>\
             <p class=\"lines\">A rose\nis red</p><hr><blockquote class=\"lines\">said</blockquote>"
        );
    }

    #[test]
    fn a_block_that_two_chunks_share_is_drawn_in_parts_of_its_kind() {
        let item = ItemUid::from_store("i".into());
        let text = "one\ntwo\nthree\nfour";
        let blocks = [Block {
            kind: BlockKind::Code,
            span: 0..text.len(),
            page: None,
            page_turns: Vec::new(),
        }];
        let chunks = [
            chunk(&item, 0, 0, &text[..8], &[]),
            chunk(&item, 1, 8, &text[8..], &[]),
        ];
        let views = passages(&chunks, &blocks, &Highlighter::new("two"), None);
        assert_eq!(views[0].html.as_str(), "<pre>one\n<mark>two</mark></pre>");
        assert_eq!(views[1].html.as_str(), "<pre>three\nfour</pre>");
    }

    #[test]
    fn lines_that_were_wrapped_at_a_column_run_on() {
        let wrapped = format!("{}\n{}\nend", "w".repeat(70), "w".repeat(72));
        assert!(is_wrapped(&wrapped) && !is_wrapped("A rose\nis red\nand blue"));
    }
}
