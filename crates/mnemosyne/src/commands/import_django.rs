//! `import_django`: takes over what the system before this one kept in the same PostgreSQL.

use std::process::ExitCode;

use anyhow::bail;
use mnemosyne_domain::Principal;
use mnemosyne_services::legacy::{ImportOptions, ImportReport};

use super::output::{self, explain};
use crate::cli::ImportArgs;
use crate::context::Context;

pub(super) async fn run(args: ImportArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let Some(source) = context.foreign_tables() else {
        bail!(
            "the embedded database holds nothing of another system: set DB_HOST, APP_DB_NAME, APP_DB_USER and \
             APP_DB_PASSWORD to those of the database to import from"
        );
    };
    let options = ImportOptions {
        dry_run: args.dry_run,
        empty_means_all: args.empty_means_all,
        fernet_keys: context
            .config
            .provider_keys
            .iter()
            .map(|key| key.expose().to_owned())
            .collect(),
    };
    let report = context
        .services
        .import_legacy(&Principal::Local, source, &options)
        .await
        .map_err(explain)?;
    if args.json {
        output::json(&report)?;
    } else {
        output::print_text(&as_text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(report: &ImportReport) -> String {
    let taken = if report.dry_run { "would be taken" } else { "taken" };
    let mut text = String::new();
    for table in &report.tables {
        text.push_str(&format!("{} ({})\n", table.table, table.recognised_as));
        if let Some(rows) = table.rows {
            text.push_str(&format!(
                "  {rows} rows: {} {taken}, {} here already, {} left\n",
                table.taken,
                table.known,
                table.left_count()
            ));
        }
        for (state, count) in &table.states {
            text.push_str(&format!("  {count} {state}\n"));
        }
        if let Some(note) = &table.note {
            text.push_str(&format!("  {note}\n"));
        }
        for left in &table.left {
            text.push_str(&format!("  left {}: {}\n", left.row, left.why));
        }
    }
    text
}
