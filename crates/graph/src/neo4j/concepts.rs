//! Concepts: written with their item, listed, and walked to their neighbours.
//!
//! An item's `REFERENCES` to a concept holds the positions of the chunks that mention it, so that the chunks are known
//! without a look at each; `MENTIONS` says the same edge by edge, for people and programs that ask the graph.

use std::collections::HashSet;

use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{
    ChunkUid, Concept, ConceptKind, ConceptMention, ConceptUid, ItemUid, Page, PageRequest, Scope,
    StoreError, StoreResult,
};
use neo4rs::BoltType;
use serde::Deserialize;

use super::blocking;
use super::database::{Database, cypher, map, number};
use super::items::lock_staged;
use super::libraries::page_of;
use super::removal;
use super::scope::{Admitted, visible_item};
use crate::mentions::{Merged, merged, related_pairs};

/// How many visible items of a concept the neighbours are taken from.
const RELATED_ITEMS: i64 = 200;

/// How many edges one statement makes.
const EDGE_BATCH: usize = 1000;

/// What a staged item has before its concepts are written.
#[derive(Deserialize)]
struct Before {
    positions: Vec<u32>,
    /// Whether an earlier run wrote concepts. All edges that come from them are written and removed with these.
    linked: bool,
}

const BEFORE: &str = "MATCH (i:Item {uid: $item}) RETURN [(i)-[:HAS_CHUNK]->(c:Chunk) | c.position] AS positions, \
    EXISTS { (i)-[:REFERENCES]->() } AS linked";
const MERGE_CONCEPTS: &str = "UNWIND $rows AS row MERGE (c:Concept {uid: row.uid}) \
    ON CREATE SET c.name = row.name, c.normal_name = row.normal_name, c.terms = row.terms, c.kind = row.kind, \
    c.extracted_by = row.extracted_by";
const CREATE_REFERENCES: &str = "MATCH (i:Item {uid: $item}) UNWIND $rows AS row MATCH (c:Concept {uid: row.uid}) \
    CREATE (i)-[:REFERENCES {library_uid: $library, weight: row.weight, mentions: size(row.positions), \
    positions: row.positions}]->(c)";
const CREATE_MENTIONS: &str = "UNWIND $rows AS row MATCH (h:Chunk {uid: row.chunk}) \
    MATCH (c:Concept {uid: row.concept}) CREATE (h)-[:MENTIONS]->(c)";
const CREATE_RELATED: &str = "UNWIND $rows AS row MATCH (s:Concept {uid: row.source}) \
    MATCH (t:Concept {uid: row.target}) \
    CREATE (s)-[:RELATED_TO {item_uid: $item, library_uid: $library, weight: row.weight}]->(t)";

/// The concepts of an item with the edges that come from them.
struct Edges {
    concepts: Vec<Merged>,
    /// Places in `concepts`, with the weight of their relation.
    pairs: Vec<(usize, usize, f32)>,
}

pub(super) async fn stage_concepts(
    database: &Database,
    item: &ItemUid,
    concepts: &[ConceptMention],
) -> StoreResult<()> {
    let mentions = concepts.to_vec();
    let edges = blocking(move || {
        let mut concepts = merged(&mentions);
        for concept in &mut concepts {
            concept.positions.sort_unstable();
            concept.positions.dedup();
        }
        // Every process takes locks on concepts in one order, so that two seldom wait for each other.
        concepts.sort_by(|a, b| a.uid.cmp(&b.uid));
        let pairs = related_pairs(&concepts);
        Edges { concepts, pairs }
    })
    .await?;
    let anew = database
        .write((item.clone(), edges), |transaction, (item, edges)| {
            Box::pin(async move {
                let staged = lock_staged(transaction, item).await?;
                let before = cypher(BEFORE).param("item", item.as_str());
                let before = transaction.read_one::<Before>(before).await?;
                let before = before.ok_or(StoreError::NotFound)?;
                if before.linked {
                    removal::remove_concepts_of(transaction, &[item.to_string()]).await?;
                }
                let there: HashSet<u32> = before.positions.into_iter().collect();
                let rows = EdgeRows::of(item, edges, &there);
                for (text, rows) in [
                    (MERGE_CONCEPTS, rows.concepts),
                    (CREATE_REFERENCES, rows.references),
                    (CREATE_MENTIONS, rows.mentions),
                    (CREATE_RELATED, rows.related),
                ] {
                    for batch in rows.chunks(EDGE_BATCH) {
                        let query = cypher(text)
                            .param("rows", batch)
                            .param("item", item.as_str())
                            .param("library", staged.library_uid.as_str());
                        transaction.run(query).await?;
                    }
                }
                Ok(before.linked)
            })
        })
        .await?;
    if anew {
        removal::remove_orphans(database).await?;
    }
    Ok(())
}

