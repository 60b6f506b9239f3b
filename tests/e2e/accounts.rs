//! Commands on users, tokens and keys: each may be repeated, prints JSON, and takes no secret as an argument.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use mnemosyne_tests::{Installation, Output};
use serde_json::{Value, json};

const PASSWORD: &str = "a long enough password";

/// Runs a command with a text on standard input.
fn fed(installation: &Installation, words: &[&str], input: &str) -> Output {
    let mut child = installation
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Output {
        command: format!("mnemosyne {}", words.join(" ")),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn with<'w>(words: &[&'w str], more: &[&'w str]) -> Vec<&'w str> {
    [words, more].concat()
}

fn outcome(output: Output) -> String {
    output.succeeded().json()["outcome"].as_str().unwrap().to_owned()
}

fn user(installation: &Installation, name: &str) -> Value {
    let users = installation.run(&["list_users", "--json"]).succeeded().json();
    let found = users
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["username"] == name);
    found.cloned().unwrap_or_default()
}

#[test]
fn a_service_account_is_ensured_wherever_its_password_comes_from() {
    let installation = Installation::new();
    let words = [
        "python",
        "manage.py",
        "ensure_service_user",
        "--username",
        "daedalus-service",
    ];
    let file = installation.path("password");
    fs::write(&file, format!("{PASSWORD}\nand a line that does not count\n")).unwrap();
    let file = file.to_string_lossy().into_owned();
    assert_eq!(
        outcome(installation.run(&with(&words, &["--password", PASSWORD, "--json"]))),
        "created"
    );
    for again in [
        installation.run(&with(&words, &["--password", PASSWORD, "--json"])),
        installation.run(&with(&words, &["--password-file", &file, "--json"])),
        installation.run(&with(&words, &["--password_file", &file, "--json"])),
        fed(
            &installation,
            &with(&words, &["--json"]),
            &format!("{PASSWORD}\r\n"),
        ),
        fed(
            &installation,
            &with(&words, &["--password-file", "-", "--json"]),
            PASSWORD,
        ),
    ] {
        assert_eq!(outcome(again), "unchanged");
    }
    assert_eq!(
        outcome(fed(
            &installation,
            &with(&words, &["--json"]),
            "another long password\n"
        )),
        "password_set"
    );
    let made = user(&installation, "daedalus-service");
    for (key, expected) in [("is_superuser", false), ("is_staff", false), ("is_active", true)] {
        assert_eq!(made[key], expected, "{made}");
    }
    for bad in [
        installation.run(&words).failed(),
        fed(&installation, &words, "\n").failed(),
        installation
            .run(&with(&words, &["--password-file", "/no/such/file"]))
            .failed(),
    ] {
        assert!(bad.stderr.contains("password"), "{}", bad.stderr);
    }
    let both = installation.run(&with(&words, &["--password", "x", "--password-file", &file]));
    assert_eq!(both.failed().code, Some(2));
}

#[test]
fn an_administrator_is_made_once_and_nobody_else_becomes_one() {
    let installation = Installation::new()
        .with("DJANGO_SUPERUSER_USERNAME", "root")
        .with("DJANGO_SUPERUSER_EMAIL", "root@example.org")
        .with("DJANGO_SUPERUSER_PASSWORD", PASSWORD);
    let words = ["python", "manage.py", "createsuperuser", "--noinput", "--json"];
    assert_eq!(outcome(installation.run(&words)), "created");
    assert_eq!(outcome(installation.run(&words)), "unchanged");
    let made = user(&installation, "root");
    assert_eq!(made["email"], "root@example.org");
    assert_eq!(
        (&made["is_superuser"], &made["is_staff"]),
        (&json!(true), &json!(true))
    );
    let other = [
        "createsuperuser",
        "--username",
        "root",
        "--password",
        "another long password",
    ];
    let refused = installation.run(&other).failed();
    assert!(refused.stderr.contains("changepassword"), "{}", refused.stderr);
    let named = [
        "createsuperuser",
        "--username",
        "second",
        "--password",
        "another long password",
        "--json",
    ];
    assert_eq!(outcome(installation.run(&named)), "created");

    installation
        .run(&[
            "ensure_service_user",
            "--username",
            "plain",
            "--password",
            PASSWORD,
        ])
        .succeeded();
    let refused = installation
        .run(&["createsuperuser", "--username", "plain", "--password", PASSWORD])
        .failed();
    assert!(refused.stderr.contains("plain"), "{}", refused.stderr);
    assert_eq!(user(&installation, "plain")["is_superuser"], false);
    let bare = Installation::new();
    let nameless = bare.run(&["createsuperuser", "--noinput"]).failed();
    assert!(
        nameless.stderr.contains("DJANGO_SUPERUSER_USERNAME"),
        "{}",
        nameless.stderr
    );
    let silent = bare
        .run(&["createsuperuser", "--username", "a", "--noinput"])
        .failed();
    assert!(
        silent.stderr.contains("DJANGO_SUPERUSER_PASSWORD"),
        "{}",
        silent.stderr
    );
}

#[test]
fn a_password_is_changed_once() {
    let installation = Installation::new();
    installation
        .run(&["createsuperuser", "--username", "ada", "--password", PASSWORD])
        .succeeded();
    let change = ["changepassword", "ada", "--json"];
    assert_eq!(
        outcome(fed(&installation, &change, "another long password\n")),
        "password_set"
    );
    assert_eq!(
        outcome(fed(&installation, &change, "another long password\n")),
        "unchanged"
    );
    let server = installation.serve_as("ada", "another long password");
    server.api().get("/library/api/workspaces/").expect(200);
    assert_eq!(outcome(fed(&installation, &change, PASSWORD)), "password_set");
    server.api().get("/library/api/workspaces/").expect(401);
    let unknown = fed(&installation, &["changepassword", "nobody"], PASSWORD).failed();
    assert!(unknown.stderr.contains("not found"), "{}", unknown.stderr);
}

#[test]
fn a_token_is_made_once_shown_once_listed_and_revoked() {
    let installation = Installation::new();
    let words = [
        "create-mcp-token",
        "--name",
        "laptop",
        "--tool",
        "search",
        "--expires-in",
        "90d",
        "--json",
    ];
    let first = installation.run(&words).succeeded().json();
    assert!(first["token"].is_string() && first["created"] == true, "{first}");
    let again = installation.run(&words).succeeded();
    assert!(
        !again.stdout.contains(first["token"].as_str().unwrap()),
        "it is shown twice"
    );
    let again = again.json();
    assert_eq!(
        (&again["token"], &again["created"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(again["prefix"], first["prefix"]);
    let wider = ["create_mcp_token", "--name", "laptop"];
    let refused = installation.run(&wider).failed();
    assert!(refused.stderr.contains("laptop"), "{}", refused.stderr);

    let listed = installation.run(&["list_mcp_tokens", "--json"]).succeeded();
    assert!(!listed.stdout.contains(first["token"].as_str().unwrap()));
    let listed = listed.json();
    let row = &listed[0];
    assert_eq!(
        (&row["name"], &row["prefix"], &row["tools"]),
        (&json!("laptop"), &first["prefix"], &json!(["search"]))
    );
    assert_eq!(
        (&row["is_usable"], &row["revoked_at"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(
        (listed.as_array().unwrap().len(), &row["username"]),
        (1, &json!("admin"))
    );
    let of_admin = ["list_mcp_tokens", "--user", "admin"];
    assert!(installation.run(&of_admin).succeeded().stdout.contains("usable"));
    assert!(
        installation
            .run(&["list_mcp_tokens", "--user", "nobody"])
            .failed()
            .stderr
            .contains("nobody")
    );

    let revoke = ["revoke_mcp_token", "laptop", "--json"];
    assert_eq!(outcome(installation.run(&revoke)), "revoked");
    assert_eq!(outcome(installation.run(&revoke)), "unchanged");
    let fresh = installation.run(&words).succeeded().json();
    assert_eq!(fresh["created"], true, "the name is free again");
    assert_ne!(fresh["token"], first["token"]);
    // The name means the one that can be used; a prefix means one token for good.
    let by_prefix = ["revoke_mcp_token", first["prefix"].as_str().unwrap(), "--json"];
    assert_eq!(outcome(installation.run(&by_prefix)), "unchanged");
    assert_eq!(outcome(installation.run(&revoke)), "revoked");
    assert!(
        installation
            .run(&["revoke_mcp_token", "no such"])
            .failed()
            .stderr
            .contains("not found")
    );

    installation
        .run(&[
            "ensure_service_user",
            "--username",
            "other",
            "--password",
            PASSWORD,
        ])
        .succeeded();
    for name in ["admin", "other"] {
        installation
            .run(&["create_mcp_token", "--name", "phone", "--user", name])
            .succeeded();
    }
    let ambiguous = installation.run(&["revoke_mcp_token", "phone"]).failed();
    assert!(
        ambiguous.stderr.contains("list_mcp_tokens"),
        "{}",
        ambiguous.stderr
    );
    let of_other = ["revoke_mcp_token", "phone", "--user", "other", "--json"];
    assert_eq!(outcome(installation.run(&of_other)), "revoked");
}

#[test]
fn a_signing_key_is_seeded_once_listed_and_retired() {
    let installation = Installation::new();
    let seed = [
        "python",
        "manage.py",
        "seed_signing_key",
        "--kid",
        "daedalus-1",
        "--json",
    ];
    let first = installation.run(&seed).succeeded().json();
    let secret = first["secret_hex"].as_str().unwrap();
    assert!(secret.len() >= 64 && first["created"] == true, "{first}");
    let again = installation.run(&seed).succeeded().json();
    assert_eq!(
        (&again["secret_hex"], &again["created"]),
        (&Value::Null, &json!(false))
    );
    let second = [
        "seed_signing_key",
        "--kid",
        "daedalus-2",
        "--retire-other",
        "--json",
    ];
    assert_eq!(installation.run(&second).succeeded().json()["created"], true);
    let listed = installation.run(&["list_signing_keys", "--json"]).succeeded();
    assert!(!listed.stdout.contains(secret));
    let states: Vec<(Value, bool)> = listed
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["kid"].clone(), key["retired_at"].is_null()))
        .collect();
    assert_eq!(
        states,
        [(json!("daedalus-2"), true), (json!("daedalus-1"), false)]
    );
    assert!(
        installation
            .run(&["list_signing_keys"])
            .succeeded()
            .stdout
            .contains("in use")
    );
    let retire = ["retire_signing_key", "--kid", "daedalus-2", "--json"];
    assert_eq!(outcome(installation.run(&retire)), "retired");
    assert_eq!(outcome(installation.run(&retire)), "unchanged");
    assert!(
        installation
            .run(&["retire_signing_key", "--kid", "none"])
            .failed()
            .stderr
            .contains("not found")
    );
    let refused = installation
        .run(&["seed_signing_key", "--kid", "daedalus-2"])
        .failed();
    assert!(refused.stderr.contains("retired"), "{}", refused.stderr);
}

#[test]
fn there_is_nothing_to_import_from_the_embedded_database() {
    let installation = Installation::new();
    let refused = installation
        .run(&["import_django", "--dry-run", "--json"])
        .failed();
    assert!(
        refused.stderr.contains("DB_HOST") && refused.stdout.is_empty(),
        "{refused:?}"
    );
}
