//! The vector leg: exactly where the filter leaves few chunks, otherwise by the index.
//!
//! The index knows nothing of what is visible, and of scopes only where it was made with the library of a chunk: then few
//! libraries are asked for one by one, inside the index. Otherwise it is asked for as many neighbours as are needed for a
//! full page to be left, judged by the part of all chunks that the filter leaves. Either way it is asked for more where
//! that was too few; where it is still not enough, the chunks inside the filter are compared one by one. What the index
//! finds is compared again with the vectors themselves, because it keeps them rounded.

use mnemosyne_domain::ports::VectorQuery;
use mnemosyne_domain::{ChunkUid, LegHit, SearchFilter, StoreError, StoreResult};
use neo4rs::{BoltType, Query};
use serde::Deserialize;

use super::database::{Database, cypher, number, texts};
use super::legs::{Plan, plan};
use super::schema::LIBRARY_OF_CHUNK;
use super::scope::{Admitted, item_admitted, library_admitted};
use super::spaces::{Names, Spaces};

/// Up to how many chunks are compared one by one. A judgement from times taken with 384 dimensions: asked for enough to fill
/// a page from a hundredth of the graph, the index takes about as long as so many comparisons.
const EXACT_CHUNKS: u64 = 3_000;

/// How many neighbours the index is asked for at the least: the more, the fewer it misses.
const LEAST_NEIGHBOURS: u64 = 200;

/// How many it is asked for, as a multiple of the wanted ones, once what the filter leaves out is accounted for.
const OVERSAMPLING: u64 = 4;

/// How many it is ever asked for.
const MOST_NEIGHBOURS: u64 = 20_000;

/// Up to how many chunks are compared one by one where the index gave a full page, but not all that it was asked for.
const MOST_EXACT_CHUNKS: u64 = 100_000;

/// Up to how many libraries are asked for one by one inside the index.
const NARROWED_LIBRARIES: usize = 8;

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

/// Looks for the library `l` of a chunk `c` that is inside the filter.
macro_rules! looked_at {
    () => {
        concat!(
            " OPTIONAL MATCH (c)<-[:HAS_CHUNK]-(i:Item)<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
             WHERE i.embedding_status = 'completed' AND c[$model_property] = $model AND ",
            of_the_space!(),
            " AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
        )
    };
}

/// Compares the chunks `inside` with the vectors themselves.
macro_rules! compared {
    () => {
        " CALL (inside) { UNWIND inside AS c \
             WITH c, vector.similarity.cosine(c[$property], $vector) AS score ORDER BY score DESC, c.uid LIMIT $limit \
             RETURN collect([c.uid, score]) AS hits } \
         RETURN complete, hits"
    };
}

const BY_INDEX: &str = concat!(
    "CALL db.index.vector.queryNodes($index, $neighbours, $vector) YIELD node AS c",
    looked_at!(),
    " WITH count(*) >= CASE WHEN $all < $neighbours THEN $all ELSE $neighbours END AS complete, \
     collect(CASE WHEN l IS NOT NULL THEN c END) AS inside",
    compared!(),
);

/// What comes before the name of the index where it is asked for each library alone.
const IN_LIBRARIES: &str = "CYPHER 25 UNWIND $inside AS library_uid MATCH (home:Library {uid: library_uid}) \
    CALL (library_uid) { MATCH (c:Chunk) SEARCH c IN (VECTOR INDEX ";

/// What comes after it.
const IN_LIBRARIES_REST: &str = concat!(
    " LIMIT $neighbours)",
    looked_at!(),
    " RETURN count(*) AS seen, collect(CASE WHEN l IS NOT NULL THEN c END) AS near } \
     WITH seen >= CASE WHEN home.chunk_count < $neighbours THEN home.chunk_count ELSE $neighbours END AS enough, near \
     WITH collect(enough) AS enough, collect(near) AS near \
     WITH all(one IN enough WHERE one) AS complete, reduce(inside = [], one IN near | inside + one) AS inside",
    compared!(),
);

/// Asks the index of a space for each library alone: a statement of the names of a space, and of nothing else.
fn in_libraries(names: &Names) -> Query {
    let index = &names.index;
    Query::new(format!(
        "{IN_LIBRARIES}{index} FOR $vector WHERE c.{LIBRARY_OF_CHUNK} = library_uid{IN_LIBRARIES_REST}"
    ))
}

#[derive(Deserialize)]
struct Hit {
    uid: String,
    score: f64,
}

