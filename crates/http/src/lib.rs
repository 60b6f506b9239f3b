//! Outgoing HTTP. Everything that leaves this program over HTTP goes through [`Outbound`]: one TLS setup, bounded
//! bodies, time-outs, few redirects, and a guard that keeps calls away from private addresses unless their host was
//! named by the operator.
//!
//! The only user of `reqwest`.

mod client;
mod error;
mod exchange;
mod guard;
mod headers;
mod redirect;
mod retry_after;
mod settings;
mod tls;

pub use client::{Outbound, StreamedBody};
pub use error::HttpError;
pub use exchange::IncomingBody;
pub use guard::is_public_address;
pub use headers::Headers;
pub use settings::OutboundSettings;
