//! What other programs wrote is read, and what arbitrary text there may be does no harm.

mod arbitrary_input;
mod vectors;
