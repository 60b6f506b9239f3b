//! EPUB 2 and 3: the sections of the spine in their order, named by the book's own table of contents where they name
//! themselves not.

use std::collections::HashMap;

use mnemosyne_domain::{Failure, FailureCode};
use roxmltree::{Document as Xml, Node, ParsingOptions};
use scraper::Html;

use super::builder::{DocumentBuilder, single_line};
use super::html;
use crate::archive::Archive;
use crate::document::{BlockKind, Coverage, Document, Format};

const WHAT: &str = "EPUB";
const FONT_OBFUSCATION: [&str; 2] = [
    "http://www.idpf.org/2008/embedding",
    "http://ns.adobe.com/pdf/enc#RC",
];

/// Reads a book.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, Failure> {
    let mut archive = Archive::open(bytes, WHAT)?;
    let container = read_text(&mut archive, "META-INF/container.xml")?
        .ok_or_else(|| damaged("it has no container.xml"))?;
    let package_path =
        package_path(&container).ok_or_else(|| damaged("it does not name its package document"))?;
    let package =
        read_text(&mut archive, &package_path)?.ok_or_else(|| damaged("its package document is missing"))?;
    let package = Package::read(&package, &package_path)?;
    refuse_rights_management(&mut archive, &package)?;

    let mut builder = DocumentBuilder::new();
    builder.title = package.title.clone();
    builder.authors.clone_from(&package.authors);
    builder.language.clone_from(&package.language);
    let mut styles = html::Styles::default();
    for path in &package.style_sheets {
        if let Ok(Some(sheet)) = read_text(&mut archive, path) {
            styles.add(&sheet);
        }
    }
    let titles = read_titles(&mut archive, &package);
    let mut missing = Vec::new();
    let mut section = 0_u32;
    for path in &package.spine {
        section += 1;
        if Some(path) == package.navigation.as_ref() {
            continue;
        }
        let Ok(Some(content)) = archive.read(path, WHAT) else {
            missing.push(section);
            continue;
        };
        builder.page = Some(section);
        let source = html::decode(&content);
        html::refuse_endless(&source)?;
        let page = Html::parse_document(&html::expand_self_closed(&source));
        let title = titles
            .get(path)
            .filter(|title| !has_heading(&page) && !is_generated_title(title));
        let first = builder.blocks().len();
        if let Some(title) = title
            && !begins_with(&page, title)
        {
            builder.push(BlockKind::Heading { level: 1 }, title);
        }
        let before = (builder.title.clone(), builder.authors.len());
        html::append_page(&mut builder, &page, &styles);
        if let Some(title) = title {
            builder.promote_to_heading(first, title);
        }
        builder.title = before.0;
        builder.authors.truncate(before.1);
    }
    builder.page_count = Some(section);
    if !missing.is_empty() {
        builder.coverage = Coverage::Partial(format!(
            "{} of {section} sections are missing or cannot be unpacked ({})",
            missing.len(),
            super::number_list(&missing)
        ));
    }
    builder.finish(Format::Epub)
}

fn has_heading(page: &Html) -> bool {
    page.tree.nodes().any(|node| {
        node.value()
            .as_element()
            .is_some_and(|element| html::is_heading_name(element.name()))
    })
}

/// Names that programs give to sections nobody named.
fn is_generated_title(title: &str) -> bool {
    let mut words = title.split_whitespace();
    let first = words.next().unwrap_or_default().to_lowercase();
    matches!(first.as_str(), "section" | "abschnitt")
        && words.all(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the first words of a section are its title already.
fn begins_with(page: &Html, title: &str) -> bool {
    let is_body = |node: &ego_tree::NodeRef<'_, scraper::Node>| {
        node.value()
            .as_element()
            .is_some_and(|element| element.name() == "body")
    };
    let Some(body) = page.tree.nodes().find(is_body) else {
        return false;
    };
    let mut text = String::new();
    for node in body.descendants() {
        if let scraper::Node::Text(piece) = node.value() {
            text.push_str(piece);
            if text.trim().len() > title.len() {
                break;
            }
        }
    }
    single_line(&text).starts_with(title)
}

fn damaged(reason: &str) -> Failure {
    Failure::new(FailureCode::Damaged, format!("The EPUB is damaged: {reason}."))
}

fn read_text(archive: &mut Archive<'_>, name: &str) -> Result<Option<String>, Failure> {
    Ok(archive
        .read(name, WHAT)?
        .map(|bytes| super::decode_text(&bytes).into_owned()))
}

fn parse_xml(source: &str) -> Option<Xml<'_>> {
    // Document types of old books are harmless: nothing is fetched, and expansion is bounded.
    Xml::parse_with_options(
        source,
        ParsingOptions {
            allow_dtd: true,
            nodes_limit: 2_000_000,
        },
    )
    .ok()
}

fn package_path(container: &str) -> Option<String> {
    let xml = parse_xml(container.trim_start_matches('\u{feff}'))?;
    xml.descendants()
        .find(|node| node.tag_name().name() == "rootfile")
        .and_then(|node| node.attribute("full-path"))
        .map(str::to_owned)
}

