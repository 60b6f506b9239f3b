//! `migrate` and `setup`: the schema of PostgreSQL, the constraints and indexes of Neo4j. On the embedded default both are
//! brought up to date whenever the data folder is opened, so these report what is there. Both may be repeated.

use std::process::ExitCode;

use anyhow::bail;
use mnemosyne_domain::{LibraryType, Principal};

use crate::context::Context;

pub(super) async fn migrate(context: &Context) -> anyhow::Result<ExitCode> {
    context.migrate().await?;
    println!("The database schema is up to date.");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn setup(context: &Context) -> anyhow::Result<ExitCode> {
    indexes(context).await?;
    load_library_types()
}

pub(super) async fn indexes(context: &Context) -> anyhow::Result<ExitCode> {
    context.set_up_knowledge().await?;
    let report = context.services.store_report(&Principal::Local).await?;
    if !report.problems.is_empty() {
        bail!(
            "the knowledge store does not fit together: {}",
            report.problems.join("; ")
        );
    }
    println!(
        "The indexes are up to date: {} items, {} chunks.",
        report.items, report.chunks
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) fn load_library_types() -> anyhow::Result<ExitCode> {
    println!("{} library types are loaded.", LibraryType::ALL.len());
    Ok(ExitCode::SUCCESS)
}
