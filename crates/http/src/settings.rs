//! What an operator decides about outgoing calls.

use std::path::PathBuf;
use std::time::Duration;

/// How outgoing calls are made.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// How long a whole call may take; for a streamed download, how long it may stand still.
    pub timeout: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// Hosts (names or literal addresses, without a port) that may have a private address, and private networks
    /// (`10.1.0.0/16`) in which every host may. Upper and lower case are one.
    pub allowed_private_hosts: Vec<String>,
    /// Whether certificates are checked. Switching it off lets anybody on the way read and change what is sent.
    pub verify_tls: bool,
    /// Certificates (PEM) of authorities that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for OutboundSettings {
    /// 30 s a call, 10 s to connect, no private host, certificates checked against the system's authorities.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            allowed_private_hosts: Vec::new(),
            verify_tls: true,
            ca_file: None,
        }
    }
}

impl OutboundSettings {
    /// Allows the host of this URL to have a private address: the operator named it in a setting of its own, so it is
    /// meant. A text that is no URL changes nothing; the call to it fails and says so.
    pub fn allow_host_of(&mut self, url: &str) {
        let Ok(url) = reqwest::Url::parse(url) else {
            return;
        };
        if let Some(host) = url.host_str() {
            self.allowed_private_hosts.push(host.to_owned());
        }
    }
}
