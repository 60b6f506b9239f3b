use std::path::PathBuf;

use chrono_tz::Tz;

use crate::core::CoreSection;
use crate::email::EmailSection;
use crate::embedding::{EmbeddingLimits, EmbeddingSection};
use crate::environment::Environment;
use crate::error::ConfigErrors;
use crate::files::FilesSection;
use crate::http::HttpSection;
use crate::logging::LoggingSection;
use crate::mcp::McpSection;
use crate::network::NetworkSection;
use crate::reader::Reader;
use crate::search::{RerankerLimits, SearchSection};
use crate::secret::Secret;
use crate::servers::ServersSection;
use crate::settings::Role;
use crate::superuser::SuperuserSection;
use crate::worker::WorkerSection;
use crate::{
    core, email, embedding, files, http, logging, mcp, network, search, servers, superuser, unknown, worker,
};

/// The whole configuration. Secrets do not show in `Debug`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The data folder, as it was given; it need not exist yet.
    pub data: PathBuf,
    /// `None`: the one kept in the data folder, generated on the first start.
    pub secret_key: Option<Secret>,
    /// Former values of it, the latest first: they open what they sealed.
    pub secret_key_fallbacks: Vec<Secret>,
    /// The Fernet keys of providers' API keys: the first seals, all of them open. None: a key derived from `secret_key`.
    pub provider_keys: Vec<Secret>,
    /// Whether visitors see the details of errors.
    pub debug: bool,
    /// The time zone that pages show times in.
    pub time_zone: Tz,
    /// The language that pages declare, in lower case.
    pub language_code: String,
    /// How the servers listen and whom they believe.
    pub http: HttpSection,
    /// The mail server; `None`: no mail is sent.
    pub email: Option<EmailSection>,
    /// Days that the audit is kept.
    pub audit_days: u32,
    /// The embedding server; `None`: the embedded models.
    pub embedding: Option<EmbeddingSection>,
    /// The bounds of one request for vectors.
    pub embedding_limits: EmbeddingLimits,
    /// The legs of a search and their fusion.
    pub search: SearchSection,
    /// The bounds of re-ranking.
    pub reranker: RerankerLimits,
    /// What a worker serves.
    pub worker: WorkerSection,
    /// Who may use MCP.
    pub mcp: McpSection,
    /// What is logged, and how.
    pub logging: LoggingSection,
    /// The bounds of ingest.
    pub files: FilesSection,
    /// Outgoing calls.
    pub network: NetworkSection,
    /// The servers that are switched on.
    pub servers: ServersSection,
    /// What `createsuperuser` takes where the command line says nothing.
    pub superuser: SuperuserSection,
}

impl Config {
    /// Reads the whole environment for `serve` or a command: either everything is good, or every problem is listed.
    pub fn read(environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        Self::read_for(environment, Role::All)
    }

    /// Reads the whole environment for a role. One that is started alone needs every server that is its own.
    pub fn read_for(environment: &dyn Environment, role: Role) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(environment);
        // Every section is read before the first missing value ends the function, so that no problem hides another.
        let core = core::read(&mut reader);
        let http = http::read(&mut reader);
        let email = email::read(&mut reader);
        let audit_days = reader.number("MNEMOSYNE_AUDIT_DAYS", 1..=36_500);
        let embedding = embedding::read(&mut reader);
        let embedding_limits = embedding::read_limits(&mut reader);
        let search = search::read(&mut reader);
        let reranker = search::read_reranker(&mut reader);
        let worker = worker::read(&mut reader);
        let mcp = mcp::read(&mut reader);
        let logging = logging::read(&mut reader);
        let files = files::read(&mut reader);
        let network = network::read(&mut reader);
        let servers = servers::read(&mut reader, role, files.as_ref());
        let superuser = superuser::read(&mut reader);
        unknown::check(&mut reader);
        let assemble = || {
            let CoreSection {
                data,
                secret_key,
                secret_key_fallbacks,
                provider_keys,
                debug,
                time_zone,
                language_code,
            } = core?;
            Some(Self {
                data,
                secret_key,
                secret_key_fallbacks,
                provider_keys,
                debug,
                time_zone,
                language_code,
                http: http?,
                email: email?,
                audit_days: audit_days?,
                embedding: embedding?,
                embedding_limits: embedding_limits?,
                search: search?,
                reranker: reranker?,
                worker: worker?,
                mcp: mcp?,
                logging: logging?,
                files: files?,
                network: network?,
                servers: servers?,
                superuser,
            })
        };
        reader.finish(assemble())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::io;

