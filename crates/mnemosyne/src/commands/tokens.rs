//! MCP tokens and signing keys.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mnemosyne_domain::{LibraryUid, Principal, Tool, UserId};
use mnemosyne_services::Services;
use mnemosyne_services::operators::EnsuredToken;
use mnemosyne_services::signing_keys::{OtherKeys, Seeded};
use mnemosyne_services::tokens::{TokenRequest, is_usable, parse_validity};

use super::output::{self, explain};
use crate::cli::{CreateTokenArgs, JsonArgs, ListTokensArgs, RetireKeyArgs, RevokeTokenArgs, SigningKeyArgs};

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
    let ensured = services
        .ensure_token(&local, owner.id, request)
        .await
        .map_err(explain)?;
    let (token, stored) = match ensured {
        EnsuredToken::Issued(issued) => (Some(issued.token), issued.stored),
        EnsuredToken::Exists(stored) => (None, stored),
    };
    if args.json {
        output::json(&serde_json::json!({
            "token": token,
            "prefix": stored.prefix,
            "name": stored.name,
            "created": token.is_some(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    match token {
        Some(token) => {
            println!("{token}");
            eprintln!(
                "This is the token {:?} of {}. It is shown once; keep it.",
                stored.name, owner.username
            );
        }
        None => eprintln!(
            "The token {:?} of {} is there ({}…); it is not shown again.",
            stored.name, owner.username, stored.prefix
        ),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(args: ListTokensArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let owner = owner(args.user.as_deref(), services).await?;
    let tokens = services
        .tokens_of(&Principal::Local, owner)
        .await
        .map_err(explain)?;
    let now = chrono::Utc::now();
    if args.json {
        let rows: Vec<_> = tokens
            .iter()
            .map(|(token, owner)| {
                serde_json::json!({
                    "id": token.id,
                    "name": token.name,
                    "prefix": token.prefix,
                    "username": owner.as_ref().map(|owner| &owner.username),
                    "tools": token.tools.as_ref().map(|tools| tools.iter().map(|tool| tool.as_str()).collect::<Vec<_>>()),
                    "libraries": token.libraries,
                    "created_at": token.created_at,
                    "expires_at": token.expires_at,
                    "last_used_at": token.last_used_at,
                    "revoked_at": token.revoked_at,
                    "is_usable": is_usable(token, now),
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (token, owner) in &tokens {
        let state = if token.revoked_at.is_some() {
            "revoked"
        } else if is_usable(token, now) {
            "usable"
        } else {
            "expired"
        };
        let owner = owner.as_ref().map_or("nobody", |owner| owner.username.as_str());
        text.push_str(&format!(
            "{}  {}…  {}  of {owner}  {state}\n",
            token.id, token.prefix, token.name
        ));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn revoke(args: RevokeTokenArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let owner = owner(args.user.as_deref(), services).await?;
    let (token, is_new) = services
        .revoke_token_named(&Principal::Local, owner, &args.token)
        .await
        .map_err(explain)?;
    if args.json {
        output::json(&serde_json::json!({
            "id": token.id,
            "name": token.name,
            "prefix": token.prefix,
            "outcome": if is_new { "revoked" } else { "unchanged" },
        }))?;
    } else if is_new {
        println!("The token {:?} is refused from now on.", token.name);
    } else {
        println!("The token {:?} was revoked before; nothing to do.", token.name);
    }
    Ok(ExitCode::SUCCESS)
}

async fn owner(username: Option<&str>, services: &Services) -> anyhow::Result<Option<UserId>> {
    let Some(name) = username else { return Ok(None) };
    let user = services
        .user_by_name(&Principal::Local, name)
        .await
        .with_context(|| format!("--user {name}"))?;
    Ok(Some(user.id))
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
        Seeded::Created { secret_hex } if args.json => {
            let key = serde_json::json!({ "kid": args.kid, "secret_hex": secret_hex, "created": true });
            output::json(&key)?;
        }
        Seeded::Created { secret_hex } => {
            println!("secret_hex: {secret_hex}");
            eprintln!("This is the key {:?}. It is shown once; keep it.", args.kid);
        }
        Seeded::Exists if args.json => {
            let key = serde_json::json!({ "kid": args.kid, "secret_hex": null, "created": false });
            output::json(&key)?;
        }
        Seeded::Exists => println!("The key {:?} exists; its secret is not shown again.", args.kid),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list_signing_keys(args: JsonArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let keys = services.signing_keys(&Principal::Local).await.map_err(explain)?;
    if args.json {
        let rows: Vec<_> = keys
            .iter()
            .map(|key| {
                serde_json::json!({
                    "kid": key.kid,
                    "created_at": key.created_at,
                    "retired_at": key.retired_at,
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for key in &keys {
        let state = if key.retired_at.is_some() {
            "retired"
        } else {
            "in use"
        };
        text.push_str(&format!("{}  {state}\n", key.kid));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn retire_signing_key(args: RetireKeyArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let is_new = services
        .retire_signing_key(&Principal::Local, &args.kid)
        .await
        .map_err(explain)?;
    if args.json {
        output::json(&serde_json::json!({
            "kid": args.kid,
            "outcome": if is_new { "retired" } else { "unchanged" },
        }))?;
    } else if is_new {
        println!("Tokens under the key {:?} are refused from now on.", args.kid);
    } else {
        println!("The key {:?} was retired before; nothing to do.", args.kid);
    }
    Ok(ExitCode::SUCCESS)
}
