//! `providers` and `provider_models`: servers of models, and their models, as administrators register them. Keys never stand
//! among the arguments, which everybody on the machine can read.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mnemosyne_config::{Environment, ProcessEnvironment};
use mnemosyne_domain::{ApiKey, ModelRole, PageRequest, Principal, ProviderModel};
use mnemosyne_services::Services;
use mnemosyne_services::models::{ModelRequest, ModelView};
use mnemosyne_services::providers::{KeyRequest, KeyState, ProviderRequest, ProviderView, ServerTest};
use mnemosyne_services::wire;
use serde_json::json;

use super::output::{self, explain};
use crate::cli::{
    KeyArgs, ModelArgs, ProviderArgs, ProviderModelsCommand, ProvidersCommand, Switch, TestArgs,
};

/// A key that is longer is none.
const MAX_KEY_BYTES: u64 = 16 * 1024;

const LOCAL: Principal = Principal::Local;

pub(super) async fn run(command: ProvidersCommand, services: &Services) -> anyhow::Result<ExitCode> {
    match command {
        ProvidersCommand::Add { name, provider, json } => {
            let request = ProviderRequest {
                name: Some(name),
                ..request(provider)?
            };
            let made = services.create_provider(&LOCAL, request).await.map_err(explain)?;
            tell(made, "was added", json)
        }
        ProvidersCommand::List { json } => list(services, json).await,
        ProvidersCommand::Update {
            name,
            new_name,
            remove_key,
            provider,
            json,
        } => {
            let known = find(services, &name).await?;
            let mut request = ProviderRequest {
                name: new_name,
                ..request(provider)?
            };
            if remove_key {
                request.api_key = KeyRequest::Remove;
            }
            let changed = services
                .update_provider(&LOCAL, &known.provider.uid, request)
                .await
                .map_err(explain)?;
            tell(changed, "was changed", json)
        }
        ProvidersCommand::Remove { name } => {
            let known = find(services, &name).await?;
            services
                .delete_provider(&LOCAL, &known.provider.uid)
                .await
                .map_err(explain)?;
            println!("The provider {name} was removed.");
            Ok(ExitCode::SUCCESS)
        }
        ProvidersCommand::Test(args) => {
            let known = find(services, &args.name).await?;
            let test = services
                .test_provider(&LOCAL, &known.provider.uid)
                .await
                .map_err(explain)?;
            tested(test, &args)
        }
    }
}

fn request(args: ProviderArgs) -> anyhow::Result<ProviderRequest> {
    Ok(ProviderRequest {
        seen: None,
        name: None,
        kind: args.kind,
        base_url: args.base_url,
        api_key: key(&args.key)?,
        verify_tls: args.verify_tls.map(Switch::is_on),
        allow_private: args.allow_private.map(Switch::is_on),
        timeout_seconds: args.timeout,
        batch_size: args.batch_size,
        batch_tokens: args.batch_tokens,
        text_tokens: args.text_tokens,
        max_parallel: args.max_parallel,
    })
}

/// The key from where the options say it is.
fn key(args: &KeyArgs) -> anyhow::Result<KeyRequest> {
    let text = match (&args.key_file, &args.key_env) {
        (None, None) => return Ok(KeyRequest::Keep),
        (Some(file), _) if file == Path::new("-") => {
            if std::io::stdin().is_terminal() {
                eprintln!("The key is read from standard input; it is shown as you type.");
            }
            bounded(std::io::stdin().lock()).context("the key cannot be read from standard input")?
        }
        (Some(file), _) => {
            let opened = std::fs::File::open(file);
            let opened =
                opened.with_context(|| format!("--key-file: {} cannot be opened", file.display()))?;
            bounded(opened).with_context(|| format!("--key-file: {} cannot be read", file.display()))?
        }
        (None, Some(name)) => ProcessEnvironment
            .get(name)
            .with_context(|| format!("--key-env: the variable {name} is not set"))?,
    };
    let key = text.trim();
    if key.is_empty() {
        bail!("the key is empty");
    }
    Ok(KeyRequest::Set(ApiKey::new(key)))
}

