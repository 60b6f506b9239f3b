//! What stands around every page: rail, search field, breadcrumbs, notices; and small parts that recur inside pages.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use mnemosyne_domain::{DateFormat, FailureCode, JobId, LibraryType, LibraryUid, Stage, Theme};

use super::assets::asset;
use super::format::{SafeHtml, href, when_as};

/// The entries of the rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The dashboard.
    Home,
    /// Search.
    Search,
    /// Libraries and their items.
    Libraries,
    /// Jobs.
    Activity,
    /// Tokens and clients.
    Connect,
    /// Servers of models.
    Models,
    /// Users and service accounts.
    People,
    /// What was written down.
    Audit,
}

impl Section {
    /// The word templates know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Search => "search",
            Self::Libraries => "libraries",
            Self::Activity => "activity",
            Self::Connect => "connect",
            Self::Models => "models",
            Self::People => "people",
            Self::Audit => "audit",
        }
    }
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The user's name.
    pub username: String,
    /// May do everything.
    pub is_superuser: bool,
}

/// A link that leads back up, above the page's title.
#[derive(Clone, Debug)]
pub struct Crumb {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
}

impl Crumb {
    /// A crumb.
    pub fn new(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            href: href.into(),
        }
    }
}

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Done.
    Good,
    /// Worth knowing.
    Info,
    /// Needs attention.
    Warning,
    /// Did not work.
    Bad,
}

/// A sentence above the page's content, after a redirect for example.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How serious it is.
    pub kind: NoticeKind,
    /// One or two sentences.
    pub text: String,
    /// A link that leads on: label and address.
    pub link: Option<(String, String)>,
}

impl Notice {
    /// A notice without a link.
    pub fn new(kind: NoticeKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            link: None,
        }
    }

    /// The last part of its class.
    pub fn class(&self) -> &'static str {
        match self.kind {
            NoticeKind::Good => "good",
            NoticeKind::Info => "info",
            NoticeKind::Warning => "warn",
            NoticeKind::Bad => "bad",
        }
    }
}

/// What the rail shows beside *Activity*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivityBadge {
    /// Jobs that run or wait.
    pub open: u64,
    /// Jobs that failed and were not retried.
    pub failed: u64,
}

/// What every page gets beside its own content. [`Frame::new`] and a few assignments make one.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The page's title, which the window shows as well.
    pub title: String,
    /// The rail's entry that leads here.
    pub section: Option<Section>,
    /// `None` on pages for strangers: no rail, no search field.
    pub viewer: Option<Viewer>,
    /// The token that every form sends as `csrfmiddlewaretoken`, and the script as `X-CSRFToken`.
    pub csrf: String,
    /// What stands in the search field on top.
    pub query: String,
    /// The way back up, outermost first, without the page itself.
    pub crumbs: Vec<Crumb>,
    /// Sentences above the content.
    pub notices: Vec<Notice>,
    /// What the rail shows beside *Activity*.
    pub badge: ActivityBadge,
    /// The moment that relative times are relative to.
    pub now: DateTime<Utc>,
    /// The time zone that times are shown in.
    pub time_zone: Tz,
    /// How dates are written.
    pub date_format: DateFormat,
    /// Light, dark, or as the system has it.
    pub theme: Theme,
    /// The language that the page declares, as `lang` has it.
    pub language: String,
}

impl Frame {
    /// A frame with a title and nothing else.
    pub fn new(title: impl Into<String>, csrf: impl Into<String>, now: DateTime<Utc>) -> Self {
        Self {
            title: title.into(),
            section: None,
            viewer: None,
            csrf: csrf.into(),
            query: String::new(),
            crumbs: Vec::new(),
            notices: Vec::new(),
            badge: ActivityBadge::default(),
            now,
            time_zone: Tz::UTC,
            date_format: DateFormat::default(),
            theme: Theme::default(),
            language: "en".to_owned(),
        }
    }

    /// The hashed address of a static file.
    pub fn asset(&self, name: &str) -> String {
        asset(name)
    }

    /// The attribute that marks the rail's current entry.
    pub fn current(&self, section: &str) -> SafeHtml {
        let is_here = self.section.is_some_and(|here| here.as_str() == section);
        SafeHtml(if is_here { " aria-current=\"page\"" } else { "" }.to_owned())
    }

    /// A moment relative to now.
    pub fn time(&self, at: &DateTime<Utc>) -> SafeHtml {
        when_as(at, &self.now.with_timezone(&self.time_zone), self.date_format)
    }

    /// The attributes of the root that say which colours the visitor has chosen: what the script may overrule in one
    /// browser, and what holds without it.
    pub fn colours(&self) -> SafeHtml {
        let word = self.theme.as_str();
        SafeHtml(match (&self.viewer, self.theme) {
            (None, _) => String::new(),
            (Some(_), Theme::System) => format!(" data-profile-theme=\"{word}\""),
            (Some(_), _) => format!(" data-profile-theme=\"{word}\" data-theme=\"{word}\""),
        })
    }
}

/// A library's name, type and address, as they recur everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryRef {
    /// Its identifier.
    pub uid: LibraryUid,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: LibraryType,
}

impl LibraryRef {
    /// Its page.
    pub fn href(&self) -> String {
        format!("/libraries/{}/", self.uid)
    }
}

