//! The concepts of one item as a graph takes them: spellings of one concept together, and which of them belong together.

use std::collections::{BTreeMap, HashMap};

use mnemosyne_domain::{ConceptKind, ConceptMention, ConceptUid};

use crate::analysis;

/// How many of an item's concepts are looked at for pairs.
const PAIRED_CONCEPTS: usize = 60;

/// How many pairs of concepts an item relates to each other: the strongest of those that share a chunk.
const RELATED_PAIRS: usize = 16;

/// A concept of an item, with all its spellings together.
pub(crate) struct Merged {
    pub(crate) uid: ConceptUid,
    pub(crate) name: String,
    pub(crate) normal_name: String,
    pub(crate) terms: Vec<String>,
    pub(crate) kind: ConceptKind,
    pub(crate) extracted_by: String,
    pub(crate) weight: f32,
    pub(crate) positions: Vec<u32>,
}

/// Mentions of one concept under several spellings become one; nameless ones are left out.
pub(crate) fn merged(mentions: &[ConceptMention]) -> Vec<Merged> {
    let mut found: Vec<Merged> = Vec::with_capacity(mentions.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(mentions.len());
    for mention in mentions {
        let name: String = mention.name.chars().filter(|c| !c.is_control()).collect();
        let normal_name = ConceptMention::normal_name(&name);
        if normal_name.is_empty() {
            continue;
        }
        let weight = if mention.weight.is_finite() {
            mention.weight.clamp(0.0, 1.0)
        } else {
            0.0
        };
        if let Some(&place) = places.get(&normal_name) {
            let known = &mut found[place];
            known.weight = known.weight.max(weight);
            known.positions.extend(&mention.chunk_positions);
            known.positions.sort_unstable();
            known.positions.dedup();
            continue;
        }
        places.insert(normal_name.clone(), found.len());
        found.push(Merged {
            uid: ConceptUid::derive(&normal_name),
            terms: analysis::passage_terms(&name),
            name,
            normal_name,
            kind: mention.kind,
            extracted_by: mention.extracted_by.clone(),
            weight,
            positions: mention.chunk_positions.clone(),
        });
    }
    found
}

/// The strongest pairs of concepts that share a chunk, with weights from 0 to 1.
pub(crate) fn related_pairs(concepts: &[Merged]) -> Vec<(usize, usize, f32)> {
    let mut order: Vec<usize> = (0..concepts.len()).collect();
    order.sort_by(|&a, &b| concepts[b].weight.total_cmp(&concepts[a].weight).then(a.cmp(&b)));
    order.truncate(PAIRED_CONCEPTS);
    let mut by_chunk: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &concept in &order {
        for &position in &concepts[concept].positions {
            by_chunk.entry(position).or_default().push(concept);
        }
    }
    let mut shared: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for together in by_chunk.values() {
        for (place, &one) in together.iter().enumerate() {
            for &other in &together[place + 1..] {
                *shared.entry((one.min(other), one.max(other))).or_default() += 1;
            }
        }
    }
    let mut pairs: Vec<(usize, usize, f32)> = shared
        .into_iter()
        .map(|((one, other), chunks)| {
            let (a, b) = (&concepts[one], &concepts[other]);
            let fewer = a.positions.len().min(b.positions.len()).max(1);
            let together = (chunks as f32 / fewer as f32).min(1.0);
            (one, other, (a.weight * b.weight).sqrt() * (0.5 + 0.5 * together))
        })
        .collect();
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    pairs.truncate(RELATED_PAIRS);
    pairs
}
