//! The embedders against servers on the loopback interface, and the local one against vectors of another
//! implementation.

#![allow(clippy::expect_used)]

mod local;
mod mirror;
mod openai;
mod pull;
mod registry;
mod servers;

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
/// `MNEMOSYNE_TEST_MODEL`. Tests that ask for it are ignored unless they are asked for, and then they must have it.
fn real_weights() -> PathBuf {
    std::env::var_os("MNEMOSYNE_TEST_MODEL")
        .map(PathBuf::from)
        .expect("MNEMOSYNE_TEST_MODEL names the folder with the weights of all-MiniLM-L6-v2")
}
