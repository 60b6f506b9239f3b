//! The servers of the deployment document. Each is switched on by its own variable, and then needs what belongs to it;
//! where it is off, the embedded default serves.

use url::Url;

use crate::files::FilesSection;
use crate::reader::Reader;
use crate::secret::Secret;
use crate::settings::{Availability, Role, SETTINGS};

/// PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSection {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database.
    pub name: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// Memcached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemcachedSection {
    /// One or more of `host` or `host:port`, separated by commas or semicolons, as Django takes them.
    pub location: String,
    /// What every key begins with.
    pub prefix: String,
}

/// A bucket on an S3 server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Section {
    /// `http` or `https`, without a slash at its end.
    pub endpoint_url: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The access key.
    pub access_key_id: String,
    /// The secret that goes with it.
    pub secret_access_key: Secret,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

/// The servers that are switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServersSection {
    /// `None`: SQLite in the data folder.
    pub database: Option<DatabaseSection>,
    /// The Bolt URL with its credentials; `None`: the embedded store in the data folder.
    pub graph: Option<Secret>,
    /// `None`: a cache in the process.
    pub memcached: Option<MemcachedSection>,
    /// `None`: files in the data folder.
    pub storage: Option<S3Section>,
    /// `None`: the folder that plays the bucket, where one is set.
    pub daedalus: Option<S3Section>,
    /// The AMQP URL with its credentials; `None`: a queue in the process.
    pub broker: Option<Secret>,
    /// The kind of queue that is made on the broker.
    pub queue_kind: QueueKind,
}

/// The kind of queue that is made where there is none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// On one node of the broker.
    #[default]
    Classic,
    /// Replicated over its nodes.
    Quorum,
}

/// The variable that switches something on that this version does not have, and what serves where it is unset.
const ABSENT: [(&str, &str); 3] = [
    ("RERANKER_BASE_URL", "the order of the search itself"),
    (
        "VISION_BASE_URL",
        "the text of a document without descriptions of its images",
    ),
    ("CHAT_BASE_URL", "the local extractor of concepts"),
];

/// Settings of what this version does not have that another section reads already.
const READ_ELSEWHERE: [&str; 2] = ["RERANKER_MAX_CANDIDATES", "RERANKER_TIMEOUT"];

/// What a role that is started alone must find, so that a blank variable can never put a container on a private store of
/// its own. `mcp` has no broker, and only `worker` reads the bucket of Daedalus.
const REQUIRED: [(&str, &[Role]); 15] = [
    ("SECRET_KEY", &Role::ALONE),
    ("APP_DB_NAME", &Role::ALONE),
    ("APP_DB_USER", &Role::ALONE),
    ("APP_DB_PASSWORD", &Role::ALONE),
    ("DB_HOST", &Role::ALONE),
    ("NEOMODEL_NEO4J_BOLT_URL", &Role::ALONE),
    ("KVDB_LOCATION", &Role::ALONE),
    ("AWS_ACCESS_KEY_ID", &Role::ALONE),
    ("AWS_SECRET_ACCESS_KEY", &Role::ALONE),
    ("AWS_STORAGE_BUCKET_NAME", &Role::ALONE),
    ("AWS_S3_ENDPOINT_URL", &Role::ALONE),
    ("CELERY_BROKER_URL", &[Role::App, Role::Worker]),
    ("DAEDALUS_S3_ENDPOINT_URL", &[Role::Worker]),
    ("DAEDALUS_S3_ACCESS_KEY_ID", &[Role::Worker]),
    ("DAEDALUS_S3_SECRET_ACCESS_KEY", &[Role::Worker]),
];

/// The roles that do not start alone without this variable.
pub(crate) fn needed_by(name: &str) -> Vec<&'static str> {
    if name == "USE_LOCAL_STORAGE" {
        return Role::ALONE.map(Role::as_str).to_vec();
    }
    REQUIRED
        .iter()
        .filter(|(required, _)| *required == name)
        .flat_map(|(_, roles)| roles.iter().map(|role| role.as_str()))
        .collect()
}

