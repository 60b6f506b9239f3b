//! HTML and XHTML: the page's own text, without scripts, styles, navigation and what is hidden.
//!
//! The tree is html5ever's (through scraper), the same one a browser builds; the walk over it is ours, because it has to
//! keep what chunking lives on: white space of code, lines of verse, rows of tables, marks of lists.

use std::borrow::Cow;
use std::collections::HashMap;

use ego_tree::iter::Edge;
use mnemosyne_domain::{Failure, FailureCode};
use scraper::node::Element;
use scraper::{Html, Node};

use super::builder::{DocumentBuilder, single_line};
use super::lines;
use super::markdown::{paragraph_kind, table_text};
use crate::document::{BlockKind, Document, Format};

/// Reads a decoded page.
pub(super) fn parse(source: &str) -> Result<Document, Failure> {
    let mut builder = DocumentBuilder::new();
    refuse_endless(source)?;
    let source = expand_self_closed(source);
    append_page(&mut builder, &Html::parse_document(&source), &Styles::default());
    builder.finish(Format::Html)
}

/// Adds the blocks of a page; title, authors and language are taken where there is none yet.
/// `styles` name the headings of pages that mark none.
pub(super) fn append_page(builder: &mut DocumentBuilder, page: &Html, styles: &Styles) {
    let main = sole_main(page);
    let marked = page.tree.nodes().any(|node| {
        node.value()
            .as_element()
            .is_some_and(|element| is_heading_name(element.name()))
    });
    let mut walker = Walker::new(builder, main);
    walker.styles = Some(styles).filter(|styles| !marked && !styles.sizes.is_empty());
    walker.walk(page);
}

/// Elements that have no end tag.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];

/// Elements one inside the other, and attributes of one element, that a page may have: building the tree takes the square of
/// both, and no page that anybody reads comes near.
const MOST_NESTED: usize = 10_000;

/// Refuses a page that would keep the tree builder busy for minutes.
pub(super) fn refuse_endless(source: &str) -> Result<(), Failure> {
    const ENDS_ITSELF: &[&str] = &["p", "li", "td", "th", "tr", "dt", "dd", "option"];
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    // Programs and style sheets compare with "<"; that nests nothing.
    let mut raw_text: Option<&str> = None;
    for tag in source.split('<').skip(1) {
        let end = tag.find('>').unwrap_or(tag.len());
        let inside = &tag[..end];
        if end > MOST_NESTED
            && inside
                .matches('=')
                .count()
                .max(inside.split_ascii_whitespace().count())
                > MOST_NESTED
        {
            return Err(Failure::new(
                FailureCode::ParserLimit,
                "The HTML has an element with more attributes than can be read.",
            ));
        }
        if let Some(name) = raw_text {
            if inside
                .strip_prefix('/')
                .is_some_and(|end| end.eq_ignore_ascii_case(name))
            {
                raw_text = None;
            }
            continue;
        }
        if inside.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if inside.starts_with(|c: char| c.is_ascii_alphabetic()) && !inside.ends_with('/') {
            let name = &inside[..inside
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(inside.len())];
            let name = name.to_ascii_lowercase();
            raw_text = ["script", "style"].into_iter().find(|raw| *raw == name);
            if raw_text.is_none() && !VOID.contains(&name.as_str()) && !ENDS_ITSELF.contains(&name.as_str()) {
                depth += 1;
                deepest = deepest.max(depth);
            }
        }
    }
    if deepest > MOST_NESTED {
        return Err(Failure::new(
            FailureCode::ParserLimit,
            "The HTML is nested more deeply than can be read.",
        ));
    }
    Ok(())
}

/// Whether an element is `h1` to `h6`.
pub(super) fn is_heading_name(name: &str) -> bool {
    matches!(name, "h1" | "h2" | "h3" | "h4" | "h5" | "h6")
}

/// Sizes of text that style sheets give to classes, the body's being 1. Some programs write headings as large paragraphs.
#[derive(Default)]
pub(super) struct Styles {
    sizes: HashMap<String, f32>,
}

/// Text this much larger than the body's is a heading, where it stands alone.
const HEADING_SIZE: f32 = 1.12;

