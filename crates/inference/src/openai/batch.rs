//! Cutting texts and filling batches.

use super::estimated_tokens;

/// A text, or a piece of one, as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Which of the caller's texts, counted from 0.
    pub(crate) text: usize,
    /// Stands before the content, in the same string.
    pub(crate) prefix: String,
    pub(crate) content: String,
    /// Goes beside the content, in dialects that have a place for it.
    pub(crate) instruction: Option<String>,
}

impl Part {
    /// How much the part counts in its text's vector.
    pub(crate) fn weight(&self) -> f32 {
        self.content.len().max(1) as f32
    }

    fn tokens(&self) -> usize {
        let instruction = self.instruction.as_deref().map_or(0, estimated_tokens);
        estimated_tokens(&self.prefix) + estimated_tokens(&self.content) + instruction
    }

    /// The part as two, cut near its middle; `None` where it has no two characters.
    pub(crate) fn halves(self) -> Option<(Self, Self)> {
        let cut = cut_before(&self.content, self.content.len() / 2);
        if cut == 0 {
            return None;
        }
        let second = Self {
            content: self.content[cut..].to_owned(),
            ..self.clone()
        };
        let mut first = self;
        first.content.truncate(cut);
        Some((first, second))
    }
}

/// The pieces of a text, each of at most `tokens` (estimated), cut between words. An empty text is one piece.
pub(crate) fn pieces(text: &str, tokens: usize) -> Vec<&str> {
    let limit = tokens.max(1) * 3;
    let mut rest = text;
    let mut pieces = Vec::new();
    while rest.len() > limit {
        let cut = cut_before(rest, limit);
        if cut == 0 {
            break;
        }
        let (piece, remainder) = rest.split_at(cut);
        pieces.push(piece);
        rest = remainder;
    }
    pieces.push(rest);
    pieces
}

/// A place to cut at or before `limit` (above 0): behind the last white space of the second half before it, otherwise
/// between two characters. 0 where the first character alone is longer.
fn cut_before(text: &str, limit: usize) -> usize {
    let limit = text.floor_char_boundary(limit);
    let head = &text[..limit];
    match head.char_indices().rev().find(|(_, c)| c.is_whitespace()) {
        Some((at, space)) if at >= limit / 2 && at + space.len_utf8() < text.len() => at + space.len_utf8(),
        _ => limit,
    }
}

/// Batches of at most `count` parts and `tokens` in sum, long parts with long ones: servers pad a batch to its longest.
/// A part above `tokens` goes alone.
pub(crate) fn batches(mut parts: Vec<Part>, count: usize, tokens: usize) -> Vec<Vec<Part>> {
    // Stable, so that equal inputs make equal requests.
    parts.sort_by_key(|part| std::cmp::Reverse(part.tokens()));
    let mut batches: Vec<Vec<Part>> = Vec::new();
    let mut in_last = 0;
    for part in parts {
        let of_part = part.tokens();
        match batches.last_mut() {
            Some(last) if last.len() < count.max(1) && in_last + of_part <= tokens => {
                in_last += of_part;
                last.push(part);
            }
            _ => {
                in_last = of_part;
                batches.push(vec![part]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: usize, content: &str) -> Part {
        Part {
            text,
            prefix: String::new(),
            content: content.into(),
            instruction: None,
        }
    }

    #[test]
    fn pieces_lose_nothing_and_keep_words() {
        let text = "wörter und 日本語 ".repeat(50);
        for tokens in [1, 2, 7, 100] {
            let pieces = pieces(&text, tokens);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= tokens * 3), "{tokens}");
        }
        assert_eq!(pieces("alpha beta gamma", 4), ["alpha beta ", "gamma"]);
        assert_eq!(pieces("", 4), [""]);
        assert_eq!(pieces("🦀🦀", 1), ["🦀🦀"]);
    }

    #[test]
    fn halves_lose_nothing() {
        let (first, second) = part(3, "one two three four").halves().expect("two characters");
        assert_eq!(
            format!("{}{}", first.content, second.content),
            "one two three four"
        );
        assert_eq!((first.text, second.text), (3, 3));
        assert!(first.content.ends_with(' '), "{first:?}");
        assert_eq!(part(0, "x").halves(), None);
    }

    #[test]
    fn batches_keep_to_both_limits() {
        let parts = vec![
            part(0, &"a".repeat(30)),
            part(1, "b"),
            part(2, &"c".repeat(60)),
            part(3, "d"),
        ];
        let order = |count, tokens| -> Vec<Vec<usize>> {
            batches(parts.clone(), count, tokens)
                .iter()
                .map(|batch| batch.iter().map(|part| part.text).collect())
                .collect()
        };
        assert_eq!(order(8, 100), [vec![2, 0, 1, 3]]);
        assert_eq!(order(3, 100), [vec![2, 0, 1], vec![3]]);
        assert_eq!(order(8, 20), [vec![2], vec![0, 1, 3]]);
        assert_eq!(order(8, 5), [vec![2], vec![0], vec![1, 3]]);
    }
}
