//! The six tools (contract §8), one file each, in one registry.

pub(crate) mod get_chunk;
pub(crate) mod get_health;
pub(crate) mod list_collections;
pub(crate) mod list_items;
pub(crate) mod list_libraries;
pub(crate) mod search;

use mnemosyne_domain::{PageRequest, Principal, TokenGrant, Tool, WorkspaceId};
use mnemosyne_services::permission::{self, Action};
use mnemosyne_services::{ServiceError, Services};
use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool as ToolDefinition, ToolAnnotations};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::auth::Caller;

/// The size that one answer may have, in bytes of JSON. About 8,000 tokens: clients cut at 25,000.
pub(crate) const ANSWER_BUDGET: usize = 32_000;

/// Every tool with its definition, in the order they are listed. `default_limit` is how many results a search brings
/// where it is not told.
pub(crate) fn definitions(default_limit: usize) -> Vec<(Tool, ToolDefinition)> {
    vec![
        (Tool::Search, search::definition(default_limit)),
        (Tool::GetChunk, get_chunk::definition()),
        (Tool::ListLibraries, list_libraries::definition()),
        (Tool::ListCollections, list_collections::definition()),
        (Tool::ListItems, list_items::definition()),
        (Tool::GetHealth, get_health::definition()),
    ]
}

/// Whether a caller may call a tool.
pub(crate) fn may_call(caller: &Caller, tool: Tool) -> bool {
    match caller {
        Caller::Anonymous => tool == Tool::GetHealth,
        Caller::Open => true,
        Caller::Known(principal) => permission::require(principal, Action::Call(tool)).is_ok(),
    }
}

/// Calls a tool by its name.
pub(crate) async fn call(
    services: &Services,
    caller: &Caller,
    name: &str,
    arguments: JsonObject,
) -> Result<CallToolResult, ErrorData> {
    let Some(tool) = Tool::parse(name) else {
        let known = Tool::ALL.map(Tool::as_str).join(", ");
        return Err(ErrorData::invalid_params(
            format!("There is no tool {name:?}; there are {known}."),
            None,
        ));
    };
    if !may_call(caller, tool) {
        return Err(ErrorData::invalid_request(
            format!("This token may not call {name}."),
            None,
        ));
    }
    let principal = match caller {
        Caller::Known(principal) => principal.clone(),
        Caller::Open => open_principal(&arguments)?,
        Caller::Anonymous => return finish(Ok(get_health::answer(services.dependencies().await))),
    };
    tracing::debug!(tool = name, "tool called");
    match tool {
        Tool::Search => finish(search::call(services, &principal, read(arguments)?).await),
        Tool::GetChunk => finish(get_chunk::call(services, &principal, read(arguments)?).await),
        Tool::ListLibraries => finish(list_libraries::call(services, &principal, read(arguments)?).await),
        Tool::ListCollections => finish(list_collections::call(services, &principal, read(arguments)?).await),
        Tool::ListItems => finish(list_items::call(services, &principal, read(arguments)?).await),
        Tool::GetHealth => finish(Ok(get_health::answer(services.dependencies().await))),
    }
}

/// Whom a call without claims speaks for: the workspace it names, or the global libraries.
fn open_principal(arguments: &JsonObject) -> Result<Principal, ErrorData> {
    let named = arguments
        .get("workspace_id")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty());
    let workspace = match named {
        Some(text) => Some(
            WorkspaceId::parse(text)
                .ok_or_else(|| ErrorData::invalid_params("workspace_id: this names no workspace.", None))?,
        ),
        None => None,
    };
    let grant = TokenGrant {
        label: "open".to_owned(),
        tools: None,
        workspace,
        libraries: None,
    };
    Ok(Principal::Bearer(grant))
}

fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ErrorData> {
    // Absent and null mean the same to many clients.
    let given = arguments
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    serde_json::from_value(Value::Object(given))
        .map_err(|error| ErrorData::invalid_params(format!("These arguments do not fit: {error}."), None))
}