    use super::*;
    use crate::environment::MapEnvironment;
    use crate::error::Problem;
    use crate::settings::SETTINGS;

    /// The configuration of an environment that is good.
    pub(crate) fn read(pairs: &[(&str, &str)]) -> Config {
        let environment: MapEnvironment = pairs.iter().copied().collect();
        Config::read(&environment).unwrap()
    }

    /// The problems of an environment that is not.
    pub(crate) fn problems(environment: &MapEnvironment) -> Vec<Problem> {
        match Config::read(environment) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems,
        }
    }

    /// Remembers what was asked for.
    #[derive(Default)]
    struct Recorder(RefCell<BTreeSet<String>>);

    impl Environment for Recorder {
        fn get(&self, name: &str) -> Option<String> {
            self.0.borrow_mut().insert(name.to_owned());
            None
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }

        fn read_file(&self, _path: &str) -> io::Result<String> {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    }

    #[test]
    fn every_setting_of_the_table_is_read_and_no_other() {
        let recorder = Recorder::default();
        Config::read(&recorder).unwrap();
        let expected: BTreeSet<String> = SETTINGS
            .iter()
            .flat_map(|setting| {
                let file = setting.secret.then(|| format!("{}_FILE", setting.name));
                std::iter::once(setting.name.to_owned()).chain(file)
            })
            .collect();
        assert_eq!(recorder.0.into_inner(), expected);
    }

    #[test]
    fn every_problem_is_listed_once() {
        let environment = MapEnvironment::new()
            .with("DEBUG", "perhaps")
            .with("EMBEDDING_BASE_URL", "nowhere")
            .with("DB_HOST", "db.example.org")
            .with("CELERY_CONCURRENCY", "0")
            .with("MNEMOSYNE_DATTA", "/srv");
        let problems = problems(&environment);
        let names: Vec<&str> = problems.iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "DEBUG",
                "APP_DB_NAME",
                "APP_DB_USER",
                "APP_DB_PASSWORD",
                "CELERY_CONCURRENCY",
                "EMBEDDING_BASE_URL",
                "EMBEDDING_MODEL",
                "EMBEDDING_DIMENSION",
                "MNEMOSYNE_DATTA"
            ]
        );
    }

    #[test]
    fn a_setting_that_is_read_twice_is_reported_once() {
        // The embedding section asks for some values twice, and a file that is missing would be two problems.
        let environment = MapEnvironment::new().with("LLM_API_SECRETS_ENCRYPTION_KEY_FILE", "/nowhere");
        assert_eq!(problems(&environment).len(), 1);
        let environment = MapEnvironment::new().with("CELERY_QUEUES", "a\nb");
        assert_eq!(problems(&environment).len(), 1);
    }

    #[test]
    fn examples_are_values_that_would_do() {
        let mut all = MapEnvironment::new();
        for setting in SETTINGS {
            let alternative = setting.name == "MNEMOSYNE_DAEDALUS_FOLDER";
            if setting.available == crate::settings::Availability::Now && !alternative {
                all = all.with(setting.name, setting.example);
            }
        }
        assert_eq!(problems(&all), []);
        let folder = MapEnvironment::new().with("MNEMOSYNE_DAEDALUS_FOLDER", "/srv/daedalus");
        assert_eq!(problems(&folder), []);
        for setting in SETTINGS {
            let problems = problems(&MapEnvironment::new().with(setting.name, setting.example));
            assert!(
                problems
                    .iter()
                    .all(|problem| problem.message.contains("is missing")
                        || problem.message.contains("is set, but")),
                "{problems:?}"
            );
        }
    }
}
