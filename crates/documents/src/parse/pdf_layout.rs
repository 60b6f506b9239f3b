//! From the text cells of a page to rows in reading order.

use docling_pdf::pdfium_backend::{PdfPage, TextCell};

/// A run of text on one line of one column. Coordinates are points from the top left corner.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) left: f32,
    pub(super) right: f32,
}

/// The cells of one baseline in one column, from left to right.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) cells: Vec<Cell>,
    pub(super) top: f32,
    pub(super) bottom: f32,
    /// Height of most of its words; stands for the font's size.
    pub(super) size: f32,
    /// Its words, from left to right.
    pub(super) words: Vec<Cell>,
    /// Width of a character, where all surely have the same.
    pub(super) monospace: Option<f32>,
    /// Width of a character, where all may have the same: too few words to be sure.
    pub(super) pitch: Option<f32>,
    /// Counts up whenever reading jumps to another column or band.
    pub(super) column: u32,
    /// Edges of the column.
    pub(super) column_left: f32,
    /// Edges of the column.
    pub(super) column_right: f32,
}

impl Row {
    pub(super) fn left(&self) -> f32 {
        self.cells.first().map_or(0.0, |cell| cell.left)
    }

    pub(super) fn right(&self) -> f32 {
        self.cells.last().map_or(0.0, |cell| cell.right)
    }

    pub(super) fn text(&self) -> String {
        let parts: Vec<&str> = self.cells.iter().map(|cell| cell.text.trim()).collect();
        parts.join(" ")
    }
}

/// A page whose cells would take too long to compare with each other is read as it comes.
const MAX_CELLS_TO_ORDER: usize = 4_000;

/// The rows of a page in reading order; `column` counts on from page to page.
pub(super) fn order_rows(page: &PdfPage, column: &mut u32) -> Vec<Row> {
    let cells: Vec<&TextCell> = page
        .cells
        .iter()
        .filter(|cell| {
            !cell.text.trim().is_empty()
                && cell.l.is_finite()
                && cell.t.is_finite()
                && cell.r.is_finite()
                && cell.b.is_finite()
        })
        .collect();
    let mut ordered: Vec<(u32, f32, f32, &TextCell)> = Vec::with_capacity(cells.len());
    if cells.len() <= MAX_CELLS_TO_ORDER {
        order_region(&cells, 0, column, &mut ordered);
    } else {
        *column += 1;
        ordered.extend(cells.iter().map(|cell| (*column, 0.0, page.width, *cell)));
    }
    let mut rows: Vec<Row> = Vec::new();
    for (column, column_left, column_right, cell) in ordered {
        let (top, bottom) = (cell.t.min(cell.b), cell.t.max(cell.b));
        let middle = (top + bottom) / 2.0;
        let piece = Cell {
            text: cell.text.clone(),
            left: cell.l,
            right: cell.r,
        };
        match rows.last_mut() {
            Some(row)
                if row.column == column
                    && middle > row.top
                    && middle < row.bottom
                    && (row.top + row.bottom) / 2.0 > top
                    && (row.top + row.bottom) / 2.0 < bottom =>
            {
                row.top = row.top.min(top);
                row.bottom = row.bottom.max(bottom);
                row.cells.push(piece);
            }
            _ => rows.push(Row {
                cells: vec![piece],
                top,
                bottom,
                size: bottom - top,
                words: Vec::new(),
                monospace: None,
                pitch: None,
                column,
                column_left,
                column_right,
            }),
        }
    }
    for row in &mut rows {
        row.cells.sort_by(|a, b| a.left.total_cmp(&b.left));
    }
    measure_rows(&mut rows, &page.word_cells);
    rows
}

/// Orders the cells of a region: columns one after the other where there are columns, else from top to bottom.
fn order_region<'a>(
    cells: &[&'a TextCell],
    depth: u8,
    column: &mut u32,
    out: &mut Vec<(u32, f32, f32, &'a TextCell)>,
) {
    if cells.is_empty() {
        return;
    }
    let left = cells.iter().map(|cell| cell.l).fold(f32::INFINITY, f32::min);
    let right = cells.iter().map(|cell| cell.r).fold(f32::NEG_INFINITY, f32::max);
    let gutter = if depth < 3 {
        find_gutter(cells, left, right)
    } else {
        None
    };
    let Some(gutter) = gutter else {
        *column += 1;
        let mut sorted = cells.to_vec();
        sorted.sort_by(|a, b| a.t.total_cmp(&b.t).then(a.l.total_cmp(&b.l)));
        out.extend(sorted.into_iter().map(|cell| (*column, left, right, cell)));
        return;
    };
    // Lines across the gutter (titles, wide figures) cut the page into bands, each read column by column.
    let mut crossing: Vec<&TextCell> = cells
        .iter()
        .copied()
        .filter(|cell| cell.l < gutter && cell.r > gutter)
        .collect();
    crossing.sort_by(|a, b| a.t.total_cmp(&b.t));
    let mut begin = f32::NEG_INFINITY;
    let mut index = 0;
    loop {
        let end = crossing
            .get(index)
            .map_or(f32::INFINITY, |cell| (cell.t + cell.b) / 2.0);
        let band = |keep: &dyn Fn(&TextCell) -> bool| -> Vec<&'a TextCell> {
            cells
                .iter()
                .copied()
                .filter(|cell| {
                    let middle = (cell.t + cell.b) / 2.0;
                    middle >= begin && middle < end && keep(cell)
                })
                .collect()
        };
        order_region(&band(&|cell| cell.r <= gutter), depth + 1, column, out);
        order_region(&band(&|cell| cell.l >= gutter), depth + 1, column, out);
        if index >= crossing.len() {
            return;
        }
        // Neighbouring wide lines stand together.
        let mut last = index;
        while let Some(next) = crossing.get(last + 1) {
            let between = cells.iter().any(|cell| {
                let middle = (cell.t + cell.b) / 2.0;
                (cell.r <= gutter || cell.l >= gutter) && middle > crossing[last].b && middle < next.t
            });
            if between {
                break;
            }
            last += 1;
        }
        *column += 1;
        out.extend(
            crossing[index..=last]
                .iter()
                .map(|cell| (*column, left, right, *cell)),
        );
        begin = crossing[last].t.max(crossing[last].b) - 1.0;
        index = last + 1;
    }
}

