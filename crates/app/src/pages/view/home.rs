//! The dashboard.

use askama::Template;

use super::assets::icon;
use super::format::{ModelLabel, compact, count, duration, middle, percent, plural, stage_word, type_icon};
use super::frame::{FailureGroup, Frame, QuestionLink, RunningJob};
use super::libraries::{ItemRow, LibraryRow};

/// What all visible libraries hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Libraries.
    pub libraries: u64,
    /// Visible items.
    pub items: u64,
    /// Their chunks.
    pub passages: u64,
}

/// How far a new installation is; shown until something can be searched.
#[derive(Clone, Debug)]
pub struct FirstSteps {
    /// The library to upload into, once there is one: its address.
    pub upload_href: Option<String>,
    /// Whether the demo library can be loaded (a form posts to `/demo/`).
    pub demo_available: bool,
    /// Whether files are being ingested right now.
    pub is_ingesting: bool,
}

/// `/`. Posts to `/demo/` while the installation is empty.
#[derive(Template)]
#[template(path = "home.html")]
pub struct HomePage {
    /// The frame, with a viewer.
    pub frame: Frame,
    /// What there is.
    pub totals: Totals,
    /// The first libraries; *all libraries* leads to the rest.
    pub libraries: Vec<LibraryRow>,
    /// The items that became visible last.
    pub recent: Vec<ItemRow>,
    /// Some of what runs.
    pub running: Vec<RunningJob>,
    /// How many jobs wait.
    pub waiting: u64,
    /// What failed, by cause, most first.
    pub failures: Vec<FailureGroup>,
    /// The model that new libraries take.
    pub model: ModelLabel,
    /// `Some` until there is a visible item.
    pub first_steps: Option<FirstSteps>,
    /// Questions to try, while the demo library is there.
    pub questions: Vec<QuestionLink>,
}
