//! The structured document: what every reader produces and every chunker cuts.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What is known of a file before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHint {
    /// File name, for its extension and as a last resort for the title.
    pub filename: String,
    /// Media type the client claims; never believed against the bytes.
    pub content_type: Option<String>,
}

/// The kinds of file that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML and XHTML.
    Html,
    /// PDF with a text layer.
    Pdf,
    /// Word.
    Docx,
    /// EPUB 2 and 3.
    Epub,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Text,
        Self::Markdown,
        Self::Html,
        Self::Pdf,
        Self::Docx,
        Self::Epub,
    ];

    /// The name that people see.
    pub fn title(self) -> &'static str {
        match self {
            Self::Text => "plain text",
            Self::Markdown => "Markdown",
            Self::Html => "HTML",
            Self::Pdf => "PDF",
            Self::Docx => "DOCX",
            Self::Epub => "EPUB",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Pdf => "application/pdf",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Epub => "application/epub+zip",
        }
    }

    /// File name extensions, lower case, the usual one first.
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["txt", "text", "log"],
            Self::Markdown => &["md", "markdown", "mdown", "mkd"],
            Self::Html => &["html", "htm", "xhtml"],
            Self::Pdf => &["pdf"],
            Self::Docx => &["docx"],
            Self::Epub => &["epub"],
        }
    }
}

/// What a block of a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockKind {
    /// A heading; the outermost level is 1.
    Heading {
        /// 1 to 6.
        level: u8,
    },
    /// Running text.
    Paragraph,
    /// One entry of a list.
    ListItem,
    /// Source code or other preformatted text.
    Code,
    /// A whole table, one line a row.
    Table,
    /// Quoted text.
    Quote,
    /// Lines whose breaks matter (verse, addresses).
    Verse,
    /// A break without text of its own (`* * *`, a rule): its span is the mark.
    Break,
}

/// A piece of a document in reading order. Blocks do not overlap and ascend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its bytes in [`Document::text`], at character borders, without surrounding white space.
    pub span: Range<usize>,
    /// Page or section (from 1) on which it begins, where the format has them.
    pub page: Option<u32>,
    /// Where it goes on over the end of a page: the byte of [`Document::text`] at which each further page begins, ascending.
    pub page_turns: Vec<(usize, u32)>,
}

impl Block {
    /// The page or section at a byte inside the block.
    fn page_at(&self, offset: usize) -> Option<u32> {
        let turn = self.page_turns.iter().rev().find(|(start, _)| *start <= offset);
        turn.map(|(_, page)| *page).or(self.page)
    }
}

/// How completely a file could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coverage {
    /// Everything that holds text was read.
    Full,
    /// Something is missing: pages without a text layer, say; the sentence says what.
    Partial(String),
}

/// A document as read from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The kind of file it was.
    pub format: Format,
    /// The title the document gives itself.
    pub title: Option<String>,
    /// Its authors, as it names them.
    pub authors: Vec<String>,
    /// BCP 47 language, where it names one.
    pub language: Option<String>,
    /// Pages (PDF) or sections (EPUB) it has.
    pub page_count: Option<u32>,
    /// The whole text in reading order, normalised line ends, blocks apart by a blank line. Every offset counts in it.
    pub text: String,
    /// The blocks of the text.
    pub blocks: Vec<Block>,
    /// How completely the file could be read.
    pub coverage: Coverage,
}

impl Document {
    /// The page or section on which a byte of the text stands, where the format has them.
    pub fn page_at(&self, offset: usize) -> Option<u32> {
        let after = self.blocks.partition_point(|block| block.span.start <= offset);
        self.blocks[..after].last()?.page_at(offset)
    }
}

/// A passage to be stored: a run of whole blocks, or a part of one that is too large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkDraft {
    /// Its bytes in [`Document::text`]; its text is exactly that slice.
    pub span: Range<usize>,
    /// The headings that most of it stands under, outermost first.
    pub heading_path: Vec<String>,
    /// Page or section on which that part of it begins; what it repeats of the chunk before does not count.
    pub page: Option<u32>,
}
