//! Constraints and indexes: what `setup` makes and `check` looks for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mnemosyne_domain::{StoreError, StoreResult, VectorSpace};
use serde::Deserialize;

use super::database::{Database, cypher};
use super::spaces;

/// The version of what the graph holds. A program refuses a graph of a later one.
const VERSION: i64 = 1;

/// How long `setup` waits for indexes to be filled.
const INDEX_PATIENCE: Duration = Duration::from_secs(600);

/// How often it looks.
const INDEX_PAUSE: Duration = Duration::from_millis(100);

/// The full-text index over the terms of chunks, which the full-text leg asks.
pub(super) const CHUNK_TERMS: &str = "chunk_terms_fulltext";

/// The full-text index over the terms of names of concepts, which the graph leg begins with.
pub(super) const CONCEPT_TERMS: &str = "concept_terms_fulltext";

/// What must be there, with the command that makes it.
struct Expected {
    /// What it is called where we make it. An equal one of another name will do, save for those that are asked by name.
    name: &'static str,
    kind: Kind,
    label: &'static str,
    properties: &'static [&'static str],
    command: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A uniqueness constraint with its index.
    Unique,
    /// An index to find nodes or edges by a value.
    Range,
    /// A full-text index.
    Text,
    /// A full-text index that statements ask by its name.
    NamedText,
}

macro_rules! unique {
    ($name:literal, $label:literal, $property:literal) => {
        Expected {
            name: $name,
            kind: Kind::Unique,
            label: $label,
            properties: &[$property],
            command: concat!(
                "CREATE CONSTRAINT ",
                $name,
                " IF NOT EXISTS FOR (n:",
                $label,
                ") REQUIRE n.",
                $property,
                " IS UNIQUE"
            ),
        }
    };
}

/// Everything but the vector indexes, which depend on the models.
///
/// The English full-text indexes are for people and programs that ask the graph by themselves; they follow a commit a moment
/// later, because an index that takes part in each commit costs the server several milliseconds of it. Our own legs ask the
/// two indexes over terms: these hold what our analysis makes of a text, so that any language is found, and the same
/// question finds the same on every backend.
const EXPECTED: [Expected; 20] = [
    unique!("mnemosyne_store_id", "MnemosyneStore", "id"),
    unique!("mnemosyne_space_number", "MnemosyneSpace", "number"),
    Expected {
        name: "mnemosyne_space_model",
        kind: Kind::Unique,
        label: "MnemosyneSpace",
        properties: &["model", "dimension"],
        command: "CREATE CONSTRAINT mnemosyne_space_model IF NOT EXISTS FOR (n:MnemosyneSpace) \
                  REQUIRE (n.model, n.dimension) IS UNIQUE",
    },
    unique!("mnemosyne_gone_uid", "MnemosyneGone", "uid"),
    unique!("library_uid", "Library", "uid"),
    unique!("library_name", "Library", "name"),
    unique!("library_workspace_id", "Library", "workspace_id"),
    unique!("collection_uid", "Collection", "uid"),
    Expected {
        name: "collection_name",
        kind: Kind::Unique,
        label: "Collection",
        properties: &["library_uid", "name"],
        command: "CREATE CONSTRAINT collection_name IF NOT EXISTS FOR (n:Collection) \
                  REQUIRE (n.library_uid, n.name) IS UNIQUE",
    },
    unique!("item_uid", "Item", "uid"),
    unique!("chunk_uid", "Chunk", "uid"),
    unique!("concept_uid", "Concept", "uid"),
    unique!("image_uid", "Image", "uid"),
    unique!("image_embedding_uid", "ImageEmbedding", "uid"),
    Expected {
        name: "item_source",
        kind: Kind::Range,
        label: "Item",
        properties: &["library_uid", "source_ref"],
        command: "CREATE INDEX item_source IF NOT EXISTS FOR (n:Item) ON (n.library_uid, n.source_ref)",
    },
    Expected {
        name: "item_status",
        kind: Kind::Range,
        label: "Item",
        properties: &["embedding_status", "created_at"],
        command: "CREATE INDEX item_status IF NOT EXISTS FOR (n:Item) ON (n.embedding_status, n.created_at)",
    },
    Expected {
        name: "related_to_item",
        kind: Kind::Range,
        label: "RELATED_TO",
        properties: &["item_uid"],
        command: "CREATE INDEX related_to_item IF NOT EXISTS FOR ()-[e:RELATED_TO]-() ON (e.item_uid)",
    },
    Expected {
        name: "chunk_text_fulltext",
        kind: Kind::Text,
        label: "Chunk",
        properties: &["text_preview", "text"],
        command: "CREATE FULLTEXT INDEX chunk_text_fulltext IF NOT EXISTS FOR (n:Chunk) \
                  ON EACH [n.text_preview, n.text] OPTIONS {indexConfig: {`fulltext.analyzer`: 'english', \
                  `fulltext.eventually_consistent`: true}}",
    },
    Expected {
        name: CHUNK_TERMS,
        kind: Kind::NamedText,
        label: "Chunk",
        properties: &["terms", "context", "title_terms", "library_uid", "item_uid"],
        command: "CREATE FULLTEXT INDEX chunk_terms_fulltext IF NOT EXISTS FOR (n:Chunk) \
                  ON EACH [n.terms, n.context, n.title_terms, n.library_uid, n.item_uid] \
                  OPTIONS {indexConfig: {`fulltext.analyzer`: 'whitespace', `fulltext.eventually_consistent`: false}}",
    },
    Expected {
        name: CONCEPT_TERMS,
        kind: Kind::NamedText,
        label: "Concept",
        properties: &["terms"],
        command: "CREATE FULLTEXT INDEX concept_terms_fulltext IF NOT EXISTS FOR (n:Concept) ON EACH [n.terms] \
                  OPTIONS {indexConfig: {`fulltext.analyzer`: 'whitespace', `fulltext.eventually_consistent`: false}}",
    },
];

