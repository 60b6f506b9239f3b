//! Libraries and their collections.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{LibraryFilter, LibraryOrder, LibraryTotals, LibraryUpdate, Removed};
use mnemosyne_domain::{
    Collection, CollectionUid, Library, LibraryType, LibraryUid, NewLibrary, Page, PageRequest, Scope,
    StoreError, StoreResult, VectorSpace, WorkspaceId,
};
use neo4rs::Query;
use serde::Deserialize;

use super::database::{Database, Transaction, cypher, number, texts};
use super::errors::Failure;
use super::removal::{self, GoneReason};
use super::scope::{Admitted, library_admitted};
use super::spaces::{self, Names};
use super::{from_micros, json_text, parse_json};

/// The name of the collection that every library begins with.
const DEFAULT_COLLECTION: &str = "Default";

/// Up to how many chunks lose the vectors of their old model in the transaction that gives their library another.
const SWITCHED_AT_ONCE: u64 = 5_000;

/// How many chunks lose them in one transaction after that.
const SWITCHED_BATCH: i64 = 2_000;

/// How many a statement counts; of one that only finds, a row is the answer.
#[derive(Deserialize)]
pub(super) struct Count {
    pub(super) count: i64,
}

macro_rules! library_columns {
    () => {
        "l.uid AS uid, l.name AS name, l.workspace_id AS workspace_id, l.library_type AS library_type, \
         l.description AS description, l.overrides AS overrides, l.embedding_model AS embedding_model, \
         l.item_count AS item_count, l.chunk_count AS chunk_count, l.created_at AS created_at"
    };
}

/// The columns of a library.
#[derive(Deserialize)]
struct LibraryRow {
    uid: String,
    name: String,
    workspace_id: Option<String>,
    library_type: String,
    description: String,
    overrides: String,
    embedding_model: Option<String>,
    item_count: i64,
    chunk_count: i64,
    created_at: i64,
}

/// The type of this word in the graph.
pub(super) fn library_type(word: &str) -> StoreResult<LibraryType> {
    LibraryType::parse(word)
        .ok_or_else(|| StoreError::Corrupt(format!("a library has the unknown type {word:?}")))
}

impl LibraryRow {
    fn library(self) -> StoreResult<Library> {
        Ok(Library {
            uid: LibraryUid::from_store(self.uid),
            name: self.name,
            workspace_id: self.workspace_id.map(WorkspaceId::from_store),
            library_type: library_type(&self.library_type)?,
            description: self.description,
            overrides: parse_json(&self.overrides)?,
            embedding_model: self.embedding_model,
            item_count: self.item_count.unsigned_abs(),
            chunk_count: self.chunk_count.unsigned_abs(),
            created_at: from_micros(self.created_at)?,
        })
    }
}

macro_rules! collection_columns {
    () => {
        "o.uid AS uid, l.uid AS library_uid, o.name AS name, o.description AS description, \
         o.item_count AS item_count, o.created_at AS created_at"
    };
}

/// The columns of a collection.
#[derive(Deserialize)]
struct CollectionRow {
    uid: String,
    library_uid: String,
    name: String,
    description: String,
    item_count: i64,
    created_at: i64,
}

impl CollectionRow {
    fn collection(self) -> StoreResult<Collection> {
        Ok(Collection {
            uid: CollectionUid::from_store(self.uid),
            library_uid: LibraryUid::from_store(self.library_uid),
            name: self.name,
            description: self.description,
            item_count: self.item_count.unsigned_abs(),
            created_at: from_micros(self.created_at)?,
        })
    }
}

/// A page of a list: the statement that counts it, and the one that reads the rows.
pub(super) async fn page_of<R, T>(
    database: &Database,
    count: Query,
    rows: Query,
    read: impl Fn(R) -> StoreResult<T>,
) -> StoreResult<Page<T>>
where
    R: serde::de::DeserializeOwned,
{
    let (count, rows) = tokio::try_join!(database.read_one::<Count>(count), database.read::<R>(rows))?;
    Ok(Page {
        rows: rows.into_iter().map(read).collect::<StoreResult<_>>()?,
        total: count.map_or(0, |row| row.count.unsigned_abs()),
    })
}

