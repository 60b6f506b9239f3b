//! Taking over what the system before this one kept in the same database. Its tables are only read; what they hold is
//! recognised by the names and types of their columns, and everything that is not taken is reported with its reason. Doubt
//! never widens what a token may do. May be repeated: what is here already stays as it is.

mod models;
mod profiles;
mod recognise;
mod values;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mnemosyne_crypto::fernet;
use mnemosyne_domain::ports::{ForeignTable, ForeignTables};
use mnemosyne_domain::{
    AuditEvent, LibraryUid, NewMcpToken, Principal, SigningKey, StoreError, Tool, User, UserId,
};
use serde::Serialize;

use self::models::Servers;
use self::recognise::{KeyColumns, Kind, TokenColumns, recognise};
use self::values::{Names, Row};
use crate::context::Services;
use crate::error::ServiceResult;
use crate::permission::{self, Action};

/// Rows that are read at once.
const PAGE: u32 = 500;
/// Names that are tried for a token whose name its owner has given to another.
const MAX_NAMES: u32 = 100;
/// The shortest key that per-turn tokens may be signed with, in bytes.
const MIN_KEY: usize = mnemosyne_crypto::jwt::MIN_KEY_BYTES;
const MAX_KID: usize = mnemosyne_crypto::jwt::MAX_KID_CHARACTERS;

/// States of jobs that are told apart in a report.
const MAX_STATES: usize = 30;
const MAX_STATE: usize = 40;
/// What is said of a table of jobs. `docs/import.md` gives the reasons.
const JOBS_STAY: &str = "Jobs are not taken: a finished one would stand for an item that is not here, and an unfinished one \
    would be done twice. Ask for the files again; each is taken in once.";

/// How an import is done.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Nothing is written; the report says what would be taken.
    pub dry_run: bool,
    /// An empty list of tools or libraries means all of them; otherwise such a token is left.
    pub empty_means_all: bool,
    /// Fernet keys, as texts, that secrets may be sealed with besides those that programs make of `SECRET_KEY`.
    pub fernet_keys: Vec<String>,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Every table that is not ours, by name.
    pub tables: Vec<TableReport>,
}

/// What became of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// `mcp_tokens`, `signing_keys`, `providers`, `models`, `jobs`, `profiles`, `django` or `unknown`.
    pub recognised_as: &'static str,
    /// Rows that were read; `None` where none had to be.
    pub rows: Option<u64>,
    /// Rows that were taken now.
    pub taken: u64,
    /// Rows that are here already.
    pub known: u64,
    /// Rows that were left, each with its reason; of jobs see `states` instead.
    pub left: Vec<LeftRow>,
    /// Of jobs, which are all left: how many are in which state, in the words of the table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, u64>,
    /// What is to be said of the table as a whole.
    pub note: Option<String>,
}

/// A row that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftRow {
    /// Its primary key, or its place.
    pub row: String,
    /// Why.
    pub why: String,
}

/// What becomes of one row.
enum Outcome {
    Taken,
    Known,
    Left(String),
}

impl Outcome {
    fn left(why: impl Into<String>) -> Self {
        Self::Left(why.into())
    }
}

impl TableReport {
    fn new(table: &str, kind: &Kind) -> Self {
        Self {
            table: table.to_owned(),
            recognised_as: kind.as_str(),
            rows: None,
            taken: 0,
            known: 0,
            left: Vec::new(),
            states: BTreeMap::new(),
            note: None,
        }
    }

    /// Rows that were read and not taken, nor here already.
    pub fn left_count(&self) -> u64 {
        self.rows.unwrap_or_default() - self.taken - self.known
    }

    fn add(&mut self, row: String, outcome: Outcome) {
        *self.rows.get_or_insert_default() += 1;
        match outcome {
            Outcome::Taken => self.taken += 1,
            Outcome::Known => self.known += 1,
            Outcome::Left(why) => self.left.push(LeftRow { row, why }),
        }
    }
}

/// What all rows of one import share.
struct Import<'a> {
    source: &'a dyn ForeignTables,
    options: &'a ImportOptions,
    keys: Vec<fernet::Key>,
    now: DateTime<Utc>,
    /// Whom a token without an owner belongs to.
    first_administrator: Option<UserId>,
}

