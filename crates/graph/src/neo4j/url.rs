//! The Bolt URL of a deployment: `bolt://user:password@host:port`, taken apart by ourselves, because the driver ignores
//! what is before the `@`.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// The schemes that the driver knows: unencrypted, with a certificate that is verified (`+s`), with one that is not
/// (`+ssc`). `neo4j` tells a server that it may route.
const SCHEMES: [&str; 6] = ["bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"];

/// Where a server is and who logs in to it.
#[derive(Clone, PartialEq, Eq)]
pub struct BoltAddress {
    /// Scheme, host and port, without user and password.
    pub url: String,
    /// The user, decoded.
    pub user: String,
    /// The password, decoded.
    pub password: String,
    /// The database, where the URL names one as its path; otherwise the server's default.
    pub database: Option<String>,
}

impl fmt::Debug for BoltAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoltAddress")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Why a text is no Bolt URL. No variant holds, and no sentence shows, any part of the text that could be of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoltUrlError {
    /// There is no `://`, or another scheme before it.
    #[error(
        "it must begin with bolt://, bolt+s://, bolt+ssc://, neo4j://, neo4j+s:// or neo4j+ssc://, such as \
         bolt://neo4j:password@host:7687"
    )]
    Scheme,
    /// There is an `@`, but behind a character that ends the host of a URL.
    #[error(
        "its user or password holds a character that is special in a URL and was left unencoded: write / as %2F, ? as \
         %3F, # as %23, @ as %40, : as %3A and % as %25"
    )]
    Unencoded,
    /// There is no user with a password.
    #[error("it names no user and password, such as bolt://neo4j:password@host:7687")]
    Credentials,
    /// The user or the password decodes to something that is no text.
    #[error("its user or password is not UTF-8 once it is percent-decoded; write % itself as %25")]
    NotText,
    /// The host or the port is none.
    #[error("what follows the @ is no host with a port, such as host:7687")]
    Host,
    /// There is a query or a fragment behind the host.
    #[error("nothing but the name of a database may follow the host and its port")]
    Trailing,
}

/// Takes a Bolt URL apart. User, password and database are percent-decoded; characters that need no encoding to be
/// understood are taken as they are.
pub fn parse_bolt_url(text: &str) -> Result<BoltAddress, BoltUrlError> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(BoltUrlError::Scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        return Err(BoltUrlError::Scheme);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        return Err(BoltUrlError::Unencoded);
    }
    let (credentials, place) = authority.rsplit_once('@').ok_or(BoltUrlError::Credentials)?;
    let (user, password) = credentials.split_once(':').ok_or(BoltUrlError::Credentials)?;
    if user.is_empty() || password.is_empty() {
        return Err(BoltUrlError::Credentials);
    }
    if path.contains(['?', '#']) {
        return Err(BoltUrlError::Trailing);
    }
    let database = path.trim_matches('/');
    if database.contains('/') {
        return Err(BoltUrlError::Trailing);
    }
    let url = format!("{scheme}://{place}");
    let has_host = Url::parse(&url).is_ok_and(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    if !has_host {
        return Err(BoltUrlError::Host);
    }
    Ok(BoltAddress {
        url,
        user: decoded(user)?,
        password: decoded(password)?,
        database: Some(decoded(database)?).filter(|database| !database.is_empty()),
    })
}

fn decoded(text: &str) -> Result<String, BoltUrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| BoltUrlError::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_decoded() {
        let address =
            parse_bolt_url("bolt://ne%40o:p%2Fa%3Fs%23s%40w%3A%25%2B+ö@graph.example:7688").unwrap();
        assert_eq!(address.url, "bolt://graph.example:7688");
        assert_eq!(
            (address.user.as_str(), address.password.as_str()),
            ("ne@o", "p/a?s#s@w:%++ö")
        );
        assert_eq!(address.database, None);
    }

    #[test]
    fn every_scheme_is_taken_and_no_other() {
        for scheme in SCHEMES {
            let address = parse_bolt_url(&format!("{scheme}://u:p@[::1]:1/")).unwrap();
            assert_eq!(address.url, format!("{scheme}://[::1]:1"));
        }
        assert_eq!(parse_bolt_url("BOLT://u:p@h").unwrap().url, "bolt://h");
        for other in ["http://u:p@h", "u:p@h:7687", "://u:p@h", "", "bolt:/u:p@h"] {
            assert_eq!(parse_bolt_url(other), Err(BoltUrlError::Scheme), "{other}");
        }
    }

    #[test]
    fn an_unencoded_password_is_taken_where_it_is_clear_and_named_where_not() {
        assert_eq!(
            parse_bolt_url("bolt://u:a@b:c%d@h:1").unwrap().password,
            "a@b:c%d"
        );
        for unclear in ["bolt://u:a/b@h:1", "bolt://u:a?b@h:1", "bolt://u:a#b@h:1"] {
            let error = parse_bolt_url(unclear).unwrap_err();
            assert_eq!(error, BoltUrlError::Unencoded, "{unclear}");
            assert!(error.to_string().contains("unencoded"));
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        for (text, expected) in [
            ("bolt://h:7687", BoltUrlError::Credentials),
            ("bolt://u@h:7687", BoltUrlError::Credentials),
            ("bolt://u:@h:7687", BoltUrlError::Credentials),
            ("bolt://:p@h:7687", BoltUrlError::Credentials),
            ("bolt://u:p@", BoltUrlError::Host),
            ("bolt://u:p@h:port", BoltUrlError::Host),
            ("bolt://u:p@h:99999", BoltUrlError::Host),
            ("bolt://u:%ff@h", BoltUrlError::NotText),
            ("bolt://u:p@h?policy=x", BoltUrlError::Trailing),
            ("bolt://u:p@h/a/b", BoltUrlError::Trailing),
        ] {
            assert_eq!(parse_bolt_url(text), Err(expected), "{text}");
        }
        let named = parse_bolt_url("neo4j://u:p@h/my%20graph").unwrap();
        assert_eq!(named.database.as_deref(), Some("my graph"));
    }

    #[test]
    fn no_password_is_shown() {
        let secret = "geheimnis";
        let shown = format!("{:?}", parse_bolt_url(&format!("bolt://u:{secret}@h")).unwrap());
        assert!(!shown.contains(secret), "{shown}");
        for text in [
            format!("bolt://u:{secret}/x@h"),
            format!("{secret}://u:p@h"),
            format!("bolt://u:{secret}%ff@h"),
            format!("bolt://u:{secret}@h:{secret}"),
        ] {
            let error = parse_bolt_url(&text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}
