//! Concepts: browsing the graph.

use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{Concept, ConceptUid, Page, PageRequest, Principal};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};

impl Services {
    /// Concepts, most mentioned first.
    pub async fn concepts(
        &self,
        caller: &Principal,
        mut filter: ConceptFilter,
        page: PageRequest,
    ) -> ServiceResult<Page<Concept>> {
        permission::require(caller, Action::Read)?;
        filter.scope = permission::browsing(caller).or(filter.scope);
        Ok(self.knowledge.concepts(&filter, page).await?)
    }

    /// Concepts near to one, strongest first, each with its strength. A concept that no passage in the caller's sight mentions
    /// does not exist for the caller.
    pub async fn related_concepts(
        &self,
        caller: &Principal,
        uid: &ConceptUid,
        limit: u32,
    ) -> ServiceResult<Vec<(Concept, f32)>> {
        permission::require(caller, Action::Read)?;
        let scope = permission::browsing(caller);
        let near = self
            .knowledge
            .related_concepts(uid, scope.as_ref(), limit)
            .await?;
        if near.is_empty() {
            let mentions = self
                .knowledge
                .chunks_of_concept(uid, scope.as_ref(), PageRequest::first(1))
                .await?;
            if mentions.total == 0 {
                return Err(ServiceError::NotFound("concept"));
            }
        }
        Ok(near)
    }
}
