//! The embedders against servers on the loopback interface, and the local one against vectors of another
//! implementation.

#![allow(clippy::expect_used)]

mod local;
mod mirror;
mod openai;
mod pull;
mod registry;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use mnemosyne_http::{Outbound, OutboundSettings};

/// A client that may call the test servers.
fn outbound() -> Outbound {
    Outbound::new(OutboundSettings {
        timeout: Duration::from_secs(30),
        allowed_private_hosts: vec!["127.0.0.1".into()],
        ..OutboundSettings::default()
    })
    .expect("the settings are usable")
}

/// The folder with the real weights of all-MiniLM-L6-v2, which are not part of the sources: named by
/// `MNEMOSYNE_TEST_MODEL`. Without them a test has nothing to check, and says so.
fn real_weights(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MNEMOSYNE_TEST_MODEL").map(PathBuf::from);
    if folder.is_none() {
        // Written directly: what a passing test prints in the usual way is swallowed.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {test} (MNEMOSYNE_TEST_MODEL names no folder with the weights of all-MiniLM-L6-v2)"
        );
    }
    folder
}
