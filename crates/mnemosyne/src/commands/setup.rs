//! `migrate` and `setup`. On the embedded default the schema is brought up to date whenever the data folder is opened, so
//! these report what is there; both may be repeated.

use std::process::ExitCode;

use anyhow::bail;
use mnemosyne_domain::{LibraryType, Principal};
use mnemosyne_services::Services;

pub(super) fn migrate() -> anyhow::Result<ExitCode> {
    println!("The database schema is up to date.");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn setup(services: &Services) -> anyhow::Result<ExitCode> {
    indexes(services).await?;
    load_library_types()
}

pub(super) async fn indexes(services: &Services) -> anyhow::Result<ExitCode> {
    let report = services.store_report(&Principal::Local).await?;
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
