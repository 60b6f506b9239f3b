//! What the legs of a search have in common, and the full-text and graph legs.

use std::collections::{BTreeSet, HashSet};

use mnemosyne_domain::{ChunkUid, LegHit, SearchFilter, StoreError, StoreResult, VectorSpace};
use serde_json::{Value, json};

use super::schema::{Database, blocking, store_error};
use super::scope::{Admitted, get, item_admitted, library_admitted};
use super::size;
use super::text::{TextHit, TextIndex, TextScope};
use crate::analysis;

/// How many concepts that the text names a walk begins at.
const SEEDS: usize = 16;

/// How many concepts are looked at to find those.
const SEED_CANDIDATES: i64 = 64;

/// Up to how many libraries their own names are searched, instead of all names.
const FEW_LIBRARIES: usize = 8;

/// Few items are one in so many: from there on, following edges by weight looks at more of them outside the filter than
/// there are inside.
const FEW_ITEMS: i64 = 16;

/// The longest walk, in steps; more is walked as this.
const MAX_DEPTH: u32 = 3;

/// What a step away from a named concept is worth of it.
const DECAY: f64 = 0.3;

/// How many words of a text are looked for among the names of concepts.
const MAX_NAME_TERMS: usize = 64;

/// A filter, resolved to keys, and the state of the store that an answer has to reflect.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The last change.
    pub(super) sequence: i64,
    /// The libraries inside the filter; for a vector leg only those that use its space.
    pub(super) libraries: Vec<i64>,
    /// How many visible chunks those libraries have.
    pub(super) chunks: u64,
    /// How many libraries there are, inside or not.
    pub(super) library_count: i64,
    /// The collection that was asked for.
    pub(super) collection: Option<i64>,
    /// The item that was asked for.
    pub(super) item: Option<i64>,
    /// The space that was asked for, where the store knows it.
    pub(super) space: Option<i64>,
    /// Whether a collection or an item was asked for that there is not.
    unknown: bool,
}

impl Plan {
    /// Whether nothing can be found.
    pub(super) fn is_empty(&self) -> bool {
        self.unknown || self.libraries.is_empty()
    }
}

/// Resolves a filter in one statement.
pub(super) async fn plan(
    database: &Database,
    admitted: &Admitted,
    space: Option<&VectorSpace>,
) -> StoreResult<Plan> {
    let row = admitted
        .query(concat!(
            "SELECT (SELECT max(sequence) FROM change), \
             (SELECT json_array(json_group_array(l.key), coalesce(sum(l.chunk_count), 0)) FROM library l WHERE ",
            library_admitted!(),
            " AND (?8 IS NULL OR l.space = (SELECT key FROM space WHERE model = ?8 AND dimension = ?9))), \
             (SELECT count(*) FROM library), \
             (SELECT key FROM collection WHERE uid = ?6), \
             (SELECT key FROM item WHERE uid = ?7 AND status = 1), \
             (SELECT key FROM space WHERE model = ?8 AND dimension = ?9), ?6 IS NOT NULL, ?7 IS NOT NULL"
        ))
        .bind(space.map(|space| space.model.clone()))
        .bind(space.map(|space| i64::try_from(space.dimension).unwrap_or(i64::MAX)))
        .fetch_one(&database.read)
        .await
        .map_err(store_error)?;
    let (collection, item): (Option<i64>, Option<i64>) = (get(&row, 3)?, get(&row, 4)?);
    let unknown =
        (get::<i64>(&row, 6)? != 0 && collection.is_none()) || (get::<i64>(&row, 7)? != 0 && item.is_none());
    let (libraries, chunks): (Vec<i64>, u64) = super::parse_json(&row, 1)?;
    Ok(Plan {
        sequence: get(&row, 0)?,
        libraries,
        chunks,
        library_count: get(&row, 2)?,
        collection,
        item,
        space: get(&row, 5)?,
        unknown,
    })
}

pub(super) async fn spaces(database: &Database, filter: &SearchFilter) -> StoreResult<Vec<VectorSpace>> {
    let rows = Admitted::by(filter)
        .query(concat!(
            "SELECT DISTINCT s.model, s.dimension FROM library l JOIN space s ON s.key = l.space WHERE ",
            library_admitted!(),
            " AND EXISTS (SELECT 1 FROM item i WHERE i.library = l.key AND i.status = 1 AND ",
            item_admitted!(),
            " AND EXISTS (SELECT 1 FROM vector v WHERE v.item = i.key AND v.space = l.space)) \
             ORDER BY s.model, s.dimension"
        ))
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(VectorSpace {
                model: get(row, 0)?,
                dimension: size(get(row, 1)?),
            })
        })
        .collect()
}

pub(super) async fn fulltext_leg(
    database: &Database,
    text_index: &TextIndex,
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
    let everywhere = plan.libraries.len() as i64 == plan.library_count;
    let scope = TextScope {
        chunks: plan.chunks,
        libraries: (!everywhere).then_some(plan.libraries),
        collection: plan.collection,
        item: plan.item,
    };
    let hits = text_index
        .search(database, plan.sequence, terms, scope, limit)
        .await?;
    verified(database, &admitted, &hits).await
}