/// The middle of the white strip between two columns of prose, if the region has two.
fn find_gutter(cells: &[&TextCell], left: f32, right: f32) -> Option<f32> {
    let width = right - left;
    if cells.len() < 12 || width < 200.0 {
        return None;
    }
    let mut best: Option<(usize, f32)> = None;
    for step in 0..=40 {
        let x = left + width * (0.3 + 0.01 * step as f32);
        let crossing = cells.iter().filter(|cell| cell.l < x && cell.r > x).count();
        let margin = cells
            .iter()
            .filter(|cell| cell.l < x + 3.0 && cell.r > x - 3.0)
            .count();
        let cost = crossing * 2 + margin;
        if best.is_none_or(|(lowest, at)| {
            cost < lowest
                || (cost == lowest && (x - left - width / 2.0).abs() < (at - left - width / 2.0).abs())
        }) {
            best = Some((cost, x));
        }
    }
    let (_, x) = best?;
    let sides = [
        cells
            .iter()
            .filter(|cell| cell.r <= x)
            .copied()
            .collect::<Vec<_>>(),
        cells
            .iter()
            .filter(|cell| cell.l >= x)
            .copied()
            .collect::<Vec<_>>(),
    ];
    let crossing = cells.len() - sides[0].len() - sides[1].len();
    if crossing * 3 > cells.len() {
        return None;
    }
    let is_prose = |side: &[&TextCell], side_width: f32| {
        // By characters: a table in one of the columns has many cells, and little text.
        let characters = |cell: &TextCell| cell.text.chars().count();
        let long: usize = side
            .iter()
            .filter(|cell| cell.r - cell.l > side_width * 0.6 && characters(cell) >= 18)
            .map(|cell| characters(cell))
            .sum();
        let all: usize = side.iter().map(|cell| characters(cell)).sum();
        side.len() >= 5 && long * 2 > all
    };
    (is_prose(&sides[0], x - left) && is_prose(&sides[1], right - x)).then_some(x)
}

/// Sizes and fixed pitch of rows from the words in them.
fn measure_rows(rows: &mut [Row], words: &[TextCell]) {
    if rows.len().saturating_mul(words.len()) > 20_000_000 {
        return;
    }
    for row in rows {
        let inside: Vec<&TextCell> = words
            .iter()
            .filter(|word| {
                let middle = (word.t + word.b) / 2.0;
                let centre = (word.l + word.r) / 2.0;
                middle > row.top
                    && middle < row.bottom
                    && row
                        .cells
                        .iter()
                        .any(|cell| centre >= cell.left - 1.0 && centre <= cell.right + 1.0)
            })
            .collect();
        let mut heights: Vec<(f32, usize)> = inside
            .iter()
            .map(|word| ((word.b - word.t).abs(), word.text.chars().count()))
            .collect();
        heights.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: usize = heights.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        for (height, count) in heights {
            seen += count;
            if seen * 2 >= total {
                row.size = height;
                break;
            }
        }
        row.pitch = fixed_pitch(&inside);
        row.monospace = row.pitch.filter(|_| proves_pitch(&inside));
        row.words = inside
            .iter()
            .map(|word| Cell {
                text: word.text.clone(),
                left: word.l,
                right: word.r,
            })
            .collect();
        row.words.sort_by(|a, b| a.left.total_cmp(&b.left));
    }
}

/// The width of a character, if words of different letters all give the same.
fn fixed_pitch(words: &[&TextCell]) -> Option<f32> {
    let pitches: Vec<f32> = words
        .iter()
        .filter(|word| word.text.chars().count() >= 3)
        .map(|word| (word.r - word.l) / word.text.chars().count() as f32)
        .collect();
    let first = *pitches.first()?;
    let same = pitches.iter().all(|pitch| (pitch - first).abs() <= first * 0.02);
    // Ideographs all have the same width anyway.
    let latin = words
        .iter()
        .all(|word| word.text.chars().all(|c| (c as u32) < 0x2e80));
    (same && first > 0.0 && latin).then_some(first)
}

/// One word proves nothing, unless it is long.
fn proves_pitch(words: &[&TextCell]) -> bool {
    let lengths: Vec<usize> = words.iter().map(|word| word.text.chars().count()).collect();
    let total: usize = lengths.iter().sum();
    total >= 6 && (lengths.iter().filter(|length| **length >= 3).count() >= 2 || total >= 12)
}
