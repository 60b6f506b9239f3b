//! "HTTP surface" of the deployment document, and where to listen.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use mnemosyne_domain::Dependency;

use crate::reader::Reader;

/// How the two servers listen and whom they believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSection {
    /// Where pages and the REST API listen; port 0 takes a free one.
    pub app_listen: SocketAddr,
    /// Where MCP listens; port 0 takes a free one.
    pub mcp_listen: SocketAddr,
    /// Host names in lower case, without ports, IPv6 addresses in brackets; `*` stands for all, a leading dot for a
    /// domain and its subdomains.
    pub allowed_hosts: Vec<String>,
    /// `scheme://host[:port]` in lower case, without a slash at the end; the host may begin with `*.`.
    pub csrf_trusted_origins: Vec<String>,
    /// Whose forwarding headers count.
    pub trusted_proxies: Vec<IpNetwork>,
    /// What `/ready/` demands besides what it always does.
    pub ready_requires: Vec<Dependency>,
}

/// A network of IP addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// The network in `10.0.0.0/8`, `fd00::/8`, or the one address in `10.0.0.1`, `::1`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
            None => longest,
        };
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// Whether an address is inside. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The address of the real client. Walks from the connection outwards through what the proxies have written into
/// `X-Forwarded-For` (in order; each value a list by comma), as long as the address that speaks is a trusted proxy. What an
/// untrusted address claims of those before it is not believed. `None` where it cannot be told.
pub fn real_client<'h>(
    peer: IpAddr,
    forwarded_for: impl IntoIterator<Item = &'h str>,
    trusted_proxies: &[IpNetwork],
) -> Option<IpAddr> {
    let hops: Vec<&str> = forwarded_for
        .into_iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut current = peer.to_canonical();
    for hop in hops.into_iter().rev() {
        if !trusted_proxies.iter().any(|network| network.contains(current)) {
            return Some(current);
        }
        current = parse_hop(hop)?.to_canonical();
    }
    Some(current)
}

/// An address as proxies write it, some of them with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<HttpSection> {
    let allowed_hosts = reader.list(
        "ALLOWED_HOSTS",
        "a host name without scheme, port and path",
        host_pattern,
    );
    let csrf_trusted_origins = reader.list(
        "CSRF_TRUSTED_ORIGINS",
        "an origin: scheme and host, and a port where it is not the usual one",
        origin,
    );
    let listen = "an IP address and a port";
    let app_listen = reader.parsed("MNEMOSYNE_APP_LISTEN", listen, |value| value.parse().ok());
    let mcp_listen = reader.parsed("MNEMOSYNE_MCP_LISTEN", listen, |value| value.parse().ok());
    let trusted_proxies = reader.list(
        "MNEMOSYNE_TRUSTED_PROXIES",
        "an IP address or a network such as 10.0.0.0/8",
        IpNetwork::parse,
    );
    let ready_requires = reader.list(
        "MNEMOSYNE_READY_REQUIRES",
        "one of knowledge, broker and storage",
        Dependency::parse_optional,
    );
    Some(HttpSection {
        app_listen: app_listen?,
        mcp_listen: mcp_listen?,
        allowed_hosts,
        csrf_trusted_origins,
        trusted_proxies,
        ready_requires,
    })
}

/// A host name, an IPv4 address or an IPv6 address in brackets, in lower case.
pub(crate) fn host(text: &str) -> Option<String> {
    let host = text.to_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok().then_some(host);
    }
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (host.len() <= 253 && host.split('.').all(label_is_good)).then_some(host)
}

fn host_pattern(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    match text.strip_prefix('.') {
        Some(domain) => host(domain).map(|domain| format!(".{domain}")),
        None => host(text),
    }
}

