//! A wrong setting stops the start with its name.

use mnemosyne_tests::Installation;

#[track_caller]
fn refused(variables: &[(&str, &str)], named: &str) -> String {
    let mut installation = Installation::new();
    for (name, value) in variables {
        installation.set(name, value);
    }
    let output = installation.run(&["serve"]).failed();
    assert!(
        output.stderr.contains(named),
        "{variables:?} is not answered with {named}: {}",
        output.stderr
    );
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    assert!(!output.stdout.contains("app:"), "it had started before it looked");
    output.stderr
}

#[test]
fn every_kind_of_wrong_value_is_refused_by_name() {
    let cases = [
        ("MNEMOSYNE_APP_LISTEN", "everywhere"),
        ("MNEMOSYNE_MCP_LISTEN", "127.0.0.1:99999"),
        ("MNEMOSYNE_MAX_FILE_BYTES", "lots"),
        ("CELERY_CONCURRENCY", "many"),
        ("CELERY_CONCURRENCY", "0"),
        ("CELERY_QUEUES", "celery,espresso"),
        ("LOGGING_LEVEL", "LOUD"),
        ("MCP_REQUIRE_AUTH", "perhaps"),
        ("DEBUG", "2"),
        ("TIME_ZONE", "Europe/Atlantis"),
        ("MNEMOSYNE_READY_REQUIRES", "everything"),
        ("SEARCH_RRF_K", "-1"),
        ("SEARCH_DEFAULT_LIMIT", "twenty"),
        ("MNEMOSYNE_TRUSTED_PROXIES", "the balancer"),
        ("HF_ENDPOINT", "not a url"),
    ];
    for (name, value) in cases {
        refused(&[(name, value)], name);
    }
}

#[test]
fn a_half_configured_embedding_server_names_what_is_missing() {
    refused(
        &[("EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1")],
        "EMBEDDING_MODEL",
    );
    let model = ("EMBEDDING_MODEL", "some-model");
    let base = ("EMBEDDING_BASE_URL", "http://127.0.0.1:9/v1");
    refused(
        &[base, model, ("EMBEDDING_DIALECT", "esperanto")],
        "EMBEDDING_DIALECT",
    );
    refused(
        &[base, model, ("EMBEDDING_DIMENSION", "-3")],
        "EMBEDDING_DIMENSION",
    );
}

#[test]
fn a_secret_is_never_part_of_the_complaint() {
    let secret = "sk-do-not-print-me-0123456789";
    let said = refused(
        &[
            ("EMBEDDING_BASE_URL", "no-scheme"),
            ("EMBEDDING_MODEL", "m"),
            ("EMBEDDING_API_KEY", secret),
        ],
        "EMBEDDING_BASE_URL",
    );
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let said = refused(&[("MNEMOSYNE_DATA", "/dev/null/data")], "/dev/null/data");
    assert!(!said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn a_misspelt_setting_of_ours_is_noticed() {
    let installation = Installation::new().with("MNEMOSYNE_DATTA", "/tmp/elsewhere");
    let server_or_error = installation.run(&["config"]);
    let said = format!("{}{}", server_or_error.stdout, server_or_error.stderr);
    assert!(said.contains("MNEMOSYNE_DATTA"), "{said}");
}
