//! PDF with a text layer. docling's parser gives the text cells of each page; order, paragraphs and headings are found here,
//! because its text-only mode knows no fonts and labels everything alike.

use std::collections::{HashMap, HashSet};

use docling_pdf::outline::{OutlineItem, extract_outline};
use docling_pdf::pdf_meta::PdfMeta;
use docling_pdf::textparse::PageTextParser;
use mnemosyne_domain::{Failure, FailureCode};

use unicode_normalization::UnicodeNormalization;

use super::builder::{DocumentBuilder, single_line};
use super::lines;
use super::pdf_layout::{Row, order_rows};
use crate::document::{BlockKind, Coverage, Document, Format};

/// Reads the text layer of a PDF.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, Failure> {
    let mut pages = read_pages(bytes)?;
    if pages.iter().any(|page| page.rows.is_empty())
        && let Some(mended) = with_own_resources(bytes)
        && let Ok(again) = read_pages(&mended)
        && again.len() == pages.len()
    {
        pages = again;
    }
    let count = pages.len();
    let empty: Vec<u32> = (1..)
        .zip(&pages)
        .filter(|(_, page)| page.rows.is_empty())
        .map(|(number, _)| number)
        .collect();
    if empty.len() == count {
        return Err(Failure::new(
            FailureCode::NoTextExtracted,
            match count {
                1 => "The PDF's only page holds no text; it is probably a scan.".to_owned(),
                _ => format!("None of the PDF's {count} pages holds text; it is probably a scan."),
            },
        ));
    }
    let mut builder = DocumentBuilder::new();
    builder.page_count = u32::try_from(count).ok();
    if !empty.is_empty() {
        let verb = if empty.len() == 1 { "holds" } else { "hold" };
        builder.coverage = Coverage::Partial(format!(
            "{} of {count} pages {verb} no text ({})",
            empty.len(),
            super::number_list(&empty)
        ));
    }
    remove_running_lines(&mut pages);
    let outline = extract_outline(bytes);
    let style = Style::of(&pages, &outline);
    assemble(&mut builder, &pages, &style);
    read_info(&mut builder, bytes);
    builder.finish(Format::Pdf)
}

fn read_pages(bytes: &[u8]) -> Result<Vec<PageRows>, Failure> {
    let Some(mut parser) = PageTextParser::open(bytes) else {
        return Err(match PdfMeta::open_with_password(bytes, None) {
            Err(_) => Failure::new(FailureCode::Encrypted, "The PDF is protected by a password."),
            Ok(_) => Failure::new(
                FailureCode::Damaged,
                "The PDF is damaged: its structure cannot be read (it may have been cut off).",
            ),
        });
    };
    parser.set_keep_typography(Some(true));
    let count = parser.page_count();
    if count == 0 {
        return Err(Failure::new(
            FailureCode::Damaged,
            "The PDF is damaged: it has no pages that can be read.",
        ));
    }
    let mut column = 0;
    let pages = (0..count).map(|index| {
        let mut page = parser.text_page(index);
        for cell in page.cells.iter_mut().chain(&mut page.word_cells) {
            cell.text = normalise(&cell.text);
        }
        PageRows {
            height: page.height,
            rows: order_rows(&page, &mut column),
        }
    });
    Ok(pages.collect())
}

struct PageRows {
    height: f32,
    rows: Vec<Row>,
}

/// Titles that programs write by themselves.
fn is_generated_title(title: &str) -> bool {
    let lower = title.to_lowercase();
    lower == "untitled"
        || lower.starts_with("microsoft word - ")
        || lower.starts_with("about:blank")
        || lower.starts_with("file:")
        || [
            ".doc", ".docx", ".dvi", ".tex", ".indd", ".qxd", ".rtf", ".odt", ".html",
        ]
        .iter()
        .any(|end| lower.ends_with(end))
}

fn read_info(builder: &mut DocumentBuilder, bytes: &[u8]) {
    for (key, value) in docling_pdf::info::document_info(bytes, None) {
        match key.as_str() {
            "Title" if !is_generated_title(&value) => builder.title = Some(value),
            "Author" => {
                let separator = if value.contains(';') { ";" } else { " and " };
                builder.authors.extend(value.split(separator).map(str::to_owned));
            }
            _ => {}
        }
    }
}