/// The outer `None`: a value is wrong.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    role: Role,
    files: Option<&FilesSection>,
) -> Option<ServersSection> {
    let missing = require(reader, role, files);
    let database = database(reader);
    let graph = url(reader, "NEOMODEL_NEO4J_BOLT_URL", &GRAPH_SCHEMES);
    let memcached = memcached(reader);
    let storage = storage(reader);
    let daedalus = daedalus(reader, files);
    let broker = url(reader, "CELERY_BROKER_URL", &BROKER_SCHEMES);
    let queue_kind = reader.parsed(
        "CELERY_TASK_DEFAULT_QUEUE_TYPE",
        "classic or quorum",
        |value| match value {
            "classic" => Some(QueueKind::Classic),
            "quorum" => Some(QueueKind::Quorum),
            _ => None,
        },
    );
    result_backend(reader);
    others(reader);
    if missing {
        return None;
    }
    Some(ServersSection {
        database: database?,
        graph: graph?,
        memcached: memcached?,
        storage: storage?,
        daedalus: daedalus?,
        broker: broker?,
        queue_kind: queue_kind?,
    })
}

/// Whether something is missing that the role cannot start without.
fn require(reader: &mut Reader<'_>, role: Role, files: Option<&FilesSection>) -> bool {
    let folder_plays_the_bucket = files.is_some_and(|files| files.daedalus_folder.is_some());
    let mut missing = false;
    for (name, roles) in REQUIRED {
        let replaced = name.starts_with("DAEDALUS_") && folder_plays_the_bucket;
        if roles.contains(&role) && !replaced && !reader.is_set(name) {
            missing = true;
            reader.problem(
                name,
                format!(
                    "is missing: {} started alone needs it. Only `serve` has an embedded default.",
                    role.as_str()
                ),
            );
        }
    }
    if role != Role::All && reader.boolean("USE_LOCAL_STORAGE") == Some(true) {
        missing = true;
        reader.problem_with_example(
            "USE_LOCAL_STORAGE",
            format!(
                "is True or unset: {} started alone shares its files with the other roles through S3.",
                role.as_str()
            ),
            Some("False".to_owned()),
        );
    }
    missing
}

/// A server's settings, of which `switch` turns it on: notes what is missing beside it, and what is set without it.
/// `None` where something is wrong, otherwise whether the server is on.
fn is_on(reader: &mut Reader<'_>, switch: &str, needed: &[&str]) -> Option<bool> {
    let on = reader.is_set(switch);
    let mut good = true;
    for name in needed {
        if on && !reader.is_set(name) {
            good = false;
            reader.missing(name, format!("is missing: {switch} is set and needs it."));
        }
        if !on && reader.is_set(name) {
            good = false;
            reader.missing(
                switch,
                format!("is missing: {name} is set. Set both, or neither for the embedded default."),
            );
            break;
        }
    }
    good.then_some(on)
}

fn database(reader: &mut Reader<'_>) -> Option<Option<DatabaseSection>> {
    let port = reader.number("DB_PORT", 1_u16..=65_535);
    let on = is_on(
        reader,
        "DB_HOST",
        &["APP_DB_NAME", "APP_DB_USER", "APP_DB_PASSWORD"],
    );
    if !on? {
        return Some(None);
    }
    Some(Some(DatabaseSection {
        host: reader.text("DB_HOST")?,
        port: port?,
        name: reader.text("APP_DB_NAME")?,
        user: reader.text("APP_DB_USER")?,
        password: reader.secret("APP_DB_PASSWORD")?,
    }))
}

fn memcached(reader: &mut Reader<'_>) -> Option<Option<MemcachedSection>> {
    let prefix = reader.parsed(
        "KVDB_PREFIX",
        "a prefix without spaces, at most 100 characters",
        |value| {
            let good = value.len() <= 100 && !value.contains(char::is_whitespace) && value.is_ascii();
            good.then(|| value.to_owned())
        },
    );
    if !reader.is_set("KVDB_LOCATION") {
        return Some(None);
    }
    let location = reader.parsed("KVDB_LOCATION", "a host with a port", |value| {
        let good = value.split([',', ';']).map(str::trim).all(|server| {
            !server.is_empty() && !server.contains("://") && !server.contains(char::is_whitespace)
        });
        good.then(|| value.to_owned())
    });
    Some(Some(MemcachedSection {
        location: location?,
        prefix: prefix?,
    }))
}

