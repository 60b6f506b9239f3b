//! Collections: the shelves of a library.

use mnemosyne_domain::ports::{ItemFilter, ItemOrder, Removed};
use mnemosyne_domain::{
    AuditEvent, Collection, CollectionUid, EmbeddingStatus, ItemUid, LibraryUid, Page, PageRequest,
    Principal, StoreError,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::libraries::{MAX_DESCRIPTION, MAX_NAME};
use crate::permission::{self, Action};
use crate::validate::Problems;

fn conflict(field: &str) -> ServiceError {
    match field {
        "default" => ServiceError::Conflict {
            code: "default_collection",
            message: "The default collection goes only with its library.".into(),
        },
        _ => ServiceError::Conflict {
            code: "name_conflict",
            message: "This library has a collection of this name already.".into(),
        },
    }
}

fn translate(error: StoreError, what: &'static str) -> ServiceError {
    match error {
        StoreError::Conflict(field) => conflict(field),
        StoreError::NotFound => ServiceError::NotFound(what),
        other => other.into(),
    }
}

impl Services {
    /// Collections by name, of one library or of all.
    pub async fn collections(
        &self,
        caller: &Principal,
        library: Option<&LibraryUid>,
        page: PageRequest,
    ) -> ServiceResult<Page<Collection>> {
        permission::require(caller, Action::Read)?;
        Ok(self
            .knowledge
            .collections(permission::browsing(caller).as_ref(), library, page)
            .await?)
    }

    /// One collection.
    pub async fn collection(&self, caller: &Principal, uid: &CollectionUid) -> ServiceResult<Collection> {
        permission::require(caller, Action::Read)?;
        let found = self
            .knowledge
            .collection(uid)
            .await?
            .ok_or(ServiceError::NotFound("collection"))?;
        match self.library(caller, &found.library_uid).await {
            Err(ServiceError::NotFound(_)) => Err(ServiceError::NotFound("collection")),
            Err(error) => Err(error),
            Ok(_) => Ok(found),
        }
    }

    /// Makes a collection.
    pub async fn create_collection(
        &self,
        caller: &Principal,
        library: &LibraryUid,
        name: &str,
        description: &str,
    ) -> ServiceResult<Collection> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let name = problems.text("name", Some(name), MAX_NAME);
        let description = problems
            .optional_text("description", Some(description), MAX_DESCRIPTION)
            .unwrap_or_default();
        problems.check()?;
        self.knowledge
            .create_collection(library, &name, &description, self.clock.now())
            .await
            .map_err(|error| translate(error, "library"))
    }

    /// Changes a collection's name and description.
    pub async fn update_collection(
        &self,
        caller: &Principal,
        uid: &CollectionUid,
        name: Option<&str>,
        description: Option<&str>,
    ) -> ServiceResult<Collection> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let name = name.map(|name| problems.text("name", Some(name), MAX_NAME));
        let description = description.map(|text| {
            problems
                .optional_text("description", Some(text), MAX_DESCRIPTION)
                .unwrap_or_default()
        });
        problems.check()?;
        self.knowledge
            .update_collection(uid, name.as_deref(), description.as_deref())
            .await
            .map_err(|error| translate(error, "collection"))
    }

    /// Removes a collection with its items.
    pub async fn delete_collection(&self, caller: &Principal, uid: &CollectionUid) -> ServiceResult<Removed> {
        permission::require(caller, Action::Write)?;
        let collection = self.collection(caller, uid).await?;
        let default = self
            .knowledge
            .default_collection(&collection.library_uid)
            .await
            .map_err(|error| translate(error, "collection"))?;
        if default.uid == *uid {
            return Err(conflict("default"));
        }
        // Jobs go first, as those of one item do; those that came meanwhile go afterwards.
        let items = self.items_of_collection(uid).await?;
        self.relational.delete_jobs_of_items(&items).await?;
        let removed = self
            .knowledge
            .delete_collection(uid)
            .await
            .map_err(|error| translate(error, "collection"))?
            .ok_or(ServiceError::NotFound("collection"))?;
        self.relational.delete_jobs_of_items(&removed.items).await?;
        self.release_items(&removed.items).await?;
        let detail = format!("{}, {} items", collection.name, removed.items.len());
        self.audited(caller, AuditEvent::CollectionDeleted, uid.as_str(), &detail)
            .await;
        Ok(removed)
    }

    /// The items of a collection, visible or not.
    async fn items_of_collection(&self, uid: &CollectionUid) -> ServiceResult<Vec<ItemUid>> {
        let mut items = Vec::new();
        for status in [
            EmbeddingStatus::Processing,
            EmbeddingStatus::Completed,
            EmbeddingStatus::Failed,
        ] {
            let filter = ItemFilter {
                collection_uid: Some(uid.clone()),
                status: Some(status),
                order: ItemOrder::OldestFirst,
                ..ItemFilter::default()
            };
            let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
            loop {
                let found = self.knowledge.items(&filter, page).await?;
                page.offset += found.rows.len() as u64;
                let last = found.rows.is_empty() || page.offset >= found.total;
                items.extend(found.rows.into_iter().map(|item| item.uid));
                if last {
                    break;
                }
            }
        }
        Ok(items)
    }
}