/// See [`EXPECTED`].
const CONCEPT_NAME: Expected = Expected {
    name: "concept_name_fulltext",
    kind: Kind::Text,
    label: "Concept",
    properties: &["name"],
    command: "CREATE FULLTEXT INDEX concept_name_fulltext IF NOT EXISTS FOR (n:Concept) ON EACH [n.name] \
              OPTIONS {indexConfig: {`fulltext.analyzer`: 'english', `fulltext.eventually_consistent`: true}}",
};

fn expected() -> impl Iterator<Item = &'static Expected> {
    EXPECTED.iter().chain(std::iter::once(&CONCEPT_NAME))
}

/// An index as the server describes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Index {
    pub(super) name: String,
    kind: String,
    labels: Vec<String>,
    properties: Vec<String>,
    state: String,
    unique: bool,
    /// The length of the vectors, of a vector index.
    pub(super) dimension: Option<i64>,
    /// How vectors are compared, of a vector index.
    pub(super) similarity: Option<String>,
}

const SHOW_INDEXES: &str = "SHOW INDEXES \
    YIELD name, type, labelsOrTypes, properties, state, owningConstraint, options \
    RETURN name, type AS kind, coalesce(labelsOrTypes, []) AS labels, coalesce(properties, []) AS properties, state, \
    owningConstraint IS NOT NULL AS unique, options.indexConfig['vector.dimensions'] AS dimension, \
    options.indexConfig['vector.similarity_function'] AS similarity";

/// The property of chunks by which a vector index may narrow its own search.
pub(super) const LIBRARY_OF_CHUNK: &str = "library_uid";

impl Index {
    /// Whether a search of this index may be narrowed to one library inside it.
    fn narrows(&self) -> bool {
        self.kind == "VECTOR"
            && self
                .properties
                .iter()
                .skip(1)
                .any(|property| property == LIBRARY_OF_CHUNK)
    }
}

