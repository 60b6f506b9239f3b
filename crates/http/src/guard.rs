//! Keeps calls away from this machine and its private networks.
//!
//! Addresses in requests can come from users, documents and other servers' redirects; without a guard they could make
//! this program fetch what only it can reach. Names are checked after resolution, inside the resolver that the
//! connection itself uses, so that a name cannot resolve to one address for the check and to another for the call.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::error::HttpError;

/// Whether an address belongs to the public internet. Everything that the registries of special-purpose addresses
/// (RFC 6890 and its successors) keep from it is not: loopback, private and link-local networks, carrier-grade NAT,
/// documentation and benchmark ranges, multicast, reserved and unspecified addresses; and IPv6 addresses that carry
/// such an IPv4 address inside them.
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, private, loopback, multicast and everything reserved above it, broadcast included.
        (0 | 10 | 127 | 224.., _, _) => true,
        (100, 64..=127, _) => true,
        (169, 254, _) | (192, 168, _) => true,
        (172, 16..=31, _) => true,
        (198, 18..=19, _) => true,
        // Protocol assignments, documentation, the former 6to4 relays.
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded_v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // IPv4-mapped, and the well-known prefix of address translation: what counts is the address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(embedded_v4(high, low))
        }
        [0x2002, high, low, ..] => is_public_v4(embedded_v4(high, low)),
        // Protocol assignments with Teredo, documentation twice.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        // Of all the rest only the global unicast block is public: not unspecified, loopback, unique local, link-local,
        // site-local, multicast or the discard block.
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// The rule of one client.
#[derive(Clone)]
pub(crate) struct Guard {
    allowed: Arc<Allowed>,
}

/// What the operator named.
struct Allowed {
    hosts: HashSet<String>,
    networks: Vec<Network>,
}

/// A block of addresses.
struct Network {
    base: IpAddr,
    bits: u32,
}

