//! `models`: embedding models on this machine.

use std::process::ExitCode;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use mnemosyne_config::Config;
use mnemosyne_inference::ModelStore;
use serde_json::json;

use super::output;
use crate::cli::ModelsCommand;
use crate::context;

pub(super) async fn run(command: ModelsCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = context::models(config);
    match command {
        ModelsCommand::Pull { name } => pull(&store, &name, config).await,
        ModelsCommand::List { json } => list(&store, json),
        ModelsCommand::Remove { name } => remove(&store, &name),
    }
}

async fn pull(store: &ModelStore, name: &str, config: &Config) -> anyhow::Result<ExitCode> {
    context::private_folder(&config.data)?;
    let bar = ProgressBar::new(store.find(name).map_or(0, |model| model.size()));
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}",
    )?);
    let outbound = context::outbound(config)?;
    let folder = store
        .pull(name, &config.network.hf_endpoint, &outbound, &|progress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(progress.file);
        })
        .await?;
    bar.finish_and_clear();
    println!("{name} is in {}.", folder.display());
    println!("New libraries take it from now on; `mnemosyne reembed --library NAME` moves an old one over.");
    Ok(ExitCode::SUCCESS)
}

fn list(store: &ModelStore, as_json: bool) -> anyhow::Result<ExitCode> {
    let rows: Vec<_> = store
        .known()
        .iter()
        .map(|model| {
            json!({
                "name": model.name,
                "description": model.description,
                "licence": model.licence,
                "bytes": model.size(),
                "installed": store.installed(model.name).is_some(),
            })
        })
        .collect();
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    for model in store.known() {
        let here = if store.installed(model.name).is_some() {
            "here"
        } else {
            "not here"
        };
        println!(
            "{:20} {:>9}  {here:8}  {}",
            model.name,
            output::size(model.size()),
            model.description
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(store: &ModelStore, name: &str) -> anyhow::Result<ExitCode> {
    if store.find(name).is_none() {
        let known: Vec<_> = store.known().iter().map(|model| model.name).collect();
        bail!("there is no model {name:?}; known: {}", known.join(", "));
    }
    if store.remove(name)? {
        println!("{name} was removed. Libraries it made vectors for need it again, or `mnemosyne reembed`.");
    } else {
        println!("{name} was not here.");
    }
    Ok(ExitCode::SUCCESS)
}