/// Whether the searches of an index may be narrowed to one library: where it was made so. The server alone does not
/// say: an index that was made on an earlier one stays as it was.
pub(super) async fn narrows(database: &Database, name: &str) -> StoreResult<bool> {
    let indexes = indexes(database).await?;
    Ok(indexes.iter().any(|index| index.name == name && index.narrows()))
}

#[derive(Deserialize)]
struct Release {
    version: String,
}

const RELEASE: &str = "CALL dbms.components() YIELD name, versions WHERE name = 'Neo4j Kernel' \
                       RETURN versions[0] AS version";

/// From which year on the server makes vector indexes whose searches may be narrowed.
const NARROWING_SINCE: u32 = 2026;

/// Whether the server makes vector indexes whose searches may be narrowed.
pub(super) async fn can_narrow(database: &Database) -> StoreResult<bool> {
    let rows = database.unchecked_rows(cypher(RELEASE)).await?;
    let release = rows.first().map(|row| row.to_strict::<Release>());
    let release = release.transpose().map_err(super::errors::row_error)?;
    Ok(release.is_some_and(|release| is_narrowing(&release.version)))
}

/// Releases are named by year and month (`2026.09.0`); those before were numbered (`5.26.16`).
fn is_narrowing(version: &str) -> bool {
    let year = version.split('.').next().and_then(|year| year.parse().ok());
    year.is_some_and(|year: u32| year >= NARROWING_SINCE)
}

/// All indexes of the database.
pub(super) async fn indexes(database: &Database) -> StoreResult<Vec<Index>> {
    let rows = database.unchecked_rows(cypher(SHOW_INDEXES)).await?;
    rows.iter()
        .map(|row| row.to_strict().map_err(super::errors::row_error))
        .collect()
}

impl Expected {
    fn is(&self, index: &Index) -> bool {
        let kind = match self.kind {
            Kind::Unique => index.unique,
            Kind::Range => index.kind == "RANGE",
            Kind::Text => index.kind == "FULLTEXT",
            Kind::NamedText => index.kind == "FULLTEXT" && index.name == self.name,
        };
        // A full-text index over more of the same label finds as much.
        let properties = match self.kind {
            Kind::Text => self
                .properties
                .iter()
                .all(|property| index.properties.iter().any(|other| other == property)),
            _ => index.properties == self.properties,
        };
        kind && properties && index.labels.iter().any(|label| label == self.label)
    }
}

/// Which of what must be there is not, or not yet.
fn shortcoming(indexes: &[Index], spaces: &HashMap<VectorSpace, i64>) -> Option<StoreError> {
    let missing = |name: &str| {
        StoreError::Schema(format!(
            "the knowledge graph lacks the constraint or index {name}; run `mnemosyne setup`"
        ))
    };
    let mut needed = Vec::new();
    for expected in expected() {
        match indexes.iter().find(|index| expected.is(index)) {
            Some(index) => needed.push(index),
            None => return Some(missing(expected.name)),
        }
    }
    for number in spaces.values() {
        let name = spaces::index_name(*number);
        match indexes.iter().find(|index| index.name == name) {
            Some(index) => needed.push(index),
            None => return Some(missing(&name)),
        }
    }
    needed.into_iter().find_map(|index| match index.state.as_str() {
        "ONLINE" => None,
        "FAILED" => Some(StoreError::Schema(format!(
            "the index {} of the knowledge graph has failed; drop it and run `mnemosyne setup`",
            index.name
        ))),
        _ => Some(StoreError::Unavailable(format!(
            "the index {} of the knowledge graph is still being filled",
            index.name
        ))),
    })
}

#[derive(Deserialize)]
struct Version {
    version: i64,
}

const READ_VERSION: &str = "MATCH (s:MnemosyneStore {id: 1}) RETURN s.schema_version AS version";

/// The version of the graph; `None` where none is noted.
async fn version(database: &Database) -> StoreResult<Option<i64>> {
    let rows = database.unchecked_rows(cypher(READ_VERSION)).await?;
    let version = rows.first().map(|row| row.to_strict::<Version>());
    let version = version.transpose().map_err(super::errors::row_error)?;
    Ok(version.map(|row| row.version))
}

