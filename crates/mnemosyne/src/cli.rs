//! The words of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mnemosyne_config::Role;

/// The memory of everything you know.
#[derive(Debug, Parser)]
#[command(name = "mnemosyne", version, about, long_about = None, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Run everything in one process: web, MCP and worker (the default)
    Serve(ServeArgs),
    /// Run the web alone, on the servers of a deployment
    App,
    /// Run MCP alone, on the servers of a deployment
    Mcp,
    /// Run a worker alone, on the servers of a deployment
    Worker(WorkerArgs),
    /// Take in files and folders
    Ingest(IngestArgs),
    /// Find passages
    Search(SearchArgs),
    /// Show the text of a file as ingest would see it
    Extract(ExtractArgs),
    /// Show how a file would be cut into chunks
    Chunk(ChunkArgs),
    /// Embedding models on this machine
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Move a library to another embedding model
    Reembed(ReembedArgs),
    /// Servers of models
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Models of those servers
    #[command(subcommand)]
    ProviderModels(ProviderModelsCommand),
    /// Seal stored secrets with the current keys
    RotateSecrets {
        /// Print the counts as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an MCP token, shown once
    CreateMcpToken(CreateTokenArgs),
    /// Show MCP tokens, without their secrets
    ListMcpTokens(ListTokensArgs),
    /// Revoke an MCP token at once, on all processes
    RevokeMcpToken(RevokeTokenArgs),
    /// Make sure that a service account exists and has this password
    EnsureServiceUser(ServiceUserArgs),
    /// Make a signing key for per-turn tokens; its secret is shown once
    SeedSigningKey(SigningKeyArgs),
    /// Show signing keys, without their secrets
    ListSigningKeys(JsonArgs),
    /// Refuse tokens under a signing key from now on
    RetireSigningKey(RetireKeyArgs),
    /// Show users
    ListUsers(JsonArgs),
    /// Make an administrator
    Createsuperuser(SuperuserArgs),
    /// Set a user's password
    Changepassword(PasswordArgs),
    /// Show who did what, when and from where
    Audit(AuditArgs),
    /// Bring the database schema up to date
    Migrate,
    /// Take over what the system before this one kept in the same database
    ImportDjango(ImportArgs),
    /// Prepare indexes and library types
    Setup,
    /// Part of `setup`
    #[command(hide = true)]
    LoadLibraryTypes,
    /// Part of `setup`
    #[command(name = "setup_neo4j_indexes", hide = true)]
    SetupNeo4jIndexes,
    /// Show the settings in force, secrets redacted
    Config(ConfigArgs),
    /// Print the OpenAPI document
    Openapi,
    /// Ask a running server whether it is alive
    Healthcheck(HealthcheckArgs),
    /// Write the static files into a folder, for a web server
    StaticInit(StaticInitArgs),
    /// Ask workers over the broker, in Celery's words: `celery -A mnemosyne inspect ping -d celery@HOST`
    Celery(CeleryArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StaticInitArgs {
    /// The folder; files of the version before stay in it
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CeleryArgs {
    /// Accepted as Celery takes it: there is one application
    #[arg(short = 'A', long = "app", value_name = "APP")]
    pub(crate) app: Option<String>,
    #[command(subcommand)]
    pub(crate) command: CeleryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CeleryCommand {
    /// Ask workers about themselves
    #[command(subcommand)]
    Inspect(CeleryInspect),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CeleryInspect {
    /// Whether a worker is there
    Ping(CeleryPingArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CeleryPingArgs {
    /// Names of workers, separated by commas; the one that runs here by default
    #[arg(short = 'd', long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) destination: Vec<String>,
    /// How many seconds an answer may take
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) timeout: f32,
}

#[derive(Debug, Args, Default)]
pub(crate) struct ServeArgs {
    /// Also load a small library in several types
    #[arg(long)]
    pub(crate) demo: bool,
}

#[derive(Debug, Args, Default)]
pub(crate) struct WorkerArgs {
    /// Its name on the broker; %h is this machine's name. Several workers of one machine need names of their own
    #[arg(long, short = 'n', value_name = "NAME")]
    pub(crate) hostname: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Files and folders
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Name of the library; a global one is made where there is none
    #[arg(long)]
    pub(crate) library: String,
    /// Type of a library that is made: fiction, nonfiction, technical, music, film, art, journal, business, finance
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) library_type: Option<String>,
    /// Collection inside the library
    #[arg(long)]
    pub(crate) collection: Option<String>,
    /// Print the jobs as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The question
    pub(crate) query: String,
    /// Only this library (name or uid)
    #[arg(long)]
    pub(crate) library: Option<String>,
    /// Only libraries of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) library_type: Option<String>,
    /// The workspace to search instead of the global libraries
    #[arg(long)]
    pub(crate) workspace: Option<String>,
    /// How many results
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Print the search answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExtractArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Print title, authors, blocks and text as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChunkArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// The library type whose rules apply
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) library_type: String,
    /// Print the chunks as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Fetch a model into the data folder
    Pull {
        /// Its name
        #[arg(default_value = "all-MiniLM-L6-v2")]
        name: String,
    },
    /// Show the models that are known and those that are here
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a model from the data folder
    Remove {
        /// Its name
        name: String,
    },
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    Yes,
    No,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::Yes
    }
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The file that holds the key of the server; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "key_env")]
    pub(crate) key_file: Option<PathBuf>,
    /// The environment variable that holds the key of the server
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) key_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProviderArgs {
    /// Its address, with or without /v1
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// How it speaks: openai (which is usual) or synesis
    #[arg(long)]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Whether its certificate is checked (usual: yes)
    #[arg(long, value_name = "YES|NO")]
    pub(crate) verify_tls: Option<Switch>,
    /// Whether it may have a private address although no setting names it (usual: no)
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    pub(crate) allow_private: Option<Switch>,
    /// Seconds that one request may take (usual: 120)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Texts in one request (usual: 8)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) batch_size: Option<u64>,
    /// Estimated tokens in one request (usual: 16000)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) batch_tokens: Option<u64>,
    /// Estimated tokens of the longest piece of text (usual: 8000)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) text_tokens: Option<u64>,
    /// Requests at the same time (usual: 4)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_parallel: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Its name
    pub(crate) name: String,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    /// Register a server
    Add {
        /// What to call it
        name: String,
        #[command(flatten)]
        provider: ProviderArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the registered servers
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a server
    Update {
        /// Its name
        name: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        new_name: Option<String>,
        /// Forget its key
        #[arg(long, conflicts_with_all = ["key_file", "key_env"])]
        remove_key: bool,
        #[command(flatten)]
        provider: ProviderArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a server with its models
    Remove {
        /// Its name
        name: String,
    },
    /// Ask a server which models it has
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// The length of the vectors of an embedding model; without it, the server is asked
    #[arg(long, value_name = "NUMBER")]
    pub(crate) dimension: Option<u64>,
    /// Whether it was trained to be told its task (usual: if its name says so)
    #[arg(long, value_name = "YES|NO")]
    pub(crate) instructions: Option<Switch>,
    /// Whether it is the system's for its role
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    pub(crate) default: Option<Switch>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProviderModelsCommand {
    /// Register a model
    Add {
        /// Its name, as the server knows it
        name: String,
        /// The name of the server
        #[arg(long)]
        provider: String,
        /// embedding, reranker, chat or vision
        #[arg(long)]
        role: String,
        #[command(flatten)]
        model: ModelArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the registered models
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a model
    Update {
        /// Its name or uid
        name: String,
        /// The name of its server, where several have such a model
        #[arg(long)]
        provider: Option<String>,
        /// Its role, where it has several
        #[arg(long)]
        role: Option<String>,
        /// Another name
        #[arg(long, value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        model: ModelArgs,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a model
    Remove {
        /// Its name or uid
        name: String,
        /// The name of its server, where several have such a model
        #[arg(long)]
        provider: Option<String>,
        /// Its role, where it has several
        #[arg(long)]
        role: Option<String>,
    },
    /// Make one small real call to a model
    Test {
        #[command(flatten)]
        test: TestArgs,
        /// The name of its server, where several have such a model
        #[arg(long)]
        provider: Option<String>,
        /// Its role, where it has several
        #[arg(long)]
        role: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReembedArgs {
    /// The library (name or uid)
    #[arg(long)]
    pub(crate) library: String,
    /// The model to move to; without it, the one that new libraries take
    #[arg(long)]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateTokenArgs {
    /// What to call it
    #[arg(long)]
    pub(crate) name: String,
    /// Whose it is; without it, the first administrator's
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Only this library (repeat for more)
    #[arg(long, value_name = "UID")]
    pub(crate) library: Vec<String>,
    /// Only this tool (repeat for more)
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: Vec<String>,
    /// How long it is valid: 12h, 90d, 1y
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_in: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceUserArgs {
    /// Its name
    #[arg(long)]
    pub(crate) username: String,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub(crate) struct PasswordSource {
    /// The password; everybody on this machine sees it in the list of processes
    #[arg(long = "password", value_name = "PASSWORD", allow_hyphen_values = true)]
    pub(crate) given: Option<String>,
    /// A file whose first line is the password; without either, the first line of standard input
    #[arg(long = "password-file", value_name = "FILE", conflicts_with = "given")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListTokensArgs {
    /// Only this user's
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArgs {
    /// Its id, its prefix or its name
    pub(crate) token: String,
    /// Whose it is
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RetireKeyArgs {
    /// Its name, which tokens carry
    #[arg(long)]
    pub(crate) kid: String,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Change nothing, and report what would be taken
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take a token's empty list of tools or libraries as "all"; without this, such a token is left
    #[arg(long)]
    pub(crate) empty_means_all: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SigningKeyArgs {
    /// Its name, which tokens carry
    #[arg(long)]
    pub(crate) kid: String,
    /// Refuse tokens under every other key from now on
    #[arg(long)]
    pub(crate) retire_other: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SuperuserArgs {
    /// Its name; without it, DJANGO_SUPERUSER_USERNAME
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Its mail address; without it, DJANGO_SUPERUSER_EMAIL
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Without these, DJANGO_SUPERUSER_PASSWORD
    #[command(flatten)]
    pub(crate) password: PasswordSource,
    /// Never read standard input, as Django's option of this name
    #[arg(long, visible_alias = "no-input")]
    pub(crate) noinput: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Whose
    pub(crate) username: String,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what happened at this time or later: 2026-11-26, or 24h, 7d before now
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what this user did, or what was done to it
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Only this kind, sign_in_failed for example
    #[arg(long, value_name = "EVENT")]
    pub(crate) event: Option<String>,
    /// How many entries, the latest first
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print the table of all settings as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Print all settings of containers as an example of an .env file
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) env_example: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// app, mcp or worker
    pub(crate) role: String,
    /// Name of the worker on the broker, where it has one of its own
    #[arg(long, short = 'n', value_name = "NAME")]
    pub(crate) hostname: Option<String>,
}

impl Command {
    /// The role whose settings must be there.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::App => Role::App,
            Self::Mcp => Role::Mcp,
            Self::Worker(_) => Role::Worker,
            _ => Role::All,
        }
    }

    /// Whether it runs until it is told to stop.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::App | Self::Mcp | Self::Worker(_))
    }
}

/// Accepts what operators of the system being replaced write: `python manage.py` in front is ignored, and dashes in the
/// name of a command are underscores.
pub(crate) fn normalise(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is = |argument: Option<&OsString>, word: &str| argument.is_some_and(|argument| argument == word);
    if (is(arguments.get(1), "python") || is(arguments.get(1), "python3"))
        && is(arguments.get(2), "manage.py")
    {
        arguments.drain(1..3);
    }
    if let Some(command) = arguments.get_mut(1)
        && let Some(text) = command.to_str()
        && !text.starts_with('-')
    {
        *command = OsString::from(text.replace('-', "_"));
    }
    // Options likewise: clap knows them with dashes. Neither what follows a bare `--` is an option, nor a password.
    let mut is_password = false;
    for argument in arguments.iter_mut().skip(2) {
        if std::mem::take(&mut is_password) {
            continue;
        }
        if argument == "--" {
            break;
        }
        is_password = argument == "--password";
        if let Some(text) = argument.to_str()
            && let Some(option) = text.strip_prefix("--")
        {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            let name = name.replace('_', "-");
            *argument = OsString::from(match value {
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            });
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(normalise(line.split(' ').map(OsString::from))).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_the_deployment_document_are_understood() {
        assert!(matches!(
            parse("mnemosyne migrate").command,
            Some(Command::Migrate)
        ));
        assert!(matches!(parse("mnemosyne setup").command, Some(Command::Setup)));
        let Some(Command::EnsureServiceUser(args)) =
            parse("mnemosyne python manage.py ensure_service_user --username u --password a_-=b").command
        else {
            panic!("not understood")
        };
        assert_eq!(
            (args.username.as_str(), args.password.given.as_deref()),
            ("u", Some("a_-=b"))
        );
        let Some(Command::SeedSigningKey(args)) =
            parse("mnemosyne python manage.py seed-signing-key --kid k --retire_other").command
        else {
            panic!("not understood")
        };
        assert!(args.retire_other);
        assert!(parse("mnemosyne").command.is_none());
    }

    #[test]
    fn providers_and_their_models_are_registered_in_words() {
        let line = "mnemosyne providers add gpu --base_url http://gpu:8080 --key-file - --allow-private --verify-tls no";
        let Some(Command::Providers(ProvidersCommand::Add { name, provider, .. })) = parse(line).command
        else {
            panic!("not understood")
        };
        assert_eq!(
            (name.as_str(), provider.base_url.as_deref()),
            ("gpu", Some("http://gpu:8080"))
        );
        assert_eq!(provider.key.key_file.as_deref(), Some(std::path::Path::new("-")));
        assert_eq!(
            (provider.allow_private, provider.verify_tls),
            (Some(Switch::Yes), Some(Switch::No))
        );
        let line = "mnemosyne provider-models update m --default no --instructions yes --json";
        let Some(Command::ProviderModels(ProviderModelsCommand::Update { model, json, .. })) =
            parse(line).command
        else {
            panic!("not understood")
        };
        assert_eq!(
            (model.default, model.instructions, json),
            (Some(Switch::No), Some(Switch::Yes), true)
        );
        let line = "mnemosyne provider_models add m --provider p --role chat --default";
        let Some(Command::ProviderModels(ProviderModelsCommand::Add { model, .. })) = parse(line).command
        else {
            panic!("not understood")
        };
        assert_eq!(model.default, Some(Switch::Yes));
        assert!(matches!(
            parse("mnemosyne rotate-secrets --json").command,
            Some(Command::RotateSecrets { json: true })
        ));
    }

    #[test]
    fn values_stay_as_they_were_typed() {
        for password in ["-secret", "--a_b", "--", "--username"] {
            let line = format!("mnemosyne ensure_service_user --password {password} --username u");
            let Some(Command::EnsureServiceUser(args)) = parse(&line).command else {
                panic!("not understood")
            };
            assert_eq!(
                (args.username.as_str(), args.password.given.as_deref()),
                ("u", Some(password))
            );
        }
        let Some(Command::Createsuperuser(args)) =
            parse("mnemosyne createsuperuser --username u --password=--a_b").command
        else {
            panic!("not understood")
        };
        assert_eq!(args.password.given.as_deref(), Some("--a_b"));
        let Some(Command::Changepassword(args)) = parse("mnemosyne changepassword u --password -_x").command
        else {
            panic!("not understood")
        };
        assert_eq!(args.password.given.as_deref(), Some("-_x"));
        let Some(Command::Search(args)) = parse("mnemosyne search --json -- --dry_run").command else {
            panic!("not understood")
        };
        assert_eq!(args.query, "--dry_run");
        let Some(Command::Ingest(args)) = parse("mnemosyne ingest --library l -- --my_file.txt").command
        else {
            panic!("not understood")
        };
        assert_eq!(args.paths, [PathBuf::from("--my_file.txt")]);
    }
}
