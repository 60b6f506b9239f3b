//! What the pages show. Every page is a struct with an askama template of the same name under `templates/`; a handler
//! fills the struct and renders it. No page asks anything of a store, and no handler writes HTML.
//!
//! | file | pages |
//! |---|---|
//! | `frame` | what stands around every page, and small parts that recur |
//! | `account` | sign in, errors |
//! | `home` | the dashboard |
//! | `libraries` | list, new, edit, one library, confirmations of deletion |
//! | `items` | one item |
//! | `search` | results |
//! | `activity` | jobs, and the fragments that keep them live |
//! | `connect` | MCP address, tokens, snippets |
//! | `models` | servers of models and their models, forms for both |
//! | `people` | users, profile, passwords, audit |
//!
//! Rules of the templates: no inline style or script (the content security policy forbids both), every form that posts
//! carries `csrfmiddlewaretoken`, everything works without the script.

mod account;
mod activity;
mod assets;
mod connect;
mod format;
mod frame;
mod home;
mod items;
mod libraries;
mod models;
mod people;
mod search;
mod text;

pub use account::{ErrorPage, SignInPage};
pub use activity::{ActivityLive, ActivityPage, Chart, JobLive, JobPage, JobRow, StageStep, WaitingJob};
pub use assets::{ASSETS, Asset, Icon, asset, icon};
pub use connect::{
    ConnectPage, ConnectionTest, NewToken, Snippet, TokenForm, TokenRow, ToolChoice, snippets,
};
pub use format::{
    ModelLabel, Number, SafeHtml, bar, compact, count, duration, encode, escape, href, job_state, middle,
    percent, plural, relative, size, size_text, stage_word, strategy_sentence, type_icon, when, when_as,
};
pub use frame::{
    ActivityBadge, Choice, Crumb, FailureGroup, Field, Frame, LibraryRef, Notice, NoticeKind, Pager,
    QuestionLink, RunningJob, Section, Viewer,
};
pub use home::{FirstSteps, HomePage, Totals};
pub use items::{ConceptChip, HitWalk, ItemFacts, ItemPage};
pub use libraries::{
    DeletePage, ItemListQuery, ItemRow, ItemSort, LibrariesPage, LibraryEditPage, LibraryLive,
    LibraryNewPage, LibraryPage, LibraryRow, Override, SamplePassage, SizeOverride, Upload,
};
pub use models::{
    ModelFormPage, ModelRow, ModelsPage, NumberField, ProviderFormPage, ProviderRow, RoleRow, TestOutcome,
    WordChoice,
};
pub use people::{
    AuditPage, Choosable, PasswordChangePage, PeoplePage, PersonForm, PersonNewPage, PersonPage, PersonRow,
    ProfilePage, ResetChoosePage, ResetRequestPage, event_title,
};
pub use search::{Answer, Hit, LegBar, SearchPage};
pub use text::{Highlighter, OutlineEntry, PassageView, outline, passages};