const NAME_TAKEN: &str = "MATCH (l:Library {name: $name}) WHERE l.uid <> $uid RETURN count(l) AS count";
const WORKSPACE_TAKEN: &str = "MATCH (l:Library {workspace_id: $workspace}) RETURN count(l) AS count";
const CREATE_LIBRARY: &str = concat!(
    "CREATE (l:Library {uid: $uid, name: $name, name_lower: $name_lower, workspace_id: $workspace, \
     library_type: $library_type, description: $description, overrides: '{}', item_count: 0, chunk_count: 0, \
     created_at: $now})-[:CONTAINS]->(:Collection {uid: $collection, library_uid: $uid, name: $collection_name, \
     description: '', is_default: true, item_count: 0, chunk_count: 0, created_at: $now}) RETURN ",
    library_columns!()
);

async fn any(transaction: &mut Transaction, query: Query) -> Result<bool, Failure> {
    let found = transaction.read_one::<Count>(query).await?;
    Ok(found.is_some_and(|row| row.count > 0))
}

pub(super) async fn create_library(
    database: &Database,
    library: NewLibrary,
    now: DateTime<Utc>,
) -> StoreResult<Library> {
    let uids = (LibraryUid::generate(), CollectionUid::generate());
    database
        .write((library, uids, now), |transaction, (library, uids, now)| {
            Box::pin(async move {
                let taken = cypher(NAME_TAKEN)
                    .param("name", library.name.as_str())
                    .param("uid", "");
                if any(transaction, taken).await? {
                    return Err(StoreError::Conflict("name").into());
                }
                let workspace = library.workspace_id.as_ref().map(WorkspaceId::as_str);
                if any(transaction, cypher(WORKSPACE_TAKEN).param("workspace", workspace)).await? {
                    return Err(StoreError::Conflict("workspace_id").into());
                }
                let create = cypher(CREATE_LIBRARY)
                    .param("uid", uids.0.as_str())
                    .param("name", library.name.as_str())
                    .param("name_lower", library.name.to_lowercase())
                    .param("workspace", workspace)
                    .param("library_type", library.library_type.as_str())
                    .param("description", library.description.as_str())
                    .param("collection", uids.1.as_str())
                    .param("collection_name", DEFAULT_COLLECTION)
                    .param("now", now.timestamp_micros());
                let made = transaction.read_one::<LibraryRow>(create).await?;
                Ok(made.ok_or(StoreError::NotFound)?.library()?)
            })
        })
        .await
}

const LIBRARY_BY_UID: &str = concat!("MATCH (l:Library {uid: $value}) RETURN ", library_columns!());
const LIBRARY_BY_WORKSPACE: &str = concat!(
    "MATCH (l:Library {workspace_id: $value}) RETURN ",
    library_columns!()
);
const LIBRARY_BY_NAME: &str = concat!("MATCH (l:Library {name: $value}) RETURN ", library_columns!());

async fn library_where(database: &Database, text: &'static str, value: &str) -> StoreResult<Option<Library>> {
    let row = database
        .read_one::<LibraryRow>(cypher(text).param("value", value))
        .await?;
    row.map(LibraryRow::library).transpose()
}

pub(super) async fn library(database: &Database, uid: &LibraryUid) -> StoreResult<Option<Library>> {
    library_where(database, LIBRARY_BY_UID, uid.as_str()).await
}

pub(super) async fn library_of_workspace(
    database: &Database,
    workspace: &WorkspaceId,
) -> StoreResult<Option<Library>> {
    library_where(database, LIBRARY_BY_WORKSPACE, workspace.as_str()).await
}

pub(super) async fn library_by_name(database: &Database, name: &str) -> StoreResult<Option<Library>> {
    library_where(database, LIBRARY_BY_NAME, name).await
}

