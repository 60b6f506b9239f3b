//! Moving a library to another embedding model.

use mnemosyne_domain::ports::ItemFilter;
use mnemosyne_domain::{LibraryUid, PageRequest, Principal, StoreError, VectorSpace};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::pipeline::{self};

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReembedProgress {
    /// Items whose chunks all have vectors of the new model.
    pub items_done: u64,
    /// Items of the library.
    pub items_total: u64,
    /// Chunks embedded by this run.
    pub chunks_embedded: u64,
}

impl Services {
    /// Makes vectors of another model for every chunk of a library, then switches it over in one step; until then it is
    /// searched with the old ones. A run that was interrupted goes on where it was. Answers the space it moved to.
    pub async fn reembed(
        &self,
        caller: &Principal,
        library: &LibraryUid,
        model: Option<&str>,
        tell: &(dyn Fn(ReembedProgress) + Send + Sync),
    ) -> ServiceResult<VectorSpace> {
        permission::require(caller, Action::Write)?;
        self.library(caller, library).await?;
        let embedder = match model {
            Some(name) => self
                .embedders
                .by_id(name)
                .await?
                .ok_or(ServiceError::NotFound("model"))?,
            None => self.embedders.system().await?,
        };
        let space = embedder.model().space();
        let mut progress = ReembedProgress {
            items_done: 0,
            items_total: 0,
            chunks_embedded: 0,
        };
        // Items that arrive meanwhile still get vectors of the old model, so the switch may find some missing: then the
        // next round embeds just those.
        loop {
            progress.items_done = 0;
            let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
            loop {
                let filter = ItemFilter {
                    library_uid: Some(library.clone()),
                    ..ItemFilter::default()
                };
                let items = self.knowledge.items(&filter, page).await?;
                progress.items_total = items.total;
                page.offset += items.rows.len() as u64;
                let last = items.rows.is_empty() || page.offset >= items.total;
                for item in items.rows {
                    let missing = self.knowledge.chunks_without_vector(&item.uid, &space).await?;
                    for step in missing.chunks(self.settings.ingest.embed_step.max(1)) {
                        let vectors = pipeline::embed_chunks(embedder.as_ref(), &item.title, step)
                            .await
                            .map_err(|interrupt| match interrupt {
                                pipeline::Interrupt::Failed { failure, .. } => {
                                    ServiceError::Document(failure)
                                }
                                pipeline::Interrupt::Superseded => ServiceError::NotFound("item"),
                            })?;
                        self.knowledge.put_vectors(&space, &vectors).await?;
                        progress.chunks_embedded += step.len() as u64;
                        tell(progress);
                    }
                    progress.items_done += 1;
                    tell(progress);
                }
                if last {
                    break;
                }
            }
            match self.knowledge.switch_model(library, &space).await {
                Ok(()) => return Ok(space),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