fn bounded(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MAX_KEY_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

async fn find(services: &Services, name: &str) -> anyhow::Result<ProviderView> {
    services
        .provider_by_name(&LOCAL, name)
        .await
        .with_context(|| format!("there is no provider {name:?}"))
}

fn tell(view: ProviderView, what: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let name = view.provider.draft.name.clone();
    if as_json {
        output::json(&wire::Provider::from(view))?;
    } else {
        println!("The provider {name} {what}.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(services: &Services, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut views = Vec::new();
    let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
    loop {
        let part = services.providers(&LOCAL, page).await.map_err(explain)?;
        page.offset += part.rows.len() as u64;
        let is_last = part.rows.is_empty() || page.offset >= part.total;
        views.extend(part.rows);
        if is_last {
            break;
        }
    }
    if as_json {
        let rows: Vec<wire::Provider> = views.into_iter().map(Into::into).collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    if views.is_empty() {
        println!("None yet. `mnemosyne providers add NAME --base-url URL` registers one.");
    }
    for view in views {
        let key = match &view.key {
            KeyState::None => "no key".to_owned(),
            KeyState::Set { hint } => format!("key …{hint}"),
            KeyState::Unreadable => "key unreadable".to_owned(),
        };
        let draft = &view.provider.draft;
        let models = match view.models.len() {
            1 => "1 model".to_owned(),
            count => format!("{count} models"),
        };
        println!(
            "{:20} {:8} {}  {key}  {models}",
            draft.name,
            draft.kind.as_str(),
            draft.base_url,
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn tested(test: ServerTest, args: &TestArgs) -> anyhow::Result<ExitCode> {
    let code = if test.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if args.json {
        output::json(&wire::ServerTest::from(test))?;
        return Ok(code);
    }
    match test.latency_ms {
        Some(latency) if test.ok => println!("ok in {latency:.1} ms: {}", test.detail),
        _ => println!("failed: {}", test.detail),
    }
    for model in test.models {
        println!("  {model}");
    }
    Ok(code)
}

pub(super) async fn run_models(
    command: ProviderModelsCommand,
    services: &Services,
) -> anyhow::Result<ExitCode> {
    match command {
        ProviderModelsCommand::Add {
            name,
            provider,
            role,
            model,
            json,
        } => {
            let provider = find(services, &provider).await?;
            let request = ModelRequest {
                name: Some(name),
                role: Some(role),
                ..model_request(&model)
            };
            let made = services
                .create_model(&LOCAL, Some(&provider.provider.uid), request)
                .await
                .map_err(explain)?;
            tell_model(made, "was added", json)
        }
        ProviderModelsCommand::List { json } => list_models(services, json).await,
        ProviderModelsCommand::Update {
            name,
            provider,
            role,
            new_name,
            model,
            json,
        } => {
            let known = find_model(services, &name, provider.as_deref(), role.as_deref()).await?;
            let request = ModelRequest {
                name: new_name,
                ..model_request(&model)
            };
            let changed = services
                .update_model(&LOCAL, &known.uid, request)
                .await
                .map_err(explain)?;
            tell_model(changed, "was changed", json)
        }
        ProviderModelsCommand::Remove { name, provider, role } => {
            let known = find_model(services, &name, provider.as_deref(), role.as_deref()).await?;
            services.delete_model(&LOCAL, &known.uid).await.map_err(explain)?;
            println!("The model {name} was removed.");
            Ok(ExitCode::SUCCESS)
        }
        ProviderModelsCommand::Test { test, provider, role } => {
            let known = find_model(services, &test.name, provider.as_deref(), role.as_deref()).await?;
            let outcome = services.test_model(&LOCAL, &known.uid).await.map_err(explain)?;
            tested(outcome, &test)
        }
    }
}

fn model_request(args: &ModelArgs) -> ModelRequest {
    ModelRequest {
        seen: None,
        name: None,
        role: None,
        dimension: args.dimension,
        takes_instructions: args.instructions.map(|switch| Some(switch.is_on())),
        is_default: args.default.map(Switch::is_on),
    }
}

async fn all_models(services: &Services) -> anyhow::Result<Vec<ModelView>> {
    let mut models = Vec::new();
    let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
    loop {
        let part = services
            .registered_models(&LOCAL, None, None, page)
            .await
            .map_err(explain)?;
        page.offset += part.rows.len() as u64;
        let is_last = part.rows.is_empty() || page.offset >= part.total;
        models.extend(part.rows);
        if is_last {
            return Ok(models);
        }
    }
}

/// The one model that a name, or a uid, means; server and role tell those apart that share a name.
async fn find_model(
    services: &Services,
    name: &str,
    provider: Option<&str>,
    role: Option<&str>,
) -> anyhow::Result<ProviderModel> {
    if let Some(word) = role
        && ModelRole::parse(word).is_none()
    {
        let known = ModelRole::ALL.map(ModelRole::as_str).join(", ");
        bail!("--role: there is no role {word:?}; there are {known}");
    }
    let mut found = all_models(services).await?;
    found.retain(|view| {
        (view.model.draft.name == name || view.model.uid.as_str() == name)
            && provider.is_none_or(|provider| view.provider_name == provider)
            && role.is_none_or(|role| view.model.draft.role.as_str() == role)
    });
    match found.len() {
        0 => bail!("there is no registered model {name:?}"),
        1 => Ok(found.remove(0).model),
        count => bail!(
            "{count} registered models are called {name:?}; say which with --provider or --role, or name its uid (see \
             `provider_models list --json`)"
        ),
    }
}

fn tell_model(view: ModelView, what: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        output::json(&wire::RegisteredModel::from(view))?;
    } else {
        let draft = &view.model.draft;
        let dimension = draft
            .dimension
            .map(|dimension| format!(", {dimension} numbers a vector"))
            .unwrap_or_default();
        println!(
            "The {} model {} of {} {what}{dimension}.",
            draft.role.as_str(),
            draft.name,
            view.provider_name
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_models(services: &Services, as_json: bool) -> anyhow::Result<ExitCode> {
    let models = all_models(services).await?;
    if as_json {
        let rows: Vec<wire::RegisteredModel> = models.into_iter().map(Into::into).collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    if models.is_empty() {
        println!(
            "None yet. `mnemosyne provider_models add NAME --provider P --role embedding` registers one."
        );
    }
    for view in models {
        let draft = &view.model.draft;
        let dimension = draft
            .dimension
            .map(|dimension| dimension.to_string())
            .unwrap_or_default();
        println!(
            "{:10} {:40} {:20} {dimension:>6}  {}",
            draft.role.as_str(),
            draft.name,
            view.provider_name,
            if draft.is_default { "system" } else { "" }
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rotate_secrets(as_json: bool, services: &Services) -> anyhow::Result<ExitCode> {
    let rotation = services.rotate_secrets(&LOCAL).await.map_err(explain)?;
    let kinds = [
        ("provider_keys", "keys of providers", &rotation.provider_keys),
        ("signing_keys", "signing keys", &rotation.signing_keys),
    ];
    if as_json {
        let document: serde_json::Map<String, serde_json::Value> = kinds
            .iter()
            .map(|(word, _, counts)| {
                let counts = json!({
                    "resealed": counts.resealed,
                    "current": counts.current,
                    "unreadable": counts.unreadable,
                });
                ((*word).to_owned(), counts)
            })
            .collect();
        output::json(&document)?;
    } else {
        for (_, title, counts) in &kinds {
            println!(
                "{title}: {} sealed anew, {} were sealed with the current key already.",
                counts.resealed, counts.current
            );
        }
    }
    for (_, title, counts) in &kinds {
        for name in &counts.unreadable {
            eprintln!("{title}: {name} cannot be opened with any of the configured keys; it stays as it is.");
        }
    }
    if rotation.is_complete() {
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!(
            "Put the former key into SECRET_KEY_FALLBACKS, or behind the first one in LLM_API_SECRETS_ENCRYPTION_KEY, and run \
             this again; or enter the key of the provider again."
        );
        Ok(ExitCode::FAILURE)
    }
}
