//! What is written down about who did what, and what is kept of an account beside Django's columns.

use chrono::{DateTime, Utc};

/// What happened. The word is stable: clients filter by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditEvent {
    /// Somebody signed in.
    SignedIn,
    /// A name and a password were refused, or the old password of somebody who wanted a new one.
    SignInFailed,
    /// A session was ended by its owner.
    SignedOut,
    /// All sessions of a user were ended.
    SessionsEnded,
    /// A password was replaced.
    PasswordChanged,
    /// A link to choose a new password was asked for.
    ResetRequested,
    /// A user was made.
    UserCreated,
    /// A user was changed.
    UserChanged,
    /// An MCP token was made.
    TokenCreated,
    /// An MCP token was revoked.
    TokenRevoked,
    /// A signing key was made.
    KeyCreated,
    /// Signing keys were retired.
    KeysRetired,
    /// Stored secrets were sealed with the keys of today.
    SecretsRotated,
    /// A bearer of MCP was refused.
    BearerRefused,
    /// A server of models, its key or one of its models was registered, changed or removed.
    ModelsChanged,
    /// A library was deleted.
    LibraryDeleted,
    /// A collection was deleted with its items.
    CollectionDeleted,
    /// An item was deleted.
    ItemDeleted,
    /// The original of an item was handed out.
    OriginalDownloaded,
    /// The whole text of an item was handed out.
    TextDownloaded,
}

impl AuditEvent {
    /// Every event.
    pub const ALL: [Self; 20] = [
        Self::SignedIn,
        Self::SignInFailed,
        Self::SignedOut,
        Self::SessionsEnded,
        Self::PasswordChanged,
        Self::ResetRequested,
        Self::UserCreated,
        Self::UserChanged,
        Self::TokenCreated,
        Self::TokenRevoked,
        Self::KeyCreated,
        Self::KeysRetired,
        Self::SecretsRotated,
        Self::BearerRefused,
        Self::ModelsChanged,
        Self::LibraryDeleted,
        Self::CollectionDeleted,
        Self::ItemDeleted,
        Self::OriginalDownloaded,
        Self::TextDownloaded,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SignedOut => "signed_out",
            Self::SessionsEnded => "sessions_ended",
            Self::PasswordChanged => "password_changed",
            Self::ResetRequested => "reset_requested",
            Self::UserCreated => "user_created",
            Self::UserChanged => "user_changed",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
            Self::KeyCreated => "key_created",
            Self::KeysRetired => "keys_retired",
            Self::SecretsRotated => "secrets_rotated",
            Self::BearerRefused => "bearer_refused",
            Self::ModelsChanged => "models_changed",
            Self::LibraryDeleted => "library_deleted",
            Self::CollectionDeleted => "collection_deleted",
            Self::ItemDeleted => "item_deleted",
            Self::OriginalDownloaded => "original_downloaded",
            Self::TextDownloaded => "text_downloaded",
        }
    }

    /// The event of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

/// Something to be written down. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEntry {
    /// What happened.
    pub event: AuditEvent,
    /// Who did it, by name; empty where nobody known did.
    pub actor: String,
    /// The address of the real client; empty where there is none, for a command.
    pub address: String,
    /// What it was done to: a name or a uid; may be empty.
    pub subject: String,
    /// What else there is to say, in a few words; may be empty.
    pub detail: String,
    /// Entries of the same key become one, with a count and the last moment. `None`: an entry of its own.
    pub merge_key: Option<String>,
}

/// Something that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Primary key.
    pub id: i64,
    /// When it happened (first).
    pub at: DateTime<Utc>,
    /// When it happened last.
    pub last_at: DateTime<Utc>,
    /// How often it happened.
    pub count: u64,
    /// See [`NewAuditEntry::event`].
    pub event: AuditEvent,
    /// See [`NewAuditEntry::actor`].
    pub actor: String,
    /// See [`NewAuditEntry::address`].
    pub address: String,
    /// See [`NewAuditEntry::subject`].
    pub subject: String,
    /// See [`NewAuditEntry::detail`].
    pub detail: String,
}

/// Which entries are wanted; every condition that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Happened last at this moment or later.
    pub since: Option<DateTime<Utc>>,
    /// Done by, or done to, the user of this name.
    pub user: Option<String>,
    /// Of this kind.
    pub event: Option<AuditEvent>,
}

/// Failed attempts of one kind, from one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many failed in a row.
    pub failures: u32,
    /// When the last one failed.
    pub failed_at: Option<DateTime<Utc>>,
    /// When one succeeded last.
    pub succeeded_at: Option<DateTime<Utc>>,
}

/// How pages look to one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// IANA name; `None`: the installation's.
    pub time_zone: Option<String>,
    /// How dates are written.
    pub date_format: DateFormat,
    /// Light, dark, or as the system has it.
    pub theme: Theme,
}

/// What changes of a profile: what is `None` stays as it is at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// See [`Profile::time_zone`]; `Some(None)`: the installation's.
    pub time_zone: Option<Option<String>>,
    /// See [`Profile::date_format`].
    pub date_format: Option<DateFormat>,
    /// See [`Profile::theme`].
    pub theme: Option<Theme>,
}

impl From<Profile> for ProfileChange {
    fn from(profile: Profile) -> Self {
        Self {
            time_zone: Some(profile.time_zone),
            date_format: Some(profile.date_format),
            theme: Some(profile.theme),
        }
    }
}

/// How pages write dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateFormat {
    /// `26 Nov 2026, 21:05`
    #[default]
    Words,
    /// `2026-11-26 21:05`
    Iso,
    /// `26.11.2026 21:05`
    DayFirst,
    /// `11/26/2026 9:05 PM`
    MonthFirst,
}

impl DateFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Words, Self::Iso, Self::DayFirst, Self::MonthFirst];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Iso => "iso",
            Self::DayFirst => "day_first",
            Self::MonthFirst => "month_first",
        }
    }

    /// The format of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

/// The colours of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// What the visitor's system has.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// Every theme.
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// The theme of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == word)
    }
}

/// A mail in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address it goes to.
    pub to: String,
    /// One line.
    pub subject: String,
    /// Lines of plain text.
    pub body: String,
}

/// What may be changed of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Mail address, may be empty.
    pub email: Option<String>,
    /// Given name, may be empty.
    pub first_name: Option<String>,
    /// Family name, may be empty.
    pub last_name: Option<String>,
    /// May do everything (and see the pages of administration).
    pub is_superuser: Option<bool>,
    /// May sign in at all.
    pub is_active: Option<bool>,
    /// See [`crate::User::is_service`].
    pub is_service: Option<bool>,
}

/// What became of a change of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserUpdate {
    /// It was changed.
    Done,
    /// It would have left nobody who may administer.
    LastAdministrator,
}
