//! `serve`: web, MCP and worker in one process, on one data folder.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use mnemosyne_config::Config;
use mnemosyne_domain::Principal;
use mnemosyne_services::tokens::TokenRequest;

use crate::cli::ServeArgs;
use crate::context::{self, Context};
use crate::roles::{Roles, bind, node_name, reachable};

/// Runs until a signal, then drains.
pub(crate) async fn run(args: ServeArgs, config: Config) -> anyhow::Result<ExitCode> {
    let app_listener = bind(config.http.app_listen, "MNEMOSYNE_APP_LISTEN").await?;
    let mcp_listener = bind(config.http.mcp_listen, "MNEMOSYNE_MCP_LISTEN").await?;
    let app_address = app_listener.local_addr()?;
    let mcp_address = mcp_listener.local_addr()?;
    // Beside a fleet on the same broker this is one more worker, and two of one name confuse those who watch.
    let node = node_name(Some(&format!("serve-{}@%h", std::process::id())));
    let context = context::open(config, Some(&node)).await?;
    context.migrate().await?;
    context.set_up_knowledge().await?;
    announce(&context, app_address, mcp_address).await?;
    if args.demo {
        let loaded = context.services.load_demo(&Principal::Local).await?;
        println!("demo:           {loaded} documents are on their way into the demo libraries");
    }
    println!("Press Ctrl-C to stop.");
    std::io::stdout().flush()?;

    let mut roles = Roles::default();
    roles.web(&context, app_listener, mcp_address);
    roles.mcp(&context, mcp_listener);
    roles.relay(&context);
    roles.worker(&context, node);
    roles.watch(&context);
    let code = roles.until_told(&context).await?;
    println!("Stopped.");
    Ok(code)
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
    if let Some(model) = services.models().await?.first() {
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
