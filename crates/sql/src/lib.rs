//! Everything relational: users, sessions, tokens, keys, jobs, claims on blobs, settings.

pub mod postgres;
mod rows;
mod schema;
pub mod sqlite;
mod time;
