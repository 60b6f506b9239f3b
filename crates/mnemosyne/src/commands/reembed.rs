//! `reembed`: moves a library to another model.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use mnemosyne_domain::Principal;
use mnemosyne_services::Services;

use super::find_library;
use super::output::{explain, grouped};
use crate::cli::ReembedArgs;

pub(super) async fn run(args: ReembedArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let library = find_library(services, &args.library).await?;
    let bar = ProgressBar::new(library.item_count);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {pos}/{len} items, {msg}, {eta} left",
    )?);
    let moved = services
        .reembed(
            &Principal::Local,
            &library.uid,
            args.model.as_deref(),
            &|progress| {
                bar.set_length(progress.items_total);
                bar.set_position(progress.items_done);
                bar.set_message(format!("{} chunks", grouped(progress.chunks_embedded)));
            },
        )
        .await
        .map_err(explain)?;
    bar.finish_and_clear();
    println!("{} is searched with {} now.", library.name, moved.model);
    Ok(ExitCode::SUCCESS)
}
