//! testkit

#[cfg(feature = "servers")]
pub mod fake_embedder;