/// What the package document says.
struct Package {
    title: Option<String>,
    authors: Vec<String>,
    language: Option<String>,
    /// Paths in the archive, in reading order.
    spine: Vec<String>,
    /// Path of the EPUB 3 navigation document.
    navigation: Option<String>,
    /// Path of the EPUB 2 table of contents.
    contents: Option<String>,
    /// Paths of the style sheets.
    style_sheets: Vec<String>,
}

impl Package {
    fn read(source: &str, path: &str) -> Result<Self, Failure> {
        let xml = parse_xml(source.trim_start_matches('\u{feff}'))
            .ok_or_else(|| damaged("its package document is not well-formed"))?;
        let named = |name: &'static str| {
            xml.descendants()
                .filter(move |node| node.tag_name().name() == name)
        };
        let metadata = |name: &'static str| {
            named(name)
                .filter(|node| {
                    node.tag_name()
                        .namespace()
                        .is_some_and(|space| space.contains("purl.org/dc"))
                })
                .map(text_of)
                .filter(|text| !text.is_empty())
        };
        let mut paths = HashMap::new();
        let mut navigation = None;
        let mut contents = None;
        let mut style_sheets = Vec::new();
        for item in named("item") {
            let (Some(id), Some(href)) = (item.attribute("id"), item.attribute("href")) else {
                continue;
            };
            let target = resolve(path, href);
            if item
                .attribute("properties")
                .is_some_and(|properties| properties.split_whitespace().any(|one| one == "nav"))
            {
                navigation = Some(target.clone());
            }
            if item.attribute("media-type") == Some("application/x-dtbncx+xml") {
                contents = Some(target.clone());
            }
            if item.attribute("media-type") == Some("text/css") {
                style_sheets.push(target.clone());
            }
            paths.insert(id, target);
        }
        let spine: Vec<String> = named("itemref")
            .filter_map(|item| paths.get(item.attribute("idref")?).cloned())
            .collect();
        if spine.is_empty() {
            return Err(damaged("its reading order is empty"));
        }
        Ok(Self {
            title: metadata("title").next(),
            authors: metadata("creator").collect(),
            language: metadata("language").next(),
            spine,
            navigation,
            contents,
            style_sheets,
        })
    }
}

fn text_of(node: Node<'_, '_>) -> String {
    let text: String = node
        .descendants()
        .filter(Node::is_text)
        .filter_map(|node| node.text())
        .collect();
    single_line(&text)
}

/// Rights management covers the sections themselves; scrambled fonts do not concern a reader of text.
fn refuse_rights_management(archive: &mut Archive<'_>, package: &Package) -> Result<(), Failure> {
    let Some(source) = read_text(archive, "META-INF/encryption.xml")? else {
        return Ok(());
    };
    let Some(xml) = parse_xml(&source) else {
        return Ok(());
    };
    for data in xml
        .descendants()
        .filter(|node| node.tag_name().name() == "EncryptedData")
    {
        let algorithm = data
            .descendants()
            .find(|node| node.tag_name().name() == "EncryptionMethod")
            .and_then(|node| node.attribute("Algorithm"))
            .unwrap_or_default();
        let target = data
            .descendants()
            .find(|node| node.tag_name().name() == "CipherReference")
            .and_then(|node| node.attribute("URI"))
            .map(|target| resolve("", target));
        if !FONT_OBFUSCATION.contains(&algorithm)
            && target.is_some_and(|target| package.spine.contains(&target))
        {
            return Err(Failure::new(
                FailureCode::Encrypted,
                "The EPUB is protected by rights management, so that its text cannot be read.",
            ));
        }
    }
    Ok(())
}

/// The name of each section that the table of contents points at, by its path.
fn read_titles(archive: &mut Archive<'_>, package: &Package) -> HashMap<String, String> {
    let mut titles = HashMap::new();
    if let Some(path) = &package.navigation
        && let Ok(Some(source)) = read_text(archive, path)
        && let Some(xml) = parse_xml(&source)
    {
        for link in xml.descendants().filter(|node| node.tag_name().name() == "a") {
            if let Some(target) = link.attribute("href") {
                titles
                    .entry(resolve(path, target))
                    .or_insert_with(|| text_of(link));
            }
        }
    }
    if titles.is_empty()
        && let Some(path) = &package.contents
        && let Ok(Some(source)) = read_text(archive, path)
        && let Some(xml) = parse_xml(&source)
    {
        for point in xml
            .descendants()
            .filter(|node| node.tag_name().name() == "navPoint")
        {
            let label = point
                .children()
                .find(|node| node.tag_name().name() == "navLabel")
                .map(text_of);
            let target = point
                .children()
                .find(|node| node.tag_name().name() == "content")
                .and_then(|node| node.attribute("src"));
            if let (Some(label), Some(target)) = (label, target) {
                titles.entry(resolve(path, target)).or_insert(label);
            }
        }
    }
    titles
}

/// The archive path that a reference inside the part at `base` means: percent escapes, `..` and fragments resolved.
fn resolve(base: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let full = format!("{folder}/{}", percent_decode(reference));
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let decoded = (bytes[index] == b'%')
            .then(|| bytes.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_become_archive_paths() {
        assert_eq!(
            resolve("OEBPS/content.opf", "../Text/ch%201.xhtml#top"),
            "Text/ch 1.xhtml"
        );
        assert_eq!(resolve("content.opf", "./a//b.xhtml"), "a/b.xhtml");
    }
}
