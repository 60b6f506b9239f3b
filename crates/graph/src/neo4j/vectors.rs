//! The vector leg: exactly where the filter leaves few chunks, otherwise by the index.
//!
//! The index knows nothing of scopes and of what is visible. It is asked for as many neighbours as are needed for a full
//! page to be left, judged by the part of all chunks that the filter leaves, and for more where that was too few; where
//! it is still not enough, the chunks inside the filter are compared one by one. What the index finds is compared again
//! with the vectors themselves, because it keeps them rounded.

use mnemosyne_domain::ports::VectorQuery;
use mnemosyne_domain::{ChunkUid, LegHit, SearchFilter, StoreError, StoreResult};
use neo4rs::{BoltType, Query};
use serde::Deserialize;

use super::database::{Database, number, texts};
use super::legs::{Plan, plan};
use super::scope::{Admitted, item_admitted, library_admitted};
use super::spaces::Names;

/// Up to how many chunks are compared one by one. A judgement from times taken with 384 dimensions: asked for enough to fill
/// a page from a hundredth of the graph, the index takes about as long as so many comparisons.
const EXACT_CHUNKS: u64 = 3_000;

/// How many neighbours the index is asked for at the least: the more, the fewer it misses.
const LEAST_NEIGHBOURS: f64 = 200.0;

/// How many it is asked for, as a multiple of the wanted ones, once what the filter leaves out is accounted for.
const OVERSAMPLING: f64 = 4.0;

/// How many it is ever asked for.
const MOST_NEIGHBOURS: u64 = 20_000;

/// Up to how many chunks are compared one by one where the index gave a full page, but not all that it was asked for.
const MOST_EXACT_CHUNKS: u64 = 100_000;

/// How often the index is asked.
const ROUNDS: usize = 3;

/// By how much more it is asked for when it was too few.
const GROWTH: u64 = 4;

/// The condition on a library `l` that its vectors are of the query's space.
macro_rules! of_the_space {
    () => {
        "l.embedding_model = $model AND l.embedding_dimension = $dimension"
    };
}

/// Compares the chunks of the items that `$found` finds, which begins the statement.
macro_rules! exact {
    ($found:literal) => {
        concat!(
            $found,
            " MATCH (i)<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) WHERE i.embedding_status = 'completed' AND ",
            of_the_space!(),
            " AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " MATCH (i)-[:HAS_CHUNK]->(c:Chunk) WHERE c[$property] IS NOT NULL AND c[$model_property] = $model \
             WITH c, vector.similarity.cosine(c[$property], $vector) AS score ORDER BY score DESC, c.uid LIMIT $limit \
             RETURN c.uid AS uid, score"
        )
    };
}

const EXACT_IN_ITEM: &str = exact!("MATCH (i:Item {uid: $item})");
const EXACT_IN_COLLECTION: &str = exact!("MATCH (:Collection {uid: $collection})-[:CONTAINS]->(i:Item)");
const EXACT_IN_LIBRARIES: &str = exact!(
    "UNWIND $inside AS library_uid \
     MATCH (:Library {uid: library_uid})-[:CONTAINS]->(:Collection)-[:CONTAINS]->(i:Item)"
);

const BY_INDEX: &str = concat!(
    "CALL db.index.vector.queryNodes($index, $neighbours, $vector) YIELD node AS c \
     OPTIONAL MATCH (c)<-[:HAS_CHUNK]-(i:Item)<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
     WHERE i.embedding_status = 'completed' AND c[$model_property] = $model AND ",
    of_the_space!(),
    " AND ",
    library_admitted!(),
    " AND ",
    item_admitted!(),
    " WITH count(*) AS seen, collect(CASE WHEN l IS NOT NULL THEN c END) AS inside \
     CALL (inside) { UNWIND inside AS c \
         WITH c, vector.similarity.cosine(c[$property], $vector) AS score ORDER BY score DESC, c.uid LIMIT $limit \
         RETURN collect([c.uid, score]) AS hits } \
     RETURN seen, hits"
);

