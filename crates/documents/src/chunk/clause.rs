//! By clause and paragraph; numbering stays with its text, and sub-clauses stay with their clause while they fit.

use super::piece::{Boundary, Outline, announces};
use crate::document::Document;

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    outline.mark_headings(Boundary::Soft);
    for piece in &mut outline.pieces {
        if piece.is_heading() {
            continue;
        }
        let text = piece.text(document);
        match clause_rank(text) {
            Some(Rank::Clause) => piece.boundary = Boundary::Weak,
            Some(Rank::SubClause) => piece.joins_previous = true,
            None => {}
        }
        piece.keeps_with_next = announces(text) && text.chars().count() <= 400;
    }
}

enum Rank {
    Clause,
    SubClause,
}

/// What the mark at the beginning makes of a paragraph: `4.`, `4.2`, `§ 4`, `Article 4`, or `(a)`, `4.2.1`, `- `.
fn clause_rank(text: &str) -> Option<Rank> {
    let first = text.split_whitespace().next()?;
    if first.starts_with('§') {
        return Some(Rank::Clause);
    }
    const WORDS: &[&str] = &[
        "article", "section", "clause", "schedule", "annex", "artikel", "absatz", "anlage", "annexe",
        "clausule",
    ];
    if WORDS.contains(&first.to_lowercase().as_str()) {
        let second = text.split_whitespace().nth(1)?;
        let numbered = second.starts_with(|c: char| c.is_ascii_digit() || "IVXLC".contains(c));
        return numbered.then_some(Rank::Clause);
    }
    let core = first.trim_start_matches('(').trim_end_matches([')', '.', ':']);
    let parts: Vec<&str> = core.split('.').collect();
    if !core.is_empty()
        && parts
            .iter()
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
    {
        let marked = parts.len() > 1 || first.ends_with(['.', ')', ':']);
        return marked.then_some(if parts.len() <= 2 {
            Rank::Clause
        } else {
            Rank::SubClause
        });
    }
    let lettered = first.ends_with([')', '.'])
        && (core.len() == 1 || core.chars().all(|c| "ivx".contains(c)))
        && core.chars().all(|c| c.is_ascii_lowercase());
    (lettered || matches!(first, "-" | "•" | "–")).then_some(Rank::SubClause)
}
