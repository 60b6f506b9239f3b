//! Libraries: list, make, change, delete.

use std::collections::BTreeSet;

use mnemosyne_domain::ports::{JobFilter, LibraryFilter, LibraryTotals, LibraryUpdate, Removed};
use mnemosyne_domain::{
    AuditEvent, ItemUid, Library, LibraryType, LibraryUid, NewLibrary, Page, PageRequest, Principal,
    ProfileOverrides, StoreError,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::validate::Problems;

/// What a new global library is to be.
#[derive(Clone, Debug, Default)]
pub struct LibraryRequest {
    /// Its name.
    pub name: String,
    /// Its type, as the caller wrote it.
    pub library_type: String,
    /// Free text.
    pub description: String,
}

/// Longest name of a library or collection, in characters.
pub const MAX_NAME: usize = 200;
/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 4_000;

pub(crate) fn parse_type(problems: &mut Problems, word: &str) -> Option<LibraryType> {
    let parsed = LibraryType::parse(word.trim());
    if parsed.is_none() {
        let known = LibraryType::ALL.map(LibraryType::as_str).join(", ");
        problems.add(
            "library_type",
            format!("{:?} is not a valid choice; choose one of {known}.", word.trim()),
        );
    }
    parsed
}

pub(crate) fn name_conflict(name: &str) -> ServiceError {
    ServiceError::Conflict {
        code: "name_conflict",
        message: format!("Another library is called {name:?}."),
    }
}

impl Services {
    /// Libraries in the order of the filter: what the caller may see, narrowed by the filter.
    pub async fn libraries(
        &self,
        caller: &Principal,
        mut filter: LibraryFilter,
        page: PageRequest,
    ) -> ServiceResult<Page<Library>> {
        permission::require(caller, Action::Read)?;
        filter.scope = permission::browsing(caller).or(filter.scope);
        Ok(self.knowledge.libraries(&filter, page).await?)
    }

    /// What the libraries that the caller may see hold together, narrowed by the filter.
    pub async fn library_totals(
        &self,
        caller: &Principal,
        mut filter: LibraryFilter,
    ) -> ServiceResult<LibraryTotals> {
        permission::require(caller, Action::Read)?;
        filter.scope = permission::browsing(caller).or(filter.scope);
        Ok(self.knowledge.library_totals(&filter).await?)
    }

    /// One library.
    pub async fn library(&self, caller: &Principal, uid: &LibraryUid) -> ServiceResult<Library> {
        permission::require(caller, Action::Read)?;
        self.knowledge
            .library(uid)
            .await?
            .filter(|library| permission::sees(caller, &library.uid, library.workspace_id.as_ref()))
            .ok_or(ServiceError::NotFound("library"))
    }

    /// The library of this name.
    pub async fn library_by_name(&self, caller: &Principal, name: &str) -> ServiceResult<Option<Library>> {
        permission::require(caller, Action::Read)?;
        let found = self.knowledge.library_by_name(name).await?;
        Ok(found.filter(|library| permission::sees(caller, &library.uid, library.workspace_id.as_ref())))
    }

    /// Makes a global library.
    pub async fn create_library(
        &self,
        caller: &Principal,
        request: LibraryRequest,
    ) -> ServiceResult<Library> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let name = problems.text("name", Some(&request.name), MAX_NAME);
        let description = problems
            .optional_text("description", Some(&request.description), MAX_DESCRIPTION)
            .unwrap_or_default();
        let Some(library_type) = parse_type(&mut problems, &request.library_type) else {
            problems.check()?;
            return Err(ServiceError::field("library_type", "This field is required."));
        };
        problems.check()?;
        let new = NewLibrary {
            name: name.clone(),
            workspace_id: None,
            library_type,
            description,
        };
        match self.knowledge.create_library(new, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => Err(name_conflict(&name)),
            other => Ok(other?),
        }
    }

    /// Refuses a request that would give a library another type than it has: a type is frozen.
    pub async fn require_type(&self, caller: &Principal, uid: &LibraryUid, word: &str) -> ServiceResult<()> {
        let mut problems = Problems::default();
        let asked = parse_type(&mut problems, word);
        problems.check()?;
        let known = self.library(caller, uid).await?.library_type;
        if asked == Some(known) {
            return Ok(());
        }
        Err(ServiceError::Conflict {
            code: "library_type_frozen",
            message: format!("This is a {known} library, and a library's type never changes."),
        })
    }

    /// Changes a library's name, description and what it overrides of its type.
    pub async fn update_library(
        &self,
        caller: &Principal,
        uid: &LibraryUid,
        update: LibraryUpdate,
    ) -> ServiceResult<Library> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let update = LibraryUpdate {
            name: update
                .name
                .map(|name| problems.text("name", Some(&name), MAX_NAME)),
            description: update.description.map(|text| {
                problems
                    .optional_text("description", Some(&text), MAX_DESCRIPTION)
                    .unwrap_or_default()
            }),
            overrides: update.overrides,
        };
        if let Some(overrides) = &update.overrides {
            let kind = self.library(caller, uid).await?.library_type;
            check_overrides(&mut problems, kind, overrides);
        }
        problems.check()?;
        let name = update.name.clone().unwrap_or_default();
        match self.knowledge.update_library(uid, update).await {
            Err(StoreError::Conflict(_)) => Err(name_conflict(&name)),
            Err(StoreError::NotFound) => Err(ServiceError::NotFound("library")),
            other => Ok(other?),
        }
    }

    /// Removes a library with everything that is reachable only through it: items, chunks, vectors, jobs, files.
    ///
    /// Jobs go first: one that outlived its item would read completed, and the same file would never be taken again. Then
    /// the graph, in one transaction, so that from then on nothing is found; then jobs that came meanwhile, and files. What
    /// a kill leaves behind [`Services::mend`] removes at the next start.
    pub async fn delete_library(&self, caller: &Principal, uid: &LibraryUid) -> ServiceResult<Removed> {
        permission::require(caller, Action::Write)?;
        let library = self.library(caller, uid).await?;
        // Jobs that have not written anything yet hold their uploads all the same.
        let mut holders = self.items_of_jobs(uid).await?;
        self.relational.delete_jobs_of_library(uid).await?;
        let removed = self
            .knowledge
            .delete_library(uid)
            .await?
            .ok_or(ServiceError::NotFound("library"))?;
        holders.extend(removed.items.iter().cloned());
        holders.extend(self.items_of_jobs(uid).await?);
        self.relational.delete_jobs_of_library(uid).await?;
        self.release_items(&holders.into_iter().collect::<Vec<_>>())
            .await?;
        let detail = format!("{}, {} items", library.name, removed.items.len());
        self.audited(caller, AuditEvent::LibraryDeleted, uid.as_str(), &detail)
            .await;
        Ok(removed)
    }

    async fn items_of_jobs(&self, library: &LibraryUid) -> ServiceResult<BTreeSet<ItemUid>> {
        let filter = JobFilter {
            library_uid: Some(library.clone()),
            ..JobFilter::default()
        };
        let mut items = BTreeSet::new();
        let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
        loop {
            let jobs = self.relational.jobs(&filter, page).await?;
            page.offset += jobs.rows.len() as u64;
            let last = jobs.rows.is_empty() || page.offset >= jobs.total;
            items.extend(jobs.rows.into_iter().map(|job| job.item_uid));
            if last {
                return Ok(items);
            }
        }
    }

    /// Lets go of the files of removed items.
    pub(crate) async fn release_items(&self, items: &[ItemUid]) -> ServiceResult<()> {
        let holders: Vec<&str> = items.iter().map(ItemUid::as_str).collect();
        self.relational
            .release_blobs(&holders, self.blobs.as_ref())
            .await?;
        Ok(())
    }
}

