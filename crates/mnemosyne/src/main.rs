//! The one executable. Reads the command line and the settings, builds the context, starts roles or runs one command.

#![allow(clippy::print_stdout, reason = "a command prints")]

mod cli;
mod commands;
mod context;
mod listen;
mod logging;
mod roles;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use mnemosyne_config::{Config, ProcessEnvironment};

use crate::cli::{Cli, Command, ServeArgs};

/// The hidden first word that makes this process a reader of files, under limits.
const PARSE_CHILD: &str = "parse-child";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == PARSE_CHILD) {
        return mnemosyne_sandbox::run_child();
    }
    let cli = Cli::parse_from(cli::normalise(std::env::args_os()));
    let command = cli.command.unwrap_or(Command::Serve(ServeArgs::default()));
    // These say nothing about this machine and need none of its settings.
    match &command {
        Command::Openapi => return commands::offline::openapi(),
        Command::Config(args) if args.markdown => return commands::offline::settings_table(),
        Command::Config(args) if args.env_example => return commands::offline::env_example(),
        _ => {}
    }
    let config = match Config::read_for(&ProcessEnvironment, command.role()) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(2);
        }
    };
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: the TLS provider is installed twice");
        return ExitCode::FAILURE;
    }
    let is_server = command.is_server();
    logging::start(&config, is_server);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(command, config));
    // Work that cannot be interrupted (a model at its matrix, say) must not hold the end of the process up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
