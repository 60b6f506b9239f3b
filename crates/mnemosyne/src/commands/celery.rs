//! `celery`: the one question of Celery's command line that a deployment asks of a worker, with Celery's answers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mnemosyne_config::Config;
use mnemosyne_queue::amqp::{BrokerUrl, ping};

use super::output;
use crate::cli::{CeleryArgs, CeleryCommand, CeleryInspect};
use crate::roles::node_name;

/// What Celery ends with where nobody answers.
const UNAVAILABLE: u8 = 69;

pub(super) async fn run(args: CeleryArgs, config: &Config) -> anyhow::Result<ExitCode> {
    if let Some(app) = args.app.as_deref()
        && app != "mnemosyne"
    {
        bail!("there is one application, mnemosyne, and not {app:?}");
    }
    let CeleryCommand::Inspect(CeleryInspect::Ping(ping_args)) = args.command;
    let url = config
        .servers
        .broker
        .as_ref()
        .context("CELERY_BROKER_URL is not set, so that there is no broker to ask over")?;
    let url = BrokerUrl::parse(url.expose()).context("CELERY_BROKER_URL")?;
    let patience = Duration::try_from_secs_f32(ping_args.timeout).context("--timeout")?;
    let nodes = match ping_args.destination {
        nodes if nodes.is_empty() => vec![node_name(None)],
        nodes => nodes,
    };
    let mut online = 0_usize;
    for node in &nodes {
        match ping(&url, node, patience).await {
            Ok(()) => {
                online += 1;
                output::print_text(&format!("->  {node}: OK\n        pong\n"))?;
            }
            Err(error) => eprintln!("error: {error}"),
        }
    }
    if online == 0 {
        eprintln!("Error: No nodes replied within time constraint");
        return Ok(ExitCode::from(UNAVAILABLE));
    }
    let nodes = if online == 1 { "node" } else { "nodes" };
    output::print_text(&format!("\n{online} {nodes} online.\n"))?;
    Ok(ExitCode::SUCCESS)
}