/// Sizes are judged as they will hold: together with those of the type that are not overridden.
fn check_overrides(problems: &mut Problems, kind: LibraryType, overrides: &ProfileOverrides) {
    let mut sizes_are_good = true;
    for (field, value) in [
        ("target_chars", overrides.target_chars),
        ("max_chars", overrides.max_chars),
    ] {
        if value.is_some_and(|value| !(64..=20_000).contains(&value)) {
            problems.add(field, "Choose a number from 64 to 20000.");
            sizes_are_good = false;
        }
    }
    if sizes_are_good {
        let effective = kind.profile().with(overrides);
        if overrides.max_chars.is_some_and(|max| max != effective.max_chars) {
            let target = effective.target_chars;
            problems.add(
                "max_chars",
                format!("The largest size is smaller than the size aimed at, which is {target}."),
            );
        }
        if overrides
            .overlap_chars
            .is_some_and(|overlap| overlap != effective.overlap_chars)
        {
            let most = effective.overlap_chars;
            problems.add(
                "overlap_chars",
                format!("Choose a number from 0 to {most}, which is half of the size aimed at."),
            );
        }
    }
    for (field, value) in [
        ("embedding_instruction", &overrides.embedding_instruction),
        ("rerank_instruction", &overrides.rerank_instruction),
        ("llm_context", &overrides.llm_context),
        ("vision_prompt", &overrides.vision_prompt),
    ] {
        problems.optional_text(field, value.as_deref(), 2_000);
    }
}