fn origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return None;
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (wildcard, rest) = match rest.strip_prefix("*.") {
        Some(domain) => ("*.", domain),
        None => ("", rest),
    };
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse::<u16>().ok()?)),
        _ => (rest, None),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{wildcard}{}{port}", host(name)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let http = read(&[("ALLOWED_HOSTS", ""), ("MNEMOSYNE_TRUSTED_PROXIES", " ")]).http;
        assert_eq!(http.app_listen.to_string(), "127.0.0.1:8000");
        assert_eq!(http.mcp_listen.to_string(), "127.0.0.1:8001");
        assert_eq!(http.allowed_hosts, ["localhost", "127.0.0.1", "[::1]"]);
        assert!(http.csrf_trusted_origins.is_empty());
        assert!(http.ready_requires.is_empty());
        for (address, trusted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("10.0.0.1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let found = http
                .trusted_proxies
                .iter()
                .any(|network| network.contains(address));
            assert_eq!(found, trusted, "{address}");
        }
    }

    #[test]
    fn values() {
        let http = read(&[
            ("MNEMOSYNE_APP_LISTEN", "0.0.0.0:0"),
            ("MNEMOSYNE_MCP_LISTEN", "[::]:9001"),
            (
                "ALLOWED_HOSTS",
                " Mnemosyne.Example.ORG, .example.com ,*,[fe80::1],",
            ),
            (
                "CSRF_TRUSTED_ORIGINS",
                "https://Mnemosyne.example.org/,https://*.example.org:8443,http://[::1]:80,http://[::1]",
            ),
            ("MNEMOSYNE_TRUSTED_PROXIES", "10.10.0.0/24, fd00::/8"),
            ("MNEMOSYNE_READY_REQUIRES", "storage, broker"),
        ])
        .http;
        assert_eq!(http.app_listen.port(), 0);
        assert_eq!(http.mcp_listen.to_string(), "[::]:9001");
        assert_eq!(
            http.allowed_hosts,
            ["mnemosyne.example.org", ".example.com", "*", "[fe80::1]"]
        );
        assert_eq!(
            http.csrf_trusted_origins,
            [
                "https://mnemosyne.example.org",
                "https://*.example.org:8443",
                "http://[::1]:80",
                "http://[::1]"
            ]
        );
        assert_eq!(http.trusted_proxies.len(), 2);
        assert_eq!(http.ready_requires, [Dependency::Storage, Dependency::Broker]);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("MNEMOSYNE_APP_LISTEN", "8000"),
            ("MNEMOSYNE_APP_LISTEN", "127.0.0.1"),
            ("MNEMOSYNE_MCP_LISTEN", "127.0.0.1:70000"),
            ("ALLOWED_HOSTS", "https://example.org"),
            ("ALLOWED_HOSTS", "example.org:443"),
            ("ALLOWED_HOSTS", "example.org/path"),
            ("ALLOWED_HOSTS", "localhost,two words"),
            ("CSRF_TRUSTED_ORIGINS", "example.org"),
            ("CSRF_TRUSTED_ORIGINS", "ftp://example.org"),
            ("CSRF_TRUSTED_ORIGINS", "https://example.org/path"),
            ("CSRF_TRUSTED_ORIGINS", "https://example.org:port"),
            ("MNEMOSYNE_TRUSTED_PROXIES", "proxy.example.org"),
            ("MNEMOSYNE_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("MNEMOSYNE_TRUSTED_PROXIES", "10.0.0.0/+8"),
            ("MNEMOSYNE_TRUSTED_PROXIES", "::1/129"),
            ("MNEMOSYNE_READY_REQUIRES", "storage,bucket"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
            assert!(problems[0].example.is_some());
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, inside) in [
            ("10.10.0.0/24", "10.10.0.255", true),
            ("10.10.0.0/24", "10.10.1.0", false),
            ("10.10.0.7/24", "10.10.0.9", true),
            ("10.10.0.7", "10.10.0.7", true),
            ("10.10.0.7", "10.10.0.8", false),
            ("10.10.0.0/24", "::ffff:10.10.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let parsed = IpNetwork::parse(network).unwrap();
            assert_eq!(
                parsed.contains(address.parse().unwrap()),
                inside,
                "{network} {address}"
            );
        }
    }
}
