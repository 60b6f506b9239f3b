//! Fills chunks with pieces.

use std::ops::Range;

use mnemosyne_domain::LibraryTypeProfile;

use super::piece::{Boundary, Outline, Piece};
use super::split::{CutAt, cut, tail_sentences};
use crate::document::{BlockKind, ChunkDraft, Document};

/// A code block or table is kept whole up to this many times the profile's `max_chars`.
pub const HARD_CAP_FACTOR: usize = 8;

/// A section smaller than the target by more than this factor shares its chunk with the next. Others stand alone, so that
/// each is found under its own headings.
const LEAST_SECTION: usize = 16;

/// Packs pieces in order.
pub(super) fn pack(document: &Document, outline: Outline, profile: &LibraryTypeProfile) -> Vec<ChunkDraft> {
    let max = profile.max_chars.max(1);
    let mut packer = Packer {
        text: &document.text,
        sections: &outline.sections,
        counts: CharCounts::of(&document.text),
        target: profile.target_chars.clamp(1, max),
        max,
        current: Vec::new(),
        chunks: Vec::new(),
    };
    let mut waiting: Vec<Piece> = outline.pieces;
    waiting.reverse();
    while let Some(piece) = waiting.pop() {
        packer.add(piece, &mut waiting);
    }
    packer.flush();
    packer.join_scraps();
    packer.finish(document, profile.overlap_chars)
}

struct Packer<'a> {
    text: &'a str,
    sections: &'a [Vec<String>],
    counts: CharCounts,
    target: usize,
    max: usize,
    current: Vec<Piece>,
    chunks: Vec<Vec<Piece>>,
}

