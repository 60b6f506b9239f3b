//! The cheap local extractor of concepts: names, abbreviations, words of headings and phrases that recur. No model, no
//! dictionary beyond function words; deterministic, and linear in the text.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;

use mnemosyne_domain::{ConceptKind, ConceptMention};

use crate::document::{BlockKind, ChunkDraft, Document};

/// How its finds are labelled.
pub const EXTRACTED_BY: &str = "local";

/// The longest phrase, in words.
const MAX_WORDS: usize = 4;
/// The longest name of a concept, in bytes.
const MAX_NAME_BYTES: usize = 80;

static STOP_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("stopwords.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect()
});

/// At most `limit` concepts of a document, the weightiest first, with the positions of the chunks that mention them.
///
/// Mentions are whole words without regard to case. A concept that no chunk mentions is left out.
pub fn extract_concepts(document: &Document, chunks: &[ChunkDraft], limit: usize) -> Vec<ConceptMention> {
    let words = Words::of(document);
    let nouns_are_capital = words.nouns_are_capital();
    let mut candidates = Candidates::default();
    for run in words.runs() {
        collect_names(&words, run.clone(), nouns_are_capital, &mut candidates);
        collect_phrases(&words, run, nouns_are_capital, &mut candidates);
    }
    let ranked = candidates.rank(limit.saturating_mul(2).max(limit));
    link(&words, chunks, ranked, limit)
}

/// A word of the text.
struct Word {
    start: usize,
    end: usize,
    /// Index into [`Words::vocabulary`].
    id: usize,
    capital: bool,
    /// Whether a sentence or block begins with it, so that its capital says nothing.
    begins_sentence: bool,
    /// Whether punctuation or a new block divides it from the word before.
    divided: bool,
    in_heading: bool,
    in_code: bool,
}

struct Words<'a> {
    text: &'a str,
    words: Vec<Word>,
    /// Lower case.
    vocabulary: Vec<String>,
    stop: Vec<bool>,
    /// How often each word of the vocabulary stands in lower case.
    lower_count: Vec<u32>,
    /// How often each stands with a capital that no sentence's beginning asks for.
    inner_capitals: Vec<u32>,
}

impl<'a> Words<'a> {
    fn of(document: &'a Document) -> Self {
        let text = document.text.as_str();
        let mut ids: HashMap<String, usize> = HashMap::new();
        let mut vocabulary = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        for block in &document.blocks {
            let in_heading = matches!(block.kind, BlockKind::Heading { .. });
            let in_code = block.kind == BlockKind::Code;
            let mut divided = true;
            let mut begins_sentence = true;
            let mut position = block.span.start;
            while position < block.span.end {
                let Some(c) = text[position..].chars().next() else {
                    break;
                };
                if !c.is_alphanumeric() {
                    match c {
                        '.' | '!' | '?' | ':' | '“' | '”' | '"' | '«' | '»' | '„' | '(' => {
                            divided = true;
                            begins_sentence = true;
                        }
                        // Readers join flowing lines, so that a line end left in a block means something.
                        '\n' => {
                            divided = true;
                            begins_sentence = true;
                        }
                        ' ' | '\u{a0}' => {}
                        _ => divided = true,
                    }
                    position += c.len_utf8();
                    continue;
                }
                let end = word_end(text, position, block.span.end);
                let word = &text[position..end];
                let lower = word.to_lowercase();
                let id = *ids.entry(lower).or_insert_with_key(|lower| {
                    vocabulary.push(lower.clone());
                    vocabulary.len() - 1
                });
                words.push(Word {
                    start: position,
                    end,
                    id,
                    capital: c.is_uppercase(),
                    begins_sentence,
                    divided,
                    in_heading,
                    in_code,
                });
                divided = false;
                // "Dr." and "St." end no sentence, nor does an initial.
                begins_sentence = false;
                if text[end..].starts_with('.') && c.is_uppercase() && (word.len() <= 2 || is_title(word)) {
                    position = end + 1;
                } else {
                    position = end;
                }
            }
        }
        let stop = vocabulary
            .iter()
            .map(|word| STOP_WORDS.contains(word.as_str()))
            .collect();
        let mut lower_count = vec![0; vocabulary.len()];
        let mut inner_capitals = vec![0; vocabulary.len()];
        for word in &words {
            lower_count[word.id] += u32::from(!word.capital);
            inner_capitals[word.id] += u32::from(word.capital && !word.begins_sentence && !word.in_heading);
        }
        Self {
            text,
            words,
            vocabulary,
            stop,
            lower_count,
            inner_capitals,
        }
    }

