//! One item: its text passage by passage, its original, its deletion.

use axum::extract::{Path, State};
use http::StatusCode;
use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{
    ChunkUid, Item, ItemUid, Library, LibraryType, LibraryUid, PageRequest, PlaceKind, Principal,
};
use mnemosyne_services::search::{MAX_LIMIT, SearchRequest};
use mnemosyne_services::{ServiceError, ServiceResult, Services};
use serde_json::Value;

use super::libraries::crumbs_of;
use super::rows::{format_title, library_ref, missing, model_label};
use super::shell::{Done, Fields, PageError, PageResult, Params, Visitor, off_executor, some_of};
use super::view::{
    ConceptChip, DeletePage, Highlighter, HitWalk, ItemFacts, ItemPage, Pager, Section, href, outline,
    passages,
};
use crate::api::items::download;
use crate::csrf::CheckedForm;
use crate::state::{AppState, to_the_end};

/// Passages on one page of an item.
const PASSAGES_PER_PAGE: u32 = 50;
/// Concepts beside an item.
const CONCEPTS_SHOWN: u32 = 40;

fn item_uid(text: &str) -> Result<ItemUid, PageError> {
    ItemUid::parse(text).ok_or_else(|| PageError::not_found("item"))
}

/// The page, opened at a passage where the address names one.
pub(super) async fn show(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    params: Params,
) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let (item, library) = services.item_with_library(caller, &item_uid(&uid)?).await?;
    let target = target(services, caller, &item, params.get("chunk")).await?;
    let per_page = u64::from(PASSAGES_PER_PAGE);
    let number = target.as_ref().map_or_else(
        || params.page(),
        |(_, position)| u64::from(*position) / per_page + 1,
    );
    let results = Results::of(&params);
    let query = results.query.as_str();
    let path = format!("/items/{}/", item.uid);
    let pager = Pager::new(item.chunk_count, number, per_page, &path, &results.pairs());
    let chunks = services
        .chunks(
            caller,
            &item.uid,
            PageRequest::new(pager.offset(), PASSAGES_PER_PAGE),
        )
        .await?
        .rows;
    let concept_filter = ConceptFilter {
        item_uid: Some(item.uid.clone()),
        ..ConceptFilter::default()
    };
    let concepts = services
        .concepts(caller, concept_filter, PageRequest::first(CONCEPTS_SHOWN))
        .await?
        .rows;
    let target_uid = target.map(|(uid, _)| uid);
    let walk = walk(services, caller, &item, &library, &results, target_uid.as_ref()).await?;
    let blocks = match (chunks.first(), chunks.last()) {
        (Some(first), Some(last)) => {
            let stretch = first.byte_start..last.byte_end;
            services.item_blocks(caller, &item.uid, stretch).await?
        }
        _ => Vec::new(),
    };
    let library_ref = library_ref(&library);
    let mut frame = visitor
        .frame(&state, item.title.as_str(), Section::Libraries)
        .await;
    frame.crumbs = crumbs_of(&library_ref);
    frame.query = query.to_owned();
    let words = query.to_owned();
    let (passages, outline) = off_executor(move || {
        let highlighter = Highlighter::new(&words);
        let passages = passages(&chunks, &blocks, &highlighter, target_uid.as_ref());
        (passages, outline(&chunks))
    })
    .await?;
    let page = ItemPage {
        frame,
        uid: item.uid.clone(),
        library: library_ref,
        facts: facts(services, caller, &item).await?,
        passages,
        outline,
        pager,
        concepts_are_local: concepts.iter().any(|concept| concept.extracted_by == "local"),
        concepts: concepts
            .into_iter()
            .map(|concept| ConceptChip {
                name: concept.name,
                kind: concept.kind,
                mentions: concept.mentions,
            })
            .collect(),
        walk,
        has_original: !item.original_digest.is_empty(),
        may_delete: true,
    };
    visitor.page(StatusCode::OK, &page)
}

