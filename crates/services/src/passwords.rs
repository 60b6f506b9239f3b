//! New passwords: by their owner, by an administrator, and by whoever reads the owner's mail.

use std::sync::Arc;
use std::time::Duration;

use mnemosyne_crypto::password::Verdict;
use mnemosyne_crypto::reset::{self, Bound};
use mnemosyne_domain::{AuditEvent, Mail, Principal, User, UserId};

use crate::accounts::OpenedSession;
use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::operators::has_usable_password;
use crate::origin;
use crate::password_rules;
use crate::permission::{self, Action};
use crate::throttle::Buckets;

/// How long a link to choose a new password holds: Django's `PASSWORD_RESET_TIMEOUT`.
const RESET_TIMEOUT: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// What a link to choose a new password names.
#[derive(Clone, Debug)]
pub struct ResetLink {
    /// The user's key, encoded.
    pub uid: String,
    /// The token.
    pub token: String,
}

/// What a password must not be like.
fn known_of(user: &User) -> [(&'static str, &str); 4] {
    [
        ("username", &user.username),
        ("first name", &user.first_name),
        ("last name", &user.last_name),
        ("email address", &user.email),
    ]
}

fn bound(user: &User) -> Bound<'_> {
    Bound {
        id: user.id.0,
        password: &user.password,
        last_login: user.last_login,
        email: &user.email,
    }
}

/// Whether a link in a mail may lead to a new password. The password of a service account stands in the configuration of a
/// program, and whoever reads a mailbox has no part in that.
fn may_choose_by_link(user: &User) -> bool {
    user.is_active && !user.is_service && has_usable_password(user)
}

/// Refuses a password that the rules refuse, as a problem with this field.
pub(crate) fn require_good(field: &str, password: &str, known: &[(&str, &str)]) -> ServiceResult<()> {
    if password.is_empty() {
        return Err(ServiceError::field(field, "This field is required."));
    }
    let problems = password_rules::problems(password, known);
    if problems.is_empty() {
        return Ok(());
    }
    Err(ServiceError::Invalid([(field.to_owned(), problems)].into()))
}

impl Services {
    /// Replaces the caller's own password. The session at hand goes on under a new key, which is answered; every other
    /// session of the user is over, and so are remembered Basic checks.
    pub async fn change_own_password(
        &self,
        caller: &Principal,
        session_key: &str,
        old: &str,
        new: &str,
    ) -> ServiceResult<OpenedSession> {
        let user = self.own_password_changed(caller, old, new).await?;
        let opened = self.open_session(&user).await?;
        self.relational.delete_session(session_key).await?;
        Ok(opened)
    }

    /// The same for a caller without a session: every session of the user is over.
    pub async fn change_own_password_everywhere(
        &self,
        caller: &Principal,
        old: &str,
        new: &str,
    ) -> ServiceResult<()> {
        self.own_password_changed(caller, old, new).await.map(drop)
    }

    async fn own_password_changed(&self, caller: &Principal, old: &str, new: &str) -> ServiceResult<User> {
        let user = self.own_account(caller).await?;
        if old.is_empty() {
            return Err(ServiceError::field("old_password", "This field is required."));
        }
        let buckets = Buckets::of(&user.username);
        self.require_patience(&buckets).await?;
        let is_right = old.len() <= password_rules::MAX_BYTES && {
            let permit = self.password_permit().await?;
            // Others may have failed while this one waited for its turn.
            self.require_patience(&buckets).await?;
            let verdict = Self::verify_beside(&permit, old, Some(user.password.clone())).await?;
            let is_right = matches!(verdict, Verdict::Right | Verdict::RightButWeak);
            if !is_right {
                self.count_failure(&buckets).await?;
            }
            is_right
        };
        if !is_right {
            let username = &user.username;
            self.audited_often(username, AuditEvent::SignInFailed, username, "old password")
                .await;
            return Err(ServiceError::field(
                "old_password",
                "Your old password was entered incorrectly. Please enter it again.",
            ));
        }
        self.count_success(&buckets).await?;
        require_good("new_password1", new, &known_of(&user))?;
        let user = self.replaced_password(user, new).await?;
        self.audited(caller, AuditEvent::PasswordChanged, &user.username, "")
            .await;
        Ok(user)
    }

    /// Gives a user a new password; all sessions of the user are over.
    pub async fn set_user_password(
        &self,
        caller: &Principal,
        id: UserId,
        password: &str,
    ) -> ServiceResult<()> {
        permission::require(caller, Action::Administer)?;
        let user = self.existing_user(id).await?;
        require_good("password", password, &known_of(&user))?;
        let user = self.replaced_password(user, password).await?;
        self.audited(
            caller,
            AuditEvent::PasswordChanged,
            &user.username,
            "by an administrator",
        )
        .await;
        Ok(())
    }

