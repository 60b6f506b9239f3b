//! Search, and why each hit is one.

use std::collections::BTreeMap;

use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::ports::{LibraryFilter, LibraryOrder};
use mnemosyne_domain::{Leg, Library, LibraryType, LibraryUid, ModelKind, Principal, Scope};
use mnemosyne_services::search::{MAX_LIMIT, SearchHit, SearchOutcome, SearchRequest};
use mnemosyne_services::{SearchSettings, ServiceError, ServiceResult, Services};

use super::libraries::{library_uid, type_choices};
use super::rows::{KnownLibraries, demo_questions, library_ref, model_label};
use super::shell::{PageResult, Params, Visitor, off_executor};
use super::view::{
    Answer, Choice, Highlighter, Hit, LegBar, LibraryRef, ModelLabel, Pager, SearchPage, Section, href,
};
use crate::state::AppState;

/// How long an excerpt is, in characters.
const EXCERPT_CHARS: usize = 420;
/// Libraries to narrow to beside the results, apart from those that hold some.
const LIBRARIES_SHOWN: u32 = 40;

/// What an address asks for, apart from the page.
struct Asked {
    query: String,
    library: Option<Library>,
    kind: Option<LibraryType>,
}

impl Asked {
    fn library_word(&self) -> &str {
        self.library
            .as_ref()
            .map(|library| library.uid.as_str())
            .unwrap_or_default()
    }

    fn kind_word(&self) -> &'static str {
        self.kind.map(LibraryType::as_str).unwrap_or_default()
    }

    fn is_chosen(&self, library: &Library) -> bool {
        self.library
            .as_ref()
            .is_some_and(|chosen| chosen.uid == library.uid)
    }

    /// Whether the question is put to a library.
    fn searches(&self, library: &Library) -> bool {
        match &self.library {
            Some(chosen) => chosen.uid == library.uid,
            None => Scope::global().admits(&library.uid, library.workspace_id.as_ref()),
        }
    }

    /// The best passages, as many as a search gives; or why nothing can be searched, in words.
    async fn answer(
        &self,
        services: &Services,
        caller: &Principal,
    ) -> ServiceResult<Result<SearchOutcome, String>> {
        let library = self.library.as_ref();
        let request = SearchRequest {
            query: self.query.clone(),
            workspace_id: library
                .and_then(|library| library.workspace_id.as_ref())
                .map(ToString::to_string),
            library_uid: library.map(|library| library.uid.to_string()),
            library_type: self.kind.map(|kind| kind.as_str().to_owned()),
            limit: Some(MAX_LIMIT),
            ..SearchRequest::default()
        };
        match services.search(caller, request).await {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(ServiceError::Invalid(problems)) => Ok(Err(problems
                .into_values()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "))),
            Err(error) => Err(error),
        }
    }
}

/// How many hits there are in each library and of each type.
#[derive(Default)]
struct Counts {
    by_library: BTreeMap<LibraryUid, u64>,
    by_type: BTreeMap<LibraryType, u64>,
}

impl Counts {
    fn of(hits: &[SearchHit]) -> Self {
        let mut counts = Self::default();
        for found in hits {
            *counts
                .by_library
                .entry(found.hit.library_uid.clone())
                .or_default() += 1;
            *counts.by_type.entry(found.hit.library_type).or_default() += 1;
        }
        counts
    }
}

/// The page. A search sees the global libraries, or one workspace where its library is chosen.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let library = match params.get("library") {
        "" => None,
        text => Some(services.library(caller, &library_uid(text)?).await?),
    };
    let asked = Asked {
        query: params.get("q").to_owned(),
        library,
        kind: LibraryType::parse(params.get("type")),
    };
    let (outcome, problem) = if asked.query.is_empty() {
        (None, None)
    } else {
        match asked.answer(services, caller).await? {
            Ok(outcome) => (Some(outcome), None),
            Err(problem) => (None, Some(problem)),
        }
    };
    let counts = outcome.as_ref().map(|outcome| Counts::of(&outcome.hits));
    let mut known = KnownLibraries::new(services, caller);
    let libraries = library_choices(&mut known, &asked, counts.as_ref()).await?;
    let mut types = type_choices("/search/", asked.kind, &[("q", &asked.query)]);
    if let Some(counts) = &counts {
        count_types(&mut types, &asked, counts);
    }
    let passages = searched(services, caller, &asked).await?;
    let questions = if asked.query.is_empty() {
        demo_questions(services, caller).await?
    } else {
        Vec::new()
    };
    let others = [
        ("q", asked.query.as_str()),
        ("type", asked.kind_word()),
        ("library", asked.library_word()),
    ];
    let total = outcome.as_ref().map_or(0, |outcome| outcome.hits.len() as u64);
    let per_page = services.settings().search.default_limit as u64;
    let pager = Pager::new(total, params.page(), per_page, "/search/", &others);
    let answer = match outcome {
        Some(outcome) => Some(present(&mut known, outcome, &pager, &asked.query).await?),
        None => None,
    };
    let status = if problem.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let mut frame = visitor.frame(&state, "Search", Section::Search).await;
    frame.query = asked.query.clone();
    let page = SearchPage {
        frame,
        library: asked.library_word().to_owned(),
        kind: asked.kind_word().to_owned(),
        libraries,
        types,
        answer,
        pager,
        problem,
        passages,
        questions,
    };
    visitor.page(status, &page)
}

/// How many passages a search looks at.
async fn searched(services: &Services, caller: &Principal, asked: &Asked) -> ServiceResult<u64> {
    match &asked.library {
        Some(library) if asked.kind.is_some_and(|kind| kind != library.library_type) => Ok(0),
        Some(library) => Ok(library.chunk_count),
        None => {
            let filter = LibraryFilter {
                scope: Some(Scope::global()),
                library_type: asked.kind,
                ..LibraryFilter::default()
            };
            Ok(services.library_totals(caller, filter).await?.chunks)
        }
    }
}

