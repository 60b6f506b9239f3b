//! Concepts: written with their item, listed, walked, and removed when nobody mentions them any more.

use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{
    ChunkUid, Concept, ConceptKind, ConceptMention, ConceptUid, ItemUid, Page, PageRequest, Scope,
    StoreError, StoreResult,
};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;

use super::items::staged;
use super::libraries::page_of;
use super::schema::{Database, blocking, store_error};
use super::scope::{Admitted, get, item_admitted, library_admitted};
use crate::mentions::{merged, related_pairs};

/// How many visible items of a concept the neighbours are taken from.
const RELATED_ITEMS: i64 = 200;

pub(super) async fn stage_concepts(
    database: &Database,
    item: &ItemUid,
    concepts: &[ConceptMention],
) -> StoreResult<()> {
    let mentions = concepts.to_vec();
    let (rows, pairs) = blocking(move || Ok(concept_parameters(&mentions))).await?;
    const STEPS: [&str; 8] = [
        "INSERT OR IGNORE INTO orphan_candidate (concept) SELECT concept FROM item_references WHERE item = ?2",
        "DELETE FROM chunk_mentions WHERE item = ?2",
        "DELETE FROM item_references WHERE item = ?2",
        "DELETE FROM related_to WHERE item = ?2",
        "INSERT INTO concept (uid, name, normal_name, terms, kind, extracted_by) \
         SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, j.value ->> 5 \
         FROM json_each(?1) j WHERE EXISTS (SELECT 1 FROM json_each(j.value, '$[7]') p \
             CROSS JOIN chunk h ON h.item = ?2 AND h.position = p.value) \
         ON CONFLICT (uid) DO NOTHING",
        "INSERT OR IGNORE INTO chunk_mentions (item, concept, chunk) \
         SELECT ?2, c.key, h.key FROM json_each(?1) j CROSS JOIN concept c ON c.uid = j.value ->> 0 \
         CROSS JOIN json_each(j.value, '$[7]') p CROSS JOIN chunk h ON h.item = ?2 AND h.position = p.value",
        "INSERT INTO item_references (concept, library, item, weight, mentions) \
         SELECT c.key, ?3, ?2, j.value ->> 6, \
         (SELECT count(*) FROM chunk_mentions m WHERE m.item = ?2 AND m.concept = c.key) AS mentions \
         FROM json_each(?1) j CROSS JOIN concept c ON c.uid = j.value ->> 0 WHERE mentions > 0",
        "INSERT OR IGNORE INTO concept_term (library, term, concept, terms) \
         SELECT ?3, t.value, c.key, json_array_length(j.value, '$[8]') \
         FROM json_each(?1) j CROSS JOIN concept c ON c.uid = j.value ->> 0 \
         CROSS JOIN json_each(j.value, '$[8]') t \
         WHERE EXISTS (SELECT 1 FROM item_references r WHERE r.item = ?2 AND r.concept = c.key)",
    ];
    let mut transaction = database.begin().await?;
    let (key, library) = staged(&mut transaction, item).await?;
    for sql in STEPS {
        sqlx::query(sql)
            .bind(rows.as_str())
            .bind(key)
            .bind(library)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    sqlx::query(
        "INSERT INTO related_to (source, target, library, item, weight) \
         SELECT s.key, t.key, ?3, ?2, j.value ->> 2 FROM json_each(?1) j \
         CROSS JOIN concept s ON s.uid = j.value ->> 0 CROSS JOIN concept t ON t.uid = j.value ->> 1",
    )
    .bind(pairs)
    .bind(key)
    .bind(library)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    remove_orphans(database).await?;
    Ok(())
}

/// The concepts and the pairs of related ones as JSON lists, parameters of the statements above.
fn concept_parameters(mentions: &[ConceptMention]) -> (String, String) {
    let concepts = merged(mentions);
    let rows: Vec<Value> = concepts
        .iter()
        .map(|concept| {
            json!([
                concept.uid.as_str(),
                concept.name,
                concept.normal_name,
                concept.terms.join(" "),
                concept.kind.as_str(),
                concept.extracted_by,
                concept.weight,
                concept.positions,
                concept.terms
            ])
        })
        .collect();
    let pairs: Vec<Value> = related_pairs(&concepts)
        .into_iter()
        .flat_map(|(one, other, weight)| {
            let (one, other) = (concepts[one].uid.as_str(), concepts[other].uid.as_str());
            [json!([one, other, weight]), json!([other, one, weight])]
        })
        .collect();
    (Value::from(rows).to_string(), Value::from(pairs).to_string())
}

/// Removes the concepts that lost a mention and have none left; a transaction of its own, that the next one repeats
/// where this one is cut off. Answers how many.
pub(super) async fn remove_orphans(database: &Database) -> StoreResult<u64> {
    // Whoever only reads must not wait for those who write.
    let candidate = sqlx::query("SELECT 1 FROM orphan_candidate LIMIT 1")
        .fetch_optional(&database.read)
        .await
        .map_err(store_error)?;
    if candidate.is_none() {
        return Ok(0);
    }
    let mut transaction = database.begin().await?;
    sqlx::query(
        "DELETE FROM concept_term WHERE concept IN (SELECT concept FROM orphan_candidate) \
         AND NOT EXISTS (SELECT 1 FROM item_references r \
                         WHERE r.concept = concept_term.concept AND r.library = concept_term.library)",
    )
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let removed = sqlx::query(
        "DELETE FROM concept WHERE key IN (SELECT concept FROM orphan_candidate) \
         AND NOT EXISTS (SELECT 1 FROM item_references r WHERE r.concept = concept.key)",
    )
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?
    .rows_affected();
    sqlx::query("DELETE FROM orphan_candidate")
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(removed)
}

/// The concept whose columns `uid, name, kind, extracted_by, mentions` begin at `first`.
fn concept_row(row: &SqliteRow, first: usize) -> StoreResult<Concept> {
    let word: String = get(row, first + 2)?;
    Ok(Concept {
        uid: ConceptUid::from_store(get(row, first)?),
        name: get(row, first + 1)?,
        kind: ConceptKind::parse(&word)
            .ok_or_else(|| StoreError::Corrupt(format!("a concept has the unknown kind {word:?}")))?,
        extracted_by: get(row, first + 3)?,
        mentions: get::<i64>(row, first + 4)?.unsigned_abs(),
    })
}

pub(super) async fn concepts(
    database: &Database,
    filter: &ConceptFilter,
    page: PageRequest,
) -> StoreResult<Page<Concept>> {
    let rows = Admitted::inside(filter.scope.as_ref())
        .library(filter.library_uid.as_ref())
        .item(filter.item_uid.as_ref())
        .query(concat!(
            "WITH listed AS MATERIALIZED (SELECT c.key AS concept, c.name AS name, sum(r.mentions) AS mentions \
             FROM item_references r JOIN item i ON i.key = r.item JOIN library l ON l.key = i.library \
             JOIN concept c ON c.key = r.concept WHERE i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " AND (?8 IS NULL OR instr(c.normal_name, ?8) > 0) GROUP BY c.key) \
             SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN ( \
             SELECT c.uid, c.name, c.kind, c.extracted_by, p.mentions \
             FROM (SELECT * FROM listed ORDER BY mentions DESC, name, concept LIMIT ?9 + 0 OFFSET ?10 + 0) p \
             JOIN concept c ON c.key = p.concept ORDER BY p.mentions DESC, p.name, p.concept) page"
        ))
        .bind(filter.name_contains.as_deref().map(str::to_lowercase))
        .bind(page.limit)
        .bind(super::offset(page))
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    page_of(&rows, |row| concept_row(row, 1))
}

