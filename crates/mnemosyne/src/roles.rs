//! The roles: web, MCP and worker, each as a task that ends when it is told; and what runs them until a signal.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mnemosyne_config::Config;
use mnemosyne_mcp::{McpLimits, McpSettings};
use mnemosyne_queue::amqp::host_name;
use mnemosyne_worker::WorkerSettings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::WorkerArgs;
use crate::context::{self, Context, Knowledge};
use crate::listen::{self, ConnectionLimits};

/// How often a worker looks for jobs that nobody told it of.
const POLL: Duration = Duration::from_secs(2);
/// How often the indexes in memory are brought up to date without a search.
const WARM: Duration = Duration::from_secs(3);
/// How long open requests may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// `app`: the web alone.
pub(crate) async fn app(config: Config) -> anyhow::Result<ExitCode> {
    let listener = bind(config.http.app_listen, "MNEMOSYNE_APP_LISTEN").await?;
    let address = listener.local_addr()?;
    let context = context::open(config, None).await?;
    let mcp = context.config.http.mcp_listen;
    let mut roles = Roles::default();
    roles.web(&context, listener, mcp);
    roles.relay(&context);
    roles.watch(&context);
    tracing::info!(%address, "app serves");
    roles.until_told(&context).await
}

/// `mcp`: MCP alone.
pub(crate) async fn mcp(config: Config) -> anyhow::Result<ExitCode> {
    let listener = bind(config.http.mcp_listen, "MNEMOSYNE_MCP_LISTEN").await?;
    let address = listener.local_addr()?;
    let context = context::open(config, None).await?;
    let mut roles = Roles::default();
    roles.mcp(&context, listener);
    roles.watch(&context);
    tracing::info!(%address, "mcp serves");
    roles.until_told(&context).await
}

/// `worker`: ingest alone.
pub(crate) async fn worker(args: WorkerArgs, config: Config) -> anyhow::Result<ExitCode> {
    let node = node_name(args.hostname.as_deref());
    let context = context::open(config, Some(&node)).await?;
    let mut roles = Roles::default();
    roles.relay(&context);
    roles.worker(&context, node.clone());
    roles.watch(&context);
    tracing::info!(
        node,
        concurrency = context.config.worker.concurrency,
        "worker serves"
    );
    roles.until_told(&context).await
}

/// The name of a worker: `celery@HOST`, or the one that was given, which gets this machine's name where it has none. `%h`
/// is this machine's name, as Celery has it.
pub(crate) fn node_name(given: Option<&str>) -> String {
    let host = host_name();
    let name = given.unwrap_or("celery@%h").replace("%h", &host);
    if name.contains('@') {
        name
    } else {
        format!("{name}@{host}")
    }
}

