//! Users, sessions, tokens, keys, and who is asking.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};

use crate::id::{LibraryUid, WorkspaceId};

/// The primary key of a user in `auth_user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

/// A row of Django's `auth_user` (contract §5).
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Primary key.
    pub id: UserId,
    /// Unique; at most 150 characters.
    pub username: String,
    /// The encoded hash, as Django writes it: `algorithm$iterations$salt$hash`.
    pub password: String,
    /// Mail address, may be empty.
    pub email: String,
    /// Given name, may be empty.
    pub first_name: String,
    /// Family name, may be empty.
    pub last_name: String,
    /// May do everything.
    pub is_superuser: bool,
    /// May see the pages of administration.
    pub is_staff: bool,
    /// May sign in at all.
    pub is_active: bool,
    /// When it was made.
    pub date_joined: DateTime<Utc>,
    /// Last sign-in in a browser.
    pub last_login: Option<DateTime<Utc>>,
    /// It belongs to a program. Kept beside Django's table.
    pub is_service: bool,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// A user to be made.
#[derive(Clone)]
pub struct NewUser {
    /// Unique; at most 150 characters.
    pub username: String,
    /// The encoded hash.
    pub password: String,
    /// Mail address, may be empty.
    pub email: String,
    /// May do everything.
    pub is_superuser: bool,
    /// May see the pages of administration.
    pub is_staff: bool,
    /// See [`User::is_service`].
    pub is_service: bool,
}

/// A row of Django's `django_session`.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The secret in the cookie.
    pub key: String,
    /// The signed session data, as Django encodes it.
    pub data: String,
    /// After this moment the session is over.
    pub expires_at: DateTime<Utc>,
}

/// The MCP tools (contract §8), as allow lists name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// `search`
    Search,
    /// `get_chunk`
    GetChunk,
    /// `list_libraries`
    ListLibraries,
    /// `list_collections`
    ListCollections,
    /// `list_items`
    ListItems,
    /// `get_health`, the only tool that needs no token
    GetHealth,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Self; 6] = [
        Self::Search,
        Self::GetChunk,
        Self::ListLibraries,
        Self::ListCollections,
        Self::ListItems,
        Self::GetHealth,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::GetChunk => "get_chunk",
            Self::ListLibraries => "list_libraries",
            Self::ListCollections => "list_collections",
            Self::ListItems => "list_items",
            Self::GetHealth => "get_health",
        }
    }

    /// The tool of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }
}

/// An MCP token as it is stored: never the token itself, only its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpToken {
    /// Primary key.
    pub id: i64,
    /// What its owner calls it; unique for the owner.
    pub name: String,
    /// The first characters of the token, to recognise it by.
    pub prefix: String,
    /// Lower-case hexadecimal SHA-256 of the token.
    pub digest: String,
    /// Its owner.
    pub user_id: UserId,
    /// `None`: every tool.
    pub tools: Option<BTreeSet<Tool>>,
    /// `None`: every library its owner's scope shows.
    pub libraries: Option<BTreeSet<LibraryUid>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// After this moment it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last accepted (to the minute).
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMcpToken {
    /// What its owner calls it.
    pub name: String,
    /// The first characters of the token.
    pub prefix: String,
    /// Lower-case hexadecimal SHA-256 of the token.
    pub digest: String,
    /// Its owner.
    pub user_id: UserId,
    /// See [`McpToken::tools`].
    pub tools: Option<BTreeSet<Tool>>,
    /// See [`McpToken::libraries`].
    pub libraries: Option<BTreeSet<LibraryUid>>,
    /// See [`McpToken::expires_at`].
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key that per-turn tokens are signed with (contract §5).
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid` in a token's header.
    pub kid: String,
    /// The HMAC key, sealed with a key derived from `SECRET_KEY`.
    pub sealed_secret: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when tokens under it are refused.
    pub retired_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// What a bearer may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// How it appears in logs: a token's prefix or a key's `kid`.
    pub label: String,
    /// `None`: every tool.
    pub tools: Option<BTreeSet<Tool>>,
    /// The one workspace it sees; `None`: the global libraries.
    pub workspace: Option<WorkspaceId>,
    /// `None`: every library of that scope.
    pub libraries: Option<BTreeSet<LibraryUid>>,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody known by name: by session or by HTTP Basic.
    User {
        /// Primary key.
        id: UserId,
        /// The name, for logs and pages.
        username: String,
        /// May do everything.
        is_superuser: bool,
        /// May see the pages of administration.
        is_staff: bool,
    },
    /// A bearer on MCP.
    Bearer(TokenGrant),
    /// A command on this machine, or the process itself.
    Local,
}
