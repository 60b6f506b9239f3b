//! Libraries: the list, one library with its items, new, edit, delete.

use askama::Template;
use askama::filters::HtmlSafe;
use chrono::{DateTime, Utc};
use mnemosyne_domain::{ItemUid, LibraryType, LibraryTypeProfile, PlaceKind};

use super::assets::icon;
use super::format::{
    ModelLabel, compact, count, duration, href, middle, percent, plural, size, size_text, stage_word,
    strategy_sentence, type_icon,
};
use super::frame::{Choice, FailureGroup, Field, Frame, LibraryRef, Pager, RunningJob};

/// A library in a list.
#[derive(Clone, Debug)]
pub struct LibraryRow {
    /// The library.
    pub library: LibraryRef,
    /// Free text, may be empty.
    pub description: String,
    /// The workspace it belongs to; `None` for a global one.
    pub workspace: Option<String>,
    /// Visible items.
    pub items: u64,
    /// Their chunks.
    pub passages: u64,
    /// Jobs of it that run or wait.
    pub open_jobs: u64,
    /// Jobs of it that failed.
    pub failed_jobs: u64,
    /// The model of its vectors, once it has one.
    pub model: Option<ModelLabel>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl LibraryRow {
    /// Whether its vectors compare spelling only.
    pub fn is_lexical(&self) -> bool {
        self.model.as_ref().is_some_and(ModelLabel::is_lexical)
    }

    /// Its failed jobs.
    pub fn failed_href(&self) -> String {
        href(
            "/activity/",
            &[("status", "failed"), ("library", self.library.uid.as_str())],
        )
    }

    /// Its jobs that run or wait.
    pub fn open_href(&self) -> String {
        href("/activity/", &[("library", self.library.uid.as_str())])
    }
}

/// `/libraries/?q=&type=&page=`.
#[derive(Template)]
#[template(path = "libraries.html")]
pub struct LibrariesPage {
    /// The frame.
    pub frame: Frame,
    /// The rows of this page.
    pub libraries: Vec<LibraryRow>,
    /// What the name must contain (`q`).
    pub filter: String,
    /// The types, *all* first; each leads to the list of that type with the same `q`.
    pub types: Vec<Choice>,
    /// Steps through the list.
    pub pager: Pager,
    /// Whether there is no library at all, so that the page says how to begin instead.
    pub is_empty: bool,
    /// Whether the demo library can be loaded (a form posts to `/demo/`).
    pub demo_available: bool,
}

/// `/libraries/new/`. Posts `name`, `library_type`, `description` to the same address.
#[derive(Template)]
#[template(path = "library_new.html")]
pub struct LibraryNewPage {
    /// The frame.
    pub frame: Frame,
    /// `name`: 1 to 200 characters, unique.
    pub name: Field,
    /// `library_type`: one of the nine words.
    pub library_type: Field,
    /// `description`: free text.
    pub description: Field,
}

impl LibraryNewPage {
    /// The types to choose from with what each does.
    pub fn types(&self) -> Vec<(LibraryType, &'static LibraryTypeProfile, bool)> {
        LibraryType::ALL
            .into_iter()
            .map(|kind| (kind, kind.profile(), kind.as_str() == self.library_type.value))
            .collect()
    }
}

/// An instruction that a library may override.
#[derive(Clone, Debug)]
pub struct Override {
    /// The form field's name, such as `embedding_instruction`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub label: &'static str,
    /// Who reads it, in one sentence.
    pub hint: &'static str,
    /// The library's own; empty keeps the type's.
    pub field: Field,
    /// The type's own.
    pub shipped: String,
}

/// A size that a library may override.
#[derive(Clone, Debug)]
pub struct SizeOverride {
    /// The form field's name, such as `target_chars`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub label: &'static str,
    /// The library's own, in characters; empty keeps the type's.
    pub field: Field,
    /// The type's own.
    pub shipped: u64,
}

/// `/libraries/{uid}/edit/`. Posts `name`, `description`, and the overrides `target_chars`, `max_chars`,
/// `overlap_chars`, `embedding_instruction`, `rerank_instruction`, `llm_context`, `vision_prompt` to the same address.
#[derive(Template)]
#[template(path = "library_edit.html")]
pub struct LibraryEditPage {
    /// The frame.
    pub frame: Frame,
    /// The library as it stands.
    pub library: LibraryRef,
    /// `name`.
    pub name: Field,
    /// `description`.
    pub description: Field,
    /// The sizes; [`LibraryEditPage::sizes`] makes them.
    pub sizes: Vec<SizeOverride>,
    /// The instructions; [`LibraryEditPage::instructions`] makes them.
    pub instructions: Vec<Override>,
    /// Items that keep their present chunks until they are ingested again.
    pub items: u64,
}

impl LibraryEditPage {
    /// The three sizes with what the library has of its own: `target_chars`, `max_chars`, `overlap_chars`.
    pub fn sizes(kind: LibraryType, own: [Field; 3]) -> Vec<SizeOverride> {
        let profile = kind.profile();
        let shipped = [
            ("target_chars", "Aims at", profile.target_chars),
            ("max_chars", "At most", profile.max_chars),
            ("overlap_chars", "Overlap", profile.overlap_chars),
        ];
        shipped
            .into_iter()
            .zip(own)
            .map(|((name, label, size), field)| SizeOverride {
                name,
                label,
                field,
                shipped: size as u64,
            })
            .collect()
    }

