//! `.env.example`: what the compose file reads.

use std::fmt::Write;

use crate::servers;
use crate::settings::{Availability, Roles, SETTINGS, Setting};

const INTRODUCTION: &str = "\
# What docker-compose.yaml reads, beside itself, from a file called .env (owner root, mode 0600). Each service is given the variables
# that are its own and no other. An empty variable is an unset one. docs/settings.md has the same as a table; this file is written
# by `mnemosyne config --env-example`.
#
# A value with $ or # in it stands in single quotes. A path is one inside the container. User and password inside a URL are
# percent-encoded: / as %2F, ? as %3F, # as %23, @ as %40, : as %3A, + as %2B, & as %26, = as %3D, a space as %20 and % itself as %25.

# The image; a digest pins it: git.helu.ca/r/mnemosyne@sha256:…
# MNEMOSYNE_IMAGE=git.helu.ca/r/mnemosyne:latest
";

/// Inside the image these are what the image says.
const FIXED: [&str; 3] = ["MNEMOSYNE_DATA", "MNEMOSYNE_APP_LISTEN", "MNEMOSYNE_MCP_LISTEN"];

/// What the compose file says where `.env` says nothing: the networks of Docker's bridges and of the balancer.
const DEFAULTS_OF_CONTAINERS: [(&str, &str); 1] = [(
    "MNEMOSYNE_TRUSTED_PROXIES",
    "127.0.0.0/8,::1,172.16.0.0/12,10.10.0.0/24",
)];

/// What every deployment sets although no role refuses to start without it.
const USUAL: [&str; 3] = [
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "LLM_API_SECRETS_ENCRYPTION_KEY",
];

/// Values that are no default of the executable, and the only ones that do in containers.
const OF_CONTAINERS: [(&str, &str); 1] = [("USE_LOCAL_STORAGE", "False")];

/// The settings that containers are given, in the order of the table.
fn of_containers() -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .filter(|setting| setting.roles != Roles::COMMANDS && !FIXED.contains(&setting.name))
}

/// The table of settings as the text of `.env.example`.
pub fn env_example() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut section = "";
    for setting in of_containers() {
        if setting.section != section {
            section = setting.section;
            // Writing to a String cannot fail.
            let _ = write!(text, "\n# --- {section} ---\n");
        }
        for line in wrapped(&remark(setting)) {
            let _ = writeln!(text, "# {line}");
        }
        if is_to_be_filled_in(setting) && value_in_containers(setting).is_none() {
            let _ = writeln!(text, "# For example: {}", setting.example);
        }
        let _ = writeln!(text, "{}", assignment(setting));
    }
    text
}

fn remark(setting: &Setting) -> String {
    let mut remark = setting.doc.replace('`', "");
    if setting.available == Availability::Server {
        remark.push_str(" Not in this version.");
    }
    let needed = servers::needed_by(setting.name);
    match needed.as_slice() {
        [] => {}
        [one] => remark.push_str(&format!(" Needed by {one}.")),
        [others @ .., last] => remark.push_str(&format!(" Needed by {} and {last}.", others.join(", "))),
    }
    remark
}

/// What has a default, or can be left out, stays a remark: the executable knows it.
fn assignment(setting: &Setting) -> String {
    let name = setting.name;
    if let Some(value) = value_in_containers(setting) {
        return format!("{name}={value}");
    }
    if is_to_be_filled_in(setting) {
        return format!("{name}=");
    }
    let value = default_of_containers(name)
        .or(setting.default)
        .unwrap_or(setting.example);
    format!("# {name}={value}")
}

fn is_to_be_filled_in(setting: &Setting) -> bool {
    USUAL.contains(&setting.name) || !servers::needed_by(setting.name).is_empty()
}

fn value_in_containers(setting: &Setting) -> Option<&'static str> {
    look_up(&OF_CONTAINERS, setting.name)
}

fn default_of_containers(name: &str) -> Option<&'static str> {
    look_up(&DEFAULTS_OF_CONTAINERS, name)
}

