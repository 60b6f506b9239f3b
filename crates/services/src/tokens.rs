//! MCP bearers: opaque tokens and per-turn tokens (contract §5).

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_crypto::{jwt, token};
use mnemosyne_domain::{
    AuditEvent, LibraryUid, McpToken, NewMcpToken, Principal, StoreError, TokenGrant, Tool, UserId,
    WorkspaceId,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::validate::Problems;

/// `last used` is kept to the minute, so that a busy token does not write at every call.
const TOUCH_EVERY: TimeDelta = TimeDelta::seconds(60);

/// What a new token may do.
#[derive(Clone, Debug, Default)]
pub struct TokenRequest {
    /// What its owner calls it.
    pub name: String,
    /// `None`: every tool.
    pub tools: Option<BTreeSet<Tool>>,
    /// `None`: every global library.
    pub libraries: Option<BTreeSet<LibraryUid>>,
    /// How long it is valid.
    pub valid_for: Option<TimeDelta>,
}

/// A token that was just made. The token itself is never seen again.
pub struct IssuedToken {
    /// The secret.
    pub token: String,
    /// What is stored of it.
    pub stored: McpToken,
}

impl Services {
    /// Makes a token for a user (the caller, where `owner` is `None`).
    pub async fn create_token(
        &self,
        caller: &Principal,
        owner: Option<UserId>,
        request: TokenRequest,
    ) -> ServiceResult<IssuedToken> {
        permission::require(caller, Action::OwnTokens)?;
        let own = permission::user_id(caller);
        let owner = owner.or(own).ok_or(ServiceError::NotFound("user"))?;
        if own != Some(owner) {
            permission::require(caller, Action::Administer)?;
        }
        let mut problems = Problems::default();
        let name = problems.text("name", Some(&request.name), 100);
        if request.valid_for.is_some_and(|valid| valid <= TimeDelta::zero()) {
            problems.add("expires_in", "The time must be positive.");
        }
        for library in request.libraries.iter().flatten() {
            match self.knowledge.library(library).await? {
                None => problems.add("libraries", format!("There is no library {library}.")),
                Some(found) if found.workspace_id.is_some() => problems.add(
                    "libraries",
                    "This library belongs to a workspace; stored tokens see global libraries only.",
                ),
                Some(_) => {}
            }
        }
        problems.check()?;
        let now = self.clock.now();
        let expires_at = match request.valid_for {
            Some(valid) => Some(
                now.checked_add_signed(valid)
                    .ok_or_else(|| ServiceError::field("expires_in", "The time is too long."))?,
            ),
            None => None,
        };
        let fresh = token::generate();
        let new = NewMcpToken {
            name: name.clone(),
            prefix: fresh.prefix,
            digest: fresh.digest,
            user_id: owner,
            tools: request.tools,
            libraries: request.libraries,
            expires_at,
        };
        match self.relational.create_token(new, now).await {
            Ok(stored) => {
                self.audited(caller, AuditEvent::TokenCreated, &described(&stored), "")
                    .await;
                Ok(IssuedToken {
                    token: fresh.token,
                    stored,
                })
            }
            Err(StoreError::Conflict(_)) => Err(ServiceError::Conflict {
                code: "name_conflict",
                message: format!(
                    "There is a token {name:?} already; revoke it first, or choose another name."
                ),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The caller's tokens, newest first; an administrator's command sees everybody's.
    pub async fn tokens(&self, caller: &Principal) -> ServiceResult<Vec<McpToken>> {
        permission::require(caller, Action::OwnTokens)?;
        Ok(self.relational.tokens(permission::user_id(caller)).await?)
    }

    /// Revokes a token of the caller's; it is refused from now on, by every process.
    pub async fn revoke_token(&self, caller: &Principal, id: i64) -> ServiceResult<()> {
        permission::require(caller, Action::OwnTokens)?;
        let revoked = self
            .relational
            .revoke_token(id, permission::user_id(caller), self.clock.now())
            .await?;
        if !revoked {
            return Err(ServiceError::NotFound("token"));
        }
        self.audited(caller, AuditEvent::TokenRevoked, &format!("token {id}"), "")
            .await;
        Ok(())
    }

    /// Who a bearer is. Anything that is not certainly valid is [`ServiceError::Unauthenticated`]; the log has the reason.
    pub async fn authenticate_bearer(&self, bearer: &str) -> ServiceResult<Principal> {
        if bearer.bytes().filter(|b| *b == b'.').count() == 2 {
            return self.authenticate_turn(bearer).await;
        }
        let now = self.clock.now();
        let stored = self.relational.token_by_digest(&token::digest(bearer)).await?;
        let Some(stored) = stored else {
            return self.refused("unknown token", "").await;
        };
        if stored.revoked_at.is_some() {
            return self.refused("revoked token", &described(&stored)).await;
        }
        if stored.expires_at.is_some_and(|end| end <= now) {
            return self.refused("expired token", &described(&stored)).await;
        }
        let owner = self.relational.user(stored.user_id).await?;
        if !owner.is_some_and(|owner| owner.is_active) {
            return self
                .refused("token of an inactive user", &described(&stored))
                .await;
        }
        if stored.last_used_at.is_none_or(|last| now - last >= TOUCH_EVERY) {
            self.relational.touch_token(stored.id, now).await?;
        }
        Ok(Principal::Bearer(TokenGrant {
            label: stored.prefix,
            tools: stored.tools,
            workspace: None,
            libraries: stored.libraries,
        }))
    }

    async fn authenticate_turn(&self, bearer: &str) -> ServiceResult<Principal> {
        let kid = match jwt::peek_kid(bearer) {
            Ok(kid) => kid,
            Err(error) => return self.refused(&error.to_string(), "").await,
        };
        let Some(key) = self.relational.signing_key(&kid).await? else {
            return self.refused("unknown kid", "").await;
        };
        if key.retired_at.is_some() {
            return self.refused("retired kid", &kid).await;
        }
        let secret = self.open_signing_secret(&key)?;
        let now = self.clock.now();
        let claims = match jwt::verify(bearer, &secret, now, self.settings.turn_token_max_lifetime) {
            Ok(claims) => claims,
            Err(error) => return self.refused(&error.to_string(), &kid).await,
        };
        if let Some(jti) = &claims.jti {
            let same = self
                .relational
                .remember_turn(&kid, jti, &claims.content_digest, claims.expires_at, now)
                .await?;
            if !same {
                return self
                    .refused("a turn was used again with other content", &kid)
                    .await;
            }
        }
        let workspace = match claims.workspace.as_deref() {
            None => None,
            Some(text) => match WorkspaceId::parse(text) {
                Some(workspace) => Some(workspace),
                None => return self.refused("impossible workspace", &kid).await,
            },
        };
        let libraries = match claims.libraries.as_slice() {
            [] => None,
            some => {
                let known = some
                    .iter()
                    .map(|uid| LibraryUid::parse(uid))
                    .collect::<Option<BTreeSet<_>>>();
                match known {
                    Some(known) => Some(known),
                    None => return self.refused("impossible library", &kid).await,
                }
            }
        };
        if workspace.is_none() && libraries.is_none() {
            return self.refused("a turn without scope", &kid).await;
        }
        Ok(Principal::Bearer(TokenGrant {
            label: kid,
            tools: None,
            workspace,
            libraries,
        }))
    }

    /// Refuses a bearer and writes that down. `known` names the stored token or the signing key that was found; of a bearer
    /// that nothing here knows, nothing is kept.
    async fn refused(&self, reason: &str, known: &str) -> ServiceResult<Principal> {
        tracing::info!(reason, "bearer refused");
        self.audited_often("", AuditEvent::BearerRefused, known, reason)
            .await;
        Err(ServiceError::Unauthenticated)
    }
}

/// A stored token in the words of the audit: never the token itself.
fn described(token: &McpToken) -> String {
    format!("{} ({}…)", token.name, token.prefix)
}

/// Reads a length of time as commands take it: a number and `m`, `h`, `d`, `w` or `y`.
pub fn parse_validity(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return None,
    };
    TimeDelta::try_seconds(number.checked_mul(seconds)?)
}

/// Whether a stored token would be accepted at this moment.
pub fn is_usable(token: &McpToken, now: DateTime<Utc>) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_documented() {
        assert_eq!(parse_validity("90d"), Some(TimeDelta::days(90)));
        assert_eq!(parse_validity(" 12h "), Some(TimeDelta::hours(12)));
        for bad in [
            "",
            "d",
            "90",
            "9x",
            "99999999999999999999d",
            "9223372036854775807y",
        ] {
            assert_eq!(parse_validity(bad), None, "{bad:?}");
        }
    }
}
