//! Cutting a tokenised text into windows.

use std::ops::Range;

/// One stretch of a text that the model sees at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    /// Which text, counted from 0.
    pub(crate) text: usize,
    /// The tokens, with the model's marks around them.
    pub(crate) tokens: Vec<u32>,
    /// How much it counts: its tokens without the marks, at least 1.
    pub(crate) weight: f32,
}

/// Cuts tokens into windows of at most `capacity`, before the beginning of a word where there is one in the window.
/// `words` names for each token the word it belongs to. A text without tokens has one empty window.
pub(crate) fn cut(words: &[Option<u32>], capacity: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    while words.len() - start > capacity {
        let limit = start + capacity;
        let between_words = (start + 1..=limit)
            .rev()
            .find(|at| words[*at].is_none() || words[*at] != words[at - 1]);
        // A word longer than a window is cut wherever the window ends.
        let end = between_words.unwrap_or(limit);
        windows.push(start..end);
        start = end;
    }
    windows.push(start..words.len());
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(numbers: &[u32]) -> Vec<Option<u32>> {
        numbers.iter().copied().map(Some).collect()
    }

    #[test]
    fn what_fits_stays_whole() {
        assert_eq!(cut(&[], 4), vec![0..0]);
        assert_eq!(cut(&words(&[0, 1, 2, 3]), 4), vec![0..4]);
    }

    #[test]
    fn cuts_lie_between_words() {
        assert_eq!(cut(&words(&[0, 1, 2, 3, 4]), 4), vec![0..4, 4..5]);
        assert_eq!(cut(&words(&[0, 1, 2, 3, 3, 4]), 4), vec![0..3, 3..6]);
        assert_eq!(cut(&words(&[0, 1, 1, 1, 1, 2]), 4), vec![0..1, 1..5, 5..6]);
    }

    #[test]
    fn an_endless_word_is_cut_all_the_same() {
        assert_eq!(cut(&words(&[0; 10]), 4), vec![0..4, 4..8, 8..10]);
    }
}
