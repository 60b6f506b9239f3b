//! Paging of lists.

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many rows to skip.
    pub offset: u64,
    /// How many rows to return at the most.
    pub limit: u32,
}

impl PageRequest {
    /// The most rows of one page.
    pub const MAX_LIMIT: u32 = 500;

    /// A page with its limit held inside 1 ..= [`PageRequest::MAX_LIMIT`].
    pub fn new(offset: u64, limit: u32) -> Self {
        Self {
            offset,
            limit: limit.clamp(1, Self::MAX_LIMIT),
        }
    }

    /// The first rows of a list.
    pub fn first(limit: u32) -> Self {
        Self::new(0, limit)
    }
}

/// A part of a list and the length of the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows of this page.
    pub rows: Vec<T>,
    /// How many rows the whole list has.
    pub total: u64,
}

impl<T> Page<T> {
    /// A page of a list with nothing in it.
    pub fn empty() -> Self {
        Self {
            rows: Vec::new(),
            total: 0,
        }
    }

    /// The same page with every row changed.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            rows: self.rows.into_iter().map(change).collect(),
            total: self.total,
        }
    }
}