fn storage(reader: &mut Reader<'_>) -> Option<Option<S3Section>> {
    let verify = reader.boolean("AWS_S3_VERIFY");
    let use_ssl = reader.boolean("AWS_S3_USE_SSL");
    let region = reader.text("AWS_S3_REGION_NAME");
    let endpoint_url = endpoint(reader, "AWS_S3_ENDPOINT_URL", use_ssl.unwrap_or(true));
    let missing: Vec<&str> = [
        "AWS_S3_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_STORAGE_BUCKET_NAME",
    ]
    .into_iter()
    .filter(|name| !reader.is_set(name))
    .collect();
    if reader.boolean("USE_LOCAL_STORAGE")? {
        return Some(None);
    }
    for name in &missing {
        reader.missing(name, "is missing: USE_LOCAL_STORAGE is False and needs it.");
    }
    if !missing.is_empty() || use_ssl.is_none() {
        return None;
    }
    Some(Some(S3Section {
        endpoint_url: endpoint_url?,
        region: region?,
        bucket: reader.text("AWS_STORAGE_BUCKET_NAME")?,
        access_key_id: reader.text("AWS_ACCESS_KEY_ID")?,
        secret_access_key: reader.secret("AWS_SECRET_ACCESS_KEY")?,
        verify: verify?,
    }))
}

fn daedalus(reader: &mut Reader<'_>, files: Option<&FilesSection>) -> Option<Option<S3Section>> {
    let verify = reader.boolean("DAEDALUS_S3_VERIFY");
    let use_ssl = reader.boolean("DAEDALUS_S3_USE_SSL");
    let region = reader.text("DAEDALUS_S3_REGION_NAME");
    let bucket = reader.text("DAEDALUS_S3_BUCKET_NAME");
    let on = is_on(
        reader,
        "DAEDALUS_S3_ENDPOINT_URL",
        &["DAEDALUS_S3_ACCESS_KEY_ID", "DAEDALUS_S3_SECRET_ACCESS_KEY"],
    );
    let endpoint_url = endpoint(reader, "DAEDALUS_S3_ENDPOINT_URL", use_ssl.unwrap_or(true));
    if !on? {
        return use_ssl.map(|_| None);
    }
    if files.is_some_and(|files| files.daedalus_folder.is_some()) {
        reader.problem_with_example(
            "MNEMOSYNE_DAEDALUS_FOLDER",
            "is set, and so is DAEDALUS_S3_ENDPOINT_URL: there is one bucket of Daedalus, so set only one of the two.",
            None,
        );
        return None;
    }
    Some(Some(S3Section {
        endpoint_url: endpoint_url?,
        region: region?,
        bucket: bucket?,
        access_key_id: reader.text("DAEDALUS_S3_ACCESS_KEY_ID")?,
        secret_access_key: reader.secret("DAEDALUS_S3_SECRET_ACCESS_KEY")?,
        verify: verify?,
    }))
}

/// The URL of an S3 server. A scheme in it wins over the setting for encryption, as it does in boto.
fn endpoint(reader: &mut Reader<'_>, name: &str, use_ssl: bool) -> Option<String> {
    if !reader.is_set(name) {
        return None;
    }
    reader.parsed(name, "the URL of an S3 server, without a path", |value| {
        let scheme = if use_ssl { "https" } else { "http" };
        let whole = match value.contains("://") {
            true => value.to_owned(),
            false => format!("{scheme}://{value}"),
        };
        let url = Url::parse(&whole).ok()?;
        let good = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        good.then(|| whole.trim_end_matches('/').to_owned())
    })
}

const GRAPH_SCHEMES: [&str; 6] = ["bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"];
const BROKER_SCHEMES: [&str; 2] = ["amqp", "amqps"];

/// A URL with credentials in it. Its value is never quoted.
fn url(reader: &mut Reader<'_>, name: &str, schemes: &[&str]) -> Option<Option<Secret>> {
    let Some(value) = reader.explicit(name) else {
        return Some(None);
    };
    match explain_url(&value, schemes) {
        Ok(()) => Some(Some(Secret::new(value))),
        Err(message) => {
            reader.problem(name, message);
            None
        }
    }
}