/// What an index found.
#[derive(Deserialize)]
struct Found {
    /// Whether it gave as many as were asked for, or as there are.
    complete: bool,
    /// Those of them that are inside the filter, best first.
    hits: Vec<(String, f64)>,
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
    spaces: &Spaces,
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
    let prepared = |search: Query| {
        admitted
            .applied_to(search)
            .param("vector", vector.clone())
            .param("property", names.vector.as_str())
            .param("model_property", names.model.as_str())
            .param("model", query.space.model.as_str())
            .param("dimension", number(dimension))
            .param("limit", number(limit))
    };
    if plan.chunks > EXACT_CHUNKS {
        let found = match narrowed(database, spaces, &names, &admitted, &plan).await? {
            Some(search) => match ask(database, &prepared(search), enough(limit), limit).await {
                // Somebody has made the index anew, without the library: then it is asked as such.
                Err(error @ (StoreError::Schema(_) | StoreError::Corrupt(_))) => {
                    tracing::warn!(%error, index = %names.index, "a search inside an index was refused; all of it is asked");
                    spaces.forget(&names.index);
                    None
                }
                found => Some(found?),
            },
            None => None,
        };
        let found = match found {
            Some(found) => found,
            None => {
                let search = prepared(cypher(BY_INDEX))
                    .param("index", names.index.as_str())
                    .param("all", number(plan.all_chunks));
                ask(database, &search, neighbours(&plan, limit), limit).await?
            }
        };
        if let Some(found) = found.filter(|found| found.complete || plan.chunks > MOST_EXACT_CHUNKS) {
            let hits = found.hits.into_iter();
            return Ok(hits.map(|(uid, score)| leg_hit(uid, score)).collect());
        }
    }
    exact(database, &admitted, &plan, prepared).await
}

/// The question to the index for each library of the plan alone, where they are few and the index was made for it.
async fn narrowed(
    database: &Database,
    spaces: &Spaces,
    names: &Names,
    admitted: &Admitted,
    plan: &Plan,
) -> StoreResult<Option<Query>> {
    let whole_libraries = !admitted.has_collection() && admitted.item_uid().is_none();
    if !whole_libraries || plan.everywhere || plan.libraries.len() > NARROWED_LIBRARIES {
        return Ok(None);
    }
    if !spaces.narrows(database, &names.index).await? {
        return Ok(None);
    }
    let inside = texts(plan.libraries.iter().map(String::as_str));
    Ok(Some(in_libraries(names).param("inside", inside)))
}

/// Asks the index for so many neighbours, and for more where they leave less than a full page or are fewer than there
/// are. `None` where no page was full.
async fn ask(
    database: &Database,
    search: &Query,
    mut neighbours: u64,
    limit: usize,
) -> StoreResult<Option<Found>> {
    let mut full_page = None;
    for _ in 0..ROUNDS {
        let search = search.clone().param("neighbours", number(neighbours));
        let Some(found) = database.read_one::<Found>(search).await? else {
            break;
        };
        if found.hits.len() >= limit {
            // The index is a graph that is walked, and parts of it may not be reached: then it gives fewer than there are.
            let complete = found.complete;
            full_page = Some(found);
            if complete {
                break;
            }
        }
        if neighbours >= MOST_NEIGHBOURS {
            break;
        }
        neighbours = (neighbours * GROWTH).min(MOST_NEIGHBOURS);
    }
    Ok(full_page)
}

/// How many neighbours give a full page of the nearest, where nothing is left out.
fn enough(limit: usize) -> u64 {
    OVERSAMPLING
        .saturating_mul(limit as u64)
        .clamp(LEAST_NEIGHBOURS, MOST_NEIGHBOURS)
}

/// How many neighbours leave a full page, where those inside the filter are spread evenly among all.
fn neighbours(plan: &Plan, limit: usize) -> u64 {
    let part = (plan.chunks as f64 / plan.all_chunks.max(plan.chunks) as f64).max(f64::MIN_POSITIVE);
    let wanted = enough(limit) as f64 / part;
    (wanted.ceil() as u64).min(MOST_NEIGHBOURS)
}

/// Compares every chunk inside the filter.
async fn exact(
    database: &Database,
    admitted: &Admitted,
    plan: &Plan,
    prepared: impl Fn(Query) -> Query,
) -> StoreResult<Vec<LegHit>> {
    let scan = if admitted.item_uid().is_some() {
        prepared(cypher(EXACT_IN_ITEM))
    } else if admitted.has_collection() {
        prepared(cypher(EXACT_IN_COLLECTION))
    } else {
        prepared(cypher(EXACT_IN_LIBRARIES)).param("inside", texts(plan.libraries.iter().map(String::as_str)))
    };
    let hits = database.read::<Hit>(scan).await?;
    Ok(hits.into_iter().map(|hit| leg_hit(hit.uid, hit.score)).collect())
}
