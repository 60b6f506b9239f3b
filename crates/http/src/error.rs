//! What can go wrong on a call, in sentences for people.

use std::net::IpAddr;
use std::time::Duration;

/// Why a call gave no answer. No variant ever holds a header, a query or credentials: `host` is the name (or address)
/// and, where it is not the usual one, the port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The host has an address inside this machine or a private network and was not named by the operator.
    #[error(
        "{host} has the private address {address}, and calls to private addresses are refused; name the host in \
         MNEMOSYNE_ALLOWED_PRIVATE_HOSTS if it is meant"
    )]
    Refused {
        /// The host as it stood in the address.
        host: String,
        /// The address that was refused.
        address: IpAddr,
    },
    /// The address is no URL of http or https with a host.
    #[error("the address is not usable: {reason}")]
    Address {
        /// What is wrong with it.
        reason: String,
    },
    /// The name is unknown, or nobody listens there.
    #[error("{host} could not be reached: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// No (complete) answer in time.
    #[error("{host} did not answer within {} s", .after.as_secs_f64())]
    Timeout {
        /// The host.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// The host answered that it cannot or will not.
    #[error("{host} answered with status {code}{}", said(.body_excerpt))]
    Status {
        /// The host.
        host: String,
        /// The status.
        code: u16,
        /// The beginning of the answer's text: at most 300 characters, on one line, with the secrets of the request
        /// blotted out.
        body_excerpt: String,
        /// How long the host asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The answer is larger than the caller takes.
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// No trusted connection came about.
    #[error("no trusted connection to {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong, such as an unknown authority.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects the call, which is not followed: {reason}")]
    Redirect {
        /// The host that redirected.
        host: String,
        /// Why it is not followed.
        reason: String,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {host} broke off: {reason}")]
    Interrupted {
        /// The host.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The settings cannot be used.
    #[error("outgoing calls cannot be set up: {reason}")]
    Setup {
        /// What is wrong with them.
        reason: String,
    },
    /// Anything else.
    #[error("the call to {host} failed: {reason}")]
    Other {
        /// The host.
        host: String,
        /// What happened.
        reason: String,
    },
}

fn said(excerpt: &str) -> String {
    if excerpt.is_empty() {
        return String::new();
    }
    format!(": {excerpt}")
}

impl HttpError {
    /// Whether the same call may succeed later with nothing changed by hand: the host was out of reach, too slow, busy
    /// (408, 425, 429) or failing (5xx), or the connection broke.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Status { code, .. } => matches!(code, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// How long the host asked to be left alone, where it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
