//! What commands do with accounts, tokens and keys. Each may be repeated: a second run finds what the first one made, changes
//! nothing and says so.

use mnemosyne_crypto::password::Verdict;
use mnemosyne_domain::{AuditEvent, McpToken, NewUser, Principal, SigningKey, StoreError, User, UserId};

use crate::accounts::{Ensured, check_username};
use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::tokens::{IssuedToken, TokenRequest, is_usable};

/// What became of a command that makes sure that a token is there.
pub enum EnsuredToken {
    /// It was made; the token is shown once.
    Issued(IssuedToken),
    /// A usable one of this name, with the same tools and libraries, was there already.
    Exists(McpToken),
}

impl Services {
    /// Makes sure that an administrator of this name is there. One that is there is left as it is, and must have this
    /// password; a user of that name who is no administrator is never made one.
    pub async fn ensure_administrator(
        &self,
        caller: &Principal,
        username: &str,
        email: &str,
        password: &str,
    ) -> ServiceResult<Ensured> {
        permission::require(caller, Action::Administer)?;
        let username = check_username(username)?;
        required_password(password)?;
        if email.chars().count() > 254 || email.chars().any(char::is_control) {
            return Err(ServiceError::field("email", "This is no mail address."));
        }
        let Some(user) = self.relational.user_by_name(&username).await? else {
            let user = NewUser {
                username: username.clone(),
                password: self.hash_password(password).await?,
                email: email.trim().to_owned(),
                is_superuser: true,
                is_staff: true,
                is_service: false,
            };
            return match self.relational.create_user(user, self.clock.now()).await {
                Ok(_) => {
                    self.audited(caller, AuditEvent::UserCreated, &username, "administrator")
                        .await;
                    Ok(Ensured::Created)
                }
                Err(StoreError::Conflict(_)) => Err(taken(&username, "was made at the same moment")),
                Err(error) => Err(error.into()),
            };
        };
        if !user.is_superuser || !user.is_active {
            return Err(taken(
                &username,
                "is there already, and is no active administrator",
            ));
        }
        match self.verify_password(password, Some(user.password)).await? {
            Verdict::Right | Verdict::RightButWeak => Ok(Ensured::Unchanged),
            Verdict::Wrong | Verdict::Unusable => Err(taken(
                &username,
                "is there already, with another password; `changepassword` sets it",
            )),
        }
    }

    /// Makes sure that a user has this password. Where it is another one, the user's sessions are over.
    pub async fn ensure_password(
        &self,
        caller: &Principal,
        username: &str,
        password: &str,
    ) -> ServiceResult<Ensured> {
        let user = self.user_by_name(caller, username).await?;
        required_password(password)?;
        if self
            .verify_password(password, Some(user.password.clone()))
            .await?
            == Verdict::Right
        {
            return Ok(Ensured::Unchanged);
        }
        self.replaced_password(user, password).await?;
        self.audited(caller, AuditEvent::PasswordChanged, username, "")
            .await;
        Ok(Ensured::PasswordSet)
    }

    /// Makes sure that a user has a token of this name that can be used, with these tools and libraries. One that has expired
    /// makes room; one with other limits is a conflict.
    pub async fn ensure_token(
        &self,
        caller: &Principal,
        owner: UserId,
        request: TokenRequest,
    ) -> ServiceResult<EnsuredToken> {
        permission::require(caller, Action::Administer)?;
        let now = self.clock.now();
        let known = self
            .relational
            .tokens(Some(owner))
            .await?
            .into_iter()
            .find(|token| token.name == request.name.trim() && token.revoked_at.is_none());
        if let Some(known) = known {
            if is_usable(&known, now) {
                if known.tools == request.tools && known.libraries == request.libraries {
                    return Ok(EnsuredToken::Exists(known));
                }
            } else {
                self.relational.revoke_token(known.id, Some(owner), now).await?;
                self.audited(caller, AuditEvent::TokenRevoked, &known.name, "it had expired")
                    .await;
            }
        }
        self.create_token(caller, Some(owner), request)
            .await
            .map(EnsuredToken::Issued)
    }