/// The parameters of the statements above.
#[derive(Default)]
struct EdgeRows {
    concepts: Vec<BoltType>,
    references: Vec<BoltType>,
    mentions: Vec<BoltType>,
    related: Vec<BoltType>,
}

impl EdgeRows {
    /// What is left of the edges where only chunks at the positions `there` can be mentioned.
    fn of(item: &ItemUid, edges: &Edges, there: &HashSet<u32>) -> Self {
        let mut rows = Self::default();
        let mut kept = HashSet::new();
        for (place, concept) in edges.concepts.iter().enumerate() {
            let positions: Vec<u32> = concept
                .positions
                .iter()
                .copied()
                .filter(|position| there.contains(position))
                .collect();
            if positions.is_empty() {
                continue;
            }
            kept.insert(place);
            let uid = || ("uid", concept.uid.as_str().into());
            rows.concepts.push(map([
                uid(),
                ("name", concept.name.as_str().into()),
                ("normal_name", concept.normal_name.as_str().into()),
                ("terms", concept.terms.join(" ").into()),
                ("kind", concept.kind.as_str().into()),
                ("extracted_by", concept.extracted_by.as_str().into()),
            ]));
            rows.references.push(map([
                uid(),
                ("weight", f64::from(concept.weight).into()),
                (
                    "positions",
                    positions.iter().map(|position| i64::from(*position)).collect(),
                ),
            ]));
            rows.mentions.extend(positions.iter().map(|position| {
                map([
                    ("chunk", ChunkUid::derive(item, *position).as_str().into()),
                    ("concept", concept.uid.as_str().into()),
                ])
            }));
        }
        for (one, other, weight) in &edges.pairs {
            if !kept.contains(one) || !kept.contains(other) {
                continue;
            }
            let uid = |place: usize| edges.concepts[place].uid.as_str().into();
            for (source, target) in [(*one, *other), (*other, *one)] {
                rows.related.push(map([
                    ("source", uid(source)),
                    ("target", uid(target)),
                    ("weight", f64::from(*weight).into()),
                ]));
            }
        }
        rows
    }
}

/// The columns of a concept.
#[derive(Deserialize)]
struct ConceptRow {
    uid: String,
    name: String,
    kind: String,
    extracted_by: String,
    mentions: i64,
}

impl ConceptRow {
    fn concept(self) -> StoreResult<Concept> {
        Ok(Concept {
            uid: ConceptUid::from_store(self.uid),
            name: self.name,
            kind: ConceptKind::parse(&self.kind).ok_or_else(|| {
                StoreError::Corrupt(format!("a concept has the unknown kind {:?}", self.kind))
            })?,
            extracted_by: self.extracted_by,
            mentions: self.mentions.unsigned_abs(),
        })
    }
}

macro_rules! listed_concepts {
    () => {
        concat!(
            "MATCH (c:Concept)<-[r:REFERENCES]-",
            visible_item!(),
            " AND ($name_contains IS NULL OR c.normal_name CONTAINS $name_contains) "
        )
    };
}

const COUNT_CONCEPTS: &str = concat!(listed_concepts!(), "RETURN count(DISTINCT c) AS count");
const LIST_CONCEPTS: &str = concat!(
    listed_concepts!(),
    "WITH c, sum(r.mentions) AS mentions ORDER BY mentions DESC, c.name, c.uid SKIP $offset LIMIT $limit \
     RETURN c.uid AS uid, c.name AS name, c.kind AS kind, c.extracted_by AS extracted_by, mentions"
);

