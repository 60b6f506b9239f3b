//! Outgoing calls against servers on the loopback interface that behave well and badly.

#![allow(clippy::expect_used)]

mod bodies;
mod exchange;
mod private_addresses;
mod redirects;
mod server;
mod tls;

use std::time::Duration;

use mnemosyne_http::{Outbound, OutboundSettings};

/// A client that may call the loopback address of the test servers.
fn outbound() -> Outbound {
    outbound_with(OutboundSettings::default())
}

fn outbound_with(settings: OutboundSettings) -> Outbound {
    Outbound::new(OutboundSettings {
        allowed_private_hosts: vec!["127.0.0.1".into()],
        connect_timeout: Duration::from_secs(10),
        ..settings
    })
    .expect("the settings are usable")
}
