//! "Email" of the deployment document, and what Django adds to it.

use std::time::Duration;

use crate::reader::Reader;
use crate::secret::Secret;

/// How the mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailEncryption {
    /// In the clear.
    None,
    /// `EMAIL_USE_TLS`: STARTTLS.
    StartTls,
    /// `EMAIL_USE_SSL`: from the first byte.
    Tls,
}

/// Where mail is handed to.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailSection {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is spoken to.
    pub encryption: EmailEncryption,
    /// The name that the server asks for.
    pub user: Option<String>,
    /// The password that goes with it.
    pub password: Option<Secret>,
    /// How long one step of the conversation may take.
    pub timeout: Duration,
    /// The sender.
    pub from: String,
}

/// `Some(None)`: mail is switched off.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Option<EmailSection>> {
    let host = reader.text("EMAIL_HOST");
    let port = reader.number("EMAIL_PORT", 1_u16..=65_535);
    let use_tls = reader.boolean("EMAIL_USE_TLS");
    let use_ssl = reader.boolean("EMAIL_USE_SSL");
    let user = reader.text("EMAIL_HOST_USER");
    let password = reader.secret("EMAIL_HOST_PASSWORD");
    let timeout = reader.seconds("EMAIL_TIMEOUT", 1..=600);
    let from = reader.parsed(
        "DEFAULT_FROM_EMAIL",
        "a mail address, such as Name <name@host>",
        address,
    );
    let encryption = match (use_tls?, use_ssl?) {
        (false, false) => EmailEncryption::None,
        (true, false) => EmailEncryption::StartTls,
        (false, true) => EmailEncryption::Tls,
        (true, true) => {
            reader.problem(
                "EMAIL_USE_SSL",
                "is set beside EMAIL_USE_TLS; choose one of them.",
            );
            return None;
        }
    };
    let (port, timeout, from) = (port?, timeout?, from?);
    Some(host.map(|host| EmailSection {
        host,
        port,
        encryption,
        user,
        password,
        timeout,
        from,
    }))
}

/// The shape of `name@host` or `Name <name@host>`.
fn address(value: &str) -> Option<String> {
    let inner = match value.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>')?,
        None => value,
    };
    let (name, host) = inner.split_once('@')?;
    let is_good = !name.is_empty() && !host.is_empty() && !inner.contains(char::is_whitespace);
    is_good.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn mail_is_off_until_a_host_is_named() {
        assert_eq!(read(&[("EMAIL_USE_TLS", "True")]).email, None);
        let email = read(&[
            ("EMAIL_HOST", "mail.example.org"),
            ("EMAIL_PORT", "587"),
            ("EMAIL_USE_TLS", "True"),
            ("EMAIL_HOST_USER", "m"),
            ("EMAIL_HOST_PASSWORD", "hunter2"),
        ])
        .email;
        assert!(!format!("{email:?}").contains("hunter2"));
        let expected = EmailSection {
            host: "mail.example.org".to_owned(),
            port: 587,
            encryption: EmailEncryption::StartTls,
            user: Some("m".to_owned()),
            password: Some(Secret::new("hunter2")),
            timeout: Duration::from_secs(10),
            from: "webmaster@localhost".to_owned(),
        };
        assert_eq!(email, Some(expected));
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("EMAIL_PORT", "0"),
            ("EMAIL_USE_SSL", "perhaps"),
            ("EMAIL_TIMEOUT", "0"),
            ("DEFAULT_FROM_EMAIL", "nobody"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
        let both = MapEnvironment::new()
            .with("EMAIL_USE_TLS", "1")
            .with("EMAIL_USE_SSL", "1");
        assert_eq!(problems(&both).len(), 1);
    }
}
