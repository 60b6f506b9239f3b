//! By section; never inside a code block, a table or a list that fits, and what announces one of these stays with it.

use super::piece::{Boundary, Outline, Piece, announces};
use crate::document::{BlockKind, Document};

pub(super) fn mark(document: &Document, outline: &mut Outline, max_chars: usize) {
    outline.mark_headings(Boundary::Soft);
    outline.pieces = join_lists(document, std::mem::take(&mut outline.pieces), max_chars);
    let kinds: Vec<BlockKind> = outline.pieces.iter().skip(1).map(|piece| piece.kind).collect();
    for (piece, next) in outline.pieces.iter_mut().zip(kinds) {
        let structured = matches!(next, BlockKind::Code | BlockKind::Table | BlockKind::ListItem);
        if structured && piece.kind == BlockKind::Paragraph && announces(piece.text(document)) {
            piece.keeps_with_next = true;
        }
    }
}

/// A list that fits into a chunk becomes one piece.
fn join_lists(document: &Document, pieces: Vec<Piece>, max_chars: usize) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut run: Vec<Piece> = Vec::new();
    for piece in pieces {
        if piece.kind != BlockKind::ListItem || piece.after_break {
            settle(document, &mut joined, &mut run, max_chars);
        }
        if piece.kind == BlockKind::ListItem {
            run.push(piece);
        } else {
            joined.push(piece);
        }
    }
    settle(document, &mut joined, &mut run, max_chars);
    joined
}

fn settle(document: &Document, joined: &mut Vec<Piece>, run: &mut Vec<Piece>, max_chars: usize) {
    if let [first, .., last] = run.as_slice() {
        let span = first.span.start..last.span.end;
        if document.text[span.clone()].chars().count() <= max_chars {
            let whole = Piece {
                span,
                ..first.clone()
            };
            run.clear();
            joined.push(whole);
        }
    }
    joined.append(run);
}
