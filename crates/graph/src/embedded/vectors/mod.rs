//! Vectors of the libraries in memory: one matrix of 8-bit codes for each space, brought up to date before every search.

mod matrix;
mod simd;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use futures::TryStreamExt as _;
use mnemosyne_domain::ports::VectorQuery;
use mnemosyne_domain::{ChunkUid, LegHit, SearchFilter, StoreError, StoreResult};
use serde_json::Value;
use sqlx::SqliteConnection;
use tokio::sync::Mutex;

use self::matrix::{Found, Matrix, Row, Selection};
use super::legs::{Plan, plan};
use super::schema::{Database, blocking, store_error};
use super::scope::{Admitted, get, item_admitted, library_admitted};
use super::size;

/// By how many standard deviations the difference of two rows may be wrong before an exact result could be missed: one
/// pair in some 10^7.
const MARGIN_DEVIATIONS: f32 = 5.0;

/// Up to how many rows are compared exactly, as a multiple of the wanted ones, and at least.
const EXACT_MULTIPLE: usize = 4;
/// See [`EXACT_MULTIPLE`].
const EXACT_LEAST: usize = 200;

/// Up to how many rows of how large a matrix are scanned at once, where they are asked for: what takes less time than the
/// change to another thread and back.
const AT_ONCE_ROWS: u64 = 3_000;
/// See [`AT_ONCE_ROWS`].
const AT_ONCE_MATRIX: usize = 300_000;

/// How often a search begins anew because items went while it looked at them.
const ATTEMPTS: usize = 3;

/// Writes a vector as one signed byte a dimension, -127 ..= 127; answers what they are to be multiplied with.
pub(super) fn quantise(vector: &[f32], codes: &mut Vec<i8>) -> f32 {
    let largest = vector
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        codes.extend(std::iter::repeat_n(0, vector.len()));
        return 0.0;
    }
    let factor = 127.0 / largest;
    codes.extend(
        vector
            .iter()
            .map(|value| (value * factor).round().clamp(-127.0, 127.0) as i8),
    );
    largest / 127.0
}

/// The matrices, by the key of their space.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    spaces: Mutex<HashMap<i64, Arc<Space>>>,
}

#[derive(Debug)]
struct Space {
    key: i64,
    dimension: usize,
    /// Held by the one task that brings the matrix up to date.
    updating: Mutex<()>,
    matrix: RwLock<Matrix>,
}

impl Vectors {
    async fn space(&self, key: i64, dimension: usize) -> Arc<Space> {
        let mut spaces = self.spaces.lock().await;
        Arc::clone(spaces.entry(key).or_insert_with(|| {
            Arc::new(Space {
                key,
                dimension,
                updating: Mutex::new(()),
                matrix: RwLock::new(Matrix::new(dimension)),
            })
        }))
    }

    /// Reads what is missing in memory of every space that a library uses, so that the first search need not.
    pub(super) async fn warm(&self, database: &Database) -> StoreResult<()> {
        let rows = sqlx::query(
            "SELECT s.key, s.dimension, (SELECT max(sequence) FROM change) FROM space s \
             WHERE EXISTS (SELECT 1 FROM library l WHERE l.space = s.key)",
        )
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
        for row in &rows {
            let space = self.space(get(row, 0)?, size(get(row, 1)?)).await;
            space.catch_up(database, get(row, 2)?).await?;
        }
        Ok(())
    }
}

/// What changed since a matrix was read.
struct Changes {
    sequence: i64,
    gone: HashSet<u32>,
    rows: Vec<(Row, Vec<u8>)>,
}

fn key_u32(key: i64) -> StoreResult<u32> {
    u32::try_from(key)
        .ok()
        .filter(|key| *key != u32::MAX)
        .ok_or_else(|| StoreError::Corrupt(format!("the key {key} is out of range")))
}

impl Space {
    fn sequence(&self) -> i64 {
        self.matrix
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .sequence
    }

