//! Spaces of vectors. Each has a number for good, kept on a node of its own, and from that number alone the names of its
//! property and its index are made: names of models come from outside and are never part of a statement.
//!
//! Number 0 is the system model's, with the names of the deployment: `Chunk.embedding` and `chunk_embedding_index`.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use mnemosyne_domain::{StoreError, StoreResult, VectorSpace};
use neo4rs::Query;
use serde::Deserialize;

use super::database::{Database, cypher, number};
use super::schema;

/// The number of the system model's space.
const SYSTEM: i64 = 0;

/// The longest vectors that the server's index takes.
const MAX_DIMENSION: usize = 4096;

/// From how many values on the index keeps vectors rounded. Shorter ones gain little memory by it, and lose much: a
/// server of 2026 rounds each value to one bit.
const ROUNDED_DIMENSION: usize = 512;

/// The property of chunks that holds the vectors of a space.
pub(super) fn property_name(number: i64) -> String {
    match number {
        SYSTEM => "embedding".to_owned(),
        other => format!("embedding_{other}"),
    }
}

/// The index over the vectors of a space.
pub(super) fn index_name(number: i64) -> String {
    match number {
        SYSTEM => "chunk_embedding_index".to_owned(),
        other => format!("chunk_embedding_{other}_index"),
    }
}

/// The names of a space in the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The property of a chunk with its vector.
    pub(super) vector: String,
    /// The property of a chunk with the model that made it.
    pub(super) model: String,
    /// The property of a chunk with its length.
    pub(super) dimension: String,
    /// The index.
    pub(super) index: String,
}

impl Names {
    /// The names that follow from a number.
    pub(super) fn of(number: i64) -> Self {
        let vector = property_name(number);
        Self {
            model: format!("{vector}_model"),
            dimension: format!("{vector}_dimension"),
            index: index_name(number),
            vector,
        }
    }
}

/// What this process knows of spaces and their indexes.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    /// The numbers of the spaces that it has met. A number never changes.
    known: RwLock<HashMap<VectorSpace, i64>>,
    /// Whether the searches of an index may be narrowed to a library, by its name.
    narrowing: RwLock<HashMap<String, bool>>,
}

impl Spaces {
    fn number(&self, space: &VectorSpace) -> Option<i64> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(space)
            .copied()
    }

    /// The names of a space; `None` where nobody ever used it.
    pub(super) async fn find(&self, database: &Database, space: &VectorSpace) -> StoreResult<Option<Names>> {
        if let Some(number) = self.number(space) {
            return Ok(Some(Names::of(number)));
        }
        let registered = registered(database).await?;
        let number = registered.get(space).copied();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = registered;
        Ok(number.map(Names::of))
    }

    /// Whether the searches of an index may be narrowed to a library.
    pub(super) async fn narrows(&self, database: &Database, index: &str) -> StoreResult<bool> {
        let known = self
            .narrowing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(index)
            .copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let narrows = schema::narrows(database, index).await?;
        self.narrowing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(index.to_owned(), narrows);
        Ok(narrows)
    }

    /// Forgets what is known of an index, which somebody may have made anew.
    pub(super) fn forget(&self, index: &str) {
        self.narrowing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(index);
    }

    /// The names of a space, which is given a number and an index where it is new. `system` is the space of the system
    /// model where that is known; where it is not, the first model in use is taken for it.
    pub(super) async fn find_or_make(
        &self,
        database: &Database,
        space: &VectorSpace,
        system: Option<&VectorSpace>,
    ) -> StoreResult<Names> {
        if let Some(names) = self.find(database, space).await? {
            return Ok(names);
        }
        let number = make(database, space, system.is_none_or(|system| system == space)).await?;
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(space.clone(), number);
        Ok(Names::of(number))
    }
}

#[derive(Deserialize)]
struct SpaceRow {
    number: i64,
    model: String,
    dimension: i64,
}

const REGISTERED: &str =
    "MATCH (s:MnemosyneSpace) RETURN s.number AS number, s.model AS model, s.dimension AS dimension";

/// All spaces with their numbers.
pub(super) async fn registered(database: &Database) -> StoreResult<HashMap<VectorSpace, i64>> {
    let rows = database.unchecked_rows(cypher(REGISTERED)).await?;
    rows.iter()
        .map(|row| {
            let row: SpaceRow = row.to_strict().map_err(super::errors::row_error)?;
            let space = VectorSpace {
                model: row.model,
                dimension: usize::try_from(row.dimension).unwrap_or(0),
            };
            Ok((space, row.number))
        })
        .collect()
}

/// Takes the lock under which numbers are given, then looks whether another process was faster.
const LOCK: &str = "MATCH (s:MnemosyneStore {id: 1}) SET s.numbers_given = coalesce(s.numbers_given, 0) + 1";
const FIND: &str =
    "MATCH (s:MnemosyneSpace {model: $model, dimension: $dimension}) RETURN s.number AS number";
/// The system's number where it is wanted and free, otherwise the next one. Numbers of spaces begin at 1.
const NEXT: &str = "OPTIONAL MATCH (s:MnemosyneSpace) WITH collect(s.number) AS taken, max(s.number) AS last \
                    RETURN CASE WHEN $system AND NOT 0 IN taken THEN 0 ELSE coalesce(last, 0) + 1 END AS number";
