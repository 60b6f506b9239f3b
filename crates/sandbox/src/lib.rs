//! Reads files in child processes of the same executable, under the operating system's limits.
//!
//! Readers of foreign formats break: they loop, eat memory, overflow their stack. Here that costs one child, and the one
//! file is refused with a code and a sentence. A child is started when it is needed, used for many files, and goes away
//! when nobody needs it. It has no environment, no open files of its parent, may write no files, and dies with its parent:
//! the end of its input ends it.

mod child;
mod pool;
mod protocol;

pub use child::{Parse, run_child, run_child_with};
pub use pool::{Sandbox, SandboxSettings};