/// A use case's answer as a tool's: what the model can mend is an answer that says so, not a protocol error.
fn finish<T: Serialize>(answer: Result<T, ServiceError>) -> Result<CallToolResult, ErrorData> {
    match answer {
        Ok(answer) => match serde_json::to_value(answer) {
            Ok(value) => Ok(CallToolResult::structured(value)),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                Err(ErrorData::internal_error(
                    "The answer could not be written.",
                    None,
                ))
            }
        },
        Err(ServiceError::Invalid(fields)) => {
            let problems: Vec<String> = fields
                .iter()
                .map(|(field, problems)| format!("{field}: {}", problems.join(" ")))
                .collect();
            Err(ErrorData::invalid_params(problems.join("; "), None))
        }
        Err(ServiceError::Internal(detail) | ServiceError::Unavailable(detail)) => {
            tracing::error!(detail, "a tool failed");
            Ok(error_result(
                "Mnemosyne cannot answer right now; try again later.",
            ))
        }
        Err(error) => Ok(error_result(&format!("{error}."))),
    }
}

fn error_result(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// A definition with the schemas of its arguments and its answer.
pub(crate) fn define<A: JsonSchema + 'static, R: JsonSchema + 'static>(
    tool: Tool,
    title: &str,
    description: &'static str,
) -> ToolDefinition {
    ToolDefinition::new(tool.as_str(), description, JsonObject::new())
        .with_input_schema::<A>()
        .with_output_schema::<R>()
        .with_title(title)
        .annotate(
            ToolAnnotations::with_title(title)
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false),
        )
}

/// Where a list goes on: an offset, opaque to the client.
pub(crate) fn offset_of(cursor: Option<&str>) -> Result<u64, ServiceError> {
    match cursor {
        None | Some("") => Ok(0),
        Some(text) => text
            .strip_prefix('o')
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| {
                ServiceError::field("cursor", "Give the next_cursor of an earlier answer, or nothing.")
            }),
    }
}

/// The cursor that [`offset_of`] reads.
pub(crate) fn cursor_at(offset: u64) -> String {
    format!("o{offset}")
}

/// As many rows as fit the budget, and the cursor of the rest.
pub(crate) fn within_budget<T: Serialize>(rows: Vec<T>, offset: u64, total: u64) -> (Vec<T>, Option<String>) {
    let mut size = 0;
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        size += serde_json::to_string(&row).map_or(0, |text| text.len());
        if size > ANSWER_BUDGET && !kept.is_empty() {
            break;
        }
        kept.push(row);
    }
    let next = offset + kept.len() as u64;
    let cursor = (next < total && !kept.is_empty()).then(|| cursor_at(next));
    (kept, cursor)
}

/// A page of a list, as its tool was asked for it.
pub(crate) fn page(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, ServiceError> {
    Ok(PageRequest::new(offset_of(cursor)?, limit.unwrap_or(50).min(200)))
}

/// A library of the caller's scope, where one is named.
pub(crate) async fn named_library(
    services: &Services,
    principal: &Principal,
    uid: Option<String>,
) -> Result<Option<mnemosyne_domain::LibraryUid>, ServiceError> {
    let Some(text) = uid.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let uid = mnemosyne_domain::LibraryUid::parse(&text).ok_or(ServiceError::NotFound("library"))?;
    Ok(Some(services.library(principal, &uid).await?.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_tools_are_listed_with_schemas_and_as_read_only() {
        let definitions = definitions(20);
        let names: Vec<_> = definitions
            .iter()
            .map(|(_, definition)| definition.name.clone())
            .collect();
        assert_eq!(names, Tool::ALL.map(Tool::as_str));
        for (_, definition) in &definitions {
            assert!(definition.output_schema.is_some(), "{}", definition.name);
            assert_eq!(
                definition
                    .annotations
                    .as_ref()
                    .and_then(|notes| notes.read_only_hint),
                Some(true)
            );
            let schema = serde_json::to_string(&definition.input_schema).unwrap();
            assert!(
                !schema.contains("workspace_id"),
                "{} shows the hidden argument",
                definition.name
            );
        }
    }

    #[test]
    fn the_schema_of_a_search_names_the_configured_limit() {
        let (_, search) = definitions(7).remove(0);
        assert_eq!(search.input_schema["properties"]["limit"]["default"], 7);
    }

    #[test]
    fn an_answer_stays_inside_its_budget_and_says_where_it_goes_on() {
        let rows: Vec<String> = (0..100).map(|_| "x".repeat(1_000)).collect();
        let (kept, cursor) = within_budget(rows, 10, 110);
        assert!(kept.len() < 40 && !kept.is_empty());
        assert_eq!(offset_of(cursor.as_deref()).unwrap(), 10 + kept.len() as u64);
        assert_eq!(within_budget(vec!["x"], 0, 1).1, None);
        assert!(offset_of(Some("7")).is_err());
    }
}
