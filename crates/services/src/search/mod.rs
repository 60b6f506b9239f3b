//! Hybrid search: vector, full-text and graph legs side by side, fused by rank (contract §7).

mod fuse;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use futures::future::join_all;
use mnemosyne_domain::ports::{EmbedError, EmbedText, VectorQuery};
use mnemosyne_domain::{
    ChunkHit, ChunkUid, CollectionUid, EmbeddingModel, EmbeddingPurpose, EmbeddingStatus, ItemUid, Leg,
    LegHit, Library, LibraryType, LibraryUid, ModelKind, Principal, Scope, SearchFilter, StoreError,
    VectorSpace, WorkspaceId,
};

pub use self::fuse::{Fused, LegRanking, LegScore, fuse};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::libraries::parse_type;
use crate::permission::{self, Action};
use crate::validate::Problems;

/// The longest question, in characters.
pub const MAX_QUERY_CHARS: usize = 8_000;
/// The most results of one search.
pub const MAX_LIMIT: usize = 100;
/// Below this cosine a *lexical* vector shares hardly more with the query than chance: it is no hit.
const LEXICAL_FLOOR: f32 = 0.15;

/// A search, as the caller wrote it.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// The question.
    pub query: String,
    /// The workspace to search; empty or absent: the global libraries.
    pub workspace_id: Option<String>,
    /// Only this library.
    pub library_uid: Option<String>,
    /// Only libraries of this type.
    pub library_type: Option<String>,
    /// Only this collection.
    pub collection_uid: Option<String>,
    /// Only this item.
    pub item_uid: Option<String>,
    /// How many results.
    pub limit: Option<usize>,
    /// Whether to rerank where a reranker is configured.
    pub rerank: Option<bool>,
}

/// What became of reranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RerankStatus {
    /// Results are in the reranker's order.
    Ok,
    /// None is configured, or none was wanted.
    Skipped,
    /// It failed; results are in the fused order.
    Failed,
}

impl RerankStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// A found chunk with why it is here.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHit {
    /// The chunk.
    pub hit: ChunkHit,
    /// 1 for the best.
    pub rank: usize,
    /// The fused score: the sum of `weight / (k + rank)` over the legs.
    pub score: f32,
    /// Rank and score in each leg that found it.
    pub legs: BTreeMap<Leg, LegScore>,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// Best first.
    pub hits: Vec<SearchHit>,
    /// What became of reranking.
    pub rerank: RerankStatus,
    /// What could not be done, in stable words.
    pub degraded: Vec<String>,
    /// Milliseconds by step.
    pub timings_ms: BTreeMap<String, f64>,
    /// The models whose vectors were compared.
    pub models: Vec<EmbeddingModel>,
    /// What a model that reads the results is told about them, by the type of their library; where the search was held to
    /// one library, as that library says it.
    pub reading_notes: BTreeMap<LibraryType, String>,
}

/// What a search is asked to look at, checked.
struct Asked {
    filter: SearchFilter,
    /// The one library that is searched, where there is one.
    library: Option<Library>,
}

impl Asked {
    /// What an embedding model that takes instructions is told about the question: as the library says it, or the type.
    /// Where several types are searched, what fits most of them.
    fn instruction(&self) -> String {
        match &self.library {
            Some(library) => library.profile().embedding_instruction,
            None => self
                .filter
                .library_type
                .unwrap_or(LibraryType::Nonfiction)
                .profile()
                .embedding_instruction
                .clone(),
        }
    }

    fn reading_note(&self, kind: LibraryType) -> String {
        match &self.library {
            Some(library) => library.profile().llm_context,
            None => kind.profile().llm_context.clone(),
        }
    }
}

/// What the vector leg found in one space.
struct SpaceRanking {
    weight: f32,
    /// A hit below this score that no other leg found is none.
    floor: Option<f32>,
    hits: Vec<LegHit>,
}

struct VectorLeg {
    rankings: Vec<SpaceRanking>,
    models: Vec<EmbeddingModel>,
    degraded: Vec<String>,
    embed_ms: f64,
    search_ms: f64,
}

/// What came of asking one space.
struct SpaceAnswer {
    ranking: SpaceRanking,
    model: EmbeddingModel,
    embed_ms: f64,
    search_ms: f64,
}