    fn slice(&self, word: &Word) -> &'a str {
        &self.text[word.start..word.end]
    }

    /// German writes all nouns with a capital, so that one capital names nobody there.
    fn nouns_are_capital(&self) -> bool {
        let inside: Vec<&Word> = self
            .words
            .iter()
            .filter(|word| !word.begins_sentence && !word.in_heading && !word.in_code)
            .collect();
        let capital = inside.iter().filter(|word| word.capital).count();
        inside.len() > 50 && capital * 100 > inside.len() * 18
    }

    /// Stretches without punctuation.
    fn runs(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let mut start = 0;
        std::iter::from_fn(move || {
            if start >= self.words.len() {
                return None;
            }
            let begin = start;
            start += 1;
            while start < self.words.len() && !self.words[start].divided {
                start += 1;
            }
            Some(begin..start)
        })
    }
}

/// The end of a word: letters and digits, with hyphens, apostrophes and points between them.
fn word_end(text: &str, start: usize, limit: usize) -> usize {
    let mut end = start;
    let mut characters = text[start..limit].char_indices().peekable();
    while let Some((offset, c)) = characters.next() {
        let joins = matches!(c, '-' | '\'' | '’' | '.')
            && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric())
            && (c != '.'
                || characters
                    .peek()
                    .is_some_and(|(_, next)| next.is_ascii_digit() || next.is_uppercase())
                    && offset <= 3);
        if !(c.is_alphanumeric() || joins) {
            break;
        }
        // A possessive or an elision is no part of a name.
        if matches!(c, '\'' | '’') {
            let rest = &text[start + offset + c.len_utf8()..limit];
            let tail: String = rest.chars().take_while(|c| c.is_alphanumeric()).take(3).collect();
            if tail.chars().count() <= 2 {
                break;
            }
        }
        end = start + offset + c.len_utf8();
    }
    end
}

/// What speaks for one candidate.
#[derive(Default)]
struct Evidence {
    /// How often it stands in the text, as the candidate it is.
    count: u32,
    headings: u32,
    is_name: bool,
    is_acronym: bool,
    person: u32,
    place: u32,
    /// As it was first written.
    written: String,
    first: usize,
}

#[derive(Default)]
struct Candidates {
    /// By the words' vocabulary ids; ordered, so that ties always fall alike.
    found: BTreeMap<Vec<usize>, Evidence>,
    lowered: HashMap<Vec<usize>, String>,
}

impl Candidates {
    fn note(&mut self, words: &Words<'_>, range: std::ops::Range<usize>) -> &mut Evidence {
        let ids: Vec<usize> = words.words[range.clone()].iter().map(|word| word.id).collect();
        let first = range.start;
        let evidence = self.found.entry(ids).or_insert_with_key(|ids| {
            let written: Vec<&str> = words.words[range.clone()]
                .iter()
                .map(|word| words.slice(word))
                .collect();
            let lowered: Vec<&str> = ids.iter().map(|id| words.vocabulary[*id].as_str()).collect();
            self.lowered.insert(ids.clone(), lowered.join(" "));
            Evidence {
                written: written.join(" "),
                first,
                ..Evidence::default()
            }
        });
        evidence.count += 1;
        if words.words[range.start].in_heading {
            evidence.headings += 1;
        }
        evidence
    }

