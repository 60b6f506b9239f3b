//! The servers of the deployment document that this version does not have yet. What would switch one on is refused, so
//! that nobody believes data to be where it is not; what goes with it is checked and has no effect.

use crate::reader::Reader;
use crate::settings::{Availability, SETTINGS};

/// The variable that switches a server on, and what serves where it is unset.
const SWITCHES: [(&str, &str); 7] = [
    ("DB_HOST", "SQLite in the data folder"),
    ("NEOMODEL_NEO4J_BOLT_URL", "the embedded store in the data folder"),
    ("CELERY_BROKER_URL", "a durable queue in the process"),
    ("KVDB_LOCATION", "a cache in the process"),
    ("RERANKER_BASE_URL", "the order of the search itself"),
    (
        "VISION_BASE_URL",
        "the text of a document without descriptions of its images",
    ),
    ("CHAT_BASE_URL", "the local extractor of concepts"),
];

const BOOLEANS: [&str; 5] = [
    "AWS_S3_USE_SSL",
    "AWS_S3_VERIFY",
    "DAEDALUS_S3_USE_SSL",
    "DAEDALUS_S3_VERIFY",
    "EMAIL_USE_TLS",
];

const PORTS: [&str; 2] = ["DB_PORT", "EMAIL_PORT"];

/// Settings of a server that another section reads already.
const READ_ELSEWHERE: [&str; 2] = ["RERANKER_MAX_CANDIDATES", "RERANKER_TIMEOUT"];

pub(crate) fn check(reader: &mut Reader<'_>) {
    for setting in SETTINGS {
        if setting.available == Availability::Now || READ_ELSEWHERE.contains(&setting.name) {
            continue;
        }
        if BOOLEANS.contains(&setting.name) {
            reader.boolean(setting.name);
            continue;
        }
        if PORTS.contains(&setting.name) {
            reader.number(setting.name, 1_u16..=65_535);
            continue;
        }
        let is_set = reader.explicit(setting.name).is_some();
        let switch = SWITCHES.iter().find(|(name, _)| *name == setting.name);
        if let (true, Some((name, instead))) = (is_set, switch) {
            refuse(reader, name, instead);
        }
    }
    if reader.boolean("USE_LOCAL_STORAGE") == Some(false) {
        reader.problem(
            "USE_LOCAL_STORAGE",
            "is False, but S3 is not available in this version: leave it unset to use files in the data folder.",
        );
    }
    if let Some(key) = reader.explicit("LLM_API_SECRETS_ENCRYPTION_KEY")
        && !has_the_shape_of_a_fernet_key(&key)
    {
        reader.bad_value(
            "LLM_API_SECRETS_ENCRYPTION_KEY",
            &key,
            "a Fernet key: 32 bytes in base64url, 44 characters",
        );
    }
}

fn refuse(reader: &mut Reader<'_>, name: &str, instead: &str) {
    reader.problem_with_example(
        name,
        format!("is set, but not available in this version: leave it unset to use the embedded default, {instead}."),
        None,
    );
}

fn has_the_shape_of_a_fernet_key(key: &str) -> bool {
    let digits = key.strip_suffix('=').unwrap_or(key);
    digits.len() == 43
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn what_would_switch_a_server_on_is_refused() {
        for (name, _) in SWITCHES {
            let problems = problems(&MapEnvironment::new().with(name, "http://user:hunter2@host"));
            assert_eq!(problems.len(), 1, "{name}");
            let sentence = problems[0].to_string();
            assert!(sentence.starts_with(name), "{sentence}");
            assert!(sentence.contains("not available in this version"), "{sentence}");
            assert!(sentence.contains("unset"), "{sentence}");
            assert!(!sentence.contains("hunter2"), "{sentence}");
        }
        let problems = problems(&MapEnvironment::new().with("USE_LOCAL_STORAGE", "False"));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("not available in this version"));
    }

    #[test]
    fn empty_switches_and_what_goes_with_them_are_accepted() {
        read(&[
            ("DB_HOST", ""),
            ("APP_DB_NAME", "mnemosyne"),
            ("APP_DB_PASSWORD", "p@ss"),
            ("DB_PORT", "5432"),
            ("NEOMODEL_NEO4J_BOLT_URL", " "),
            ("USE_LOCAL_STORAGE", "True"),
            ("AWS_S3_VERIFY", "False"),
            ("CELERY_RESULT_BACKEND", "rpc://"),
            ("EMAIL_HOST", "mail.example.org"),
            ("EMAIL_PORT", "22025"),
            (
                "LLM_API_SECRETS_ENCRYPTION_KEY",
                "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=",
            ),
        ]);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("DB_PORT", "postgres"),
            ("EMAIL_PORT", "0"),
            ("AWS_S3_VERIFY", "sometimes"),
            ("USE_LOCAL_STORAGE", "local"),
            ("LLM_API_SECRETS_ENCRYPTION_KEY", "hunter2"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
            assert!(!problems[0].to_string().contains("hunter2"));
        }
    }
}
