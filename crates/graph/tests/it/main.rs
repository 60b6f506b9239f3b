//! The embedded knowledge store: the conformance of the port, and what only this backend promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod exact;
mod kill;
mod processes;
mod support;
mod text_index;

mnemosyne_testkit::knowledge_store_conformance!(support::fresh);
