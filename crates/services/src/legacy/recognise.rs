//! What a table of the system before this one is, by the names and types of its columns. Its exact columns are not known, so
//! each thing has several names it may go by.

use mnemosyne_domain::ports::ForeignTable;

/// What a table holds. Fields are names of columns; `None` where it has none of that meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tables of Django's own apps: used as they are, or not at all.
    Django,
    Tokens(TokenColumns),
    SigningKeys(KeyColumns),
    Providers(ProviderColumns),
    Models(ModelColumns),
    Jobs,
    Profiles(ProfileColumns),
    Unknown,
}

impl Kind {
    /// The word of the report.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Django => "django",
            Self::Tokens(_) => "mcp_tokens",
            Self::SigningKeys(_) => "signing_keys",
            Self::Providers(_) => "providers",
            Self::Models(_) => "models",
            Self::Jobs => "jobs",
            Self::Profiles(_) => "profiles",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenColumns {
    /// A column that limits rows, and is not understood.
    pub(super) doubtful: Option<String>,
    pub(super) digest: String,
    pub(super) name: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) tools: Option<String>,
    pub(super) libraries: Option<String>,
    pub(super) workspace: Option<String>,
    pub(super) created: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) last_used: Option<String>,
    /// Tables that say more about single tokens (many to many), with the column that names the token.
    pub(super) relations: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumns {
    pub(super) expires: Option<String>,
    /// A column that limits rows, and is not understood.
    pub(super) doubtful: Option<String>,
    pub(super) kid: String,
    pub(super) secret: String,
    pub(super) created: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderColumns {
    pub(super) name: Option<String>,
    pub(super) base_url: String,
    pub(super) api_key: String,
    pub(super) verify_tls: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProfileColumns {
    pub(super) user: String,
    pub(super) time_zone: Option<String>,
    pub(super) theme: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelColumns {
    pub(super) provider: String,
    pub(super) name: String,
    pub(super) role: Option<String>,
    pub(super) dimension: Option<String>,
}

fn is_text(kind: &str) -> bool {
    matches!(kind, "text" | "character varying" | "character" | "citext")
}

fn is_secret(kind: &str) -> bool {
    is_text(kind) || kind == "bytea"
}

fn is_list(kind: &str) -> bool {
    is_text(kind) || matches!(kind, "jsonb" | "json") || kind.ends_with("[]")
}

fn is_number(kind: &str) -> bool {
    matches!(kind, "integer" | "bigint" | "smallint")
}

fn is_name(kind: &str) -> bool {
    is_text(kind) || kind == "uuid"
}

fn is_reference(kind: &str) -> bool {
    is_number(kind) || is_name(kind)
}

fn is_time(kind: &str) -> bool {
    kind.starts_with("timestamp")
}

fn is_flag(kind: &str) -> bool {
    kind == "boolean"
}

/// The first of these columns that the table has with such a type.
fn column(table: &ForeignTable, names: &[&str], fits: fn(&str) -> bool) -> Option<String> {
    names.iter().find_map(|name| {
        let found = table.columns.iter().find(|column| column.name == *name)?;
        fits(&found.kind).then(|| found.name.clone())
    })
}

/// A column of one of these names whose type does not fit: what it says of a row is not understood.
fn misfit(table: &ForeignTable, names: &[&str], fits: fn(&str) -> bool) -> Option<String> {
    table
        .columns
        .iter()
        .find(|column| names.contains(&column.name.as_str()) && !fits(&column.kind))
        .map(|column| column.name.clone())
}

const EXPIRES: &[&str] = &["expires_at", "expires", "expiry", "valid_until"];
const TOOLS: &[&str] = &["allowed_tools", "tools", "tool_allowlist", "tool_names"];
const LIBRARIES: &[&str] = &[
    "allowed_libraries",
    "libraries",
    "library_uids",
    "allowed_library_uids",
];
/// What a column that limits a token is about.
const LIMITS: [&str; 6] = ["tool", "librar", "collection", "workspace", "scope", "permission"];

const NAMES: &[&str] = &["name", "label", "title", "display_name"];
const CREATED: &[&str] = &["created_at", "created", "date_created", "created_on"];

/// What a table is. `all` are the tables of the database, among which its relations are.
pub(super) fn recognise(table: &ForeignTable, all: &[ForeignTable]) -> Kind {
    if table.name.starts_with("auth_") || table.name.starts_with("django_") {
        return Kind::Django;
    }
    if let Some(columns) = signing_keys(table) {
        return Kind::SigningKeys(columns);
    }
    if let Some(columns) = tokens(table, all) {
        return Kind::Tokens(columns);
    }
    if let Some(columns) = models(table) {
        return Kind::Models(columns);
    }
    if let Some(columns) = providers(table) {
        return Kind::Providers(columns);
    }
    let has = |names: &[&str], fits: fn(&str) -> bool| column(table, names, fits).is_some();
    if has(&["status"], is_text) && has(&["content_hash"], is_text) && has(&["source_ref"], is_text) {
        return Kind::Jobs;
    }
    if let Some(user) = column(table, &["user_id"], is_number) {
        let time_zone = column(table, &["time_zone", "timezone"], is_text);
        let theme = column(table, &["theme"], is_text);
        if time_zone.is_some() || theme.is_some() {
            return Kind::Profiles(ProfileColumns {
                user,
                time_zone,
                theme,
            });
        }
    }
    Kind::Unknown
}

fn signing_keys(table: &ForeignTable) -> Option<KeyColumns> {
    let secrets = [
        "secret_hex",
        "secret_encrypted",
        "encrypted_secret",
        "secret",
        "secret_key",
        "hmac_secret",
        "key_hex",
        "key_encrypted",
        "encrypted_key",
        "key",
    ];
    Some(KeyColumns {
        kid: column(table, &["kid", "key_id"], is_text)?,
        secret: column(table, &secrets, is_secret)?,
        created: column(table, CREATED, is_time),
        expires: column(table, EXPIRES, is_time),
        doubtful: misfit(table, EXPIRES, is_time),
    })
}

fn tokens(table: &ForeignTable, all: &[ForeignTable]) -> Option<TokenColumns> {
    let certain = [
        "token_hash",
        "token_digest",
        "hashed_token",
        "token_sha256",
        "token_sha256_hash",
    ];
    // These words alone could mean anything.
    let likely = [
        "hash",
        "digest",
        "sha256",
        "key_hash",
        "hashed_key",
        "secret_hash",
    ];
    let digest = column(table, &certain, is_secret).or_else(|| {
        table
            .name
            .contains("token")
            .then(|| column(table, &likely, is_secret))
            .flatten()
    })?;
    Some(TokenColumns {
        digest,
        name: column(table, NAMES, is_text),
        prefix: column(table, &["prefix", "token_prefix", "key_prefix"], is_text),
        owner: column(table, &["user_id", "owner_id", "created_by_id"], is_number),
        tools: column(table, TOOLS, is_list),
        libraries: column(table, LIBRARIES, is_list),
        doubtful: misfit(table, TOOLS, is_list)
            .or_else(|| misfit(table, LIBRARIES, is_list))
            .or_else(|| misfit(table, EXPIRES, is_time)),
        workspace: column(table, &["workspace_id", "workspace"], is_reference),
        created: column(table, CREATED, is_time),
        expires: column(table, EXPIRES, is_time),
        last_used: column(table, &["last_used_at", "last_used", "last_seen_at"], is_time),
        relations: all.iter().filter_map(|other| relation(table, other)).collect(),
    })
}

/// Whether another table may limit the rows of this one: with a column `model_id`, it is one that Django makes for a
/// many-to-many field (`app_model_field`), or one of its own that says something of tools, libraries and the like.
fn relation(table: &ForeignTable, other: &ForeignTable) -> Option<(String, String)> {
    if other.name == table.name {
        return None;
    }
    let is_djangos = other
        .name
        .strip_prefix(&table.name)
        .is_some_and(|rest| rest.starts_with('_'));
    let limits = other
        .columns
        .iter()
        .any(|column| LIMITS.iter().any(|word| column.name.contains(word)));
    if !is_djangos && !limits {
        return None;
    }
    let names_it = |name: &&str| {
        name.strip_suffix("_id")
            .is_some_and(|model| table.name.ends_with(model))
    };
    let column = other
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .find(names_it)?;
    Some((other.name.clone(), column.to_owned()))
}

fn models(table: &ForeignTable) -> Option<ModelColumns> {
    let dimensions = [
        "dimension",
        "dimensions",
        "vector_dimension",
        "vector_dimensions",
        "embedding_dimension",
    ];
    let role = column(
        table,
        &["model_type", "model_kind", "role", "kind", "type"],
        is_text,
    );
    let dimension = column(table, &dimensions, is_number);
    if role.is_none() && dimension.is_none() {
        return None;
    }
    Some(ModelColumns {
        provider: column(
            table,
            &[
                "provider_id",
                "api_id",
                "llm_api_id",
                "llm_provider_id",
                "service_id",
            ],
            is_reference,
        )?,
        name: column(table, &["model_name", "model_id", "name", "model"], is_text)?,
        role,
        dimension,
    })
}

fn providers(table: &ForeignTable) -> Option<ProviderColumns> {
    let keys = [
        "api_key",
        "api_key_encrypted",
        "encrypted_api_key",
        "encrypted_key",
        "api_secret",
        "key",
    ];
    Some(ProviderColumns {
        name: column(table, NAMES, is_text),
        base_url: column(
            table,
            &[
                "base_url",
                "api_base",
                "api_base_url",
                "endpoint_url",
                "endpoint",
                "api_url",
                "url",
            ],
            is_text,
        )?,
        api_key: column(table, &keys, is_secret)?,
        verify_tls: column(
            table,
            &["verify_tls", "verify_ssl", "ssl_verify", "verify"],
            is_flag,
        ),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use mnemosyne_domain::ports::ForeignColumn;

    use super::*;

    /// A table in one line: `name: column type, column type`.
    pub(in super::super) fn table(line: &str) -> ForeignTable {
        let (name, columns) = line.split_once(": ").unwrap_or((line, ""));
        ForeignTable {
            name: name.to_owned(),
            columns: columns
                .split(", ")
                .filter_map(|column| column.split_once(' '))
                .map(|(name, kind)| ForeignColumn {
                    name: name.to_owned(),
                    kind: kind.to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn what_limits_a_row_and_is_not_understood_is_noticed() {
        let token = |columns: &str| match recognise(
            &table(&format!("app_mcptoken: token_hash text, {columns}")),
            &[],
        ) {
            Kind::Tokens(columns) => columns.doubtful,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            token("expires_at timestamp with time zone, allowed_tools jsonb"),
            None
        );
        assert_eq!(token("expires_at date").as_deref(), Some("expires_at"));
        assert_eq!(
            token("allowed_tools USER-DEFINED").as_deref(),
            Some("allowed_tools")
        );
        assert_eq!(token("libraries integer").as_deref(), Some("libraries"));
        match recognise(&table("app_key: kid text, secret text, valid_until bigint"), &[]) {
            Kind::SigningKeys(columns) => assert_eq!(columns.doubtful.as_deref(), Some("valid_until")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_table_of_its_own_may_limit_tokens() {
        let tokens = table("app_mcptoken: id bigint, token_hash text");
        for (line, limits) in [
            (
                "app_mcptoken_libraries: mcptoken_id bigint, library_id bigint",
                true,
            ),
            ("app_mcptoken_groups: mcptoken_id bigint, group_id bigint", true),
            ("app_tokenlibrary: token_id bigint, library_id bigint", true),
            (
                "app_mcptoken: id bigint, token_hash text, token_id bigint, tools text",
                false,
            ),
            ("app_grant: mcptoken_id bigint, tool_name text", true),
            ("app_usage: token_id bigint, at timestamp with time zone", false),
            ("app_other: id bigint, library_id bigint", false),
        ] {
            assert_eq!(relation(&tokens, &table(line)).is_some(), limits, "{line}");
        }
    }

    #[test]
    fn tables_are_known_by_their_columns() {
        for (line, kind) in [
            ("auth_user: id integer, password character varying", "django"),
            (
                "django_celery_results_taskresult: id integer, status text",
                "django",
            ),
            (
                "mcp_mcptoken: id bigint, token_hash character varying, user_id integer",
                "mcp_tokens",
            ),
            ("api_token: id bigint, hash bytea", "mcp_tokens"),
            ("files: id bigint, hash text", "unknown"),
            (
                "authtoken_token: key character varying, user_id integer",
                "unknown",
            ),
            ("mcp_key: kid text, secret_hex text", "signing_keys"),
            ("mcp_key: kid text, secret_hex integer", "unknown"),
            ("mcp_key: id bigint, secret_hex text", "unknown"),
            (
                "llm_api: id bigint, name text, base_url text, api_key text",
                "providers",
            ),
            ("bookmark: id bigint, url text", "unknown"),
            (
                "llm_model: id bigint, api_id bigint, name text, model_type text",
                "models",
            ),
            (
                "llm_model: id uuid, provider_id uuid, model_name text, vector_dimension integer",
                "models",
            ),
            (
                "library_ingestjob: id uuid, status text, content_hash text, source_ref text",
                "jobs",
            ),
            ("library_file: id uuid, status text, content_hash text", "unknown"),
            ("library_job: id uuid, status text, source_ref text", "unknown"),
            (
                "accounts_profile: id bigint, user_id integer, timezone text",
                "profiles",
            ),
            ("library_library: id bigint, name text", "unknown"),
        ] {
            let table = table(line);
            assert_eq!(recognise(&table, &[]).as_str(), kind, "{line}");
        }
    }

    #[test]
    fn what_restricts_a_token_elsewhere_is_seen() {
        let token = table("mcp_mcptoken: id bigint, token_hash text");
        let all = [
            token.clone(),
            table("mcp_mcptoken_libraries: id bigint, mcptoken_id bigint, library_id bigint"),
            table("mcp_mcptokenlog: id bigint, mcptoken_id bigint"),
            table("other: id bigint, mcptoken_id bigint"),
        ];
        let Kind::Tokens(columns) = recognise(&token, &all) else {
            panic!("not recognised");
        };
        let expected = ("mcp_mcptoken_libraries".to_owned(), "mcptoken_id".to_owned());
        assert_eq!(columns.relations, [expected]);
    }
}
