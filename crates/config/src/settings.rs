//! The table of everything that can be set. Whoever adds a setting adds a line here, reads it in its section's file, and
//! writes `docs/settings.md` again.

/// The roles that read a setting. `serve` is all of them in one process, and commands read whatever they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The HTTP role.
    pub app: bool,
    /// The MCP role.
    pub mcp: bool,
    /// The ingest role.
    pub worker: bool,
}

impl Roles {
    /// Every role.
    pub const ALL: Self = Self::new(true, true, true);
    /// `app` only.
    pub const APP: Self = Self::new(true, false, false);
    /// `mcp` only.
    pub const MCP: Self = Self::new(false, true, false);
    /// `worker` only.
    pub const WORKER: Self = Self::new(false, false, true);
    /// `app` and `mcp`.
    pub const APP_MCP: Self = Self::new(true, true, false);
    /// `app` and `worker`.
    pub const APP_WORKER: Self = Self::new(true, false, true);
    /// No role: commands only.
    pub const COMMANDS: Self = Self::new(false, false, false);

    const fn new(app: bool, mcp: bool, worker: bool) -> Self {
        Self { app, mcp, worker }
    }
}

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything in one process, or a command.
    All,
    /// The HTTP role alone.
    App,
    /// The MCP role alone.
    Mcp,
    /// The ingest role alone.
    Worker,
}

impl Role {
    /// The roles that can be started alone.
    pub const ALONE: [Self; 3] = [Self::App, Self::Mcp, Self::Worker];

    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "serve",
            Self::App => "app",
            Self::Mcp => "mcp",
            Self::Worker => "worker",
        }
    }
}

/// Whether this version can do what a setting asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It has an effect.
    Now,
    /// It belongs to a server, or a feature over one, that this version does not have. The setting that would switch the
    /// server on is refused; the others are accepted and have no effect.
    Server,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// The section of the deployment document, or our own, that it stands in.
    pub section: &'static str,
    /// Who reads it.
    pub roles: Roles,
    /// The value where it is unset; `None` where it then has none.
    pub default: Option<&'static str>,
    /// A value that would do.
    pub example: &'static str,
    /// What it means, in a sentence or a few, in Markdown.
    pub doc: &'static str,
    /// Whether it is never shown, and may be read from the file that its `*_FILE` variant names.
    pub secret: bool,
    /// Whether this version can serve it.
    pub available: Availability,
}

impl Setting {
    const fn new(
        section: &'static str,
        name: &'static str,
        roles: Roles,
        default: Option<&'static str>,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            section,
            roles,
            default,
            example,
            doc,
            secret: false,
            available: Availability::Now,
        }
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn server(mut self) -> Self {
        self.available = Availability::Server;
        self
    }
}

/// The setting of this name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const CORE: &str = "Core";
const HTTP: &str = "HTTP";
const POSTGRESQL: &str = "PostgreSQL";
const NEO4J: &str = "Neo4j";
const MEMCACHED: &str = "Memcached";
const STORAGE: &str = "Storage (S3)";
const DAEDALUS: &str = "Daedalus bucket";
const BROKER: &str = "Celery and RabbitMQ";
const WORKER: &str = "Worker";
const MCP: &str = "MCP";
const ENCRYPTION: &str = "Encryption of provider keys";
const EMAIL: &str = "Email";
const EMBEDDING: &str = "Embedding";
const SEARCH: &str = "Search";
const RERANKER: &str = "Re-ranker";
const VISION: &str = "Vision model";
const CHAT: &str = "Chat model";
const LOGGING: &str = "Logging";
const FILES: &str = "Files and parsers";
const NETWORK: &str = "Outgoing network";
const COMMANDS: &str = "Commands";

