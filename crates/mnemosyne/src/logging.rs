//! Where the log goes: standard error, so that standard output is the command's own.

use std::io::IsTerminal;

use mnemosyne_config::{Config, LogFormat, LoggingSection};
use tracing_subscriber::EnvFilter;

/// Begins to log. A server logs as the settings say; a command only what the user must know, because its own output says
/// the rest.
pub(crate) fn start(config: &Config, is_server: bool) {
    let filter = EnvFilter::new(if is_server {
        directives(&config.logging)
    } else {
        "error".to_owned()
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let outcome = match config.logging.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    };
    if outcome.is_err() {
        eprintln!("warning: logging was already started");
    }
}

/// The longest name that a message's origin begins with decides: what is ours is named, the rest are the libraries below.
fn directives(logging: &LoggingSection) -> String {
    format!(
        "{},mnemosyne={own},mnemosyne_worker={celery},mnemosyne_queue={celery}",
        logging.django_level.directive(),
        own = logging.level.directive(),
        celery = logging.celery_level.directive(),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use mnemosyne_config::LogLevel;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, django_level: LogLevel, celery_level: LogLevel) -> Vec<String> {
        let logging = LoggingSection {
            level,
            django_level,
            celery_level,
            format: LogFormat::Text,
        };
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives(&logging)))
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .with_level(false)
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "mnemosyne::serve", "role");
            tracing::info!(target: "mnemosyne_app::middleware", "app");
            tracing::info!(target: "hyper::proto", "hyper");
            tracing::info!(target: "sqlx::query", "sqlx");
            tracing::info!(target: "rmcp", "rmcp");
            tracing::info!(target: "mnemosyne_worker::runtime", "worker");
            tracing::info!(target: "mnemosyne_queue::in_process", "queue");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn each_level_is_for_its_part() {
        use LogLevel::{Info, Warning};
        assert_eq!(logged(Info, Warning, Warning), ["role", "app"]);
        assert_eq!(logged(Warning, Info, Warning), ["hyper", "sqlx", "rmcp"]);
        assert_eq!(logged(Warning, Warning, Info), ["worker", "queue"]);
    }
}
