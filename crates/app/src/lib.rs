//! The `app` role: everything that is spoken over HTTP but MCP. The REST API for clients, the pages for people, probes
//! and metrics for operators.
//!
//! [`routes`] is the table of contents. A request passes the layers of `middleware` from the outside in, is routed, finds
//! out who is asking through the extractors of [`auth`] and [`session`], and calls one use case of `mnemosyne-services`.
//! [`error`] is the only place that knows which failure is which status.

pub mod api;
pub mod auth;
pub mod csrf;
pub mod error;
mod metrics;
mod middleware;
pub mod pages;
mod probes;
pub mod routes;
pub mod session;
mod state;
pub mod static_files;
pub mod upload;

pub use middleware::request_info::{RequestInfo, Scheme};
pub use routes::{openapi, router};
pub use state::{AppSettings, AppState};