fn look_up(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// Lines of about a hundred characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 120 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::tests::problems;
    use crate::environment::MapEnvironment;
    use crate::http::IpNetwork;

    fn file(name: &str) -> String {
        let path = format!("{}/../../{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_file_in_the_repository_is_this_one() {
        assert!(
            file(".env.example") == env_example(),
            ".env.example is out of date: run `cargo run -- config --env-example > .env.example`"
        );
    }

    /// The variables that the compose file hands to each service, with what they are where `.env` says nothing: lines
    /// `NAME: ${NAME:-}` below `environment:`.
    fn handed_on() -> BTreeMap<String, BTreeMap<String, String>> {
        let text = file("docker-compose.yaml");
        let services = text.split_once("\nservices:\n").unwrap().1;
        let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let (mut service, mut inside) = (String::new(), false);
        for line in services.lines() {
            let indent = line.len() - line.trim_start().len();
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match indent {
                0 => break,
                2 => service = line.trim_end_matches(':').to_owned(),
                4 => inside = line == "environment:",
                _ if inside => {
                    let (name, value) = line.split_once(": ").unwrap();
                    let default = value
                        .strip_prefix(&format!("${{{name}:-"))
                        .and_then(|rest| rest.strip_suffix('}'));
                    let default = default.unwrap_or_else(|| panic!("{service}: {line}")).to_owned();
                    found
                        .entry(service.clone())
                        .or_default()
                        .insert(name.to_owned(), default);
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn each_service_is_given_its_own_variables_and_no_other() {
        let handed_on = handed_on();
        for (service, reads) in [
            ("app", (|roles| roles.app) as fn(Roles) -> bool),
            ("mcp", |roles| roles.mcp),
            ("worker", |roles| roles.worker),
        ] {
            let expected: BTreeMap<String, String> = of_containers()
                .filter(|setting| reads(setting.roles))
                .map(|setting| {
                    let default = default_of_containers(setting.name).unwrap_or_default();
                    (setting.name.to_owned(), default.to_owned())
                })
                .collect();
            assert_eq!(handed_on.get(service), Some(&expected), "{service}");
        }
        assert_eq!(handed_on.len(), 3, "{:?}", handed_on.keys());
    }

    #[test]
    fn nginx_and_the_containers_behind_it_believe_the_same_networks() {
        let nginx = file("nginx/mnemosyne.conf");
        let believed: BTreeSet<&str> = nginx
            .lines()
            .filter_map(|line| line.trim().strip_prefix("set_real_ip_from "))
            .map(|network| network.trim_end_matches(';'))
            .collect();
        let ours: BTreeSet<&str> = default_of_containers("MNEMOSYNE_TRUSTED_PROXIES")
            .unwrap()
            .split(',')
            .filter(|network| IpNetwork::parse(network).unwrap().to_string().contains('.'))
            .collect();
        assert_eq!(believed, ours);
        for network in &believed {
            assert!(
                nginx.contains(&format!("{network} 1;")),
                "{network} is no trusted hop"
            );
        }
    }

    #[test]
    fn every_variable_stands_once_and_what_it_says_would_do() {
        let text = env_example();
        for setting in of_containers() {
            let name = setting.name;
            let mentions = text
                .lines()
                .filter(|line| line.trim_start_matches("# ").starts_with(&format!("{name}=")))
                .count();
            assert_eq!(mentions, 1, "{name}");
        }
        let environment = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| *name != "USE_LOCAL_STORAGE")
            .fold(MapEnvironment::new(), |environment, (name, value)| {
                environment.with(name, value)
            });
        assert_eq!(problems(&environment), []);
    }

    #[test]
    fn a_blank_variable_is_an_unset_one() {
        let blank = SETTINGS
            .iter()
            .fold(MapEnvironment::new(), |environment, setting| {
                let environment = environment.with(setting.name, "");
                match setting.secret {
                    true => environment.with(&format!("{}_FILE", setting.name), " "),
                    false => environment,
                }
            });
        let blank = crate::Config::read(&blank).unwrap();
        let unset = crate::Config::read(&MapEnvironment::new()).unwrap();
        assert_eq!(blank, unset);
    }
}
