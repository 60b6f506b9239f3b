//! Cutting what is too large: at lines, sentences, words, and characters where nothing else is left.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Where a cut is best made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutAt {
    /// Between sentences, else between words.
    Sentences,
    /// Between lines, else between words.
    Lines,
}

/// The first part of a span, of at most `limit` characters, and where the rest begins. The part and the rest begin and end with
/// something visible; the rest may be empty.
pub(super) fn cut(text: &str, span: Range<usize>, limit: usize, at: CutAt) -> (Range<usize>, Range<usize>) {
    let whole = &text[span.clone()];
    let Some((hard, _)) = whole.char_indices().nth(limit.max(1)) else {
        return (span.clone(), span.end..span.end);
    };
    // A part should not be a scrap: the number of a clause alone, say.
    let least = whole
        .char_indices()
        .nth(limit / 4)
        .map_or(0, |(offset, _)| offset);
    let best = match at {
        CutAt::Lines => whole[..hard].rfind('\n').map(|offset| offset + 1),
        CutAt::Sentences => last_sentence_start(whole, hard, least),
    };
    let end = best
        .filter(|offset| *offset > least)
        .or_else(|| {
            whole[..hard]
                .rfind(char::is_whitespace)
                .filter(|offset| *offset > 0 && *offset >= least.min(hard / 8))
        })
        .unwrap_or(hard);
    let part = whole[..end].trim_end();
    if part.is_empty() {
        return (
            span.start..span.start + hard,
            trimmed_start(text, span.start + hard..span.end),
        );
    }
    (
        span.start..span.start + part.len(),
        trimmed_start(text, span.start + end..span.end),
    )
}

fn trimmed_start(text: &str, span: Range<usize>) -> Range<usize> {
    let rest = &text[span.clone()];
    span.end - rest.trim_start().len()..span.end
}

/// The last place up to `hard` where a sentence begins, after `least`.
fn last_sentence_start(whole: &str, hard: usize, least: usize) -> Option<usize> {
    // A little more than fits, so that the cut itself is not taken for the end of a sentence.
    let window = &whole[..whole.ceil_char_boundary((hard + 64).min(whole.len()))];
    window
        .split_sentence_bound_indices()
        .map(|(offset, _)| offset)
        .take_while(|offset| *offset <= hard)
        .filter(|offset| *offset > least)
        .last()
}

/// The earliest sentence of a span's end that begins no more than `limit` characters before it.
pub(super) fn tail_sentences(text: &str, span: Range<usize>, limit: usize) -> Option<usize> {
    let whole = &text[span.clone()];
    let (earliest, _) = whole.char_indices().rev().take(limit).last()?;
    // Looking back a sentence's length is enough to find where sentences begin.
    let from = whole.floor_char_boundary(earliest.saturating_sub(600));
    let from = whole[from..]
        .find(char::is_whitespace)
        .map_or(from, |space| from + space);
    let begin = if earliest <= 600 { 0 } else { from };
    whole[begin..]
        .split_sentence_bound_indices()
        .map(|(offset, _)| begin + offset)
        .find(|offset| *offset >= earliest && (*offset > begin || begin == 0))
        .map(|offset| {
            let rest = &whole[offset..];
            span.start + offset + (rest.len() - rest.trim_start().len())
        })
        .filter(|start| *start < span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_between_sentences_then_words_then_characters() {
        let text = "One sentence here. Another one there. And a third.";
        let (part, rest) = cut(text, 0..text.len(), 40, CutAt::Sentences);
        assert_eq!(&text[part], "One sentence here. Another one there.");
        assert_eq!(&text[rest], "And a third.");
        let text = "no sentence ends in all of this text";
        let (part, rest) = cut(text, 0..text.len(), 14, CutAt::Sentences);
        assert_eq!(
            (&text[part], &text[rest]),
            ("no sentence", "ends in all of this text")
        );
        let text = "ääääääääää";
        let (part, rest) = cut(text, 0..text.len(), 4, CutAt::Sentences);
        assert_eq!((&text[part], &text[rest]), ("ääää", "ääääää"));
    }

    #[test]
    fn a_clause_keeps_its_number() {
        let text = format!(
            "1. {} end",
            "The lessee shall keep the boat in good order and repair "
                .repeat(6)
                .trim()
        );
        let (part, _) = cut(&text, 0..text.len(), 100, CutAt::Sentences);
        assert!(part.len() > 60, "{part:?}");
    }

    #[test]
    fn overlap_begins_with_a_sentence() {
        let text = "A first and long sentence to begin with. A second one. The end.";
        let start = tail_sentences(text, 0..text.len(), 30).expect("fits");
        assert_eq!(&text[start..], "A second one. The end.");
        assert_eq!(tail_sentences(text, 0..text.len(), 3), None);
    }
}