/// The search that led to an item, as the address keeps it for the way back. What is not understood narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Results {
    query: String,
    library: String,
    kind: &'static str,
    /// The page of the results; empty for the first.
    page: String,
}

impl Results {
    fn of(params: &Params) -> Self {
        Self {
            query: params.get("q").to_owned(),
            library: LibraryUid::parse(params.get("library"))
                .map(|uid| uid.to_string())
                .unwrap_or_default(),
            kind: LibraryType::parse(params.get("type"))
                .map(LibraryType::as_str)
                .unwrap_or_default(),
            page: match params.get("results").parse::<u32>() {
                Ok(page) if page > 1 => page.to_string(),
                _ => String::new(),
            },
        }
    }

    /// As pages of the item keep it.
    fn pairs(&self) -> [(&'static str, &str); 4] {
        [
            ("q", &self.query),
            ("library", &self.library),
            ("type", self.kind),
            ("results", &self.page),
        ]
    }

    /// The way back to all results. The global search does not see a workspace's library, so from an item of one it leads
    /// to the search inside it.
    fn href(&self, library: &Library) -> String {
        let inside = match (&self.library, &library.workspace_id) {
            (chosen, None) => chosen.as_str(),
            (_, Some(_)) => library.uid.as_str(),
        };
        href(
            "/search/",
            &[
                ("q", &self.query),
                ("library", inside),
                ("type", self.kind),
                ("page", &self.page),
            ],
        )
    }
}

/// The passage that an address names, with its position; `None` where the item has no such passage (any more).
async fn target(
    services: &Services,
    caller: &Principal,
    item: &Item,
    text: &str,
) -> ServiceResult<Option<(ChunkUid, u32)>> {
    let Some(uid) = ChunkUid::parse(text) else {
        return Ok(None);
    };
    match services.chunk(caller, &uid).await {
        Ok(chunk) => Ok((chunk.item_uid == item.uid).then_some((chunk.uid, chunk.position))),
        Err(ServiceError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn facts(services: &Services, caller: &Principal, item: &Item) -> ServiceResult<ItemFacts> {
    let collection = match services.collection(caller, &item.collection_uid).await {
        Ok(collection) => collection.name,
        Err(ServiceError::NotFound(_)) => String::new(),
        Err(error) => return Err(error),
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let models = services.models().await?;
    Ok(ItemFacts {
        filename: item.filename.clone(),
        format: format_title(&item.content_type),
        bytes: item.byte_size,
        pages: item.page_count,
        page_kind: PlaceKind::of(&item.content_type),
        authors: item.authors.clone(),
        language: item.language.clone(),
        collection,
        source_ref: item.source_ref.clone(),
        missing: missing(item),
        model: item
            .embedding_model
            .as_deref()
            .map(|name| model_label(&models, name)),
        passages: item.chunk_count,
        created_at: item.created_at,
        updated_at: item.updated_at,
        metadata: item
            .metadata
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    })
}

/// The hits of a query in this item, best first, and where the passage stands among them. Nothing where the query cannot
/// be asked: the item is what the page is about.
async fn walk(
    services: &Services,
    caller: &Principal,
    item: &Item,
    library: &Library,
    results: &Results,
    target: Option<&ChunkUid>,
) -> ServiceResult<Option<HitWalk>> {
    if results.query.is_empty() {
        return Ok(None);
    }
    let workspace = library.workspace_id.as_ref().map(ToString::to_string);
    let request = SearchRequest {
        query: results.query.clone(),
        workspace_id: workspace,
        library_uid: Some(library.uid.to_string()),
        item_uid: Some(item.uid.to_string()),
        limit: Some(MAX_LIMIT),
        ..SearchRequest::default()
    };
    let hits: Vec<ChunkUid> = match services.search(caller, request).await {
        Ok(outcome) => outcome.hits.into_iter().map(|hit| hit.hit.chunk_uid).collect(),
        Err(ServiceError::Invalid(_) | ServiceError::Unavailable(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(steps(
        &item.uid,
        results,
        &hits,
        target,
        results.href(library),
    )))
}

fn steps(
    item: &ItemUid,
    results: &Results,
    hits: &[ChunkUid],
    target: Option<&ChunkUid>,
    back: String,
) -> HitWalk {
    let here = target.and_then(|target| hits.iter().position(|hit| hit == target));
    let path = format!("/items/{item}/");
    let address = |index: usize| {
        let hit = hits.get(index)?;
        let pairs: Vec<_> = std::iter::once(("chunk", hit.as_str()))
            .chain(results.pairs())
            .collect();
        Some(format!("{}#c-{hit}", href(&path, &pairs)))
    };
    HitWalk {
        query: results.query.clone(),
        number: here.map(|index| index as u64 + 1),
        total: hits.len() as u64,
        previous: here.and_then(|index| address(index.checked_sub(1)?)),
        next: address(here.map_or(0, |index| index + 1)),
        back,
    }
}

/// The original, always as a download: what strangers wrote must not run here.
pub(super) async fn original(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let original = state
        .services()
        .original(&visitor.principal, &item_uid(&uid)?)
        .await?;
    Ok(download(original))
}

/// Asks before an item goes.
pub(super) async fn confirm_deletion(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let (item, library) = state
        .services()
        .item_with_library(&visitor.principal, &item_uid(&uid)?)
        .await?;
    let path = format!("/items/{}/", item.uid);
    let mut frame = visitor
        .frame(&state, format!("Delete “{}”?", item.title), Section::Libraries)
        .await;
    frame.crumbs = crumbs_of(&library_ref(&library));
    let what_goes = [
        Some(format!(
            "the item “{}” in the library “{}”",
            item.title, library.name
        )),
        Some(format!("its original, {}", item.filename)),
        some_of(item.chunk_count, "passage", "passages"),
    ];
    let page = DeletePage {
        frame,
        what_goes: what_goes.into_iter().flatten().collect(),
        remarks: vec!["Concepts that nothing else mentions go with it.".to_owned()],
        button: "Delete the item".to_owned(),
        back: path,
    };
    visitor.page(StatusCode::OK, &page)
}

/// Deletes an item.
pub(super) async fn delete(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let services = state.services();
    let (item, library) = services
        .item_with_library(&visitor.principal, &item_uid(&uid)?)
        .await?;
    let (caller, uid) = (visitor.principal.clone(), item.uid);
    to_the_end(&state, |services| async move {
        services.delete_item(&caller, &uid).await
    })
    .await?;
    Ok(visitor.done(Done::ItemDeleted, &library_ref(&library).href()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lead_from_hit_to_hit_and_into_them_from_elsewhere() {
        let uid = ItemUid::generate();
        let hits: Vec<ChunkUid> = (0..3).map(|position| ChunkUid::derive(&uid, position)).collect();
        let to = |index: usize| {
            Some(format!(
                "/items/{uid}/?chunk={}&q=a%20b&type=music&results=3#c-{}",
                hits[index], hits[index]
            ))
        };
        let results = Results {
            query: "a b".to_owned(),
            kind: "music",
            page: "3".to_owned(),
            ..Results::default()
        };
        let at = |target: Option<&ChunkUid>| steps(&uid, &results, &hits, target, String::new());
        let first = at(Some(&hits[0]));
        assert_eq!((first.number, first.previous, first.next), (Some(1), None, to(1)));
        let last = at(Some(&hits[2]));
        assert_eq!((last.number, last.previous, last.next), (Some(3), to(1), None));
        let elsewhere = at(Some(&ChunkUid::derive(&uid, 9)));
        assert_eq!(
            (elsewhere.number, elsewhere.previous, elsewhere.next),
            (None, None, to(0))
        );
    }
}
