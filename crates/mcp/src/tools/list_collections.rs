use mnemosyne_domain::{Principal, Tool};
use mnemosyne_services::wire::Collection;
use mnemosyne_services::{ServiceError, Services};
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{define, named_library, page, within_budget};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {
    /// Only collections of this library.
    #[serde(default)]
    library_uid: Option<String>,
    /// How many, 1 to 200.
    #[serde(default)]
    limit: Option<u32>,
    /// The next_cursor of an earlier answer.
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default, rename = "workspace_id")]
    #[schemars(skip)]
    _workspace_id: Option<String>,
}

/// Collections by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// How many there are.
    count: u64,
    /// The collections.
    collections: Vec<Collection>,
    /// Where the list goes on, if it does.
    next_cursor: Option<String>,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Answer>(
        Tool::ListCollections,
        "List collections",
        "The collections of one library, or of all of them.",
    )
}

pub(crate) async fn call(
    services: &Services,
    principal: &Principal,
    arguments: Arguments,
) -> Result<Answer, ServiceError> {
    let page = page(arguments.limit, arguments.cursor.as_deref())?;
    let library = named_library(services, principal, arguments.library_uid).await?;
    let found = services.collections(principal, library.as_ref(), page).await?;
    let rows = found.rows.into_iter().map(Collection::from).collect();
    let (collections, next_cursor) = within_budget(rows, page.offset, found.total);
    Ok(Answer {
        count: found.total,
        collections,
        next_cursor,
    })
}
