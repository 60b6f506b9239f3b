//! The headers of a call, some of which are secrets.

use std::fmt;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::error::HttpError;

/// Headers that go to the host of the address and to no other: a redirect to another host leaves them behind. `Debug`
/// shows names only.
#[derive(Clone, Default)]
pub struct Headers {
    map: HeaderMap,
    secrets: Vec<String>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `Authorization: Bearer TOKEN`.
    pub fn bearer(self, token: &str) -> Result<Self, HttpError> {
        self.secret(AUTHORIZATION.as_str(), &format!("Bearer {token}"), token)
    }

    /// Adds a header. Fails where the name or the value cannot stand in a header; the value is not repeated.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let (name, value) = parse(name, value)?;
        self.map.insert(name, value);
        Ok(self)
    }

    fn secret(mut self, name: &str, value: &str, secret: &str) -> Result<Self, HttpError> {
        let (name, mut value) = parse(name, value)?;
        value.set_sensitive(true);
        self.map.insert(name, value);
        self.secrets.push(secret.to_owned());
        Ok(self)
    }

    pub(crate) fn map(&self) -> &HeaderMap {
        &self.map
    }

    /// The text with every secret of these headers blotted out: servers like to repeat a wrong key in their answer.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret.as_str(), "[redacted]")
            })
    }
}

fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HttpError> {
    let setup = |reason: String| HttpError::Setup { reason };
    let parsed_name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| setup(format!("{name:?} is not the name of a header")))?;
    let parsed_value = HeaderValue::from_str(value).map_err(|_| {
        setup(format!(
            "the value for the header {name} has characters that cannot stand there"
        ))
    })?;
    Ok((parsed_name, parsed_value))
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.map.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_shown_nor_repeated() {
        let headers = Headers::new().bearer("sk-very-secret").expect("plain text");
        assert!(!format!("{headers:?}").contains("secret"));
        assert_eq!(
            headers.redact("wrong key sk-very-secret!"),
            "wrong key [redacted]!"
        );
        let refused = Headers::new().bearer("sk-line\nbreak").expect_err("a line break");
        assert!(!refused.to_string().contains("sk-line"));
    }
}