    /// The four instructions with what the library has of its own, in the order of `ProfileOverrides`.
    pub fn instructions(kind: LibraryType, own: [Field; 4]) -> Vec<Override> {
        let profile = kind.profile();
        let shipped = [
            (
                "embedding_instruction",
                "Embedding instruction",
                "Told to an embedding model that takes instructions, with each question.",
                &profile.embedding_instruction,
            ),
            (
                "rerank_instruction",
                "Rerank instruction",
                "Told to a reranker that takes instructions.",
                &profile.rerank_instruction,
            ),
            (
                "llm_context",
                "Context for readers",
                "Told to a language model that reads the results.",
                &profile.llm_context,
            ),
            (
                "vision_prompt",
                "Image prompt",
                "Asked of a vision model about each image.",
                &profile.vision_prompt,
            ),
        ];
        shipped
            .into_iter()
            .zip(own)
            .map(|((name, label, hint, text), field)| Override {
                name,
                label,
                hint,
                field,
                shipped: text.clone(),
            })
            .collect()
    }
}

/// An item in a list.
#[derive(Clone, Debug)]
pub struct ItemRow {
    /// Its identifier.
    pub uid: ItemUid,
    /// Its title.
    pub title: String,
    /// Its file name.
    pub filename: String,
    /// Its library, on pages that show items of several.
    pub library: Option<LibraryRef>,
    /// The kind of file, such as `PDF`.
    pub format: String,
    /// Size of the original.
    pub bytes: u64,
    /// Pages or sections, where the format has them.
    pub pages: Option<u32>,
    /// Which of the two.
    pub page_kind: PlaceKind,
    /// Its chunks.
    pub passages: u64,
    /// What could not be read of it, where something could not.
    pub missing: Option<String>,
    /// When it became visible.
    pub added_at: DateTime<Utc>,
}

impl ItemRow {
    /// How many pages or sections it has, in words.
    pub fn extent(&self) -> Option<String> {
        self.pages.map(|pages| self.page_kind.count(pages))
    }

    /// Its page.
    pub fn href(&self) -> String {
        format!("/items/{}/", self.uid)
    }
}

/// The columns that items can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemSort {
    /// When it became visible.
    #[default]
    Added,
    /// Title.
    Title,
    /// Number of chunks.
    Passages,
    /// Size of the original.
    Size,
}