/// What runs in this process.
#[derive(Default)]
pub(crate) struct Roles {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Roles {
    /// Pages and REST. `mcp` is the address that the Connect page shows.
    pub(crate) fn web(&mut self, context: &Context, listener: TcpListener, mcp: SocketAddr) {
        let config = &context.config;
        let settings = mnemosyne_app::AppSettings {
            allowed_hosts: config.http.allowed_hosts.clone(),
            csrf_trusted_origins: config.http.csrf_trusted_origins.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            debug: config.debug,
            time_zone: config.time_zone,
            language_code: config.language_code.clone(),
            ready_requires: config.http.ready_requires.clone(),
            mcp_url: format!("http://{}/mcp/", reachable(mcp)),
            mcp_requires_token: config.mcp.require_auth,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let services = Arc::clone(&context.services);
        let state = mnemosyne_app::AppState::new(services, settings, self.stop.clone());
        let app = mnemosyne_app::router(state);
        let limits = ConnectionLimits::default();
        self.tasks
            .spawn(listen::serve(listener, app, limits, self.stop.clone()));
        self.warm(context);
    }

    /// MCP.
    pub(crate) fn mcp(&mut self, context: &Context, listener: TcpListener) {
        let settings = McpSettings {
            allowed_hosts: context.config.http.allowed_hosts.clone(),
            trusted_proxies: context.config.http.trusted_proxies.clone(),
            require_auth: context.config.mcp.require_auth,
            limits: McpLimits::default(),
        };
        let mcp = mnemosyne_mcp::service(Arc::clone(&context.services), settings);
        let limits = ConnectionLimits::default();
        self.tasks
            .spawn(listen::serve(listener, mcp, limits, self.stop.clone()));
    }

    /// Ingest.
    pub(crate) fn worker(&mut self, context: &Context, name: String) {
        let settings = WorkerSettings {
            name,
            queues: context.config.worker.queues.clone(),
            concurrency: context.config.worker.concurrency,
            poll: POLL,
            upkeep: true,
        };
        let services = Arc::clone(&context.services);
        self.tasks
            .spawn(mnemosyne_worker::run(services, settings, self.stop.clone()));
    }

    /// Tells the broker of jobs, where there is one.
    pub(crate) fn relay(&mut self, context: &Context) {
        let (services, stop) = (Arc::clone(&context.services), self.stop.clone());
        self.tasks.spawn(async move {
            services.relay_jobs(&stop).await;
            // Where nudges stay in the process there is nothing to relay; a role must not end by itself.
            stop.cancelled().await;
        });
    }

    /// Tells the log which servers are away.
    pub(crate) fn watch(&mut self, context: &Context) {
        let (services, stop) = (Arc::clone(&context.services), self.stop.clone());
        self.tasks
            .spawn(async move { services.watch_dependencies(&stop).await });
    }

    fn warm(&mut self, context: &Context) {
        let (knowledge, stop) = (context.knowledge().clone(), self.stop.clone());
        self.tasks
            .spawn(async move { keep_warm(&knowledge, &stop).await });
    }

    /// Runs until a signal, then drains.
    pub(crate) async fn until_told(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("signals cannot be waited for")?;
        let told = tokio::select! {
            name = signals.next() => Some(name),
            ended = self.tasks.join_next() => {
                match ended {
                    Some(Err(error)) => tracing::error!(%error, "a role broke down"),
                    Some(Ok(())) | None => tracing::error!("a role ended without being told"),
                }
                None
            }
        };
        tracing::info!(signal = told, "stopping");
        self.stop.cancel();
        let tasks = &mut self.tasks;
        let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
        tokio::select! {
            drained = drained => {
                if drained.is_err() {
                    tracing::warn!("some requests did not end in time and were cut off");
                }
            }
            // Somebody who asks twice does not want to wait. Nothing that was acknowledged is lost by it.
            again = signals.next() => {
                tracing::warn!(signal = again, "stopping at once");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
        self.tasks.shutdown().await;
        context.close().await;
        Ok(match told {
            Some(_) => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        })
    }
}

/// Keeps the indexes in memory up to date, so that a search does not pay for what came in since the last one.
async fn keep_warm(knowledge: &Knowledge, stop: &CancellationToken) {
    let mut tick = tokio::time::interval(WARM);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = knowledge.warm().await {
            tracing::warn!(%error, "the indexes could not be brought up to date ahead of the next search");
        }
    }
}

/// The exit code of what was interrupted, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The signals that ask a process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one, and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Takes an address to listen on.
pub(crate) async fn bind(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "{variable}: {address} cannot be listened on; is Mnemosyne running already? Set {variable} to another \
             address, such as 127.0.0.1:0 for any free port"
        )
    })
}

/// An address as a person on this machine types it.
pub(crate) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_named_as_celery_names_one() {
        let host = host_name();
        assert_eq!(node_name(None), format!("celery@{host}"));
        assert_eq!(node_name(Some("second@%h")), format!("second@{host}"));
        assert_eq!(node_name(Some("second")), format!("second@{host}"));
        assert_eq!(node_name(Some("a@b")), "a@b");
    }
}
