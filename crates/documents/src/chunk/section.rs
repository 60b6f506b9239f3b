//! By chapter and section, whole paragraphs; tiny sections share a chunk.

use super::piece::{Boundary, Outline};
use crate::document::BlockKind;

pub(super) fn mark(outline: &mut Outline) {
    outline.mark_headings(Boundary::Soft);
    for piece in &mut outline.pieces {
        piece.joins_previous = matches!(piece.kind, BlockKind::Quote | BlockKind::Verse);
    }
}
