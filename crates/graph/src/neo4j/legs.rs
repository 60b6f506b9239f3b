//! What the legs of a search have in common, and the full-text and graph legs.

use std::collections::{HashMap, HashSet};

use mnemosyne_domain::{ChunkUid, ItemUid, LegHit, SearchFilter, StoreResult, VectorSpace};
use neo4rs::BoltType;
use serde::Deserialize;

use super::blocking;
use super::database::{Database, map, number, texts};
use super::lucene::{self, Within};
use super::schema;
use super::scope::{Admitted, item_admitted, library_admitted, visible_item};
use super::vectors::leg_hit;
use crate::analysis;

/// How many more chunks the full-text index is asked for than are wanted, as some may belong to items that are not
/// visible yet.
const SPARE_HITS: u64 = 50;

/// How many it is ever asked for.
const MOST_HITS: u64 = 200_000;

/// By how much more it is asked for when it was too few.
const GROWTH: u64 = 8;

/// How many concepts that the text names a walk begins at.
const SEEDS: usize = 16;

/// How many concepts are looked at to find those.
const SEED_CANDIDATES: i64 = 64;

/// How many names the index is asked for; the second number where the first left none inside the filter.
const NAMES: [i64; 2] = [256, 8192];

/// The longest walk, in steps; more is walked as this.
const MAX_DEPTH: u32 = 3;

/// What a step away from a named concept is worth of it.
const DECAY: f64 = 0.3;

/// How many words of a text are looked for among the names of concepts.
const MAX_NAME_TERMS: usize = 64;

/// A filter, resolved.
#[derive(Clone, Debug, Deserialize)]
struct PlanRow {
    libraries: Vec<String>,
    chunks: i64,
    all_libraries: i64,
    all_chunks: i64,
    collection_chunks: Option<i64>,
    item_chunks: Option<i64>,
}

/// What a filter leaves, by the numbers that libraries, collections and items carry.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The libraries inside the filter; for a vector leg only those that use its space.
    pub(super) libraries: Vec<String>,
    /// Whether these are all there are.
    pub(super) everywhere: bool,
    /// How many visible chunks are inside the filter, at the most.
    pub(super) chunks: u64,
    /// How many visible chunks there are; for a vector leg only those of its space.
    pub(super) all_chunks: u64,
    /// Whether a collection or an item was asked for that there is not.
    unknown: bool,
}

impl Plan {
    /// Whether nothing can be found.
    pub(super) fn is_empty(&self) -> bool {
        self.unknown || self.libraries.is_empty() || self.chunks == 0
    }
}

const PLAN: &str = concat!(
    "OPTIONAL MATCH (l:Library) WHERE $model IS NULL OR (l.embedding_model = $model \
     AND l.embedding_dimension = $dimension) WITH l, coalesce(l IS NOT NULL AND (",
    library_admitted!(),
    "), false) AS inside \
     WITH collect(CASE WHEN inside THEN l.uid END) AS libraries, \
     sum(CASE WHEN inside THEN l.chunk_count ELSE 0 END) AS chunks, count(l) AS all_libraries, \
     coalesce(sum(l.chunk_count), 0) AS all_chunks \
     OPTIONAL MATCH (o:Collection {uid: $collection}) \
     OPTIONAL MATCH (i:Item {uid: $item, embedding_status: 'completed'}) \
     RETURN libraries, chunks, all_libraries, all_chunks, o.chunk_count AS collection_chunks, \
     i.chunk_count AS item_chunks"
);

/// Resolves a filter in one statement.
pub(super) async fn plan(
    database: &Database,
    admitted: &Admitted,
    space: Option<&VectorSpace>,
) -> StoreResult<Plan> {
    let query = admitted
        .query(PLAN)
        .param("model", space.map(|space| space.model.as_str()))
        .param("dimension", space.map(|space| number(space.dimension)));
    let Some(row) = database.read_one::<PlanRow>(query).await? else {
        return Ok(Plan {
            libraries: Vec::new(),
            everywhere: false,
            chunks: 0,
            all_chunks: 0,
            unknown: true,
        });
    };
    let within = |part: Option<i64>| part.map_or(u64::MAX, i64::unsigned_abs);
    Ok(Plan {
        everywhere: number(row.libraries.len()) == row.all_libraries,
        chunks: row
            .chunks
            .unsigned_abs()
            .min(within(row.collection_chunks))
            .min(within(row.item_chunks)),
        all_chunks: row.all_chunks.unsigned_abs(),
        unknown: (admitted.has_collection() && row.collection_chunks.is_none())
            || (admitted.item_uid().is_some() && row.item_chunks.is_none()),
        libraries: row.libraries,
    })
}

#[derive(Deserialize)]
struct SpaceRow {
    model: String,
    dimension: i64,
}

