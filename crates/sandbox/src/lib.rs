//! Reads files in child processes of this executable, under the operating system's limits on memory, processor time, wall
//! time and output. Whatever a file does to its reader is one document's error.

mod child;
mod pool;
mod wire;

pub use child::run_child;
pub use pool::{Sandbox, SandboxSettings};
