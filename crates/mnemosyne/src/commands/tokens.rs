//! MCP tokens and signing keys.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mnemosyne_domain::{LibraryUid, Principal, Tool};
use mnemosyne_services::Services;
use mnemosyne_services::signing_keys::{OtherKeys, Seeded};
use mnemosyne_services::tokens::{TokenRequest, parse_validity};

use super::output::{self, explain};
use crate::cli::{CreateTokenArgs, SigningKeyArgs};

pub(super) async fn create(args: CreateTokenArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let local = Principal::Local;
    let owner = match &args.user {
        Some(name) => services
            .user_by_name(&local, name)
            .await
            .with_context(|| format!("--user {name}"))?,
        None => services.default_token_owner(&local).await?,
    };
    let mut tools = BTreeSet::new();
    for name in &args.tool {
        let Some(tool) = Tool::parse(name) else {
            bail!(
                "--tool: there is no tool {name:?}; there are {}",
                Tool::ALL.map(Tool::as_str).join(", ")
            );
        };
        tools.insert(tool);
    }
    let mut libraries = BTreeSet::new();
    for text in &args.library {
        let Some(uid) = LibraryUid::parse(text) else {
            bail!("--library: {text:?} is no library uid")
        };
        libraries.insert(uid);
    }
    let valid_for = match &args.expires_in {
        Some(text) => Some(
            parse_validity(text)
                .with_context(|| format!("--expires-in: {text:?} is no time; write 12h, 90d or 1y"))?,
        ),
        None => None,
    };
    let request = TokenRequest {
        name: args.name.clone(),
        tools: (!tools.is_empty()).then_some(tools),
        libraries: (!libraries.is_empty()).then_some(libraries),
        valid_for,
    };
    let issued = services
        .create_token(&local, Some(owner.id), request)
        .await
        .map_err(explain)?;
    if args.json {
        output::json(&serde_json::json!({
            "token": issued.token,
            "prefix": issued.stored.prefix,
            "name": issued.stored.name,
        }))?;
    } else {
        println!("{}", issued.token);
        eprintln!(
            "This is the token {:?} of {}. It is shown once; keep it.",
            issued.stored.name, owner.username
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn seed_signing_key(args: SigningKeyArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let others = if args.retire_other {
        OtherKeys::Retire
    } else {
        OtherKeys::Keep
    };
    match services
        .seed_signing_key(&Principal::Local, &args.kid, others)
        .await
        .map_err(explain)?
    {
        Seeded::Created { secret_hex } => {
            println!("secret_hex: {secret_hex}");
            eprintln!("This is the key {:?}. It is shown once; keep it.", args.kid);
        }
        Seeded::Exists => println!("The key {:?} exists; its secret is not shown again.", args.kid),
    }
    Ok(ExitCode::SUCCESS)
}
