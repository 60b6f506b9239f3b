//! MCP over Streamable HTTP: `/mcp` and `/mcp/`, both protocol eras, no session needed (contract §8).

mod auth;
mod client;
mod hosts;
mod limits;
mod server;
mod tools;

pub use limits::McpLimits;
pub use server::{McpSettings, service};
