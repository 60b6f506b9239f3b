//! Users.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mnemosyne_domain::Principal;
use mnemosyne_services::Services;
use mnemosyne_services::accounts::Ensured;
use mnemosyne_services::operators::has_usable_password;

use super::output::{self, explain};
use crate::cli::{JsonArgs, PasswordArgs, PasswordSource, ServiceUserArgs, SuperuserArgs};
use crate::context::Context;

/// A line that holds a password may be this long, in bytes.
const MAX_LINE: u64 = 64 * 1024;

pub(super) async fn ensure_service_user(
    args: ServiceUserArgs,
    services: &Services,
) -> anyhow::Result<ExitCode> {
    let password = password(args.password)?;
    let ensured = services
        .ensure_service_user(&Principal::Local, &args.username, &password)
        .await
        .map_err(explain)?;
    let said = match ensured {
        Ensured::Created => format!("The user {} was made.", args.username),
        Ensured::PasswordSet => format!("The user {} has the given password now.", args.username),
        Ensured::Marked => format!("The user {} is a service account now.", args.username),
        Ensured::Unchanged => format!("The user {} is as it should be; nothing to do.", args.username),
    };
    report(&args.username, ensured, &said, args.json)
}

pub(super) async fn create_superuser(args: SuperuserArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let usual = &context.config.superuser;
    let username = args
        .username
        .or_else(|| usual.username.clone())
        .context("no name was given: use --username or DJANGO_SUPERUSER_USERNAME")?;
    let email = args.email.or_else(|| usual.email.clone()).unwrap_or_default();
    let is_given = args.password.given.is_some() || args.password.file.is_some();
    let password = match &usual.password {
        Some(password) if !is_given => password.expose().to_owned(),
        None if args.noinput && !is_given => {
            bail!("no password was given: use --password-file or DJANGO_SUPERUSER_PASSWORD")
        }
        _ => password(args.password)?,
    };
    let ensured = context
        .services
        .ensure_administrator(&Principal::Local, &username, &email, &password)
        .await
        .map_err(explain)?;
    let said = match ensured {
        Ensured::Unchanged => format!("The administrator {username} is there; nothing to do."),
        Ensured::Created | Ensured::PasswordSet | Ensured::Marked => {
            format!("The administrator {username} was made.")
        }
    };
    report(&username, ensured, &said, args.json)
}

pub(super) async fn change_password(args: PasswordArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let password = password(args.password)?;
    let ensured = services
        .ensure_password(&Principal::Local, &args.username, &password)
        .await
        .map_err(explain)?;
    let said = match ensured {
        Ensured::Unchanged => format!("{} has this password already; nothing to do.", args.username),
        Ensured::Created | Ensured::PasswordSet | Ensured::Marked => format!(
            "The password of {} was changed; its sessions are over.",
            args.username
        ),
    };
    report(&args.username, ensured, &said, args.json)
}

pub(super) async fn list(args: JsonArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let users = services.users(&Principal::Local).await.map_err(explain)?;
    if args.json {
        let rows: Vec<_> = users
            .iter()
            .map(|user| {
                serde_json::json!({
                    "id": user.id.0,
                    "username": user.username,
                    "email": user.email,
                    "is_superuser": user.is_superuser,
                    "is_staff": user.is_staff,
                    "is_active": user.is_active,
                    "is_service": user.is_service,
                    "has_usable_password": has_usable_password(user),
                    "date_joined": user.date_joined,
                    "last_login": user.last_login,
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for user in &users {
        let mut notes = vec![if user.is_superuser {
            "administrator"
        } else {
            "user"
        }];
        if user.is_staff && !user.is_superuser {
            notes.push("staff");
        }
        if user.is_service {
            notes.push("service account");
        }
        if !user.is_active {
            notes.push("inactive");
        }
        if !has_usable_password(user) {
            notes.push("no password");
        }
        text.push_str(&format!("{}  ({})\n", user.username, notes.join(", ")));
    }
    output::print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn report(username: &str, ensured: Ensured, said: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        output::json(&serde_json::json!({ "username": username, "outcome": ensured.as_str() }))?;
    } else {
        println!("{said}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The password of the option, the first line of the file, or that of standard input: in a process list an option is seen by
/// everybody.
fn password(source: PasswordSource) -> anyhow::Result<String> {
    if let Some(password) = source.given {
        return Ok(password);
    }
    let line = match source.file.as_deref() {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).with_context(|| format!("--password-file {}", path.display()))?;
            first_line(BufReader::new(file)).with_context(|| format!("--password-file {}", path.display()))?
        }
        _ => {
            let input = io::stdin();
            if input.is_terminal() {
                eprintln!("The password is read from standard input; it is shown as you type.");
            }
            first_line(input.lock())?
        }
    };
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password was given: write it to standard input, or name a file with --password-file");
    }
    Ok(password.to_owned())
}

fn first_line(reader: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}
