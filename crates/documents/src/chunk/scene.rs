//! By scene; dialogue stays together. Chapters, breaks and the slug lines of screenplays begin a scene.

use std::collections::HashMap;

use super::piece::{Boundary, Outline, announces};
use crate::document::{BlockKind, Document};
use crate::parse::lines;

/// The outline, in which names over speeches are no headings.
pub(super) fn outline(document: &Document) -> Outline {
    let speakers = Speakers::of(document);
    Outline::with_headings(document, |index| !speakers.are_named_by(document, index))
}

pub(super) fn mark(document: &Document, outline: &mut Outline) {
    outline.mark_headings(Boundary::Hard);
    let mut before_speaks = false;
    // The section that a slug line opened inside the section of a heading.
    let mut scene: Option<(usize, usize)> = None;
    let sections = &mut outline.sections;
    for piece in &mut outline.pieces {
        let text = piece.text(document);
        if is_slug_line(text) {
            piece.boundary = Boundary::Hard;
            piece.opens_unit = true;
            piece.keeps_with_next = true;
            if !piece.is_heading() {
                let mut path = sections[piece.section].clone();
                path.push(text.to_owned());
                sections.push(path);
                scene = Some((piece.section, sections.len() - 1));
            }
        } else if piece.after_break {
            piece.boundary = Boundary::Hard;
        }
        if let Some((heading, section)) = scene
            && piece.section == heading
        {
            piece.section = section;
        }
        if piece.kind == BlockKind::Paragraph && lines::is_cue(text) {
            piece.keeps_with_next = true;
        }
        let speaks = is_speech(text);
        piece.joins_previous = before_speaks && speaks;
        before_speaks = speaks || announces(text);
    }
}

/// Who speaks, as far as their names were taken for headings.
struct Speakers {
    /// How often each stands over a short text, by name.
    times: HashMap<String, usize>,
    /// The block of the first slug line: from there on it is a screenplay.
    first_slug: Option<usize>,
}

impl Speakers {
    /// Chapters are named for who tells them, too, but are longer than any speech, in bytes.
    const LONGEST_SPEECH: usize = 3_000;

    fn of(document: &Document) -> Self {
        let mut times: HashMap<String, usize> = HashMap::new();
        let mut headings = document
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| matches!(block.kind, BlockKind::Heading { .. }))
            .peekable();
        while let Some((_, block)) = headings.next() {
            let text = &document.text[block.span.clone()];
            let end = headings
                .peek()
                .map_or(document.text.len(), |(_, next)| next.span.start);
            if is_name(text) && end - block.span.end <= Self::LONGEST_SPEECH {
                *times.entry(name_of(text)).or_default() += 1;
            }
        }
        let first_slug = document
            .blocks
            .iter()
            .position(|block| is_slug_line(&document.text[block.span.clone()]));
        Self { times, first_slug }
    }

    fn are_named_by(&self, document: &Document, index: usize) -> bool {
        let text = &document.text[document.blocks[index].span.clone()];
        let times = self.times.get(&name_of(text)).copied().unwrap_or_default();
        let in_screenplay = self.first_slug.is_some_and(|first| first < index);
        is_name(text) && (times >= 2 || (times == 1 && in_screenplay))
    }
}

/// A heading that may be the name of a speaker: in capitals, and neither a chapter's nor a place.
fn is_name(text: &str) -> bool {
    lines::is_cue(text) && lines::marked_heading_level(text).is_none() && !is_slug_line(text)
}

/// `ODILE` of `ODILE (CONT'D)`.
fn name_of(text: &str) -> String {
    let name = text.split('(').next().unwrap_or_default();
    name.trim_end_matches([':', ' ']).to_owned()
}

fn is_speech(text: &str) -> bool {
    text.starts_with(['“', '"', '«', '„', '‘', '»', '「', '—', '–', '‹'])
}

/// `INT. KITCHEN - NIGHT`.
fn is_slug_line(text: &str) -> bool {
    const LONGEST: usize = 120;
    ["INT.", "EXT.", "INT/EXT", "INT./EXT.", "I/E."]
        .iter()
        .any(|start| text.starts_with(start))
        && text.chars().count() < LONGEST
        && !text.contains('\n')
}
