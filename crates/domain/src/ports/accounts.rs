use chrono::{DateTime, Utc};

use crate::account::{McpToken, NewMcpToken, NewUser, SessionRecord, SigningKey, User, UserId};
use crate::audit::{UserChange, UserUpdate};
use crate::error::StoreResult;

/// Users and their sessions: Django's tables.
#[async_trait::async_trait]
pub trait Accounts: Send + Sync {
    /// Makes a user. `Conflict("username")` where the name is taken.
    async fn create_user(&self, user: NewUser, now: DateTime<Utc>) -> StoreResult<User>;
    /// The user of this name (exact, as Django compares).
    async fn user_by_name(&self, username: &str) -> StoreResult<Option<User>>;
    /// The user of this key.
    async fn user(&self, id: UserId) -> StoreResult<Option<User>>;
    /// Every user, by name.
    async fn users(&self) -> StoreResult<Vec<User>>;
    /// Replaces the password hash that was read by another one; false where it is not `from` (any more). Safe against two
    /// processes at once.
    async fn replace_password(&self, id: UserId, from: &str, to: &str) -> StoreResult<bool>;
    /// Changes a user, unless that would leave no administrator who is active and has a password. Safe against two
    /// processes at once. `NotFound` where there is no such user.
    async fn update_user(&self, id: UserId, change: &UserChange) -> StoreResult<UserUpdate>;
    /// Notes a sign-in.
    async fn set_last_login(&self, id: UserId, at: DateTime<Utc>) -> StoreResult<()>;
    /// Writes a session, new or known.
    async fn save_session(&self, session: &SessionRecord) -> StoreResult<()>;
    /// The session of this key, unless it is over.
    async fn session(&self, key: &str, now: DateTime<Utc>) -> StoreResult<Option<SessionRecord>>;
    /// Sessions that are not over, by key, after the given one: at most `limit`.
    async fn sessions_after(
        &self,
        key: &str,
        now: DateTime<Utc>,
        limit: u32,
    ) -> StoreResult<Vec<SessionRecord>>;
    /// Ends a session.
    async fn delete_session(&self, key: &str) -> StoreResult<()>;
    /// Removes sessions that are over, and says how many.
    async fn delete_expired_sessions(&self, now: DateTime<Utc>) -> StoreResult<u64>;
}

/// MCP tokens.
#[async_trait::async_trait]
pub trait Tokens: Send + Sync {
    /// Stores a token. `Conflict("name")` where its owner has one of this name that is not revoked.
    async fn create_token(&self, token: NewMcpToken, now: DateTime<Utc>) -> StoreResult<McpToken>;
    /// The token with this digest, revoked or expired ones included.
    async fn token_by_digest(&self, digest: &str) -> StoreResult<Option<McpToken>>;
    /// The tokens of one user, or of all, newest first.
    async fn tokens(&self, owner: Option<UserId>) -> StoreResult<Vec<McpToken>>;
    /// Revokes a token of this owner (of anyone where `None`); false where there is none.
    async fn revoke_token(&self, id: i64, owner: Option<UserId>, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Notes that a token was accepted.
    async fn touch_token(&self, id: i64, at: DateTime<Utc>) -> StoreResult<()>;
}

/// Keys of per-turn tokens, and the turns that were seen.
#[async_trait::async_trait]
pub trait SigningKeys: Send + Sync {
    /// The key of this name, retired ones included.
    async fn signing_key(&self, kid: &str) -> StoreResult<Option<SigningKey>>;
    /// Every key, newest first.
    async fn signing_keys(&self) -> StoreResult<Vec<SigningKey>>;
    /// Stores a key and, where asked, retires all others in the same transaction. `Conflict("kid")` where it exists.
    async fn create_signing_key(&self, key: SigningKey, retire_others: bool) -> StoreResult<()>;
    /// Retires a key; false where there is none of this name, or it was retired before.
    async fn retire_signing_key(&self, kid: &str, now: DateTime<Utc>) -> StoreResult<bool>;
    /// Retires every key but this one, and says how many.
    async fn retire_other_signing_keys(&self, kid: &str, now: DateTime<Utc>) -> StoreResult<u64>;
    /// Replaces the sealed secret of a key by another seal of it; false where it is not `from` (any more).
    async fn reseal_signing_key(&self, kid: &str, from: &str, to: &str) -> StoreResult<bool>;
    /// Remembers that a turn (`jti` of a key) was used with content of this digest, until `expires_at`. False where the
    /// same turn was already used with other content. Safe against two processes at once.
    async fn remember_turn(
        &self,
        kid: &str,
        jti: &str,
        content_digest: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> StoreResult<bool>;
}
