//! The commands, one file each.

mod accounts;
mod audit;
mod celery;
mod documents;
mod healthcheck;
mod import_django;
mod ingest;
mod models;
pub(crate) mod offline;
mod output;
mod providers;
mod reembed;
mod search;
mod setup;
mod static_init;
mod tokens;

use std::process::ExitCode;

use anyhow::bail;
use mnemosyne_config::Config;
use mnemosyne_domain::{Library, LibraryUid, Principal};
use mnemosyne_services::Services;

use crate::cli::Command;
use crate::{context, roles, serve};

/// Runs one command to its end.
pub(crate) async fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args, config).await,
        Command::App => roles::app(config).await,
        Command::Mcp => roles::mcp(config).await,
        Command::Worker(args) => roles::worker(args, config).await,
        Command::Extract(args) => documents::extract(args, &config).await,
        Command::Chunk(args) => documents::chunk(args, &config).await,
        Command::Models(command) => models::run(command, &config).await,
        Command::Healthcheck(args) => healthcheck::run(&args, &config).await,
        Command::StaticInit(args) => static_init::run(&args),
        Command::Celery(args) => celery::run(args, &config).await,
        Command::Config(_) => offline::config(),
        Command::Openapi => Ok(offline::openapi()),
        other => {
            let context = context::open(config, None).await?;
            let result = with_store(other, &context).await;
            context.close().await;
            result
        }
    }
}

async fn with_store(command: Command, context: &context::Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ingest(args) => ingest::run(args, context).await,
        Command::Search(args) => search::run(args, &context.services).await,
        Command::Reembed(args) => reembed::run(args, &context.services).await,
        Command::CreateMcpToken(args) => tokens::create(args, &context.services).await,
        Command::ListMcpTokens(args) => tokens::list(args, &context.services).await,
        Command::RevokeMcpToken(args) => tokens::revoke(args, &context.services).await,
        Command::EnsureServiceUser(args) => accounts::ensure_service_user(args, &context.services).await,
        Command::SeedSigningKey(args) => tokens::seed_signing_key(args, &context.services).await,
        Command::ListSigningKeys(args) => tokens::list_signing_keys(args, &context.services).await,
        Command::RetireSigningKey(args) => tokens::retire_signing_key(args, &context.services).await,
        Command::ListUsers(args) => accounts::list(args, &context.services).await,
        Command::Createsuperuser(args) => accounts::create_superuser(args, context).await,
        Command::Changepassword(args) => accounts::change_password(args, &context.services).await,
        Command::Providers(command) => providers::run(command, &context.services).await,
        Command::ProviderModels(command) => providers::run_models(command, &context.services).await,
        Command::RotateSecrets { json } => providers::rotate_secrets(json, &context.services).await,
        Command::Audit(args) => audit::run(args, &context.services).await,
        Command::Migrate => setup::migrate(context).await,
        Command::ImportDjango(args) => import_django::run(args, context).await,
        Command::Setup => setup::setup(context).await,
        Command::LoadLibraryTypes => setup::load_library_types(),
        Command::SetupNeo4jIndexes => setup::indexes(context).await,
        Command::Serve(_)
        | Command::App
        | Command::Mcp
        | Command::Worker(_)
        | Command::Extract(_)
        | Command::Chunk(_)
        | Command::Models(_)
        | Command::Healthcheck(_)
        | Command::StaticInit(_)
        | Command::Celery(_)
        | Command::Config(_)
        | Command::Openapi => bail!("this command does not work on the data folder"),
    }
}

/// The library that a person names, by its name or its uid.
async fn find_library(services: &Services, name_or_uid: &str) -> anyhow::Result<Library> {
    if let Some(library) = services.library_by_name(&Principal::Local, name_or_uid).await? {
        return Ok(library);
    }
    if let Some(uid) = LibraryUid::parse(name_or_uid)
        && let Ok(library) = services.library(&Principal::Local, &uid).await
    {
        return Ok(library);
    }
    bail!("there is no library {name_or_uid:?}")
}