#[derive(Deserialize)]
struct Hit {
    uid: String,
    score: f64,
}

/// What an index found: how many it gave, and those of them that are inside the filter, best first.
#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) seen: i64,
    pub(super) hits: Vec<(String, f64)>,
}

/// A hit of a leg.
pub(super) fn leg_hit(uid: String, score: f64) -> LegHit {
    LegHit {
        chunk_uid: ChunkUid::from_store(uid),
        score: score as f32,
    }
}

pub(super) async fn vector_leg(
    database: &Database,
    names: Option<Names>,
    query: VectorQuery<'_>,
    filter: &SearchFilter,
    limit: usize,
) -> StoreResult<Vec<LegHit>> {
    let dimension = query.space.dimension;
    if query.vector.len() != dimension || query.vector.iter().any(|value| !value.is_finite()) {
        return Err(StoreError::Corrupt(format!(
            "a query of {} values does not fit the space {} ({dimension})",
            query.vector.len(),
            query.space.model,
        )));
    }
    let Some(names) = names.filter(|_| limit > 0) else {
        return Ok(Vec::new());
    };
    let admitted = Admitted::by(filter);
    let plan = plan(database, &admitted, Some(query.space)).await?;
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let vector: BoltType = query.vector.iter().map(|value| f64::from(*value)).collect();
    let prepared = |text| {
        admitted
            .query(text)
            .param("vector", vector.clone())
            .param("property", names.vector.as_str())
            .param("model_property", names.model.as_str())
            .param("model", query.space.model.as_str())
            .param("dimension", number(dimension))
            .param("limit", number(limit))
    };
    let mut full_page = None;
    if plan.chunks > EXACT_CHUNKS {
        let mut neighbours = neighbours(&plan, limit);
        for _ in 0..ROUNDS {
            let search = prepared(BY_INDEX)
                .param("index", names.index.as_str())
                .param("neighbours", number(neighbours));
            let Some(found) = database.read_one::<Found>(search).await? else {
                break;
            };
            // The index is a graph that is walked, and parts of it may not be reached: then it gives fewer than there are.
            let complete = found.seen.unsigned_abs() >= neighbours.min(plan.all_chunks);
            if found.hits.len() >= limit {
                let hits = found.hits.into_iter();
                let hits = hits.map(|(uid, score)| leg_hit(uid, score)).collect();
                if complete {
                    return Ok(hits);
                }
                full_page = Some(hits);
            }
            if neighbours >= MOST_NEIGHBOURS {
                break;
            }
            neighbours = (neighbours * GROWTH).min(MOST_NEIGHBOURS);
        }
    }
    match full_page {
        Some(hits) if plan.chunks > MOST_EXACT_CHUNKS => Ok(hits),
        _ => exact(database, &admitted, &plan, prepared).await,
    }
}

/// How many neighbours leave a full page, where those inside the filter are spread evenly among all.
fn neighbours(plan: &Plan, limit: usize) -> u64 {
    let part = (plan.chunks as f64 / plan.all_chunks.max(plan.chunks) as f64).max(f64::MIN_POSITIVE);
    let wanted = (OVERSAMPLING * limit as f64).max(LEAST_NEIGHBOURS) / part;
    (wanted.ceil() as u64).min(MOST_NEIGHBOURS)
}

/// Compares every chunk inside the filter.
async fn exact(
    database: &Database,
    admitted: &Admitted,
    plan: &Plan,
    prepared: impl Fn(&'static str) -> Query,
) -> StoreResult<Vec<LegHit>> {
    let scan = if admitted.item_uid().is_some() {
        prepared(EXACT_IN_ITEM)
    } else if admitted.has_collection() {
        prepared(EXACT_IN_COLLECTION)
    } else {
        prepared(EXACT_IN_LIBRARIES).param("inside", texts(plan.libraries.iter().map(String::as_str)))
    };
    let hits = database.read::<Hit>(scan).await?;
    Ok(hits.into_iter().map(|hit| leg_hit(hit.uid, hit.score)).collect())
}
