//! Bytes in, structured document and chunks out. Pure: no I/O, no clock, no network.

mod archive;
pub mod chunk;
pub mod concepts;
pub mod detect;
mod document;
pub mod parse;

pub use chunk::{HARD_CAP_FACTOR, chunk};
pub use concepts::extract_concepts;
pub use detect::detect;
pub use document::{Block, BlockKind, ChunkDraft, Coverage, Document, FileHint, Format};
pub use parse::parse;

use std::path::Path;

use mnemosyne_domain::Failure;

/// Reads files outside this process, under limits (`mnemosyne-sandbox` is the implementation).
#[async_trait::async_trait]
pub trait Extractor: Send + Sync {
    /// The document in a file, or why it cannot be had. Whatever the file does to its reader, this returns.
    async fn extract(&self, file: &Path, hint: &FileHint) -> Result<Document, Failure>;
}
