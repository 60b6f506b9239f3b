//! Checks on the workspace itself.

mod architecture;
