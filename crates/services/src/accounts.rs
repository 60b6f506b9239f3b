//! Users: signing in, sessions, HTTP Basic, service accounts (contract §5).

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_crypto::password::{self, Verdict};
use mnemosyne_crypto::session;
use mnemosyne_domain::{AuditEvent, NewUser, Principal, SessionRecord, StoreError, User, UserChange, UserId};
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;

use crate::context::{SecretKey, Services};
use crate::error::{ServiceError, ServiceResult};
use crate::operators::has_usable_password;
use crate::permission::{self, Action};
use crate::throttle::Buckets;
use crate::users::kind_of;
use crate::validate::{Problems, has_control};

/// How often `ensure_service_user` looks again where somebody else was faster.
const ENSURE_ATTEMPTS: u32 = 3;
/// The word for an account that may not sign in.
const INACTIVE: &str = "account_inactive";
/// Django's `SESSION_COOKIE_AGE`: two weeks.
pub const SESSION_AGE: TimeDelta = TimeDelta::days(14);

/// A session that was just opened.
pub struct OpenedSession {
    /// The secret for the cookie.
    pub key: String,
    /// Until when it holds.
    pub expires_at: DateTime<Utc>,
}

/// What became of a command that makes sure that a user is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was made.
    Created,
    /// It was there, and has the given password now.
    PasswordSet,
    /// It was there with this password, and is a service account now.
    Marked,
    /// It was there with this password.
    Unchanged,
}

impl Ensured {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::PasswordSet => "password_set",
            Self::Marked => "marked",
            Self::Unchanged => "unchanged",
        }
    }
}

pub(crate) fn principal(user: &User) -> Principal {
    Principal::User {
        id: user.id,
        username: user.username.clone(),
        is_superuser: user.is_superuser,
        is_staff: user.is_staff,
    }
}

impl Services {
    pub(crate) async fn hash_password(&self, password: &str) -> ServiceResult<String> {
        let password = password.to_owned();
        let _permit = self.password_permit().await?;
        tokio::task::spawn_blocking(move || password::hash(&password))
            .await
            .map_err(|e| ServiceError::Internal(e.to_string()))
    }

    /// Compares a password with a stored hash, or with nothing, in the same time.
    pub(crate) async fn verify_password(
        &self,
        password: &str,
        encoded: Option<String>,
    ) -> ServiceResult<Verdict> {
        let permit = self.password_permit().await?;
        Self::verify_beside(&permit, password, encoded).await
    }