/// The libraries to choose from: the one that is chosen, those with hits, and those with most passages. With each, how
/// many hits it has; before anything was asked, how many passages.
async fn library_choices(
    known: &mut KnownLibraries<'_>,
    asked: &Asked,
    counts: Option<&Counts>,
) -> ServiceResult<Vec<Choice>> {
    let filter = LibraryFilter {
        library_type: asked.kind,
        order: LibraryOrder::MostChunksFirst,
        ..LibraryFilter::default()
    };
    let mut offered = known.first(filter, LIBRARIES_SHOWN).await?;
    let with_hits = counts.iter().flat_map(|counts| counts.by_library.keys());
    for uid in with_hits.chain(asked.library.iter().map(|library| &library.uid)) {
        if !offered.iter().any(|library| library.uid == *uid) {
            offered.extend(known.whole(uid).await?);
        }
    }
    offered.sort_by(|a, b| a.name.cmp(&b.name));
    let address = |library: &str| {
        href(
            "/search/",
            &[
                ("q", &asked.query),
                ("type", asked.kind_word()),
                ("library", library),
            ],
        )
    };
    let hits = |library: &Library| match counts {
        None => Some(library.chunk_count),
        // What was not searched may hold any number.
        Some(_) if !asked.searches(library) => None,
        Some(counts) => Some(counts.by_library.get(&library.uid).copied().unwrap_or(0)),
    };
    let everywhere = Choice {
        label: "All libraries".to_owned(),
        href: address(""),
        count: None,
        is_chosen: asked.library.is_none(),
        kind: None,
    };
    let each = offered.iter().map(|library| Choice {
        label: library.name.clone(),
        href: address(library.uid.as_str()),
        count: hits(library),
        is_chosen: asked.is_chosen(library),
        kind: Some(library.library_type),
    });
    Ok(std::iter::once(everywhere).chain(each).collect())
}

/// Says how many hits are of each type, as far as the search looked at it. A library has one type: choosing a type leaves
/// the library behind, so inside a library nothing is known of what the others would give.
fn count_types(types: &mut [Choice], asked: &Asked, counts: &Counts) {
    for choice in types {
        choice.count = match choice.kind {
            _ if asked.library.is_some() => None,
            Some(kind) if asked.kind.is_none_or(|asked| asked == kind) => {
                Some(counts.by_type.get(&kind).copied().unwrap_or(0))
            }
            _ => None,
        };
    }
}

/// The hits of one page.
async fn present(
    known: &mut KnownLibraries<'_>,
    outcome: SearchOutcome,
    pager: &Pager,
    query: &str,
) -> ServiceResult<Answer> {
    let services = known.services();
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
    let skipped = usize::try_from(pager.offset()).unwrap_or(usize::MAX);
    let shown = usize::try_from(pager.to)
        .unwrap_or(usize::MAX)
        .saturating_sub(skipped);
    let mut found = Vec::with_capacity(shown);
    let models = services.models().await?;
    for hit in outcome.hits.into_iter().skip(skipped).take(shown) {
        let library = known.whole(&hit.hit.library_uid).await?;
        let kind = library
            .as_ref()
            .and_then(|library| library.embedding_model.as_deref())
            .map_or(ModelKind::Neural, |name| model_label(&models, name).kind);
        let reference = library.as_ref().map_or_else(
            // Deleted between the two questions.
            || LibraryRef {
                uid: hit.hit.library_uid.clone(),
                name: "deleted library".to_owned(),
                kind: hit.hit.library_type,
            },
            library_ref,
        );
        found.push((hit, reference, kind));
    }
    let (query, settings) = (query.to_owned(), services.settings().search.clone());
    let hits = off_executor(move || {
        let highlighter = Highlighter::new(&query);
        found
            .into_iter()
            .map(|(hit, library, kind)| present_hit(hit, library, kind, &highlighter, &settings))
            .collect()
    })
    .await?;
    Ok(Answer {
        hits,
        took_ms: took.max(0.0).round() as u64,
        degraded: outcome
            .degraded
            .iter()
            .map(|word| degraded_sentence(word))
            .collect(),
        model,
    })
}

fn present_hit(
    found: SearchHit,
    library: LibraryRef,
    model: ModelKind,
    highlighter: &Highlighter,
    settings: &SearchSettings,
) -> Hit {
    let legs = leg_bars(&found, model, settings);
    let hit = found.hit;
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
/// weight depends on the model that made the library's vectors.
fn leg_bars(found: &SearchHit, model: ModelKind, settings: &SearchSettings) -> Vec<LegBar> {
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
        model,
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
        let bars = leg_bars(&found, ModelKind::Lexical, &settings);
        let shares: Vec<f32> = bars.iter().map(|bar| bar.share).collect();
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{shares:?}");
        assert!(
            (shares[0] - 0.2337).abs() < 1e-3 && shares[2] == 0.0,
            "{shares:?}"
        );
        assert_eq!(bars[1].found, Some((2, 7.5)));
        assert_eq!(
            [bars[0].word(), bars[1].word()],
            ["Spelling (lexical)", "Words"],
            "a leg is named after what it compares"
        );
        assert_eq!(
            leg_bars(&found, ModelKind::Neural, &settings)[0].word(),
            "Meaning"
        );
    }

    #[test]
    fn words_of_degradation_are_sentences_for_people() {
        for word in ["vector_failed", "embedding_model_missing: a/b", "brand_new_word"] {
            assert!(degraded_sentence(word).ends_with('.'), "{word}");
        }
    }
}
