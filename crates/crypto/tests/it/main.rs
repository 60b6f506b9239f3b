//! What other programs wrote is read, and what arbitrary text there may be does no harm.

#![allow(clippy::unwrap_used)]

mod arbitrary_input;
mod vectors;
