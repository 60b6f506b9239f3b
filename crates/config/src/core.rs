//! "Django core" of the deployment document, and the data folder.

use std::path::PathBuf;

use chrono_tz::Tz;

use crate::reader::Reader;
use crate::secret::Secret;

pub(crate) struct CoreSection {
    pub(crate) data: PathBuf,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) debug: bool,
    pub(crate) time_zone: Tz,
    pub(crate) language_code: String,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<CoreSection> {
    let data = reader.text("MNEMOSYNE_DATA").map(PathBuf::from);
    let secret_key = reader.secret("SECRET_KEY");
    let debug = reader.boolean("DEBUG");
    let time_zone = reader.parsed("TIME_ZONE", "the IANA name of a time zone", |name| {
        name.parse().ok()
    });
    let language_code = reader.parsed("LANGUAGE_CODE", "a language code", language_code);
    Some(CoreSection {
        data: data?,
        secret_key,
        debug: debug?,
        time_zone: time_zone?,
        language_code: language_code?,
    })
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
