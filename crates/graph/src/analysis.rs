//! From a text to the terms it is found by: the same for passages, for questions and for the names of concepts.
//!
//! Words are runs of letters and digits, in lower case, without accents, without the most common English words, cut to
//! their English stem. Scripts that do not put spaces between words are taken by single letters and by pairs.

use std::collections::HashSet;

use mnemosyne_domain::words::STOP_WORDS;
use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, Stemmer, StopWordFilter, TextAnalyzer, Token, TokenStream,
    Tokenizer,
};

/// The longest word in characters; of a longer one the beginning counts.
const MAX_WORD_CHARS: usize = 64;

/// How many different terms of a question are looked at.
const MAX_QUERY_TERMS: usize = 1024;

/// What a text is taken apart for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be found: letters of scripts without spaces alone and in pairs.
    Passage,
    /// To find: only pairs, where there are any, as single letters are everywhere.
    Query,
}

/// The analysis of passages, as the index uses it.
pub(crate) fn passage_analyzer() -> TextAnalyzer {
    analyzer(Purpose::Passage)
}

fn analyzer(purpose: Purpose) -> TextAnalyzer {
    TextAnalyzer::builder(Words {
        purpose,
        token: Token::default(),
    })
    .filter(LowerCaser)
    .filter(AsciiFoldingFilter)
    .filter(StopWordFilter::remove(STOP_WORDS.map(str::to_owned)))
    .filter(Stemmer::new(Language::English))
    .build()
}

/// The different terms of a question, in order.
pub(crate) fn query_terms(text: &str) -> Vec<String> {
    terms(text, Purpose::Query)
}

/// The different terms of a name, in order.
pub(crate) fn passage_terms(text: &str) -> Vec<String> {
    terms(text, Purpose::Passage)
}

/// All terms of a passage in their order with a space between them, for an index that only cuts at spaces.
pub(crate) fn passage_text(text: &str) -> String {
    let mut analyzer = passage_analyzer();
    let mut stream = analyzer.token_stream(text);
    let mut terms = String::with_capacity(text.len());
    while stream.advance() {
        let term = &stream.token().text;
        if term.is_empty() {
            continue;
        }
        if !terms.is_empty() {
            terms.push(' ');
        }
        terms.push_str(term);
    }
    terms
}

fn terms(text: &str, purpose: Purpose) -> Vec<String> {
    let mut analyzer = analyzer(purpose);
    let mut stream = analyzer.token_stream(text);
    let mut seen = HashSet::new();
    let mut terms = Vec::new();
    while terms.len() < MAX_QUERY_TERMS && stream.advance() {
        let term = &stream.token().text;
        if !term.is_empty() && seen.insert(term.clone()) {
            terms.push(term.clone());
        }
    }
    terms
}

/// Whether a letter belongs to a script that is written without spaces between words (or, as Korean, with endings that
/// hide the word).
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF         // Thai, Lao
        | 0x1000..=0x109F       // Myanmar
        | 0x1100..=0x11FF       // Hangul letters
        | 0x1780..=0x17FF       // Khmer
        | 0x3040..=0x30FF       // Hiragana, Katakana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF       // Han
        | 0x4E00..=0x9FFF
        | 0xAC00..=0xD7AF       // Hangul
        | 0xF900..=0xFAFF
        | 0xFF66..=0xFF9F
        | 0x20000..=0x3FFFF)
        && (c.is_alphanumeric() || is_inner_mark(c))
}

/// Marks that stand inside words of Indic and South-East Asian scripts, and are not letters to Unicode.
fn is_inner_mark(c: char) -> bool {
    matches!(u32::from(c),
        0x093C | 0x094D | 0x09BC | 0x09CD | 0x0A3C | 0x0A4D | 0x0ABC | 0x0ACD | 0x0B3C | 0x0B4D | 0x0BCD | 0x0C4D
        | 0x0CBC | 0x0CCD | 0x0D4D | 0x0DCA | 0x0E47..=0x0E4E | 0x0EC8..=0x0ECD | 0x1037..=0x103A | 0x17C9..=0x17D3)
}

/// An accent that is written as a character of its own; it is left out, as accents are everywhere.
fn is_accent(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036F)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || is_inner_mark(c)
}

/// Cuts a text into words.
#[derive(Clone)]
struct Words {
    purpose: Purpose,
    token: Token,
}

