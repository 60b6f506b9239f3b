//! Everything relational: users, sessions, tokens, keys, jobs, claims on blobs, settings.

pub mod sqlite;
