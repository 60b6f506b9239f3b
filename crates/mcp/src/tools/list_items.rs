use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::ItemFilter;
use mnemosyne_domain::{CollectionUid, Principal, Tool};
use mnemosyne_services::{ServiceError, Services};
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{define, named_library, page, within_budget};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {
    /// Only items of this library.
    #[serde(default)]
    library_uid: Option<String>,
    /// Only items of this collection.
    #[serde(default)]
    collection_uid: Option<String>,
    /// Only items whose title or file name contains this.
    #[serde(default)]
    title: Option<String>,
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

/// A document.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Item {
    /// Its identifier.
    item_uid: String,
    /// Its title.
    title: String,
    /// Its authors.
    authors: Vec<String>,
    /// Its library.
    library_uid: String,
    /// Its collection.
    collection_uid: String,
    /// Its file name.
    filename: String,
    /// Pages or sections, where it has them.
    page_count: Option<u32>,
    /// How many passages.
    chunk_count: u64,
    /// When it came in.
    created_at: DateTime<Utc>,
}

/// Items, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// How many there are.
    count: u64,
    /// The items.
    items: Vec<Item>,
    /// Where the list goes on, if it does.
    next_cursor: Option<String>,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Answer>(
        Tool::ListItems,
        "List documents",
        "The documents of a library or collection, newest first; `title` narrows the list.",
    )
}

pub(crate) async fn call(
    services: &Services,
    principal: &Principal,
    arguments: Arguments,
) -> Result<Answer, ServiceError> {
    let page = page(arguments.limit, arguments.cursor.as_deref())?;
    let library_uid = named_library(services, principal, arguments.library_uid).await?;
    let collection_uid = match arguments.collection_uid.filter(|text| !text.is_empty()) {
        Some(text) => {
            let uid = CollectionUid::parse(&text).ok_or(ServiceError::NotFound("collection"))?;
            Some(services.collection(principal, &uid).await?.uid)
        }
        None => None,
    };
    let filter = ItemFilter {
        library_uid,
        collection_uid,
        title_contains: arguments.title,
        ..ItemFilter::default()
    };
    let found = services.items(principal, filter, page).await?;
    let rows = found
        .rows
        .into_iter()
        .map(|item| Item {
            item_uid: item.uid.to_string(),
            title: item.title,
            authors: item.authors,
            library_uid: item.library_uid.to_string(),
            collection_uid: item.collection_uid.to_string(),
            filename: item.filename,
            page_count: item.page_count,
            chunk_count: item.chunk_count,
            created_at: item.created_at,
        })
        .collect();
    let (items, next_cursor) = within_budget(rows, page.offset, found.total);
    Ok(Answer {
        count: found.total,
        items,
        next_cursor,
    })
}