macro_rules! listed_libraries {
    () => {
        concat!(
            "MATCH (l:Library) WHERE ",
            library_admitted!(),
            " AND (NOT $only_workspaces OR l.workspace_id IS NOT NULL) \
             AND ($name_contains IS NULL OR l.name_lower CONTAINS $name_contains) "
        )
    };
}

const COUNT_LIBRARIES: &str = concat!(listed_libraries!(), "RETURN count(l) AS count");
const LIST_LIBRARIES: &str = concat!(
    listed_libraries!(),
    "WITH l, CASE $order WHEN 1 THEN l.created_at WHEN 2 THEN l.item_count WHEN 3 THEN l.chunk_count END AS down \
     ORDER BY down DESC, l.name SKIP $offset LIMIT $limit RETURN ",
    library_columns!()
);
const TOTAL_LIBRARIES: &str = concat!(
    listed_libraries!(),
    "RETURN count(l) AS libraries, coalesce(sum(l.item_count), 0) AS items, coalesce(sum(l.chunk_count), 0) AS chunks"
);

/// Sums over libraries.
#[derive(Deserialize)]
struct TotalsRow {
    libraries: i64,
    items: i64,
    chunks: i64,
}

/// The condition of a list of libraries.
fn listed(filter: &LibraryFilter, text: &'static str) -> Query {
    let name_contains = filter.name_contains.as_deref().map(str::to_lowercase);
    Admitted::inside(filter.scope.as_ref())
        .library_type(filter.library_type.map(|kind| kind.as_str()))
        .query(text)
        .param("only_workspaces", filter.only_workspaces)
        .param("name_contains", name_contains)
}

pub(super) async fn library_totals(
    database: &Database,
    filter: &LibraryFilter,
) -> StoreResult<LibraryTotals> {
    let rows = database
        .read::<TotalsRow>(listed(filter, TOTAL_LIBRARIES))
        .await?;
    Ok(rows
        .into_iter()
        .next()
        .map_or_else(LibraryTotals::default, |row| LibraryTotals {
            libraries: row.libraries.unsigned_abs(),
            items: row.items.unsigned_abs(),
            chunks: row.chunks.unsigned_abs(),
        }))
}

pub(super) async fn libraries(
    database: &Database,
    filter: &LibraryFilter,
    page: PageRequest,
) -> StoreResult<Page<Library>> {
    let order = match filter.order {
        LibraryOrder::ByName => 0_i64,
        LibraryOrder::NewestFirst => 1,
        LibraryOrder::MostItemsFirst => 2,
        LibraryOrder::MostChunksFirst => 3,
    };
    page_of(
        database,
        listed(filter, COUNT_LIBRARIES),
        listed(filter, LIST_LIBRARIES)
            .param("order", order)
            .param("offset", number(page.offset))
            .param("limit", number(page.limit)),
        LibraryRow::library,
    )
    .await
}

const UPDATE_LIBRARY: &str = concat!(
    "MATCH (l:Library {uid: $uid}) SET l.name = coalesce($name, l.name), \
     l.name_lower = coalesce($name_lower, l.name_lower), l.description = coalesce($description, l.description), \
     l.overrides = coalesce($overrides, l.overrides) RETURN ",
    library_columns!()
);

pub(super) async fn update_library(
    database: &Database,
    uid: &LibraryUid,
    update: LibraryUpdate,
) -> StoreResult<Library> {
    let overrides = update.overrides.as_ref().map(json_text).transpose()?;
    database
        .write(
            (uid.clone(), update, overrides),
            |transaction, (uid, update, overrides)| {
                Box::pin(async move {
                    if let Some(name) = &update.name {
                        let taken = cypher(NAME_TAKEN)
                            .param("name", name.as_str())
                            .param("uid", uid.as_str());
                        if any(transaction, taken).await? {
                            return Err(StoreError::Conflict("name").into());
                        }
                    }
                    let change = cypher(UPDATE_LIBRARY)
                        .param("uid", uid.as_str())
                        .param("name", update.name.as_deref())
                        .param("name_lower", update.name.as_deref().map(str::to_lowercase))
                        .param("description", update.description.as_deref())
                        .param("overrides", overrides.as_deref());
                    let changed = transaction.read_one::<LibraryRow>(change).await?;
                    Ok(changed.ok_or(StoreError::NotFound)?.library()?)
                })
            },
        )
        .await
}