pub(super) async fn concepts(
    database: &Database,
    filter: &ConceptFilter,
    page: PageRequest,
) -> StoreResult<Page<Concept>> {
    let admitted = Admitted::inside(filter.scope.as_ref())
        .library(filter.library_uid.as_ref())
        .item(filter.item_uid.as_ref());
    let name_contains = filter.name_contains.as_deref().map(str::to_lowercase);
    let with_filter = |text| {
        admitted
            .query(text)
            .param("name_contains", name_contains.as_deref())
    };
    page_of(
        database,
        with_filter(COUNT_CONCEPTS),
        with_filter(LIST_CONCEPTS)
            .param("offset", number(page.offset))
            .param("limit", number(page.limit)),
        ConceptRow::concept,
    )
    .await
}

/// A concept with how near it is.
#[derive(Deserialize)]
struct RelatedRow {
    uid: String,
    name: String,
    kind: String,
    extracted_by: String,
    mentions: i64,
    strength: f64,
}

/// Near are the concepts that an item relates to the asked one, and a little those it mentions in the same chunks.
const RELATED: &str = concat!(
    "MATCH (asked:Concept {uid: $concept})<-[r:REFERENCES]-",
    visible_item!(),
    " WITH asked, i, r ORDER BY r.weight DESC LIMIT $items \
     CALL (asked, i, r) { \
         MATCH (asked)-[e:RELATED_TO {item_uid: i.uid}]->(t:Concept) RETURN t, e.weight AS strength \
         UNION ALL \
         MATCH (i)-[s:REFERENCES]->(t:Concept) WHERE t <> asked \
         WITH t, size([position IN s.positions WHERE position IN r.positions]) AS together WHERE together > 0 \
         RETURN t, 0.1 * together AS strength \
     } \
     WITH t, sum(strength) AS strength ORDER BY strength DESC, t.uid LIMIT $limit \
     CALL (t) { MATCH (t)<-[r:REFERENCES]-",
    visible_item!(),
    " RETURN coalesce(sum(r.mentions), 0) AS mentions } \
     RETURN t.uid AS uid, t.name AS name, t.kind AS kind, t.extracted_by AS extracted_by, mentions, strength \
     ORDER BY strength DESC, uid"
);

pub(super) async fn related_concepts(
    database: &Database,
    uid: &ConceptUid,
    scope: Option<&Scope>,
    limit: u32,
) -> StoreResult<Vec<(Concept, f32)>> {
    let query = Admitted::inside(scope)
        .query(RELATED)
        .param("concept", uid.as_str())
        .param("items", RELATED_ITEMS)
        .param("limit", number(limit));
    let rows = database.read::<RelatedRow>(query).await?;
    rows.into_iter()
        .map(|row| {
            let concept = ConceptRow {
                uid: row.uid,
                name: row.name,
                kind: row.kind,
                extracted_by: row.extracted_by,
                mentions: row.mentions,
            };
            Ok((concept.concept()?, row.strength as f32))
        })
        .collect()
}

macro_rules! mentioning {
    () => {
        concat!(
            "MATCH (:Concept {uid: $concept})<-[r:REFERENCES]-",
            visible_item!(),
            " "
        )
    };
}

const COUNT_MENTIONING: &str = concat!(
    mentioning!(),
    "RETURN coalesce(sum(size(r.positions)), 0) AS count"
);
const LIST_MENTIONING: &str = concat!(
    mentioning!(),
    "UNWIND r.positions AS position WITH r.weight AS weight, i.uid AS item, position \
     ORDER BY weight DESC, item, position SKIP $offset LIMIT $limit RETURN item, position"
);

#[derive(Deserialize)]
struct Place {
    item: String,
    position: u32,
}

pub(super) async fn chunks_of_concept(
    database: &Database,
    uid: &ConceptUid,
    scope: Option<&Scope>,
    page: PageRequest,
) -> StoreResult<Page<ChunkUid>> {
    let admitted = Admitted::inside(scope);
    page_of(
        database,
        admitted.query(COUNT_MENTIONING).param("concept", uid.as_str()),
        admitted
            .query(LIST_MENTIONING)
            .param("concept", uid.as_str())
            .param("offset", number(page.offset))
            .param("limit", number(page.limit)),
        |place: Place| {
            let item = ItemUid::from_store(place.item);
            Ok(ChunkUid::derive(&item, place.position))
        },
    )
    .await
}
