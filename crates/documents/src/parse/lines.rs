//! What single lines of text look like: headings, breaks, list marks, verse. Shared by plain text and PDF.

/// The level of a line that stands alone and reads as a heading, if it does.
pub(crate) fn heading_level(line: &str) -> Option<u8> {
    marked_heading_level(line).or_else(|| is_capital_heading(line).then_some(2))
}

/// The level of a line that its own words make a heading, whatever stands around it: a chapter's, or a numbered one.
pub(crate) fn marked_heading_level(line: &str) -> Option<u8> {
    let line = line.trim();
    if !may_be_heading(line) {
        return None;
    }
    if is_chapter_word(line) && line.chars().count() <= 80 {
        return Some(
            if starts_with_word(line, &["part", "book", "teil", "partie", "volume", "act"]) {
                1
            } else {
                2
            },
        );
    }
    numbered_heading_level(line)
}

/// Whether a line is set in capitals throughout, as headings are, and the names of who speaks in plays.
pub(crate) fn is_capital_heading(line: &str) -> bool {
    let line = line.trim();
    let length = line.chars().count();
    let letters = line.chars().filter(|c| c.is_alphabetic()).count();
    let capitals = line.chars().filter(|c| c.is_uppercase()).count();
    may_be_heading(line) && letters >= 4 && capitals == letters && length <= 70 && letters * 2 > length
}

/// `ODILE (whispering)`: who speaks in a play or screenplay.
pub(crate) fn is_cue(line: &str) -> bool {
    const LONGEST: usize = 40;
    let name = line.trim().split('(').next().unwrap_or_default();
    let name = name.trim_end_matches([':', ' ', '\t']);
    let letters = name.chars().filter(|c| c.is_alphabetic()).count();
    letters >= 2
        && letters == name.chars().filter(|c| c.is_uppercase()).count()
        && name.chars().count() <= LONGEST
        && name.starts_with(char::is_alphabetic)
        && !name.ends_with(['.', '!', '?'])
        && !line.trim().contains('\n')
}

/// Neither too long nor the end of a sentence.
fn may_be_heading(line: &str) -> bool {
    (2..=90).contains(&line.chars().count())
        && (!line.ends_with(['.', ',', ';', ':']) || line.ends_with("...") || is_chapter_word(line))
}

/// `2.1 New features`: dots give the level. A lone `1.` is a list's, so one number needs no dot after it.
pub(crate) fn numbered_heading_level(line: &str) -> Option<u8> {
    let (number, rest) = line.split_once(char::is_whitespace)?;
    let parts: Vec<&str> = number.trim_end_matches('.').split('.').collect();
    let is_number = !parts.is_empty()
        && parts
            .iter()
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    if !is_number || parts.len() > 5 || (parts.len() == 1 && number.ends_with('.')) {
        return None;
    }
    let title = rest.trim();
    let starts_well = title.chars().next().is_some_and(char::is_uppercase);
    let words = title.split_whitespace().count();
    let short = title.chars().count() <= 70 && words <= 10;
    // "12 March 1911" and "3 Months" are no headings, "12 Results" is.
    (starts_well
        && short
        && !title.ends_with(['.', ',', ';', ':', '!', '?'])
        && !title.chars().any(|c| c.is_ascii_digit()))
    .then_some(parts.len().min(6) as u8)
}

fn starts_with_word(line: &str, words: &[&str]) -> bool {
    let first = line
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_lowercase();
    words.contains(&first.as_str())
}

/// `Chapter 3`, `CHAPTER III. The Storm`, `Teil II`, `Prologue`.
fn is_chapter_word(line: &str) -> bool {
    const NUMBERED: &[&str] = &[
        "chapter",
        "part",
        "book",
        "section",
        "appendix",
        "act",
        "scene",
        "volume",
        "letter",
        "canto",
        "kapitel",
        "teil",
        "abschnitt",
        "anhang",
        "akt",
        "szene",
        "chapitre",
        "partie",
        "livre",
        "annexe",
        "acte",
        "scène",
    ];
    const ALONE: &[&str] = &[
        "prologue",
        "epilogue",
        "preface",
        "foreword",
        "introduction",
        "afterword",
        "contents",
        "acknowledgements",
        "acknowledgments",
        "bibliography",
        "references",
        "index",
        "glossary",
        "abstract",
        "prolog",
        "epilog",
        "vorwort",
        "nachwort",
        "einleitung",
        "inhalt",
        "préface",
        "épilogue",
        "conclusion",
    ];
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else {
        return false;
    };
    let word = first.trim_end_matches([':', '.']).to_lowercase();
    match words.next() {
        None => ALONE.contains(&word.as_str()),
        Some(second) => {
            let number = second.trim_end_matches([':', '.', ',', '—', '-', ')']);
            let is_number = !number.is_empty()
                && (number.bytes().all(|b| b.is_ascii_digit())
                    || number.chars().all(|c| "IVXLCDM".contains(c))
                    || (number.len() == 1 && number.chars().all(char::is_uppercase))
                    || SPELLED.contains(&number.to_lowercase().as_str()));
            NUMBERED.contains(&word.as_str())
                && is_number
                && first.chars().next().is_some_and(char::is_uppercase)
        }
    }
}

const SPELLED: &[&str] = &[
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "first",
    "second",
    "third",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "premier",
    "première",
    "un",
    "deux",
    "trois",
];

