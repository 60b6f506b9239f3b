//! The fixtures below `tests/fixtures` and what is known of them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A document that another program made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// File name below `documents`.
    pub file: String,
    /// Extension.
    pub format: String,
    /// What made it.
    pub program: String,
    /// What it was made from.
    pub source: String,
    /// The library type it belongs in.
    pub library_type: String,
    /// Its language, where the file says so.
    pub language: Option<String>,
    /// The title it gives itself.
    pub title: Option<String>,
    /// Words, as another program counts them.
    pub words: usize,
    /// Pages, of a PDF.
    pub pages: Option<u64>,
    /// Headings, each in the heading path of some chunk.
    pub headings: Vec<String>,
    /// Passages in reading order.
    pub passages: Vec<String>,
    /// A question.
    pub query: String,
    /// What stands in the passage that answers it.
    pub phrase: String,
    /// The page on which that stands, of a PDF.
    pub page: Option<u64>,
    /// The section in which it stands, of an EPUB.
    pub section: Option<u64>,
}

/// A file that cannot be ingested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenFile {
    /// File name below `broken`.
    pub file: String,
    /// Failure codes that are true of it, the best first.
    pub codes: Vec<String>,
    /// What is wrong with it.
    pub what: String,
}

/// A file that looks broken and can be read all the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadableFile {
    /// File name below `broken`.
    pub file: String,
    /// What must be found in its text.
    pub passage: String,
    /// What is odd about it.
    pub what: String,
    /// Codes with which refusing it is honest, too.
    #[serde(default)]
    pub or_codes: Vec<String>,
}

/// A question to the demo library.
#[derive(Debug, Deserialize)]
pub struct Question {
    /// The question.
    pub text: String,
    /// Words of the passage that answers it.
    pub answer: String,
    /// The document it stands in.
    pub title: String,
}

#[derive(Deserialize)]
struct Manifest {
    document: Vec<Document>,
}

#[derive(Deserialize)]
struct BrokenManifest {
    file: Vec<BrokenFile>,
    readable: Vec<ReadableFile>,
}

#[derive(Deserialize)]
struct DemoManifest {
    library: Vec<DemoLibrary>,
    question: Vec<Question>,
}

#[derive(Deserialize)]
struct DemoLibrary {
    name: String,
    document: Vec<toml::Table>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn parse<T: DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of `documents/MANIFEST.toml`.
pub fn documents() -> Vec<Document> {
    parse::<Manifest>(&folder().join("documents/MANIFEST.toml")).document
}

/// Every file of `broken/BROKEN.toml` that must fail.
pub fn broken_files() -> Vec<BrokenFile> {
    parse::<BrokenManifest>(&folder().join("broken/BROKEN.toml")).file
}

/// Every file of `broken/BROKEN.toml` that must not fail.
pub fn readable_files() -> Vec<ReadableFile> {
    parse::<BrokenManifest>(&folder().join("broken/BROKEN.toml")).readable
}

/// Names of the demo libraries with how many documents each holds, and the questions.
pub fn demo() -> (Vec<(String, usize)>, Vec<Question>) {
    let manifest: DemoManifest = parse(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/manifest.toml"));
    let libraries = manifest
        .library
        .into_iter()
        .map(|library| (library.name, library.document.len()))
        .collect();
    (libraries, manifest.question)
}

impl Document {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        folder().join("documents").join(&self.file)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }
}

/// The path of a file below `broken`.
pub fn broken_path(file: &str) -> PathBuf {
    folder().join("broken").join(file)
}

/// The bytes of a file below `broken`.
pub fn broken_bytes(file: &str) -> Vec<u8> {
    std::fs::read(broken_path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A text of about `words` words that no other number gives, with one word that stands in no other.
pub fn generated_text(number: usize, words: usize) -> (String, String) {
    const NOUNS: [&str; 16] = [
        "harbour", "ledger", "orchard", "signal", "turbine", "archive", "meadow", "engine", "letter",
        "bridge", "lantern", "survey", "kettle", "granite", "festival", "current",
    ];
    const VERBS: [&str; 8] = [
        "holds", "follows", "measures", "recalls", "outlasts", "repairs", "borrows", "answers",
    ];
    let marker = format!("marker{}q", letters(number));
    let mut text =
        format!("# Document {number}\n\nThe word {marker} stands in this document and nowhere else.\n");
    let mut state = number as u64 * 2_654_435_761 + 1;
    let mut next = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for section in 0..words.div_ceil(180) {
        text.push_str(&format!("\n## Section {section} of {number}\n\n"));
        for _ in 0..30 {
            let (subject, verb, object) = (NOUNS[next(16)], VERBS[next(8)], NOUNS[next(16)]);
            text.push_str(&format!("The {subject} {verb} the {object}. "));
        }
        text.push('\n');
    }
    (text, marker)
}

fn letters(mut number: usize) -> String {
    let mut text = String::new();
    for _ in 0..4 {
        text.push((b'a' + (number % 26) as u8) as char);
        number /= 26;
    }
    text
}

/// A Word file of a few megabytes whose text takes `megabytes` when it is unpacked.
pub fn zip_bomb_docx(megabytes: usize) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(1))
        .large_file(true);
    let mut write = |name: &str, head: &str, filler: &str, times: usize, tail: &str| {
        archive.start_file(name, options).unwrap();
        archive.write_all(head.as_bytes()).unwrap();
        for _ in 0..times {
            archive.write_all(filler.as_bytes()).unwrap();
        }
        archive.write_all(tail.as_bytes()).unwrap();
    };
    write(
        "[Content_Types].xml",
        r#"<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"#,
        "",
        0,
        "",
    );
    write(
        "_rels/.rels",
        r#"<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#,
        "",
        0,
        "",
    );
    let paragraph = "<w:p><w:r><w:t>the same words over and over</w:t></w:r></w:p>".repeat(1024);
    write(
        "word/document.xml",
        r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>"#,
        &paragraph,
        (megabytes << 20) / paragraph.len(),
        "</w:body></w:document>",
    );
    archive.finish().unwrap().into_inner()
}

/// A page with one element of half a million attributes.
pub fn attribute_bomb_html() -> Vec<u8> {
    let mut page = String::from("<!DOCTYPE html><html><body><p ");
    for number in 0..500_000 {
        page.push_str(&format!("a{number}=\"{number}\" "));
    }
    page.push_str(">One sentence stands behind all of this.</p></body></html>");
    page.into_bytes()
}

/// A page of elements inside elements, 300,000 deep.
pub fn nested_html() -> Vec<u8> {
    let depth = 300_000;
    format!(
        "<!DOCTYPE html><html><body>{}deep{}</body></html>",
        "<div>".repeat(depth),
        "</div>".repeat(depth)
    )
    .into_bytes()
}

/// Text with every run of white space as one space, typographic quotes as plain ones and ligatures as their letters, so
/// that line ends, columns and typography do not decide whether two texts are the same.
pub fn normalised(text: &str) -> String {
    let apart = text.replace('ﬁ', "fi").replace('ﬂ', "fl").replace('ﬀ', "ff");
    let plain: String = apart
        .chars()
        .filter(|letter| *letter != '\u{ad}')
        .map(|letter| match letter {
            '‘' | '’' => '\'',
            '“' | '”' => '"',
            other => other,
        })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}