/// Takes away lines at the head or foot of pages that repeat at the same height (with other numbers, perhaps), and bare page
/// numbers. Only what stands apart from the text is looked at: rows of tables and code repeat as well, and are text.
fn remove_running_lines(pages: &mut [PageRows]) {
    // Where no two rows follow each other, a head or foot is at a distance all the same.
    let farthest = usual_pitch(pages).unwrap_or(14.0) * 1.5;
    let edges: Vec<Vec<EdgeRow>> = pages.iter().map(|page| edge_rows(page, farthest)).collect();
    let mut heights: HashMap<&str, Vec<f32>> = HashMap::new();
    for page in &edges {
        for (index, row) in page.iter().enumerate() {
            let is_again = page[..index].iter().any(|other| row.stands_as(other));
            if !is_again {
                heights.entry(&row.text).or_default().push(row.top);
            }
        }
    }
    for tops in heights.values_mut() {
        tops.sort_by(f32::total_cmp);
    }
    let repeated = |row: &EdgeRow| {
        let tops = heights.get(row.text.as_str()).map_or(&[][..], Vec::as_slice);
        let from = tops.partition_point(|top| *top < row.top - SAME_HEIGHT);
        let to = tops.partition_point(|top| *top <= row.top + SAME_HEIGHT);
        let times = to - from;
        row.text.contains(char::is_alphabetic) && (times >= 3 || (times == 2 && edges.len() <= 4))
    };
    let doomed: Vec<HashSet<usize>> = edges
        .iter()
        .map(|page| {
            page.iter()
                .filter(|row| is_page_number(&row.text) || repeated(row))
                .map(|row| row.index)
                .collect()
        })
        .collect();
    for (page, doomed) in pages.iter_mut().zip(doomed) {
        // A page of nothing but such lines keeps them: then they are its text.
        if doomed.len() < page.rows.len() {
            let mut index = 0;
            page.rows.retain(|_| {
                index += 1;
                !doomed.contains(&(index - 1))
            });
        }
    }
}

/// Tops that differ by no more are at the same height, in points.
const SAME_HEIGHT: f32 = 2.0;

/// A row at the head or foot of a page, with white space between it and the text.
struct EdgeRow {
    index: usize,
    /// Its text, any number in it as `#`.
    text: String,
    top: f32,
}

impl EdgeRow {
    fn stands_as(&self, other: &Self) -> bool {
        self.text == other.text && (self.top - other.top).abs() <= SAME_HEIGHT
    }
}

/// The first and last rows of a page, up to two each, as far as more than `farthest` from the next row lies between them and the
/// rest, baseline to baseline.
fn edge_rows(page: &PageRows, farthest: f32) -> Vec<EdgeRow> {
    const EDGE_ROWS: usize = 2;
    const MARGIN: f32 = 0.13;
    let mut by_height: Vec<usize> = (0..page.rows.len()).collect();
    by_height.sort_by(|a, b| page.rows[*a].top.total_cmp(&page.rows[*b].top));
    let apart = |one: usize, next: Option<&usize>| {
        next.is_none_or(|next| (page.rows[*next].bottom - page.rows[one].bottom).abs() > farthest)
    };
    let outermost = |order: &[usize], is_in_margin: &dyn Fn(&Row) -> bool| -> Vec<usize> {
        let count = order
            .iter()
            .take(EDGE_ROWS)
            .take_while(|index| is_in_margin(&page.rows[**index]))
            .count();
        let kept = (1..=count)
            .rev()
            .find(|count| apart(order[count - 1], order.get(*count)))
            .unwrap_or(0);
        order[..kept].to_vec()
    };
    let head = outermost(&by_height, &|row| row.bottom < page.height * MARGIN);
    by_height.reverse();
    let foot = outermost(&by_height, &|row| row.top > page.height * (1.0 - MARGIN));
    head.into_iter()
        .chain(foot)
        .map(|index| EdgeRow {
            index,
            text: without_numbers(&page.rows[index].text()),
            top: page.rows[index].top,
        })
        .collect()
}

/// The distance of most baselines from the next, in points.
fn usual_pitch(pages: &[PageRows]) -> Option<f32> {
    let mut by_pitch: HashMap<i32, usize> = HashMap::new();
    for page in pages {
        for pair in page.rows.windows(2) {
            let distance = pair[1].bottom - pair[0].bottom;
            if pair[0].column == pair[1].column && distance > 2.0 && distance < 60.0 {
                *by_pitch.entry((distance * 2.0).round() as i32).or_default() += 1;
            }
        }
    }
    most(&by_pitch).map(|half| half as f32 / 2.0)
}

/// The key that is counted most; the largest of several.
fn most(counts: &HashMap<i32, usize>) -> Option<i32> {
    counts
        .iter()
        .max_by_key(|(key, count)| (**count, **key))
        .map(|(key, _)| *key)
}

fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// Whether a row (its numbers as `#`) is the number of its page and nothing else.
fn is_page_number(text: &str) -> bool {
    let core: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !"-–—|[]()".contains(*c))
        .flat_map(char::to_lowercase)
        .collect();
    let core = core.trim_end_matches('.');
    matches!(
        core,
        "#" | "#/#" | "#of#" | "#von#" | "#sur#" | "p#" | "p.#" | "s.#"
    ) || ["page", "seite"].iter().any(|word| {
        core.strip_prefix(word)
            .is_some_and(|rest| matches!(rest, "#" | "#/#" | "#of#" | "#von#" | "#sur#"))
    }) || is_roman_number(core)
}