impl Services {
    /// Searches. A leg that fails is named in `degraded`; only a wrong request, or a store that cannot answer at all, is
    /// an error.
    pub async fn search(&self, caller: &Principal, request: SearchRequest) -> ServiceResult<SearchOutcome> {
        permission::require(caller, Action::Read)?;
        let began = Instant::now();
        let limit = request.limit.unwrap_or(self.settings.search.default_limit);
        let query = request.query.clone();
        let asked = self.search_filter(caller, request, limit).await?;
        let filter = &asked.filter;
        let settings = &self.settings.search;

        let timed_fulltext = timed(
            self.knowledge
                .fulltext_leg(&query, filter, settings.fulltext_top_k),
        );
        let timed_graph = timed(self.knowledge.graph_leg(
            &query,
            filter,
            settings.graph_max_depth,
            settings.fulltext_top_k,
        ));
        let (vector, (fulltext, fulltext_ms), (graph, graph_ms)) =
            tokio::join!(self.vector_leg(&query, &asked), timed_fulltext, timed_graph);
        let vector = vector?;
        let mut degraded = vector.degraded;
        let mut rankings: Vec<LegRanking> = Vec::new();
        let mut failures = 0;
        for (leg, weight, result) in [
            (Leg::Fulltext, settings.weight_fulltext, fulltext),
            (Leg::Graph, settings.weight_graph, graph),
        ] {
            match result {
                Ok(hits) => rankings.push(LegRanking { leg, weight, hits }),
                Err(error) => {
                    tracing::warn!(leg = leg.as_str(), %error, "a leg of a search failed");
                    degraded.push(format!("{}_failed", leg.as_str()));
                    failures += 1;
                }
            }
        }
        let found_by_others: HashSet<&ChunkUid> = rankings
            .iter()
            .flat_map(|ranking| &ranking.hits)
            .map(|hit| &hit.chunk_uid)
            .collect();
        let by_vector: Vec<LegRanking> = vector
            .rankings
            .into_iter()
            .map(|mut ranking| {
                if let Some(floor) = ranking.floor {
                    ranking
                        .hits
                        .retain(|hit| hit.score >= floor || found_by_others.contains(&hit.chunk_uid));
                }
                LegRanking {
                    leg: Leg::Vector,
                    weight: ranking.weight,
                    hits: ranking.hits,
                }
            })
            .collect();
        rankings.extend(by_vector);
        if failures == 2 && rankings.is_empty() {
            return Err(ServiceError::Unavailable(
                "no leg of the search could answer".into(),
            ));
        }

        let fused = fuse(rankings, settings.rrf_k);
        let wanted: Vec<_> = fused
            .iter()
            .take(limit)
            .map(|found| found.chunk_uid.clone())
            .collect();
        let (found, hydrate_ms) = timed(self.knowledge.chunk_hits(&wanted, filter)).await;
        let mut by_uid: BTreeMap<_, _> = found?
            .into_iter()
            .map(|hit| (hit.chunk_uid.clone(), hit))
            .collect();
        let hits: Vec<SearchHit> = fused
            .into_iter()
            .take(limit)
            .filter_map(|fused| by_uid.remove(&fused.chunk_uid).map(|hit| (hit, fused)))
            .enumerate()
            .map(|(index, (hit, fused))| SearchHit {
                hit,
                rank: index + 1,
                score: fused.score,
                legs: fused.legs,
            })
            .collect();
        let timings_ms = BTreeMap::from([
            ("embed".to_owned(), vector.embed_ms),
            ("vector".to_owned(), vector.search_ms),
            ("fulltext".to_owned(), fulltext_ms),
            ("graph".to_owned(), graph_ms),
            ("hydrate".to_owned(), hydrate_ms),
            ("total".to_owned(), milliseconds(began)),
        ]);
        let reading_notes = hits
            .iter()
            .map(|found| found.hit.library_type)
            .map(|kind| (kind, asked.reading_note(kind)))
            .collect();
        Ok(SearchOutcome {
            hits,
            reading_notes,
            rerank: RerankStatus::Skipped,
            degraded,
            timings_ms,
            models: vector.models,
        })
    }

