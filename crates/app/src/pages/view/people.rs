//! Users, profiles, passwords and the audit.

use askama::Template;
use chrono::{DateTime, Utc};
use mnemosyne_domain::{AuditEntry, AuditEvent};

use super::assets::icon;
use super::format::{compact, count, encode, middle, plural};
use super::frame::{Field, Frame, Pager};

/// A value of a list to choose from, what it says, and whether it is chosen.
pub type Choosable = (String, String, bool);

/// `/profile/`. Posts `time_zone`, `date_format`, `theme` to the same address.
#[derive(Template)]
#[template(path = "profile.html")]
pub struct ProfilePage {
    /// The frame.
    pub frame: Frame,
    /// The user's name.
    pub username: String,
    /// The user's mail address; may be empty.
    pub email: String,
    /// Time zones.
    pub zones: Vec<Choosable>,
    /// What is wrong with the choice.
    pub zone: Field,
    /// Ways to write dates.
    pub formats: Vec<Choosable>,
    /// Colours.
    pub themes: Vec<Choosable>,
}

/// `/accounts/password_change/`. Posts `old_password`, `new_password1`, `new_password2` to the same address.
#[derive(Template)]
#[template(path = "password_change.html")]
pub struct PasswordChangePage {
    /// The frame.
    pub frame: Frame,
    /// What is wrong with the old password.
    pub old: Field,
    /// What is wrong with the new one.
    pub new: Field,
    /// What is wrong with its repetition.
    pub again: Field,
}

/// `/accounts/password_reset/`. Posts `email` to the same address.
#[derive(Template)]
#[template(path = "password_reset.html")]
pub struct ResetRequestPage {
    /// The frame, without a viewer.
    pub frame: Frame,
    /// Whether mail can be sent at all.
    pub can_mail: bool,
    /// Whether the form was sent.
    pub is_sent: bool,
}

/// `/accounts/reset/{uid}/set-password/`. Posts `new_password1`, `new_password2` to the same address.
#[derive(Template)]
#[template(path = "password_choose.html")]
pub struct ResetChoosePage {
    /// The frame, without a viewer.
    pub frame: Frame,
    /// Whose password it is; `None` where the link is spent or none.
    pub username: Option<String>,
    /// Whether the browser brought what the link gave it.
    pub is_kept: bool,
    /// What is wrong with the new password.
    pub new: Field,
    /// What is wrong with its repetition.
    pub again: Field,
}

/// A user in the list.
#[derive(Clone, Debug)]
pub struct PersonRow {
    /// Its key.
    pub id: i64,
    /// Its name.
    pub username: String,
    /// Given and family name, or nothing.
    pub full_name: String,
    /// Mail address, or nothing.
    pub email: String,
    /// May do everything.
    pub is_superuser: bool,
    /// May sign in.
    pub is_active: bool,
    /// It belongs to a program.
    pub is_service: bool,
    /// Last sign-in in a browser.
    pub last_login: Option<DateTime<Utc>>,
    /// When it was made.
    pub date_joined: DateTime<Utc>,
}

/// `/people/?q=&page=`.
#[derive(Template)]
#[template(path = "people.html")]
pub struct PeoplePage {
    /// The frame.
    pub frame: Frame,
    /// Users on this page of the list, by name.
    pub people: Vec<PersonRow>,
    /// What their names or addresses must contain.
    pub filter: String,
    /// Steps through the list.
    pub pager: Pager,
}

/// What was typed for a user.
#[derive(Clone, Debug, Default)]
pub struct PersonForm {
    /// `username`, where it is new.
    pub username: Field,
    /// `email`
    pub email: Field,
    /// `first_name`
    pub first_name: Field,
    /// `last_name`
    pub last_name: Field,
    /// `is_superuser`
    pub is_superuser: bool,
    /// `is_active`
    pub is_active: bool,
    /// `is_service`
    pub is_service: bool,
    /// `password`: never shown again.
    pub password: Field,
}

/// `/people/new/`. Posts `username`, `email`, `password`, `is_superuser`, `is_service` to the same address.
#[derive(Template)]
#[template(path = "person_new.html")]
pub struct PersonNewPage {
    /// The frame.
    pub frame: Frame,
    /// What was typed.
    pub form: PersonForm,
}

/// `/people/{id}/`. Posts `email`, `first_name`, `last_name`, `is_superuser`, `is_active`, `is_service` to the same
/// address, `password` to `password/`, and nothing to `sign_out/` below it.
#[derive(Template)]
#[template(path = "person.html")]
pub struct PersonPage {
    /// The frame.
    pub frame: Frame,
    /// The user.
    pub person: PersonRow,
    /// What was typed.
    pub form: PersonForm,
}

/// `/audit/?event=&user=&since=&page=`.
#[derive(Template)]
#[template(path = "audit.html")]
pub struct AuditPage {
    /// The frame.
    pub frame: Frame,
    /// Entries on this page of the list, the latest first.
    pub entries: Vec<AuditEntry>,
    /// Kinds to choose from.
    pub events: Vec<Choosable>,
    /// The user that is asked for.
    pub user: String,
    /// The day that is asked for.
    pub since: Field,
    /// Whether anything narrows the list.
    pub is_filtered: bool,
    /// Steps through the list.
    pub pager: Pager,
}

/// An event in words.
pub fn event_title(event: &AuditEvent) -> &'static str {
    match event {
        AuditEvent::SignedIn => "signed in",
        AuditEvent::SignInFailed => "sign-in failed",
        AuditEvent::SignedOut => "signed out",
        AuditEvent::SessionsEnded => "signed out everywhere",
        AuditEvent::PasswordChanged => "password changed",
        AuditEvent::ResetRequested => "new password asked for",
        AuditEvent::UserCreated => "user made",
        AuditEvent::UserChanged => "user changed",
        AuditEvent::TokenCreated => "token made",
        AuditEvent::TokenRevoked => "token revoked",
        AuditEvent::KeyCreated => "signing key made",
        AuditEvent::KeysRetired => "signing keys retired",
        AuditEvent::SecretsRotated => "secrets sealed anew",
        AuditEvent::BearerRefused => "token refused",
        AuditEvent::ModelsChanged => "models changed",
        AuditEvent::LibraryDeleted => "library deleted",
        AuditEvent::CollectionDeleted => "collection deleted",
        AuditEvent::ItemDeleted => "item deleted",
        AuditEvent::OriginalDownloaded => "original downloaded",
        AuditEvent::TextDownloaded => "text downloaded",
    }
}
