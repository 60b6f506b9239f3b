//! One item.

use askama::Template;
use chrono::{DateTime, Utc};
use mnemosyne_domain::{ConceptKind, ItemUid, PlaceKind};

use super::assets::icon;
use super::format::{ModelLabel, compact, count, href, middle, plural, size, type_icon};
use super::frame::{Frame, LibraryRef, Pager};
use super::text::{OutlineEntry, PassageView};

/// What is known of an item.
#[derive(Clone, Debug)]
pub struct ItemFacts {
    /// File name as it was given.
    pub filename: String,
    /// The kind of file, such as `PDF`.
    pub format: String,
    /// Size of the original.
    pub bytes: u64,
    /// Pages or sections, where the format has them.
    pub pages: Option<u32>,
    /// Which of the two.
    pub page_kind: PlaceKind,
    /// Authors, as the document names them.
    pub authors: Vec<String>,
    /// The language's tag, where the document names one.
    pub language: Option<String>,
    /// The collection it stands in.
    pub collection: String,
    /// The name the client knows the source by.
    pub source_ref: String,
    /// What could not be read, where something could not.
    pub missing: Option<String>,
    /// The model of its vectors.
    pub model: Option<ModelLabel>,
    /// Chunks of the whole item.
    pub passages: u64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it became visible, or was last changed.
    pub updated_at: DateTime<Utc>,
    /// Whatever the client attached: names and values as text.
    pub metadata: Vec<(String, String)>,
}

impl ItemFacts {
    /// How many pages or sections it has, in words.
    pub fn extent(&self) -> Option<String> {
        self.pages.map(|pages| self.page_kind.count(pages))
    }

    /// The first six authors and how many more there are.
    pub fn authors_text(&self) -> String {
        let shown = self
            .authors
            .iter()
            .take(6)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        match self.authors.len().saturating_sub(6) {
            0 => shown,
            more => format!("{shown} and {} more", count(more)),
        }
    }
}

/// A concept of the item.
#[derive(Clone, Debug)]
pub struct ConceptChip {
    /// Its name.
    pub name: String,
    /// What sort of thing it is.
    pub kind: ConceptKind,
    /// In how many chunks it is mentioned.
    pub mentions: u64,
}

impl ConceptChip {
    /// A search for it.
    pub fn href(&self) -> String {
        href("/search/", &[("q", &self.name)])
    }
}

/// Steps from hit to hit of the search that led here.
#[derive(Clone, Debug)]
pub struct HitWalk {
    /// What was searched for.
    pub query: String,
    /// The hit that is shown, from 1; `None` where the passage is not among the hits.
    pub number: Option<u64>,
    /// How many hits this item has.
    pub total: u64,
    /// The hit before: `/items/UID/?chunk=UID&q=…#c-UID`.
    pub previous: Option<String>,
    /// The hit after.
    pub next: Option<String>,
    /// Back to all results.
    pub back: String,
}

/// `/items/{uid}/?chunk=&q=&page=`: `chunk` is marked (its page of passages is shown), words of `q` are marked.
#[derive(Template)]
#[template(path = "item.html")]
pub struct ItemPage {
    /// The frame; its title is the item's.
    pub frame: Frame,
    /// Its identifier.
    pub uid: ItemUid,
    /// Its library.
    pub library: LibraryRef,
    /// What is known of it.
    pub facts: ItemFacts,
    /// Its text, or one page of it; [`super::passages`] makes them.
    pub passages: Vec<PassageView>,
    /// Its headings on this page; [`super::outline`] makes them.
    pub outline: Vec<OutlineEntry>,
    /// Steps through the text of a long item.
    pub pager: Pager,
    /// Its concepts, most mentioned first.
    pub concepts: Vec<ConceptChip>,
    /// Whether the cheap local extractor found the concepts, which is said beside them.
    pub concepts_are_local: bool,
    /// Steps from hit to hit, where a search led here.
    pub walk: Option<HitWalk>,
    /// Whether the original can be downloaded.
    pub has_original: bool,
    /// Whether the viewer may delete it.
    pub may_delete: bool,
}
