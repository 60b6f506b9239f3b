//! What other programs wrote is read, and what arbitrary text there may be does no harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod arbitrary_input;
mod mutations;
mod vectors;
