//! Workspaces: the libraries that Daedalus makes for its own users (contract §4.2).

use mnemosyne_domain::ports::{LibraryFilter, Removed};
use mnemosyne_domain::{Library, NewLibrary, Page, PageRequest, Principal, StoreError, WorkspaceId};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::libraries::{MAX_DESCRIPTION, MAX_NAME, name_conflict, parse_type};
use crate::permission::{self, Action};
use crate::validate::Problems;

/// What a workspace is to be, as the client wrote it.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceRequest {
    /// The client's own name for it.
    pub workspace_id: Option<String>,
    /// Name of the library.
    pub name: Option<String>,
    /// Its type.
    pub library_type: Option<String>,
    /// Free text.
    pub description: Option<String>,
}

/// Whether a request made something.
#[derive(Clone, Debug, PartialEq)]
pub enum Made<T> {
    /// It is new.
    New(T),
    /// It was there.
    Known(T),
}

impl Services {
    /// Workspaces by name.
    pub async fn workspaces(&self, caller: &Principal, page: PageRequest) -> ServiceResult<Page<Library>> {
        let filter = LibraryFilter {
            only_workspaces: true,
            ..LibraryFilter::default()
        };
        self.libraries(caller, filter, page).await
    }

    /// The library of a workspace.
    pub async fn workspace(&self, caller: &Principal, workspace_id: &str) -> ServiceResult<Library> {
        permission::require(caller, Action::Read)?;
        let id = WorkspaceId::parse(workspace_id).ok_or(ServiceError::NotFound("workspace"))?;
        self.knowledge
            .library_of_workspace(&id)
            .await?
            .filter(|library| permission::sees(caller, &library.uid, library.workspace_id.as_ref()))
            .ok_or(ServiceError::NotFound("workspace"))
    }

    /// Makes the library of a workspace; idempotent on `workspace_id`, whose type is frozen.
    pub async fn create_workspace(
        &self,
        caller: &Principal,
        request: WorkspaceRequest,
    ) -> ServiceResult<Made<Library>> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let id_text = request.workspace_id.as_deref().unwrap_or_default();
        let id = WorkspaceId::parse(id_text);
        if id.is_none() {
            problems.add(
                "workspace_id",
                if id_text.is_empty() {
                    "This field is required.".to_owned()
                } else {
                    format!(
                        "Use 1 to {} characters without control characters.",
                        WorkspaceId::MAX_CHARS
                    )
                },
            );
        }
        let name = problems.text("name", request.name.as_deref(), MAX_NAME);
        let description = problems
            .optional_text("description", request.description.as_deref(), MAX_DESCRIPTION)
            .unwrap_or_default();
        let kind = match request.library_type.as_deref() {
            Some(word) => parse_type(&mut problems, word),
            None => {
                problems.add("library_type", "This field is required.");
                None
            }
        };
        problems.check()?;
        let (Some(id), Some(library_type)) = (id, kind) else {
            return Err(ServiceError::Internal("a checked request lost its fields".into()));
        };
        if let Some(known) = self.knowledge.library_of_workspace(&id).await? {
            return same_type(known, library_type);
        }
        let new = NewLibrary {
            name: name.clone(),
            workspace_id: Some(id.clone()),
            library_type,
            description,
        };
        match self.knowledge.create_library(new, self.clock.now()).await {
            Ok(library) => Ok(Made::New(library)),
            // Two requests at once, or a name that another library has: the workspace decides which.
            Err(StoreError::Conflict(_)) => match self.knowledge.library_of_workspace(&id).await? {
                Some(known) => same_type(known, library_type),
                None => Err(name_conflict(&name)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a workspace with all that is reachable only through it.
    pub async fn delete_workspace(&self, caller: &Principal, workspace_id: &str) -> ServiceResult<Removed> {
        permission::require(caller, Action::Write)?;
        let library = self.workspace(caller, workspace_id).await?;
        match self.delete_library(caller, &library.uid).await {
            Err(ServiceError::NotFound(_)) => Err(ServiceError::NotFound("workspace")),
            other => other,
        }
    }
}

fn same_type(known: Library, asked: mnemosyne_domain::LibraryType) -> ServiceResult<Made<Library>> {
    if known.library_type == asked {
        return Ok(Made::Known(known));
    }
    Err(ServiceError::Conflict {
        code: "library_type_frozen",
        message: format!(
            "This workspace is a {} library, and a library's type never changes.",
            known.library_type
        ),
    })
}
