//! The table of ARCHITECTURE.md, held against what the crates declare.

use std::collections::BTreeSet;
use std::process::Command;

/// What each crate may import of ours.
const RULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("crypto", &["domain"]),
    ("http", &["domain"]),
    ("documents", &["domain"]),
    ("sandbox", &["domain", "documents"]),
    ("sql", &["domain", "crypto"]),
    ("graph", &["domain"]),
    ("blobs", &["domain", "http"]),
    ("cache", &["domain"]),
    ("queue", &["domain"]),
    ("inference", &["domain", "http"]),
    ("mail", &["domain"]),
    ("services", &["domain", "documents", "crypto"]),
    ("app", &["domain", "services", "config", "crypto"]),
    ("mcp", &["domain", "services", "config"]),
    ("worker", &["domain", "services", "config"]),
];

/// Libraries that one crate alone may use.
const SOLE_USERS: &[(&str, &str)] = &[
    ("reqwest", "http"),
    ("rmcp", "mcp"),
    ("candle-core", "inference"),
    ("docling", "documents"),
    ("tantivy", "graph"),
    ("moka", "cache"),
    ("lapin", "queue"),
    ("lettre", "mail"),
    ("memcache", "cache"),
    ("aws-sdk-s3", "blobs"),
    ("askama", "app"),
];

struct Package {
    name: String,
    dependencies: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| Package {
            name: package["name"].as_str().unwrap().to_owned(),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect(),
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    for (name, allowed) in RULES {
        let full = format!("mnemosyne-{name}");
        let package = packages
            .iter()
            .find(|package| package.name == full)
            .unwrap_or_else(|| panic!("no {full}"));
        for dependency in &package.dependencies {
            if let Some(ours) = dependency.strip_prefix("mnemosyne-") {
                assert!(allowed.contains(&ours), "{name} may not import {ours}");
            }
        }
    }
}

#[test]
fn some_libraries_have_one_user() {
    for package in packages() {
        for (library, user) in SOLE_USERS {
            if package.dependencies.contains(*library) {
                assert_eq!(
                    package.name,
                    format!("mnemosyne-{user}"),
                    "{library} belongs to {user}"
                );
            }
        }
    }
}

#[test]
fn the_table_of_the_document_is_the_same() {
    let document = include_str!("../../../../ARCHITECTURE.md");
    for (name, _) in RULES {
        assert!(
            document.contains(&format!("`{name}`")),
            "ARCHITECTURE.md does not name {name}"
        );
    }
}
