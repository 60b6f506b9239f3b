//! Search, and why each hit is one.

use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::ports::LibraryFilter;
use mnemosyne_domain::{Leg, Library, LibraryType, LibraryUid, ModelKind, Scope};
use mnemosyne_services::search::{SearchHit, SearchOutcome, SearchRequest};
use mnemosyne_services::{SearchSettings, ServiceError};

use super::libraries::type_choices;
use super::rows::{all_libraries, library_ref};
use super::shell::{PageError, PageResult, Params, Visitor};
use super::view::{
    Answer, Choice, Highlighter, Hit, LegBar, LibraryRef, ModelLabel, SearchPage, Section, href,
};
use crate::state::AppState;

/// How long an excerpt is, in characters.
const EXCERPT_CHARS: usize = 420;
/// Libraries to narrow to beside the results.
const LIBRARIES_SHOWN: usize = 40;

/// The page. A search sees the global libraries, or one workspace where its library is chosen.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let query = params.get("q");
    let kind = LibraryType::parse(params.get("type"));
    let all = all_libraries(services, caller, LibraryFilter::default()).await?;
    let chosen = match params.get("library") {
        "" => None,
        text => {
            let uid = LibraryUid::parse(text);
            let found = all.iter().find(|library| Some(&library.uid) == uid.as_ref());
            Some(found.ok_or_else(|| PageError::not_found("library"))?)
        }
    };
    let kind_word = kind.map(LibraryType::as_str).unwrap_or_default();
    let chosen_uid = chosen.map(|library| library.uid.as_str()).unwrap_or_default();
    let (answer, problem) = if query.is_empty() {
        (None, None)
    } else {
        let request = SearchRequest {
            query: query.to_owned(),
            workspace_id: chosen
                .and_then(|library| library.workspace_id.as_ref())
                .map(ToString::to_string),
            library_uid: chosen.map(|library| library.uid.to_string()),
            library_type: kind.map(|kind| kind.as_str().to_owned()),
            ..SearchRequest::default()
        };
        match services.search(caller, request).await {
            Ok(outcome) => (
                Some(present(outcome, query, &all, &services.settings().search)),
                None,
            ),
            Err(ServiceError::Invalid(problems)) => (
                None,
                Some(problems.into_values().flatten().collect::<Vec<_>>().join(" ")),
            ),
            Err(error) => return Err(error.into()),
        }
    };
    let status = if problem.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let mut frame = visitor.frame(&state, "Search", Section::Search).await;
    frame.query = query.to_owned();
    let page = SearchPage {
        frame,
        library: chosen_uid.to_owned(),
        kind: kind_word.to_owned(),
        libraries: library_choices(&all, chosen, kind, query),
        // A library has one type: choosing a type leaves the library behind.
        types: type_choices("/search/", kind, &[("q", query)]),
        answer,
        problem,
        passages: searched(&all, chosen, kind),
    };
    visitor.page(status, &page)
}

/// How many passages a search looks at.
fn searched(all: &[Library], chosen: Option<&Library>, kind: Option<LibraryType>) -> u64 {
    let global = Scope::global();
    all.iter()
        .filter(|library| match chosen {
            Some(chosen) => library.uid == chosen.uid,
            None => global.admits(&library.uid, library.workspace_id.as_ref()),
        })
        .filter(|library| kind.is_none_or(|kind| library.library_type == kind))
        .map(|library| library.chunk_count)
        .sum()
}

/// The libraries to choose from, those with most passages first, the chosen one always among them.
fn library_choices(
    all: &[Library],
    chosen: Option<&Library>,
    kind: Option<LibraryType>,
    query: &str,
) -> Vec<Choice> {
    let kind_word = kind.map(LibraryType::as_str).unwrap_or_default();
    let address = |library: &str| {
        href(
            "/search/",
            &[("q", query), ("type", kind_word), ("library", library)],
        )
    };
    let is_chosen = |library: &Library| chosen.is_some_and(|chosen| chosen.uid == library.uid);
    let mut offered: Vec<&Library> = all
        .iter()
        .filter(|library| is_chosen(library) || kind.is_none_or(|kind| library.library_type == kind))
        .collect();
    offered.sort_by_key(|library| (!is_chosen(library), std::cmp::Reverse(library.chunk_count)));
    offered.truncate(LIBRARIES_SHOWN);
    offered.sort_by(|a, b| a.name.cmp(&b.name));
    let everywhere = Choice {
        label: "All libraries".to_owned(),
        href: address(""),
        count: None,
        is_chosen: chosen.is_none(),
        kind: None,
    };
    let each = offered.into_iter().map(|library| Choice {
        label: library.name.clone(),
        href: address(library.uid.as_str()),
        count: Some(library.chunk_count),
        is_chosen: is_chosen(library),
        kind: Some(library.library_type),
    });
    std::iter::once(everywhere).chain(each).collect()
}