    async fn search_filter(
        &self,
        caller: &Principal,
        request: SearchRequest,
        limit: usize,
    ) -> ServiceResult<Asked> {
        let mut problems = Problems::default();
        problems.text(
            "query",
            Some(&request.query.replace(|c: char| c.is_control(), " ")),
            MAX_QUERY_CHARS,
        );
        if !(1..=MAX_LIMIT).contains(&limit) {
            problems.add("limit", format!("Choose a number from 1 to {MAX_LIMIT}."));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let library_type = given(request.library_type).map(|word| parse_type(&mut problems, &word));
        problems.check()?;
        let workspace = match given(request.workspace_id) {
            Some(text) => Some(WorkspaceId::parse(&text).ok_or(ServiceError::NotFound("workspace"))?),
            None => None,
        };
        let scope = permission::scope(caller, workspace);
        let mut library = match &scope.workspace {
            Some(workspace) => {
                let found = self.knowledge.library_of_workspace(workspace).await?;
                Some(found.ok_or(ServiceError::NotFound("workspace"))?)
            }
            None => None,
        };
        let library_uid = match given(request.library_uid) {
            Some(text) => {
                let uid = LibraryUid::parse(&text).ok_or(ServiceError::NotFound("library"))?;
                let found = self.knowledge.library(&uid).await?;
                library = found.filter(|library| scope.admits(&uid, library.workspace_id.as_ref()));
                if library.is_none() {
                    return Err(ServiceError::NotFound("library"));
                }
                Some(uid)
            }
            None => None,
        };
        let collection_uid = match given(request.collection_uid) {
            Some(text) => {
                const MISSING: ServiceError = ServiceError::NotFound("collection");
                let uid = CollectionUid::parse(&text).ok_or(MISSING)?;
                let collection = self.knowledge.collection(&uid).await?.ok_or(MISSING)?;
                if !self.is_inside(&scope, &collection.library_uid).await? {
                    return Err(MISSING);
                }
                Some(uid)
            }
            None => None,
        };
        let item_uid = match given(request.item_uid) {
            Some(text) => {
                const MISSING: ServiceError = ServiceError::NotFound("item");
                let uid = ItemUid::parse(&text).ok_or(MISSING)?;
                let item = self.knowledge.item(&uid).await?.ok_or(MISSING)?;
                let is_visible = item.status == EmbeddingStatus::Completed;
                if !is_visible || !self.is_inside(&scope, &item.library_uid).await? {
                    return Err(MISSING);
                }
                Some(uid)
            }
            None => None,
        };
        let filter = SearchFilter {
            scope,
            library_uid,
            library_type: library_type.flatten(),
            collection_uid,
            item_uid,
        };
        Ok(Asked { filter, library })
    }

    async fn is_inside(&self, scope: &Scope, uid: &LibraryUid) -> ServiceResult<bool> {
        let library = self.knowledge.library(uid).await?;
        Ok(library.is_some_and(|library| scope.admits(uid, library.workspace_id.as_ref())))
    }

    async fn vector_leg(&self, query: &str, asked: &Asked) -> ServiceResult<VectorLeg> {
        let filter = &asked.filter;
        let mut leg = VectorLeg {
            rankings: Vec::new(),
            models: Vec::new(),
            degraded: Vec::new(),
            embed_ms: 0.0,
            search_ms: 0.0,
        };
        let spaces = match self.knowledge.spaces(filter).await {
            Ok(spaces) => spaces,
            Err(error) => {
                tracing::warn!(%error, "the vector leg of a search failed");
                leg.degraded.push("vector_failed".to_owned());
                return Ok(leg);
            }
        };
        let instruction = asked.instruction();
        let searches = spaces
            .into_iter()
            .map(|space| self.search_space(query, &instruction, space, filter));
        for answer in join_all(searches).await {
            match answer {
                Ok(found) => {
                    leg.rankings.push(found.ranking);
                    leg.models.push(found.model);
                    leg.embed_ms = leg.embed_ms.max(found.embed_ms);
                    leg.search_ms = leg.search_ms.max(found.search_ms);
                }
                Err(reason) => leg.degraded.push(reason),
            }
        }
        Ok(leg)
    }

    /// The vector leg in one space. The error is the stable word for `degraded`.
    async fn search_space(
        &self,
        query: &str,
        instruction: &str,
        space: VectorSpace,
        filter: &SearchFilter,
    ) -> Result<SpaceAnswer, String> {
        let embedder = self
            .embedders
            .by_space(&space)
            .await
            .map_err(|error| {
                tracing::warn!(%error, model = space.model, "the registered models could not be read");
                "embedder_unavailable".to_owned()
            })?
            .ok_or_else(|| format!("embedding_model_missing: {}", space.model))?;
        let input = [EmbedText {
            text: query,
            instruction: Some(instruction),
        }];
        let (vectors, embed_ms) = timed(embedder.embed(&input, EmbeddingPurpose::Query)).await;
        let vector = vectors
            .map_err(|error| {
                tracing::warn!(%error, model = space.model, "the query could not be embedded");
                match error {
                    EmbedError::Transient { .. } => "embedder_unavailable".to_owned(),
                    EmbedError::Permanent { .. } => "embedder_refused".to_owned(),
                }
            })?
            .pop()
            .ok_or_else(|| "embedder_refused".to_owned())?;
        let question = VectorQuery {
            space: &space,
            vector: &vector,
        };
        let (hits, search_ms) = timed(self.knowledge.vector_leg(
            question,
            filter,
            self.settings.search.vector_top_k,
        ))
        .await;
        let mut hits = hits.map_err(|error: StoreError| {
            tracing::warn!(%error, "the vector leg of a search failed");
            "vector_failed".to_owned()
        })?;
        let model = embedder.model().clone();
        let score = |cosine: f32| f32::midpoint(1.0, cosine);
        let weight = match model.kind {
            ModelKind::Neural => self.settings.search.weight_vector,
            ModelKind::Lexical => {
                hits.retain(|hit| hit.score >= score(LEXICAL_FLOOR));
                self.settings.search.weight_lexical
            }
        };
        Ok(SpaceAnswer {
            ranking: SpaceRanking {
                weight,
                floor: embedder.floor().map(score),
                hits,
            },
            model,
            embed_ms,
            search_ms,
        })
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, f64) {
    let began = Instant::now();
    let result = work.await;
    (result, milliseconds(began))
}

/// Milliseconds to the hundredth.
fn milliseconds(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0
}