    /// The best candidates with their scores, best first.
    fn rank(self, limit: usize) -> Vec<(f32, ConceptKind, Vec<usize>, String)> {
        let mut scored: Vec<(f32, Vec<usize>, Evidence)> = Vec::new();
        for (ids, evidence) in self.found {
            let named = evidence.is_name || evidence.is_acronym || evidence.headings > 0;
            let enough = named && evidence.count >= 1 || evidence.count >= if ids.len() == 1 { 3 } else { 2 };
            let name_bytes = evidence.written.len();
            if !enough || !(2..=MAX_NAME_BYTES).contains(&name_bytes) {
                continue;
            }
            let frequency = (1.0 + evidence.count as f32).ln();
            let length = match ids.len() {
                1 => 0.8,
                2 => 1.3,
                3 => 1.35,
                _ => 1.1,
            };
            let mut score = frequency * length;
            if evidence.is_name {
                score *= 1.5;
            }
            if evidence.is_acronym {
                score *= 1.2;
            }
            if evidence.headings > 0 {
                score *= 1.4;
            }
            scored.push((score, ids, evidence));
        }
        scored.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| a.2.first.cmp(&b.2.first))
                .then_with(|| a.1.cmp(&b.1))
        });
        let mut kept: Vec<(f32, Vec<usize>, Evidence)> = Vec::new();
        for (score, ids, evidence) in scored {
            if kept.len() >= limit {
                break;
            }
            // What stands (nearly) only inside a longer phrase, or only adds a word to a frequent one, is the same concept.
            let repeated = kept.iter().any(|(_, other, other_evidence)| {
                let inside = |short: &[usize], long: &[usize]| {
                    short.len() < long.len() && long.windows(short.len()).any(|window| window == short)
                };
                (inside(&ids, other) && evidence.count <= other_evidence.count + other_evidence.count / 4)
                    || (inside(other, &ids)
                        && !evidence.is_name
                        && evidence.count * 3 <= other_evidence.count)
            });
            if !repeated {
                kept.push((score, ids, evidence));
            }
        }
        let best = kept
            .first()
            .map_or(1.0, |(score, ..)| *score)
            .max(f32::MIN_POSITIVE);
        kept.into_iter()
            .map(|(score, ids, evidence)| {
                (
                    score / best,
                    kind_of(&evidence, &self.lowered[&ids]),
                    ids,
                    evidence.written,
                )
            })
            .collect()
    }
}

/// Names: words with a capital inside a sentence, joined by "of", "de", "von" and the like.
fn collect_names(
    words: &Words<'_>,
    run: std::ops::Range<usize>,
    nouns_are_capital: bool,
    candidates: &mut Candidates,
) {
    let mut index = run.start;
    while index < run.end {
        let word = &words.words[index];
        let usable = word.capital && !word.in_code && (!words.stop[word.id] || is_acronym(words.slice(word)));
        if !usable {
            index += 1;
            continue;
        }
        let mut end = index + 1;
        let mut last = end;
        while end < run.end && last - index < MAX_WORDS {
            let next = &words.words[end];
            if next.capital && !words.stop[next.id] {
                end += 1;
                last = end;
            } else if is_name_joint(words.slice(next))
                && end + 1 < run.end
                && words.words[end + 1].capital
                && !words.stop[words.words[end + 1].id]
                && !nouns_are_capital
            {
                end += 1;
            } else {
                break;
            }
        }
        // "Imker Hans Meier": what goes before a German name is a noun as often as not.
        if nouns_are_capital && last - index == 3 {
            index += 1;
        }
        let first = &words.words[index];
        let acronym = last - index == 1 && is_acronym(words.slice(first));
        let seldom_lower = words.lower_count[first.id] == 0;
        // A lone capital at the beginning of a sentence counts only for words that elsewhere have one too, and are never small.
        let is_lone_name = !nouns_are_capital && seldom_lower && words.inner_capitals[first.id] > 0;
        let is_name = !first.in_heading && (last - index >= 2 || is_lone_name);
        if acronym || is_name {
            let before = index
                .checked_sub(1)
                .filter(|before| *before >= run.start)
                .map(|before| words.slice(&words.words[before]));
            let title_before = index
                .checked_sub(1)
                .map(|before| words.slice(&words.words[before]))
                .is_some_and(is_title);
            let after = words
                .words
                .get(last)
                .filter(|_| last < run.end)
                .map(|after| words.vocabulary[after.id].as_str());
            let speaks = after.is_some_and(is_speech_verb)
                || before.is_some_and(|before| is_speech_verb(&before.to_lowercase()))
                || words
                    .words
                    .get(index.wrapping_sub(1))
                    .is_some_and(|word| is_speech_verb(&words.vocabulary[word.id]));
            let follows_place_word = before.is_some_and(|before| {
                matches!(
                    before.to_lowercase().as_str(),
                    "in" | "at" | "near" | "from" | "to" | "off" | "à" | "aus" | "nach" | "bei"
                )
            });
            let evidence = candidates.note(words, index..last);
            evidence.is_name |= is_name && !acronym;
            evidence.is_acronym |= acronym;
            evidence.person += u32::from(title_before || speaks) * 2;
            evidence.place += u32::from(follows_place_word);
        }
        index = last;
    }
}

