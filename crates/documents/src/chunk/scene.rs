//! By scene; dialogue stays together. Chapters, breaks and the slug lines of screenplays begin a scene.

use super::piece::{Boundary, Outline, announces};
use crate::document::{BlockKind, Document};

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    outline.mark_headings(Boundary::Hard);
    let mut before_speaks = false;
    for piece in &mut outline.pieces {
        let text = piece.text(document);
        if piece.after_break || is_slug_line(text) {
            piece.boundary = Boundary::Hard;
        }
        if is_slug_line(text) || (piece.kind == BlockKind::Paragraph && is_character_cue(text)) {
            piece.keeps_with_next = true;
        }
        let speaks = is_speech(text);
        piece.joins_previous = before_speaks && speaks;
        before_speaks = speaks || announces(text);
    }
}

fn is_speech(text: &str) -> bool {
    text.starts_with(['“', '"', '«', '„', '‘', '»', '「', '—', '–', '‹'])
}

/// `INT. KITCHEN - NIGHT`.
fn is_slug_line(text: &str) -> bool {
    ["INT.", "EXT.", "INT/EXT", "INT./EXT.", "I/E."]
        .iter()
        .any(|start| text.starts_with(start))
        && text.chars().count() < 120
}

/// `ODILE (whispering)` over a line of a play.
fn is_character_cue(text: &str) -> bool {
    let name = text
        .split('(')
        .next()
        .unwrap_or_default()
        .trim_end_matches([':', ' ']);
    let letters = name.chars().filter(|c| c.is_alphabetic()).count();
    letters >= 2
        && name.chars().count() <= 40
        && !text.contains('\n')
        && name.chars().all(|c| !c.is_lowercase())
        && !name.ends_with(['.', '!', '?'])
}