impl Styles {
    /// Adds the simple rules (`.name { font-size: … }`) of a sheet.
    pub(super) fn add(&mut self, sheet: &str) {
        for rule in sheet.split('}') {
            let Some((selectors, declarations)) = rule.split_once('{') else {
                continue;
            };
            let size = declarations
                .split(';')
                .filter_map(|declaration| declaration.split_once(':'))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("font-size"))
                .and_then(|(_, value)| relative_size(value.trim()));
            let Some(size) = size else {
                continue;
            };
            for selector in selectors.split(',') {
                let class = selector.trim().rsplit('.').next().unwrap_or_default();
                if selector.contains('.') && !class.contains(char::is_whitespace) {
                    self.sizes.insert(class.to_owned(), size);
                }
            }
        }
    }

    fn of(&self, element: &Element) -> Option<f32> {
        element.classes().find_map(|class| self.sizes.get(class).copied())
    }

    /// The level of a heading of this size: the larger, the higher.
    fn level(&self, size: f32) -> u8 {
        let mut larger: Vec<u32> = self
            .sizes
            .values()
            .filter(|other| **other > size * 1.01)
            .map(|other| (other * 20.0) as u32)
            .collect();
        larger.sort_unstable();
        larger.dedup();
        larger.len().min(5) as u8 + 1
    }
}

fn relative_size(value: &str) -> Option<f32> {
    let unit = value.find(|c: char| c.is_ascii_alphabetic() || c == '%')?;
    let number: f32 = value[..unit].trim().parse().ok()?;
    match &value[unit..] {
        "pt" => Some(number / 12.0),
        "px" => Some(number / 16.0),
        "%" => Some(number / 100.0),
        "em" | "rem" => Some(number),
        _ => None,
    }
}

/// Adds the blocks of a piece of HTML inside another format.
pub(super) fn append_fragment(builder: &mut DocumentBuilder, source: &str) {
    if refuse_endless(source).is_err() {
        return;
    }
    let fragment = Html::parse_fragment(source);
    Walker::new(builder, None).walk(&fragment);
}

/// The bytes as text: a byte order mark, what the page says of itself, else what the bytes look like.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if encoding_rs::Encoding::for_bom(bytes).is_none()
        && std::str::from_utf8(bytes).is_err()
        && let Some(encoding) = declared_encoding(&bytes[..bytes.len().min(2048)])
    {
        return encoding.decode_without_bom_handling(bytes).0;
    }
    super::decode_text(bytes)
}

fn declared_encoding(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let after = head
        .split_once("charset")
        .or_else(|| head.split_once("encoding"))?
        .1;
    let label = after
        .trim_start()
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['"', '\'']);
    let end = label
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)))
        .unwrap_or(label.len());
    encoding_rs::Encoding::for_label(&label.as_bytes()[..end])
}

