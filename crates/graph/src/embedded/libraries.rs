//! Libraries and their collections.

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{LibraryFilter, LibraryOrder, LibraryTotals, LibraryUpdate, Removed};
use mnemosyne_domain::{
    Collection, CollectionUid, Library, LibraryType, LibraryUid, NewLibrary, Page, PageRequest, Scope,
    StoreError, StoreResult, VectorSpace, WorkspaceId,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::concepts::remove_orphans;
use super::items::{GoneReason, next_change, remove_items, touch_vectors};
use super::schema::{Database, store_error};
use super::scope::{Admitted, get, library_admitted};
use super::{from_micros, json_text, parse_json};

/// The name of the collection that every library begins with.
const DEFAULT_COLLECTION: &str = "Default";

macro_rules! library_columns {
    () => {
        "l.uid, l.name, l.workspace_id, l.library_type, l.description, l.overrides, \
         (SELECT s.model FROM space s WHERE s.key = l.space), l.item_count, l.chunk_count, l.created_at"
    };
}

/// The library whose columns begin at `first`.
fn library_row(row: &SqliteRow, first: usize) -> StoreResult<Library> {
    let word: String = get(row, first + 3)?;
    Ok(Library {
        uid: LibraryUid::from_store(get(row, first)?),
        name: get(row, first + 1)?,
        workspace_id: get::<Option<String>>(row, first + 2)?.map(WorkspaceId::from_store),
        library_type: LibraryType::parse(&word)
            .ok_or_else(|| StoreError::Corrupt(format!("a library has the unknown type {word:?}")))?,
        description: get(row, first + 4)?,
        overrides: parse_json(row, first + 5)?,
        embedding_model: get(row, first + 6)?,
        item_count: get::<i64>(row, first + 7)?.unsigned_abs(),
        chunk_count: get::<i64>(row, first + 8)?.unsigned_abs(),
        created_at: from_micros(get(row, first + 9)?)?,
    })
}

macro_rules! collection_columns {
    () => {
        "c.uid, l.uid, c.name, c.description, c.item_count, c.created_at"
    };
}

/// The collection whose columns begin at `first`.
fn collection_row(row: &SqliteRow, first: usize) -> StoreResult<Collection> {
    Ok(Collection {
        uid: CollectionUid::from_store(get(row, first)?),
        library_uid: LibraryUid::from_store(get(row, first + 1)?),
        name: get(row, first + 2)?,
        description: get(row, first + 3)?,
        item_count: get::<i64>(row, first + 4)?.unsigned_abs(),
        created_at: from_micros(get(row, first + 5)?)?,
    })
}

/// Whether a statement finds any row; for the checks before a write, inside its transaction.
async fn exists(
    connection: &mut SqliteConnection,
    sql: &'static str,
    value: &str,
    other: &str,
) -> StoreResult<bool> {
    let row = sqlx::query(sql)
        .bind(value)
        .bind(other)
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    Ok(row.is_some())
}

pub(super) async fn create_library(
    database: &Database,
    library: NewLibrary,
    now: DateTime<Utc>,
) -> StoreResult<Library> {
    let mut transaction = database.begin().await?;
    if exists(
        &mut transaction,
        "SELECT 1 FROM library WHERE name = ?1",
        &library.name,
        "",
    )
    .await?
    {
        return Err(StoreError::Conflict("name"));
    }
    if let Some(workspace) = &library.workspace_id {
        let sql = "SELECT 1 FROM library WHERE workspace_id = ?1";
        if exists(&mut transaction, sql, workspace.as_str(), "").await? {
            return Err(StoreError::Conflict("workspace_id"));
        }
    }
    let uid = LibraryUid::generate();
    let key = sqlx::query(
        "INSERT INTO library (uid, name, name_lower, workspace_id, library_type, description, overrides, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, '{}', ?7)",
    )
    .bind(uid.as_str())
    .bind(library.name.as_str())
    .bind(library.name.to_lowercase())
    .bind(library.workspace_id.as_ref().map(WorkspaceId::as_str))
    .bind(library.library_type.as_str())
    .bind(library.description)
    .bind(now.timestamp_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?
    .last_insert_rowid();
    sqlx::query(
        "INSERT INTO collection (uid, library, name, description, is_default, created_at) \
         VALUES (?1, ?2, ?3, '', 1, ?4)",
    )
    .bind(CollectionUid::generate().as_str())
    .bind(key)
    .bind(DEFAULT_COLLECTION)
    .bind(now.timestamp_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let row = sqlx::query(concat!(
        "SELECT ",
        library_columns!(),
        " FROM library l WHERE l.key = ?1"
    ))
    .bind(key)
    .fetch_one(&mut *transaction)
    .await
    .map_err(store_error)?;
    let made = library_row(&row, 0)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(made)
}

async fn library_where(database: &Database, sql: &'static str, value: &str) -> StoreResult<Option<Library>> {
    let row = sqlx::query(sql)
        .bind(value)
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| library_row(row, 0)).transpose()
}

pub(super) async fn library(database: &Database, uid: &LibraryUid) -> StoreResult<Option<Library>> {
    let sql = concat!("SELECT ", library_columns!(), " FROM library l WHERE l.uid = ?1");
    library_where(database, sql, uid.as_str()).await
}

pub(super) async fn library_of_workspace(
    database: &Database,
    workspace: &WorkspaceId,
) -> StoreResult<Option<Library>> {
    let sql = concat!(
        "SELECT ",
        library_columns!(),
        " FROM library l WHERE l.workspace_id = ?1"
    );
    library_where(database, sql, workspace.as_str()).await
}

pub(super) async fn library_by_name(database: &Database, name: &str) -> StoreResult<Option<Library>> {
    let sql = concat!("SELECT ", library_columns!(), " FROM library l WHERE l.name = ?1");
    library_where(database, sql, name).await
}

/// A page of rows whose first column is the length of the whole list. The statement answers one row of NULLs where the
/// page itself is empty.
pub(super) fn page_of<T>(
    rows: &[SqliteRow],
    read: impl Fn(&SqliteRow) -> StoreResult<T>,
) -> StoreResult<Page<T>> {
    let total = rows
        .first()
        .map(|row| get::<i64>(row, 0))
        .transpose()?
        .unwrap_or(0);
    let mut page = Vec::with_capacity(rows.len());
    for row in rows {
        if get::<Option<String>>(row, 1)?.is_some() {
            page.push(read(row)?);
        }
    }
    Ok(Page {
        rows: page,
        total: total.unsigned_abs(),
    })
}

pub(super) async fn libraries(
    database: &Database,
    filter: &LibraryFilter,
    page: PageRequest,
) -> StoreResult<Page<Library>> {
    let rows = Admitted::inside(filter.scope.as_ref())
        .library_type(filter.library_type.map(|kind| kind.as_str()))
        .query(concat!(
            "WITH listed AS (SELECT l.key, l.name, CASE ?12 WHEN 1 THEN l.created_at WHEN 2 THEN l.item_count \
             WHEN 3 THEN l.chunk_count END AS most FROM library l WHERE ",
            library_admitted!(),
            " AND (?8 = 0 OR l.workspace_id IS NOT NULL) AND (?9 IS NULL OR instr(l.name_lower, ?9) > 0)) \
             SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN (SELECT ",
            library_columns!(),
            " FROM (SELECT key, most FROM listed ORDER BY most DESC, name LIMIT ?10 + 0 OFFSET ?11 + 0) p \
             JOIN library l ON l.key = p.key ORDER BY p.most DESC, l.name) page"
        ))
        .bind(i64::from(filter.only_workspaces))
        .bind(filter.name_contains.as_deref().map(str::to_lowercase))
        .bind(page.limit)
        .bind(super::offset(page))
        .bind(match filter.order {
            LibraryOrder::ByName => 0_i64,
            LibraryOrder::NewestFirst => 1,
            LibraryOrder::MostItemsFirst => 2,
            LibraryOrder::MostChunksFirst => 3,
        })
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    page_of(&rows, |row| library_row(row, 1))
}

pub(super) async fn library_totals(
    database: &Database,
    filter: &LibraryFilter,
) -> StoreResult<LibraryTotals> {
    let row = Admitted::inside(filter.scope.as_ref())
        .library_type(filter.library_type.map(|kind| kind.as_str()))
        .query(concat!(
            "SELECT count(*), coalesce(sum(l.item_count), 0), coalesce(sum(l.chunk_count), 0) FROM library l WHERE ",
            library_admitted!(),
            " AND (?8 = 0 OR l.workspace_id IS NOT NULL) AND (?9 IS NULL OR instr(l.name_lower, ?9) > 0)"
        ))
        .bind(i64::from(filter.only_workspaces))
        .bind(filter.name_contains.as_deref().map(str::to_lowercase))
        .fetch_one(&database.read)
        .await
        .map_err(store_error)?;
    Ok(LibraryTotals {
        libraries: get::<i64>(&row, 0)?.unsigned_abs(),
        items: get::<i64>(&row, 1)?.unsigned_abs(),
        chunks: get::<i64>(&row, 2)?.unsigned_abs(),
    })
}

pub(super) async fn update_library(
    database: &Database,
    uid: &LibraryUid,
    update: LibraryUpdate,
) -> StoreResult<Library> {
    let mut transaction = database.begin().await?;
    if let Some(name) = &update.name {
        let sql = "SELECT 1 FROM library WHERE name = ?1 AND uid <> ?2";
        if exists(&mut transaction, sql, name, uid.as_str()).await? {
            return Err(StoreError::Conflict("name"));
        }
    }
    let overrides = update.overrides.as_ref().map(json_text).transpose()?;
    sqlx::query(
        "UPDATE library SET name = coalesce(?2, name), name_lower = coalesce(?3, name_lower), \
         description = coalesce(?4, description), overrides = coalesce(?5, overrides) WHERE uid = ?1",
    )
    .bind(uid.as_str())
    .bind(update.name.as_deref())
    .bind(update.name.as_deref().map(str::to_lowercase))
    .bind(update.description)
    .bind(overrides)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let row = sqlx::query(concat!(
        "SELECT ",
        library_columns!(),
        " FROM library l WHERE l.uid = ?1"
    ))
    .bind(uid.as_str())
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?
    .ok_or(StoreError::NotFound)?;
    let changed = library_row(&row, 0)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(changed)
}

/// The key of a space, made where it is new.
pub(super) async fn space_key(connection: &mut SqliteConnection, space: &VectorSpace) -> StoreResult<i64> {
    let dimension = i64::try_from(space.dimension).unwrap_or(i64::MAX);
    sqlx::query("INSERT INTO space (model, dimension) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(space.model.as_str())
        .bind(dimension)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let row = sqlx::query("SELECT key FROM space WHERE model = ?1 AND dimension = ?2")
        .bind(space.model.as_str())
        .bind(dimension)
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    get(&row, 0)
}

pub(super) async fn adopt_model(
    database: &Database,
    uid: &LibraryUid,
    space: &VectorSpace,
) -> StoreResult<VectorSpace> {
    const CURRENT: &str = "SELECT l.key, s.model, s.dimension FROM library l LEFT JOIN space s ON s.key = l.space \
                           WHERE l.uid = ?1";
    let mut transaction = database.begin().await?;
    let row = sqlx::query(CURRENT)
        .bind(uid.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?
        .ok_or(StoreError::NotFound)?;
    if let Some(model) = get::<Option<String>>(&row, 1)? {
        return Ok(VectorSpace {
            model,
            dimension: super::size(get(&row, 2)?),
        });
    }
    let library: i64 = get(&row, 0)?;
    let key = space_key(&mut transaction, space).await?;
    sqlx::query("UPDATE library SET space = ?2 WHERE key = ?1")
        .bind(library)
        .bind(key)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    touch_vectors(&mut transaction, library).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(space.clone())
}

pub(super) async fn switch_model(
    database: &Database,
    uid: &LibraryUid,
    space: &VectorSpace,
) -> StoreResult<()> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query("SELECT key FROM library WHERE uid = ?1")
        .bind(uid.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?
        .ok_or(StoreError::NotFound)?;
    let library: i64 = get(&row, 0)?;
    let key = space_key(&mut transaction, space).await?;
    let missing = sqlx::query(
        "SELECT 1 FROM item i JOIN chunk c ON c.item = i.key WHERE i.library = ?1 AND i.status = 1 \
         AND NOT EXISTS (SELECT 1 FROM vector v WHERE v.item = i.key AND v.space = ?2 AND v.chunk = c.key) LIMIT 1",
    )
    .bind(library)
    .bind(key)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?;
    if missing.is_some() {
        return Err(StoreError::Conflict("vectors"));
    }
    sqlx::query("UPDATE library SET space = ?2 WHERE key = ?1")
        .bind(library)
        .bind(key)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    sqlx::query("DELETE FROM vector WHERE item IN (SELECT key FROM item WHERE library = ?1) AND space <> ?2")
        .bind(library)
        .bind(key)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    touch_vectors(&mut transaction, library).await?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn delete_library(database: &Database, uid: &LibraryUid) -> StoreResult<Option<Removed>> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query("SELECT key FROM library WHERE uid = ?1")
        .bind(uid.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let library: i64 = get(&row, 0)?;
    let items = sqlx::query("SELECT json_group_array(key) FROM item WHERE library = ?1")
        .bind(library)
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
    let sequence = next_change(&mut transaction).await?;
    let mut removed = remove_items(
        &mut transaction,
        sequence,
        &get::<String>(&items, 0)?,
        GoneReason::Library,
    )
    .await?;
    sqlx::query("DELETE FROM library WHERE key = ?1")
        .bind(library)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    removed.concepts = remove_orphans(database).await?;
    Ok(Some(removed))
}

pub(super) async fn default_collection(database: &Database, library: &LibraryUid) -> StoreResult<Collection> {
    let row = sqlx::query(concat!(
        "SELECT ",
        collection_columns!(),
        " FROM collection c JOIN library l ON l.key = c.library WHERE l.uid = ?1 AND c.is_default = 1"
    ))
    .bind(library.as_str())
    .fetch_optional(&database.read)
    .await
    .map_err(store_error)?
    .ok_or(StoreError::NotFound)?;
    collection_row(&row, 0)
}

const COLLECTION_BY_UID: &str = concat!(
    "SELECT ",
    collection_columns!(),
    " FROM collection c JOIN library l ON l.key = c.library WHERE c.uid = ?1"
);

pub(super) async fn create_collection(
    database: &Database,
    library: &LibraryUid,
    name: &str,
    description: &str,
    now: DateTime<Utc>,
) -> StoreResult<Collection> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query("SELECT key FROM library WHERE uid = ?1")
        .bind(library.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?
        .ok_or(StoreError::NotFound)?;
    let taken =
        "SELECT 1 FROM collection c JOIN library l ON l.key = c.library WHERE c.name = ?1 AND l.uid = ?2";
    if exists(&mut transaction, taken, name, library.as_str()).await? {
        return Err(StoreError::Conflict("name"));
    }
    let uid = CollectionUid::generate();
    sqlx::query(
        "INSERT INTO collection (uid, library, name, description, is_default, created_at) \
         VALUES (?1, ?2, ?3, ?4, 0, ?5)",
    )
    .bind(uid.as_str())
    .bind(get::<i64>(&row, 0)?)
    .bind(name)
    .bind(description)
    .bind(now.timestamp_micros())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let row = sqlx::query(COLLECTION_BY_UID)
        .bind(uid.as_str())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
    let made = collection_row(&row, 0)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(made)
}

pub(super) async fn collection(database: &Database, uid: &CollectionUid) -> StoreResult<Option<Collection>> {
    let row = sqlx::query(COLLECTION_BY_UID)
        .bind(uid.as_str())
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    row.as_ref().map(|row| collection_row(row, 0)).transpose()
}

pub(super) async fn collections(
    database: &Database,
    scope: Option<&Scope>,
    library: Option<&LibraryUid>,
    page: PageRequest,
) -> StoreResult<Page<Collection>> {
    let rows = Admitted::inside(scope)
        .library(library)
        .query(concat!(
            "WITH listed AS (SELECT c.key, c.name FROM collection c JOIN library l ON l.key = c.library WHERE ",
            library_admitted!(),
            ") SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN (SELECT ",
            collection_columns!(),
            " FROM (SELECT key FROM listed ORDER BY name, key LIMIT ?8 + 0 OFFSET ?9 + 0) p \
             JOIN collection c ON c.key = p.key JOIN library l ON l.key = c.library ORDER BY c.name, c.key) page"
        ))
        .bind(page.limit)
        .bind(super::offset(page))
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    page_of(&rows, |row| collection_row(row, 1))
}

pub(super) async fn update_collection(
    database: &Database,
    uid: &CollectionUid,
    name: Option<&str>,
    description: Option<&str>,
) -> StoreResult<Collection> {
    let mut transaction = database.begin().await?;
    if let Some(name) = name {
        let taken = "SELECT 1 FROM collection c JOIN collection mine ON mine.library = c.library AND mine.key <> c.key \
                     WHERE c.name = ?1 AND mine.uid = ?2";
        if exists(&mut transaction, taken, name, uid.as_str()).await? {
            return Err(StoreError::Conflict("name"));
        }
    }
    sqlx::query(
        "UPDATE collection SET name = coalesce(?2, name), description = coalesce(?3, description) WHERE uid = ?1",
    )
    .bind(uid.as_str())
    .bind(name)
    .bind(description)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let row = sqlx::query(COLLECTION_BY_UID)
        .bind(uid.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?
        .ok_or(StoreError::NotFound)?;
    let changed = collection_row(&row, 0)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(changed)
}

pub(super) async fn delete_collection(
    database: &Database,
    uid: &CollectionUid,
) -> StoreResult<Option<Removed>> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query("SELECT key, is_default FROM collection WHERE uid = ?1")
        .bind(uid.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
    let Some(row) = row else {
        return Ok(None);
    };
    if get::<i64>(&row, 1)? != 0 {
        return Err(StoreError::Conflict("default"));
    }
    let collection: i64 = get(&row, 0)?;
    let items = sqlx::query("SELECT json_group_array(key) FROM item WHERE collection = ?1")
        .bind(collection)
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
    let sequence = next_change(&mut transaction).await?;
    let mut removed = remove_items(
        &mut transaction,
        sequence,
        &get::<String>(&items, 0)?,
        GoneReason::Deleted,
    )
    .await?;
    sqlx::query("DELETE FROM collection WHERE key = ?1")
        .bind(collection)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    removed.concepts = remove_orphans(database).await?;
    Ok(Some(removed))
}
