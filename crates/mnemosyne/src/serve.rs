//! `serve`: web, MCP and worker in one process, on one data folder.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mnemosyne_config::Config;
use mnemosyne_domain::{Principal, Queue};
use mnemosyne_graph::embedded::EmbeddedStore;
use mnemosyne_mcp::{McpLimits, McpSettings};
use mnemosyne_services::tokens::TokenRequest;
use mnemosyne_worker::WorkerSettings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::context::{self, Context};
use crate::listen::{self, ConnectionLimits};

/// How often a worker looks for jobs that nobody told it of.
const POLL: Duration = Duration::from_secs(2);
/// How often the indexes in memory are brought up to date without a search.
const WARM: Duration = Duration::from_secs(3);
/// How long open requests may take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs until a signal, then drains.
pub(crate) async fn run(args: ServeArgs, config: Config) -> anyhow::Result<ExitCode> {
    let app_listener = bind(config.http.app_listen, "MNEMOSYNE_APP_LISTEN").await?;
    let mcp_listener = bind(config.http.mcp_listen, "MNEMOSYNE_MCP_LISTEN").await?;
    let app_address = app_listener.local_addr()?;
    let mcp_address = mcp_listener.local_addr()?;
    let context = context::open(config).await?;
    announce(&context, app_address, mcp_address).await?;
    if args.demo {
        let loaded = context.services.load_demo(&Principal::Local).await?;
        println!("demo:           {loaded} documents are on their way into the demo libraries");
    }
    println!("Press Ctrl-C to stop.");
    std::io::stdout().flush()?;

    let stop = CancellationToken::new();
    let settings = app_settings(&context.config, app_address, mcp_address);
    let app = mnemosyne_app::router(mnemosyne_app::AppState::new(
        Arc::clone(&context.services),
        settings,
        stop.clone(),
    ));
    let mcp = mnemosyne_mcp::service(
        Arc::clone(&context.services),
        McpSettings {
            allowed_hosts: context.config.http.allowed_hosts.clone(),
            require_auth: context.config.mcp.require_auth,
            limits: McpLimits::default(),
            stop: stop.clone(),
        },
    );
    let worker = mnemosyne_worker::run(
        Arc::clone(&context.services),
        WorkerSettings {
            name: format!("serve-{}", std::process::id()),
            queues: worker_queues(&context.config),
            concurrency: context.config.worker.concurrency,
            poll: POLL,
        },
        stop.clone(),
    );
    let limits = ConnectionLimits::default();
    let mut roles = tokio::task::JoinSet::new();
    roles.spawn(listen::serve(app_listener, app, limits, stop.clone()));
    roles.spawn(listen::serve(mcp_listener, mcp, limits, stop.clone()));
    roles.spawn(worker);
    let (knowledge, warm_stop) = (Arc::clone(&context.knowledge), stop.clone());
    roles.spawn(async move { keep_warm(&knowledge, &warm_stop).await });

    let reason = until_told(&mut roles).await;
    tracing::info!(reason, "stopping");
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while roles.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!("some requests did not end in time and were cut off");
    }
    println!("Stopped.");
    Ok(if reason == FAILED {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Keeps the indexes in memory up to date, so that a search does not pay for what came in since the last one.
async fn keep_warm(knowledge: &EmbeddedStore, stop: &CancellationToken) {
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

const FAILED: &str = "a role ended by itself";

async fn until_told(roles: &mut tokio::task::JoinSet<()>) -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return FAILED;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        ended = roles.join_next() => {
            match ended {
                Some(Err(error)) => tracing::error!(%error, "a role broke down"),
                Some(Ok(())) | None => tracing::error!("a role ended without being told"),
            }
            FAILED
        }
    }
}

/// `CELERY_QUEUES`, with bulk work last.
pub(crate) fn worker_queues(config: &Config) -> Vec<Queue> {
    config.worker.queues.clone()
}

async fn bind(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "{variable}: {address} cannot be listened on; is Mnemosyne running already? Set {variable} to another \
             address, such as 127.0.0.1:0 for any free port"
        )
    })
}

/// An address as a person on this machine types it.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    }
}

fn app_settings(config: &Config, app: SocketAddr, mcp: SocketAddr) -> mnemosyne_app::AppSettings {
    let _ = app;
    mnemosyne_app::AppSettings {
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
    }
}

/// Says where everything is and, once, the secrets that a first start makes.
async fn announce(context: &Context, app: SocketAddr, mcp: SocketAddr) -> anyhow::Result<()> {
    let data = std::path::absolute(&context.config.data)?;
    println!("Mnemosyne {}", env!("CARGO_PKG_VERSION"));
    println!();
    println!("app:            http://{}/", reachable(app));
    println!("mcp:            http://{}/mcp/", reachable(mcp));
    println!("data:           {}", data.display());
    let services = &context.services;
    if let Some(model) = services.models().first() {
        println!("model:          {} ({})", model.id, model.kind.as_str());
    }
    if let Some(first) = services.first_administrator(&Principal::Local).await? {
        let owner = services.user_by_name(&Principal::Local, &first.username).await?;
        let request = TokenRequest {
            name: "first start".to_owned(),
            ..TokenRequest::default()
        };
        let token = services
            .create_token(&Principal::Local, Some(owner.id), request)
            .await;
        println!();
        println!("This is shown once; keep it:");
        println!("administrator:  {}", first.username);
        println!("password:       {}", first.password);
        match token {
            Ok(issued) => println!("token:          {}", issued.token),
            Err(error) => println!("(no token was made: {error})"),
        }
        println!();
        println!("Sign in at http://{}/ and begin.", reachable(app));
    }
    Ok(())
}
