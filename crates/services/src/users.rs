//! Users and service accounts as administrators keep them, and what a user keeps of its own.

use mnemosyne_crypto::session;
use mnemosyne_domain::{
    AuditEvent, NewUser, Principal, Profile, StoreError, User, UserChange, UserId, UserUpdate,
};
use serde_json::Value;

use crate::accounts::check_username;
use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::passwords::require_good;
use crate::permission::{self, Action};
use crate::validate::Problems;

/// Sessions that are looked at in one go.
const SESSIONS: u32 = 500;
/// The longest mail address that Django's table holds.
const MAX_EMAIL: usize = 254;
/// The longest given or family name.
const MAX_NAME: usize = 150;

/// A user to be made by an administrator.
#[derive(Clone, Default)]
pub struct UserRequest {
    /// The name: 1 to 150 letters, digits and `@ . + - _`.
    pub username: String,
    /// The password.
    pub password: String,
    /// Mail address, may be empty.
    pub email: String,
    /// May do everything.
    pub is_superuser: bool,
    /// It belongs to a program.
    pub is_service: bool,
}

/// The shape of a mail address; whether it exists is for the mail to find out.
fn check_email(problems: &mut Problems, email: &str) {
    let email = email.trim();
    if email.is_empty() {
        return;
    }
    let has_shape = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'));
    if !has_shape
        || email.len() > MAX_EMAIL
        || email
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "<>,;\"".contains(c))
    {
        problems.add("email", "Enter a valid email address.");
    }
}

impl Services {
    /// Makes a user. Unlike a command of the operator, an administrator in a browser is held to the rules for passwords.
    pub async fn add_user(&self, caller: &Principal, request: UserRequest) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        let username = check_username(&request.username)?;
        let mut problems = Problems::default();
        check_email(&mut problems, &request.email);
        problems.check()?;
        let email = request.email.trim().to_owned();
        require_good(
            "password",
            &request.password,
            &[("username", &username), ("email address", &email)],
        )?;
        let user = NewUser {
            username: username.clone(),
            password: self.hash_password(&request.password).await?,
            email,
            is_superuser: request.is_superuser,
            is_staff: request.is_superuser,
            is_service: request.is_service,
        };
        match self.relational.create_user(user, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => Err(ServiceError::Conflict {
                code: "username_taken",
                message: format!("There is a user {username:?} already."),
            }),
            Err(error) => Err(error.into()),
            Ok(user) => {
                let role = kind_of(&user);
                self.audited(caller, AuditEvent::UserCreated, &user.username, role)
                    .await;
                Ok(user)
            }
        }
    }

    /// One user.
    pub async fn user(&self, caller: &Principal, id: UserId) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        self.existing_user(id).await
    }

    /// Changes a user. The last administrator who can sign in stays one.
    pub async fn update_user(
        &self,
        caller: &Principal,
        id: UserId,
        change: UserChange,
    ) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        let change = checked(change)?;
        let before = self.existing_user(id).await?;
        if self.relational.update_user(id, &change).await? == UserUpdate::LastAdministrator {
            return Err(ServiceError::Conflict {
                code: "last_administrator",
                message: "This is the last administrator who can sign in; make another one first.".to_owned(),
            });
        }
        let after = self.existing_user(id).await?;
        let detail = differences(&before, &after);
        if !detail.is_empty() {
            self.audited(caller, AuditEvent::UserChanged, &after.username, &detail)
                .await;
        }
        if before.is_active && !after.is_active {
            self.end_sessions_of(id).await?;
        }
        Ok(after)
    }

    /// Ends all sessions of a user, and says how many.
    pub async fn end_sessions(&self, caller: &Principal, id: UserId) -> ServiceResult<u64> {
        if permission::user_id(caller) != Some(id) {
            permission::require(caller, Action::Administer)?;
        }
        let user = self.existing_user(id).await?;
        let ended = self.end_sessions_of(id).await?;
        self.audited(
            caller,
            AuditEvent::SessionsEnded,
            &user.username,
            &format!("{ended} ended"),
        )
        .await;
        Ok(ended)
    }

    /// Django's table does not say whose a session is; each has to be opened.
    async fn end_sessions_of(&self, id: UserId) -> ServiceResult<u64> {
        let now = self.clock.now();
        let mut ended = 0;
        let mut after = String::new();
        loop {
            let sessions = self.relational.sessions_after(&after, now, SESSIONS).await?;
            let Some(last) = sessions.last() else {
                return Ok(ended);
            };
            after.clone_from(&last.key);
            for record in &sessions {
                if self.session_owner(&record.data) == Some(id) {
                    self.relational.delete_session(&record.key).await?;
                    ended += 1;
                }
            }
        }
    }

    fn session_owner(&self, data: &str) -> Option<UserId> {
        let mut keys = self.keyring.secret_keys();
        let data = keys.find_map(|key| session::decode(data, key.expose()))?;
        match data.get(session::USER_ID)? {
            Value::String(text) => text.parse().ok().map(UserId),
            Value::Number(number) => number.as_i64().map(UserId),
            _ => None,
        }
    }

    /// How pages look to the caller.
    pub async fn profile(&self, caller: &Principal) -> ServiceResult<Profile> {
        match permission::user_id(caller) {
            Some(id) => Ok(self.relational.profile(id).await?),
            None => Ok(Profile::default()),
        }
    }

    /// Saves how pages look to the caller. The surface has checked the time zone, which it alone knows.
    pub async fn save_profile(&self, caller: &Principal, profile: &Profile) -> ServiceResult<()> {
        let user = self.own_account(caller).await?;
        Ok(self.relational.save_profile(user.id, profile).await?)
    }

    /// The caller's own row, for its page.
    pub async fn own_user(&self, caller: &Principal) -> ServiceResult<User> {
        self.own_account(caller).await
    }
}

fn checked(change: UserChange) -> ServiceResult<UserChange> {
    let mut problems = Problems::default();
    if let Some(email) = &change.email {
        check_email(&mut problems, email);
    }
    let mut name = |field: &str, value: Option<String>| {
        value.map(|text| {
            problems
                .optional_text(field, Some(&text), MAX_NAME)
                .unwrap_or_default()
        })
    };
    let first_name = name("first_name", change.first_name);
    let last_name = name("last_name", change.last_name);
    problems.check()?;
    Ok(UserChange {
        email: change.email.map(|email| email.trim().to_owned()),
        first_name,
        last_name,
        ..change
    })
}

/// What a new user is, for the audit.
pub(crate) fn kind_of(user: &User) -> &'static str {
    match (user.is_superuser, user.is_service) {
        (true, _) => "administrator",
        (false, true) => "service account",
        (false, false) => "",
    }
}

/// What changed, in words.
fn differences(before: &User, after: &User) -> String {
    let changes = [
        (before.email != after.email, "email address"),
        (
            before.first_name != after.first_name || before.last_name != after.last_name,
            "name",
        ),
        (!before.is_superuser && after.is_superuser, "made administrator"),
        (
            before.is_superuser && !after.is_superuser,
            "no administrator any more",
        ),
        (!before.is_service && after.is_service, "made a service account"),
        (
            before.is_service && !after.is_service,
            "no service account any more",
        ),
        (!before.is_active && after.is_active, "activated"),
        (before.is_active && !after.is_active, "deactivated"),
    ];
    let words: Vec<&str> = changes
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word))
        .collect();
    words.join(", ")
}
