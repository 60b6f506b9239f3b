//! What may be called from here.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::http::{IpNetwork, host};
use crate::reader::Reader;

/// Outgoing calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSection {
    /// Host names in lower case, IP addresses, or networks ([`IpNetwork::parse`] reads the last two) that may be called
    /// although they are private.
    pub allowed_private_hosts: Vec<String>,
    /// The hub that models are pulled from, without a slash at its end.
    pub hf_endpoint: String,
    /// Certificates of authorities that are believed besides the system's.
    pub ca_file: Option<PathBuf>,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<NetworkSection> {
    let allowed_private_hosts = reader.list(
        "MNEMOSYNE_ALLOWED_PRIVATE_HOSTS",
        "a host name, an IP address or a network, without scheme and port",
        private_host,
    );
    let hf_endpoint = reader.base_url("HF_ENDPOINT");
    let ca_file = reader.text("MNEMOSYNE_CA_FILE").map(PathBuf::from);
    Some(NetworkSection {
        allowed_private_hosts,
        hf_endpoint: hf_endpoint?,
        ca_file,
    })
}

fn private_host(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    if let Some(network) = IpNetwork::parse(text) {
        return Some(network.to_string());
    }
    host(text)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn good_and_empty_values() {
        let unset = read(&[("HF_ENDPOINT", "")]).network;
        assert!(unset.allowed_private_hosts.is_empty());
        assert_eq!(unset.hf_endpoint, "https://huggingface.co");
        let set = read(&[
            (
                "MNEMOSYNE_ALLOWED_PRIVATE_HOSTS",
                "GPU.example.org,10.0.0.7,[::1],192.168.0.0/16",
            ),
            ("HF_ENDPOINT", "http://127.0.0.1:9999/"),
        ])
        .network;
        assert_eq!(
            set.allowed_private_hosts,
            ["gpu.example.org", "10.0.0.7", "::1", "192.168.0.0/16"]
        );
        assert_eq!(set.hf_endpoint, "http://127.0.0.1:9999");
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS", "http://gpu.example.org"),
            ("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS", "gpu.example.org:8080"),
            ("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS", "10.0.0.0/99"),
            ("HF_ENDPOINT", "huggingface.co"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