#[derive(Deserialize)]
struct ModelRow {
    model: Option<String>,
    dimension: Option<i64>,
}

impl ModelRow {
    fn space(self) -> Option<VectorSpace> {
        Some(VectorSpace {
            model: self.model?,
            dimension: usize::try_from(self.dimension?).ok()?,
        })
    }
}

const MODEL_OF: &str = "MATCH (l:Library {uid: $uid}) \
                        RETURN l.embedding_model AS model, l.embedding_dimension AS dimension";
/// Keeps the model that is there; the first assignment takes the lock under which the others look.
const ADOPT_MODEL: &str = "MATCH (l:Library {uid: $uid}) SET l.embedding_model = coalesce(l.embedding_model, $model) \
    WITH l SET l.vector_property = coalesce(l.vector_property, $property), \
    l.embedding_dimension = coalesce(l.embedding_dimension, $dimension) \
    RETURN l.embedding_model AS model, l.embedding_dimension AS dimension";

/// The model that a library has, where it has one.
pub(super) async fn model_of(database: &Database, uid: &LibraryUid) -> StoreResult<Option<VectorSpace>> {
    let row = database
        .read_one::<ModelRow>(cypher(MODEL_OF).param("uid", uid.as_str()))
        .await?;
    Ok(row.ok_or(StoreError::NotFound)?.space())
}

pub(super) async fn adopt_model(
    database: &Database,
    uid: &LibraryUid,
    space: &VectorSpace,
    names: Names,
) -> StoreResult<VectorSpace> {
    let adopted = database
        .write(
            (uid.clone(), space.clone(), names),
            |transaction, (uid, space, names)| {
                Box::pin(async move {
                    // Both are noted together or not at all, so that no two models can be mixed in one library: the lock is
                    // taken first, and what is there is read under it.
                    transaction
                        .run(cypher(LOCK_LIBRARY).param("library", uid.as_str()))
                        .await?;
                    let adopt = cypher(ADOPT_MODEL)
                        .param("uid", uid.as_str())
                        .param("model", space.model.as_str())
                        .param("dimension", number(space.dimension))
                        .param("property", names.vector.as_str());
                    let row = transaction.read_one::<ModelRow>(adopt).await?;
                    Ok(row.ok_or(StoreError::NotFound)?)
                })
            },
        )
        .await?;
    adopted
        .space()
        .ok_or_else(|| StoreError::Corrupt("a library has half a model".to_owned()))
}

/// Takes the lock on a library that every change of what is in it holds until its commit, so that such changes come one
/// after the other. What was read before may be out of date; what is read afterwards is not.
///
/// The value is no count: where a `SET` reads the property that it writes, the server takes a second lock before the one
/// on the node, or after it, as it plans the statement, and two that lock a library by different statements wait for each
/// other (28 deadlocks in 48 writes of four stores, 2 without).
pub(super) const LOCK_LIBRARY: &str = "MATCH (l:Library {uid: $library}) \
    SET l.changes = timestamp() RETURN 1 AS count";

#[derive(Deserialize)]
struct Missing {
    chunks: i64,
    missing: i64,
}

const MISSING_VECTORS: &str = "MATCH (:Library {uid: $library})-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item)\
    -[:HAS_CHUNK]->(c:Chunk) WHERE i.embedding_status = 'completed' \
    RETURN count(c) AS chunks, sum(CASE WHEN c[$property] IS NULL THEN 1 ELSE 0 END) AS missing";
