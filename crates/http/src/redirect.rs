//! Which redirects are followed.

use reqwest::{StatusCode, Url};

/// The most redirects that one call follows.
pub(crate) const MAX_REDIRECTS: usize = 5;

/// Where a followed redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) url: Url,
    /// Whether the caller's headers may go along: only to the same scheme, host and port.
    pub(crate) same_origin: bool,
}

/// What is sent: a call without content may be repeated elsewhere, one with content carries a user's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Empty,
    Content,
}

/// Whether the status asks to go elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The next hop, or why it is not taken. A call never leaves TLS, and one with content stays on its host and is only
/// repeated where the status promises that the method stays (307, 308).
pub(crate) fn next_hop(
    from: &Url,
    status: StatusCode,
    location: Option<&str>,
    payload: Payload,
) -> Result<Hop, String> {
    let location = location.ok_or("it names no new address")?;
    let url = from
        .join(location)
        .map_err(|error| format!("the new address is unusable: {error}"))?;
    if from.scheme() == "https" && url.scheme() != "https" {
        return Err("the new address would leave TLS".into());
    }
    if payload == Payload::Content {
        if !matches!(status.as_u16(), 307 | 308) {
            return Err(format!(
                "status {} would turn the call into another one",
                status.as_u16()
            ));
        }
        if url.host_str() != from.host_str() {
            return Err("the new address is on another host; set the address to the final one".into());
        }
    }
    let same_origin = url.origin() == from.origin();
    Ok(Hop { url, same_origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(from: &str, code: u16, to: &str, payload: Payload) -> Result<(String, bool), String> {
        let from = Url::parse(from).expect("a URL");
        let status = StatusCode::from_u16(code).expect("a status");
        next_hop(&from, status, Some(to), payload).map(|hop| (hop.url.to_string(), hop.same_origin))
    }

    #[test]
    fn a_redirect_is_followed_within_its_rules() {
        assert_eq!(
            hop("https://a.example/x", 302, "/y", Payload::Empty),
            Ok(("https://a.example/y".into(), true))
        );
        assert_eq!(
            hop("https://a.example/x", 302, "https://b.example/y", Payload::Empty),
            Ok(("https://b.example/y".into(), false))
        );
        assert_eq!(
            hop("http://a.example/x", 301, "https://a.example/x", Payload::Empty),
            Ok(("https://a.example/x".into(), false))
        );
        assert_eq!(
            hop("https://a.example/x", 308, "/x/", Payload::Content),
            Ok(("https://a.example/x/".into(), true))
        );
    }

    #[test]
    fn others_are_not() {
        assert!(hop("https://a.example/x", 302, "http://a.example/x", Payload::Empty).is_err());
        assert!(hop("https://a.example/x", 302, "/y", Payload::Content).is_err());
        assert!(
            hop(
                "https://a.example/x",
                307,
                "https://b.example/x",
                Payload::Content
            )
            .is_err()
        );
        let from = Url::parse("https://a.example/").expect("a URL");
        assert!(next_hop(&from, StatusCode::FOUND, None, Payload::Empty).is_err());
    }
}
