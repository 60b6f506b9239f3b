//! What the tests of several crates share: conformance suites of the ports, the application in one process, fakes of
//! model servers. A dev-dependency only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "only tests use it, and a test that cannot go on panics"
)]

pub mod conformance;

#[cfg(feature = "app")]
pub mod app;

#[cfg(feature = "postgres")]
pub mod postgres;

pub mod routes;

#[cfg(feature = "servers")]
pub mod fake_embedder;

#[cfg(feature = "mutate")]
pub mod mutate;

#[cfg(feature = "tls")]
pub mod tls;