/// XHTML may close any element in itself (`<title/>`); to an HTML parser that is a start, and the rest would be lost in it.
pub(super) fn expand_self_closed(source: &str) -> Cow<'_, str> {
    let head = &source[..source.floor_char_boundary(512)];
    let is_xhtml = head
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with("<?xml")
        || head.contains("/xhtml");
    if !is_xhtml || !source.contains("/>") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(close) = rest.find("/>") {
        let open = rest[..close].rfind('<');
        let name = open.map(|open| {
            let tag = &rest[open + 1..close];
            &tag[..tag
                .find(|c: char| c.is_whitespace() || c == '/')
                .unwrap_or(tag.len())]
        });
        match name {
            Some(name)
                if !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
                    && !VOID.contains(&name.to_ascii_lowercase().as_str()) =>
            {
                out.push_str(&rest[..close]);
                out.push_str("></");
                out.push_str(name);
                out.push('>');
            }
            _ => out.push_str(&rest[..close + 2]),
        }
        rest = &rest[close + 2..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The page's one `<main>`, where it holds most of the text: what stands around it is the site's, not the document's.
fn sole_main(page: &Html) -> Option<ego_tree::NodeId> {
    let mut found = None;
    for node in page.tree.nodes() {
        let is_main = node
            .value()
            .as_element()
            .is_some_and(|element| element.name() == "main" || element.attr("role") == Some("main"));
        if is_main {
            if found.is_some() {
                return None;
            }
            found = Some(node);
        }
    }
    let main = found?;
    let length = |node: ego_tree::NodeRef<'_, Node>| {
        let mut total = 0;
        let mut skipped = 0;
        for edge in node.traverse() {
            match edge {
                Edge::Open(node) => match node.value() {
                    Node::Element(element) if skipped > 0 || is_dropped(element) => skipped += 1,
                    Node::Text(text) if skipped == 0 => total += text.trim().len(),
                    _ => {}
                },
                Edge::Close(node) => {
                    if skipped > 0 && node.value().is_element() {
                        skipped -= 1;
                    }
                }
            }
        }
        total
    };
    (length(main) * 2 >= length(page.tree.root())).then(|| main.id())
}

const DROPPED: &[&str] = &[
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "iframe",
    "object",
    "embed",
    "canvas",
    "svg",
    "audio",
    "video",
    "button",
    "select",
    "input",
    "textarea",
    "dialog",
    "datalist",
    "menu",
    "annotation",
    "annotation-xml",
];
const DROPPED_ROLES: &[&str] = &[
    "navigation",
    "search",
    "banner",
    "contentinfo",
    "menu",
    "menubar",
    "doc-backlink",
    "doc-noteref",
    "doc-toc",
];
const DROPPED_CLASSES: &[&str] = &[
    "skip-link",
    "skiplink",
    "breadcrumb",
    "breadcrumbs",
    "cookie-banner",
    "cookie-consent",
    "cookie-notice",
    "sr-only",
    "visually-hidden",
    "footnote-ref",
    "footnote-back",
    "headerlink",
    "anchor-link",
    "noprint",
    "navbox",
    "mw-editsection",
    "site-header",
    "site-footer",
    "site-nav",
    "navbar",
    "toc-backref",
];

fn is_dropped(element: &Element) -> bool {
    if DROPPED.contains(&element.name()) {
        return true;
    }
    let attr = |name: &str| element.attr(name);
    attr("hidden").is_some()
        || attr("aria-hidden") == Some("true")
        || attr("role").is_some_and(|role| DROPPED_ROLES.contains(&role))
        || attr("style").is_some_and(|style| {
            let style: String = style.chars().filter(|c| !c.is_whitespace()).collect();
            style.contains("display:none") || style.contains("visibility:hidden")
        })
        || element.classes().any(|class| DROPPED_CLASSES.contains(&class))
        || (element.name() == "div" && matches!(attr("id"), Some("TOC" | "toc" | "cookie-banner")))
}

const BLOCKS: &[&str] = &[
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "body",
    "figure",
    "figcaption",
    "address",
    "fieldset",
    "form",
    "details",
    "summary",
    "center",
    "hgroup",
    "dl",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "table",
    "hr",
    "dd",
    "legend",
    "html",
    "head",
    "title",
    "caption",
    "tr",
    "td",
    "th",
    "tbody",
    "thead",
    "tfoot",
];

struct Table {
    rows: Vec<Vec<String>>,
    caption: String,
    /// Tables inside tables give their text to the cell they stand in.
    depth: usize,
}

struct Walker<'a> {
    builder: &'a mut DocumentBuilder,
    main: Option<ego_tree::NodeId>,
    inside_main: bool,
    inline: String,
    dropped: usize,
    pre: usize,
    verse: usize,
    quotes: usize,
    sectioning: usize,
    in_title: bool,
    lists: Vec<Option<i64>>,
    mark: Option<String>,
    heading: Option<u8>,
    table: Option<Table>,
    styles: Option<&'a Styles>,
    /// Sizes of the elements one is in.
    sizes: Vec<f32>,
    /// The smallest size of the text collected so far.
    smallest: f32,
}

impl<'a> Walker<'a> {
    fn new(builder: &'a mut DocumentBuilder, main: Option<ego_tree::NodeId>) -> Self {
        Self {
            builder,
            main,
            inside_main: main.is_none(),
            inline: String::new(),
            dropped: 0,
            pre: 0,
            verse: 0,
            quotes: 0,
            sectioning: 0,
            in_title: false,
            lists: Vec::new(),
            mark: None,
            heading: None,
            table: None,
            styles: None,
            sizes: Vec::new(),
            smallest: f32::INFINITY,
        }
    }

