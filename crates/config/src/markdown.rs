use std::fmt::Write;

use crate::settings::{Availability, Roles, SETTINGS, Setting};

const INTRODUCTION: &str = "\
# Settings

Mnemosyne is configured by environment variables, and needs none: everything has a default that works on one machine.
An empty variable is an unset one. Booleans are `True`, `true`, `1`, `yes`, `on` and their opposites; lists are separated by
commas. A wrong value stops the start, with the name of the variable and an example; so does an unknown name that begins
with `MNEMOSYNE_`.

A variable marked as secret is never shown, and can be read from a file: `SECRET_KEY_FILE=/run/secrets/key` instead of
`SECRET_KEY`. `mnemosyne config` shows what is in force, and where it comes from.

`serve` and the commands take any mixture of servers and embedded defaults. `app`, `mcp` and `worker` started alone need every
server of the deployment: PostgreSQL, Neo4j, Memcached, S3, for `app` and `worker` RabbitMQ, for `worker` the bucket of Daedalus,
and one `SECRET_KEY` for all.

Settings marked with \u{2020} belong to features that this version does not have. Those that would switch one on are refused; the
others are accepted and have no effect.

This file is written by `mnemosyne config --markdown`.
";

/// The table of settings as the text of `docs/settings.md`.
pub fn settings_markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n## {section}\n\n| Variable | Default | Example | Read by | Meaning |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        let _ = writeln!(text, "{}", row(setting));
    }
    text
}

fn row(setting: &Setting) -> String {
    let mark = match setting.available {
        Availability::Now => "",
        Availability::Server => " \u{2020}",
    };
    let default = setting.default.map(code).unwrap_or_default();
    let secret = if setting.secret { " Secret." } else { "" };
    format!(
        "| {}{mark} | {default} | {} | {} | {}{secret} |",
        code(setting.name),
        code(setting.example),
        roles(setting.roles),
        setting.doc.replace('|', "\\|"),
    )
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

fn roles(roles: Roles) -> String {
    if roles == Roles::COMMANDS {
        return "commands".to_owned();
    }
    [("app", roles.app), ("mcp", roles.mcp), ("worker", roles.worker)]
        .into_iter()
        .filter_map(|(name, reads)| reads.then_some(name))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_document_in_the_repository_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == settings_markdown(),
            "docs/settings.md is out of date: run `cargo run -- config --markdown > docs/settings.md`"
        );
    }

    #[test]
    fn every_setting_has_a_row() {
        let text = settings_markdown();
        for setting in SETTINGS {
            assert!(
                text.contains(&format!("| `{}`", setting.name)),
                "{}",
                setting.name
            );
        }
    }
}