const SPACES: &str = concat!(
    "MATCH (l:Library) WHERE l.embedding_model IS NOT NULL AND ",
    library_admitted!(),
    " AND EXISTS { MATCH (l)-[:CONTAINS]->(o:Collection)-[:CONTAINS]->(i:Item)-[:HAS_CHUNK]->(c:Chunk) \
      WHERE i.embedding_status = 'completed' AND c[l.vector_property] IS NOT NULL AND ",
    item_admitted!(),
    " } RETURN DISTINCT l.embedding_model AS model, l.embedding_dimension AS dimension ORDER BY model, dimension"
);

pub(super) async fn spaces(database: &Database, filter: &SearchFilter) -> StoreResult<Vec<VectorSpace>> {
    let rows = database
        .read::<SpaceRow>(Admitted::by(filter).query(SPACES))
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| VectorSpace {
            model: row.model,
            dimension: usize::try_from(row.dimension).unwrap_or(0),
        })
        .collect())
}

/// The words of a text from outside. A long one is taken apart beside the executor.
async fn terms_of(text: &str, analyse: fn(&str) -> Vec<String>) -> StoreResult<Vec<String>> {
    const SHORT: usize = 2000;
    if text.len() <= SHORT {
        return Ok(analyse(text));
    }
    let text = text.to_owned();
    blocking(move || analyse(&text)).await
}

/// What the full-text index found: how many it gave, and those of them that are inside the filter, best first.
#[derive(Deserialize)]
struct Found {
    seen: i64,
    hits: Vec<(String, f64)>,
}

const FULLTEXT: &str = concat!(
    "CALL db.index.fulltext.queryNodes($index, $question, {limit: $wanted}) YIELD node AS c, score \
     OPTIONAL MATCH (c)<-[:HAS_CHUNK]-",
    visible_item!(),
    " WITH c, score, l ORDER BY score DESC, c.uid \
     WITH count(*) AS seen, collect(CASE WHEN l IS NOT NULL THEN [c.uid, score] END) AS hits \
     RETURN seen, hits[..$limit] AS hits"
);

pub(super) async fn fulltext_leg(
    database: &Database,
    text: &str,
    filter: &SearchFilter,
    limit: usize,
) -> StoreResult<Vec<LegHit>> {
    let terms = terms_of(text, analysis::query_terms).await?;
    if terms.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let admitted = Admitted::by(filter);
    let plan = plan(database, &admitted, None).await?;
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let within = match admitted.item_uid() {
        Some(item) => Within::Item(item),
        None if !plan.everywhere && plan.libraries.len() <= lucene::MAX_LIBRARIES => {
            Within::Libraries(&plan.libraries)
        }
        None => Within::Anything,
    };
    let Some(question) = lucene::chunks_with(&terms, within) else {
        return Ok(Vec::new());
    };
    let mut wanted = (limit as u64).saturating_add(SPARE_HITS).min(MOST_HITS);
    loop {
        let search = admitted
            .query(FULLTEXT)
            .param("index", schema::CHUNK_TERMS)
            .param("question", question.as_str())
            .param("wanted", number(wanted))
            .param("limit", number(limit));
        let Some(found) = database.read_one::<Found>(search).await? else {
            return Ok(Vec::new());
        };
        let all = found.seen.unsigned_abs() < wanted;
        if found.hits.len() >= limit || all || wanted >= MOST_HITS {
            let hits = found.hits.into_iter();
            return Ok(hits.map(|(uid, score)| leg_hit(uid, score)).collect());
        }
        wanted = (wanted * GROWTH).min(MOST_HITS);
    }
}

/// A concept that the walk has reached, and how near it is.
#[derive(Clone, Debug, Deserialize)]
struct Reached {
    uid: String,
    score: f64,
}

fn reached_rows(reached: &[Reached]) -> BoltType {
    let rows: Vec<BoltType> = reached
        .iter()
        .map(|concept| {
            map([
                ("uid", concept.uid.as_str().into()),
                ("score", concept.score.into()),
            ])
        })
        .collect();
    rows.into()
}

/// One step of the walk: the strongest neighbours of the concepts, over edges that visible items inside the scope show,
/// without what was reached before. How many edges of a concept are followed is bounded, by weight.
const STEP: &str = concat!(
    "UNWIND $from AS start MATCH (n:Concept {uid: start.uid}) \
     CALL (n) { MATCH (n)-[e:RELATED_TO]->(t:Concept) WHERE e.library_uid IN $inside \
         RETURN e, t ORDER BY e.weight DESC LIMIT 32 } \
     MATCH (i:Item {uid: e.item_uid})<-[:CONTAINS]-(o:Collection)<-[:CONTAINS]-(l:Library) \
     WHERE i.embedding_status = 'completed' AND ",
    library_admitted!(),
    " AND NOT t.uid IN $known WITH t.uid AS uid, max(start.score * e.weight) * $decay AS score \
     RETURN uid, score ORDER BY score DESC, uid LIMIT 16"
);