/// Phrases between function words, of headings and of what recurs.
fn collect_phrases(
    words: &Words<'_>,
    run: std::ops::Range<usize>,
    nouns_are_capital: bool,
    candidates: &mut Candidates,
) {
    let is_content = |index: usize| {
        let word = &words.words[index];
        let text = &words.vocabulary[word.id];
        !words.stop[word.id]
            && !word.in_code
            && text.chars().count() >= 3
            && text.chars().any(char::is_alphabetic)
    };
    let mut index = run.start;
    while index < run.end {
        if !is_content(index) {
            index += 1;
            continue;
        }
        let mut end = index + 1;
        while end < run.end && is_content(end) {
            end += 1;
        }
        let length = end - index;
        let in_heading = words.words[index].in_heading;
        if in_heading && length <= MAX_WORDS {
            candidates.note(words, index..end);
        } else {
            for start in index..end {
                for size in 1..=3.min(end - start) {
                    let names = words.words[start..start + size].iter().all(|word| word.capital);
                    let long_enough =
                        size > 1 || words.vocabulary[words.words[start].id].chars().count() >= 5;
                    // Capitalised words are the business of names, where capitals say something.
                    if long_enough && (!names || (nouns_are_capital && size == 1)) {
                        candidates.note(words, start..start + size);
                    }
                }
            }
        }
        index = end;
    }
}

fn is_acronym(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    (2..=6).contains(&letters)
        && word.chars().count() <= 8
        && word
            .chars()
            .all(|c| c.is_uppercase() || c.is_ascii_digit() || c == '-')
        && !word.chars().all(|c| "IVXLC".contains(c))
}

fn is_name_joint(word: &str) -> bool {
    matches!(
        word,
        "of" | "the"
            | "de"
            | "du"
            | "des"
            | "la"
            | "le"
            | "von"
            | "van"
            | "der"
            | "den"
            | "di"
            | "da"
            | "and"
            | "del"
    ) && word != "and"
}

fn is_title(word: &str) -> bool {
    matches!(
        word.trim_end_matches('.'),
        "Mr" | "Mrs"
            | "Ms"
            | "Miss"
            | "Dr"
            | "Prof"
            | "Professor"
            | "Sir"
            | "Lady"
            | "Lord"
            | "Captain"
            | "Capt"
            | "King"
            | "Queen"
            | "Saint"
            | "Herr"
            | "Frau"
            | "Monsieur"
            | "Madame"
            | "Mme"
            | "President"
            | "Father"
            | "Sister"
            | "Brother"
            | "Aunt"
            | "Uncle"
            | "Colonel"
            | "General"
            | "Judge"
            | "Doctor"
            | "Doktor"
    )
}

fn is_speech_verb(word: &str) -> bool {
    matches!(
        word,
        "said"
            | "says"
            | "asked"
            | "replied"
            | "answered"
            | "whispered"
            | "shouted"
            | "cried"
            | "told"
            | "thought"
            | "laughed"
            | "nodded"
            | "smiled"
            | "sagte"
            | "fragte"
            | "antwortete"
            | "rief"
            | "dit"
            | "demanda"
            | "répondit"
    )
}