    /// The turn to check a password: there are as many as cores.
    pub(crate) async fn password_permit(&self) -> ServiceResult<SemaphorePermit<'_>> {
        self.password_gate
            .acquire()
            .await
            .map_err(|e| ServiceError::Internal(e.to_string()))
    }

    pub(crate) async fn verify_beside(
        _permit: &SemaphorePermit<'_>,
        password: &str,
        encoded: Option<String>,
    ) -> ServiceResult<Verdict> {
        let password = password.to_owned();
        tokio::task::spawn_blocking(move || match encoded {
            Some(encoded) => password::verify(&password, &encoded),
            None => {
                password::verify_dummy(&password);
                Verdict::Wrong
            }
        })
        .await
        .map_err(|e| ServiceError::Internal(e.to_string()))
    }

    /// The user with this name and password, who may sign in; otherwise [`ServiceError::Unauthenticated`], for whatever
    /// reason and after the same time, or [`ServiceError::Throttled`] after too many of those. `way` says how it came, for
    /// the audit.
    async fn check_credentials(&self, username: &str, password: &str, way: &str) -> ServiceResult<User> {
        let turn = self.turn_to_check(&Buckets::of(username)).await?;
        self.check_in_turn(turn, username, password, way, |_| ()).await
    }

    /// The user of this name. What holds a control character is nobody's name, whatever a store makes of it.
    pub(crate) async fn user_of_name(&self, username: &str) -> ServiceResult<Option<User>> {
        if has_control(username) {
            return Ok(None);
        }
        Ok(self.relational.user_by_name(username).await?)
    }

    /// The turn to check a password, for a name that need not wait.
    pub(crate) async fn turn_to_check(&self, buckets: &Buckets) -> ServiceResult<SemaphorePermit<'_>> {
        self.require_patience(buckets).await?;
        let permit = self.password_permit().await?;
        // Others may have failed while this one waited for its turn.
        self.require_patience(buckets).await?;
        Ok(permit)
    }

    /// See [`Services::check_credentials`]. `on_success` is called before the turn ends.
    pub(crate) async fn check_in_turn(
        &self,
        permit: SemaphorePermit<'_>,
        username: &str,
        password: &str,
        way: &str,
        on_success: impl FnOnce(&User),
    ) -> ServiceResult<User> {
        let buckets = Buckets::of(username);
        let user = self.user_of_name(username).await?;
        let encoded = user.as_ref().map(|user| user.password.clone());
        let verdict = Self::verify_beside(&permit, password, encoded).await?;
        let is_right = matches!(verdict, Verdict::Right | Verdict::RightButWeak);
        if !is_right || user.as_ref().is_none_or(|user| !user.is_active) {
            self.count_failure(&buckets).await?;
            drop(permit);
            // A name that nobody has may be a password that was typed into the wrong field.
            let name = user.as_ref().map_or("", |user| &user.username);
            self.audited_often("", AuditEvent::SignInFailed, name, way).await;
            return Err(ServiceError::Unauthenticated);
        }
        let Some(mut user) = user else {
            return Err(ServiceError::Unauthenticated);
        };
        on_success(&user);
        drop(permit);
        self.count_success(&buckets).await?;
        match verdict {
            Verdict::Right => {}
            Verdict::RightButWeak => user = self.with_stronger_hash(user, password).await?,
            Verdict::Wrong | Verdict::Unusable => return Err(ServiceError::Unauthenticated),
        }
        Ok(user)
    }

    /// The user with the same password under the hash of today. A password that was set meanwhile stays, and counts: the
    /// one at hand may be the former.
    async fn with_stronger_hash(&self, user: User, password: &str) -> ServiceResult<User> {
        let stronger = self.hash_password(password).await?;
        let is_ours = self
            .relational
            .replace_password(user.id, &user.password, &stronger)
            .await?;
        if is_ours {
            return Ok(User {
                password: stronger,
                ..user
            });
        }
        let user = self.relational.user(user.id).await?;
        let user = user
            .filter(|user| user.is_active)
            .ok_or(ServiceError::Unauthenticated)?;
        match self
            .verify_password(password, Some(user.password.clone()))
            .await?
        {
            Verdict::Right | Verdict::RightButWeak => Ok(user),
            Verdict::Wrong | Verdict::Unusable => Err(ServiceError::Unauthenticated),
        }
    }

    /// Signs in for a browser and opens a session, with a key of its own whatever the browser brought. The session that it
    /// brought is for the caller to end, with [`Services::sign_out`].
    pub async fn sign_in(&self, username: &str, password: &str) -> ServiceResult<OpenedSession> {
        let user = self.check_credentials(username, password, "form").await?;
        let opened = self.open_session(&user).await?;
        self.relational.set_last_login(user.id, self.clock.now()).await?;
        self.audited(&principal(&user), AuditEvent::SignedIn, "", "form")
            .await;
        Ok(opened)
    }

    /// Opens a session of a user, bound to the password hash in the row.
    pub(crate) async fn open_session(&self, user: &User) -> ServiceResult<OpenedSession> {
        let now = self.clock.now();
        let data = Map::from_iter([
            (session::USER_ID.to_owned(), Value::String(user.id.0.to_string())),
            (
                session::USER_BACKEND.to_owned(),
                Value::String(session::MODEL_BACKEND.to_owned()),
            ),
            (
                session::USER_HASH.to_owned(),
                Value::String(session::auth_hash(&user.password, self.secret_key.expose())),
            ),
        ]);
        let opened = OpenedSession {
            key: session::new_key(),
            expires_at: now + SESSION_AGE,
        };
        let record = SessionRecord {
            key: opened.key.clone(),
            data: session::encode(&data, self.secret_key.expose(), now),
            expires_at: opened.expires_at,
        };
        self.relational.save_session(&record).await?;
        Ok(opened)
    }

    /// Who a session belongs to. `None` where it is over, forged, or older than the user's password.
    pub async fn session_principal(&self, key: &str) -> ServiceResult<Option<Principal>> {
        let Some(record) = self.relational.session(key, self.clock.now()).await? else {
            return Ok(None);
        };
        // A session from before a change of SECRET_KEY goes on while the former one is a fallback, as in Django.
        let keys = || self.keyring.secret_keys();
        let Some(data) = keys().find_map(|key| session::decode(&record.data, key.expose())) else {
            return Ok(None);
        };
        let id = data.get(session::USER_ID).and_then(|id| match id {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_i64(),
            _ => None,
        });
        let Some(id) = id else { return Ok(None) };
        let Some(user) = self.relational.user(UserId(id)).await? else {
            return Ok(None);
        };
        let hash = data
            .get(session::USER_HASH)
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_hash_under =
            |key: &SecretKey| mnemosyne_crypto::same(hash, &session::auth_hash(&user.password, key.expose()));
        let genuine = user.is_active && keys().any(is_hash_under);
        Ok(genuine.then(|| principal(&user)))
    }

    /// Ends a session.
    pub async fn sign_out(&self, key: &str) -> ServiceResult<()> {
        let caller = self.session_principal(key).await?;
        self.relational.delete_session(key).await?;
        if let Some(caller) = caller {
            self.audited(&caller, AuditEvent::SignedOut, "", "").await;
        }
        Ok(())
    }

    /// Makes a user. The name is checked as Django does: 1 to 150 letters, digits and `@ . + - _`.
    pub async fn create_user(
        &self,
        caller: &Principal,
        username: &str,
        password: &str,
        role: Role,
    ) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        let username = check_username(username)?;
        if password.is_empty() {
            return Err(ServiceError::field("password", "This field is required."));
        }
        let user = NewUser {
            username: username.clone(),
            password: self.hash_password(password).await?,
            email: String::new(),
            is_superuser: role == Role::Administrator,
            is_staff: role == Role::Administrator,
            is_service: role == Role::Service,
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

    /// Makes sure that a service account is there and has this password; idempotent (seed §3.3). A user of that name becomes
    /// one, unless it is an administrator: that has a person behind it. A deactivated one is a conflict: it would be let in
    /// with no password.
    pub async fn ensure_service_user(
        &self,
        caller: &Principal,
        username: &str,
        password: &str,
    ) -> ServiceResult<Ensured> {
        permission::require(caller, Action::Administer)?;
        let username = check_username(username)?;
        if password.is_empty() {
            return Err(ServiceError::field("password", "This field is required."));
        }
        for _ in 1..ENSURE_ATTEMPTS {
            match self.ensure_once(caller, &username, password).await {
                Err(error @ ServiceError::Conflict { code: INACTIVE, .. }) => return Err(error),
                // Somebody else was faster, another run of the same command perhaps: what is there now decides.
                Err(ServiceError::Conflict { .. }) => {}
                done => return done,
            }
        }
        self.ensure_once(caller, &username, password).await
    }

    async fn ensure_once(
        &self,
        caller: &Principal,
        username: &str,
        password: &str,
    ) -> ServiceResult<Ensured> {
        let Some(user) = self.relational.user_by_name(username).await? else {
            self.create_user(caller, username, password, Role::Service)
                .await?;
            return Ok(Ensured::Created);
        };
        if !user.is_active {
            return Err(ServiceError::Conflict {
                code: INACTIVE,
                message: format!(
                    "The account {username:?} is deactivated, and cannot sign in with any password; nothing was changed. \
                     Activate it under People, or by PATCH /library/api/users/{}/ with {{\"is_active\": true}}, and run \
                     this again.",
                    user.id.0
                ),
            });
        }
        let is_new_service = !user.is_service && !user.is_superuser;
        if is_new_service {
            let mark = UserChange {
                is_service: Some(true),
                ..UserChange::default()
            };
            self.relational.update_user(user.id, &mark).await?;
            self.audited(
                caller,
                AuditEvent::UserChanged,
                username,
                "made a service account",
            )
            .await;
        }
        if self
            .verify_password(password, Some(user.password.clone()))
            .await?
            == Verdict::Right
        {
            return Ok(if is_new_service {
                Ensured::Marked
            } else {
                Ensured::Unchanged
            });
        }
        self.replaced_password(user, password).await?;
        self.audited(caller, AuditEvent::PasswordChanged, username, "")
            .await;
        Ok(Ensured::PasswordSet)
    }

    /// Replaces a user's password.
    pub async fn change_password(
        &self,
        caller: &Principal,
        username: &str,
        password: &str,
    ) -> ServiceResult<()> {
        permission::require(caller, Action::Administer)?;
        if password.is_empty() {
            return Err(ServiceError::field("password", "This field is required."));
        }
        let user = self
            .user_of_name(username)
            .await?
            .ok_or(ServiceError::NotFound("user"))?;
        self.replaced_password(user, password).await?;
        self.audited(caller, AuditEvent::PasswordChanged, username, "")
            .await;
        Ok(())
    }

    /// Every user.
    pub async fn users(&self, caller: &Principal) -> ServiceResult<Vec<User>> {
        permission::require(caller, Action::Administer)?;
        Ok(self.relational.users().await?)
    }
}