/// What is wrong with a URL that carries a user and a password, as the rest of a sentence.
fn explain_url(value: &str, schemes: &[&str]) -> Result<(), String> {
    const UNENCODED: &str = "is not a valid URL. A password that contains @ : / # % + ? & = or a space must be \
         percent-encoded in it; an unencoded one is the most common cause.";
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err(format!("is not a URL that begins with {}://.", schemes[0]));
    };
    if !schemes.contains(&scheme) {
        return Err(format!(
            "begins with {scheme:?}, which is none of {}.",
            schemes.join(", ")
        ));
    }
    // Up to the last @ are the credentials, whatever the rules of URLs make of it.
    let Some((credentials, _)) = rest.rsplit_once('@') else {
        return Err("names no user and password.".to_owned());
    };
    let Some((user, password)) = credentials.split_once(':') else {
        return Err("names no password.".to_owned());
    };
    if user.is_empty() || password.is_empty() {
        return Err("has an empty user or password.".to_owned());
    }
    // A part of the password would be taken for a host, a path or a fragment.
    if credentials.contains(|sign: char| matches!(sign, '/' | '?' | '#' | '\\') || sign.is_whitespace()) {
        return Err(UNENCODED.to_owned());
    }
    let Ok(url) = Url::parse(value) else {
        return Err(UNENCODED.to_owned());
    };
    // Parsed, but not where the credentials were meant to end.
    if url.username().is_empty() || url.password().is_none() || url.path().contains('@') || !url.has_host() {
        return Err(UNENCODED.to_owned());
    }
    Ok(())
}

fn result_backend(reader: &mut Reader<'_>) {
    if let Some(value) = reader.explicit("CELERY_RESULT_BACKEND")
        && value.trim_end_matches('/') != "rpc:"
    {
        reader.problem(
            "CELERY_RESULT_BACKEND",
            "is not rpc://, the one place that results are sent to.",
        );
    }
}

/// What belongs to features that this version does not have: what would switch one on is refused, so that nobody believes
/// it to be there; what goes with it is checked and has no effect.
fn others(reader: &mut Reader<'_>) {
    for setting in SETTINGS {
        if setting.available == Availability::Now || READ_ELSEWHERE.contains(&setting.name) {
            continue;
        }
        let name = setting.name;
        let is_set = reader.explicit(name).is_some();
        if let (true, Some((name, instead))) = (is_set, ABSENT.iter().find(|(known, _)| *known == name)) {
            refuse(reader, name, instead);
        }
    }
}