    /// The tokens of one user, or of everybody, newest first, each with its owner.
    pub async fn tokens_of(
        &self,
        caller: &Principal,
        owner: Option<UserId>,
    ) -> ServiceResult<Vec<(McpToken, Option<User>)>> {
        permission::require(caller, Action::Administer)?;
        let tokens = self.relational.tokens(owner).await?;
        let users = self.relational.users().await?;
        let owner_of = |token: &McpToken| users.iter().find(|user| user.id == token.user_id).cloned();
        Ok(tokens
            .into_iter()
            .map(|token| {
                let owner = owner_of(&token);
                (token, owner)
            })
            .collect())
    }

    /// Revokes the token of this id, this prefix or this name (of one user, where that is said), and says whether that is
    /// new. Every process refuses it from now on.
    pub async fn revoke_token_named(
        &self,
        caller: &Principal,
        owner: Option<UserId>,
        reference: &str,
    ) -> ServiceResult<(McpToken, bool)> {
        permission::require(caller, Action::Administer)?;
        let tokens = self.relational.tokens(owner).await?;
        let named = |matches: &dyn Fn(&McpToken) -> bool| -> Vec<McpToken> {
            let (open, over): (Vec<_>, Vec<_>) = tokens
                .iter()
                .filter(|token| matches(token))
                .cloned()
                .partition(|token| token.revoked_at.is_none());
            // Of a name that was used again, the token that is still open is meant.
            if open.is_empty() {
                over.into_iter().take(1).collect()
            } else {
                open
            }
        };
        let id = reference.parse::<i64>().ok();
        let found = [
            named(&|token| Some(token.id) == id),
            named(&|token| token.prefix == reference),
            named(&|token| token.name == reference),
        ]
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default();
        let token = match <[McpToken; 1]>::try_from(found) {
            Ok([token]) => token,
            Err(found) if found.is_empty() => return Err(ServiceError::NotFound("token")),
            Err(found) => {
                return Err(ServiceError::Conflict {
                    code: "ambiguous",
                    message: format!(
                        "{reference:?} names {} tokens; give the id of one, which `list_mcp_tokens` shows.",
                        found.len()
                    ),
                });
            }
        };
        let is_new = self
            .relational
            .revoke_token(token.id, None, self.clock.now())
            .await?;
        if is_new {
            self.audited(caller, AuditEvent::TokenRevoked, &token.name, "")
                .await;
        }
        Ok((token, is_new))
    }

    /// Every signing key, newest first, without its secret.
    pub async fn signing_keys(&self, caller: &Principal) -> ServiceResult<Vec<SigningKey>> {
        permission::require(caller, Action::Administer)?;
        Ok(self.relational.signing_keys().await?)
    }

    /// Retires a signing key, and says whether that is new: every process refuses tokens under it from now on.
    pub async fn retire_signing_key(&self, caller: &Principal, kid: &str) -> ServiceResult<bool> {
        permission::require(caller, Action::Administer)?;
        if self.relational.retire_signing_key(kid, self.clock.now()).await? {
            self.audited(caller, AuditEvent::KeysRetired, kid, "").await;
            return Ok(true);
        }
        match self.relational.signing_key(kid).await? {
            Some(_) => Ok(false),
            None => Err(ServiceError::NotFound("signing key")),
        }
    }
}

fn required_password(password: &str) -> ServiceResult<()> {
    if password.is_empty() {
        return Err(ServiceError::field("password", "This field is required."));
    }
    Ok(())
}

fn taken(username: &str, why: &str) -> ServiceError {
    ServiceError::Conflict {
        code: "username_taken",
        message: format!("The user {username:?} {why}."),
    }
}

/// Whether a user could sign in with some password.
pub fn has_usable_password(user: &User) -> bool {
    !user.password.starts_with('!')
}
