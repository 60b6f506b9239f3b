//! `healthcheck`: a probe for where there is no curl. A worker of a fleet is asked over the broker, as Celery's tools do.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mnemosyne_config::Config;
use mnemosyne_queue::amqp::BrokerUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::HealthcheckArgs;
use crate::roles::node_name;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(args: &HealthcheckArgs, config: &Config) -> anyhow::Result<ExitCode> {
    if let ("worker", Some(url)) = (args.role.as_str(), &config.servers.broker) {
        let url = BrokerUrl::parse(url.expose()).context("CELERY_BROKER_URL")?;
        mnemosyne_queue::amqp::ping(&url, &node_name(args.hostname.as_deref()), PATIENCE).await?;
        println!("ok");
        return Ok(ExitCode::SUCCESS);
    }
    let (mut address, path) = match args.role.as_str() {
        "app" | "worker" => (config.http.app_listen, "/live/"),
        "mcp" => (config.http.mcp_listen, "/mcp/health"),
        other => bail!("there is no role {other:?}; there are app, mcp and worker"),
    };
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let status = tokio::time::timeout(PATIENCE, ask(address, path))
        .await
        .with_context(|| format!("{} did not answer within {} s", args.role, PATIENCE.as_secs()))?
        .with_context(|| format!("{} does not answer at {address}", args.role))?;
    if status != 200 {
        bail!("{} answers {status}", args.role);
    }
    println!("ok");
    Ok(ExitCode::SUCCESS)
}

async fn ask(address: std::net::SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0_u8; 12];
    stream.read_exact(&mut answer).await?;
    let text = std::str::from_utf8(&answer).context("not HTTP")?;
    text.strip_prefix("HTTP/1.1 ")
        .and_then(|code| code.parse().ok())
        .context("not HTTP")
}
