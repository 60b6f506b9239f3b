//! Reads single values for the sections, and gathers what is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::environment::Environment;
use crate::error::{ConfigErrors, Problem};
use crate::secret::Secret;
use crate::settings::{self, SETTINGS, Setting};

/// The words for yes and for no that Django's form fields and common `.env` readers accept, in lower case.
const YES: [&str; 6] = ["true", "1", "yes", "on", "t", "y"];
const NO: [&str; 6] = ["false", "0", "no", "off", "f", "n"];

/// A quoted value is cut to this many characters in messages.
const QUOTED_CHARACTERS: usize = 80;

/// Where a value was found.
pub(crate) enum Found {
    /// In the variable.
    Variable(String),
    /// In the file that the `*_FILE` variable names.
    File(String),
}

/// The value of a setting, trimmed; `None` where it is not set or empty. An error is the rest of a sentence.
pub(crate) fn look_up(environment: &dyn Environment, setting: &Setting) -> Result<Option<Found>, String> {
    let found = find(environment, setting)?;
    if let Some(Found::Variable(text) | Found::File(text)) = &found {
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err("holds bytes that are no UTF-8 text.".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("holds a line break or another control character.".to_owned());
        }
    }
    Ok(found)
}

fn find(environment: &dyn Environment, setting: &Setting) -> Result<Option<Found>, String> {
    let non_empty = |name: &str| {
        environment
            .get(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let direct = non_empty(setting.name);
    if !setting.secret {
        return Ok(direct.map(Found::Variable));
    }
    let file_name = format!("{}_FILE", setting.name);
    let Some(path) = non_empty(&file_name) else {
        return Ok(direct.map(Found::Variable));
    };
    if direct.is_some() {
        return Err(format!("is set, and so is {file_name}: set only one of the two."));
    }
    let text = environment
        .read_file(&path)
        .map_err(|error| format!("cannot be read from the file {path} that {file_name} names: {error}."))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("is empty in the file {path} that {file_name} names."));
    }
    Ok(Some(Found::File(text.to_owned())))
}

/// A value without a user name and password that a URL in it may hold.
pub(crate) fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    // An unencoded password may hold any character, so everything up to the last @ counts as credentials.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => value.to_owned(),
    }
}

