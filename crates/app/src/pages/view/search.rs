//! Results.

use askama::Template;
use mnemosyne_domain::{ChunkUid, ItemUid, Leg, ModelKind, PlaceKind};

use super::assets::icon;
use super::format::{ModelLabel, SafeHtml, bar, compact, count, href, middle, percent, plural, type_icon};
use super::frame::{Choice, Frame, LibraryRef, Pager, QuestionLink};

/// What one leg thought of a hit.
#[derive(Clone, Debug)]
pub struct LegBar {
    /// The leg.
    pub leg: Leg,
    /// The kind of the model that made the vectors of the hit's library.
    pub model: ModelKind,
    /// Its rank there and its score by the leg's own measure; `None` where the leg did not find it.
    pub found: Option<(u64, f32)>,
    /// The leg's part of the fused score, 0 to 1.
    pub share: f32,
}

impl LegBar {
    /// What the leg compares. Vectors of a lexical model know nothing of meaning.
    pub fn word(&self) -> &'static str {
        match (self.leg, self.model) {
            (Leg::Vector, ModelKind::Neural) => "Meaning",
            (Leg::Vector, ModelKind::Lexical) => "Spelling (lexical)",
            (Leg::Fulltext, _) => "Words",
            (Leg::Graph, _) => "Concepts",
            (Leg::Image, _) => "Images",
        }
    }

    /// The same in words.
    pub fn label(&self) -> String {
        match self.found {
            Some((rank, score)) => format!(
                "rank {rank}, score {score:.3}, {} % of the result",
                percent(&self.share)
            ),
            None => "not found by this leg".to_owned(),
        }
    }
}

/// A passage that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The passage.
    pub chunk_uid: ChunkUid,
    /// Its item.
    pub item_uid: ItemUid,
    /// The item's title.
    pub item_title: String,
    /// Its library.
    pub library: LibraryRef,
    /// The headings it stands under.
    pub heading_path: Vec<String>,
    /// The page or section it begins on.
    pub page: Option<u32>,
    /// Which of the two.
    pub page_kind: PlaceKind,
    /// From 1.
    pub rank: u64,
    /// The fused score.
    pub score: f32,
    /// The passage or its best part, matched words marked; [`super::Highlighter::excerpt`] makes it.
    pub excerpt: SafeHtml,
    /// Why it is here.
    pub legs: Vec<LegBar>,
}

impl Hit {
    /// The page or section it begins on, to cite by.
    pub fn place(&self) -> Option<String> {
        self.page.map(|page| self.page_kind.cite(page))
    }

    /// Title, headings, page and library in one line, to cite by.
    pub fn citation(&self) -> String {
        let mut parts = vec![format!("“{}”", self.item_title)];
        if !self.heading_path.is_empty() {
            parts.push(self.heading_path.join(" › "));
        }
        parts.extend(self.place());
        format!("{} ({})", parts.join(", "), self.library.name)
    }
}

/// What a search answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The passages, best first.
    pub hits: Vec<Hit>,
    /// How long it took.
    pub took_ms: u64,
    /// What was left out or failed, in sentences.
    pub degraded: Vec<String>,
    /// The model that compared vectors, where one did.
    pub model: Option<ModelLabel>,
}

/// `/search/?q=&library=&type=&page=`: the passages that answer `q`, within a library or a type.
#[derive(Template)]
#[template(path = "search.html")]
pub struct SearchPage {
    /// The frame; its `query` is what was asked.
    pub frame: Frame,
    /// The value of `library`, kept by the search field; empty for all.
    pub library: String,
    /// The value of `type`, kept by the search field; empty for all.
    pub kind: String,
    /// The libraries to narrow to, *all* first; each keeps `q` and `type`.
    pub libraries: Vec<Choice>,
    /// The types to narrow to, *all* first; each keeps `q`.
    pub types: Vec<Choice>,
    /// The answer; `None` where nothing was asked.
    pub answer: Option<Answer>,
    /// Why nothing could be searched, in one sentence (a query that is too long, say).
    pub problem: Option<String>,
    /// Steps through the hits; its total is how many there are.
    pub pager: Pager,
    /// How many passages were searched.
    pub passages: u64,
    /// Questions to try, where nothing was asked and the demo library is there.
    pub questions: Vec<QuestionLink>,
}

impl SearchPage {
    /// A hit's item, opened at the passage, the words of the query marked. The address keeps what the search was narrowed
    /// to and the page of the results, for the way back.
    pub fn hit_href(&self, hit: &Hit) -> String {
        let path = format!("/items/{}/", hit.item_uid);
        let results = match self.pager.page {
            1 => String::new(),
            page => page.to_string(),
        };
        let address = href(
            &path,
            &[
                ("chunk", hit.chunk_uid.as_str()),
                ("q", &self.frame.query),
                ("library", &self.library),
                ("type", &self.kind),
                ("results", &results),
            ],
        );
        format!("{address}#c-{}", hit.chunk_uid)
    }

    /// Whether the search was narrowed.
    pub fn is_narrowed(&self) -> bool {
        !self.library.is_empty() || !self.kind.is_empty()
    }

    /// The same question in all libraries.
    pub fn widened_href(&self) -> String {
        href("/search/", &[("q", &self.frame.query)])
    }
}