/// `* * *`, `---`, `⁂`: a break without words.
pub(crate) fn is_break(line: &str) -> bool {
    let marks: Vec<char> = line.chars().filter(|c| !c.is_whitespace()).collect();
    match marks.as_slice() {
        ['⁂' | '❦' | '§' | '•' | '#'] => true,
        [first, rest @ ..] => {
            rest.len() >= 2 && "*-_=~•·#".contains(*first) && rest.iter().all(|c| c == first)
        }
        [] => false,
    }
}

/// The length in bytes of a list mark with the space after it: `- `, `3. `, `(b) `, `• `.
pub(crate) fn list_mark(line: &str) -> Option<usize> {
    let end = line.find(char::is_whitespace)?;
    let mark = &line[..end];
    let is_bullet = matches!(
        mark,
        "-" | "*" | "+" | "•" | "◦" | "▪" | "‣" | "–" | "·" | "●" | "○" | "■"
    );
    let core = mark.trim_start_matches('(');
    let closed = core.strip_suffix(['.', ')']);
    let is_numbered = closed.is_some_and(|core| {
        (core.len() <= 3 && !core.is_empty() && core.bytes().all(|b| b.is_ascii_digit()))
            || (core.len() == 1 && core.bytes().all(|b| b.is_ascii_lowercase()))
            || (core.len() <= 5 && !core.is_empty() && core.chars().all(|c| "ivxIVX".contains(c)))
    });
    (is_bullet || is_numbered).then(|| line.len() - line[end..].trim_start().len())
}

/// Whether lines read as verse: several, short, and mostly beginning with a capital or broken well before the margin.
pub(crate) fn is_verse(lines: &[&str]) -> bool {
    if lines.len() < 2 {
        return false;
    }
    let lengths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if !(3..=62).contains(&longest) {
        return false;
    }
    let capitals = lines
        .iter()
        .filter(|line| {
            line.chars()
                .find(|c| c.is_alphabetic())
                .is_some_and(char::is_uppercase)
        })
        .count();
    let enough_lines = lines.len() >= 3 || longest <= 50;
    // Prose set to a narrow measure fills its lines; verse does not.
    let filled = lengths[..lengths.len() - 1]
        .iter()
        .filter(|length| **length * 10 >= longest * 9)
        .count();
    enough_lines
        && capitals * 10 >= lines.len() * 7
        && (filled * 10 <= (lines.len() - 1) * 8 || longest <= 50)
}

/// Joins the lines of a paragraph; a word cut by a hyphen at a line's end is mended.
pub(crate) fn join_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for line in lines {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if joined.is_empty() {
            joined.push_str(line);
            continue;
        }
        let next = line.chars().next();
        let cut_word = joined.ends_with(['-', '\u{ad}', '‐'])
            && joined.chars().rev().nth(1).is_some_and(char::is_lowercase)
            && next.is_some_and(char::is_lowercase);
        if cut_word {
            if !is_compound_head(&joined) {
                joined.pop();
            }
        } else if !(joined.chars().next_back().is_some_and(is_unspaced) && next.is_some_and(is_unspaced)) {
            joined.push(' ');
        }
        joined.push_str(line);
    }
    joined
}

/// Whether the word before a hyphen at a line's end is one that is written with it anyway: `fifty-` of `fifty-one`.
fn is_compound_head(joined: &str) -> bool {
    const HEADS: &[&str] = &[
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "self", "well", "half",
        "non", "ex", "all", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "much", "long", "short", "high", "low",
    ];
    let word = joined.trim_end_matches(['-', '‐']);
    let start = word
        .rfind(|c: char| !c.is_alphabetic())
        .map_or(0, |at| at + word[at..].chars().next().map_or(1, char::len_utf8));
    HEADS.contains(&word[start..].to_lowercase().as_str())
}

/// Scripts that put no space between words.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff65}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_told_from_sentences() {
        for (line, level) in [
            ("Chapter 3", Some(2)),
            ("CHAPTER III. The Storm", Some(2)),
            ("Part One", Some(1)),
            ("Prologue", Some(2)),
            ("2.1 New features", Some(2)),
            ("3 Results", Some(1)),
            ("A WALK ALONG THE CANAL", Some(2)),
            ("1. Switch off the supply", None),
            ("12 March 1911", None),
            ("He went home", None),
            ("Chapter and verse were quoted to him.", None),
            ("USA", None),
        ] {
            assert_eq!(heading_level(line), level, "{line}");
        }
    }

    #[test]
    fn speakers_are_told_from_text() {
        for cue in [
            "ODILE",
            "BEN",
            "ODILE (CONT'D)",
            "MATTHIS (whispering)",
            "THE OTHER KEEPER:",
            "ÉLOÏSE",
        ] {
            assert!(is_cue(cue), "{cue}");
        }
        for text in [
            "Odile",
            "NO!",
            "I",
            "茶の淹れ方",
            "12 MARCH",
            "ODILE\nYes.",
            "STOP.",
        ] {
            assert!(!is_cue(text), "{text}");
        }
    }

    #[test]
    fn breaks_and_marks() {
        assert!(is_break("* * *") && is_break("-----") && is_break("⁂"));
        assert!(!is_break("--") && !is_break("a * b") && !is_break(""));
        assert_eq!(list_mark("(a)  clause"), Some(5));
        assert_eq!(list_mark("12. item"), Some(4));
        assert_eq!(list_mark("1911 was cold"), None);
        assert_eq!(list_mark("- x"), Some(2));
    }

    #[test]
    fn cut_words_are_mended() {
        assert_eq!(
            join_lines(["imple-", "mented in", "Baden-", "Baden"]),
            "implemented in Baden- Baden"
        );
        assert_eq!(
            join_lines(["fifty-", "one years", "水を", "汲む"]),
            "fifty-one years 水を汲む"
        );
    }
}