/// Roman numbers below a hundred, in small letters; prefaces have no more pages.
fn is_roman_number(text: &str) -> bool {
    const TENS: [&str; 10] = ["", "x", "xx", "xxx", "xl", "l", "lx", "lxx", "lxxx", "xc"];
    const ONES: [&str; 10] = ["", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"];
    !text.is_empty()
        && TENS
            .iter()
            .any(|tens| text.strip_prefix(tens).is_some_and(|ones| ONES.contains(&ones)))
}

/// What headings look like in this document.
struct Style {
    /// Size of most of the text.
    body: f32,
    /// Sizes of headings, the largest first.
    sizes: Vec<f32>,
    /// Distance of most baselines from the next.
    pitch: f32,
    /// Outline entries by page and normal title.
    outline: HashMap<(u32, String), u8>,
    /// Pages that the outline points at.
    outline_pages: HashSet<u32>,
    /// How deep the outline goes; 0 without one.
    outline_depth: u8,
    /// Nearly all text has a fixed pitch (a typescript): then that marks no code.
    is_typescript: bool,
}

impl Style {
    fn of(pages: &[PageRows], outline: &[OutlineItem]) -> Self {
        let mut by_size: HashMap<i32, usize> = HashMap::new();
        let (mut characters, mut fixed) = (0, 0);
        for page in pages {
            for row in &page.rows {
                let length: usize = row.cells.iter().map(|cell| cell.text.chars().count()).sum();
                *by_size.entry(tenth(row.size)).or_default() += length;
                characters += length;
                if row.monospace.is_some() {
                    fixed += length;
                }
            }
        }
        let body = most(&by_size).unwrap_or(100) as f32 / 10.0;
        let pitch = usual_pitch(pages).unwrap_or(body * 1.2);
        let mut sizes: Vec<f32> = Vec::new();
        let mut larger: Vec<i32> = by_size
            .keys()
            .copied()
            .filter(|size| *size as f32 / 10.0 > body * 1.09)
            .collect();
        larger.sort_unstable_by(|a, b| b.cmp(a));
        for size in larger {
            let size = size as f32 / 10.0;
            if sizes.last().is_none_or(|last| size < last * 0.94) {
                sizes.push(size);
            }
        }
        let mut entries = HashMap::new();
        let mut depth = 0;
        for item in outline {
            let level = (item.level + 1).min(6) as u8;
            depth = depth.max(level);
            if let Some(page) = item.page_no.and_then(|page| u32::try_from(page).ok()) {
                entries.entry((page, normal_title(&item.title))).or_insert(level);
            }
        }
        Self {
            body,
            sizes,
            pitch,
            outline_pages: entries.keys().map(|(page, _)| *page).collect(),
            outline: entries,
            outline_depth: depth,
            is_typescript: fixed * 10 > characters * 7,
        }
    }

    /// The end of the rows that are, word for word, a title of the outline on this page.
    fn outline_rows(&self, rows: &[Row], start: usize, page: u32) -> Option<usize> {
        const MOST_ROWS: usize = 3;
        if !self.outline_pages.contains(&page) {
            return None;
        }
        let mut text = String::new();
        for (index, row) in rows.iter().enumerate().skip(start).take(MOST_ROWS) {
            text = lines::join_lines([text.as_str(), row.text().as_str()]);
            let normal = normal_title(&text);
            if !normal.is_empty() && self.outline.contains_key(&(page, normal)) {
                return Some(index + 1);
            }
        }
        None
    }

    /// The heading level of a paragraph, by the outline, its size, or its number.
    fn heading_level(&self, paragraph: &Paragraph, page: u32) -> Option<u8> {
        let text = paragraph.text();
        let length = text.chars().count();
        if length > 200 || paragraph.rows.len() > 4 || !text.chars().any(char::is_alphanumeric) {
            return None;
        }
        let normal = normal_title(&text);
        if let Some(level) = self.outline.get(&(page, normal)) {
            return Some(*level);
        }
        let rank = self.sizes.iter().position(|size| paragraph.size >= size * 0.97);
        if paragraph.size > self.body * 1.09
            && let Some(rank) = rank
            && length <= 150
            && !(text.ends_with(['.', ',', ';']) && paragraph.size < self.body * 1.25)
            && (self.outline_depth == 0 || self.stands_beside_outline(paragraph, &text, page, rank))
        {
            // Beside an outline, larger text that it does not name is a title page's or below all that it names.
            let level = if self.outline_depth == 0 || (page == 1 && rank == 0) {
                rank + 1
            } else {
                usize::from(self.outline_depth) + 1
            };
            return Some(level.min(6) as u8);
        }
        if self.outline_depth == 0
            && paragraph.rows.len() == 1
            && paragraph.gap_before
            && length <= 80
            && paragraph.size >= self.body * 0.97
        {
            return lines::heading_level(&text).filter(|_| lines::list_mark(&text).is_none());
        }
        None
    }
}

impl Style {
    /// Whether large text that the outline does not name is a heading all the same: a title page's first, a usual word
    /// ("Abstract"), or a line that stands apart further in. Letters in figures are none.
    fn stands_beside_outline(&self, paragraph: &Paragraph<'_>, text: &str, page: u32, rank: usize) -> bool {
        if page == 1 {
            return rank == 0 || lines::heading_level(text).is_some();
        }
        let begins_well = text
            .chars()
            .next()
            .is_some_and(|c| c.is_uppercase() || c.is_numeric() || !c.is_ascii());
        let words = text
            .split_whitespace()
            .filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() >= 2)
            .count();
        paragraph.gap_before
            && paragraph.rows.len() <= 2
            && begins_well
            && words >= 1
            && paragraph.rows[0].cells.len() == 1
    }
}

