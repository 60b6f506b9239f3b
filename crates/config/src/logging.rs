//! "Logging" of the deployment document.

use crate::reader::Reader;

/// A level of Python's `logging`, which the settings are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warning,
    /// What went wrong.
    Error,
    /// What stops the process; here the same as [`Self::Error`].
    Critical,
}

impl LogLevel {
    const ALL: [Self; 5] = [
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
    ];

    /// The word of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The word of a `tracing` filter directive.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error | Self::Critical => "error",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        // Python knows WARN and FATAL as other names.
        match word.to_ascii_uppercase().as_str() {
            "WARN" => Some(Self::Warning),
            "FATAL" => Some(Self::Critical),
            word => Self::ALL.into_iter().find(|level| level.as_str() == word),
        }
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggingSection {
    /// Of Mnemosyne itself.
    pub level: LogLevel,
    /// Of the HTTP frame and the libraries below it.
    pub django_level: LogLevel,
    /// Of queue and worker.
    pub celery_level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<LoggingSection> {
    let mut level = |name| {
        reader.parsed(
            name,
            "a level: DEBUG, INFO, WARNING, ERROR or CRITICAL",
            LogLevel::parse,
        )
    };
    let own = level("LOGGING_LEVEL");
    let django = level("DJANGO_LOGGING_LEVEL");
    let celery = level("CELERY_LOGGING_LEVEL");
    let format = reader.parsed("MNEMOSYNE_LOG_FORMAT", "text or json", LogFormat::parse);
    Some(LoggingSection {
        level: own?,
        django_level: django?,
        celery_level: celery?,
        format: format?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let logging = read(&[("LOGGING_LEVEL", "")]).logging;
        assert_eq!(logging.level, LogLevel::Info);
        assert_eq!(logging.django_level, LogLevel::Warning);
        assert_eq!(logging.celery_level, LogLevel::Info);
        assert_eq!(logging.format, LogFormat::Text);
    }

    #[test]
    fn values() {
        let logging = read(&[
            ("LOGGING_LEVEL", "debug"),
            ("DJANGO_LOGGING_LEVEL", "Critical"),
            ("CELERY_LOGGING_LEVEL", "WARN"),
            ("MNEMOSYNE_LOG_FORMAT", "JSON"),
        ])
        .logging;
        assert_eq!(logging.level.directive(), "debug");
        assert_eq!(logging.django_level.directive(), "error");
        assert_eq!(logging.celery_level.directive(), "warn");
        assert_eq!(logging.format, LogFormat::Json);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("LOGGING_LEVEL", "loud"),
            ("DJANGO_LOGGING_LEVEL", "10"),
            ("CELERY_LOGGING_LEVEL", "INFO,DEBUG"),
            ("MNEMOSYNE_LOG_FORMAT", "xml"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
