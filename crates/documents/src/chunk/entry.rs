//! By entry; the date of an entry goes with each of its chunks.

use super::dates::{contains_date, leading_date};
use super::piece::{Boundary, Outline};
use crate::document::{BlockKind, Document};

/// The entry that one is in.
struct Entry {
    date: String,
    /// Where its date stands in the heading paths of its sections.
    depth: usize,
    /// Headings of this level and further out end it.
    ended_by: u8,
}

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    let mut open: Option<Entry> = None;
    // The section that a date opened inside the section of a heading.
    let mut dated: Option<(usize, usize)> = None;
    // The heading one is under, and whether it belongs to the open entry: then text has followed it.
    let mut level = 0;
    let mut is_inside_entry = false;
    let sections = &mut outline.sections;
    for piece in &mut outline.pieces {
        let text = piece.text(document);
        if let BlockKind::Heading { level: own } = piece.kind {
            level = own;
            dated = None;
            is_inside_entry = false;
            let path = &mut sections[piece.section];
            if contains_date(text) {
                piece.boundary = Boundary::Hard;
                piece.opens_unit = true;
                open = path.last().map(|name| Entry {
                    date: name.clone(),
                    depth: path.len() - 1,
                    ended_by: own.saturating_sub(1),
                });
                continue;
            }
            piece.boundary = Boundary::Soft;
            open = open.filter(|entry| own > entry.ended_by);
            if let Some(entry) = &open
                && path.get(entry.depth) != Some(&entry.date)
            {
                path.insert(entry.depth.min(path.len() - 1), entry.date.clone());
            }
            continue;
        }
        let holds_figures = matches!(piece.kind, BlockKind::Code | BlockKind::Table);
        if let Some(end) = leading_date(text).filter(|_| !holds_figures) {
            let is_date_line = text.lines().count() == 1 && text.len() <= end + 24;
            let label = if is_date_line { text } else { &text[..end] };
            let date = label.trim_end_matches([',', '.', ':', ';', ' ']).to_owned();
            let mut path = sections[piece.section].clone();
            let mut ended_by = level;
            if let Some(entry) = &open
                && entry.depth + 1 < path.len()
                && path[entry.depth] == entry.date
            {
                // The heading above was part of the entry that ends here, unless nothing but this date stands under it.
                if is_inside_entry {
                    path.truncate(entry.depth);
                    ended_by = entry.ended_by;
                } else {
                    path.remove(entry.depth);
                }
            }
            open = Some(Entry {
                date: date.clone(),
                depth: path.len(),
                ended_by,
            });
            path.push(date);
            sections.push(path);
            dated = Some((piece.section, sections.len() - 1));
            piece.boundary = Boundary::Hard;
            piece.opens_unit = true;
            piece.keeps_with_next = is_date_line;
        }
        is_inside_entry = true;
        if let Some((heading, section)) = dated
            && piece.section == heading
        {
            piece.section = section;
        }
    }
}
