//! Where a request comes from: the real client's address, as the surface judged it. It travels beside the call and not in
//! every signature, because only what is written down and what is slowed down asks for it.

use std::net::IpAddr;

tokio::task_local! {
    static ADDRESS: Option<IpAddr>;
}

/// Runs work on behalf of a client at this address; `None` where it cannot be told.
pub async fn from<F: Future>(address: Option<IpAddr>, work: F) -> F::Output {
    ADDRESS.scope(address, work).await
}

/// The address that the work at hand is done for; `None` for a command, or where it cannot be told.
pub fn address() -> Option<IpAddr> {
    ADDRESS.try_with(|address| *address).ok().flatten()
}

/// The network that attempts are counted for: an IPv4 address, or the 64 bits of an IPv6 address that one customer has.
pub(crate) fn network(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// The 48 bits of an IPv6 address that one site has, which are 65,536 networks; `None` where there is nothing above the
/// network.
pub(crate) fn site(address: Option<IpAddr>) -> Option<String> {
    match address?.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Some(format!("{a:x}:{b:x}:{c:x}::/48"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customers_addresses_are_one_network() {
        let network = |text: &str| network(text.parse().ok());
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2::9"));
        assert_ne!(network("2001:db8:1:2::9"), network("2001:db8:1:3::9"));
        assert_eq!(network("x"), "unknown");
    }

    #[test]
    fn the_networks_of_one_site_are_told_from_those_of_another() {
        let site = |text: &str| site(text.parse().ok());
        assert_eq!(site("2001:db8:1:2::9").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(site("2001:db8:1:2::9"), site("2001:db8:1:ffff::1"));
        assert_ne!(site("2001:db8:1:2::9"), site("2001:db8:2:2::9"));
        for none in ["192.0.2.7", "::ffff:192.0.2.7", "x"] {
            assert_eq!(site(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn an_address_is_known_inside_its_work_only() {
        let address: Option<IpAddr> = "192.0.2.7".parse().ok();
        assert_eq!(super::from(address, async { super::address() }).await, address);
        assert_eq!(super::address(), None);
    }
}