    /// Without recursion: pages nest as deep as they like.
    fn walk(mut self, page: &Html) {
        for edge in page.tree.root().traverse() {
            match edge {
                Edge::Open(node) => match node.value() {
                    Node::Text(text) => self.text(text),
                    Node::Element(element) => {
                        if self.dropped > 0 || is_dropped(element) || self.is_page_footer(element) {
                            if self.dropped == 0 && self.table.is_none() && BLOCKS.contains(&element.name()) {
                                self.flush();
                            }
                            self.dropped += 1;
                        } else {
                            if self.main == Some(node.id()) {
                                self.inside_main = true;
                            }
                            self.open(element);
                            if let Some(styles) = self.styles {
                                let around = self.sizes.last().copied().unwrap_or(1.0);
                                self.sizes.push(styles.of(element).unwrap_or(around));
                            }
                        }
                    }
                    _ => {}
                },
                Edge::Close(node) => {
                    if let Node::Element(element) = node.value() {
                        if self.dropped > 0 {
                            self.dropped -= 1;
                        } else {
                            self.sizes.pop();
                            self.close(element);
                            if self.main == Some(node.id()) {
                                self.inside_main = false;
                            }
                        }
                    }
                }
            }
        }
        self.flush();
    }

    /// The site's footer; one inside an article or a quotation belongs to that.
    fn is_page_footer(&self, element: &Element) -> bool {
        element.name() == "footer" && self.sectioning == 0 && self.quotes == 0
    }

    fn text(&mut self, text: &str) {
        if self.dropped > 0 || (!self.inside_main && !self.in_title) {
            return;
        }
        if self.pre > 0 {
            self.inline.push_str(text);
            return;
        }
        if self.styles.is_some() && !text.trim().is_empty() {
            self.smallest = self.smallest.min(self.sizes.last().copied().unwrap_or(1.0));
        }
        // Line ends of the source are spaces; only <br> breaks a line.
        for c in text.chars() {
            if c.is_ascii_whitespace() {
                if !self.inline.is_empty() && !self.inline.ends_with([' ', '\n']) {
                    self.inline.push(' ');
                }
            } else {
                self.inline.push(c);
            }
        }
    }