impl Packer<'_> {
    fn add(&mut self, piece: Piece, waiting: &mut Vec<Piece>) {
        if self.ends_before(&piece) {
            self.flush_keeping_leads();
        }
        let length = self.chars(&piece.span);
        let joined = match self.current.first() {
            Some(first) => self.chars(&(first.span.start..piece.span.end)),
            None => length,
        };
        if joined <= self.max {
            self.current.push(piece);
            return;
        }
        // What stands in `current` now, if anything, wants to be with this piece.
        let lead = joined - length;
        let stays_whole = !piece.is_part
            && matches!(piece.kind, BlockKind::Code | BlockKind::Table)
            && length <= self.max * HARD_CAP_FACTOR;
        if stays_whole {
            if lead * 2 > self.max {
                self.flush();
            }
            self.current.push(piece);
            return;
        }
        let room = self.max.saturating_sub(lead);
        if !self.current.is_empty() && (room * 3 < self.max || piece.keeps_with_next) {
            self.flush();
            waiting.push(piece);
            return;
        }
        let at = match piece.kind {
            BlockKind::Code | BlockKind::Table | BlockKind::Verse => CutAt::Lines,
            _ => CutAt::Sentences,
        };
        let limit = if at == CutAt::Lines {
            room
        } else {
            room.min(self.target)
        };
        let (part, rest) = cut(self.text, piece.span.clone(), limit, at);
        if !rest.is_empty() {
            waiting.push(Piece {
                span: rest,
                boundary: Boundary::None,
                joins_previous: false,
                after_break: false,
                opens_unit: false,
                is_part: true,
                ..piece.clone()
            });
        }
        self.current.push(Piece {
            span: part,
            is_part: true,
            ..piece
        });
    }

    /// Whether the current chunk ends before a piece.
    fn ends_before(&self, piece: &Piece) -> bool {
        let (Some(first), Some(last)) = (self.current.first(), self.current.last()) else {
            return false;
        };
        if self.current.iter().all(|other| other.keeps_with_next) {
            return self.holds_other_unit(piece);
        }
        let size = self.chars(&(first.span.start..last.span.end));
        let joined = self.chars(&(first.span.start..piece.span.end));
        if joined > self.max {
            return true;
        }
        match piece.boundary {
            // A title page too small to stand alone leads into the first section. A short first entry is no title page.
            Boundary::Hard if piece.is_heading() && self.chunks.is_empty() => {
                return size * LEAST_SECTION >= self.target
                    || self.current.iter().any(|other| other.opens_unit);
            }
            Boundary::Hard => return true,
            Boundary::Soft if size * LEAST_SECTION >= self.target => return true,
            Boundary::Weak if size * 2 >= self.target => return true,
            Boundary::Soft | Boundary::Weak | Boundary::None => {}
        }
        if piece.joins_previous || last.keeps_with_next {
            return false;
        }
        size >= self.target || (joined > self.target && size * 2 >= self.target)
    }

    /// Whether a piece opens a unit, and the current chunk holds another that it is no part of.
    fn holds_other_unit(&self, piece: &Piece) -> bool {
        let path = &self.sections[piece.section];
        piece.opens_unit
            && self
                .current
                .iter()
                .any(|other| other.opens_unit && !path.starts_with(&self.sections[other.section]))
    }

    /// Ends the chunk; headings at its end go over to the next.
    fn flush_keeping_leads(&mut self) {
        let keep = self
            .current
            .iter()
            .rposition(|piece| !piece.keeps_with_next)
            .map_or(0, |last| last + 1);
        let leads = self.current.split_off(keep);
        self.flush();
        self.current = leads;
    }

    fn flush(&mut self) {
        if !self.current.is_empty() {
            self.chunks.push(std::mem::take(&mut self.current));
        }
    }

    /// Joins what is too small to stand alone to its neighbour: ends of sections, headings without text.
    fn join_scraps(&mut self) {
        let mut joined: Vec<Vec<Piece>> = Vec::with_capacity(self.chunks.len());
        for chunk in std::mem::take(&mut self.chunks) {
            let Some(before) = joined.last_mut() else {
                joined.push(chunk);
                continue;
            };
            let only_leads = chunk.iter().all(|piece| piece.is_heading() && !piece.opens_unit);
            let size = self.chars(&span_of(&chunk));
            let small = chunk[0].boundary == Boundary::None
                && size * 4 < self.target
                && before.last().is_some_and(|last| last.section == chunk[0].section);
            let fits = self.chars(&(span_of(before).start..span_of(&chunk).end)) <= self.max;
            if fits && (only_leads || small) {
                before.extend(chunk);
            } else {
                joined.push(chunk);
            }
        }
        self.chunks = joined;
    }

    fn finish(self, document: &Document, overlap: usize) -> Vec<ChunkDraft> {
        let mut drafts: Vec<ChunkDraft> = Vec::with_capacity(self.chunks.len());
        let mut before: Option<&Vec<Piece>> = None;
        for chunk in &self.chunks {
            let mut span = span_of(chunk);
            if let (Some(before), Some(draft)) = (before, drafts.last())
                && let Some(start) = self.overlap_start(before, chunk, overlap)
                && start > draft.span.start
            {
                span.start = start;
            }
            let section = self.main_section(chunk);
            // Path and page name the same place. What is repeated from the chunk before does not count.
            let place = chunk
                .iter()
                .find(|piece| piece.section == section)
                .unwrap_or(&chunk[0]);
            drafts.push(ChunkDraft {
                span,
                heading_path: self.sections[section].clone(),
                page: document.page_at(place.span.start),
            });
            before = Some(chunk);
        }
        drafts
    }

    /// Where the chunk begins if the last sentences of the one before stand in it again.
    fn overlap_start(&self, before: &[Piece], chunk: &[Piece], overlap: usize) -> Option<usize> {
        let (last, first) = (before.last()?, chunk.first()?);
        let is_prose = |piece: &Piece| {
            matches!(
                piece.kind,
                BlockKind::Paragraph | BlockKind::Quote | BlockKind::ListItem
            )
        };
        if overlap == 0
            || last.section != first.section
            || first.boundary == Boundary::Hard
            || !is_prose(last)
            || !is_prose(first)
        {
            return None;
        }
        let size = self.chars(&(last.span.end..span_of(chunk).end));
        let room = self.max.saturating_sub(size).min(overlap);
        tail_sentences(self.text, last.span.clone(), room)
    }

    /// The section that most of a chunk belongs to.
    fn main_section(&self, chunk: &[Piece]) -> usize {
        let mut best = (0, chunk[0].section);
        let mut index = 0;
        while index < chunk.len() {
            let section = chunk[index].section;
            let end = chunk[index..]
                .iter()
                .position(|piece| piece.section != section)
                .map_or(chunk.len(), |length| index + length);
            let size = self.chars(&span_of(&chunk[index..end]));
            if size > best.0 {
                best = (size, section);
            }
            index = end;
        }
        best.1
    }

    fn chars(&self, span: &Range<usize>) -> usize {
        self.counts.until(self.text, span.end) - self.counts.until(self.text, span.start)
    }
}

fn span_of(chunk: &[Piece]) -> Range<usize> {
    match (chunk.first(), chunk.last()) {
        (Some(first), Some(last)) => first.span.start..last.span.end,
        _ => 0..0,
    }
}

/// Characters up to any byte, without counting from the beginning each time.
struct CharCounts {
    /// Characters that begin before each [`STEP`]th byte.
    before: Vec<usize>,
}

const STEP: usize = 256;

impl CharCounts {
    fn of(text: &str) -> Self {
        let mut before = Vec::with_capacity(text.len() / STEP + 1);
        let mut count = 0;
        for block in text.as_bytes().chunks(STEP) {
            before.push(count);
            count += starts(block);
        }
        before.push(count);
        Self { before }
    }

    fn until(&self, text: &str, byte: usize) -> usize {
        let block = byte / STEP;
        self.before[block] + starts(&text.as_bytes()[block * STEP..byte])
    }
}

/// Bytes that begin a character.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}