fn tenth(size: f32) -> i32 {
    (size * 10.0).round() as i32
}

/// A title without case, spacing, numbering and punctuation, so that outline and page agree.
fn normal_title(title: &str) -> String {
    let title = title.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
    title
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Rows that belong together.
struct Paragraph<'a> {
    rows: Vec<&'a Row>,
    size: f32,
    gap_before: bool,
}

impl Paragraph<'_> {
    fn text(&self) -> String {
        let texts: Vec<String> = self.rows.iter().map(|row| row.text()).collect();
        lines::join_lines(texts.iter().map(String::as_str))
    }
}

/// A paragraph that may go on, on the next page or column.
struct Pending {
    kind: BlockKind,
    text: String,
    page: u32,
    /// The bytes of the text at which further pages begin.
    turns: Vec<(usize, u32)>,
}

fn assemble(builder: &mut DocumentBuilder, pages: &[PageRows], style: &Style) {
    let mut pending: Option<Pending> = None;
    for (number, page) in (1_u32..).zip(pages) {
        let rows = &page.rows;
        let mut index = 0;
        while index < rows.len() {
            if let Some(end) = code_end(rows, index, style) {
                let begins_page = index == 0;
                add_code(
                    builder,
                    &mut pending,
                    &code_text(&rows[index..end]),
                    number,
                    begins_page,
                );
                index = end;
                continue;
            }
            if let Some((end, table)) = read_table(rows, index, style) {
                settle(builder, &mut pending);
                builder.page = Some(number);
                builder.push(BlockKind::Table, &super::markdown::table_text(&table));
                index = end;
                continue;
            }
            let (end, paragraph) = read_paragraph(rows, index, number, style);
            index = end;
            add_paragraph(builder, &mut pending, &paragraph, number, style);
        }
    }
    settle(builder, &mut pending);
}

/// Code at the beginning of a page goes on with the code that ended the page before: what was settled since would stand between.
fn add_code(
    builder: &mut DocumentBuilder,
    pending: &mut Option<Pending>,
    code: &str,
    page: u32,
    begins_page: bool,
) {
    if let Some(before) = pending
        && before.kind == BlockKind::Code
        && begins_page
    {
        before.text.push('\n');
        before.turns.push((before.text.len(), page));
        before.text.push_str(code);
        return;
    }
    settle(builder, pending);
    *pending = Some(Pending {
        kind: BlockKind::Code,
        text: code.to_owned(),
        page,
        turns: Vec::new(),
    });
}

fn settle(builder: &mut DocumentBuilder, pending: &mut Option<Pending>) {
    if let Some(block) = pending.take() {
        builder.page = Some(block.page);
        builder.push_over_pages(block.kind, &block.text, &block.turns);
    }
}

fn add_paragraph(
    builder: &mut DocumentBuilder,
    pending: &mut Option<Pending>,
    paragraph: &Paragraph<'_>,
    page: u32,
    style: &Style,
) {
    let text = without_leaders(&paragraph.text());
    let row_texts: Vec<String> = paragraph.rows.iter().map(|row| row.text()).collect();
    let rows: Vec<&str> = row_texts.iter().map(|row| row.trim()).collect();
    let kind = if lines::is_break(&text) {
        BlockKind::Break
    } else if let Some(level) = style.heading_level(paragraph, page) {
        BlockKind::Heading { level }
    } else if lines::list_mark(&text).is_some() {
        BlockKind::ListItem
    } else if is_set_as_verse(paragraph, &rows) {
        BlockKind::Verse
    } else {
        BlockKind::Paragraph
    };
    if kind == BlockKind::Paragraph
        && let Some(before) = pending
        && matches!(before.kind, BlockKind::Paragraph | BlockKind::ListItem)
        && goes_on(&before.text, &text)
    {
        before.text = lines::join_lines([before.text.as_str(), text.as_str()]);
        if before.turns.last().map_or(before.page, |(_, last)| *last) != page {
            before.turns.push((before.text.len() - text.trim().len(), page));
        }
        return;
    }
    settle(builder, pending);
    builder.page = Some(page);
    match kind {
        BlockKind::Verse => builder.push(kind, &rows.join("\n")),
        BlockKind::Heading { .. } => builder.push(kind, &single_line(&text)),
        BlockKind::Break => builder.push(kind, &text),
        kind => {
            *pending = Some(Pending {
                kind,
                text,
                page,
                turns: Vec::new(),
            });
        }
    }
}