const SWITCH_MODEL: &str = "MATCH (l:Library {uid: $library}) SET l.embedding_model = $model, \
    l.embedding_dimension = $dimension, l.vector_property = $property \
    WITH l MATCH (l)-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item) WHERE i.embedding_status = 'completed' \
    SET i.embedding_model = $model";
/// The properties of other spaces are named by their nodes' numbers. Setting a property to null removes it.
const REMOVE_OTHER_VECTORS: &str = "MATCH (:Library {uid: $library})-[:CONTAINS]->(:Collection)-[:CONTAINS]->(:Item)\
    -[:HAS_CHUNK]->(c:Chunk) WHERE any(property IN $others WHERE c[property] IS NOT NULL) \
    WITH c LIMIT $limit UNWIND $removed AS property SET c[property] = null RETURN count(DISTINCT c) AS count";

pub(super) async fn switch_model(
    database: &Database,
    uid: &LibraryUid,
    space: &VectorSpace,
    names: Names,
) -> StoreResult<()> {
    let others: Vec<Names> = spaces::registered(database)
        .await?
        .into_values()
        .map(Names::of)
        .filter(|other| *other != names)
        .collect();
    let input = (uid.clone(), space.clone(), names, others.clone());
    let left = database
        .write(input, |transaction, (uid, space, names, others)| {
            Box::pin(async move {
                transaction
                    .read_one::<Count>(cypher(LOCK_LIBRARY).param("library", uid.as_str()))
                    .await?
                    .ok_or(StoreError::NotFound)?;
                let missing = cypher(MISSING_VECTORS)
                    .param("library", uid.as_str())
                    .param("property", names.vector.as_str());
                let counted = transaction.read_one::<Missing>(missing).await?;
                if counted.as_ref().is_some_and(|row| row.missing > 0) {
                    return Err(StoreError::Conflict("vectors").into());
                }
                let switch = cypher(SWITCH_MODEL)
                    .param("library", uid.as_str())
                    .param("model", space.model.as_str())
                    .param("dimension", number(space.dimension))
                    .param("property", names.vector.as_str());
                transaction.run(switch).await?;
                if counted.map_or(0, |row| row.chunks.unsigned_abs()) > SWITCHED_AT_ONCE {
                    return Ok(true);
                }
                transaction.run(without_others(uid, others, i64::MAX)).await?;
                Ok(false)
            })
        })
        .await?;
    if !left || others.is_empty() {
        return Ok(());
    }
    // Searches compare the new vectors alone from the commit on. What is left of the old ones goes in parts; where that
    // is cut off, the call is repeated, and goes on.
    loop {
        let removed = database
            .write((uid.clone(), others.clone()), |transaction, (uid, others)| {
                Box::pin(async move {
                    let query = without_others(uid, others, SWITCHED_BATCH);
                    transaction.read_one::<Count>(query).await
                })
            })
            .await?;
        if removed.is_none_or(|row| row.count == 0) {
            return Ok(());
        }
    }
}

fn without_others(uid: &LibraryUid, others: &[Names], limit: i64) -> Query {
    let removed = others
        .iter()
        .flat_map(|names| [&names.vector, &names.model, &names.dimension]);
    cypher(REMOVE_OTHER_VECTORS)
        .param("library", uid.as_str())
        .param("others", texts(others.iter().map(|names| names.vector.as_str())))
        .param("removed", texts(removed.map(String::as_str)))
        .param("limit", limit)
}

const LIBRARY_ITEMS: &str = "MATCH (:Library {uid: $library})-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item) \
                             WHERE i.gone IS NULL RETURN i.uid AS uid ORDER BY i.uid";
const REMOVE_LIBRARY: &str = "MATCH (l:Library {uid: $library}) OPTIONAL MATCH (l)-[:CONTAINS]->(o:Collection) \
                              DETACH DELETE o, l";