/// The items that are most about the concepts, with the places where they mention them.
const GATHER: &str = concat!(
    "UNWIND $reached AS start MATCH (n:Concept {uid: start.uid}) \
     CALL (n) { MATCH (n)<-[r:REFERENCES]-",
    visible_item!(),
    " AND r.library_uid IN $inside RETURN i, r ORDER BY r.weight DESC LIMIT 48 } \
     RETURN i.uid AS item, r.positions AS positions, start.score * (0.1 + r.weight) AS score"
);

#[derive(Deserialize)]
struct Gathered {
    item: String,
    positions: Vec<u32>,
    score: f64,
}

pub(super) async fn graph_leg(
    database: &Database,
    text: &str,
    filter: &SearchFilter,
    depth: u32,
    limit: usize,
) -> StoreResult<Vec<LegHit>> {
    let mut terms = terms_of(text, analysis::passage_terms).await?;
    terms.truncate(MAX_NAME_TERMS);
    if terms.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let admitted = Admitted::by(filter);
    let plan = plan(database, &admitted, None).await?;
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let inside = texts(plan.libraries.iter().map(String::as_str));
    let mut reached = seeds(database, &admitted, &inside, &terms).await?;
    if reached.is_empty() {
        return Ok(Vec::new());
    }
    let mut last = reached.clone();
    for _ in 0..depth.min(MAX_DEPTH) {
        let step = admitted
            .query(STEP)
            .param("from", reached_rows(&last))
            .param("known", texts(reached.iter().map(|concept| concept.uid.as_str())))
            .param("inside", inside.clone())
            .param("decay", DECAY);
        last = database.read::<Reached>(step).await?;
        if last.is_empty() {
            break;
        }
        reached.extend(last.iter().cloned());
    }
    let gather = admitted
        .query(GATHER)
        .param("reached", reached_rows(&reached))
        .param("inside", inside);
    let gathered = database.read::<Gathered>(gather).await?;
    let mut scores: HashMap<ChunkUid, f64> = HashMap::new();
    for row in gathered {
        let item = ItemUid::from_store(row.item);
        for position in row.positions {
            *scores.entry(ChunkUid::derive(&item, position)).or_default() += row.score;
        }
    }
    let mut hits: Vec<LegHit> = scores
        .into_iter()
        .map(|(chunk_uid, score)| LegHit {
            chunk_uid,
            score: score as f32,
        })
        .collect();
    hits.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.chunk_uid.cmp(&b.chunk_uid))
    });
    hits.truncate(limit);
    Ok(hits)
}

/// Concepts whose names have a word of the question, of which visible items inside the filter are about.
const SEED_NAMES: &str = concat!(
    "CALL db.index.fulltext.queryNodes($index, $question, {limit: $names}) YIELD node AS n, score \
     WITH n, score WHERE EXISTS { MATCH (n)<-[r:REFERENCES]-",
    visible_item!(),
    " AND r.library_uid IN $inside } \
     RETURN n.uid AS uid, n.terms AS terms ORDER BY score DESC, n.uid LIMIT $candidates"
);

#[derive(Deserialize)]
struct Name {
    uid: String,
    terms: String,
}

/// The concepts that a text names: those visible inside the filter whose names have most of their words in the text.
async fn seeds(
    database: &Database,
    admitted: &Admitted,
    inside: &BoltType,
    terms: &[String],
) -> StoreResult<Vec<Reached>> {
    let Some(question) = lucene::concepts_with(terms) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for wanted in NAMES {
        let search = admitted
            .query(SEED_NAMES)
            .param("index", schema::CONCEPT_TERMS)
            .param("question", question.as_str())
            .param("names", wanted)
            .param("inside", inside.clone())
            .param("candidates", SEED_CANDIDATES);
        names = database.read::<Name>(search).await?;
        if !names.is_empty() {
            break;
        }
    }
    let words: HashSet<&str> = terms.iter().map(String::as_str).collect();
    let mut candidates: Vec<(String, f64, f64)> = Vec::with_capacity(names.len());
    for name in names {
        let mut named = 0.0_f64;
        let mut all = 0.0_f64;
        for word in name.terms.split(' ') {
            all += 1.0;
            named += f64::from(u8::from(words.contains(word)));
        }
        candidates.push((name.uid, named, named / all.max(1.0)));
    }
    let most_named = candidates
        .iter()
        .fold(1.0_f64, |most, (_, named, _)| most.max(*named));
    let mut seeds: Vec<Reached> = candidates
        .into_iter()
        .map(|(uid, named, share)| Reached {
            uid,
            score: share * share * (0.5 + 0.5 * named / most_named),
        })
        .collect();
    seeds.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.uid.cmp(&b.uid)));
    seeds.truncate(SEEDS);
    Ok(seeds)
}
