//! testkit

pub mod conformance;

#[cfg(feature = "app")]
pub mod app;

#[cfg(feature = "servers")]
pub mod fake_embedder;
