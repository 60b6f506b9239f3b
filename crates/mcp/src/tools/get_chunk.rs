use mnemosyne_domain::{ChunkUid, Principal, Tool};
use mnemosyne_services::wire::Chunk;
use mnemosyne_services::{ServiceError, Services};
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::Deserialize;

use super::define;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {
    /// The chunk_uid of a search result, or a neighbour that an earlier answer named.
    chunk_uid: String,
    #[serde(default, rename = "workspace_id")]
    #[schemars(skip)]
    _workspace_id: Option<String>,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Chunk>(
        Tool::GetChunk,
        "Read a passage",
        "The whole text of one passage, where it is from, and the passages before and after it.",
    )
}

pub(crate) async fn call(
    services: &Services,
    principal: &Principal,
    arguments: Arguments,
) -> Result<Chunk, ServiceError> {
    let uid = ChunkUid::parse(&arguments.chunk_uid).ok_or(ServiceError::NotFound("chunk"))?;
    Ok(services.chunk(principal, &uid).await?.into())
}
