//! What the end-to-end tests share: the executable in a data folder of its own ([`Installation`], [`Server`]), a small
//! HTTP client ([`Client`]), and the fixtures with what is known of them ([`fixtures`]).
//!
//! Nothing here links to the program under test. It is started as a user starts it, told things by arguments and
//! environment variables, and believed only by what it prints, answers and leaves on disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod client;
mod command;
pub mod fixtures;
mod installation;
mod server;

use std::time::{Duration, Instant};

pub use client::{Answer, Client, Part};
pub use command::Output;
pub use installation::{Installation, executable};
pub use server::Server;

/// How long anything may take before the test gives up on it. Generous, because a loaded machine is no defect;
/// nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Looks again and again, for at most [`PATIENCE`], until there is something.
///
/// # Panics
/// When it is never there; `what` says what was awaited.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(40));
    }
}
