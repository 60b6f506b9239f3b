//! Concepts: browsing the graph.

use mnemosyne_domain::ports::ConceptFilter;
use mnemosyne_domain::{Concept, ConceptUid, Page, PageRequest, Principal};

use crate::context::Services;
use crate::error::ServiceResult;
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

    /// Concepts near to one, strongest first, each with its strength.
    pub async fn related_concepts(
        &self,
        caller: &Principal,
        uid: &ConceptUid,
        limit: u32,
    ) -> ServiceResult<Vec<(Concept, f32)>> {
        permission::require(caller, Action::Read)?;
        Ok(self
            .knowledge
            .related_concepts(uid, permission::browsing(caller).as_ref(), limit)
            .await?)
    }
}
