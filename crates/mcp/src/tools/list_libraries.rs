use mnemosyne_domain::ports::LibraryFilter;
use mnemosyne_domain::{Principal, Tool};
use mnemosyne_services::{ServiceError, Services};
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{define, page, within_budget};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {
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

/// A library.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Library {
    /// Its identifier.
    library_uid: String,
    /// Its name.
    name: String,
    /// Its type.
    library_type: String,
    /// What it holds.
    description: String,
    /// How many items.
    item_count: u64,
    /// How many passages.
    chunk_count: u64,
    /// The model that made its vectors.
    embedding_model: Option<String>,
}

/// Libraries by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// How many there are.
    count: u64,
    /// The libraries.
    libraries: Vec<Library>,
    /// Where the list goes on, if it does.
    next_cursor: Option<String>,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Answer>(
        Tool::ListLibraries,
        "List libraries",
        "The libraries that can be searched, with what they hold and their type.",
    )
}

pub(crate) async fn call(
    services: &Services,
    principal: &Principal,
    arguments: Arguments,
) -> Result<Answer, ServiceError> {
    let page = page(arguments.limit, arguments.cursor.as_deref())?;
    let found = services
        .libraries(principal, LibraryFilter::default(), page)
        .await?;
    let rows = found
        .rows
        .into_iter()
        .map(|library| Library {
            library_uid: library.uid.to_string(),
            name: library.name,
            library_type: library.library_type.as_str().to_owned(),
            description: library.description,
            item_count: library.item_count,
            chunk_count: library.chunk_count,
            embedding_model: library.embedding_model,
        })
        .collect();
    let (libraries, next_cursor) = within_budget(rows, page.offset, found.total);
    Ok(Answer {
        count: found.total,
        libraries,
        next_cursor,
    })
}
