//! Reciprocal rank fusion with a weight for each leg.

use std::collections::{BTreeMap, HashMap};

use mnemosyne_domain::{ChunkUid, Leg, LegHit};

/// What one leg found, best first.
#[derive(Clone, Debug)]
pub struct LegRanking {
    /// The leg. Several rankings of one leg (a vector space each) are kept apart while ranks are counted.
    pub leg: Leg,
    /// How much a rank of this leg counts.
    pub weight: f32,
    /// The hits.
    pub hits: Vec<LegHit>,
}

/// Rank (from 1) and score of a chunk in one leg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LegScore {
    /// 1 for the leg's best.
    pub rank: usize,
    /// The leg's own score.
    pub score: f32,
}

/// A chunk with its fused score.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The chunk.
    pub chunk_uid: ChunkUid,
    /// Sum of `weight / (k + rank)`.
    pub score: f32,
    /// Where it stood in each leg.
    pub legs: BTreeMap<Leg, LegScore>,
}

/// Fuses rankings (Cormack, Clarke, Büttcher 2009, with weights): each chunk once, best first. Ties go to the chunk with
/// the better single rank, then by identifier, so that the order never depends on that of the legs.
pub fn fuse(rankings: Vec<LegRanking>, k: f32) -> Vec<Fused> {
    let mut found: HashMap<ChunkUid, Fused> = HashMap::new();
    for ranking in rankings {
        for (index, hit) in ranking.hits.into_iter().enumerate() {
            let rank = index + 1;
            let entry = found.entry(hit.chunk_uid.clone()).or_insert_with(|| Fused {
                chunk_uid: hit.chunk_uid,
                score: 0.0,
                legs: BTreeMap::new(),
            });
            let place = LegScore {
                rank,
                score: hit.score,
            };
            let known = entry.legs.entry(ranking.leg).or_insert(place);
            if rank < known.rank {
                *known = place;
            }
            entry.score += ranking.weight / (k + rank as f32);
        }
    }
    let mut fused: Vec<Fused> = found.into_values().collect();
    let best_rank = |fused: &Fused| {
        fused
            .legs
            .values()
            .map(|leg| leg.rank)
            .min()
            .unwrap_or(usize::MAX)
    };
    fused.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| best_rank(a).cmp(&best_rank(b)))
            .then_with(|| a.chunk_uid.cmp(&b.chunk_uid))
    });
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(leg: Leg, weight: f32, names: &[&str]) -> LegRanking {
        let hits = names
            .iter()
            .map(|name| LegHit {
                chunk_uid: ChunkUid::from_store((*name).into()),
                score: 1.0,
            })
            .collect();
        LegRanking { leg, weight, hits }
    }

    fn order(rankings: Vec<LegRanking>) -> Vec<String> {
        fuse(rankings, 60.0)
            .into_iter()
            .map(|fused| fused.chunk_uid.to_string())
            .collect()
    }

    #[test]
    fn what_two_legs_agree_on_comes_first_and_only_once() {
        let rankings = vec![
            ranking(Leg::Vector, 1.0, &["a", "b", "c"]),
            ranking(Leg::Fulltext, 1.0, &["b", "d"]),
        ];
        assert_eq!(order(rankings), ["b", "a", "d", "c"]);
    }

    #[test]
    fn the_order_of_the_legs_does_not_matter() {
        let (one, two) = (
            ranking(Leg::Vector, 1.0, &["a", "b"]),
            ranking(Leg::Graph, 1.0, &["b", "a"]),
        );
        assert_eq!(order(vec![one.clone(), two.clone()]), order(vec![two, one]));
    }

    #[test]
    fn a_weak_leg_does_not_sink_the_better_one() {
        let words = ["best", "good", "fair"];
        let noise = ["x", "y", "z", "fair", "good"];
        let fused = order(vec![
            ranking(Leg::Fulltext, 1.0, &words),
            ranking(Leg::Vector, 0.01, &noise),
        ]);
        assert_eq!(fused[0], "best");
        assert!(fused.iter().position(|name| name == "x") > fused.iter().position(|name| name == "fair"));
    }

    #[test]
    fn scores_follow_the_formula() {
        let fused = fuse(
            vec![
                ranking(Leg::Vector, 0.5, &["a"]),
                ranking(Leg::Fulltext, 1.0, &["b", "a"]),
            ],
            60.0,
        );
        let a = fused
            .iter()
            .find(|fused| fused.chunk_uid.as_str() == "a")
            .unwrap();
        assert!((a.score - (0.5 / 61.0 + 1.0 / 62.0)).abs() < 1e-6);
        assert_eq!(a.legs[&Leg::Fulltext].rank, 2);
    }
}
