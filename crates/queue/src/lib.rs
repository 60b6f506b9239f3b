//! Nudges from those who enqueue jobs to those who run them.

pub mod in_process;
