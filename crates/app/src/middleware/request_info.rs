//! Who sent a request, over what, to which name. What proxies say counts only where the proxy is trusted.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, Uri, header};
use mnemosyne_config::{IpNetwork, real_client};

use crate::error::ApiError;

/// The header that carries a request's identifier, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The longest identifier that is taken from outside, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// How a visitor reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Encrypted, at least to the outermost proxy.
    Https,
}

impl Scheme {
    /// As it stands in an address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is known of a request before anything else looks at it.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// Its identifier: the client's where it is well-formed, otherwise a new one.
    pub id: String,
    /// The address of the real client; `None` where it cannot be told.
    pub client: Option<IpAddr>,
    /// How the client reaches the outermost proxy, or the server itself.
    pub scheme: Scheme,
    /// The name, with its port, that the client asked for; lower case; empty where there is none or it is malformed.
    pub host: String,
    /// Whether a trusted proxy stands in front, so that the name is one under which MCP is reached, too.
    pub via_proxy: bool,
}

impl RequestInfo {
    /// Reads a request. Headers of proxies count only while they come from a trusted one.
    pub(crate) fn read(
        extensions: &Extensions,
        headers: &HeaderMap,
        uri: &Uri,
        trusted_proxies: &[IpNetwork],
    ) -> Self {
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.ip().to_canonical());
        let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
        let via_proxy = peer.is_some_and(is_trusted);
        let forwarded = |name: &str| via_proxy.then(|| first_of_list(headers, name)).flatten();
        let proto = forwarded(FORWARDED_PROTO);
        let scheme = match proto {
            Some(proto) if proto.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let host = forwarded(FORWARDED_HOST)
            .or_else(|| only(headers, header::HOST.as_str()))
            .or_else(|| uri.authority().map(http::uri::Authority::as_str))
            .map(str::to_ascii_lowercase)
            .filter(|host| is_well_formed_host(host))
            .unwrap_or_default();
        let hops = headers.get_all(FORWARDED_FOR).iter();
        let forwarded_for = hops.map(|value| value.to_str().unwrap_or("?"));
        Self {
            id: request_id(headers),
            client: peer.and_then(|peer| real_client(peer, forwarded_for, trusted_proxies)),
            scheme,
            host,
            via_proxy: proto.is_some(),
        }
    }

    /// Scheme and host, as they stand at the beginning of an address and in an `Origin` header.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.host)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestInfo {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a request reached its handler around the middleware"))
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    // Two different hosts in one request: whoever looked before us may have believed the other one.
    if values.next().is_some() {
        return Some("");
    }
    first.to_str().ok()
}

fn first_of_list<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let first = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!first.is_empty()).then_some(first)
}

/// What Django accepts as a host: a name or an address in brackets, and a port.
fn is_well_formed_host(host: &str) -> bool {
    let (name, port) = split_port(host);
    let is_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    is_name && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// A host without its port, and the port.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(host.len(), |at| at + 2),
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, rest) = host.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => (name, Some(port)),
        None if rest.is_empty() => (name, None),
        // Something after a bracket that is no port: malformed, and said so as a port that cannot be.
        None => (name, Some(rest)),
    }
}

fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len())
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        })
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(peer: &str, headers: &[(&'static str, &str)]) -> RequestInfo {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4242)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted: Vec<IpNetwork> = ["127.0.0.0/8", "172.18.0.0/16"]
            .iter()
            .filter_map(|network| IpNetwork::parse(network))
            .collect();
        RequestInfo::read(&extensions, &map, &Uri::from_static("/"), &trusted)
    }

    #[test]
    fn a_stranger_cannot_say_where_it_comes_from() {
        let info = read(
            "203.0.113.9",
            &[
                ("host", "own.example"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.example"),
            ],
        );
        assert_eq!(info.client, "203.0.113.9".parse().ok());
        assert_eq!((info.scheme, info.host.as_str()), (Scheme::Http, "own.example"));
    }

    #[test]
    fn trusted_proxies_are_believed_one_by_one() {
        let forwarded = [
            ("host", "app:8000"),
            ("x-forwarded-for", "10.9.9.9, 198.51.100.7"),
            ("x-forwarded-for", "172.18.0.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Own.Example:443"),
        ];
        let info = read("127.0.0.1", &forwarded);
        // 10.9.9.9 is what 198.51.100.7, who is nobody, claims.
        assert_eq!(info.client, "198.51.100.7".parse().ok());
        assert_eq!(info.origin(), "https://own.example:443");
        assert!(info.via_proxy && !read("127.0.0.1", &[]).via_proxy);
        assert_eq!(read("::ffff:127.0.0.1", &forwarded).client, info.client);
    }

    #[test]
    fn a_garbled_hop_makes_the_client_unknown_not_local() {
        assert_eq!(read("127.0.0.1", &[("x-forwarded-for", "unknown")]).client, None);
        assert_eq!(read("127.0.0.1", &[]).client, "127.0.0.1".parse().ok());
        assert_eq!(
            read("127.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:99")]).client,
            "2001:db8::1".parse().ok()
        );
    }

    #[test]
    fn malformed_hosts_are_no_hosts() {
        for bad in ["a b", "a/b", "a:b", "[::1", "[::1]x", "user@host", "a:", ""] {
            assert_eq!(read("203.0.113.9", &[("host", bad)]).host, "", "{bad}");
        }
        assert_eq!(
            read("203.0.113.9", &[("host", "one.example"), ("host", "two.example")]).host,
            ""
        );
        assert_eq!(read("203.0.113.9", &[("host", "[::1]:8000")]).host, "[::1]:8000");
    }

    #[test]
    fn an_identifier_from_outside_is_taken_where_it_is_harmless() {
        assert_eq!(read("127.0.0.1", &[("x-request-id", "abc-1.2")]).id, "abc-1.2");
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            let id = read("127.0.0.1", &[("x-request-id", bad)]).id;
            assert!(id != bad && id.len() == 36, "{id}");
        }
    }
}
