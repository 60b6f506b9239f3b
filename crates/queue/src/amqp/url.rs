use std::fmt;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

/// Seconds between signs of life, where the URL says nothing: a connection that died without a word is noticed after
/// twice as long.
const HEARTBEAT: u16 = 15;

/// The largest frame in bytes; longer messages come in several. The client keeps 32 frames for each direction, and fills them with
/// zeros: with the 128 KiB that a broker offers, each connection held 8 MB.
const FRAME_MAX: u32 = 32 * 1024;

/// The address of a broker, user and password included. It is never shown with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(AMQPUri);

/// What is wrong with a broker's URL. The sentence never holds a part of the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// A sign that ends a part of a URL stands inside one.
    #[error(
        "a sign with a meaning in URLs stands in the user, the password or the virtual host; percent-encode it \
         (@ as %40, / as %2F, ? as %3F, # as %23, % as %25)"
    )]
    NotEncoded,
    /// Another protocol.
    #[error("it must begin with amqp:// or amqps://")]
    Scheme,
    /// Percent-encoded bytes are no text.
    #[error("what is percent-encoded in it is no UTF-8 text")]
    Encoding,
    /// Anything else.
    #[error("{0}")]
    Invalid(String),
}

impl BrokerUrl {
    /// Reads `amqp://USER:PASSWORD@HOST:PORT/VHOST`, each part percent-encoded. As with Celery, a URL without a virtual
    /// host means `/`, and what is left out is `guest`, `guest`, `localhost` and the port of the protocol.
    pub fn parse(text: &str) -> Result<Self, BrokerUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(BrokerUrlError::Scheme)?;
        let scheme: AMQPScheme = scheme.parse().map_err(|_| BrokerUrlError::Scheme)?;
        // Whatever stands before the last @ is meant as user and password.
        if let Some((login, _)) = rest.rsplit_once('@')
            && login.contains(['/', '?', '#', '@'])
        {
            return Err(BrokerUrlError::NotEncoded);
        }
        let url = Url::parse(text).map_err(|error| BrokerUrlError::Invalid(error.to_string()))?;
        if url.fragment().is_some() {
            return Err(BrokerUrlError::NotEncoded);
        }
        let default = AMQPUserInfo::default();
        let username = match url.username() {
            "" => default.username,
            name => decoded(name)?,
        };
        let password = url.password().map_or(Ok(default.password), decoded)?;
        let host = match url.host_str() {
            None | Some("") => AMQPAuthority::default().host,
            Some(host) => decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
        };
        let vhost = match url.path().strip_prefix('/') {
            None | Some("") => "/".to_owned(),
            Some(path) => decoded(path)?,
        };
        let heartbeat = match url.query_pairs().find(|(name, _)| name == "heartbeat") {
            None => HEARTBEAT,
            Some((_, seconds)) => seconds
                .parse()
                .map_err(|_| BrokerUrlError::Invalid("heartbeat is a number of seconds".into()))?,
        };
        Ok(Self(AMQPUri {
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username, password },
                host,
                port: url.port().unwrap_or_else(|| scheme.default_port()),
            },
            scheme,
            vhost,
            query: AMQPQueryString {
                heartbeat: Some(heartbeat),
                frame_max: Some(FRAME_MAX),
                ..AMQPQueryString::default()
            },
        }))
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }

    /// The broker as `inspect stats` shows it.
    pub(super) fn described(&self) -> Value {
        json!({
            "hostname": self.0.authority.host,
            "port": self.0.authority.port,
            "userid": self.0.authority.userinfo.username,
            "virtual_host": self.0.vhost,
            "transport": "amqp",
            "ssl": self.0.scheme == AMQPScheme::AMQPS,
            "heartbeat": self.0.query.heartbeat,
        })
    }
}

fn decoded(part: &str) -> Result<String, BrokerUrlError> {
    let text = percent_decode_str(part).decode_utf8();
    Ok(text.map_err(|_| BrokerUrlError::Encoding)?.into_owned())
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = &self.0;
        let AMQPAuthority { userinfo, host, port } = authority;
        write!(
            f,
            "{scheme}://{}:***@{host}:{port}, virtual host {vhost}",
            userinfo.username
        )
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String, u16, String) {
        let uri = BrokerUrl::parse(text).unwrap().uri();
        let AMQPAuthority { userinfo, host, port } = uri.authority;
        (userinfo.username, userinfo.password, host, port, uri.vhost)
    }

    #[test]
    fn every_part_is_decoded() {
        assert_eq!(
            parts("amqp://us%40er:p%40s%2Fs%23%3F%25%3A+%C3%A4%5B@mq.example.org:5673/%2Fv%2Fhost"),
            (
                "us@er".into(),
                "p@s/s#?%:+ä[".into(),
                "mq.example.org".into(),
                5673,
                "/v/host".into()
            )
        );
        assert_eq!(
            parts("amqp://[::1]/x"),
            ("guest".into(), "guest".into(), "::1".into(), 5672, "x".into())
        );
        assert_eq!(parts("amqps://u:p@127.0.0.1").3, 5671);
    }

    #[test]
    fn no_virtual_host_is_the_default_one_as_with_celery() {
        for text in [
            "amqp://h",
            "amqp://h/",
            "amqp://h//",
            "amqp://h/%2F",
            "amqp://h/%2f",
        ] {
            assert_eq!(parts(text).4, "/", "{text}");
        }
    }

    #[test]
    fn a_password_that_was_not_encoded_is_named_as_the_mistake() {
        for password in ["p@ss", "pa/ss", "pa?ss", "pa#ss", "@", "#"] {
            let error = BrokerUrl::parse(&format!("amqp://user:{password}@host:5672/vhost")).unwrap_err();
            assert_eq!(error, BrokerUrlError::NotEncoded, "{password}");
        }
        assert_eq!(BrokerUrl::parse("http://h"), Err(BrokerUrlError::Scheme));
        assert_eq!(BrokerUrl::parse("amqp://h/%ff"), Err(BrokerUrlError::Encoding));
        assert!(matches!(
            BrokerUrl::parse("amqp://h:port/"),
            Err(BrokerUrlError::Invalid(_))
        ));
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = BrokerUrl::parse("amqp://user:secret@host/v").unwrap();
        assert_eq!(url.to_string(), "amqp://user:***@host:5672, virtual host v");
        for shown in [format!("{url:?}"), url.described().to_string()] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        let error = BrokerUrl::parse("amqp://user:sec#ret@host/v").unwrap_err();
        assert!(!error.to_string().contains("ret@"));
    }
}
