//! Where the log goes: standard error, so that standard output is the command's own.

use std::io::IsTerminal;

use mnemosyne_config::{Config, LogFormat};
use tracing_subscriber::EnvFilter;

/// Begins to log. A server logs as `LOGGING_LEVEL` says; a command only what the user must know, because its own output
/// says the rest.
pub(crate) fn start(config: &Config, is_server: bool) {
    let level = if is_server {
        config.logging.level.directive()
    } else {
        "error"
    };
    let filter = EnvFilter::new(format!(
        "{},sqlx=warn,tantivy=warn,hyper=warn,reqwest=warn,rmcp=warn,docling=warn",
        level
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match config.logging.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    if outcome.is_err() {
        eprintln!("warning: logging was already started");
    }
}
