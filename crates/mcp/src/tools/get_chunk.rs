use mnemosyne_domain::{ChunkUid, Principal, Tool};
use mnemosyne_services::wire::Chunk;
use mnemosyne_services::{ServiceError, Services};
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ANSWER_BUDGET, cursor_at, define, offset_of};

/// What an answer has for text at least, whatever its title and headings take.
const LEAST_TEXT: usize = 4_000;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {
    /// The chunk_uid of a search result, or a neighbour that an earlier answer named.
    chunk_uid: String,
    /// The next_cursor of an earlier answer about the same passage.
    #[serde(default)]
    cursor: Option<String>,
    #[serde(default, rename = "workspace_id")]
    #[schemars(skip)]
    _workspace_id: Option<String>,
}

/// A passage, or the part of a very long one that begins at the cursor.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    #[serde(flatten)]
    chunk: Chunk,
    /// Where the text of this passage goes on, if it does.
    next_cursor: Option<String>,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Answer>(
        Tool::GetChunk,
        "Read a passage",
        "The text of one passage, where it is from, and the passages before and after it. A very long one comes in parts: \
         ask again with its `next_cursor`.",
    )
}

pub(crate) async fn call(
    services: &Services,
    principal: &Principal,
    arguments: Arguments,
) -> Result<Answer, ServiceError> {
    let uid = ChunkUid::parse(&arguments.chunk_uid).ok_or(ServiceError::NotFound("chunk"))?;
    let mut chunk = Chunk::from(services.chunk(principal, &uid).await?);
    let begin = offset_of(arguments.cursor.as_deref())?;
    let text = std::mem::take(&mut chunk.text);
    let rest = usize::try_from(begin)
        .ok()
        .and_then(|begin| text.get(begin..))
        .ok_or_else(|| ServiceError::field("cursor", "This cursor belongs to another passage."))?;
    let around = serde_json::to_string(&chunk).map_or(0, |json| json.len());
    let length = fitting(rest, ANSWER_BUDGET.saturating_sub(around).max(LEAST_TEXT));
    let next_cursor = (length < rest.len()).then(|| cursor_at(begin + length as u64));
    chunk.text = rest[..length].to_owned();
    Ok(Answer { chunk, next_cursor })
}

/// How many bytes of a text fit a budget once they are written as JSON; never a part of a character.
fn fitting(text: &str, budget: usize) -> usize {
    let mut size = 0;
    for (at, character) in text.char_indices() {
        size += match character {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            character if character.is_ascii_control() => 6,
            character => character.len_utf8(),
        };
        if size > budget {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_counted_as_json() {
        assert_eq!(fitting("abc", 3), 3);
        assert_eq!(fitting("abc", 2), 2);
        assert_eq!(fitting("aü", 2), 1);
        assert_eq!(fitting("\n\n\n", 4), 2);
        assert_eq!(fitting("\u{1}x", 6), 1);
        assert_eq!(fitting("", 0), 0);
    }
}