    fn open(&mut self, element: &Element) {
        let name = element.name();
        if let Some(table) = &mut self.table {
            match name {
                "table" => table.depth += 1,
                "tr" if table.depth == 1 => table.rows.push(Vec::new()),
                "td" | "th" if table.depth == 1 => self.inline.clear(),
                "caption" if table.depth == 1 => self.inline.clear(),
                "br" | "p" | "div" | "li" | "td" | "th" => self.inline.push(' '),
                _ => {}
            }
            return;
        }
        if BLOCKS.contains(&name) {
            if name == "dd" && self.inline.ends_with(": ") {
                return;
            }
            self.flush();
        }
        match name {
            "html" => {
                let language = element.attr("lang").or_else(|| element.attr("xml:lang"));
                self.note_language(language);
            }
            "title" => self.in_title = true,
            "meta" => self.meta(element),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading = Some(name.as_bytes()[1] - b'0'),
            "pre" => self.pre += 1,
            "blockquote" => self.quotes += 1,
            "article" | "section" | "aside" => self.sectioning += 1,
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(
                element
                    .attr("start")
                    .and_then(|start| start.trim().parse().ok())
                    .unwrap_or(1),
            )),
            "li" => self.open_item(element),
            "br" => self.inline.push('\n'),
            "hr" if self.inside_main => self.builder.push(BlockKind::Break, "* * *"),
            "table" if element.attr("role") != Some("presentation") => {
                self.table = Some(Table {
                    rows: Vec::new(),
                    caption: String::new(),
                    depth: 1,
                });
            }
            _ => {}
        }
        if is_verse_element(element) {
            self.verse += 1;
        }
    }

    fn open_item(&mut self, element: &Element) {
        self.mark = Some(match self.lists.last_mut() {
            Some(Some(number)) => {
                if let Some(value) = element.attr("value").and_then(|value| value.trim().parse().ok()) {
                    *number = value;
                }
                let mark = format!("{number}. ");
                *number = number.saturating_add(1);
                mark
            }
            _ => "- ".to_owned(),
        });
    }

    fn close(&mut self, element: &Element) {
        let name = element.name();
        if self.table.is_some() {
            self.close_in_table(name);
            return;
        }
        match name {
            "title" => {
                self.in_title = false;
                let title = single_line(&std::mem::take(&mut self.inline));
                if self.builder.title.is_none() && !title.is_empty() {
                    self.builder.title = Some(title);
                }
                return;
            }
            "dt" => {
                if !self.inline.trim().is_empty() {
                    self.inline.push_str(": ");
                }
                return;
            }
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.flush();
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading = None,
            "pre" => self.pre = self.pre.saturating_sub(1),
            "blockquote" => self.quotes = self.quotes.saturating_sub(1),
            "article" | "section" | "aside" => self.sectioning = self.sectioning.saturating_sub(1),
            "ul" | "ol" => {
                self.lists.pop();
            }
            "li" => self.mark = None,
            _ => {}
        }
        if is_verse_element(element) {
            self.verse = self.verse.saturating_sub(1);
        }
    }

    fn close_in_table(&mut self, name: &str) {
        let Some(table) = &mut self.table else {
            return;
        };
        match name {
            "td" | "th" if table.depth == 1 => {
                let cell = single_line(&std::mem::take(&mut self.inline));
                match table.rows.last_mut() {
                    Some(row) => row.push(cell),
                    None => table.rows.push(vec![cell]),
                }
            }
            "caption" if table.depth == 1 => table.caption = single_line(&std::mem::take(&mut self.inline)),
            "table" => {
                table.depth -= 1;
                if table.depth > 0 {
                    self.inline.push(' ');
                    return;
                }
                self.inline.clear();
                if let Some(Table { rows, caption, .. }) = self.table.take()
                    && self.inside_main
                {
                    self.builder.push(BlockKind::Paragraph, &caption);
                    // One cell is a frame around text, no table.
                    match rows.as_slice() {
                        [row] if row.len() == 1 => self.builder.push(BlockKind::Paragraph, &row[0]),
                        rows => self.builder.push(BlockKind::Table, &table_text(rows)),
                    }
                }
            }
            _ => {}
        }
    }

    fn meta(&mut self, element: &Element) {
        let name = element
            .attr("name")
            .or_else(|| element.attr("property"))
            .unwrap_or_default()
            .to_lowercase();
        let Some(content) = element
            .attr("content")
            .map(str::trim)
            .filter(|content| !content.is_empty())
        else {
            return;
        };
        match name.as_str() {
            "author" | "dc.creator" | "dcterms.creator" | "citation_author" => {
                self.builder.authors.push(content.to_owned())
            }
            "dc.language" | "dcterms.language" => self.note_language(Some(content)),
            _ => {}
        }
    }

    fn note_language(&mut self, language: Option<&str>) {
        if self.builder.language.is_none() {
            self.builder.language = language
                .filter(|language| !language.trim().is_empty())
                .map(str::to_owned);
        }
    }

    /// Writes what was collected as the kind of block that the place asks for.
    fn flush(&mut self) {
        let smallest = std::mem::replace(&mut self.smallest, f32::INFINITY);
        if self.inline.trim().is_empty() || !self.inside_main {
            self.inline.clear();
            return;
        }
        let text = std::mem::take(&mut self.inline);
        let trimmed = text.trim();
        let kind = if let Some(level) = self.heading {
            BlockKind::Heading { level }
        } else if self.pre > 0 && self.verse == 0 {
            BlockKind::Code
        } else if self.mark.is_some() || !self.lists.is_empty() {
            BlockKind::ListItem
        } else if self.verse > 0 {
            BlockKind::Verse
        } else if lines::is_break(trimmed) {
            BlockKind::Break
        } else if let Some(level) = self.styled_heading(trimmed, smallest) {
            BlockKind::Heading { level }
        } else if self.quotes > 0 {
            match paragraph_kind(trimmed) {
                BlockKind::Verse => BlockKind::Verse,
                _ => BlockKind::Quote,
            }
        } else {
            paragraph_kind(trimmed)
        };
        match kind {
            BlockKind::Code => self.builder.push(kind, &text),
            BlockKind::Heading { .. } => self.builder.push(kind, &single_line(&text)),
            BlockKind::ListItem => {
                let mark = self.mark.take().unwrap_or_default();
                self.builder.push(kind, &(mark + trimmed));
            }
            _ => self.builder.push(kind, trimmed.trim_end_matches(": ")),
        }
    }
}

