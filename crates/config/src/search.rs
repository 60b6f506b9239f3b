//! "Search & re-ranker" of the deployment document, and the weights of the legs.

use std::time::Duration;

use crate::reader::Reader;

/// The legs of a search and their fusion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchSection {
    /// Candidates of the vector leg.
    pub vector_top_k: usize,
    /// Candidates of the full-text leg.
    pub fulltext_top_k: usize,
    /// Steps that the graph leg walks.
    pub graph_max_depth: u32,
    /// The constant of reciprocal rank fusion.
    pub rrf_k: f32,
    /// Results where the caller does not say how many.
    pub default_limit: usize,
    /// Weight of the vector leg where the model is neural.
    pub weight_vector: f32,
    /// Weight of the vector leg where the model is lexical.
    pub weight_lexical: f32,
    /// Weight of the full-text leg.
    pub weight_fulltext: f32,
    /// Weight of the graph leg.
    pub weight_graph: f32,
}

/// The bounds of re-ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RerankerLimits {
    /// How many results are re-ranked.
    pub max_candidates: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<SearchSection> {
    let vector_top_k = reader.number("SEARCH_VECTOR_TOP_K", 1..=1000);
    let fulltext_top_k = reader.number("SEARCH_FULLTEXT_TOP_K", 1..=1000);
    let graph_max_depth = reader.number("SEARCH_GRAPH_MAX_DEPTH", 0..=5);
    let rrf_k = reader.number("SEARCH_RRF_K", 1_u16..=10_000);
    let default_limit = reader.number("SEARCH_DEFAULT_LIMIT", 1..=100);
    let weight_vector = reader.weight("SEARCH_WEIGHT_VECTOR");
    let weight_lexical = reader.weight("SEARCH_WEIGHT_LEXICAL");
    let weight_fulltext = reader.weight("SEARCH_WEIGHT_FULLTEXT");
    let weight_graph = reader.weight("SEARCH_WEIGHT_GRAPH");
    let section = SearchSection {
        vector_top_k: vector_top_k?,
        fulltext_top_k: fulltext_top_k?,
        graph_max_depth: graph_max_depth?,
        rrf_k: f32::from(rrf_k?),
        default_limit: default_limit?,
        weight_vector: weight_vector?,
        weight_lexical: weight_lexical?,
        weight_fulltext: weight_fulltext?,
        weight_graph: weight_graph?,
    };
    // A search whose only leg weighs nothing finds nothing in any order.
    if section.weight_fulltext == 0.0 && (section.weight_vector == 0.0 || section.weight_lexical == 0.0) {
        reader.problem(
            "SEARCH_WEIGHT_FULLTEXT",
            "is 0, and so is SEARCH_WEIGHT_VECTOR or SEARCH_WEIGHT_LEXICAL: words or vectors must count.",
        );
    }
    Some(section)
}

pub(crate) fn read_reranker(reader: &mut Reader<'_>) -> Option<RerankerLimits> {
    let max_candidates = reader.number("RERANKER_MAX_CANDIDATES", 1..=1000);
    let timeout = reader.seconds("RERANKER_TIMEOUT", 1..=3600);
    Some(RerankerLimits {
        max_candidates: max_candidates?,
        timeout: timeout?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let config = read(&[]);
        assert_eq!(
            config.search,
            SearchSection {
                vector_top_k: 50,
                fulltext_top_k: 30,
                graph_max_depth: 2,
                rrf_k: 60.0,
                default_limit: 20,
                weight_vector: 1.0,
                weight_lexical: 0.01,
                weight_fulltext: 1.0,
                weight_graph: 0.01,
            }
        );
        assert_eq!(config.reranker.max_candidates, 32);
        assert_eq!(config.reranker.timeout, Duration::from_secs(30));
    }

    #[test]
    fn values() {
        let search = read(&[
            ("SEARCH_GRAPH_MAX_DEPTH", "0"),
            ("SEARCH_WEIGHT_LEXICAL", "0"),
            ("SEARCH_WEIGHT_GRAPH", "2"),
        ])
        .search;
        assert_eq!(search.graph_max_depth, 0);
        assert_eq!((search.weight_lexical, search.weight_graph), (0.0, 2.0));
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("SEARCH_VECTOR_TOP_K", "0"),
            ("SEARCH_FULLTEXT_TOP_K", "1001"),
            ("SEARCH_GRAPH_MAX_DEPTH", "deep"),
            ("SEARCH_RRF_K", "0"),
            ("SEARCH_DEFAULT_LIMIT", "-1"),
            ("SEARCH_WEIGHT_VECTOR", "-0.5"),
            ("SEARCH_WEIGHT_LEXICAL", "NaN"),
            ("SEARCH_WEIGHT_FULLTEXT", "inf"),
            ("SEARCH_WEIGHT_GRAPH", "0,5"),
            ("RERANKER_MAX_CANDIDATES", "none"),
            ("RERANKER_TIMEOUT", "0"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }

    #[test]
    fn something_must_count() {
        let environment = MapEnvironment::new()
            .with("SEARCH_WEIGHT_FULLTEXT", "0")
            .with("SEARCH_WEIGHT_VECTOR", "0");
        assert_eq!(problems(&environment).len(), 1);
    }
}
