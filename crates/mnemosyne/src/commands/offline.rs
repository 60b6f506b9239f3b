//! What needs neither a data folder nor a server.

use std::process::ExitCode;

use mnemosyne_config::{Config, ProcessEnvironment};

use super::output;

/// Prints the OpenAPI document.
pub(crate) fn openapi() -> ExitCode {
    finish(output::json(&mnemosyne_app::openapi()))
}

/// Prints the table of all settings.
pub(crate) fn settings_table() -> ExitCode {
    finish(output::print_text(&mnemosyne_config::settings_markdown()))
}

/// Prints an example of an `.env` file.
pub(crate) fn env_example() -> ExitCode {
    finish(output::print_text(&mnemosyne_config::env_example()))
}

/// Prints the settings in force.
pub(crate) fn config() -> anyhow::Result<ExitCode> {
    let rows = Config::describe(&ProcessEnvironment);
    let width = rows
        .iter()
        .map(|row| row.setting.name.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let value = row.value.as_deref().unwrap_or("-");
        text.push_str(&format!(
            "{:width$}  {value}  ({})\n",
            row.setting.name,
            row.source.as_str()
        ));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