impl Import<'_> {
    async fn rows(&self, table: &str) -> ServiceResult<Vec<Row>> {
        let mut all = Vec::new();
        loop {
            let page = self.source.foreign_rows(table, all.len() as u64, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}

impl Import<'_> {
    /// Counts the jobs of a table by their states, a page at a time: such a table may be long.
    async fn count_states(&self, report: &mut TableReport) -> ServiceResult<()> {
        let mut read = 0;
        loop {
            let page = self.source.foreign_rows(&report.table, read, PAGE).await?;
            read += page.len() as u64;
            for row in &page {
                count_state(&mut report.states, row);
            }
            if page.len() < PAGE as usize {
                report.rows = Some(read);
                return Ok(());
            }
        }
    }
}

/// Counts a job under its state, or under `other` where there are too many of them to be told apart.
fn count_state(states: &mut BTreeMap<String, u64>, row: &Row) {
    let state = one_line(row.get("status").and_then(serde_json::Value::as_str), MAX_STATE)
        .unwrap_or_else(|| "unknown".to_owned());
    let state = if states.len() < MAX_STATES || states.contains_key(&state) {
        state
    } else {
        "other".to_owned()
    };
    *states.entry(state).or_default() += 1;
}

impl Services {
    /// Takes over what is recognised in the tables of the system before this one.
    pub async fn import_legacy(
        &self,
        caller: &Principal,
        source: &dyn ForeignTables,
        options: &ImportOptions,
    ) -> ServiceResult<ImportReport> {
        permission::require(caller, Action::Administer)?;
        let users = self.relational.users().await?;
        let is_administrator = |user: &&User| user.is_superuser && user.is_active;
        let given = options
            .fernet_keys
            .iter()
            .filter_map(|key| fernet::Key::parse(key).ok());
        let import = Import {
            source,
            options,
            keys: given
                .chain(mnemosyne_crypto::legacy::fernet_keys(self.secret_key.expose()))
                .collect(),
            now: self.clock.now(),
            first_administrator: users.iter().filter(is_administrator).map(|user| user.id).min(),
        };
        let tables = source.foreign_tables().await?;
        // Models come after their servers.
        let mut in_order: Vec<&ForeignTable> = tables.iter().collect();
        in_order.sort_by_key(|table| matches!(recognise(table, &tables), Kind::Models(_)));
        let mut servers = Servers::new();
        let mut reports = Vec::with_capacity(tables.len());
        for table in in_order {
            reports.push(
                self.import_table(caller, &import, table, &tables, &mut servers)
                    .await?,
            );
        }
        reports.sort_by(|a, b| a.table.cmp(&b.table));
        Ok(ImportReport {
            dry_run: options.dry_run,
            tables: reports,
        })
    }

    async fn import_table(
        &self,
        caller: &Principal,
        import: &Import<'_>,
        table: &ForeignTable,
        all: &[ForeignTable],
        servers: &mut Servers,
    ) -> ServiceResult<TableReport> {
        let kind = recognise(table, all);
        let mut report = TableReport::new(&table.name, &kind);
        let restricted = match &kind {
            Kind::Tokens(columns) => restricted_tokens(import, columns).await?,
            _ => Vec::new(),
        };
        report.note = match &kind {
            Kind::Django => Some(django_note(&table.name).to_owned()),
            Kind::Unknown => Some("Nothing in it is known to Mnemosyne; it was not read.".to_owned()),
            Kind::Jobs => {
                import.count_states(&mut report).await?;
                Some(JOBS_STAY.to_owned())
            }
            _ => None,
        };
        if report.note.is_some() {
            return Ok(report);
        }
        for (place, row) in (0_u64..).zip(import.rows(&table.name).await?) {
            let name = values::row_name(&row, place);
            let outcome = match &kind {
                Kind::Tokens(_) if restricted.contains(&name) => {
                    Outcome::left("another table restricts it, and only a list in its own row is understood")
                }
                Kind::Tokens(columns) => self.import_token(caller, import, columns, &row, &name).await?,
                Kind::SigningKeys(columns) => self.import_signing_key(caller, import, columns, &row).await?,
                Kind::Providers(columns) => {
                    self.import_provider(caller, import, columns, (&row, &name), servers)
                        .await?
                }
                Kind::Models(columns) => self.import_model(caller, columns, &row, servers).await?,
                Kind::Profiles(columns) => self.import_profile(import, columns, &row).await?,
                Kind::Jobs | Kind::Django | Kind::Unknown => Outcome::left("it was not read"),
            };
            report.add(name, outcome);
        }
        report.rows.get_or_insert_default();
        Ok(report)
    }

    async fn import_token(
        &self,
        caller: &Principal,
        import: &Import<'_>,
        columns: &TokenColumns,
        row: &Row,
        row_name: &str,
    ) -> ServiceResult<Outcome> {
        let Some(digest) = values::sha256(row, &columns.digest) else {
            return Ok(Outcome::left("its hash is no SHA-256"));
        };
        // Also where it was revoked here since: it must not come back.
        if self.relational.token_by_digest(&digest).await?.is_some() {
            return Ok(Outcome::Known);
        }
        if values::is_retired(row) {
            return Ok(Outcome::left("it is not in use any more"));
        }
        if let Some(column) = &columns.doubtful {
            return Ok(Outcome::left(not_understood(column)));
        }
        let expires_at = values::time(row, columns.expires.as_ref());
        if values::text(row, columns.expires.as_ref()).is_some() && expires_at.is_none() {
            return Ok(Outcome::left("the end of its validity cannot be read"));
        }
        if expires_at.is_some_and(|end| end <= import.now) {
            return Ok(Outcome::left("it has expired"));
        }
        let has_workspace = columns
            .workspace
            .as_ref()
            .and_then(|column| row.get(column))
            .is_some_and(|value| !value.is_null() && value != "");
        if has_workspace {
            return Ok(Outcome::left(
                "it is bound to a workspace; stored tokens see global libraries only",
            ));
        }
        let tools = match limit(row, columns.tools.as_ref(), import.options, "tools", Tool::parse) {
            Ok(tools) => tools,
            Err(why) => return Ok(Outcome::Left(why)),
        };
        let libraries = limit(
            row,
            columns.libraries.as_ref(),
            import.options,
            "libraries",
            LibraryUid::parse,
        );
        let libraries = match libraries {
            Ok(libraries) => libraries,
            Err(why) => return Ok(Outcome::Left(why)),
        };
        let owner = match values::number(row, columns.owner.as_ref()) {
            Some(id) => match self.relational.user(UserId(id)).await? {
                Some(user) => user.id,
                None => return Ok(Outcome::left(format!("its owner, user {id}, does not exist"))),
            },
            None => match import.first_administrator {
                Some(id) => id,
                None => {
                    return Ok(Outcome::left(
                        "it has no owner, and there is no administrator to give it to: make one, and import again",
                    ));
                }
            },
        };
        if import.options.dry_run {
            return Ok(Outcome::Taken);
        }
        let token = NewMcpToken {
            name: one_line(values::text(row, columns.name.as_ref()), 90)
                .unwrap_or_else(|| format!("imported {row_name}")),
            prefix: one_line(values::text(row, columns.prefix.as_ref()), 16)
                .unwrap_or_else(|| "imported".to_owned()),
            digest,
            user_id: owner,
            tools,
            libraries,
            expires_at,
        };
        let created = values::time(row, columns.created.as_ref()).unwrap_or(import.now);
        let last_used = values::time(row, columns.last_used.as_ref());
        self.store_token(caller, token, created, last_used).await
    }

    /// Stores a token under its name, or the next one that its owner has free.
    async fn store_token(
        &self,
        caller: &Principal,
        token: NewMcpToken,
        created: DateTime<Utc>,
        last_used: Option<DateTime<Utc>>,
    ) -> ServiceResult<Outcome> {
        for number in 1..=MAX_NAMES {
            let name = match number {
                1 => token.name.clone(),
                _ => format!("{} ({number})", token.name),
            };
            let attempt = NewMcpToken {
                name,
                ..token.clone()
            };
            match self.relational.create_token(attempt, created).await {
                Ok(stored) => {
                    if let Some(last_used) = last_used {
                        self.relational.touch_token(stored.id, last_used).await?;
                    }
                    let subject = format!("{} ({}…)", stored.name, stored.prefix);
                    self.audited(caller, AuditEvent::TokenCreated, &subject, "imported")
                        .await;
                    return Ok(Outcome::Taken);
                }
                Err(StoreError::Conflict("digest")) => return Ok(Outcome::Known),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Outcome::left("its owner has too many tokens of this name"))
    }

    async fn import_signing_key(
        &self,
        caller: &Principal,
        import: &Import<'_>,
        columns: &KeyColumns,
        row: &Row,
    ) -> ServiceResult<Outcome> {
        let kid = values::text(row, Some(&columns.kid)).unwrap_or_default();
        if kid.is_empty() || kid.chars().count() > MAX_KID || kid.chars().any(char::is_control) {
            return Ok(Outcome::left(format!(
                "its kid is not 1 to {MAX_KID} characters on one line"
            )));
        }
        let secret = values::secret(row, &columns.secret, &import.keys).map(values::key_bytes);
        if let Some(known) = self.relational.signing_key(kid).await? {
            let is_same = match (&secret, self.open_signing_secret(&known)) {
                (Ok(theirs), Ok(ours)) => *theirs == ours,
                _ => false,
            };
            return Ok(if is_same {
                Outcome::Known
            } else {
                Outcome::left(format!("a key {kid:?} with another secret is here already"))
            });
        }
        if values::is_retired(row) {
            return Ok(Outcome::left("it is not in use any more"));
        }
        if let Some(column) = &columns.doubtful {
            return Ok(Outcome::left(not_understood(column)));
        }
        if values::text(row, columns.expires.as_ref()).is_some() {
            match values::time(row, columns.expires.as_ref()) {
                None => return Ok(Outcome::left("the end of its validity cannot be read")),
                Some(end) if end <= import.now => return Ok(Outcome::left("it has expired")),
                Some(_) => {
                    return Ok(Outcome::left(
                        "its validity ends, and keys here have no end: make a new one",
                    ));
                }
            }
        }
        let secret = match secret {
            Ok(secret) if secret.len() >= MIN_KEY => secret,
            Ok(_) => {
                return Ok(Outcome::left(format!(
                    "its secret is shorter than {MIN_KEY} bytes"
                )));
            }
            Err(why) => return Ok(Outcome::left(why)),
        };
        if import.options.dry_run {
            return Ok(Outcome::Taken);
        }
        let key = SigningKey {
            kid: kid.to_owned(),
            sealed_secret: self.seal_signing_secret(&secret, import.now),
            created_at: values::time(row, columns.created.as_ref()).unwrap_or(import.now),
            retired_at: None,
        };
        match self.relational.create_signing_key(key, false).await {
            Ok(()) => {
                self.audited(caller, AuditEvent::KeyCreated, kid, "imported")
                    .await;
                Ok(Outcome::Taken)
            }
            Err(StoreError::Conflict(_)) => Ok(Outcome::Known),
            Err(error) => Err(error.into()),
        }
    }
}

fn not_understood(column: &str) -> String {
    format!("its column {column} limits it, and is of a type that is not understood")
}

/// The names of the rows that another table says more about.
async fn restricted_tokens(import: &Import<'_>, columns: &TokenColumns) -> ServiceResult<Vec<String>> {
    let mut restricted = Vec::new();
    for (table, column) in &columns.relations {
        for row in import.rows(table).await? {
            match row.get(column) {
                Some(serde_json::Value::String(id)) => restricted.push(id.clone()),
                Some(serde_json::Value::Number(id)) => restricted.push(id.to_string()),
                _ => {}
            }
        }
    }
    Ok(restricted)
}

/// What a list in a row allows: `None` everything. `Err` says why the row cannot be taken: what is not understood is never
/// read as "everything".
fn limit<T: Ord>(
    row: &Row,
    column: Option<&String>,
    options: &ImportOptions,
    what: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<Option<std::collections::BTreeSet<T>>, String> {
    match values::names(row, column) {
        Names::Absent => Ok(None),
        Names::Empty if options.empty_means_all => Ok(None),
        Names::Empty => Err(format!(
            "its list of {what} is empty, which may mean all or none; --empty-means-all takes it as all"
        )),
        Names::Unreadable => Err(format!("its list of {what} cannot be read")),
        Names::Some(names) => {
            // A name that means nothing here allows nothing here; the others count.
            let known: std::collections::BTreeSet<T> = names.iter().filter_map(|name| parse(name)).collect();
            if known.is_empty() {
                return Err(format!("none of its {what} exists here: {}", names.join(", ")));
            }
            Ok(Some(known))
        }
    }
}

/// A text on one line, cut to so many characters.
fn one_line(text: Option<&str>, most: usize) -> Option<String> {
    let line: String = text?.chars().filter(|c| !c.is_control()).take(most).collect();
    (!line.trim().is_empty()).then(|| line.trim().to_owned())
}

fn django_note(table: &str) -> &'static str {
    match table {
        "auth_user" | "django_session" => "Used as it is.",
        _ => "Django's own; Mnemosyne leaves it alone.",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_are_counted_by_state() {
        let mut states = BTreeMap::new();
        let mut count = |status: serde_json::Value| {
            let row = Row::from_iter([("status".to_owned(), status)]);
            count_state(&mut states, &row);
        };
        for status in ["completed", " completed ", "pending", "", " "] {
            count(json!(status));
        }
        count(json!(null));
        count(json!(7));
        count(json!("x".repeat(1_000)));
        for number in 0..100 {
            count(json!(format!("state {number}")));
        }
        count(json!("completed"));
        assert_eq!(
            (states["completed"], states["pending"], states["unknown"]),
            (3, 1, 4)
        );
        assert_eq!(states[&"x".repeat(MAX_STATE)], 1);
        assert_eq!(states.len(), MAX_STATES + 1);
        assert_eq!(states.values().sum::<u64>(), 109);
        assert!(states["other"] > 50);
    }
}
