//! By verse; a verse is never cut where it fits. What is known of the work (title, artist, year) comes first, apart.

use super::piece::{Boundary, Outline};
use crate::document::{BlockKind, Document};

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    outline.mark_headings(Boundary::Hard);
    mark_works(document, outline);
    let mut saw_data = false;
    for piece in &mut outline.pieces {
        let text = piece.text(document);
        if piece.is_heading() && !is_label(text) {
            saw_data = false;
        } else if piece.kind == BlockKind::Verse || is_label(text) {
            // "Chorus" as a heading is no work of its own.
            piece.boundary = match std::mem::take(&mut saw_data) {
                true => Boundary::Hard,
                false if piece.is_heading() => Boundary::Soft,
                false => Boundary::None,
            };
        } else if is_data(text) {
            saw_data = true;
        }
        if is_label(text) && !text.contains('\n') {
            piece.keeps_with_next = true;
        }
    }
}

/// A heading that is no label and has none below it but labels names a work; others name what works are collected in.
fn mark_works(document: &Document, outline: &mut Outline) {
    let sections = &outline.sections;
    let mut below: Option<usize> = None;
    for piece in outline.pieces.iter_mut().rev() {
        if !piece.is_heading() || is_label(piece.text(document)) {
            continue;
        }
        let path = &sections[piece.section];
        let holds_others =
            below.is_some_and(|next| sections[next].len() > path.len() && sections[next].starts_with(path));
        piece.opens_unit = !holds_others;
        below = Some(piece.section);
    }
}

/// `Artist: …`, one or several.
fn is_data(text: &str) -> bool {
    text.lines().all(|line| {
        line.split_once(':')
            .is_some_and(|(name, value)| name.chars().count() <= 40 && !value.trim().is_empty())
    })
}

/// `[Chorus]`, `Verse 2:`.
fn is_label(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default().trim();
    if first.starts_with('[') && first.ends_with(']') {
        return true;
    }
    let word = first
        .trim_end_matches(':')
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let known = matches!(
        word.as_str(),
        "verse"
            | "chorus"
            | "bridge"
            | "refrain"
            | "intro"
            | "outro"
            | "coda"
            | "strophe"
            | "couplet"
            | "pre-chorus"
            | "interlude"
    );
    known && first.chars().count() <= 24
}