/// Whether a sentence was cut by the end of a column or page.
fn goes_on(before: &str, after: &str) -> bool {
    let open = before
        .trim_end()
        .chars()
        .next_back()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, ',' | '-' | '–' | ';' | '‐'));
    open && after.trim_start().chars().next().is_some_and(char::is_lowercase)
}

/// Verse ends its lines long before the column does.
fn is_set_as_verse(paragraph: &Paragraph<'_>, rows: &[&str]) -> bool {
    if rows.len() < 3 {
        return false;
    }
    let width = paragraph.rows[0].column_right - paragraph.rows[0].column_left;
    let reach = paragraph.rows.iter().map(|row| row.right()).fold(0.0, f32::max);
    reach < paragraph.rows[0].column_left + width * 0.8 && lines::is_verse(rows)
}

/// The rows of one paragraph, beginning at `start`.
fn read_paragraph<'a>(rows: &'a [Row], start: usize, page: u32, style: &Style) -> (usize, Paragraph<'a>) {
    let first = &rows[start];
    let gap_before = start == 0
        || rows[start - 1].column != first.column
        || first.bottom - rows[start - 1].bottom > style.pitch * 1.25;
    let titled = style.outline_rows(rows, start, page);
    let mut end = titled.unwrap_or(start + 1);
    while titled.is_none()
        && let Some(row) = rows.get(end)
    {
        if style.outline_rows(rows, end, page).is_some()
            || begins_paragraph(&rows[start..end], row, style)
            || code_end(rows, end, style).is_some()
            || (row.bottom - rows[end - 1].bottom > style.pitch * 1.12
                && read_table(rows, end, style).is_some())
        {
            break;
        }
        end += 1;
    }
    let paragraph = Paragraph {
        rows: rows[start..end].iter().collect(),
        size: first.size,
        gap_before,
    };
    (end, paragraph)
}

fn begins_paragraph(before: &[Row], row: &Row, style: &Style) -> bool {
    let Some(previous) = before.last() else {
        return false;
    };
    if previous.column != row.column {
        return true;
    }
    let size = previous.size.max(row.size);
    let farthest = if size > style.body * 1.09 {
        size * 1.45
    } else {
        style.pitch * 1.3
    };
    let distance = row.bottom - previous.bottom;
    if distance > farthest || distance < -1.0 || has_leaders(row) || has_leaders(previous) {
        return true;
    }
    if (row.size - previous.size).abs() > previous.size.min(row.size) * 0.12 {
        return true;
    }
    let text = row.text();
    if lines::is_break(&text) || lines::is_break(&previous.text()) {
        return true;
    }
    if lines::list_mark(&text).is_some() {
        // "… in the year\n1. " hardly happens; a mark at the left edge is a list's.
        return lines::list_mark(&before[0].text()).is_some() || row.left() >= before[0].left() - 1.0;
    }
    let em = style.body;
    let is_item = lines::list_mark(&before[0].text()).is_some();
    let indent = row.left() - previous.left();
    let column_width = row.column_right - row.column_left;
    let is_ragged_end = previous.right() < row.column_right - column_width * 0.25;
    let ends_sentence = previous
        .text()
        .trim_end()
        .ends_with(['.', '!', '?', '”', '"', ':', '»', '“']);
    if !is_item && before.len() >= 2 && indent > em * 0.7 && indent < em * 5.0 && ends_sentence {
        return true;
    }
    if is_item && indent < -em * 0.7 {
        return true;
    }
    if !is_item && before.len() == 1 && indent > em * 0.7 && is_ragged_end {
        return true;
    }
    // A short numbered line over a sentence is no item that the sentence goes on in.
    let ends_early = previous.right() < row.column_right - column_width * 0.4;
    if is_item && ends_early && text.chars().next().is_some_and(char::is_uppercase) {
        return true;
    }
    is_ragged_end && ends_sentence && !is_short_lined(before, column_width)
}

/// Whether all rows so far end early, as in verse and addresses: then an early end divides nothing.
fn is_short_lined(rows: &[Row], column_width: f32) -> bool {
    rows.iter()
        .all(|row| row.right() - row.column_left < column_width * 0.72)
        && rows.len() >= 2
}