fn refuse(reader: &mut Reader<'_>, name: &str, instead: &str) {
    reader.problem_with_example(
        name,
        format!("is set, but not available in this version: leave it unset to use {instead}."),
        None,
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    /// The example of the deployment document.
    fn production() -> MapEnvironment {
        [
            ("SECRET_KEY", "a-long-random-text-of-fifty-characters-or-more"),
            ("APP_DB_NAME", "mnemosyne"),
            ("APP_DB_USER", "mnemosyne"),
            ("APP_DB_PASSWORD", "p@ss"),
            ("DB_HOST", "portia.incus"),
            (
                "NEOMODEL_NEO4J_BOLT_URL",
                "bolt://neo4j:p%40ss@umbriel.incus:7687",
            ),
            ("KVDB_LOCATION", "oberon.incus:11211"),
            ("USE_LOCAL_STORAGE", "False"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_STORAGE_BUCKET_NAME", "mnemosyne-content"),
            ("AWS_S3_ENDPOINT_URL", "https://nyx.helu.ca:8555"),
            ("AWS_S3_VERIFY", "False"),
            ("DAEDALUS_S3_ENDPOINT_URL", "https://nyx.helu.ca:8555/"),
            ("DAEDALUS_S3_ACCESS_KEY_ID", "reader"),
            ("DAEDALUS_S3_SECRET_ACCESS_KEY", "secret"),
            (
                "CELERY_BROKER_URL",
                "amqp://mnemosyne:p%2Fss@oberon.incus:5672/mnemosyne",
            ),
            ("CELERY_RESULT_BACKEND", "rpc://"),
        ]
        .into_iter()
        .collect()
    }

    fn problems_of(environment: &MapEnvironment, role: Role) -> Vec<String> {
        match Config::read_for(environment, role) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems.into_iter().map(|problem| problem.name).collect(),
        }
    }

    #[test]
    fn all_servers_of_the_deployment_document() {
        for role in [Role::All, Role::App, Role::Mcp, Role::Worker] {
            let config = Config::read_for(&production(), role).unwrap();
            let servers = &config.servers;
            let database = servers.database.as_ref().unwrap();
            assert_eq!((database.host.as_str(), database.port), ("portia.incus", 5432));
            assert_eq!(database.password.expose(), "p@ss");
            let storage = servers.storage.as_ref().unwrap();
            assert_eq!(storage.endpoint_url, "https://nyx.helu.ca:8555");
            assert!(!storage.verify);
            let daedalus = servers.daedalus.as_ref().unwrap();
            assert_eq!((daedalus.bucket.as_str(), daedalus.verify), ("daedalus", true));
            assert_eq!(daedalus.endpoint_url, "https://nyx.helu.ca:8555");
            assert_eq!(servers.memcached.as_ref().unwrap().prefix, "mnemosyne");
            assert!(servers.graph.is_some() && servers.broker.is_some());
            assert!(!format!("{config:?}").contains("p%40ss"));
        }
    }

    #[test]
    fn none_by_default_and_one_at_a_time() {
        assert_eq!(
            read(&[("DB_HOST", ""), ("KVDB_LOCATION", " ")]).servers,
            ServersSection::default()
        );
        let servers = read(&[("KVDB_LOCATION", "localhost")]).servers;
        assert!(servers.memcached.is_some() && servers.database.is_none());
        let bare = read(&[
            ("USE_LOCAL_STORAGE", "False"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_STORAGE_BUCKET_NAME", "b"),
            ("AWS_S3_ENDPOINT_URL", "127.0.0.1:9000"),
            ("AWS_S3_USE_SSL", "False"),
        ]);
        assert_eq!(
            bare.servers.storage.unwrap().endpoint_url,
            "http://127.0.0.1:9000"
        );
    }

    #[test]
    fn a_role_alone_needs_every_server_that_is_its_own() {
        for (name, roles) in REQUIRED {
            for role in Role::ALONE {
                let names = problems_of(&production().with(name, ""), role);
                if roles.contains(&role) {
                    assert_eq!(names, [name], "{role:?}");
                } else if !name.starts_with("DAEDALUS_") {
                    assert!(names.is_empty(), "{name} for {role:?}: {names:?}");
                }
            }
        }
        for role in Role::ALONE {
            for value in ["", "True"] {
                let names = problems_of(&production().with("USE_LOCAL_STORAGE", value), role);
                assert_eq!(names, ["USE_LOCAL_STORAGE"], "{role:?}");
            }
        }
        assert_eq!(problems_of(&MapEnvironment::new(), Role::All), [] as [&str; 0]);
    }

    #[test]
    fn scopes_are_those_of_the_deployment_document() {
        let mut app = production();
        for name in [
            "DAEDALUS_S3_ENDPOINT_URL",
            "DAEDALUS_S3_ACCESS_KEY_ID",
            "DAEDALUS_S3_SECRET_ACCESS_KEY",
        ] {
            app = app.with(name, "");
        }
        assert!(problems_of(&app, Role::App).is_empty());
        assert_eq!(problems_of(&app, Role::Worker).len(), 3);
        let folder = app.clone().with("MNEMOSYNE_DAEDALUS_FOLDER", "/srv/bucket");
        assert!(problems_of(&folder, Role::Worker).is_empty());
        let both = production().with("MNEMOSYNE_DAEDALUS_FOLDER", "/srv/bucket");
        assert_eq!(problems_of(&both, Role::Worker), ["MNEMOSYNE_DAEDALUS_FOLDER"]);
        let mcp = app.with("CELERY_BROKER_URL", "");
        assert!(problems_of(&mcp, Role::Mcp).is_empty());
        assert_eq!(problems_of(&mcp, Role::App), ["CELERY_BROKER_URL"]);
    }

    #[test]
    fn half_a_server_names_the_other_half() {
        for (missing, of) in [
            ("APP_DB_NAME", "APP_DB_NAME"),
            ("APP_DB_PASSWORD", "APP_DB_PASSWORD"),
            ("DB_HOST", "DB_HOST"),
            ("AWS_STORAGE_BUCKET_NAME", "AWS_STORAGE_BUCKET_NAME"),
            ("AWS_S3_ENDPOINT_URL", "AWS_S3_ENDPOINT_URL"),
            ("DAEDALUS_S3_ENDPOINT_URL", "DAEDALUS_S3_ENDPOINT_URL"),
            ("DAEDALUS_S3_SECRET_ACCESS_KEY", "DAEDALUS_S3_SECRET_ACCESS_KEY"),
        ] {
            assert_eq!(problems_of(&production().with(missing, ""), Role::All), [of]);
        }
    }

    #[test]
    fn a_password_left_unencoded_is_named_as_such() {
        for (name, value) in [
            ("CELERY_BROKER_URL", "amqp://mnemosyne:p/ss@host:5672/mnemosyne"),
            ("CELERY_BROKER_URL", "amqp://mnemosyne:12/3@host:5672/mnemosyne"),
            ("CELERY_BROKER_URL", "amqp://mnemosyne:p#ss@host:5672/mnemosyne"),
            ("CELERY_BROKER_URL", "amqp://mnemosyne:p?ss@host:5672/mnemosyne"),
            (
                "CELERY_BROKER_URL",
                "amqp://mnemosyne:p@ss/w#rd@host:5672/mnemosyne",
            ),
            ("CELERY_BROKER_URL", "amqp://mnemosyne:p ss@host:5672/mnemosyne"),
            ("NEOMODEL_NEO4J_BOLT_URL", "bolt://neo4j:p@ss/w#rd@host:7687"),
            ("NEOMODEL_NEO4J_BOLT_URL", "bolt://neo4j:hunter/2@host:7687"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{value}");
            let sentence = problems[0].to_string();
            assert!(sentence.starts_with(name), "{sentence}");
            assert!(sentence.contains("percent-encoded"), "{sentence}");
            assert!(
                !sentence.contains("p/ss") && !sentence.contains("hunter") && !sentence.contains("w#rd"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn what_this_version_does_not_have_is_refused() {
        for (name, _) in ABSENT {
            let problems = problems(&MapEnvironment::new().with(name, "http://user:hunter2@host"));
            assert_eq!(problems.len(), 1, "{name}");
            let sentence = problems[0].to_string();
            assert!(sentence.starts_with(name), "{sentence}");
            assert!(sentence.contains("not available in this version"), "{sentence}");
            assert!(!sentence.contains("hunter2"), "{sentence}");
        }
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("DB_PORT", "postgres"),
            ("EMAIL_PORT", "0"),
            ("AWS_S3_VERIFY", "sometimes"),
            ("USE_LOCAL_STORAGE", "local"),
            ("CELERY_BROKER_URL", "redis://user:hunter2@host"),
            ("CELERY_BROKER_URL", "amqp://host:5672/"),
            ("CELERY_BROKER_URL", "amqp://user@host:5672/"),
            ("CELERY_BROKER_URL", "hunter2"),
            ("CELERY_RESULT_BACKEND", "redis://host"),
            ("CELERY_TASK_DEFAULT_QUEUE_TYPE", "stream"),
            ("NEOMODEL_NEO4J_BOLT_URL", "http://neo4j:hunter2@host:7474"),
            ("KVDB_LOCATION", "memcached://host"),
            ("KVDB_LOCATION", ","),
            ("KVDB_PREFIX", "with space"),
            ("AWS_S3_ENDPOINT_URL", "https://host/path"),
        ] {
            let environment = MapEnvironment::new().with(name, value);
            let environment = match name {
                "AWS_S3_ENDPOINT_URL" => production().with(name, value),
                _ => environment,
            };
            let problems = problems(&environment);
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert_eq!(problems[0].name, name);
            assert!(!problems[0].to_string().contains("hunter2"));
        }
    }
}