const PLACE_WORDS: &[&str] = &[
    "street",
    "road",
    "avenue",
    "river",
    "lake",
    "island",
    "islands",
    "bay",
    "sea",
    "ocean",
    "mount",
    "mountain",
    "mountains",
    "hill",
    "hills",
    "reef",
    "point",
    "city",
    "town",
    "village",
    "county",
    "park",
    "square",
    "harbour",
    "harbor",
    "bridge",
    "valley",
    "abbey",
    "castle",
    "station",
    "coast",
    "cape",
    "canal",
    "forest",
    "glacier",
    "hut",
    "inn",
    "lock",
    "basin",
    "church",
    "museum",
    "university",
    "straße",
    "strasse",
    "platz",
    "berg",
    "see",
    "fluss",
    "tal",
    "stadt",
    "burg",
    "rue",
    "lac",
    "fleuve",
    "mont",
    "île",
];
const TECHNIQUE_WORDS: &[&str] = &[
    "method",
    "methods",
    "algorithm",
    "algorithms",
    "technique",
    "techniques",
    "procedure",
    "protocol",
    "analysis",
    "model",
    "models",
    "approach",
    "regression",
    "test",
    "transform",
    "process",
    "scheme",
    "heuristic",
    "search",
    "estimation",
    "sampling",
    "encoding",
    "verfahren",
    "methode",
    "algorithmus",
    "analyse",
    "méthode",
    "algorithme",
    "technik",
    "procédé",
];
const THEME_WORDS: &[&str] = &[
    "love",
    "death",
    "war",
    "peace",
    "grief",
    "freedom",
    "justice",
    "memory",
    "exile",
    "revenge",
    "loneliness",
    "solitude",
    "identity",
    "faith",
    "guilt",
    "hope",
    "betrayal",
    "power",
    "ambition",
    "friendship",
    "family",
    "childhood",
    "loss",
    "fate",
    "liebe",
    "tod",
    "krieg",
    "freiheit",
    "heimat",
    "schuld",
    "hoffnung",
    "erinnerung",
    "amour",
    "mort",
    "guerre",
    "liberté",
    "mémoire",
    "espoir",
    "solitude",
];

fn kind_of(evidence: &Evidence, lowered: &str) -> ConceptKind {
    let last = lowered.rsplit(' ').next().unwrap_or(lowered);
    let first = lowered.split(' ').next().unwrap_or(lowered);
    let several = lowered.contains(' ');
    if evidence.person > 0 && evidence.person >= evidence.place {
        return ConceptKind::Person;
    }
    if TECHNIQUE_WORDS.contains(&last) && several {
        return ConceptKind::Technique;
    }
    if evidence.is_name
        && several
        && (PLACE_WORDS.contains(&last)
            || matches!(first, "mount" | "lake" | "cape" | "river" | "mont" | "lac"))
    {
        return ConceptKind::Place;
    }
    if THEME_WORDS.contains(&lowered) {
        return ConceptKind::Theme;
    }
    if evidence.is_name && evidence.place * 2 >= evidence.count && evidence.place > 0 {
        return ConceptKind::Place;
    }
    // Two or three words with capitals that nothing places are most often somebody.
    let name_words = lowered.split(' ').count();
    if evidence.is_name
        && (2..=3).contains(&name_words)
        && evidence.headings == 0
        && !lowered.chars().any(|c| c.is_ascii_digit())
        && !lowered.contains(" of ")
    {
        return ConceptKind::Person;
    }
    ConceptKind::Topic
}

