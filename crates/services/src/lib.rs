//! The use cases of Mnemosyne, one file each, and every permission check, so that the browser, REST, MCP and the command
//! line cannot differ. Takes ports; knows no HTTP, no SQL and no model server.

pub mod accounts;
pub mod audit;
mod basic;
pub mod collections;
pub mod concepts;
mod context;
pub mod demo;
mod error;
pub mod health;
pub mod ingest;
pub mod items;
pub mod jobs;
pub mod legacy;
pub mod libraries;
pub mod models;
pub mod operators;
pub mod origin;
mod outbox;
pub mod password_rules;
pub mod passwords;
pub mod permission;
pub mod pipeline;
pub mod providers;
pub mod reembed;
pub mod search;
pub mod secrets;
pub mod signing_keys;
mod throttle;
pub mod tokens;
pub mod upkeep;
pub mod users;
pub mod validate;
pub mod wire;
pub mod workspaces;

pub use context::{Backends, IngestSettings, SearchSettings, SecretKey, ServiceSettings, Services};
pub use error::{ServiceError, ServiceResult};
/// Tokens of forms: the surfaces that have forms take them from here, and know no other cryptography.
pub use mnemosyne_crypto::csrf;
/// The kinds of files that can be read: pages name them, and offer them for upload. The blocks of a document: pages draw
/// them.
pub use mnemosyne_documents::{Block, BlockKind, Format};
pub use secrets::Keyring;