/// Every setting, section by section, in the order of the deployment document.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        CORE,
        "MNEMOSYNE_DATA",
        Roles::ALL,
        Some("./data"),
        "/var/lib/mnemosyne",
        "The data folder: databases, files, models and the generated `SECRET_KEY`.",
    ),
    Setting::new(
        CORE,
        "SECRET_KEY",
        Roles::ALL,
        None,
        "a-long-random-text-of-fifty-characters-or-more",
        "Signs sessions and links, and seals signing keys and other stored secrets. Unset: generated on the first start \
         and kept in the data folder. When it changes, everybody is signed out and sealed secrets cannot be read any more, \
         unless the old one is in `SECRET_KEY_FALLBACKS`.",
    )
    .secret(),
    Setting::new(
        CORE,
        "SECRET_KEY_FALLBACKS",
        Roles::ALL,
        None,
        "the-long-random-text-that-was-there-before",
        "Former values of `SECRET_KEY`, by comma: what they sealed can still be read, and sessions under them go on. \
         `mnemosyne rotate_secrets` seals with the current key; afterwards they can go. A value with a comma is also taken \
         for one key as it stands, so a key that holds one must be the only one.",
    )
    .secret(),
    Setting::new(
        CORE,
        "DEBUG",
        Roles::ALL,
        Some("False"),
        "False",
        "Shows visitors what went wrong inside when an answer is 500 or 503, on pages and in `detail`. Never in production.",
    ),
    Setting::new(
        CORE,
        "TIME_ZONE",
        Roles::ALL,
        Some("UTC"),
        "Europe/Berlin",
        "The IANA name of the time zone that pages show times in.",
    ),
    Setting::new(
        CORE,
        "LANGUAGE_CODE",
        Roles::ALL,
        Some("en-us"),
        "en-us",
        "The language that pages declare.",
    ),
    Setting::new(
        CORE,
        "MNEMOSYNE_AUDIT_DAYS",
        Roles::WORKER,
        Some("365"),
        "365",
        "How many days the audit is kept (1 to 36500).",
    ),
    Setting::new(
        HTTP,
        "ALLOWED_HOSTS",
        Roles::APP_MCP,
        Some("localhost,127.0.0.1,[::1]"),
        "localhost,127.0.0.1,mnemosyne.example.org",
        "The host names that requests may be for, without ports; `.example.org` includes every subdomain, `*` allows all.",
    ),
    Setting::new(
        HTTP,
        "CSRF_TRUSTED_ORIGINS",
        Roles::APP,
        None,
        "https://mnemosyne.example.org",
        "Origins that forms may be sent from besides the host itself; `https://*.example.org` includes every subdomain.",
    ),
    Setting::new(
        HTTP,
        "MNEMOSYNE_APP_LISTEN",
        Roles::APP,
        Some("127.0.0.1:8000"),
        "0.0.0.0:8000",
        "The address that pages and the REST API listen on; port 0 takes a free one, which the log names.",
    ),
    Setting::new(
        HTTP,
        "MNEMOSYNE_MCP_LISTEN",
        Roles::MCP,
        Some("127.0.0.1:8001"),
        "0.0.0.0:8001",
        "The address that MCP listens on; port 0 takes a free one, which the log names.",
    ),
    Setting::new(
        HTTP,
        "MNEMOSYNE_TRUSTED_PROXIES",
        Roles::APP_MCP,
        Some("127.0.0.0/8,::1"),
        "127.0.0.0/8,::1,172.16.0.0/12,10.10.0.0/24",
        "Addresses and networks whose `X-Forwarded-Proto`, `-For` and `-Host` are believed: every proxy on the way, the one in the next \
         container and the balancer. Where one is missing, all its clients are taken for one, which sign in, and are slowed down, together.",
    ),
    Setting::new(
        HTTP,
        "MNEMOSYNE_READY_REQUIRES",
        Roles::APP,
        None,
        "knowledge,storage",
        "What `/ready/` demands besides the database and the cache: `knowledge` (the graph), `broker` (the queue) and \
         `storage` (the files). Whatever is not demanded is only reported.",
    ),
    Setting::new(
        POSTGRESQL,
        "APP_DB_NAME",
        Roles::ALL,
        None,
        "mnemosyne",
        "The database.",
    ),
    Setting::new(
        POSTGRESQL,
        "APP_DB_USER",
        Roles::ALL,
        None,
        "mnemosyne",
        "The user of the database.",
    ),
    Setting::new(
        POSTGRESQL,
        "APP_DB_PASSWORD",
        Roles::ALL,
        None,
        "the-password",
        "The password of that user.",
    )
    .secret(),
    Setting::new(
        POSTGRESQL,
        "DB_HOST",
        Roles::ALL,
        None,
        "db.example.org",
        "The host of PostgreSQL. Unset: SQLite in the data folder.",
    ),
    Setting::new(
        POSTGRESQL,
        "DB_PORT",
        Roles::ALL,
        Some("5432"),
        "5432",
        "The port of PostgreSQL.",
    ),
    Setting::new(
        NEO4J,
        "NEOMODEL_NEO4J_BOLT_URL",
        Roles::ALL,
        None,
        "bolt://neo4j:password@graph.example.org:7687",
        "The URL of Neo4j, user and password percent-encoded. Unset: the embedded store in the data folder.",
    )
    .secret(),
    Setting::new(
        MEMCACHED,
        "KVDB_LOCATION",
        Roles::ALL,
        None,
        "cache.example.org:11211",
        "Host and port of Memcached, several separated by commas. Unset: a cache in the process.",
    ),
    Setting::new(
        MEMCACHED,
        "KVDB_PREFIX",
        Roles::ALL,
        Some("mnemosyne"),
        "mnemosyne",
        "What every key in Memcached begins with.",
    ),
    Setting::new(
        STORAGE,
        "USE_LOCAL_STORAGE",
        Roles::ALL,
        Some("True"),
        "True",
        "Whether files lie in the data folder. `False`: in the bucket below.",
    ),
    Setting::new(
        STORAGE,
        "AWS_ACCESS_KEY_ID",
        Roles::ALL,
        None,
        "mnemosyne",
        "The access key of the bucket, for reading and writing.",
    ),
    Setting::new(
        STORAGE,
        "AWS_SECRET_ACCESS_KEY",
        Roles::ALL,
        None,
        "the-secret-key",
        "The secret that goes with it.",
    )
    .secret(),
    Setting::new(
        STORAGE,
        "AWS_STORAGE_BUCKET_NAME",
        Roles::ALL,
        None,
        "mnemosyne-content",
        "The bucket.",
    ),
    Setting::new(
        STORAGE,
        "AWS_S3_ENDPOINT_URL",
        Roles::ALL,
        None,
        "https://s3.example.org:9000",
        "The URL of the S3 server. Without a scheme, `AWS_S3_USE_SSL` chooses it.",
    ),
    Setting::new(
        STORAGE,
        "AWS_S3_USE_SSL",
        Roles::ALL,
        Some("True"),
        "True",
        "Whether the connection is encrypted, where the URL names no scheme.",
    ),
    Setting::new(
        STORAGE,
        "AWS_S3_VERIFY",
        Roles::ALL,
        Some("True"),
        "True",
        "Whether the server's certificate is checked.",
    ),
    Setting::new(
        STORAGE,
        "AWS_S3_REGION_NAME",
        Roles::ALL,
        Some("us-east-1"),
        "us-east-1",
        "The region that requests are signed for.",
    ),
    Setting::new(
        DAEDALUS,
        "MNEMOSYNE_DAEDALUS_FOLDER",
        Roles::WORKER,
        None,
        "/srv/daedalus",
        "The local folder that plays the Daedalus bucket: an `s3_key` is a path below it.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_ENDPOINT_URL",
        Roles::WORKER,
        None,
        "https://s3.example.org:9000",
        "The URL of the S3 server that holds the bucket of Daedalus.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_ACCESS_KEY_ID",
        Roles::WORKER,
        None,
        "mnemosyne-reader",
        "The access key of that bucket, for reading only.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_SECRET_ACCESS_KEY",
        Roles::WORKER,
        None,
        "the-secret-key",
        "The secret that goes with it.",
    )
    .secret(),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_BUCKET_NAME",
        Roles::WORKER,
        Some("daedalus"),
        "daedalus",
        "The bucket.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_REGION_NAME",
        Roles::WORKER,
        Some("us-east-1"),
        "us-east-1",
        "The region that requests are signed for.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_USE_SSL",
        Roles::WORKER,
        Some("True"),
        "True",
        "Whether the connection is encrypted, where the URL names no scheme.",
    ),
    Setting::new(
        DAEDALUS,
        "DAEDALUS_S3_VERIFY",
        Roles::WORKER,
        Some("True"),
        "True",
        "Whether the server's certificate is checked.",
    ),
    Setting::new(
        BROKER,
        "CELERY_BROKER_URL",
        Roles::APP_WORKER,
        None,
        "amqp://mnemosyne:password@mq.example.org:5672/mnemosyne",
        "The URL of RabbitMQ, user and password percent-encoded. Unset: a durable queue in the process.",
    )
    .secret(),
    Setting::new(
        BROKER,
        "CELERY_RESULT_BACKEND",
        Roles::APP_WORKER,
        Some("rpc://"),
        "rpc://",
        "Where Celery clients look for results; `rpc://` is the one there is.",
    )
    .secret(),
    Setting::new(
        BROKER,
        "CELERY_TASK_DEFAULT_QUEUE_TYPE",
        Roles::APP_WORKER,
        Some("classic"),
        "quorum",
        "The kind of queue that is made where there is none yet: `classic`, or `quorum`, which a broker of several nodes \
         replicates. Celery clients need the same `task_default_queue_type`.",
    ),
    Setting::new(
        BROKER,
        "CELERY_TASK_ALWAYS_EAGER",
        Roles::APP_WORKER,
        Some("False"),
        "False",
        "Whether a file is ingested at once, inside the request that asks for it, whose answer then shows how it ended. Retries \
         are left to the workers, and so are files of the bucket of Daedalus where `app` has no credentials for it.",
    ),
    Setting::new(
        WORKER,
        "CELERY_QUEUES",
        Roles::WORKER,
        Some("celery,embedding,batch"),
        "celery,embedding,batch",
        "The queues that this worker serves.",
    ),
    Setting::new(
        WORKER,
        "CELERY_CONCURRENCY",
        Roles::WORKER,
        Some("2"),
        "2",
        "How many jobs run at the same time (1 to 256).",
    ),
    Setting::new(
        MCP,
        "MCP_REQUIRE_AUTH",
        Roles::MCP,
        Some("True"),
        "True",
        "Whether MCP clients need a token. `False` lets everybody who can reach the address read \
         everything: all global libraries, and every workspace by naming its `workspace_id` in a call.",
    ),
    Setting::new(
        MCP,
        "MNEMOSYNE_TURN_TOKEN_MAX_LIFETIME",
        Roles::MCP,
        Some("900"),
        "900",
        "How many seconds ahead the `exp` of a per-turn token may lie (1 to 86400).",
    ),
    Setting::new(
        ENCRYPTION,
        "LLM_API_SECRETS_ENCRYPTION_KEY",
        Roles::ALL,
        None,
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=",
        "The Fernet key that seals the API keys of model providers; of several, the first seals and all of them open. Unset: \
         a key derived from `SECRET_KEY`. After a change, `mnemosyne rotate_secrets` seals them with the current first key.",
    )
    .secret(),
    Setting::new(
        EMAIL,
        "EMAIL_HOST",
        Roles::APP,
        None,
        "mail.example.org",
        "The host that mail is handed to, for links to choose a new password. Unset: no mail is sent, and an administrator sets forgotten passwords.",
    ),
    Setting::new(
        EMAIL,
        "EMAIL_PORT",
        Roles::APP,
        Some("25"),
        "587",
        "Its port.",
    ),
    Setting::new(
        EMAIL,
        "EMAIL_USE_TLS",
        Roles::APP,
        Some("False"),
        "True",
        "Whether the connection is encrypted with STARTTLS. A server that does not offer it gets no mail.",
    ),
    Setting::new(
        EMAIL,
        "EMAIL_USE_SSL",
        Roles::APP,
        Some("False"),
        "False",
        "Whether the connection is encrypted from the first byte (usually port 465). Not together with `EMAIL_USE_TLS`.",
    ),
    Setting::new(
        EMAIL,
        "EMAIL_HOST_USER",
        Roles::APP,
        None,
        "mnemosyne",
        "The name that is given to the server.",
    ),
    Setting::new(
        EMAIL,
        "EMAIL_HOST_PASSWORD",
        Roles::APP,
        None,
        "the-password",
        "The password that goes with it.",
    )
    .secret(),
    Setting::new(
        EMAIL,
        "EMAIL_TIMEOUT",
        Roles::APP,
        Some("10"),
        "10",
        "How many seconds one step of the conversation may take (1 to 600).",
    ),
    Setting::new(
        EMAIL,
        "DEFAULT_FROM_EMAIL",
        Roles::APP,
        Some("webmaster@localhost"),
        "Mnemosyne <mnemosyne@example.org>",
        "The sender of mails.",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_BASE_URL",
        Roles::ALL,
        None,
        "http://127.0.0.1:8080",
        "The URL of an embedding server. Unset: the local model once `mnemosyne models pull` has fetched it, and a lexical \
         one before that. Set, it needs `EMBEDDING_MODEL` and `EMBEDDING_DIMENSION`.",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_MODEL",
        Roles::ALL,
        None,
        "Qwen3-VL-Embedding-2B",
        "The name of the model, as that server knows it.",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_API_KEY",
        Roles::ALL,
        None,
        "sk-the-key",
        "The key that the server asks for.",
    )
    .secret(),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_DIMENSION",
        Roles::ALL,
        None,
        "1024",
        "The length of the model's vectors (1 to 16384).",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_DIALECT",
        Roles::ALL,
        Some("openai"),
        "openai",
        "How the server is spoken to: `openai` or `synesis`.",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_BATCH_SIZE",
        Roles::ALL,
        Some("8"),
        "8",
        "How many texts go into one request (1 to 1024).",
    ),
    Setting::new(
        EMBEDDING,
        "EMBEDDING_TIMEOUT",
        Roles::ALL,
        Some("120"),
        "120",
        "How many seconds one request may take (1 to 3600).",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_VECTOR_TOP_K",
        Roles::APP_MCP,
        Some("50"),
        "50",
        "Candidates that the vector leg brings (1 to 1000).",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_FULLTEXT_TOP_K",
        Roles::APP_MCP,
        Some("30"),
        "30",
        "Candidates that the full-text leg brings (1 to 1000).",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_GRAPH_MAX_DEPTH",
        Roles::APP_MCP,
        Some("2"),
        "2",
        "Steps that the graph leg walks from a concept (0 to 5).",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_RRF_K",
        Roles::APP_MCP,
        Some("60"),
        "60",
        "The constant of reciprocal rank fusion (1 to 10000): the larger, the less the first ranks count.",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_DEFAULT_LIMIT",
        Roles::APP_MCP,
        Some("20"),
        "20",
        "Results where the caller does not say how many (1 to 100).",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_WEIGHT_VECTOR",
        Roles::APP_MCP,
        Some("1.0"),
        "1.0",
        "The weight of the vector leg in the fusion (0 to 100), where the model is neural.",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_WEIGHT_LEXICAL",
        Roles::APP_MCP,
        Some("0.01"),
        "0.01",
        "The weight of the vector leg where the model is lexical: it then only repeats what full text knows better.",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_WEIGHT_FULLTEXT",
        Roles::APP_MCP,
        Some("1.0"),
        "1.0",
        "The weight of the full-text leg.",
    ),
    Setting::new(
        SEARCH,
        "SEARCH_WEIGHT_GRAPH",
        Roles::APP_MCP,
        Some("0.01"),
        "0.01",
        "The weight of the graph leg. Concepts of the local extractor add passages and break ties; they do not overrule words.",
    ),
    Setting::new(
        RERANKER,
        "RERANKER_BASE_URL",
        Roles::ALL,
        None,
        "http://127.0.0.1:8081",
        "The URL of a re-ranking server. Unset: results are not re-ranked.",
    )
    .server(),
    Setting::new(
        RERANKER,
        "RERANKER_MODEL",
        Roles::ALL,
        None,
        "Qwen3-VL-Reranker-2B",
        "The name of the model, as that server knows it.",
    )
    .server(),
    Setting::new(
        RERANKER,
        "RERANKER_API_KEY",
        Roles::ALL,
        None,
        "sk-the-key",
        "The key that the server asks for.",
    )
    .secret()
    .server(),
    Setting::new(
        RERANKER,
        "RERANKER_DIALECT",
        Roles::ALL,
        Some("openai"),
        "openai",
        "How the server is spoken to: `openai` or `synesis`.",
    )
    .server(),
    Setting::new(
        RERANKER,
        "RERANKER_MAX_CANDIDATES",
        Roles::APP_MCP,
        Some("32"),
        "32",
        "How many results are re-ranked (1 to 1000).",
    )
    .server(),
    Setting::new(
        RERANKER,
        "RERANKER_TIMEOUT",
        Roles::APP_MCP,
        Some("30"),
        "30",
        "How many seconds one request may take (1 to 3600).",
    )
    .server(),
    Setting::new(
        VISION,
        "VISION_BASE_URL",
        Roles::APP_WORKER,
        None,
        "http://127.0.0.1:8082",
        "The URL of a chat server whose model sees images. Unset: images are not described.",
    )
    .server(),
    Setting::new(
        VISION,
        "VISION_MODEL",
        Roles::APP_WORKER,
        None,
        "Qwen3-VL-8B-Instruct",
        "The name of the model, as that server knows it.",
    )
    .server(),
    Setting::new(
        VISION,
        "VISION_API_KEY",
        Roles::APP_WORKER,
        None,
        "sk-the-key",
        "The key that the server asks for.",
    )
    .secret()
    .server(),
    Setting::new(
        VISION,
        "VISION_DIALECT",
        Roles::APP_WORKER,
        Some("openai"),
        "openai",
        "How the server is spoken to.",
    )
    .server(),
    Setting::new(
        CHAT,
        "CHAT_BASE_URL",
        Roles::APP_WORKER,
        None,
        "http://127.0.0.1:8083",
        "The URL of a chat server. Unset: concepts are found by a simple local extractor.",
    )
    .server(),
    Setting::new(
        CHAT,
        "CHAT_MODEL",
        Roles::APP_WORKER,
        None,
        "Qwen3-8B",
        "The name of the model, as that server knows it.",
    )
    .server(),
    Setting::new(
        CHAT,
        "CHAT_API_KEY",
        Roles::APP_WORKER,
        None,
        "sk-the-key",
        "The key that the server asks for.",
    )
    .secret()
    .server(),
    Setting::new(
        CHAT,
        "CHAT_DIALECT",
        Roles::APP_WORKER,
        Some("openai"),
        "openai",
        "How the server is spoken to.",
    )
    .server(),
    Setting::new(
        LOGGING,
        "LOGGING_LEVEL",
        Roles::ALL,
        Some("INFO"),
        "INFO",
        "The least important message of Mnemosyne itself that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.",
    ),
    Setting::new(
        LOGGING,
        "DJANGO_LOGGING_LEVEL",
        Roles::ALL,
        Some("WARNING"),
        "WARNING",
        "The same for the libraries below it: the HTTP server, the database drivers, the MCP protocol.",
    ),
    Setting::new(
        LOGGING,
        "CELERY_LOGGING_LEVEL",
        Roles::ALL,
        Some("INFO"),
        "INFO",
        "The same for queue and worker.",
    ),
    Setting::new(
        LOGGING,
        "MNEMOSYNE_LOG_FORMAT",
        Roles::ALL,
        Some("text"),
        "json",
        "`text` for people, or `json`, one object a line.",
    ),
    Setting::new(
        FILES,
        "MNEMOSYNE_MAX_FILE_BYTES",
        Roles::APP_WORKER,
        Some("536870912"),
        "536870912",
        "The largest file that is taken in, in bytes.",
    ),
    Setting::new(
        FILES,
        "MNEMOSYNE_PARSER_MEMORY_BYTES",
        Roles::WORKER,
        Some("1073741824"),
        "1073741824",
        "The memory that the parser of one document may use, in bytes (at least 67108864, which is 64 MiB).",
    ),
    Setting::new(
        FILES,
        "MNEMOSYNE_PARSER_SECONDS",
        Roles::WORKER,
        Some("60"),
        "60",
        "How many seconds parsing one document may take (1 to 3600).",
    ),
    Setting::new(
        NETWORK,
        "MNEMOSYNE_ALLOWED_PRIVATE_HOSTS",
        Roles::ALL,
        None,
        "models.example.org,10.10.0.7,192.168.1.0/24",
        "Hosts, addresses and networks inside private ranges that may be called besides those that other settings name.",
    ),
    Setting::new(
        NETWORK,
        "MNEMOSYNE_CA_FILE",
        Roles::ALL,
        None,
        "/etc/ssl/private-ca.pem",
        "A file with certificates (PEM) of authorities of your own, believed besides the system's by connections to S3 \
         and to servers of models whose certificates are checked.",
    ),
    Setting::new(
        NETWORK,
        "HF_ENDPOINT",
        Roles::COMMANDS,
        Some("https://huggingface.co"),
        "https://huggingface.co",
        "The hub, or a mirror of it, that `mnemosyne models pull` fetches from. Nothing else ever calls it.",
    ),
    Setting::new(
        COMMANDS,
        "DJANGO_SUPERUSER_USERNAME",
        Roles::COMMANDS,
        None,
        "admin",
        "The name that `createsuperuser` gives where `--username` is absent.",
    ),
    Setting::new(
        COMMANDS,
        "DJANGO_SUPERUSER_EMAIL",
        Roles::COMMANDS,
        None,
        "admin@example.org",
        "The mail address that `createsuperuser` gives where `--email` is absent.",
    ),
    Setting::new(
        COMMANDS,
        "DJANGO_SUPERUSER_PASSWORD",
        Roles::COMMANDS,
        None,
        "correct horse battery staple",
        "The password that `createsuperuser` gives where neither `--password` nor `--password-file` is there: unlike an \
         argument, it is not in the list of processes.",
    )
    .secret(),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The variables of section 4 of the deployment document, and those of its silence that the contract names.
    const DOCUMENTED: &str = "
        SECRET_KEY DEBUG TIME_ZONE LANGUAGE_CODE ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS
        APP_DB_NAME APP_DB_USER APP_DB_PASSWORD DB_HOST DB_PORT NEOMODEL_NEO4J_BOLT_URL KVDB_LOCATION KVDB_PREFIX
        USE_LOCAL_STORAGE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_STORAGE_BUCKET_NAME AWS_S3_ENDPOINT_URL
        AWS_S3_USE_SSL AWS_S3_VERIFY AWS_S3_REGION_NAME
        DAEDALUS_S3_ENDPOINT_URL DAEDALUS_S3_ACCESS_KEY_ID DAEDALUS_S3_SECRET_ACCESS_KEY DAEDALUS_S3_BUCKET_NAME
        DAEDALUS_S3_REGION_NAME DAEDALUS_S3_USE_SSL DAEDALUS_S3_VERIFY
        CELERY_BROKER_URL CELERY_RESULT_BACKEND CELERY_TASK_ALWAYS_EAGER CELERY_QUEUES CELERY_CONCURRENCY
        MCP_REQUIRE_AUTH LLM_API_SECRETS_ENCRYPTION_KEY EMAIL_HOST EMAIL_PORT EMAIL_USE_TLS
        EMBEDDING_BATCH_SIZE EMBEDDING_TIMEOUT
        SEARCH_VECTOR_TOP_K SEARCH_FULLTEXT_TOP_K SEARCH_GRAPH_MAX_DEPTH SEARCH_RRF_K SEARCH_DEFAULT_LIMIT
        RERANKER_MAX_CANDIDATES RERANKER_TIMEOUT LOGGING_LEVEL DJANGO_LOGGING_LEVEL CELERY_LOGGING_LEVEL
        EMBEDDING_BASE_URL EMBEDDING_MODEL EMBEDDING_API_KEY EMBEDDING_DIMENSION EMBEDDING_DIALECT
        RERANKER_BASE_URL RERANKER_MODEL RERANKER_API_KEY RERANKER_DIALECT
        VISION_BASE_URL VISION_MODEL VISION_API_KEY VISION_DIALECT
        CHAT_BASE_URL CHAT_MODEL CHAT_API_KEY CHAT_DIALECT
        MNEMOSYNE_DATA MNEMOSYNE_APP_LISTEN MNEMOSYNE_MCP_LISTEN MNEMOSYNE_TRUSTED_PROXIES MNEMOSYNE_READY_REQUIRES
        MNEMOSYNE_DAEDALUS_FOLDER MNEMOSYNE_ALLOWED_PRIVATE_HOSTS";

    #[test]
    fn every_documented_variable_is_in_the_table() {
        for name in DOCUMENTED.split_whitespace() {
            assert!(setting(name).is_some(), "{name}");
        }
    }

    /// The tables of the deployment document: which services a variable is for, and the variables.
    const SCOPES: [(&str, &str); 17] = [
        ("app mcp worker", "SECRET_KEY DEBUG TIME_ZONE LANGUAGE_CODE"),
        ("app mcp", "ALLOWED_HOSTS"),
        ("app", "CSRF_TRUSTED_ORIGINS"),
        (
            "app mcp worker",
            "APP_DB_NAME APP_DB_USER APP_DB_PASSWORD DB_HOST DB_PORT",
        ),
        ("app mcp worker", "NEOMODEL_NEO4J_BOLT_URL"),
        ("app mcp worker", "KVDB_LOCATION KVDB_PREFIX"),
        (
            "app mcp worker",
            "USE_LOCAL_STORAGE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_STORAGE_BUCKET_NAME AWS_S3_ENDPOINT_URL \
             AWS_S3_USE_SSL AWS_S3_VERIFY AWS_S3_REGION_NAME",
        ),
        (
            "worker",
            "DAEDALUS_S3_ENDPOINT_URL DAEDALUS_S3_ACCESS_KEY_ID DAEDALUS_S3_SECRET_ACCESS_KEY DAEDALUS_S3_BUCKET_NAME \
             DAEDALUS_S3_REGION_NAME DAEDALUS_S3_USE_SSL DAEDALUS_S3_VERIFY",
        ),
        (
            "app worker",
            "CELERY_BROKER_URL CELERY_RESULT_BACKEND CELERY_TASK_ALWAYS_EAGER",
        ),
        ("worker", "CELERY_QUEUES CELERY_CONCURRENCY"),
        ("mcp", "MCP_REQUIRE_AUTH"),
        // In the document without `mcp`, which embeds queries with the registry's providers.
        ("app mcp worker", "LLM_API_SECRETS_ENCRYPTION_KEY"),
        ("app", "EMAIL_HOST EMAIL_PORT EMAIL_USE_TLS"),
        // In the document for `worker` only; queries are embedded by `app` and `mcp`.
        ("app mcp worker", "EMBEDDING_BATCH_SIZE EMBEDDING_TIMEOUT"),
        (
            "app mcp",
            "SEARCH_VECTOR_TOP_K SEARCH_FULLTEXT_TOP_K SEARCH_GRAPH_MAX_DEPTH SEARCH_RRF_K SEARCH_DEFAULT_LIMIT",
        ),
        ("app mcp", "RERANKER_MAX_CANDIDATES RERANKER_TIMEOUT"),
        (
            "app mcp worker",
            "LOGGING_LEVEL DJANGO_LOGGING_LEVEL CELERY_LOGGING_LEVEL",
        ),
    ];

    #[test]
    fn a_variable_is_for_the_services_that_the_deployment_document_names() {
        for (services, names) in SCOPES {
            let is_for = |role: &str| services.split(' ').any(|service| service == role);
            let expected = Roles::new(is_for("app"), is_for("mcp"), is_for("worker"));
            for name in names.split_whitespace() {
                assert_eq!(
                    setting(name).map(|setting| setting.roles),
                    Some(expected),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn every_setting_stands_once_and_says_what_it_is() {
        let mut names = BTreeSet::new();
        for setting in SETTINGS {
            assert!(names.insert(setting.name), "{} stands twice", setting.name);
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
            assert!(!setting.example.is_empty(), "{}", setting.name);
            assert!(!setting.doc.contains('\n'), "{}", setting.name);
        }
    }

    #[test]
    fn a_section_stands_together() {
        let mut sections: Vec<&str> = SETTINGS.iter().map(|setting| setting.section).collect();
        sections.dedup();
        let unique: BTreeSet<&&str> = sections.iter().collect();
        assert_eq!(unique.len(), sections.len());
    }
}