/// Finds every mention of the ranked phrases, and the chunks that hold them.
fn link(
    words: &Words<'_>,
    chunks: &[ChunkDraft],
    ranked: Vec<(f32, ConceptKind, Vec<usize>, String)>,
    limit: usize,
) -> Vec<ConceptMention> {
    let mut by_first: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, (_, _, ids, _)) in ranked.iter().enumerate() {
        by_first.entry(ids[0]).or_default().push(index);
    }
    let mut positions: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); ranked.len()];
    let mut first_chunk = 0;
    for (place, word) in words.words.iter().enumerate() {
        while first_chunk < chunks.len() && chunks[first_chunk].span.end <= word.start {
            first_chunk += 1;
        }
        let Some(here) = by_first.get(&word.id) else {
            continue;
        };
        for candidate in here {
            let ids = &ranked[*candidate].2;
            let Some(found) = words.words.get(place..place + ids.len()) else {
                continue;
            };
            let same = found.iter().zip(ids).all(|(word, id)| word.id == *id)
                && found[1..].iter().all(|word| !word.divided);
            let Some(last) = found.last().filter(|_| same) else {
                continue;
            };
            let holding = (first_chunk..chunks.len())
                .take_while(|index| chunks[*index].span.start <= word.start)
                .filter(|index| chunks[*index].span.end >= last.end);
            positions[*candidate].extend(holding.filter_map(|index| u32::try_from(index).ok()));
        }
    }
    let mut seen = HashSet::new();
    ranked
        .into_iter()
        .zip(positions)
        .filter(|((_, _, _, name), found)| {
            !found.is_empty() && seen.insert(ConceptMention::normal_name(name))
        })
        .take(limit)
        .map(|((weight, kind, _, name), found)| ConceptMention {
            name,
            kind,
            extracted_by: EXTRACTED_BY.to_owned(),
            chunk_positions: found.into_iter().collect(),
            weight: weight.clamp(0.0, 1.0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use mnemosyne_domain::LibraryType;

    use super::*;
    use crate::document::FileHint;

    fn concepts(source: &str, limit: usize) -> Vec<ConceptMention> {
        let hint = FileHint {
            filename: "a.md".to_owned(),
            content_type: None,
        };
        let document = crate::parse(source.as_bytes(), &hint).expect("parses");
        let chunks = crate::chunk(&document, LibraryType::Nonfiction.profile());
        extract_concepts(&document, &chunks, limit)
    }

    const STORY: &str = "# The Keeper\n\nOdile Brandt counted the matches. The wind came off Sorrel Reef. “You hear it,” said Matthis. \
        Then Odile Brandt lit the lamp, and Matthis asked about the supply boat. The supply boat was late. Dr. Halvorsen had written \
        from Bergen about the supply boat. She used the gradient descent method and NASA data. Nobody saw death coming.\n";

    #[test]
    fn names_places_and_phrases_are_found() {
        let found = concepts(STORY, 60);
        let kind = |name: &str| {
            found
                .iter()
                .find(|concept| concept.name == name)
                .map(|concept| concept.kind)
        };
        assert_eq!(kind("Odile Brandt"), Some(ConceptKind::Person), "{found:#?}");
        assert_eq!(kind("Matthis"), Some(ConceptKind::Person));
        assert_eq!(kind("Sorrel Reef"), Some(ConceptKind::Place));
        assert_eq!(kind("Bergen"), Some(ConceptKind::Place));
        assert_eq!(kind("Halvorsen"), Some(ConceptKind::Person));
        assert_eq!(kind("supply boat"), Some(ConceptKind::Topic));
        assert_eq!(kind("NASA"), Some(ConceptKind::Topic));
        assert!(
            found
                .iter()
                .all(|concept| concept.name != "The" && concept.name != "Then" && concept.name != "Nobody")
        );
    }

    #[test]
    fn the_result_is_bounded_ordered_and_always_the_same() {
        let few = concepts(STORY, 3);
        assert_eq!(few.len(), 3);
        assert!(few.windows(2).all(|pair| pair[0].weight >= pair[1].weight));
        assert!(
            few.iter()
                .all(|concept| !concept.chunk_positions.is_empty() && (0.0..=1.0).contains(&concept.weight))
        );
        assert_eq!(few, concepts(STORY, 3));
        assert!(concepts(STORY, 0).is_empty());
    }

    #[test]
    fn mentions_are_whole_words_in_any_case() {
        let padding = "Filler words go on and on without any meaning at all here. ".repeat(40);
        let found = concepts(
            &format!(
                "# Tide mill\n\nA tide mill grinds. The tide mill stands.\n\n{padding}\n\nAnother TIDE MILL; tide milling is other.\n"
            ),
            20,
        );
        let mill = found
            .iter()
            .find(|concept| concept.name.eq_ignore_ascii_case("tide mill"))
            .expect("found");
        assert!(
            mill.chunk_positions.len() >= 2 && mill.chunk_positions[0] == 0,
            "{mill:?}"
        );
    }

    #[test]
    fn german_nouns_are_not_all_names() {
        let text = "Die Imkerei am Hang hat viele Bienen. Das Volk baut die Waben im Stock. Der Imker Hans Meier prüft die Waben und die \
            Königin. Im Winter ruht das Volk im Stock, und die Bienen wärmen die Königin. Im Sommer holt der Imker den Honig aus den \
            Waben. Der Honig ruht im Keller, bis die Gläser kommen. Dann verkauft Hans Meier den Honig auf dem Markt in der Stadt.";
        let found = concepts(text, 10);
        assert!(
            found.iter().any(|concept| concept.name == "Hans Meier"),
            "{found:#?}"
        );
        assert!(
            found
                .iter()
                .filter(|concept| concept.kind == ConceptKind::Person)
                .count()
                <= 2,
            "{found:#?}"
        );
    }
}
