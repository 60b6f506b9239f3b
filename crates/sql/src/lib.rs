//! Everything relational: users, sessions, tokens, keys, jobs, claims on blobs, settings.

pub mod postgres;
mod rows;
pub mod sqlite;
mod time;
