//! End to end over the running executable, as its users reach it: command line, REST, MCP, and `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod accounts;
mod bad_settings;
mod broken;
mod cli;
mod crash;
mod demo;
mod first_start;
mod formats;
mod mcp;
mod rest;
mod restart;
mod turns;