impl Walker<'_> {
    fn styled_heading(&self, text: &str, size: f32) -> Option<u8> {
        let is_line = text.chars().count() <= 120 && !text.ends_with(['.', ',', ';', ':']);
        self.styles
            .filter(|_| is_line && size.is_finite() && size >= HEADING_SIZE)
            .map(|styles| styles.level(size))
    }
}

fn is_verse_element(element: &Element) -> bool {
    matches!(
        element.name(),
        "div" | "p" | "pre" | "section" | "blockquote" | "address"
    ) && (element.name() == "address"
        || element.classes().any(|class| {
            matches!(
                class,
                "verse" | "poem" | "line-block" | "poetry" | "stanza" | "lyrics" | "song"
            )
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(source: &str) -> Vec<(BlockKind, String)> {
        let document = parse(source).expect("parses");
        document
            .blocks
            .iter()
            .map(|block| (block.kind, document.text[block.span.clone()].to_owned()))
            .collect()
    }

    #[test]
    fn the_text_of_a_page_without_its_frame() {
        let found = blocks(
            "<html lang=de><head><title>A  page</title><script>x</script></head><body><nav>Home</nav>\
             <h1>Top<a class=headerlink>¶</a></h1><p>One <b>bold</b>\n word.<br></p><ul><li>a<ul><li>b</li></ul></li></ul>\
             <ol start=3><li>c</li></ol><pre>\n  x\n    y\n</pre><table><caption>Cap</caption><tr><th>h</th><th>i</th></tr>\
             <tr><td>1</td><td>2 <p>3</p></td></tr></table><dl><dt>T</dt><dd>D</dd></dl><hr>\
             <div class=verse>l1<br>l2</div><div style='display: none'>secret</div><footer>(c)</footer></body></html>",
        );
        let expected = [
            (BlockKind::Heading { level: 1 }, "Top"),
            (BlockKind::Paragraph, "One bold word."),
            (BlockKind::ListItem, "- a"),
            (BlockKind::ListItem, "- b"),
            (BlockKind::ListItem, "3. c"),
            (BlockKind::Code, "x\n    y"),
            (BlockKind::Paragraph, "Cap"),
            (BlockKind::Table, "h | i\n1 | 2 3"),
            (BlockKind::Paragraph, "T: D"),
            (BlockKind::Break, "* * *"),
            (BlockKind::Verse, "l1\nl2"),
        ];
        assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_owned())));
    }

    #[test]
    fn main_alone_counts_where_it_is_most_of_the_page() {
        let found =
            blocks("<div>Shop now</div><main><p>The article has most of the words of the page.</p></main>");
        assert_eq!(found.len(), 1);
        let kept = blocks("<p>The article stands outside of a main that is nearly empty.</p><main>x</main>");
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn xhtml_elements_closed_in_themselves_lose_nothing() {
        let document = parse(
            "<?xml version='1.0'?><html><head><title/></head><body><a id='x'/><p>kept</p><br/></body></html>",
        )
        .expect("parses");
        assert_eq!(document.text, "kept");
    }

    #[test]
    fn declared_encodings_are_believed() {
        let page = b"<html><head><meta charset=\"iso-8859-2\"></head><body>\xb3\xf3d\xbc</body></html>";
        assert!(parse(&decode(page)).expect("parses").text.contains("łódź"));
    }

    #[test]
    fn what_would_take_minutes_is_refused() {
        for source in [
            format!("<html>{}", "<div>".repeat(20_000)),
            format!("<p {}>text", "a=1 ".repeat(20_000)),
        ] {
            assert_eq!(
                parse(&source).expect_err("endless").code,
                FailureCode::ParserLimit
            );
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        let source = format!("{}deep{}", "<div>".repeat(2_000), "</div>".repeat(2_000));
        assert_eq!(parse(&source).expect("parses").text, "deep");
    }
}