/// Reads an environment against the table of settings.
pub(crate) struct Reader<'a> {
    environment: &'a dyn Environment,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a dyn Environment) -> Self {
        Self {
            environment,
            problems: Vec::new(),
        }
    }

    pub(crate) fn environment(&self) -> &'a dyn Environment {
        self.environment
    }

    /// The configuration, unless there was a problem.
    pub(crate) fn finish<T>(mut self, config: Option<T>) -> Result<T, ConfigErrors> {
        // In the order of the table, so that the list reads as the document does; what is unknown comes last.
        let position = |problem: &Problem| {
            SETTINGS
                .iter()
                .position(|setting| setting.name == problem.name)
                .unwrap_or(SETTINGS.len())
        };
        self.problems.sort_by_key(position);
        // A value that two checks look at is still one problem.
        self.problems.dedup();
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors {
                problems: self.problems,
            }),
        }
    }

    /// Notes a problem with a setting of the table; its example is added.
    pub(crate) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let example = settings::setting(name).map(|setting| setting.example.to_owned());
        self.problem_with_example(name, message, example);
    }

    /// Notes that a setting is missing, once, however many reasons there are for it to be there.
    pub(crate) fn missing(&mut self, name: &str, message: impl Into<String>) {
        if self.problems.iter().all(|problem| problem.name != name) {
            self.problem(name, message);
        }
    }

    /// Notes a problem for which the table's example would be no help.
    pub(crate) fn problem_with_example(
        &mut self,
        name: &str,
        message: impl Into<String>,
        example: Option<String>,
    ) {
        self.problems.push(Problem {
            name: name.to_owned(),
            message: message.into(),
            example,
        });
    }

    /// Notes that a value is not what it must be, quoting it unless it is secret.
    pub(crate) fn bad_value(&mut self, name: &str, value: &str, must_be: impl Display) {
        let secret = settings::setting(name).is_none_or(|setting| setting.secret);
        if secret {
            self.problem(name, format!("has a value that is not {must_be}."));
            return;
        }
        let quoted: String = without_credentials(value)
            .chars()
            .take(QUOTED_CHARACTERS)
            .collect();
        self.problem(name, format!("is {quoted:?}, which is not {must_be}."));
    }

    /// Whether something is set, be it readable or not.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        settings::setting(name).is_some_and(|setting| !matches!(look_up(self.environment, setting), Ok(None)))
    }

    /// What is set, without the default.
    pub(crate) fn explicit(&mut self, name: &str) -> Option<String> {
        let setting = settings::setting(name)?;
        match look_up(self.environment, setting) {
            Ok(found) => found.map(|found| match found {
                Found::Variable(value) | Found::File(value) => value,
            }),
            Err(message) => {
                self.problem(name, message);
                None
            }
        }
    }

    /// What is set, or else the default.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let default = settings::setting(name).and_then(|setting| setting.default);
        self.explicit(name).or_else(|| default.map(str::to_owned))
    }

    /// What is set, as a secret.
    pub(crate) fn secret(&mut self, name: &str) -> Option<Secret> {
        self.explicit(name).map(Secret::new)
    }

    /// The value through `parse`; where that fails a problem is noted that says it is not `must_be`.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        must_be: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.bad_value(name, &value, must_be);
        }
        parsed
    }

    /// A boolean, in the words of Django.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.parsed(name, "a boolean (True or False)", |value| {
            let word = value.to_ascii_lowercase();
            if YES.contains(&word.as_str()) {
                return Some(true);
            }
            NO.contains(&word.as_str()).then_some(false)
        })
    }

    /// A number within bounds.
    pub(crate) fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let must_be = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, &must_be, |value| {
            value.parse().ok().filter(|number| range.contains(number))
        })
    }

    /// A weight: 0 to 100, with a decimal point.
    pub(crate) fn weight(&mut self, name: &str) -> Option<f32> {
        self.parsed(name, "a number from 0 to 100", |value| {
            value.parse().ok().filter(|weight| (0.0..=100.0).contains(weight))
        })
    }

    /// Whole seconds within bounds.
    pub(crate) fn seconds(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<Duration> {
        self.number(name, range).map(Duration::from_secs)
    }

    /// A list by comma; every entry goes through `parse`, empty ones are dropped.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        entry_must_be: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.text(name) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match parse(entry) {
                Some(parsed) => entries.push(parsed),
                None => self.bad_value(name, entry, format_args!("{entry_must_be} (in a list by comma)")),
            }
        }
        entries
    }

    /// An `http` or `https` URL without credentials, query or fragment; a slash at its end is dropped.
    pub(crate) fn base_url(&mut self, name: &str) -> Option<String> {
        self.parsed(
            name,
            "an http or https URL (without user name, query or fragment)",
            |value| {
                let url = url::Url::parse(value).ok()?;
                let good = matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none();
                good.then(|| value.trim_end_matches('/').to_owned())
            },
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::environment::MapEnvironment;

    fn boolean(value: &str) -> Result<bool, ConfigErrors> {
        let environment = MapEnvironment::new().with("DEBUG", value);
        let mut reader = Reader::new(&environment);
        let read = reader.boolean("DEBUG");
        reader.finish(read)
    }

    #[test]
    fn booleans_are_those_of_django() {
        for yes in ["True", "true", "TRUE", "1", "yes", "Yes", "on", " True "] {
            assert_eq!(boolean(yes), Ok(true), "{yes}");
        }
        for no in ["False", "false", "0", "no", "off", "", "  "] {
            assert_eq!(boolean(no), Ok(false), "{no:?}");
        }
        for wrong in ["maybe", "2", "yes please", "None"] {
            let errors = boolean(wrong).unwrap_err();
            assert_eq!(errors.problems.len(), 1);
            let sentence = errors.problems[0].to_string();
            assert!(sentence.starts_with("DEBUG is "), "{sentence}");
            assert!(sentence.contains(wrong), "{sentence}");
            assert!(sentence.ends_with("Example: DEBUG=False"), "{sentence}");
        }
    }

    #[test]
    fn a_secret_may_come_from_a_file() {
        let file = MapEnvironment::new()
            .with("SECRET_KEY_FILE", "/run/secrets/key")
            .with_file("/run/secrets/key", "from the file\n");
        let mut reader = Reader::new(&file);
        assert_eq!(reader.secret("SECRET_KEY").unwrap().expose(), "from the file");

        let both = file.clone().with("SECRET_KEY", "hunter2");
        let mut reader = Reader::new(&both);
        assert_eq!(reader.secret("SECRET_KEY"), None);
        let errors = reader.finish(Some(())).unwrap_err().to_string();
        assert!(errors.contains("SECRET_KEY_FILE"), "{errors}");
        assert!(
            !errors.contains("hunter2") && !errors.contains("from the file"),
            "{errors}"
        );

        for missing in [
            MapEnvironment::new().with("SECRET_KEY_FILE", "/nowhere"),
            MapEnvironment::new()
                .with("SECRET_KEY_FILE", "/empty")
                .with_file("/empty", " \n"),
        ] {
            let mut reader = Reader::new(&missing);
            assert_eq!(reader.secret("SECRET_KEY"), None);
            assert!(reader.finish(Some(())).is_err());
        }
    }

    #[test]
    fn text_that_cannot_be_meant_is_refused() {
        for value in ["two\nlines", "\u{fffd}"] {
            let environment = MapEnvironment::new().with("SECRET_KEY", value);
            let mut reader = Reader::new(&environment);
            assert_eq!(reader.secret("SECRET_KEY"), None);
            assert!(reader.finish(Some(())).is_err());
        }
    }

    #[test]
    fn an_empty_variable_beside_a_file_is_not_set() {
        let environment = MapEnvironment::new()
            .with("SECRET_KEY", "")
            .with("SECRET_KEY_FILE", "/key")
            .with_file("/key", "k");
        let mut reader = Reader::new(&environment);
        assert_eq!(reader.secret("SECRET_KEY").unwrap().expose(), "k");
    }

    #[test]
    fn credentials_in_urls_are_not_repeated() {
        assert_eq!(
            without_credentials("http://user:pass@word@host/path"),
            "http://…@host/path"
        );
        assert_eq!(without_credentials("http://host/path"), "http://host/path");
        let environment = MapEnvironment::new().with("HF_ENDPOINT", "https://user:hunter2@host");
        let mut reader = Reader::new(&environment);
        assert_eq!(reader.base_url("HF_ENDPOINT"), None);
        assert!(
            !reader
                .finish(Some(()))
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }

    #[test]
    fn every_problem_is_reported_in_the_order_of_the_table() {
        let environment = MapEnvironment::new();
        let mut reader = Reader::new(&environment);
        reader.problem("LOGGING_LEVEL", "is wrong.");
        reader.problem_with_example("MNEMOSYNE_DATTA", "is unknown.", None);
        reader.problem("DEBUG", "is wrong.");
        let errors = reader.finish(Some(())).unwrap_err();
        let names: Vec<&str> = errors
            .problems
            .iter()
            .map(|problem| problem.name.as_str())
            .collect();
        assert_eq!(names, ["DEBUG", "LOGGING_LEVEL", "MNEMOSYNE_DATTA"]);
        assert!(
            errors
                .to_string()
                .starts_with("3 settings are wrong:\n  DEBUG is wrong.")
        );
    }
}
