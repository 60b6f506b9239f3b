//! Hands mail to an SMTP server. The only user of lettre.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use mnemosyne_domain::Mail;
use mnemosyne_domain::ports::Mailer;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// In the clear.
    None,
    /// In the clear until the server agrees to encrypt; refused where it does not.
    StartTls,
    /// Encrypted from the first byte.
    Tls,
}

/// Where mail goes.
#[derive(Clone)]
pub struct SmtpSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the server is spoken to.
    pub encryption: Encryption,
    /// Name and password, where the server asks for them.
    pub credentials: Option<(String, String)>,
    /// What stands in `From:`.
    pub from: String,
    /// How long one step of the conversation may take.
    pub timeout: Duration,
}

/// Why no mail can be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    /// The sender is no mail address.
    #[error("{0:?} is no mail address")]
    From(String),
    /// Certificates could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A mail server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    /// Binds to a server without asking whether it is there.
    pub fn new(settings: SmtpSettings) -> Result<Self, MailSetupError> {
        let from = settings
            .from
            .parse()
            .map_err(|_| MailSetupError::From(settings.from.clone()))?;
        let parameters = || {
            TlsParameters::new(settings.host.clone()).map_err(|error| MailSetupError::Tls(error.to_string()))
        };
        let tls = match settings.encryption {
            Encryption::None => Tls::None,
            Encryption::StartTls => Tls::Required(parameters()?),
            Encryption::Tls => Tls::Wrapper(parameters()?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(settings.timeout));
        if let Some((name, password)) = settings.credentials {
            builder = builder.credentials(Credentials::new(name, password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
        })
    }
}

#[async_trait::async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), String> {
        let to: Mailbox = mail.to.parse().map_err(|_| "the address is none".to_owned())?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.body.clone())
            .map_err(|error| error.to_string())?;
        self.transport
            .send(message)
            .await
            .map(drop)
            .map_err(|error| in_full(&error))
    }
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(from: &str) -> SmtpSettings {
        SmtpSettings {
            host: "localhost".to_owned(),
            port: 25,
            encryption: Encryption::StartTls,
            credentials: None,
            from: from.to_owned(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn senders_are_addresses_with_or_without_a_name() {
        for good in ["webmaster@localhost", "Mnemosyne <mnemosyne@example.org>"] {
            assert!(SmtpMailer::new(settings(good)).is_ok(), "{good}");
        }
        for bad in ["", "nobody", "a@b\r\nBcc: c@d"] {
            assert!(
                matches!(SmtpMailer::new(settings(bad)), Err(MailSetupError::From(_))),
                "{bad:?}"
            );
        }
    }
}
