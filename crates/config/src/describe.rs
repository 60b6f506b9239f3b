use crate::config::Config;
use crate::environment::Environment;
use crate::reader::{Found, look_up, without_credentials};
use crate::settings::{SETTINGS, Setting};

/// Where the value of a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A variable.
    Environment,
    /// The file that a `*_FILE` variable names.
    File,
}

impl Source {
    /// The word for a listing.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Environment => "environment",
            Self::File => "file",
        }
    }
}

/// A setting as it stands, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedSetting {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value, `********` where it is secret; `None` where it has none, or where it cannot be read.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
}

impl Config {
    /// Every setting as this environment sets it, in the order of the table, secrets redacted. Works for an environment
    /// that [`Config::read`] refuses, too.
    pub fn describe(environment: &dyn Environment) -> Vec<DescribedSetting> {
        SETTINGS
            .iter()
            .map(|setting| describe(environment, setting))
            .collect()
    }
}

fn describe(environment: &dyn Environment, setting: &'static Setting) -> DescribedSetting {
    let shown = |value: &str| {
        if setting.secret {
            "********".to_owned()
        } else {
            without_credentials(value)
        }
    };
    let (value, source) = match look_up(environment, setting) {
        Ok(Some(Found::Variable(value))) => (Some(shown(&value)), Source::Environment),
        Ok(Some(Found::File(value))) => (Some(shown(&value)), Source::File),
        Ok(None) => (setting.default.map(str::to_owned), Source::Default),
        Err(_) => (None, Source::Environment),
    };
    DescribedSetting {
        setting,
        value,
        source,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::environment::MapEnvironment;

    #[test]
    fn values_come_with_their_source_and_without_secrets() {
        let environment = MapEnvironment::new()
            .with("SECRET_KEY", "hunter2")
            .with("EMBEDDING_API_KEY_FILE", "/key")
            .with_file("/key", "hunter3")
            .with("EMBEDDING_BASE_URL", "http://user:hunter4@host")
            .with("DEBUG", "True");
        let described = Config::describe(&environment);
        assert_eq!(described.len(), SETTINGS.len());
        let of = |name: &str| described.iter().find(|one| one.setting.name == name).unwrap();
        assert_eq!(of("DEBUG").value.as_deref(), Some("True"));
        assert_eq!(of("DEBUG").source, Source::Environment);
        assert_eq!(of("SECRET_KEY").value.as_deref(), Some("********"));
        assert_eq!(of("EMBEDDING_API_KEY").source, Source::File);
        assert_eq!(of("TIME_ZONE").value.as_deref(), Some("UTC"));
        assert_eq!(of("TIME_ZONE").source, Source::Default);
        assert_eq!(of("DB_HOST").value, None);
        assert!(!format!("{described:?}").contains("hunter"));
    }
}
