//! The settings of Mnemosyne: one table of what can be set, and a [`Config`] read from an injected [`Environment`].
//!
//! Reading is all or nothing: [`Config::read`] answers a whole configuration, or every problem at once. Nothing here
//! connects to anything. The names, defaults and meanings are those of the deployment document (one file per section);
//! names that begin with `MNEMOSYNE_` are our own.

mod config;
mod core;
mod describe;
mod email;
mod embedding;
mod env_example;
mod environment;
mod error;
mod files;
mod http;
mod logging;
mod markdown;
mod mcp;
mod network;
mod reader;
mod search;
mod secret;
mod servers;
mod settings;
mod superuser;
mod unknown;
mod worker;

pub use config::Config;
pub use describe::{DescribedSetting, Source};
pub use email::{EmailEncryption, EmailSection};
pub use embedding::{EmbeddingDialect, EmbeddingLimits, EmbeddingSection};
pub use env_example::env_example;
pub use environment::{Environment, MapEnvironment, ProcessEnvironment};
pub use error::{ConfigErrors, Problem};
pub use files::FilesSection;
pub use http::{HttpSection, IpNetwork, real_client};
pub use logging::{LogFormat, LogLevel, LoggingSection};
pub use markdown::settings_markdown;
pub use mcp::McpSection;
pub use network::NetworkSection;
pub use search::{RerankerLimits, SearchSection};
pub use secret::Secret;
pub use servers::{DatabaseSection, MemcachedSection, QueueKind, S3Section, ServersSection};
pub use settings::{Availability, Role, Roles, SETTINGS, Setting, setting};
pub use superuser::SuperuserSection;
pub use worker::WorkerSection;