fn too_new(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "the knowledge graph has version {version}, and this program knows {VERSION}; use a newer program"
    ))
}

/// Answers whether everything is there and can be used.
pub(super) async fn check(database: &Database) -> StoreResult<()> {
    match version(database).await? {
        Some(VERSION) => {}
        Some(later) if later > VERSION => return Err(too_new(later)),
        Some(earlier) => {
            return Err(StoreError::Schema(format!(
                "the knowledge graph has version {earlier}, and this program needs {VERSION}; run `mnemosyne setup`"
            )));
        }
        None => {
            return Err(StoreError::Schema(
                "the knowledge graph has not been set up; run `mnemosyne setup`".to_owned(),
            ));
        }
    }
    let spaces = spaces::registered(database).await?;
    shortcoming(&indexes(database).await?, &spaces).map_or(Ok(()), Err)
}

const WRITE_VERSION: &str = "MERGE (s:MnemosyneStore {id: 1}) SET s.schema_version = $version";

/// Makes what is missing and waits until it can be used. May be repeated, and run by several processes at once.
pub(super) async fn setup(database: &Database, system: Option<&VectorSpace>) -> StoreResult<()> {
    if let Some(later) = version(database).await?.filter(|version| *version > VERSION) {
        return Err(too_new(later));
    }
    for expected in expected() {
        database.command(cypher(expected.command)).await?;
    }
    if let Some(system) = system {
        spaces::refuse_another_dimension(database, system).await?;
    }
    let noted = cypher(WRITE_VERSION).param("version", VERSION);
    database
        .unchecked_write(noted, |transaction, query| {
            Box::pin(async move { transaction.run(query.clone()).await })
        })
        .await?;
    if let Some(system) = system {
        spaces::set_up_system(database, system).await?;
    }
    // An index that someone dropped is made again, and filled with the vectors that are there.
    for (space, number) in spaces::registered(database).await? {
        spaces::make_index(database, number, space.dimension).await?;
    }
    wait_online(database).await
}

/// Waits until a vector index can be used. [`StoreError::Schema`] where it is for vectors of another length.
pub(super) async fn wait_for(database: &Database, name: &str, dimension: i64) -> StoreResult<()> {
    let begun = Instant::now();
    loop {
        let found = indexes(database).await?;
        match found.iter().find(|index| index.name == name) {
            Some(index) if index.dimension != Some(dimension) => {
                return Err(StoreError::Schema(format!(
                    "the index {name} of the knowledge graph is not one of vectors of {dimension} values"
                )));
            }
            Some(index) if index.state == "ONLINE" => return Ok(()),
            Some(index) if index.state == "FAILED" || begun.elapsed() >= INDEX_PATIENCE => {
                return Err(StoreError::Schema(format!(
                    "the index {name} of the knowledge graph is in the state {}",
                    index.state
                )));
            }
            Some(_) => tokio::time::sleep(INDEX_PAUSE).await,
            None => {
                return Err(StoreError::Schema(format!(
                    "the index {name} of the knowledge graph has gone; run `mnemosyne setup`"
                )));
            }
        }
    }
}

/// Waits until every index that is needed can be used.
async fn wait_online(database: &Database) -> StoreResult<()> {
    let begun = Instant::now();
    loop {
        match check(database).await {
            Err(StoreError::Unavailable(reason)) if begun.elapsed() < INDEX_PATIENCE => {
                tracing::debug!(%reason, "waiting for the knowledge graph");
                tokio::time::sleep(INDEX_PAUSE).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_narrowing;

    #[test]
    fn a_release_of_2026_or_later_narrows_inside_its_indexes() {
        for version in ["2026.01.0", "2026.09.0", "2026.01-aura", "2027.1.2"] {
            assert!(is_narrowing(version), "{version}");
        }
        for version in ["5.26.16", "5.27-aura", "2025.12.1", "", "unknown"] {
            assert!(!is_narrowing(version), "{version}");
        }
    }
}
