//! By section; a table keeps its caption, the line that announces it and the notes below it, and figures' captions stay whole.

use super::piece::{Boundary, Outline, announces};
use crate::document::{BlockKind, Document};

/// A paragraph this short right before a table names it or gives its unit, in characters.
const MAX_LEAD_CHARS: usize = 200;
/// Notes below a table, in characters.
const MAX_NOTE_CHARS: usize = 400;

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    outline.mark_headings(Boundary::Soft);
    let kinds: Vec<BlockKind> = outline.pieces.iter().map(|piece| piece.kind).collect();
    for (index, piece) in outline.pieces.iter_mut().enumerate() {
        if piece.kind == BlockKind::Table || piece.is_heading() {
            continue;
        }
        let text = piece.text(document);
        let length = text.chars().count();
        let before_table = kinds.get(index + 1) == Some(&BlockKind::Table);
        let after_table = index > 0 && kinds[index - 1] == BlockKind::Table;
        if before_table && (length <= MAX_LEAD_CHARS || announces(text) || is_caption(text)) {
            piece.keeps_with_next = true;
        }
        if after_table && length <= MAX_NOTE_CHARS && (is_note(text) || is_caption(text)) && !before_table {
            piece.joins_previous = true;
        }
        if is_caption(text) && !before_table {
            piece.joins_previous = true;
        }
    }
}

fn first_word(text: &str) -> String {
    text.split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

fn is_caption(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "table",
        "figure",
        "fig",
        "chart",
        "exhibit",
        "tabelle",
        "abbildung",
        "abb",
        "tableau",
        "graphique",
        "diagramm",
    ];
    WORDS.contains(&first_word(text).as_str()) && text.chars().take(24).any(|c| c.is_ascii_digit())
}

fn is_note(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "note",
        "notes",
        "source",
        "sources",
        "quelle",
        "anmerkung",
        "remarque",
        "figures",
        "amounts",
        "all",
        "in",
    ];
    text.starts_with(['*', '†', '(', '¹', '²']) || WORDS.contains(&first_word(text).as_str())
}