impl ItemSort {
    /// The word in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Title => "title",
            Self::Passages => "passages",
            Self::Size => "size",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Added, Self::Title, Self::Passages, Self::Size]
            .into_iter()
            .find(|sort| sort.as_str() == word)
    }

    /// Newest, longest and largest come first unless asked otherwise; titles begin with A.
    fn begins_descending(self) -> bool {
        self != Self::Title
    }
}

/// What the address of a library's page asks of its list: `?q=&sort=&page=`, where `sort` is a column's word, with `-`
/// before it for descending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemListQuery {
    /// What the title or the file name must contain.
    pub filter: String,
    /// The column.
    pub sort: ItemSort,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for ItemListQuery {
    fn default() -> Self {
        Self::parse("", "")
    }
}

impl ItemListQuery {
    /// Reads `q` and `sort`; what is not understood means newest first.
    pub fn parse(filter: &str, sort: &str) -> Self {
        let (descending, word) = match sort.strip_prefix('-') {
            Some(word) => (true, word),
            None => (false, sort),
        };
        match ItemSort::parse(word) {
            Some(sort) => Self {
                filter: filter.trim().to_owned(),
                sort,
                descending,
            },
            None => Self {
                filter: filter.trim().to_owned(),
                sort: ItemSort::Added,
                descending: true,
            },
        }
    }

    /// The value of `sort`, empty for the usual order.
    pub fn sort_word(&self) -> String {
        if self.sort == ItemSort::Added && self.descending {
            return String::new();
        }
        format!("{}{}", if self.descending { "-" } else { "" }, self.sort.as_str())
    }

    /// The pager of the list at `path`.
    pub fn pager(&self, total: u64, page: u64, per_page: u64, path: &str) -> Pager {
        Pager::new(
            total,
            page,
            per_page,
            path,
            &[("q", &self.filter), ("sort", &self.sort_word())],
        )
    }
}

/// A sortable column's heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortHeading {
    /// What it says.
    pub label: &'static str,
    /// Where it leads: sorted by this column, or the other way round.
    pub href: String,
    /// The value of `aria-sort`.
    pub order: &'static str,
    /// Further classes of the cell.
    pub class: &'static str,
}

/// How to put files into a library.
#[derive(Clone, Debug)]
pub struct Upload {
    /// What the file chooser offers: `.pdf,.docx,…`.
    pub accept: String,
    /// The formats in words: `PDF, DOCX, EPUB, HTML, Markdown, plain text`.
    pub formats: String,
    /// The largest file.
    pub max_bytes: u64,
    /// Scheme, host and port as the browser sees them, without a slash at the end, for the call to copy.
    pub origin: String,
    /// The viewer's name, for the call to copy.
    pub username: String,
    /// What was wrong with the last upload, if anything.
    pub problem: Option<String>,
}

/// A chunk of the library as an example of what its type does.
#[derive(Clone, Debug)]
pub struct SamplePassage {
    /// The item's title.
    pub item_title: String,
    /// The passage in its item.
    pub href: String,
    /// The headings it stands under.
    pub heading_path: Vec<String>,
    /// The chunk's whole text.
    pub text: String,
}

/// The part of a library's page that keeps itself up to date: what is being ingested into it. Also served alone; the
/// module `activity` describes how.
#[derive(Template)]
#[template(path = "partials/library_live.html")]
pub struct LibraryLive {
    /// The library.
    pub library: LibraryRef,
    /// For the forms.
    pub csrf: String,
    /// Some of what runs.
    pub running: Vec<RunningJob>,
    /// How many jobs wait.
    pub waiting: u64,
    /// What failed, by cause.
    pub failures: Vec<FailureGroup>,
    /// Visible items now.
    pub items: u64,
    /// Their chunks.
    pub passages: u64,
}

impl HtmlSafe for LibraryLive {}

