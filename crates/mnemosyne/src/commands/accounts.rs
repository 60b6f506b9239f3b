//! Users.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::bail;
use mnemosyne_domain::Principal;
use mnemosyne_services::Services;
use mnemosyne_services::accounts::{Ensured, Role};

use super::output::explain;
use crate::cli::{PasswordArgs, ServiceUserArgs, SuperuserArgs};

pub(super) async fn ensure_service_user(
    args: ServiceUserArgs,
    services: &Services,
) -> anyhow::Result<ExitCode> {
    let ensured = services
        .ensure_service_user(&Principal::Local, &args.username, &args.password)
        .await
        .map_err(explain)?;
    match ensured {
        Ensured::Created => println!("The user {} was made.", args.username),
        Ensured::PasswordSet => println!("The user {} has the given password now.", args.username),
        Ensured::Unchanged => println!("The user {} is as it should be; nothing to do.", args.username),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn create_superuser(args: SuperuserArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let password = password(args.password)?;
    services
        .create_user(&Principal::Local, &args.username, &password, Role::Administrator)
        .await
        .map_err(explain)?;
    println!("The administrator {} was made.", args.username);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn change_password(args: PasswordArgs, services: &Services) -> anyhow::Result<ExitCode> {
    let password = password(args.password)?;
    services
        .change_password(&Principal::Local, &args.username, &password)
        .await
        .map_err(explain)?;
    println!(
        "The password of {} was changed; its sessions are over.",
        args.username
    );
    Ok(ExitCode::SUCCESS)
}

/// The password of the option, or one line of standard input: in a process list an option is seen by everybody.
fn password(given: Option<String>) -> anyhow::Result<String> {
    if let Some(password) = given {
        return Ok(password);
    }
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("The password is read from standard input; it is shown as you type.");
    }
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password was given: use --password, or write it to standard input");
    }
    Ok(password.to_owned())
}