/// The end of a run of fixed-pitch rows that begins here, if there is one.
fn code_end(rows: &[Row], start: usize, style: &Style) -> Option<usize> {
    if style.is_typescript {
        return None;
    }
    let follows = |before: &Row, row: &Row| {
        row.column == before.column && row.bottom - before.bottom < style.pitch * 2.6 && row.top > before.top
    };
    // A first row of a single word is known by the row after it.
    let pitch = rows[start].monospace.or_else(|| {
        let next = rows.get(start + 1).filter(|next| follows(&rows[start], next))?;
        rows[start].pitch.filter(|pitch| {
            next.monospace
                .is_some_and(|other| (other - pitch).abs() < pitch * 0.02)
        })
    })?;
    let mut end = start;
    let mut counted = 0;
    while let Some(row) = rows.get(end) {
        let same = row
            .monospace
            .or(row.pitch)
            .is_some_and(|other| (other - pitch).abs() < pitch * 0.03);
        // A row too short to tell ("}") goes with its neighbours.
        let short =
            row.pitch.is_none() && row.cells.len() == 1 && row.cells[0].text.trim().chars().count() <= 8;
        if (end > start && !follows(&rows[end - 1], row)) || !(same || (short && end > start)) {
            break;
        }
        counted += usize::from(same);
        end += 1;
    }
    (counted >= 2).then_some(end)
}

/// Fixed-pitch rows with their indentation.
fn code_text(rows: &[Row]) -> String {
    let left = rows.iter().map(Row::left).fold(f32::INFINITY, f32::min);
    let pitch = rows.iter().find_map(|row| row.monospace).unwrap_or(6.0);
    let usual = rows
        .windows(2)
        .map(|pair| pair[1].bottom - pair[0].bottom)
        .fold(f32::INFINITY, f32::min);
    let mut code = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            code.push('\n');
            if row.bottom - rows[index - 1].bottom > usual * 1.6 {
                code.push('\n');
            }
        }
        let begin = code.len();
        for cell in &row.cells {
            let place = ((cell.left - left) / pitch).round().clamp(0.0, 200.0) as usize;
            let written = code[begin..].chars().count();
            code.extend(std::iter::repeat_n(
                ' ',
                place.saturating_sub(written).max(usize::from(written > 0)),
            ));
            code.push_str(cell.text.trim());
        }
    }
    code
}

/// Rows through which white strips run from top to bottom are a table; what stands under a cell alone goes on in it.
fn read_table(rows: &[Row], start: usize, style: &Style) -> Option<(usize, Vec<Vec<String>>)> {
    let first = &rows[start];
    let narrowest = first.size * 0.55;
    let mut occupied = merge_intervals(first.words.iter().map(|word| (word.left, word.right)).collect());
    let mut strips = count_strips(&occupied, narrowest);
    if strips == 0 || has_leaders(first) {
        return None;
    }
    let mut end = start + 1;
    while let Some(row) = rows.get(end) {
        let previous = &rows[end - 1];
        let distance = row.bottom - previous.bottom;
        if row.column != first.column
            || distance > style.pitch * 3.0
            || distance < 1.0
            || (row.size - first.size).abs() > first.size * 0.2
            || has_leaders(row)
        {
            break;
        }
        let mut wider = occupied.clone();
        wider.extend(row.words.iter().map(|word| (word.left, word.right)));
        let wider = merge_intervals(wider);
        let left = count_strips(&wider, narrowest);
        if left == 0 || left * 2 < strips {
            break;
        }
        strips = left;
        occupied = wider;
        end += 1;
    }
    let borders = strip_borders(&occupied, narrowest);
    let split = |row: &Row| -> Vec<String> {
        let mut cells = vec![String::new(); borders.len() + 1];
        for word in &row.words {
            let place = borders.iter().filter(|border| word.left > **border).count();
            if !cells[place].is_empty() {
                cells[place].push(' ');
            }
            cells[place].push_str(word.text.trim());
        }
        cells
    };
    let filled = |cells: &[String]| cells.iter().filter(|cell| !cell.is_empty()).count();
    // A line below that fills the first column only is a note or the next paragraph.
    while end > start && filled(&split(&rows[end - 1])) < 2 && !split(&rows[end - 1])[0].is_empty() {
        end -= 1;
    }
    let mut table: Vec<Vec<String>> = Vec::new();
    let (mut full, mut all_filled) = (0, 0);
    for index in start..end {
        let cells = split(&rows[index]);
        full += usize::from(filled(&cells) >= 2);
        all_filled += filled(&cells);
        let near = index > start && rows[index].bottom - rows[index - 1].bottom < style.pitch * 1.3;
        match table.last_mut() {
            Some(above) if near && cells[0].is_empty() && !above[0].is_empty() => {
                for (target, cell) in above.iter_mut().zip(&cells).filter(|(_, cell)| !cell.is_empty()) {
                    if !target.is_empty() {
                        target.push(' ');
                    }
                    target.push_str(cell);
                }
            }
            _ => table.push(cells),
        }
    }
    let rows_used = end - start;
    let longest_head = table.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let is_list = table
        .iter()
        .all(|row| row[0].is_empty() || lines::list_mark(&format!("{} x", row[0])).is_some());
    // Two lines stretched to the margins leave strips as well, but fill few of their cells.
    let well_filled = all_filled * 10 >= rows_used * (borders.len() + 1) * 6;
    let is_table = well_filled
        && full >= 2
        && full * 2 >= rows_used
        && (table.len() >= 3 || (table.len() == 2 && borders.len() >= 2))
        && longest_head <= 48
        && !is_list;
    is_table.then_some((end, table))
}

