//! The knowledge store on a real Neo4j server: the conformance of the port, and what only this backend promises.
//!
//! `MNEMOSYNE_TEST_NEO4J_URL` names the server, with user and password. Its database is emptied before each test: a
//! community server has only one, so tests hold one lock and come one after the other.
#![cfg(feature = "services")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod crash;
mod races;
mod reach;
mod scope;
mod setup;
mod support;
mod syntax;

mnemosyne_testkit::knowledge_store_conformance!(support::fresh);
