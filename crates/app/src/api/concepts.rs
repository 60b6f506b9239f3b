//! Concepts: the named things that documents share.

use axum::Json;
use axum::extract::State;
use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{ConceptUid, ItemUid, LibraryUid, Page, PageRequest};
use mnemosyne_services::ServiceError;
use mnemosyne_services::wire::Concept;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::list::PagingParameters;
use super::{ApiPath, ApiQuery, List, Paging, Problem};
use crate::auth::ApiCaller;
use crate::error::ApiResult;
use crate::state::AppState;

/// Which concepts are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ConceptParameters {
    /// Only concepts of this library.
    library_uid: Option<String>,
    /// Only concepts that this item mentions.
    item_uid: Option<String>,
    /// Only concepts whose name contains this, whatever its case.
    name: Option<String>,
}

/// A concept, and how near it is to another.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RelatedConcept {
    /// The concept.
    #[serde(flatten)]
    concept: Concept,
    /// How near; good for order only.
    strength: f32,
}

impl From<(mnemosyne_domain::Concept, f32)> for RelatedConcept {
    fn from((concept, strength): (mnemosyne_domain::Concept, f32)) -> Self {
        Self {
            concept: concept.into(),
            strength,
        }
    }
}

/// Concepts, most mentioned first.
#[utoipa::path(
    get, path = "/library/api/concepts/", tag = "concepts", operation_id = "list_concepts",
    params(ConceptParameters, PagingParameters),
    responses((status = 200, body = List<Concept>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiQuery(wanted): ApiQuery<ConceptParameters>,
    paging: Paging,
) -> ApiResult<Json<List<Concept>>> {
    let mut filter = ConceptFilter {
        name_contains: wanted.name.filter(|name| !name.is_empty()),
        ..ConceptFilter::default()
    };
    if let Some(text) = wanted.library_uid.filter(|uid| !uid.is_empty()) {
        let Some(uid) = LibraryUid::parse(&text) else {
            return Ok(Json(List::empty()));
        };
        filter.library_uid = Some(uid);
    }
    if let Some(text) = wanted.item_uid.filter(|uid| !uid.is_empty()) {
        let Some(uid) = ItemUid::parse(&text) else {
            return Ok(Json(List::empty()));
        };
        filter.item_uid = Some(uid);
    }
    let page = state.services.concepts(&caller, filter, paging.request).await?;
    Ok(Json(paging.list(page)))
}

/// Concepts near to one, strongest first: the nearest 500 of them.
#[utoipa::path(
    get, path = "/library/api/concepts/{concept_uid}/related/", tag = "concepts",
    operation_id = "list_related_concepts",
    params(("concept_uid" = String, Path), PagingParameters),
    responses((status = 200, body = List<RelatedConcept>), (status = 404, body = Problem)),
)]
pub(crate) async fn related(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(uid): ApiPath,
    paging: Paging,
) -> ApiResult<Json<List<RelatedConcept>>> {
    let uid = ConceptUid::parse(&uid).ok_or(ServiceError::NotFound("concept"))?;
    let near = state
        .services
        .related_concepts(&caller, &uid, PageRequest::MAX_LIMIT)
        .await?;
    let total = near.len() as u64;
    let offset = usize::try_from(paging.request.offset).unwrap_or(usize::MAX);
    let rows = near
        .into_iter()
        .skip(offset)
        .take(paging.request.limit as usize)
        .collect();
    Ok(Json(paging.list(Page { rows, total })))
}
