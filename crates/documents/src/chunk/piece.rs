//! The pieces that chunks are packed from.

use std::ops::Range;

use crate::document::{BlockKind, Document};
use crate::parse::single_line;

/// Whether a chunk may go on over the beginning of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    /// As size asks.
    None,
    /// A chunk that is half full ends here.
    Weak,
    /// A chunk that already has some size ends here.
    Soft,
    /// Every chunk ends here.
    Hard,
}

/// A block, or what a strategy made of neighbouring ones.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) span: Range<usize>,
    pub(super) kind: BlockKind,
    /// Index into [`Outline::sections`].
    pub(super) section: usize,
    pub(super) boundary: Boundary,
    /// An entry, a work or a place of action begins here, which never shares a chunk with another.
    pub(super) opens_unit: bool,
    /// Stands in the chunk of what follows, like a heading.
    pub(super) keeps_with_next: bool,
    /// Goes on in the chunk of what stands before, up to the maximum rather than the target.
    pub(super) joins_previous: bool,
    /// A mark of a break stands before it.
    pub(super) after_break: bool,
    /// Already cut off from something too large, so that nothing is left to keep whole.
    pub(super) is_part: bool,
}

impl Piece {
    pub(super) fn is_heading(&self) -> bool {
        matches!(self.kind, BlockKind::Heading { .. })
    }

    pub(super) fn text<'a>(&self, document: &'a Document) -> &'a str {
        &document.text[self.span.clone()]
    }
}

/// All pieces of a document, and the headings they stand under.
pub(super) struct Outline {
    pub(super) pieces: Vec<Piece>,
    /// Heading paths, outermost first.
    pub(super) sections: Vec<Vec<String>>,
}

/// Headings are cut to this many characters where they name a section.
const MAX_HEADING_CHARS: usize = 200;

impl Outline {
    pub(super) fn of(document: &Document) -> Self {
        Self::with_headings(document, |_| true)
    }

    /// The same, where only some of the headings are any (by the index of their block); others become paragraphs.
    pub(super) fn with_headings(document: &Document, is_heading: impl Fn(usize) -> bool) -> Self {
        let mut sections: Vec<Vec<String>> = vec![Vec::new()];
        let mut open: Vec<(u8, String)> = Vec::new();
        let mut after_break = false;
        let mut pieces = Vec::with_capacity(document.blocks.len());
        for (index, block) in document.blocks.iter().enumerate() {
            if block.kind == BlockKind::Break {
                after_break = true;
                continue;
            }
            let kind = match block.kind {
                BlockKind::Heading { .. } if !is_heading(index) => BlockKind::Paragraph,
                kind => kind,
            };
            let keeps_with_next = if let BlockKind::Heading { level } = kind {
                open.retain(|(other, _)| *other < level);
                let name: String = single_line(&document.text[block.span.clone()])
                    .chars()
                    .take(MAX_HEADING_CHARS)
                    .collect();
                open.push((level, name));
                sections.push(open.iter().map(|(_, name)| name.clone()).collect());
                true
            } else {
                false
            };
            pieces.push(Piece {
                span: block.span.clone(),
                kind,
                section: sections.len() - 1,
                boundary: Boundary::None,
                opens_unit: false,
                keeps_with_next,
                joins_previous: false,
                after_break: std::mem::take(&mut after_break),
                is_part: false,
            });
        }
        Self { pieces, sections }
    }

    /// Marks every heading.
    pub(super) fn mark_headings(&mut self, boundary: Boundary) {
        for piece in &mut self.pieces {
            if piece.is_heading() {
                piece.boundary = boundary;
            }
        }
    }
}

/// A sentence that announces what follows.
pub(super) fn announces(text: &str) -> bool {
    text.trim_end().ends_with(':')
}
