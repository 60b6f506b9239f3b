//! Dates as people write them at the head of an entry, in English, German and French.

/// Whether a date stands anywhere in a line.
pub(super) fn contains_date(line: &str) -> bool {
    let tokens = tokens(line);
    (0..tokens.len()).any(|start| date_end(&tokens[start..]).is_some())
}

/// The end in bytes of a date with which a text begins, after a day of the week perhaps.
pub(super) fn leading_date(text: &str) -> Option<usize> {
    let line = text.lines().next()?;
    let head = &line[..line.floor_char_boundary(80)];
    let tokens = tokens(head);
    let skipped = tokens
        .iter()
        .take(2)
        .take_while(|token| is_lead_in(token.word))
        .count();
    (0..=skipped).find_map(|start| date_end(&tokens[start..]))
}

struct Token<'a> {
    word: &'a str,
    end: usize,
}

fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = line;
    let mut offset = 0;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        let word = &rest[start..];
        let length = word.find(char::is_whitespace).unwrap_or(word.len());
        let full = &word[..length];
        let word = full.trim_matches(|c: char| !c.is_alphanumeric());
        tokens.push(Token {
            word,
            end: offset + start + length,
        });
        offset += start + length;
        rest = &line[offset..];
    }
    tokens
}

fn is_lead_in(word: &str) -> bool {
    const LEAD_INS: &[&str] = &[
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "montag",
        "dienstag",
        "mittwoch",
        "donnerstag",
        "freitag",
        "samstag",
        "sonnabend",
        "sonntag",
        "lundi",
        "mardi",
        "mercredi",
        "jeudi",
        "vendredi",
        "samedi",
        "dimanche",
        "le",
        "den",
        "am",
        "the",
        "on",
    ];
    LEAD_INS.contains(&word.to_lowercase().as_str())
}

fn is_month(word: &str) -> bool {
    const MONTHS: &[&str] = &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "januar",
        "jänner",
        "februar",
        "märz",
        "mai",
        "juni",
        "juli",
        "oktober",
        "dezember",
        "janvier",
        "février",
        "mars",
        "avril",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ];
    word.chars().next().is_some_and(char::is_alphabetic) && MONTHS.contains(&word.to_lowercase().as_str())
}

fn is_day(word: &str) -> bool {
    let number = ["st", "nd", "rd", "th", "er"]
        .iter()
        .find_map(|suffix| word.strip_suffix(suffix))
        .unwrap_or(word);
    (1..=2).contains(&number.len()) && number.parse::<u8>().is_ok_and(|day| (1..=31).contains(&day))
}

fn is_year(word: &str) -> bool {
    word.len() == 4
        && word
            .parse::<u16>()
            .is_ok_and(|year| (1000..=2999).contains(&year))
}

/// `2021-07-03`, `3.7.2021`, `7/3/21`.
fn is_numeric_date(word: &str) -> bool {
    let Some(separator) = word.chars().find(|c| !c.is_ascii_digit()) else {
        return false;
    };
    let parts: Vec<&str> = word.split(separator).collect();
    matches!(separator, '-' | '.' | '/')
        && parts.len() == 3
        && parts
            .iter()
            .all(|part| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
        && (is_year(parts[0])
            || is_year(parts[2])
            || (separator != '.' && parts.iter().all(|part| part.len() == 2)))
        && parts.iter().filter(|part| is_day(part)).count() >= 2
}

fn date_end(tokens: &[Token<'_>]) -> Option<usize> {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.word);
    if is_numeric_date(word(0)) {
        return Some(tokens[0].end);
    }
    if is_month(word(0)) && is_year(word(1)) {
        return Some(tokens[1].end);
    }
    if !((is_day(word(0)) && is_month(word(1))) || (is_month(word(0)) && is_day(word(1)))) {
        return None;
    }
    let last = if is_year(word(2)) { 2 } else { 1 };
    Some(tokens[last].end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_three_languages() {
        for text in [
            "3 July 2021",
            "July 3rd, 2021",
            "Monday, 3 July",
            "2021-07-03 Hut",
            "3.7.2021",
            "Sonntag, den 4. März 1911",
            "le 14 juillet 1789",
            "August 1914",
        ] {
            assert!(leading_date(text).is_some(), "{text}");
        }
        for text in [
            "May I come in?",
            "3 of them",
            "12 apples",
            "1.2.3 Release",
            "In March we went",
            "The 4th wall",
        ] {
            assert!(leading_date(text).is_none(), "{text}");
        }
        assert!(contains_date("Entry of 3 July 2021"));
        assert_eq!(leading_date("3 July 2021. Arrived"), Some("3 July 2021.".len()));
    }
}