    /// Brings the matrix to the state of the store at `sequence` or later.
    async fn catch_up(self: &Arc<Self>, database: &Database, sequence: i64) -> StoreResult<()> {
        if self.sequence() >= sequence {
            return Ok(());
        }
        let _updating = self.updating.lock().await;
        let known = self.sequence();
        if known >= sequence {
            return Ok(());
        }
        let mut transaction = database.read.begin().await.map_err(store_error)?;
        let row = sqlx::query("SELECT max(sequence), min(sequence) FROM change")
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
        let (now, first): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
        if known == 0 || known < first {
            let mut matrix = Matrix::new(self.dimension);
            self.read_rows(&mut transaction, 0, |row, codes| {
                matrix.insert(&row, codes);
            })
            .await?;
            matrix.sequence = now;
            *self.matrix.write().unwrap_or_else(PoisonError::into_inner) = matrix;
            return Ok(());
        }
        let mut changes = Changes {
            sequence: now,
            gone: HashSet::new(),
            rows: Vec::new(),
        };
        let gone = sqlx::query(
            "SELECT item FROM removal WHERE sequence > ?1 \
             UNION SELECT key FROM item WHERE status = 1 AND vector_change > ?1",
        )
        .bind(known)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        for row in &gone {
            changes.gone.insert(key_u32(get(row, 0)?)?);
        }
        self.read_rows(&mut transaction, known, |row, codes| {
            changes.rows.push((row, codes.to_vec()))
        })
        .await?;
        let space = Arc::clone(self);
        blocking(move || {
            space.apply(&changes);
            Ok(())
        })
        .await
    }

    /// How many rows there are place for.
    fn rows(&self) -> usize {
        self.matrix.read().unwrap_or_else(PoisonError::into_inner).rows()
    }

    fn scan(&self, query: &[i8], scale: f32, selection: &Selection, count: usize) -> Vec<Found> {
        self.matrix
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .scan(query, scale, selection, count)
    }

    fn apply(&self, changes: &Changes) {
        let mut matrix = self.matrix.write().unwrap_or_else(PoisonError::into_inner);
        matrix.remove_items(&changes.gone);
        for (row, codes) in &changes.rows {
            matrix.insert(row, codes);
        }
        matrix.sequence = changes.sequence;
    }

    /// Reads the rows of visible items that changed after `known`, of libraries that use this space.
    async fn read_rows(
        &self,
        connection: &mut SqliteConnection,
        known: i64,
        mut take: impl FnMut(Row, &[u8]),
    ) -> StoreResult<()> {
        const ALL: &str = "SELECT v.key, i.library, i.collection, i.key, v.scale, v.codes FROM vector v \
                           CROSS JOIN item i ON i.key = v.item CROSS JOIN library l ON l.key = i.library \
                           WHERE v.space = ?1 AND i.status = 1 AND l.space = ?1 AND i.vector_change > ?2";
        const CHANGED: &str = "SELECT v.key, i.library, i.collection, i.key, v.scale, v.codes \
                               FROM item i INDEXED BY item_by_vector_change \
                               CROSS JOIN library l ON l.key = i.library \
                               CROSS JOIN vector v ON v.item = i.key AND v.space = ?1 \
                               WHERE i.status = 1 AND l.space = ?1 AND i.vector_change > ?2";
        let mut rows = sqlx::query(if known == 0 { ALL } else { CHANGED })
            .bind(self.key)
            .bind(known)
            .fetch(connection);
        while let Some(row) = rows.try_next().await.map_err(store_error)? {
            let about = Row {
                vector: get(&row, 0)?,
                library: key_u32(get(&row, 1)?)?,
                collection: key_u32(get(&row, 2)?)?,
                item: key_u32(get(&row, 3)?)?,
                scale: get::<f64>(&row, 4)? as f32,
            };
            take(about, get::<&[u8]>(&row, 5)?);
        }
        Ok(())
    }
}

