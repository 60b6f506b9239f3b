//! Collections, items and chunks.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::id::{ChunkUid, CollectionUid, ItemUid, LibraryUid};

/// A shelf inside a library. Every item stands on one.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its identifier.
    pub uid: CollectionUid,
    /// The library that contains it.
    pub library_uid: LibraryUid,
    /// Unique inside the library.
    pub name: String,
    /// Free text.
    pub description: String,
    /// How many visible items stand on it.
    pub item_count: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// How far an item is. Only `Completed` items are ever found (contract §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EmbeddingStatus {
    /// Written but not yet visible to any search.
    Processing,
    /// Visible.
    Completed,
    /// Stored without any text that could be found; see [`Item::extraction`].
    Failed,
}

impl EmbeddingStatus {
    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The status of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Processing, Self::Completed, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// A document or other work.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its identifier.
    pub uid: ItemUid,
    /// The library that holds it.
    pub library_uid: LibraryUid,
    /// The collection it stands in.
    pub collection_uid: CollectionUid,
    /// Title: the client's, else the document's own, else the file name.
    pub title: String,
    /// The name the client knows the source by; one visible item of a library has it.
    pub source_ref: String,
    /// The client's hash of the content. Compared, never interpreted.
    pub content_hash: String,
    /// The order of requests with one `source_ref`: a later one supersedes an earlier one.
    pub revision: i64,
    /// File name as the client gave it.
    pub filename: String,
    /// Media type, as found in the file itself.
    pub content_type: String,
    /// Size of the original in bytes.
    pub byte_size: u64,
    /// Digest of the original in the blob store.
    pub original_digest: String,
    /// Digest of the extracted text (UTF-8) in the blob store. Chunk offsets count in it.
    pub text_digest: String,
    /// Authors, as the document names them.
    pub authors: Vec<String>,
    /// BCP 47 language, where the document names it.
    pub language: Option<String>,
    /// Pages or sections, where the format has them.
    pub page_count: Option<u32>,
    /// What the parser wants known: `ok`, or what is missing (`no_text_extracted`, `partial`), in words.
    pub extraction: String,
    /// Whatever the client attached.
    pub metadata: Map<String, Value>,
    /// How far it is.
    pub status: EmbeddingStatus,
    /// The name of the model that made its vectors.
    pub embedding_model: Option<String>,
    /// Number of its chunks.
    pub chunk_count: u64,
    /// When the request was taken.
    pub created_at: DateTime<Utc>,
    /// When it became visible, or was last changed.
    pub updated_at: DateTime<Utc>,
}

/// An item to be written; it becomes visible only by [`crate::ports::KnowledgeStore::publish_item`].
#[derive(Clone, Debug, PartialEq)]
pub struct NewItem {
    /// Its identifier, chosen with the job, so that a resumed run writes the same item.
    pub uid: ItemUid,
    /// The library that will hold it.
    pub library_uid: LibraryUid,
    /// The collection it will stand in.
    pub collection_uid: CollectionUid,
    /// See [`Item::title`].
    pub title: String,
    /// See [`Item::source_ref`].
    pub source_ref: String,
    /// See [`Item::content_hash`].
    pub content_hash: String,
    /// See [`Item::revision`].
    pub revision: i64,
    /// See [`Item::filename`].
    pub filename: String,
    /// See [`Item::content_type`].
    pub content_type: String,
    /// See [`Item::byte_size`].
    pub byte_size: u64,
    /// See [`Item::original_digest`].
    pub original_digest: String,
    /// See [`Item::text_digest`].
    pub text_digest: String,
    /// See [`Item::authors`].
    pub authors: Vec<String>,
    /// See [`Item::language`].
    pub language: Option<String>,
    /// See [`Item::page_count`].
    pub page_count: Option<u32>,
    /// See [`Item::extraction`].
    pub extraction: String,
    /// See [`Item::metadata`].
    pub metadata: Map<String, Value>,
    /// See [`Item::created_at`].
    pub created_at: DateTime<Utc>,
}