/// Dots that lead to a page number.
fn has_leaders(row: &Row) -> bool {
    let text = row.text();
    text.contains(". . .") || text.contains("....") || text.contains("…….")
}

/// Dots that lead to a page number, as one mark.
fn without_leaders(text: &str) -> String {
    if !text.contains(". . .") && !text.contains("....") {
        return text.to_owned();
    }
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let is_leader = word.chars().all(|c| c == '.');
        match (is_leader, words.last()) {
            (true, Some(&"…")) => {}
            (true, _) => words.push("…"),
            (false, _) => words.push(word.trim_end_matches("....")),
        }
    }
    words.join(" ")
}

fn merge_intervals(mut intervals: Vec<(f32, f32)>) -> Vec<(f32, f32)> {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f32, f32)> = Vec::with_capacity(intervals.len());
    for (left, right) in intervals {
        match merged.last_mut() {
            Some(last) if left <= last.1 => last.1 = last.1.max(right),
            _ => merged.push((left, right)),
        }
    }
    merged
}

fn strip_borders(occupied: &[(f32, f32)], narrowest: f32) -> Vec<f32> {
    occupied
        .windows(2)
        .filter(|pair| pair[1].0 - pair[0].1 >= narrowest)
        .map(|pair| (pair[0].1 + pair[1].0) / 2.0)
        .collect()
}

fn count_strips(occupied: &[(f32, f32)], narrowest: f32) -> usize {
    occupied
        .windows(2)
        .filter(|pair| pair[1].0 - pair[0].1 >= narrowest)
        .count()
}

/// Ligatures and the look-alikes that fonts give for ideographs, as the characters they stand for.
fn normalise(text: &str) -> String {
    let needs =
        |c: char| matches!(c, '\u{2e80}'..='\u{2fdf}' | '\u{fb00}'..='\u{fb06}' | '\u{f900}'..='\u{faff}');
    if !text.contains(needs) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if needs(c) {
            out.extend(std::iter::once(c).nfkc());
        } else {
            out.push(c);
        }
    }
    out
}