/// The words of a text from outside. A long one is taken apart beside the executor.
async fn terms_of(text: &str, analyse: fn(&str) -> Vec<String>) -> StoreResult<Vec<String>> {
    const SHORT: usize = 2000;
    if text.len() <= SHORT {
        return Ok(analyse(text));
    }
    let text = text.to_owned();
    blocking(move || Ok(analyse(&text))).await
}

/// The hits as the store has them: what is not there, not visible or outside the filter is no hit, whatever the index
/// says.
async fn verified(database: &Database, admitted: &Admitted, hits: &[TextHit]) -> StoreResult<Vec<LegHit>> {
    let keys: Vec<u64> = hits.iter().map(|hit| hit.chunk).collect();
    let rows = admitted
        .query(concat!(
            "SELECT j.key, c.uid FROM json_each(?8) j CROSS JOIN chunk c ON c.key = j.value \
             CROSS JOIN item i ON i.key = c.item CROSS JOIN library l ON l.key = i.library WHERE i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " ORDER BY j.key"
        ))
        .bind(Value::from(keys).to_string())
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let place = size(get(row, 0)?);
            let hit = hits
                .get(place)
                .ok_or_else(|| StoreError::Corrupt("a hit that was not asked for".to_owned()))?;
            Ok(LegHit {
                chunk_uid: ChunkUid::from_store(get(row, 1)?),
                score: hit.score,
            })
        })
        .collect()
}

/// One step of the walk: the strongest neighbours of the concepts of `$from`, over edges that visible items inside
/// the scope show, without what was reached before.
macro_rules! step {
    ($name:literal, $from:literal, $depth:literal, $known:literal, $index:literal) => {
        concat!(
            $name,
            " AS MATERIALIZED (SELECT e.target AS concept, max(n.score * e.weight) * ?11 AS score FROM ",
            $from,
            " n CROSS JOIN related_to e ON e.key IN (SELECT x.key FROM related_to x INDEXED BY ",
            $index,
            " WHERE x.source = n.concept AND x.library IN (SELECT key FROM admitted) \
               ORDER BY x.weight DESC LIMIT 32) \
             CROSS JOIN item o ON o.key = e.item WHERE ?9 >= ",
            $depth,
            " AND o.status = 1 AND e.target NOT IN (SELECT concept FROM ",
            $known,
            ") GROUP BY e.target ORDER BY 2 DESC, 1 LIMIT 16), "
        )
    };
}

/// Walks from the seeds (`?8`: pairs of key and score) `?9` steps and gathers the chunks that mention what was reached.
/// How many edges and items of a concept are followed is bounded, by weight. `$edges` and `$items` are the indexes to
/// follow them in: by library where the filter's libraries hold few of the items, otherwise by weight.
macro_rules! walk {
    ($edges:literal, $items:literal) => {
        concat!(
            "WITH admitted AS MATERIALIZED (SELECT l.key FROM library l WHERE ",
            library_admitted!(),
            "), step0 AS MATERIALIZED (SELECT value ->> 0 AS concept, value ->> 1 AS score FROM json_each(?8)), ",
            step!("step1", "step0", "1", "step0", $edges),
            "known1 AS (SELECT * FROM step0 UNION ALL SELECT * FROM step1), ",
            step!("step2", "step1", "2", "known1", $edges),
            "known2 AS (SELECT * FROM known1 UNION ALL SELECT * FROM step2), ",
            step!("step3", "step2", "3", "known2", $edges),
            "reached AS MATERIALIZED (SELECT * FROM known2 UNION ALL SELECT * FROM step3), \
             found AS MATERIALIZED (SELECT m.chunk AS chunk, sum(n.score * (0.1 + r.weight)) AS score FROM reached n \
             CROSS JOIN item_references r ON r.key IN (SELECT x.key FROM item_references x INDEXED BY ",
            $items,
            " CROSS JOIN item i ON i.key = x.item WHERE x.concept = n.concept \
               AND x.library IN (SELECT key FROM admitted) AND i.status = 1 AND ",
            item_admitted!(),
            " ORDER BY x.weight DESC LIMIT 48) \
             CROSS JOIN chunk_mentions m ON m.item = r.item AND m.concept = n.concept \
             GROUP BY m.chunk ORDER BY 2 DESC, 1 LIMIT ?10 + 0) \
             SELECT c.uid, f.score FROM found f JOIN chunk c ON c.key = f.chunk ORDER BY f.score DESC, f.chunk"
        )
    };
}