/// Steps through a long list; keeps whatever else the address says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pager {
    /// Rows of the whole list.
    pub total: u64,
    /// First row shown, from 1; 0 where there is none.
    pub from: u64,
    /// Last row shown.
    pub to: u64,
    /// The page, from 1.
    pub page: u64,
    /// How many pages there are, at least 1.
    pub pages: u64,
    /// Addresses of the first, previous, next and last page, where they lead somewhere else.
    pub first: Option<String>,
    /// See [`Pager::first`].
    pub previous: Option<String>,
    /// See [`Pager::first`].
    pub next: Option<String>,
    /// See [`Pager::first`].
    pub last: Option<String>,
}

impl Pager {
    /// The pager of a list at `path` with the other parameters of its address. `page` counts from 1 and is held inside
    /// the list; it is written as the parameter `page`.
    pub fn new(total: u64, page: u64, per_page: u64, path: &str, others: &[(&str, &str)]) -> Self {
        let per_page = per_page.max(1);
        let pages = total.div_ceil(per_page).max(1);
        let page = page.clamp(1, pages);
        let address = |number: u64| {
            let number = if number == 1 {
                String::new()
            } else {
                number.to_string()
            };
            let mut pairs = others.to_vec();
            pairs.push(("page", &number));
            href(path, &pairs)
        };
        let skipped = (page - 1) * per_page;
        Self {
            total,
            from: if total == 0 { 0 } else { skipped + 1 },
            to: (skipped + per_page).min(total),
            page,
            pages,
            first: (page > 2).then(|| address(1)),
            previous: (page > 1).then(|| address(page - 1)),
            next: (page < pages).then(|| address(page + 1)),
            last: (page + 1 < pages).then(|| address(pages)),
        }
    }

    /// How many rows to skip for this page.
    pub fn offset(&self) -> u64 {
        self.from.saturating_sub(1)
    }

    /// Whether there is anywhere to step to.
    pub fn is_needed(&self) -> bool {
        self.pages > 1
    }
}

/// One field of a form as it was typed, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// What was typed, or what stands there at first.
    pub value: String,
    /// Sentences that say what is wrong; empty where nothing is.
    pub errors: Vec<String>,
}

impl Field {
    /// A field with a value and nothing wrong.
    pub fn of(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            errors: Vec::new(),
        }
    }

    /// Whether something is wrong with it.
    pub fn is_wrong(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The attributes of its input: invalid, and described by its errors, which have the id `NAME-error`.
    pub fn attributes(&self, name: &str) -> SafeHtml {
        SafeHtml(if self.is_wrong() {
            format!(" aria-invalid=\"true\" aria-describedby=\"{name}-error\"")
        } else {
            String::new()
        })
    }
}

/// A question that somebody may like to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionLink {
    /// The question.
    pub text: String,
}

impl QuestionLink {
    /// Its answer.
    pub fn href(&self) -> String {
        href("/search/", &[("q", &self.text)])
    }
}

/// A choice among links: tabs above a list, filters beside one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
    /// How many rows it leads to, where that is known.
    pub count: Option<u64>,
    /// Whether it is the one that is chosen.
    pub is_chosen: bool,
    /// The type whose icon stands before it.
    pub kind: Option<LibraryType>,
}

/// A job that a worker holds.
#[derive(Clone, Debug)]
pub struct RunningJob {
    /// Its identifier.
    pub id: JobId,
    /// The file.
    pub filename: String,
    /// Where it goes.
    pub library: LibraryRef,
    /// What is being done.
    pub stage: Stage,
    /// 0 to 1.
    pub progress: f32,
    /// Passages a second, where some were made.
    pub passages_per_second: Option<f32>,
    /// Milliseconds until it should be done, where that can be told.
    pub eta_ms: Option<u64>,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was first begun.
    pub started_at: Option<DateTime<Utc>>,
}

impl RunningJob {
    /// The rate with one decimal below ten: `4.2`, `87`.
    pub fn rate(&self) -> Option<String> {
        self.passages_per_second
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .map(|rate| {
                if rate < 10.0 {
                    format!("{rate:.1}")
                } else {
                    format!("{rate:.0}")
                }
            })
    }
}

/// All failures of one cause, in one library or in all.
#[derive(Clone, Debug)]
pub struct FailureGroup {
    /// The library they belong to; `None` for those of all libraries.
    pub library: Option<LibraryUid>,
    /// The cause.
    pub code: FailureCode,
    /// How many jobs failed of it.
    pub count: u64,
    /// What the latest of them said.
    pub latest_message: String,
}

impl FailureGroup {
    /// The list of these jobs.
    pub fn href(&self) -> String {
        href(
            "/activity/",
            &[
                ("status", "failed"),
                ("code", self.code.as_str()),
                ("library", self.library_word()),
            ],
        )
    }

    /// The library's identifier, empty for all libraries.
    pub fn library_word(&self) -> &str {
        self.library.as_ref().map(LibraryUid::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pager_keeps_the_rest_of_the_address_and_stays_inside_the_list() {
        let pager = Pager::new(50_000, 3, 50, "/libraries/x/", &[("q", "a b"), ("sort", "")]);
        assert_eq!(
            (pager.from, pager.to, pager.pages, pager.offset()),
            (101, 150, 1000, 100)
        );
        assert_eq!(pager.first.as_deref(), Some("/libraries/x/?q=a%20b"));
        assert_eq!(pager.next.as_deref(), Some("/libraries/x/?q=a%20b&page=4"));
        let beyond = Pager::new(10, 99, 50, "/", &[]);
        assert_eq!(
            (beyond.page, beyond.from, beyond.to, beyond.is_needed()),
            (1, 1, 10, false)
        );
        let empty = Pager::new(0, 1, 50, "/", &[]);
        assert_eq!((empty.from, empty.to, empty.offset()), (0, 0, 0));
    }
}
