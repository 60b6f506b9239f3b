//! The codes of one space in memory, and the scan over them.
//!
//! Memory: for each chunk `dimension + 24` bytes (codes, scale, keys), in blocks of [`BLOCK_ROWS`] rows, so that growing
//! never copies what is there. Rows that are deleted are free at once and taken by the next ones.

use std::collections::{BinaryHeap, HashSet};

use super::simd;

/// How many rows are allocated at once: 512 KiB of codes at 1,024 dimensions.
const BLOCK_ROWS: usize = 512;

/// The library of a row that holds nothing.
const FREE: u32 = u32::MAX;

/// From how many chosen rows on two threads share a scan: below, starting a thread costs more than it saves.
const PARALLEL_ROWS: usize = 16_384;

/// A row to be put in.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The key of the vector in the database.
    pub(super) vector: i64,
    /// The keys of what contains it.
    pub(super) library: u32,
    /// See `library`.
    pub(super) collection: u32,
    /// See `library`.
    pub(super) item: u32,
    /// What the codes are multiplied with.
    pub(super) scale: f32,
}

/// Which rows take part in a scan.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Whether a library takes part, by its key.
    pub(super) libraries: Vec<bool>,
    /// Only this collection.
    pub(super) collection: Option<u32>,
    /// Only this item.
    pub(super) item: Option<u32>,
}

/// A row that a scan found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// The key of the vector in the database.
    pub(super) vector: i64,
    /// Nearly the cosine.
    pub(super) score: f32,
}

impl Eq for Found {}

impl Ord for Found {
    /// The worst is the greatest, so that a heap gives it away first. Ties are broken by key, so that scans repeat.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.vector.cmp(&other.vector))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The rows of one space.
#[derive(Debug)]
pub(super) struct Matrix {
    dimension: usize,
    /// The change of the store that the rows are up to date with.
    pub(super) sequence: i64,
    blocks: Vec<Box<[i8]>>,
    scales: Vec<f32>,
    vectors: Vec<i64>,
    libraries: Vec<u32>,
    collections: Vec<u32>,
    items: Vec<u32>,
    free: Vec<u32>,
}

impl Matrix {
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            dimension,
            sequence: 0,
            blocks: Vec::new(),
            scales: Vec::new(),
            vectors: Vec::new(),
            libraries: Vec::new(),
            collections: Vec::new(),
            items: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many rows there are, those that hold nothing with them.
    pub(super) fn rows(&self) -> usize {
        self.vectors.len()
    }

    fn codes(&self, row: usize) -> &[i8] {
        let start = row % BLOCK_ROWS * self.dimension;
        &self.blocks[row / BLOCK_ROWS][start..start + self.dimension]
    }

    /// Puts a row in. Codes of another length than the dimension are refused.
    pub(super) fn insert(&mut self, row: &Row, codes: &[u8]) -> bool {
        if codes.len() != self.dimension {
            return false;
        }
        let place = match self.free.pop() {
            Some(place) => place as usize,
            None => {
                let place = self.vectors.len();
                if place.is_multiple_of(BLOCK_ROWS) {
                    self.blocks
                        .push(vec![0; BLOCK_ROWS * self.dimension].into_boxed_slice());
                }
                self.scales.push(0.0);
                self.vectors.push(0);
                self.libraries.push(FREE);
                self.collections.push(0);
                self.items.push(0);
                place
            }
        };
        let start = place % BLOCK_ROWS * self.dimension;
        let target = &mut self.blocks[place / BLOCK_ROWS][start..start + self.dimension];
        for (to, from) in target.iter_mut().zip(codes) {
            *to = from.cast_signed();
        }
        self.scales[place] = row.scale;
        self.vectors[place] = row.vector;
        self.libraries[place] = row.library;
        self.collections[place] = row.collection;
        self.items[place] = row.item;
        true
    }

    /// Takes all rows of these items out.
    pub(super) fn remove_items(&mut self, items: &HashSet<u32>) {
        if items.is_empty() {
            return;
        }
        for place in 0..self.vectors.len() {
            if self.libraries[place] != FREE && items.contains(&self.items[place]) {
                self.libraries[place] = FREE;
                self.free.push(place as u32);
            }
        }
    }