/// What a new user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Administrator,
    /// Everything but administration.
    User,
    /// The same, for a program.
    Service,
}

/// The name without surrounding white space, where it is a good one.
pub(crate) fn check_username(username: &str) -> ServiceResult<String> {
    let mut problems = Problems::default();
    let username = problems.text("username", Some(username), 150);
    if !username
        .chars()
        .all(|c| c.is_alphanumeric() || "@.+-_".contains(c))
    {
        problems.add("username", "Only letters, digits and @ . + - _ are allowed.");
    }
    problems.check()?;
    Ok(username)
}

/// The names that an administrator is given, in the order they are tried: `admin`, `admin-2`, `admin-3`, …
fn administrator_names() -> impl Iterator<Item = String> {
    std::iter::once("admin".to_owned()).chain((2_u32..).map(|number| format!("admin-{number}")))
}

/// The administrator that a first start makes.
pub struct FirstAdministrator {
    /// Its name.
    pub username: String,
    /// Its password, generated, shown once.
    pub password: String,
}

impl Services {
    /// Makes sure that an installation has an administrator who can sign in: where none has a usable password, `admin`
    /// gets a generated one. A user of that name who is no administrator, or no active one, stays as it is, and the next
    /// free name is taken. `None` where an administrator was there.
    pub async fn first_administrator(&self, caller: &Principal) -> ServiceResult<Option<FirstAdministrator>> {
        permission::require(caller, Action::Administer)?;
        let users = self.relational.users().await?;
        let is_administrator = |user: &User| user.is_superuser && user.is_active;
        if users
            .iter()
            .any(|user| is_administrator(user) && has_usable_password(user))
        {
            return Ok(None);
        }
        let password = mnemosyne_crypto::secret::random_password();
        for username in administrator_names() {
            let made = match users.iter().find(|user| user.username == username) {
                Some(user) if !is_administrator(user) => continue,
                Some(_) => self.change_password(caller, &username, &password).await,
                None => {
                    let role = Role::Administrator;
                    self.create_user(caller, &username, &password, role)
                        .await
                        .map(drop)
                }
            };
            return match made {
                Ok(()) => Ok(Some(FirstAdministrator { username, password })),
                // Another process had its first start at the same moment, and shows its password.
                Err(ServiceError::Conflict { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        Err(ServiceError::Internal(
            "every name of an administrator is taken".into(),
        ))
    }

    /// The user that tokens of a command belong to where it names none: the first administrator. Where there is none yet,
    /// one is made without a usable password (`admin`, or the next name that is free); the first start gives it one.
    pub async fn default_token_owner(&self, caller: &Principal) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        let users = self.relational.users().await?;
        let first = users
            .iter()
            .filter(|user| user.is_superuser && user.is_active)
            .min_by_key(|user| user.id);
        if let Some(user) = first {
            return Ok(user.clone());
        }
        let username = administrator_names()
            .find(|name| users.iter().all(|user| user.username != *name))
            .ok_or_else(|| ServiceError::Internal("every name of an administrator is taken".into()))?;
        let user = NewUser {
            username,
            password: format!("!{}", mnemosyne_crypto::session::new_key()),
            email: String::new(),
            is_superuser: true,
            is_staff: true,
            is_service: false,
        };
        Ok(self.relational.create_user(user, self.clock.now()).await?)
    }

    /// The user of this name.
    pub async fn user_by_name(&self, caller: &Principal, username: &str) -> ServiceResult<User> {
        permission::require(caller, Action::Administer)?;
        self.user_of_name(username)
            .await?
            .ok_or(ServiceError::NotFound("user"))
    }
}
