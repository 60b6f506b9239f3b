//! `static_init`: the files that a web server hands out by itself.

use std::process::ExitCode;

use anyhow::Context as _;

use super::output;
use crate::cli::StaticInitArgs;

pub(super) fn run(args: &StaticInitArgs) -> anyhow::Result<ExitCode> {
    let written = mnemosyne_app::static_files::install(&args.folder)
        .with_context(|| format!("{} cannot be filled", args.folder.display()))?;
    output::print_text(&format!(
        "{} static files are in {}: {} new, {} of an older version removed.\n",
        written.files,
        args.folder.display(),
        written.new,
        written.removed
    ))?;
    Ok(ExitCode::SUCCESS)
}