impl LibraryLive {
    /// Whether there is nothing to tell.
    pub fn is_quiet(&self) -> bool {
        self.running.is_empty() && self.waiting == 0 && self.failures.is_empty()
    }

    /// How many jobs failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|group| group.count).sum()
    }

    /// Its failed jobs.
    pub fn failed_href(&self) -> String {
        href(
            "/activity/",
            &[("status", "failed"), ("library", self.library.uid.as_str())],
        )
    }
}

/// `/libraries/{uid}/?q=&sort=&page=`. A form posts files as `file` (several) to `/libraries/{uid}/upload/`.
#[derive(Template)]
#[template(path = "library.html")]
pub struct LibraryPage {
    /// The frame.
    pub frame: Frame,
    /// The library.
    pub row: LibraryRow,
    /// What it does to a document: its type's profile with its own overrides.
    pub profile: LibraryTypeProfile,
    /// What is being ingested.
    pub live: LibraryLive,
    /// The items of this page.
    pub items: Vec<ItemRow>,
    /// What the list was asked for.
    pub query: ItemListQuery,
    /// Steps through the list; its total is that of the filtered list.
    pub pager: Pager,
    /// How to put more in; `None` where the viewer may not.
    pub upload: Option<Upload>,
    /// A chunk of it, once there is one.
    pub sample: Option<SamplePassage>,
}

impl LibraryPage {
    /// The sortable columns' headings.
    pub fn headings(&self) -> Vec<SortHeading> {
        let path = self.row.library.href();
        [
            (ItemSort::Title, "Title", ""),
            (ItemSort::Passages, "Passages", "number wide-only"),
            (ItemSort::Size, "Size", "number wide-only"),
            (ItemSort::Added, "Added", "number middle-only"),
        ]
        .into_iter()
        .map(|(sort, label, class)| {
            let is_current = self.query.sort == sort;
            let next = ItemListQuery {
                filter: self.query.filter.clone(),
                sort,
                descending: if is_current {
                    !self.query.descending
                } else {
                    sort.begins_descending()
                },
            };
            SortHeading {
                label,
                href: href(&path, &[("q", &next.filter), ("sort", &next.sort_word())]),
                order: match (is_current, self.query.descending) {
                    (false, _) => "none",
                    (true, true) => "descending",
                    (true, false) => "ascending",
                },
                class,
            }
        })
        .collect()
    }

    /// Whether nothing was ever put in.
    pub fn is_empty(&self) -> bool {
        self.row.items == 0
    }

    /// The library's name as a word of a POSIX shell.
    pub fn shell_name(&self) -> String {
        format!("'{}'", self.row.library.name.replace('\'', "'\\''"))
    }
}

/// Asks once before something goes for good: `/libraries/{uid}/delete/` and `/items/{uid}/delete/`. Posts nothing but
/// the token to the same address.
#[derive(Template)]
#[template(path = "delete.html")]
pub struct DeletePage {
    /// The frame; its title asks the question: `Delete “Papers”?`.
    pub frame: Frame,
    /// What goes, with how much of it: `the library “Papers”`, `1,204 items and their originals`, …
    pub what_goes: Vec<String>,
    /// What stays, or what else should be known, in sentences.
    pub remarks: Vec<String>,
    /// What the red button says: `Delete the library`.
    pub button: String,
    /// Where *keep it* leads.
    pub back: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_order_means_newest_first_and_the_usual_one_is_not_written() {
        for word in ["", "nonsense", "-nonsense", "-added"] {
            let query = ItemListQuery::parse(" a ", word);
            assert_eq!((query.sort, query.descending), (ItemSort::Added, true), "{word}");
            assert_eq!(query.sort_word(), "");
            assert_eq!(query.filter, "a");
        }
        assert_eq!(ItemListQuery::parse("", "title").sort_word(), "title");
        assert_eq!(ItemListQuery::parse("", "-size").sort_word(), "-size");
    }
}