const REGISTER: &str = "CREATE (:MnemosyneSpace {number: $number, model: $model, dimension: $dimension})";

#[derive(Deserialize)]
struct Number {
    number: i64,
}

/// Gives a space its number and its index.
async fn make(database: &Database, space: &VectorSpace, may_be_system: bool) -> StoreResult<i64> {
    if space.dimension == 0 || space.dimension > MAX_DIMENSION {
        return Err(StoreError::Schema(format!(
            "vectors of {} values ({}) cannot be indexed by Neo4j: 1 to {MAX_DIMENSION} can",
            space.dimension, space.model
        )));
    }
    // An index of that name that is not ours, of another dimension, keeps its name to itself.
    let foreign = chunk_embedding_index(database)
        .await?
        .is_some_and(|index| index.dimension != Some(number(space.dimension)));
    let input = (space.clone(), may_be_system && !foreign);
    let given = database
        .unchecked_write(input, |transaction, (space, system)| {
            Box::pin(async move {
                transaction.run(cypher(LOCK)).await?;
                let known = transaction.read_one::<Number>(with_space(FIND, space)).await?;
                if let Some(known) = known {
                    return Ok(known.number);
                }
                let next = cypher(NEXT).param("system", *system);
                let next = transaction
                    .read_one::<Number>(next)
                    .await?
                    .map_or(1, |row| row.number);
                transaction
                    .run(with_space(REGISTER, space).param("number", next))
                    .await?;
                Ok(next)
            })
        })
        .await?;
    make_index(database, given, space.dimension).await?;
    schema::wait_for(database, &index_name(given), number(space.dimension)).await?;
    Ok(given)
}

fn with_space(text: &'static str, space: &VectorSpace) -> Query {
    cypher(text)
        .param("model", space.model.as_str())
        .param("dimension", number(space.dimension))
}

/// Makes the index of a space where it is missing, so that its searches may be narrowed to a library where the server can
/// do that. One that is there stays as it is. Names of properties and indexes are no parameters in Cypher: this statement
/// is made of the space's number and its dimension, and of nothing else.
pub(super) async fn make_index(database: &Database, number: i64, dimension: usize) -> StoreResult<()> {
    let (language, narrowed) = if schema::can_narrow(database).await? {
        ("CYPHER 25 ", format!(" WITH [n.{}]", schema::LIBRARY_OF_CHUNK))
    } else {
        ("", String::new())
    };
    let command = format!(
        "{language}CREATE VECTOR INDEX {} IF NOT EXISTS FOR (n:Chunk) ON (n.{}){narrowed} OPTIONS {{indexConfig: \
         {{`vector.dimensions`: {dimension}, `vector.similarity_function`: 'cosine', \
         `vector.quantization.enabled`: {}}}}}",
        index_name(number),
        property_name(number),
        dimension >= ROUNDED_DIMENSION
    );
    database.command(Query::new(command)).await
}

/// The index of the deployment's name.
async fn chunk_embedding_index(database: &Database) -> StoreResult<Option<schema::Index>> {
    let name = index_name(SYSTEM);
    let indexes = schema::indexes(database).await?;
    Ok(indexes.into_iter().find(|index| index.name == name))
}

/// Stops where `chunk_embedding_index` is there for vectors of another length, and the system model has no index of its
/// own either.
pub(super) async fn refuse_another_dimension(database: &Database, system: &VectorSpace) -> StoreResult<()> {
    if registered(database).await?.contains_key(system) {
        return Ok(());
    }
    let Some(index) = chunk_embedding_index(database).await? else {
        return Ok(());
    };
    if index.dimension != Some(number(system.dimension)) {
        return Err(StoreError::Schema(format!(
            "chunk_embedding_index holds vectors of {} values, and the system's embedding model {} makes {}. Register \
             the model that made them again, or move the libraries with `mnemosyne reembed`; an index without use can \
             be removed with DROP INDEX chunk_embedding_index",
            index
                .dimension
                .map_or("unknown many".to_owned(), |dimension| dimension.to_string()),
            system.model,
            system.dimension
        )));
    }
    if index
        .similarity
        .is_some_and(|similarity| !similarity.eq_ignore_ascii_case("cosine"))
    {
        return Err(StoreError::Schema(
            "chunk_embedding_index does not compare by cosine; remove it with DROP INDEX chunk_embedding_index and run \
             `mnemosyne setup` again"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The vectors of images are of the system model alone.
const IMAGE_INDEX: &str = "image_embedding_index";

/// Registers the system model's space, with the indexes of the deployment.
pub(super) async fn set_up_system(database: &Database, system: &VectorSpace) -> StoreResult<()> {
    make(database, system, true).await?;
    let command = format!(
        "CREATE VECTOR INDEX {IMAGE_INDEX} IF NOT EXISTS FOR (n:ImageEmbedding) ON (n.embedding) OPTIONS \
         {{indexConfig: {{`vector.dimensions`: {}, `vector.similarity_function`: 'cosine'}}}}",
        system.dimension
    );
    database.command(Query::new(command)).await
}
