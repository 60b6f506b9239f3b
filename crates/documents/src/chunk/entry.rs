//! By entry; the date of an entry goes with each of its chunks.

use super::dates::{contains_date, leading_date};
use super::piece::{Boundary, Outline};
use crate::document::Document;

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    // The section that a dated paragraph opened inside the section of a heading.
    let mut dated: Option<(usize, usize)> = None;
    let sections = &mut outline.sections;
    for piece in &mut outline.pieces {
        let text = piece.text(document);
        if piece.is_heading() {
            piece.boundary = if contains_date(text) {
                Boundary::Hard
            } else {
                Boundary::Soft
            };
            dated = None;
            continue;
        }
        if let Some(end) = leading_date(text) {
            let is_date_line = text.lines().next().is_some_and(|line| line.chars().count() <= 60)
                && text.lines().count() == 1;
            let label = if is_date_line && text.len() <= end + 24 {
                text
            } else {
                &text[..end]
            };
            let mut path = sections[piece.section].clone();
            path.push(label.trim_end_matches([',', '.', ':', ';', ' ']).to_owned());
            sections.push(path);
            dated = Some((piece.section, sections.len() - 1));
            piece.boundary = Boundary::Hard;
            piece.keeps_with_next = is_date_line && text.len() <= end + 24;
        }
        if let Some((heading, section)) = dated
            && piece.section == heading
        {
            piece.section = section;
        }
    }
}