fn present(outcome: SearchOutcome, query: &str, all: &[Library], settings: &SearchSettings) -> Answer {
    let highlighter = Highlighter::new(query);
    let took = outcome.timings_ms.get("total").copied().unwrap_or_default();
    // Where several models compared vectors, the weaker one is named: its limits are the limits of the answer.
    let model = outcome
        .models
        .iter()
        .find(|model| model.kind == ModelKind::Lexical)
        .or(outcome.models.first())
        .map(|model| ModelLabel {
            name: model.id.clone(),
            kind: model.kind,
        });
    Answer {
        hits: outcome
            .hits
            .into_iter()
            .map(|hit| present_hit(hit, &highlighter, all, settings))
            .collect(),
        took_ms: took.max(0.0).round() as u64,
        degraded: outcome
            .degraded
            .iter()
            .map(|word| degraded_sentence(word))
            .collect(),
        model,
    }
}

fn present_hit(
    found: SearchHit,
    highlighter: &Highlighter,
    all: &[Library],
    settings: &SearchSettings,
) -> Hit {
    let legs = leg_bars(&found, settings);
    let hit = found.hit;
    let library = all
        .iter()
        .find(|library| library.uid == hit.library_uid)
        .map_or_else(
            // Made between the two questions.
            || LibraryRef {
                uid: hit.library_uid.clone(),
                name: "new library".to_owned(),
                kind: hit.library_type,
            },
            library_ref,
        );
    Hit {
        excerpt: highlighter.excerpt(&hit.text, EXCERPT_CHARS),
        chunk_uid: hit.chunk_uid,
        item_uid: hit.item_uid,
        item_title: hit.item_title,
        library,
        heading_path: hit.heading_path,
        page: hit.page,
        page_kind: hit.page_kind,
        rank: found.rank as u64,
        score: found.score,
        legs,
    }
}

/// Each leg's part of the fused score. The weights of full text and graph are known; the rest is the vector leg's, whose
/// weight depends on the model.
fn leg_bars(found: &SearchHit, settings: &SearchSettings) -> Vec<LegBar> {
    let part = |leg: Leg, weight: f32| {
        found
            .legs
            .get(&leg)
            .map_or(0.0, |score| weight / (settings.rrf_k + score.rank as f32))
    };
    let fulltext = part(Leg::Fulltext, settings.weight_fulltext);
    let graph = part(Leg::Graph, settings.weight_graph);
    let vector = if found.legs.contains_key(&Leg::Vector) {
        found.score - fulltext - graph
    } else {
        0.0
    };
    [
        (Leg::Vector, vector),
        (Leg::Fulltext, fulltext),
        (Leg::Graph, graph),
    ]
    .into_iter()
    .map(|(leg, part)| LegBar {
        leg,
        found: found.legs.get(&leg).map(|score| (score.rank as u64, score.score)),
        share: if found.score > 0.0 {
            (part / found.score).clamp(0.0, 1.0)
        } else {
            0.0
        },
    })
    .collect()
}

/// What a word of `degraded` means to a person.
fn degraded_sentence(word: &str) -> String {
    if let Some(model) = word.strip_prefix("embedding_model_missing: ") {
        return format!("The vectors of {model} were left out: the model is not available here.");
    }
    match word {
        "vector_failed" => "The search by meaning failed; results come from words and concepts alone.",
        "fulltext_failed" => "The search for words failed; results come from vectors and concepts alone.",
        "graph_failed" => "The search over concepts failed; results come from vectors and words alone.",
        "embedder_unavailable" => {
            "The embedding model does not answer; results come from words and concepts alone."
        }
        "embedder_refused" => {
            "The embedding model refused the question; results come from words and concepts alone."
        }
        other => return format!("A part of the search was left out ({other})."),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mnemosyne_domain::{ChunkHit, ChunkUid, ItemUid, PlaceKind};
    use mnemosyne_services::search::LegScore;

    use super::*;

    #[test]
    fn shares_of_legs_add_up_to_the_whole() {
        let settings = SearchSettings {
            vector_top_k: 50,
            fulltext_top_k: 30,
            graph_max_depth: 2,
            rrf_k: 60.0,
            default_limit: 10,
            weight_vector: 1.0,
            weight_lexical: 0.3,
            weight_fulltext: 1.0,
            weight_graph: 0.5,
        };
        let item = ItemUid::generate();
        let found = SearchHit {
            hit: ChunkHit {
                chunk_uid: ChunkUid::derive(&item, 0),
                item_uid: item,
                item_title: String::new(),
                library_uid: LibraryUid::generate(),
                library_type: LibraryType::Fiction,
                text: String::new(),
                heading_path: Vec::new(),
                page: None,
                page_kind: PlaceKind::Page,
                position: 0,
            },
            rank: 1,
            score: 0.3 / 61.0 + 1.0 / 62.0,
            legs: BTreeMap::from([
                (Leg::Vector, LegScore { rank: 1, score: 0.8 }),
                (Leg::Fulltext, LegScore { rank: 2, score: 7.5 }),
            ]),
        };
        let bars = leg_bars(&found, &settings);
        let shares: Vec<f32> = bars.iter().map(|bar| bar.share).collect();
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{shares:?}");
        assert!(
            (shares[0] - 0.2337).abs() < 1e-3 && shares[2] == 0.0,
            "{shares:?}"
        );
        assert_eq!(bars[1].found, Some((2, 7.5)));
    }

    #[test]
    fn words_of_degradation_are_sentences_for_people() {
        for word in ["vector_failed", "embedding_model_missing: a/b", "brand_new_word"] {
            assert!(degraded_sentence(word).ends_with('.'), "{word}");
        }
    }
}
