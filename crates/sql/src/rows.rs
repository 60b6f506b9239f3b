//! Rows of our own tables: they have the same columns in every database.

use mnemosyne_domain::{LibraryUid, McpToken, SigningKey, StoreError, StoreResult, Tool, UserId};

use crate::time::from_micros;

/// A row of `mnemosyne_mcp_token`.
#[derive(sqlx::FromRow)]
pub(crate) struct TokenRow {
    id: i64,
    user_id: i64,
    name: String,
    prefix: String,
    digest: String,
    tools: Option<String>,
    libraries: Option<String>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl TokenRow {
    pub(crate) fn read(self) -> StoreResult<McpToken> {
        let tools = names(self.tools)?
            .map(|names| {
                names
                    .iter()
                    .map(|name| Tool::parse(name).ok_or_else(|| corrupt(name)))
                    .collect()
            })
            .transpose()?;
        let libraries =
            names(self.libraries)?.map(|names| names.into_iter().map(LibraryUid::from_store).collect());
        Ok(McpToken {
            id: self.id,
            name: self.name,
            prefix: self.prefix,
            digest: self.digest,
            user_id: UserId(self.user_id),
            tools,
            libraries,
            created_at: from_micros(self.created_at)?,
            expires_at: self.expires_at.map(from_micros).transpose()?,
            last_used_at: self.last_used_at.map(from_micros).transpose()?,
            revoked_at: self.revoked_at.map(from_micros).transpose()?,
        })
    }
}

fn corrupt(name: &str) -> StoreError {
    StoreError::Corrupt(format!("{name:?} is no tool"))
}

fn names(list: Option<String>) -> StoreResult<Option<Vec<String>>> {
    list.map(|text| serde_json::from_str(&text).map_err(|error| StoreError::Corrupt(error.to_string())))
        .transpose()
}

/// The names as a JSON list, where there is a list.
pub(crate) fn list<'a>(names: Option<impl Iterator<Item = &'a str>>) -> Option<String> {
    names.map(|names| serde_json::Value::from_iter(names).to_string())
}

/// A row of `mnemosyne_signing_key`.
#[derive(sqlx::FromRow)]
pub(crate) struct KeyRow {
    kid: String,
    sealed_secret: String,
    created_at: i64,
    retired_at: Option<i64>,
}

impl KeyRow {
    pub(crate) fn read(self) -> StoreResult<SigningKey> {
        Ok(SigningKey {
            kid: self.kid,
            sealed_secret: self.sealed_secret,
            created_at: from_micros(self.created_at)?,
            retired_at: self.retired_at.map(from_micros).transpose()?,
        })
    }
}