struct WordStream<'a> {
    purpose: Purpose,
    text: &'a str,
    /// Where the rest of the text begins.
    at: usize,
    /// A pair that follows the letter which was just given.
    pair: Option<(usize, usize)>,
    /// Whether the letter before was given as the first of a pair.
    in_pair: bool,
    token: &'a mut Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream {
            purpose: self.purpose,
            text,
            at: 0,
            pair: None,
            in_pair: false,
            token: &mut self.token,
        }
    }
}

impl WordStream<'_> {
    fn give(&mut self, from: usize, to: usize) -> bool {
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = from;
        self.token.offset_to = to;
        self.token.text.clear();
        self.token.text.push_str(&self.text[from..to]);
        true
    }

    /// Takes the word that begins at `from`, where the text goes on at `self.at`.
    fn word(&mut self, from: usize) -> bool {
        let mut chars = 1;
        let mut accents = false;
        let mut end = None;
        for (offset, c) in self.text[self.at..].char_indices() {
            if is_accent(c) {
                accents = true;
            } else if is_word(c) && !is_unspaced(c) {
                chars += 1;
                if chars == MAX_WORD_CHARS + 1 {
                    end = Some(self.at + offset);
                }
            } else {
                self.at += offset;
                return self.give_word(from, end.unwrap_or(self.at), accents);
            }
        }
        self.at = self.text.len();
        self.give_word(from, end.unwrap_or(self.at), accents)
    }

    fn give_word(&mut self, from: usize, to: usize, accents: bool) -> bool {
        self.give(from, to);
        if accents {
            self.token.text.retain(|c| !is_accent(c));
        }
        true
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        if let Some((from, to)) = self.pair.take() {
            return self.give(from, to);
        }
        while let Some(c) = self.text[self.at..].chars().next() {
            let from = self.at;
            self.at += c.len_utf8();
            if is_unspaced(c) {
                let next = self.text[self.at..]
                    .chars()
                    .next()
                    .filter(|next| is_unspaced(*next));
                let pair = next.map(|next| (from, self.at + next.len_utf8()));
                let was_in_pair = std::mem::replace(&mut self.in_pair, pair.is_some());
                match (self.purpose, pair) {
                    (Purpose::Passage, _) => {
                        self.pair = pair;
                        return self.give(from, self.at);
                    }
                    (Purpose::Query, Some((from, to))) => return self.give(from, to),
                    (Purpose::Query, None) if was_in_pair => {}
                    (Purpose::Query, None) => return self.give(from, self.at),
                }
            } else {
                self.in_pair = false;
                if is_word(c) {
                    return self.word(from);
                }
            }
        }
        false
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_meet_in_their_stem_without_case_and_accents() {
        assert_eq!(query_terms("Running RUNS run"), ["run"]);
        assert_eq!(query_terms("Café cafe CAFE\u{301}"), ["cafe"]);
        assert_eq!(query_terms("Straße"), ["strass"]);
        assert_eq!(query_terms("don't the user's"), ["don", "user"]);
    }

    #[test]
    fn a_passage_keeps_every_occurrence_of_its_terms() {
        assert_eq!(
            passage_text("The engine runs, engines ran: 東京"),
            "engin run engin ran 東 東京 京"
        );
        assert_eq!(passage_text("the of and"), "");
    }

    #[test]
    fn stop_words_alone_are_no_question() {
        assert!(query_terms("the of and WHAT is it?").is_empty());
        assert!(query_terms(" \u{0}\t\"'()[]{}+-&|!^~*?:\\/ 🎉").is_empty());
    }

    #[test]
    fn scripts_without_spaces_are_found_by_letters_and_pairs() {
        assert_eq!(passage_terms("東京都"), ["東", "東京", "京", "京都", "都"]);
        assert_eq!(query_terms("東京都"), ["東京", "京都"]);
        assert_eq!(query_terms("東 abc京"), ["東", "abc", "京"]);
        for (text, asked) in [
            ("ประเทศไทย", "ไทย"),
            ("대한민국은", "대한민국"),
            ("हिन्दी भाषा", "हिन्दी"),
        ] {
            let passage = passage_terms(text);
            assert!(
                query_terms(asked).iter().all(|term| passage.contains(term)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_word_without_end_is_cut_and_a_text_without_end_is_bounded() {
        let long = "x".repeat(5000);
        assert_eq!(query_terms(&long), ["x".repeat(MAX_WORD_CHARS)]);
        let many: String = (0..5000).map(|n| format!("w{n} ")).collect();
        assert_eq!(query_terms(&many).len(), MAX_QUERY_TERMS);
    }
}
