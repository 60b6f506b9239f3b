//! Documents into chunks, one strategy a file.
//!
//! A strategy marks the pieces of a document (where a chunk must or may begin, what stays together); [`pack`] then fills
//! chunks by size. So every strategy keeps the same promises: all text is covered, in order, nothing is larger than the
//! profile allows, and code and tables stay whole.

mod clause;
mod dates;
mod entry;
mod pack;
mod piece;
mod scene;
mod section;
mod split;
mod table;
mod technical;
mod verse;

use mnemosyne_domain::{ChunkStrategy, LibraryTypeProfile};

use crate::document::{ChunkDraft, Document};

pub use pack::HARD_CAP_FACTOR;

/// Cuts a document as its library's type asks.
///
/// Every character that is not white space or the mark of a break is in some chunk; chunks ascend, and repeat at most the
/// profile's overlap. A chunk has at most `max_chars` characters, unless it holds a code block or table, which stays whole
/// up to [`HARD_CAP_FACTOR`] times that.
pub fn chunk(document: &Document, profile: &LibraryTypeProfile) -> Vec<ChunkDraft> {
    let mut outline = match profile.strategy {
        ChunkStrategy::Scene => scene::outline(document),
        _ => piece::Outline::of(document),
    };
    match profile.strategy {
        ChunkStrategy::Scene => scene::mark(document, &mut outline),
        ChunkStrategy::Section => section::mark(&mut outline),
        ChunkStrategy::Technical => technical::mark(document, &mut outline, profile.max_chars),
        ChunkStrategy::Verse => verse::mark(document, &mut outline),
        ChunkStrategy::Entry => entry::mark(document, &mut outline),
        ChunkStrategy::Clause => clause::mark(document, &mut outline),
        ChunkStrategy::Table => table::mark(document, &mut outline),
    }
    pack::pack(document, outline, profile)
}

#[cfg(test)]
mod tests;