pub(super) async fn delete_library(database: &Database, uid: &LibraryUid) -> StoreResult<Option<Removed>> {
    let retired = database
        .write(uid.clone(), |transaction, uid| {
            Box::pin(async move {
                let library = || cypher(LOCK_LIBRARY).param("library", uid.as_str());
                if transaction.read_one::<Count>(library()).await?.is_none() {
                    return Ok(None);
                }
                let items =
                    removal::uids(transaction, cypher(LIBRARY_ITEMS).param("library", uid.as_str())).await?;
                let retired = removal::retire(transaction, items, GoneReason::Library).await?;
                transaction
                    .run(cypher(REMOVE_LIBRARY).param("library", uid.as_str()))
                    .await?;
                Ok(Some(retired))
            })
        })
        .await?;
    match retired {
        None => Ok(None),
        Some(retired) => Ok(Some(removal::finish(database, retired).await)),
    }
}

const DEFAULT_COLLECTION_OF: &str = concat!(
    "MATCH (l:Library {uid: $library})-[:CONTAINS]->(o:Collection {is_default: true}) RETURN ",
    collection_columns!()
);

pub(super) async fn default_collection(database: &Database, library: &LibraryUid) -> StoreResult<Collection> {
    database
        .read_one::<CollectionRow>(cypher(DEFAULT_COLLECTION_OF).param("library", library.as_str()))
        .await?
        .ok_or(StoreError::NotFound)?
        .collection()
}

const COLLECTION_NAME_TAKEN: &str = "MATCH (o:Collection {library_uid: $library, name: $name}) \
                                     WHERE o.uid <> $uid RETURN count(o) AS count";
const CREATE_COLLECTION: &str = concat!(
    "MATCH (l:Library {uid: $library}) CREATE (l)-[:CONTAINS]->(o:Collection {uid: $uid, library_uid: $library, \
     name: $name, description: $description, is_default: false, item_count: 0, chunk_count: 0, created_at: $now}) \
     RETURN ",
    collection_columns!()
);

fn collection_name_taken(library: &str, name: &str, uid: &str) -> Query {
    cypher(COLLECTION_NAME_TAKEN)
        .param("library", library)
        .param("name", name)
        .param("uid", uid)
}

pub(super) async fn create_collection(
    database: &Database,
    library: &LibraryUid,
    name: &str,
    description: &str,
    now: DateTime<Utc>,
) -> StoreResult<Collection> {
    let create = cypher(CREATE_COLLECTION)
        .param("library", library.as_str())
        .param("uid", CollectionUid::generate().as_str())
        .param("name", name)
        .param("description", description)
        .param("now", now.timestamp_micros());
    database
        .write(
            (library.clone(), name.to_owned(), create),
            |transaction, (library, name, create)| {
                Box::pin(async move {
                    let lock = cypher(LOCK_LIBRARY).param("library", library.as_str());
                    transaction
                        .read_one::<Count>(lock)
                        .await?
                        .ok_or(StoreError::NotFound)?;
                    if any(transaction, collection_name_taken(library.as_str(), name, "")).await? {
                        return Err(StoreError::Conflict("name").into());
                    }
                    let made = transaction.read_one::<CollectionRow>(create.clone()).await?;
                    Ok(made.ok_or(StoreError::NotFound)?.collection()?)
                })
            },
        )
        .await
}

const COLLECTION_BY_UID: &str = concat!(
    "MATCH (o:Collection {uid: $uid})<-[:CONTAINS]-(l:Library) RETURN ",
    collection_columns!()
);

pub(super) async fn collection(database: &Database, uid: &CollectionUid) -> StoreResult<Option<Collection>> {
    let row = database
        .read_one::<CollectionRow>(cypher(COLLECTION_BY_UID).param("uid", uid.as_str()))
        .await?;
    row.map(CollectionRow::collection).transpose()
}

macro_rules! listed_collections {
    () => {
        concat!(
            "MATCH (l:Library)-[:CONTAINS]->(o:Collection) WHERE ",
            library_admitted!(),
            " "
        )
    };
}