/// What the numbers in [`Item::page_count`] and [`Chunk::page`] count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// Pages, as of a PDF.
    Page,
    /// Sections, as the parts of an EPUB in their order; they have no pages.
    Section,
}

impl PlaceKind {
    /// What a file of this media type is counted in.
    pub fn of(content_type: &str) -> Self {
        match content_type {
            "application/epub+zip" => Self::Section,
            _ => Self::Page,
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Section => "section",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Page, Self::Section]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// How many, in words: `12 pages`, `1 section`.
    pub fn count(self, number: u32) -> String {
        let plural = if number == 1 { "" } else { "s" };
        format!("{number} {}{plural}", self.as_str())
    }

    /// A place over what begins there: `Page 3`, `Section 3`.
    pub fn heading(self, number: u32) -> String {
        match self {
            Self::Page => format!("Page {number}"),
            Self::Section => format!("Section {number}"),
        }
    }

    /// A place to cite by: `p. 3`, `section 3`.
    pub fn cite(self, number: u32) -> String {
        match self {
            Self::Page => format!("p. {number}"),
            Self::Section => format!("section {number}"),
        }
    }
}

/// A passage of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Derived from the item and the position.
    pub uid: ChunkUid,
    /// The item it is a passage of.
    pub item_uid: ItemUid,
    /// That item's title.
    pub item_title: String,
    /// The library that holds the item.
    pub library_uid: LibraryUid,
    /// 0 for the first chunk of the item.
    pub position: u32,
    /// The whole text: exactly `byte_start..byte_end` of the item's extracted text.
    pub text: String,
    /// The headings it stands under, outermost first.
    pub heading_path: Vec<String>,
    /// Page or section (from 1) on which it begins, where the format has them.
    pub page: Option<u32>,
    /// Which of the two; [`PlaceKind::of`] the item's media type.
    pub page_kind: PlaceKind,
    /// Start in the item's extracted text, in bytes.
    pub byte_start: u64,
    /// End in the item's extracted text, in bytes.
    pub byte_end: u64,
    /// The chunk before it.
    pub previous: Option<ChunkUid>,
    /// The chunk after it.
    pub next: Option<ChunkUid>,
}

/// A chunk to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewChunk {
    /// [`ChunkUid::derive`] of the item and the position.
    pub uid: ChunkUid,
    /// 0 for the first chunk of the item.
    pub position: u32,
    /// See [`Chunk::text`].
    pub text: String,
    /// See [`Chunk::heading_path`].
    pub heading_path: Vec<String>,
    /// See [`Chunk::page`].
    pub page: Option<u32>,
    /// See [`Chunk::byte_start`].
    pub byte_start: u64,
    /// See [`Chunk::byte_end`].
    pub byte_end: u64,
}

/// How many characters of a chunk a list of results shows (contract §6).
pub const PREVIEW_CHARS: usize = 500;

/// The first [`PREVIEW_CHARS`] characters of a chunk's text, cut at a word where one ends near.
pub fn text_preview(text: &str) -> &str {
    let Some((cut, _)) = text.char_indices().nth(PREVIEW_CHARS) else {
        return text;
    };
    let head = &text[..cut];
    match head.rfind(char::is_whitespace) {
        Some(space) if space > cut * 4 / 5 => head[..space].trim_end(),
        _ => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_without_pages_are_cited_by_section() {
        assert_eq!(PlaceKind::of("application/epub+zip").cite(3), "section 3");
        assert_eq!(PlaceKind::of("application/epub+zip").count(1), "1 section");
        assert_eq!(PlaceKind::of("application/pdf").cite(3), "p. 3");
        assert_eq!(
            PlaceKind::parse("page").map(|kind| kind.heading(3)),
            Some("Page 3".to_owned())
        );
    }

    #[test]
    fn a_preview_ends_at_a_word_and_inside_the_bound() {
        let text = "wörter ".repeat(200);
        let preview = text_preview(&text);
        assert!(preview.chars().count() <= PREVIEW_CHARS && preview.ends_with("wörter"));
        assert_eq!(text_preview("short"), "short");
        assert_eq!(text_preview(&"x".repeat(900)).len(), PREVIEW_CHARS);
    }
}