/// The nearest chunks to a vector: a scan over the codes in memory, then the exact vectors of the best ones.
pub(super) async fn vector_leg(
    database: &Database,
    vectors: &Vectors,
    query: VectorQuery<'_>,
    filter: &SearchFilter,
    limit: usize,
) -> StoreResult<Vec<LegHit>> {
    if query.vector.len() != query.space.dimension || query.vector.iter().any(|value| !value.is_finite()) {
        return Err(StoreError::Corrupt(format!(
            "a query of {} values does not fit the space {} ({})",
            query.vector.len(),
            query.space.model,
            query.space.dimension
        )));
    }
    if limit == 0 {
        return Ok(Vec::new());
    }
    let admitted = Admitted::by(filter);
    let mut codes = Vec::with_capacity(query.vector.len());
    let scale = quantise(query.vector, &mut codes);
    let codes: Arc<[i8]> = codes.into();
    let mut hits = Vec::new();
    for _ in 0..ATTEMPTS {
        let plan = plan(database, &admitted, Some(query.space)).await?;
        let Some(space) = plan.space.filter(|_| !plan.is_empty()) else {
            return Ok(Vec::new());
        };
        let space = vectors.space(space, query.space.dimension).await;
        space.catch_up(database, plan.sequence).await?;
        let selection = selection(&plan)?;
        let count = (limit * EXACT_MULTIPLE).max(EXACT_LEAST);
        let mut found = if plan.chunks <= AT_ONCE_ROWS && space.rows() <= AT_ONCE_MATRIX {
            space.scan(&codes, scale, &selection, count)
        } else {
            let codes = Arc::clone(&codes);
            blocking(move || Ok(space.scan(&codes, scale, &selection, count))).await?
        };
        let scanned = found.len();
        keep_possible(&mut found, limit, query.space.dimension, scale);
        let candidates = found.len();
        hits = exact(database, &admitted, query.vector, &found).await?;
        // Fewer than the codes promised: some went meanwhile. What took their place is found the next time.
        let lost = hits.len() < candidates;
        hits.truncate(limit);
        if hits.len() >= limit.min(scanned) || !lost {
            break;
        }
    }
    Ok(hits)
}

fn selection(plan: &Plan) -> StoreResult<Selection> {
    let mut libraries = Vec::new();
    for &key in &plan.libraries {
        let key = key_u32(key)? as usize;
        if libraries.len() <= key {
            libraries.resize(key + 1, false);
        }
        libraries[key] = true;
    }
    Ok(Selection {
        libraries,
        collection: plan.collection.map(key_u32).transpose()?,
        item: plan.item.map(key_u32).transpose()?,
    })
}

/// Leaves those rows that may be among the first `limit` when compared exactly. Rounding to codes moves every product
/// by an error that is nearly normal: a rounding step is uniform, so its deviation is `scale / sqrt(12)` for a query of
/// length 1, and as much again for the query's own codes. The scales of rows are near the query's.
fn keep_possible(found: &mut Vec<Found>, limit: usize, dimension: usize, query_scale: f32) {
    let Some(last) = found.get(limit.saturating_sub(1)) else {
        return;
    };
    let step = query_scale.max(1.0 / (127.0 * (dimension.max(1) as f32).sqrt()));
    let deviation = step * (2.0_f32 / 12.0).sqrt();
    let least = last.score - 2.0_f32.sqrt() * MARGIN_DEVIATIONS * deviation;
    found.retain(|found| found.score >= least);
}

/// Compares the vectors themselves. Rows that are gone, or outside the scope, are left out.
async fn exact(
    database: &Database,
    admitted: &Admitted,
    query: &[f32],
    found: &[Found],
) -> StoreResult<Vec<LegHit>> {
    let keys: Vec<i64> = found.iter().map(|found| found.vector).collect();
    let rows = admitted
        .query(concat!(
            "SELECT c.uid, v.vector FROM json_each(?8) j CROSS JOIN vector v ON v.key = j.value \
             CROSS JOIN item i ON i.key = v.item CROSS JOIN library l ON l.key = i.library \
             CROSS JOIN chunk c ON c.key = v.chunk WHERE i.status = 1 AND l.space = v.space AND ",
            library_admitted!(),
            " AND ",
            item_admitted!()
        ))
        .bind(Value::from(keys).to_string())
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    let mut hits = Vec::with_capacity(rows.len());
    for row in &rows {
        let bytes: &[u8] = get(row, 1)?;
        let (values, _) = bytes.as_chunks::<4>();
        let cosine: f32 = values
            .iter()
            .zip(query)
            .map(|(value, asked)| f32::from_le_bytes(*value) * asked)
            .sum();
        hits.push(LegHit {
            chunk_uid: ChunkUid::from_store(get(row, 0)?),
            score: ((1.0 + cosine) / 2.0).clamp(0.0, 1.0),
        });
    }
    hits.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.chunk_uid.cmp(&b.chunk_uid))
    });
    Ok(hits)
}
