//! What may be forgotten.

pub mod memory;