    /// The rows of the selection, in order of place.
    fn select(&self, selection: &Selection) -> Vec<u32> {
        let chosen = |library: u32| {
            selection
                .libraries
                .get(library as usize)
                .copied()
                .unwrap_or(false)
        };
        let mut rows = Vec::new();
        for (place, &library) in self.libraries.iter().enumerate() {
            if chosen(library)
                && selection
                    .collection
                    .is_none_or(|collection| self.collections[place] == collection)
                && selection.item.is_none_or(|item| self.items[place] == item)
            {
                rows.push(place as u32);
            }
        }
        rows
    }

    /// The `count` rows of the selection whose vectors are nearest to the query, nearest first.
    pub(super) fn scan(
        &self,
        query: &[i8],
        query_scale: f32,
        selection: &Selection,
        count: usize,
    ) -> Vec<Found> {
        let rows = self.select(selection);
        let mut found = if rows.len() >= PARALLEL_ROWS {
            let (front, back) = rows.split_at(rows.len() / 2);
            std::thread::scope(|scope| {
                let beside = scope.spawn(|| self.nearest(query, query_scale, back, count));
                let mut found = self.nearest(query, query_scale, front, count);
                found.extend(
                    beside
                        .join()
                        .unwrap_or_else(|_| self.nearest(query, query_scale, back, count)),
                );
                found
            })
        } else {
            self.nearest(query, query_scale, &rows, count)
        };
        found.sort_unstable();
        found.truncate(count);
        found
    }

    fn nearest(&self, query: &[i8], query_scale: f32, rows: &[u32], count: usize) -> Vec<Found> {
        let dot = simd::fastest();
        let mut best: BinaryHeap<Found> = BinaryHeap::with_capacity(count + 1);
        for &row in rows {
            let row = row as usize;
            let score = dot(query, self.codes(row)) as f32 * self.scales[row] * query_scale;
            let found = Found {
                vector: self.vectors[row],
                score,
            };
            if best.len() < count {
                best.push(found);
            } else if let Some(worst) = best.peek()
                && found < *worst
            {
                best.pop();
                best.push(found);
            }
        }
        best.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vector: i64, library: u32, item: u32) -> Row {
        Row {
            vector,
            library,
            collection: library * 10,
            item,
            scale: 1.0,
        }
    }

    fn everything() -> Selection {
        Selection {
            libraries: vec![true; 4],
            ..Selection::default()
        }
    }

    #[test]
    fn freed_rows_are_never_found_and_are_used_again() {
        let mut matrix = Matrix::new(2);
        for vector in 0..1000 {
            assert!(matrix.insert(&row(vector, 1, (vector / 10) as u32), &[vector as u8 % 100, 0]));
        }
        matrix.remove_items(&HashSet::from([3, 99]));
        assert_eq!(matrix.vectors.len() - matrix.free.len(), 980);
        let found = matrix.scan(&[1, 0], 1.0, &everything(), 2000);
        assert_eq!(found.len(), 980);
        assert!(
            found
                .iter()
                .all(|found| found.vector / 10 != 3 && found.vector / 10 != 99)
        );
        let rows = matrix.vectors.len();
        assert!(matrix.insert(&row(5000, 2, 500), &[127, 0]));
        assert_eq!(matrix.vectors.len(), rows);
        assert_eq!(matrix.scan(&[1, 0], 1.0, &everything(), 1)[0].vector, 5000);
    }

    #[test]
    fn a_selection_is_held_by_library_collection_and_item() {
        let mut matrix = Matrix::new(1);
        for (vector, library, item) in [(1, 1, 7), (2, 2, 8), (3, 2, 9)] {
            matrix.insert(&row(vector, library, item), &[1]);
        }
        let scan = |selection: &Selection| {
            let mut found: Vec<i64> = matrix
                .scan(&[1], 1.0, selection, 9)
                .iter()
                .map(|f| f.vector)
                .collect();
            found.sort_unstable();
            found
        };
        let second = Selection {
            libraries: vec![false, false, true],
            ..Selection::default()
        };
        assert_eq!(scan(&second), [2, 3]);
        assert_eq!(
            scan(&Selection {
                item: Some(9),
                ..second.clone()
            }),
            [3]
        );
        assert_eq!(
            scan(&Selection {
                collection: Some(10),
                ..second
            }),
            [0_i64; 0]
        );
        assert_eq!(
            scan(&Selection {
                collection: Some(10),
                ..everything()
            }),
            [1]
        );
    }

    #[test]
    fn codes_of_another_length_are_refused() {
        assert!(!Matrix::new(3).insert(&row(1, 1, 1), &[1, 2]));
    }
}