pub(super) async fn related_concepts(
    database: &Database,
    uid: &ConceptUid,
    scope: Option<&Scope>,
    limit: u32,
) -> StoreResult<Vec<(Concept, f32)>> {
    let rows = Admitted::inside(scope)
        .query(concat!(
            "WITH asked AS MATERIALIZED (SELECT key FROM concept WHERE uid = ?8), \
             seen AS MATERIALIZED (SELECT r.item, r.weight FROM item_references r JOIN item i ON i.key = r.item \
             JOIN library l ON l.key = i.library WHERE r.concept = (SELECT key FROM asked) AND i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            " ORDER BY r.weight DESC LIMIT ?9 + 0), \
             near AS (SELECT e.target AS concept, sum(e.weight) AS strength FROM seen \
             CROSS JOIN related_to e ON e.item = seen.item AND e.source = (SELECT key FROM asked) GROUP BY e.target \
             UNION ALL \
             SELECT o.concept, 0.1 * count(*) FROM seen \
             CROSS JOIN chunk_mentions m ON m.item = seen.item AND m.concept = (SELECT key FROM asked) \
             CROSS JOIN chunk_mentions o ON o.item = seen.item AND o.chunk = m.chunk AND o.concept <> m.concept \
             GROUP BY o.concept), \
             best AS MATERIALIZED (SELECT concept, sum(strength) AS strength FROM near GROUP BY concept \
             ORDER BY 2 DESC, 1 LIMIT ?10 + 0) \
             SELECT c.uid, c.name, c.kind, c.extracted_by, \
             (SELECT sum(r.mentions) FROM item_references r JOIN item i ON i.key = r.item \
              JOIN library l ON l.key = i.library WHERE r.concept = c.key AND i.status = 1 AND ",
            library_admitted!(),
            "), best.strength FROM best JOIN concept c ON c.key = best.concept ORDER BY best.strength DESC, c.key"
        ))
        .bind(uid.as_str())
        .bind(RELATED_ITEMS)
        .bind(limit)
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| Ok((concept_row(row, 0)?, get::<f64>(row, 5)? as f32)))
        .collect()
}

pub(super) async fn chunks_of_concept(
    database: &Database,
    uid: &ConceptUid,
    scope: Option<&Scope>,
    page: PageRequest,
) -> StoreResult<Page<ChunkUid>> {
    let rows = Admitted::inside(scope)
        .query(concat!(
            "WITH listed AS MATERIALIZED (SELECT r.item, r.weight, m.chunk FROM concept c \
             JOIN item_references r ON r.concept = c.key JOIN item i ON i.key = r.item \
             JOIN library l ON l.key = i.library JOIN chunk_mentions m ON m.item = r.item AND m.concept = c.key \
             WHERE c.uid = ?8 AND i.status = 1 AND ",
            library_admitted!(),
            " AND ",
            item_admitted!(),
            ") SELECT (SELECT count(*) FROM listed), page.* FROM (SELECT 1) LEFT JOIN ( \
             SELECT h.uid FROM (SELECT * FROM listed ORDER BY weight DESC, item, chunk LIMIT ?9 + 0 OFFSET ?10 + 0) p \
             JOIN chunk h ON h.key = p.chunk ORDER BY p.weight DESC, p.item, p.chunk) page"
        ))
        .bind(uid.as_str())
        .bind(page.limit)
        .bind(super::offset(page))
        .fetch_all(&database.read)
        .await
        .map_err(store_error)?;
    page_of(&rows, |row| Ok(ChunkUid::from_store(get(row, 1)?)))
}
