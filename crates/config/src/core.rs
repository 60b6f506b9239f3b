//! "Django core" of the deployment document, and the data folder.

use std::path::PathBuf;

use chrono_tz::Tz;

use crate::reader::Reader;
use crate::secret::Secret;

pub(crate) struct CoreSection {
    pub(crate) data: PathBuf,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) secret_key_fallbacks: Vec<Secret>,
    pub(crate) provider_keys: Vec<Secret>,
    pub(crate) debug: bool,
    pub(crate) time_zone: Tz,
    pub(crate) language_code: String,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<CoreSection> {
    let data = reader.text("MNEMOSYNE_DATA").map(PathBuf::from);
    let secret_key = reader.secret("SECRET_KEY");
    let secret_key_fallbacks = secret_key_fallbacks(reader);
    let provider_keys = reader.list(
        "LLM_API_SECRETS_ENCRYPTION_KEY",
        "a Fernet key: 32 bytes in base64url, which are 44 characters",
        fernet_key,
    );
    let debug = reader.boolean("DEBUG");
    let time_zone = reader.parsed("TIME_ZONE", "the IANA name of a time zone", |name| {
        name.parse().ok()
    });
    let language_code = reader.parsed("LANGUAGE_CODE", "a language code", language_code);
    Some(CoreSection {
        data: data?,
        secret_key,
        secret_key_fallbacks,
        provider_keys,
        debug: debug?,
        time_zone: time_zone?,
        language_code: language_code?,
    })
}

/// The keys in the list, and the value as a whole where there is more than one: a key may hold a comma itself.
fn secret_key_fallbacks(reader: &mut Reader<'_>) -> Vec<Secret> {
    let mut keys = reader.list("SECRET_KEY_FALLBACKS", "a text", |key| Some(Secret::new(key)));
    let whole = reader.secret("SECRET_KEY_FALLBACKS");
    keys.extend(whole.filter(|whole| whole.expose().contains(',')));
    keys
}

/// The shape of a key as Python's `Fernet.generate_key()` writes it; plain base64 and a missing `=` are taken, too.
fn fernet_key(value: &str) -> Option<Secret> {
    let digits = value.strip_suffix('=').unwrap_or(value);
    let is_good = digits.len() == 43
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_+/".contains(&byte));
    is_good.then(|| Secret::new(value))
}

/// The shape of a language tag: `en`, `en-us`, `zh-hans`; lower case, as Django writes it.
fn language_code(value: &str) -> Option<String> {
    let code = value.to_ascii_lowercase().replace('_', "-");
    let mut parts = code.split('-');
    let language_is_good = parts
        .next()
        .is_some_and(|part| (2..=3).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphabetic()));
    let others_are_good =
        parts.all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()));
    (language_is_good && others_are_good).then_some(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let config = read(&[]);
        assert_eq!(config.data.to_str(), Some("./data"));
        assert_eq!(config.secret_key, None);
        assert!(!config.debug);
        assert_eq!(config.time_zone, chrono_tz::UTC);
        assert_eq!(config.language_code, "en-us");
    }

    #[test]
    fn values() {
        let config = read(&[
            ("MNEMOSYNE_DATA", "/srv/m"),
            ("SECRET_KEY", "hunter2"),
            ("DEBUG", "yes"),
            ("TIME_ZONE", "America/Argentina/Buenos_Aires"),
            ("LANGUAGE_CODE", "de-AT"),
        ]);
        assert_eq!(config.data.to_str(), Some("/srv/m"));
        assert_eq!(config.secret_key.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(config.debug);
        assert_eq!(config.time_zone, chrono_tz::America::Argentina::Buenos_Aires);
        assert_eq!(config.language_code, "de-at");
    }

    #[test]
    fn keys_of_old_and_of_providers() {
        let first = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
        let second = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=";
        let config = read(&[
            ("SECRET_KEY_FALLBACKS", "hunter-one, hunter-two"),
            ("LLM_API_SECRETS_ENCRYPTION_KEY", &format!("{first},{second}")),
        ]);
        let exposed = |secrets: &[crate::Secret]| -> Vec<String> {
            secrets.iter().map(|secret| secret.expose().to_owned()).collect()
        };
        assert_eq!(
            exposed(&config.secret_key_fallbacks),
            ["hunter-one", "hunter-two", "hunter-one, hunter-two"],
            "one key may hold a comma"
        );
        let alone = read(&[("SECRET_KEY_FALLBACKS", "hunter-one")]);
        assert_eq!(exposed(&alone.secret_key_fallbacks), ["hunter-one"]);
        assert_eq!(exposed(&config.provider_keys), [first, second]);
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter") && !shown.contains("cw_"), "{shown}");
        for bad in [
            "short",
            &first[1..],
            &format!("{first}=="),
            &format!("{first},nonsense"),
            "cw_0x689RpI-jtRR7oE8h eQsKImvJapLeSbXpwF4e4=",
        ] {
            let problems = problems(&MapEnvironment::new().with("LLM_API_SECRETS_ENCRYPTION_KEY", bad));
            assert_eq!(problems.len(), 1, "{bad}");
            let sentence = problems[0].to_string();
            assert!(
                sentence.starts_with("LLM_API_SECRETS_ENCRYPTION_KEY "),
                "{sentence}"
            );
            assert!(
                !sentence.contains("cw_") && !sentence.contains("nonsense"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("DEBUG", "perhaps"),
            ("TIME_ZONE", "../../etc/passwd"),
            ("TIME_ZONE", "Europe Berlin"),
            ("TIME_ZONE", "Europe/Atlantis"),
            ("LANGUAGE_CODE", "english"),
            ("LANGUAGE_CODE", "en-<us>"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