    /// Whether links to choose a new password can be sent.
    pub fn can_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// Sends a link to whoever has this mail address, where somebody has. The caller learns nothing of that, not even by
    /// the time it takes: everything happens after this has returned. `site` is the address of this site, without a slash
    /// at its end.
    pub fn request_reset(self: &Arc<Self>, email: &str, site: &str) {
        let Ok(permit) = Arc::clone(&self.mail_gate).try_acquire_owned() else {
            tracing::warn!("too many ask for links at once; one request was dropped");
            return;
        };
        let services = Arc::clone(self);
        let (email, site) = (email.trim().to_lowercase(), site.to_owned());
        tokio::spawn(origin::from(origin::address(), async move {
            let _permit = permit;
            if let Err(error) = services.send_reset_links(&email, &site).await {
                tracing::error!(%error, "links to choose a new password could not be made");
            }
        }));
    }

    async fn send_reset_links(&self, email: &str, site: &str) -> ServiceResult<()> {
        self.audited_often("", AuditEvent::ResetRequested, "", "").await;
        let Some(mailer) = &self.mailer else {
            return Ok(());
        };
        if email.is_empty() {
            return Ok(());
        }
        for user in self.relational.users().await? {
            if !may_choose_by_link(&user)
                || user.email.to_lowercase() != email
                || !self.may_mail(&format!("mail|{}", user.id.0)).await?
            {
                continue;
            }
            let mail = self.reset_mail(&user, site);
            match mailer.send(&mail).await {
                Ok(()) => tracing::info!(user = user.username, "a link to choose a new password was sent"),
                Err(error) => {
                    tracing::error!(
                        error,
                        user = user.username,
                        "a mail could not be handed to EMAIL_HOST"
                    );
                }
            }
        }
        Ok(())
    }

    fn reset_mail(&self, user: &User, site: &str) -> Mail {
        let token = reset::make(bound(user), self.secret_key.expose(), self.clock.now());
        let uid = reset::encode_id(user.id.0);
        let username = &user.username;
        Mail {
            to: user.email.clone(),
            subject: "A new password for Mnemosyne".to_owned(),
            body: format!(
                "Somebody, you perhaps, asked for a new password for the account {username} at {site}.\n\n\
                 Choose one here, within three days:\n\n{site}/accounts/reset/{uid}/{token}/\n\n\
                 If it was not you, nothing needs to be done: without the link nothing changes.\n"
            ),
        }
    }

    /// The name of the user whose password a link lets choose; [`ServiceError::NotFound`] where the link is spent, too
    /// old or none.
    pub async fn reset_target(&self, link: &ResetLink) -> ServiceResult<String> {
        Ok(self.user_of_link(link).await?.username)
    }

    async fn user_of_link(&self, link: &ResetLink) -> ServiceResult<User> {
        let gone = ServiceError::NotFound("link");
        let Some(id) = reset::decode_id(&link.uid) else {
            return Err(gone);
        };
        let Some(user) = self.relational.user(UserId(id)).await? else {
            return Err(gone);
        };
        let now = self.clock.now();
        let holds = may_choose_by_link(&user)
            && self
                .keyring
                .secret_keys()
                .any(|key| reset::check(bound(&user), &link.token, key.expose(), RESET_TIMEOUT, now));
        if holds { Ok(user) } else { Err(gone) }
    }

    /// Chooses a new password with a link, which is spent thereby; all sessions of the user are over.
    pub async fn reset_password(&self, link: &ResetLink, password: &str) -> ServiceResult<()> {
        let user = self.user_of_link(link).await?;
        require_good("new_password1", password, &known_of(&user))?;
        let user = match self.replaced_password(user, password).await {
            // Somebody was faster with the same link, or changed the password; either spends it.
            Err(ServiceError::Conflict { .. }) => return Err(ServiceError::NotFound("link")),
            other => other?,
        };
        let owner = crate::accounts::principal(&user);
        self.audited(
            &owner,
            AuditEvent::PasswordChanged,
            &user.username,
            "with a link sent by mail",
        )
        .await;
        Ok(())
    }

    /// The user with a new password in place of the one that was read: a password that was set meanwhile stays, and that is
    /// a conflict.
    pub(crate) async fn replaced_password(&self, user: User, password: &str) -> ServiceResult<User> {
        let hash = self.hash_password(password).await?;
        if self
            .relational
            .replace_password(user.id, &user.password, &hash)
            .await?
        {
            return Ok(User {
                password: hash,
                ..user
            });
        }
        Err(ServiceError::Conflict {
            code: "conflict",
            message: "The password of this account was changed at the same moment; nothing was done."
                .to_owned(),
        })
    }

    /// The caller's row.
    pub(crate) async fn own_account(&self, caller: &Principal) -> ServiceResult<User> {
        let id = permission::user_id(caller)
            .ok_or_else(|| ServiceError::Forbidden("Only a user has an account.".to_owned()))?;
        self.existing_user(id).await
    }

    /// The user of this key.
    pub(crate) async fn existing_user(&self, id: UserId) -> ServiceResult<User> {
        self.relational
            .user(id)
            .await?
            .ok_or(ServiceError::NotFound("user"))
    }
}