impl Network {
    /// `ADDRESS/BITS`.
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let base: IpAddr = normal_host(base).parse().ok()?;
        let bits: u32 = bits.trim().parse().ok()?;
        let fits = bits <= if base.is_ipv4() { 32 } else { 128 };
        fits.then_some(Self { base, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl Guard {
    pub(crate) fn new(allowed_private_hosts: &[String]) -> Self {
        let (networks, hosts): (Vec<&String>, Vec<&String>) =
            allowed_private_hosts.iter().partition(|host| host.contains('/'));
        Self {
            allowed: Arc::new(Allowed {
                hosts: hosts.into_iter().map(|host| normal_host(host)).collect(),
                networks: networks
                    .into_iter()
                    .filter_map(|text| Network::parse(text))
                    .collect(),
            }),
        }
    }

    fn allows_private(&self, host: &str) -> bool {
        self.allowed.hosts.contains(&normal_host(host))
    }

    /// Whether a host that was not named may be called at this address.
    fn accepts(&self, address: IpAddr) -> bool {
        is_public_address(address)
            || self
                .allowed
                .networks
                .iter()
                .any(|network| network.contains(address))
    }

    /// The addresses of a name that may be called.
    pub(crate) async fn resolve(
        &self,
        host: &str,
    ) -> std::io::Result<Result<Vec<SocketAddr>, AddressRefused>> {
        // Port 0 stands for "the port of the URL", which the connector fills in.
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
        Ok(self.accepted_addresses(host, found))
    }

    fn accepted_addresses(
        &self,
        host: &str,
        found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, AddressRefused> {
        if self.allows_private(host) {
            return Ok(found);
        }
        let (accepted, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
            found.into_iter().partition(|address| self.accepts(address.ip()));
        match (accepted.is_empty(), refused.first()) {
            (true, Some(refused)) => Err(AddressRefused {
                host: host.to_owned(),
                address: refused.ip(),
            }),
            _ => Ok(accepted),
        }
    }

    /// Checks a URL before a connection is made. Literal addresses never reach the resolver, so they are judged here;
    /// the URL parser has already turned every spelling of an IPv4 address (hexadecimal, one number) into the usual one.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), HttpError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpError::Address {
                reason: format!("{} is neither http nor https", url.scheme()),
            });
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(HttpError::Address {
                reason: "it has no host".into(),
            });
        };
        let Ok(address) = normal_host(host).parse::<IpAddr>() else {
            return Ok(());
        };
        if self.accepts(address) || self.allows_private(host) {
            return Ok(());
        }
        Err(HttpError::Refused {
            host: host.to_owned(),
            address,
        })
    }
}

/// One spelling for a host: lower case, no brackets, no final dot.
fn normal_host(host: &str) -> String {
    host.trim()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

/// The only addresses of a name were refused. Travels through the connection's errors to where they are read.
#[derive(Debug)]
pub(crate) struct AddressRefused {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has the private address {}", self.host, self.address)
    }
}

impl Error for AddressRefused {}

/// Resolves names with the system's resolver and drops the addresses that the guard refuses.
pub(crate) struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(crate) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let guard = self.guard.clone();
        Box::pin(async move {
            let accepted = guard.resolve(&host).await??;
            Ok(Box::new(accepted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(address: &str) -> bool {
        is_public_address(address.parse().expect(address))
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:80b::200e",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(judge(address), "{address}");
        }
    }

    #[test]
    fn private_and_special_addresses_do_not() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "3fff:abc::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456:789a::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!judge(address), "{address}");
        }
    }

    fn check(allowed: &[&str], url: &str) -> Result<(), HttpError> {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(&allowed).check_url(&Url::parse(url).expect(url))
    }

    #[test]
    fn every_spelling_of_a_literal_address_is_judged() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://[::1]:8080/",
            "http://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/",
        ] {
            assert!(matches!(check(&[], url), Err(HttpError::Refused { .. })), "{url}");
        }
        assert_eq!(check(&[], "https://1.1.1.1/"), Ok(()));
    }

    #[test]
    fn a_host_the_operator_named_may_be_private() {
        assert_eq!(check(&["127.0.0.1"], "http://127.0.0.1:9000/"), Ok(()));
        assert_eq!(check(&["::1"], "http://[::1]:9000/"), Ok(()));
        assert_eq!(check(&["[::1]"], "http://[::1]:9000/"), Ok(()));
        assert!(check(&["127.0.0.1"], "http://127.0.0.2/").is_err());
        assert!(Guard::new(&["Embedder.Internal".into()]).allows_private("embedder.internal."));
    }

    #[test]
    fn a_network_the_operator_named_may_be_private() {
        for (network, inside, outside) in [
            ("192.168.4.0/22", "http://192.168.7.255/", "http://192.168.8.0/"),
            ("10.0.0.7/32", "http://10.0.0.7/", "http://10.0.0.6/"),
            ("0.0.0.0/0", "http://127.0.0.1/", "http://[::1]/"),
            ("fd00::/8", "http://[fd12::1]/", "http://[fe80::1]/"),
        ] {
            assert_eq!(check(&[network], inside), Ok(()), "{network}");
            assert!(check(&[network], outside).is_err(), "{network}");
        }
        for nonsense in ["10.0.0.0/33", "10.0.0.0/", "/8", "x/8"] {
            assert!(check(&[nonsense], "http://10.0.0.1/").is_err(), "{nonsense}");
        }
    }

    #[test]
    fn only_http_is_spoken() {
        assert!(matches!(
            check(&[], "file:///etc/passwd"),
            Err(HttpError::Address { .. })
        ));
        assert!(matches!(
            check(&[], "gopher://example.org/"),
            Err(HttpError::Address { .. })
        ));
    }

    #[test]
    fn a_name_keeps_only_its_public_addresses() {
        let address = |text: &str| text.parse::<SocketAddr>().expect(text);
        let mixed = vec![address("10.0.0.1:0"), address("1.1.1.1:0")];
        let accepted = |allowed: &[&str], found: &[SocketAddr]| {
            let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
            Guard::new(&allowed).accepted_addresses("a.example", found.to_vec())
        };
        assert_eq!(
            accepted(&[], &mixed).expect("one is public"),
            vec![address("1.1.1.1:0")]
        );
        for allowed in ["a.example", "10.0.0.0/8"] {
            assert_eq!(accepted(&[allowed], &mixed).expect("allowed"), mixed);
        }
        let refused = accepted(&["10.0.0.0/8"], &[address("[fd00::1]:0")]);
        assert_eq!(refused.expect_err("private").address, address("[fd00::1]:0").ip());
    }
}
