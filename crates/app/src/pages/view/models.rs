//! Models: what is in use, servers of models and their models, forms for both.

use askama::Template;

use super::assets::icon;
use super::format::{ModelLabel, compact, count, middle, plural};
use super::frame::{Field, Frame, Pager};

/// What does the work of a role.
#[derive(Clone, Debug)]
pub struct RoleRow {
    /// The role, as a title.
    pub title: &'static str,
    /// What such a model does, in a few words.
    pub hint: &'static str,
    /// The model; `None` where nothing does it.
    pub model: Option<ModelLabel>,
    /// Where the model is.
    pub source: String,
}

/// A server in the list.
#[derive(Clone, Debug)]
pub struct ProviderRow {
    /// Its identifier.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// How it speaks.
    pub kind: &'static str,
    /// Its address.
    pub base_url: String,
    /// What may be told of its key.
    pub key: String,
    /// Whether its key cannot be opened.
    pub key_is_unreadable: bool,
    /// Whether its certificate is checked.
    pub verify_tls: bool,
    /// Whether its host may have a private address although no setting names it.
    pub allow_private: bool,
    /// Its models.
    pub models: Vec<ModelRow>,
}

/// A model in the list.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// Its identifier.
    pub uid: String,
    /// Its name on the wire.
    pub name: String,
    /// Its role.
    pub role: &'static str,
    /// The length of its vectors.
    pub dimension: Option<u64>,
    /// Whether it is the system's.
    pub is_default: bool,
}

/// How a test ended.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// What was tested.
    pub subject: String,
    /// Whether all is well.
    pub is_good: bool,
    /// One or two sentences.
    pub message: String,
    /// How long the answer took, in milliseconds.
    pub took_ms: Option<f64>,
    /// The names of the server's models.
    pub models: Vec<String>,
}

impl TestOutcome {
    /// The time with one decimal.
    pub fn took(&self) -> Option<String> {
        self.took_ms.map(|took| format!("{took:.1} ms"))
    }
}

/// `/models/?page=`, for administrators.
#[derive(Template)]
#[template(path = "models.html")]
pub struct ModelsPage {
    /// The frame.
    pub frame: Frame,
    /// What does the work of each role.
    pub roles: Vec<RoleRow>,
    /// The servers of this page.
    pub providers: Vec<ProviderRow>,
    /// Steps through the list of servers.
    pub pager: Pager,
    /// How a test ended that was asked for a moment ago.
    pub test: Option<TestOutcome>,
}

impl ModelsPage {
    /// How long the test took.
    pub fn test_took(&self) -> Option<String> {
        self.test.as_ref().and_then(TestOutcome::took)
    }
}

/// A field for a number.
#[derive(Clone, Debug)]
pub struct NumberField {
    /// The form field's name.
    pub name: &'static str,
    /// What it is.
    pub label: &'static str,
    /// Its unit, or what it means.
    pub hint: &'static str,
    /// What was typed.
    pub field: Field,
}

/// A choice in a list.
#[derive(Clone, Debug)]
pub struct WordChoice {
    /// The value.
    pub value: &'static str,
    /// What it says.
    pub label: &'static str,
}

/// The form of a server: `/models/providers/new/` and `/models/providers/{uid}/edit/`. Posts `name`, `kind`, `base_url`,
/// `api_key`, `remove_key`, `verify_tls`, `seen` and the numbers to the same address.
#[derive(Template)]
#[template(path = "provider_form.html")]
pub struct ProviderFormPage {
    /// The frame; its title is the page's heading.
    pub frame: Frame,
    /// Where it posts to.
    pub action: String,
    /// What the button says.
    pub button: &'static str,
    /// `seen`: the version that it was filled with; empty for what is new.
    pub seen: String,
    /// `name`.
    pub name: Field,
    /// `kind`.
    pub kind: Field,
    /// The kinds.
    pub kinds: Vec<WordChoice>,
    /// `base_url`.
    pub base_url: Field,
    /// `api_key`; its value is never filled in.
    pub api_key: Field,
    /// What is told of a stored key; `None` where there is none.
    pub stored_key: Option<String>,
    /// Whether `remove_key` is ticked.
    pub remove_key: bool,
    /// Whether `verify_tls` is ticked.
    pub verify_tls: bool,
    /// The limits.
    pub numbers: Vec<NumberField>,
    /// Whether one of the limits is wrong.
    pub numbers_are_wrong: bool,
}

/// The form of a model: `/models/new/` and `/models/{uid}/edit/`. Posts `provider`, `name`, `role`, `dimension`,
/// `takes_instructions`, `is_default`, `seen` to the same address.
#[derive(Template)]
#[template(path = "model_form.html")]
pub struct ModelFormPage {
    /// The frame; its title is the page's heading.
    pub frame: Frame,
    /// Where it posts to.
    pub action: String,
    /// What the button says.
    pub button: &'static str,
    /// The server's identifier.
    pub provider: String,
    /// The server's name.
    pub provider_name: String,
    /// `seen`: the version that it was filled with; empty for what is new.
    pub seen: String,
    /// `name`.
    pub name: Field,
    /// `role`.
    pub role: Field,
    /// The roles; empty where it stays as it is.
    pub roles: Vec<WordChoice>,
    /// `dimension`.
    pub dimension: Field,
    /// `takes_instructions`: `yes`, `no` or empty.
    pub takes_instructions: Field,
    /// Whether `is_default` is ticked.
    pub is_default: bool,
}