/// The file with what its pages inherit written into each of them; `None` when they inherit nothing. docling's parser does not
/// look for fonts further up the page tree when they stand there directly.
fn with_own_resources(bytes: &[u8]) -> Option<Vec<u8>> {
    const MAX_DEPTH: usize = 32;
    let mut document = lopdf::Document::load_mem(bytes).ok()?;
    let pages: Vec<lopdf::ObjectId> = document.get_pages().into_values().collect();
    let mut changed = false;
    for page in pages {
        let own = document.get_dictionary(page).ok()?;
        if own.has(b"Resources") {
            continue;
        }
        let mut parent = own.get(b"Parent").and_then(lopdf::Object::as_reference).ok();
        let mut inherited = None;
        for _ in 0..MAX_DEPTH {
            let Some(node) = parent.and_then(|id| document.get_dictionary(id).ok()) else {
                break;
            };
            if let Ok(resources) = node.get(b"Resources") {
                inherited = Some(resources.clone());
                break;
            }
            parent = node.get(b"Parent").and_then(lopdf::Object::as_reference).ok();
        }
        if let (Some(resources), Ok(lopdf::Object::Dictionary(dictionary))) =
            (inherited, document.get_object_mut(page))
        {
            dictionary.set("Resources", resources);
            changed = true;
        }
    }
    if !changed {
        return None;
    }
    let mut out = Vec::new();
    document.save_to(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of A4 with a row of text at each of these heights.
    fn page(rows: &[(f32, &str)]) -> PageRows {
        let row = |(top, text): &(f32, &str)| Row {
            cells: vec![super::super::pdf_layout::Cell {
                text: (*text).to_owned(),
                left: 72.0,
                right: 520.0,
            }],
            top: *top,
            bottom: top + 10.0,
            size: 10.0,
            words: Vec::new(),
            monospace: None,
            pitch: None,
            column: 1,
            column_left: 72.0,
            column_right: 520.0,
        };
        PageRows {
            height: 842.0,
            rows: rows.iter().map(row).collect(),
        }
    }

    fn texts(pages: &[PageRows]) -> Vec<Vec<String>> {
        pages
            .iter()
            .map(|page| page.rows.iter().map(Row::text).collect())
            .collect()
    }

    /// Pages whose rows, from one margin to the other, read alike but for their numbers, under a head and over a foot.
    fn pages_of_rows(count: u32) -> Vec<PageRows> {
        (1..=count)
            .map(|number| {
                let lines: Vec<(f32, String)> = (0..55)
                    .map(|line| {
                        (
                            76.0 + line as f32 * 12.0,
                            format!("Station {line} | {number}.{line}"),
                        )
                    })
                    .collect();
                let foot = format!("- {number} -");
                let mut rows = vec![(40.0, "Register of Soundings")];
                rows.extend(lines.iter().map(|(top, text)| (*top, text.as_str())));
                rows.push((800.0, &foot));
                page(&rows)
            })
            .collect()
    }

    #[test]
    fn running_lines_go_and_rows_stay() {
        let mut pages = pages_of_rows(4);
        remove_running_lines(&mut pages);
        for rows in texts(&pages) {
            assert_eq!(rows.len(), 55, "{:?} … {:?}", rows.first(), rows.last());
        }
    }

    #[test]
    fn a_head_is_at_the_same_height_on_each_page() {
        let mut pages: Vec<PageRows> = (0..4)
            .map(|number| {
                let mut rows = vec![(40.0 + number as f32 * 9.0, "The Lamp")];
                rows.extend((0..30).map(|line| (120.0 + line as f32 * 12.0, "Some words of the text")));
                page(&rows)
            })
            .collect();
        remove_running_lines(&mut pages);
        assert!(texts(&pages).iter().all(|rows| rows[0] == "The Lamp"));
    }

    #[test]
    fn figures_over_white_space_are_no_running_line() {
        let mut pages: Vec<PageRows> = (0..4)
            .map(|_| {
                let mut rows = vec![(60.0, "1.25 | 3.50")];
                rows.extend((0..30).map(|line| (120.0 + line as f32 * 12.0, "Some words of the text")));
                page(&rows)
            })
            .collect();
        remove_running_lines(&mut pages);
        assert!(texts(&pages).iter().all(|rows| rows[0] == "1.25 | 3.50"));
    }

    #[test]
    fn a_paragraph_over_a_page_break_knows_both_pages() {
        let lines = |range: std::ops::Range<usize>| -> Vec<(f32, String)> {
            range
                .map(|line| {
                    (
                        90.0 + (line % 40) as f32 * 12.0,
                        format!("line {line} of a paragraph that goes on over the end of its page"),
                    )
                })
                .collect()
        };
        let pages: Vec<PageRows> = [lines(0..40), lines(40..70)]
            .iter()
            .map(|lines| {
                page(
                    &lines
                        .iter()
                        .map(|(top, text)| (*top, text.as_str()))
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        let mut builder = DocumentBuilder::new();
        assemble(&mut builder, &pages, &Style::of(&pages, &[]));
        let document = builder.finish(Format::Pdf).expect("has text");
        assert_eq!(document.blocks.len(), 1);
        for draft in crate::chunk(&document, mnemosyne_domain::LibraryType::Technical.profile()) {
            let text = &document.text[draft.span];
            let first: usize = text
                .split("line ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .and_then(|number| number.parse().ok())
                .expect("a line's number");
            // A part that begins inside a line belongs to the line before.
            let begins = if text.starts_with("line ") {
                first
            } else {
                first - 1
            };
            assert_eq!(
                draft.page,
                Some(if begins < 40 { 1 } else { 2 }),
                "{}",
                &text[..40]
            );
        }
    }

    #[test]
    fn page_numbers_are_told_from_text() {
        for (text, expected) in [
            ("12", true),
            ("- 3 -", true),
            ("Page 4 of 10", true),
            ("xii", true),
            ("Chapter 4", false),
            ("I", true),
            ("xl", true),
            ("3/10", true),
            ("p. 7", true),
            ("1.5", false),
            ("12 34", false),
            ("civil", false),
            ("-", false),
        ] {
            assert_eq!(is_page_number(&without_numbers(text)), expected, "{text}");
        }
    }

    #[test]
    fn titles_agree_with_their_outline() {
        assert_eq!(normal_title("2.1  The Lamp – lit"), normal_title("the lamp lit"));
        assert!(is_generated_title("Microsoft Word - thesis.doc") && !is_generated_title("A Study of Lamps"));
    }

    #[test]
    fn broken_files_are_damaged() {
        assert_eq!(
            parse(b"%PDF-1.7 nothing else").expect_err("broken").code,
            FailureCode::Damaged
        );
    }
}