const COUNT_COLLECTIONS: &str = concat!(listed_collections!(), "RETURN count(o) AS count");
const LIST_COLLECTIONS: &str = concat!(
    listed_collections!(),
    "WITH l, o ORDER BY o.name, o.uid SKIP $offset LIMIT $limit RETURN ",
    collection_columns!()
);

pub(super) async fn collections(
    database: &Database,
    scope: Option<&Scope>,
    library: Option<&LibraryUid>,
    page: PageRequest,
) -> StoreResult<Page<Collection>> {
    let admitted = Admitted::inside(scope).library(library);
    page_of(
        database,
        admitted.query(COUNT_COLLECTIONS),
        admitted
            .query(LIST_COLLECTIONS)
            .param("offset", number(page.offset))
            .param("limit", number(page.limit)),
        CollectionRow::collection,
    )
    .await
}

const UPDATE_COLLECTION: &str = concat!(
    "MATCH (o:Collection {uid: $uid})<-[:CONTAINS]-(l:Library) SET o.name = coalesce($name, o.name), \
     o.description = coalesce($description, o.description) RETURN ",
    collection_columns!()
);

pub(super) async fn update_collection(
    database: &Database,
    uid: &CollectionUid,
    name: Option<&str>,
    description: Option<&str>,
) -> StoreResult<Collection> {
    let change = cypher(UPDATE_COLLECTION)
        .param("uid", uid.as_str())
        .param("name", name)
        .param("description", description);
    database
        .write(
            (uid.clone(), name.map(str::to_owned), change),
            |transaction, (uid, name, change)| {
                Box::pin(async move {
                    let known = cypher(COLLECTION_BY_UID).param("uid", uid.as_str());
                    let known = transaction.read_one::<CollectionRow>(known).await?;
                    let library = known.ok_or(StoreError::NotFound)?.library_uid;
                    if let Some(name) = name
                        && any(transaction, collection_name_taken(&library, name, uid.as_str())).await?
                    {
                        return Err(StoreError::Conflict("name").into());
                    }
                    let changed = transaction.read_one::<CollectionRow>(change.clone()).await?;
                    Ok(changed.ok_or(StoreError::NotFound)?.collection()?)
                })
            },
        )
        .await
}

#[derive(Deserialize)]
struct Shelf {
    library: String,
    is_default: bool,
}

const SHELF: &str = "MATCH (o:Collection {uid: $collection})<-[:CONTAINS]-(l:Library) \
                     RETURN l.uid AS library, o.is_default AS is_default";
const COLLECTION_ITEMS: &str = "MATCH (:Collection {uid: $collection})-[:CONTAINS]->(i:Item) \
                                WHERE i.gone IS NULL RETURN i.uid AS uid ORDER BY i.uid";
const REMOVE_COLLECTION: &str = "MATCH (o:Collection {uid: $collection}) DETACH DELETE o";

pub(super) async fn delete_collection(
    database: &Database,
    uid: &CollectionUid,
) -> StoreResult<Option<Removed>> {
    let retired = database
        .write(uid.clone(), |transaction, uid| {
            Box::pin(async move {
                let about = |text| cypher(text).param("collection", uid.as_str());
                let Some(shelf) = transaction.read_one::<Shelf>(about(SHELF)).await? else {
                    return Ok(None);
                };
                if shelf.is_default {
                    return Err(StoreError::Conflict("default").into());
                }
                transaction
                    .run(cypher(LOCK_LIBRARY).param("library", shelf.library))
                    .await?;
                if transaction.read_one::<Shelf>(about(SHELF)).await?.is_none() {
                    return Ok(None);
                }
                let items = removal::uids(transaction, about(COLLECTION_ITEMS)).await?;
                let retired = removal::retire(transaction, items, GoneReason::Deleted).await?;
                transaction.run(about(REMOVE_COLLECTION)).await?;
                Ok(Some(retired))
            })
        })
        .await?;
    match retired {
        None => Ok(None),
        Some(retired) => Ok(Some(removal::finish(database, retired).await)),
    }
}