const WALK_FEW_ITEMS: &str = walk!("related_to_by_library", "item_references_by_library");
const WALK_MOST_ITEMS: &str = walk!("related_to_by_weight", "item_references_by_weight");

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
    let Seeds { seeds, few_items } = seeds(database, &admitted, filter, &terms).await?;
    if seeds.is_empty() {
        return Ok(Vec::new());
    }
    let rows = admitted
        .query(if few_items {
            WALK_FEW_ITEMS
        } else {
            WALK_MOST_ITEMS
        })
        .bind(Value::from(seeds).to_string())
        .bind(depth.min(MAX_DEPTH))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(DECAY)
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(LegHit {
                chunk_uid: ChunkUid::from_store(get(row, 0)?),
                score: get::<f64>(row, 1)? as f32,
            })
        })
        .collect()
}

struct Seeds {
    /// Pairs of key and score.
    seeds: Vec<Value>,
    /// Whether the filter leaves a small part of the items.
    few_items: bool,
}

/// Keys and words of concepts of which visible items inside the filter are about, and how many items there are in the
/// filter's libraries and in all. `$found` finds the concepts whose names have a word of `?8`.
macro_rules! seeds {
    ($found:expr, $library:literal, $order:literal) => {
        concat!(
            "SELECT c.key, c.terms, (SELECT coalesce(sum(l.item_count), 0) FROM library l WHERE ",
            library_admitted!(),
            "), (SELECT coalesce(sum(item_count), 0) FROM library) FROM ",
            $found,
            " CROSS JOIN concept c ON c.key = f.rowid \
             WHERE EXISTS (SELECT 1 FROM item_references r INDEXED BY item_references_by_library \
             CROSS JOIN item i ON i.key = r.item \
             WHERE r.concept = f.rowid AND ",
            $library,
            " IN (SELECT l.key FROM library l WHERE ",
            library_admitted!(),
            ") AND i.status = 1 AND ",
            item_admitted!(),
            ") ORDER BY ",
            $order,
            " LIMIT ?9 + 0"
        )
    };
}

/// By the index over all names, best first: the search stops as soon as it has enough inside the filter.
/// (The sign before the column keeps SQLite from seeking each of many libraries instead of reading the few rows.)
const SEEDS_ANYWHERE: &str = seeds!("concept_name(?8) f", "+r.library", "f.rank");

/// By the names in the filter's libraries alone: where these are few, most of the best names lie outside.
const SEEDS_IN_LIBRARIES: &str = seeds!(
    concat!(
        "(SELECT t.concept AS rowid, count(DISTINCT t.term) AS named, max(t.terms) AS terms FROM concept_term t \
         WHERE t.library IN (SELECT l.key FROM library l WHERE ",
        library_admitted!(),
        ") AND t.term IN (SELECT value FROM json_each(?8)) GROUP BY t.concept \
         ORDER BY 1.0 * named / max(t.terms) DESC, named DESC LIMIT 2048) f"
    ),
    "r.library",
    "1.0 * f.named / f.terms DESC, f.named DESC"
);

/// The concepts that a text names: those visible inside the filter whose names have most of their words in the text.
async fn seeds(
    database: &Database,
    admitted: &Admitted,
    filter: &SearchFilter,
    terms: &[String],
) -> StoreResult<Seeds> {
    let listed = filter.scope.libraries.as_ref().map_or(usize::MAX, BTreeSet::len);
    let few_libraries =
        filter.library_uid.is_some() || filter.scope.workspace.is_some() || listed <= FEW_LIBRARIES;
    let (sql, wanted) = if few_libraries {
        (SEEDS_IN_LIBRARIES, Value::from(terms.to_vec()).to_string())
    } else {
        // Terms are letters and digits; in quotes they are words to the query language of FTS5, never operators.
        let quoted: Vec<String> = terms
            .iter()
            .map(|term| format!("\"{}\"", term.replace('"', "")))
            .collect();
        (SEEDS_ANYWHERE, quoted.join(" OR "))
    };
    let rows = admitted
        .query(sql)
        .bind(wanted)
        .bind(SEED_CANDIDATES)
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    let words: HashSet<&str> = terms.iter().map(String::as_str).collect();
    let mut few_items = false;
    let mut candidates: Vec<(i64, f64, f64)> = Vec::with_capacity(rows.len());
    for row in &rows {
        few_items = get::<i64>(row, 2)?.saturating_mul(FEW_ITEMS) < get::<i64>(row, 3)?;
        let mut named = 0.0_f64;
        let mut all = 0.0_f64;
        for word in get::<&str>(row, 1)?.split(' ') {
            all += 1.0;
            named += f64::from(u8::from(words.contains(word)));
        }
        candidates.push((get(row, 0)?, named, named / all.max(1.0)));
    }
    let most_named = candidates
        .iter()
        .fold(1.0_f64, |most, (_, named, _)| most.max(*named));
    let mut seeds: Vec<(i64, f64)> = candidates
        .into_iter()
        .map(|(key, named, share)| (key, share * share * (0.5 + 0.5 * named / most_named)))
        .collect();
    seeds.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    seeds.truncate(SEEDS);
    Ok(Seeds {
        seeds: seeds
            .into_iter()
            .map(|(key, score)| json!([key, score]))
            .collect(),
        few_items,
    })
}
