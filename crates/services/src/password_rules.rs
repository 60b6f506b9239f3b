//! What a new password must be: the rules of Django's four validators, with a list of our own for common passwords.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The fewest characters.
const MIN_LENGTH: usize = 8;
/// The most bytes: hashing more is work for nothing.
pub(crate) const MAX_BYTES: usize = 4096;
/// From this likeness on (1 is equality) a password is too much like something that is known of its user.
const MAX_LIKENESS: f64 = 0.7;

/// What passwords are made of that everybody tries first, without the digits and signs around it.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").split_whitespace().collect());

/// Rows of keyboards, and the orders that everybody knows.
const WALKS: [&str; 8] = [
    "1234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "abcdefghijklmnopqrstuvwxyz",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
];

/// What is wrong with a password; empty where nothing is. `known` is what is known of its user: what it is called, and
/// its value.
pub fn problems(password: &str, known: &[(&str, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    if password.chars().count() < MIN_LENGTH {
        problems.push(format!(
            "This password is too short. It must contain at least {MIN_LENGTH} characters."
        ));
    }
    if password.len() > MAX_BYTES {
        problems.push(format!("This password is longer than {MAX_BYTES} bytes."));
        return problems;
    }
    if let Some((what, _)) = known.iter().find(|(_, value)| is_like(password, value)) {
        problems.push(format!("The password is too similar to the {what}."));
    }
    if is_common(password) {
        problems.push("This password is too common.".to_owned());
    }
    if !password.is_empty() && password.chars().all(char::is_numeric) {
        problems.push("This password is entirely numeric.".to_owned());
    }
    problems
}

/// Whether a password is like a value or one of its words, as Django's `UserAttributeSimilarityValidator` judges.
fn is_like(password: &str, value: &str) -> bool {
    let password = password.to_lowercase();
    let value = value.to_lowercase();
    let words = value.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .chain(std::iter::once(value.as_str()))
        .any(|part| !part.is_empty() && likeness(&password, part) >= MAX_LIKENESS)
}

/// `SequenceMatcher.quick_ratio` of Python: twice the letters that both have, over all letters. Parts that are far too
/// short to matter are not like anything.
fn likeness(password: &str, part: &str) -> f64 {
    let (long, short) = (password.chars().count(), part.chars().count());
    if long >= 10 * short && (short as f64) < MAX_LIKENESS / 2.0 * long as f64 {
        return 0.0;
    }
    let mut letters: HashMap<char, usize> = HashMap::new();
    for letter in part.chars() {
        *letters.entry(letter).or_default() += 1;
    }
    let mut common = 0;
    for letter in password.chars() {
        if let Some(left) = letters.get_mut(&letter).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    2.0 * f64::from(common) / (long + short) as f64
}

/// Whether a password is one of those that are tried first: a word of the list with digits and signs around it and letters
/// replaced by their likes, a walk over the keyboard, or the same few characters over and over.
fn is_common(password: &str) -> bool {
    let lower = password.trim().to_lowercase();
    if lower.is_empty() {
        return false;
    }
    let stem = lower.trim_matches(|c: char| !c.is_alphabetic());
    let plain = |text: &str| -> String { text.chars().map(unmasked).collect() };
    let unmasked = plain(&lower);
    let unmasked_stem = unmasked.trim_end_matches(|c: char| !c.is_alphabetic());
    COMMON.contains(lower.as_str())
        || COMMON.contains(stem)
        || COMMON.contains(plain(stem).as_str())
        || COMMON.contains(unmasked_stem)
        || is_walk(&lower)
        || is_repetition(&lower)
}

/// The letter that a digit or a sign stands for.
fn unmasked(letter: char) -> char {
    match letter {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

/// Whether it runs along a row, forwards or backwards, once or several times.
fn is_walk(text: &str) -> bool {
    let backwards: String = text.chars().rev().collect();
    WALKS.iter().any(|row| {
        let twice = format!("{row}{row}");
        twice.contains(text) || twice.contains(&backwards)
    })
}

/// Whether it is a piece of at most four characters over and over.
fn is_repetition(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    (1..=4).any(|size| {
        letters.len() >= 2 * size
            && letters
                .iter()
                .enumerate()
                .all(|(at, letter)| *letter == letters[at % size])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_passwords_are_good() {
        for good in [
            "ytq8d-fsqmj-fnykj",
            "correct horse battery",
            "Ünïcödé-Kännchen",
            "a long sentence about owls",
        ] {
            assert_eq!(
                problems(good, &[("username", "ada"), ("email address", "ada@example.org")]),
                [""; 0],
                "{good}"
            );
        }
    }

    #[test]
    fn short_and_numeric_ones_are_refused() {
        assert!(problems("x9!kQ", &[])[0].contains("too short"));
        assert_eq!(
            problems("8302746591", &[]),
            ["This password is entirely numeric."]
        );
        assert_eq!(problems("", &[]).len(), 1);
    }

    #[test]
    fn the_bounds_are_of_characters_below_and_of_bytes_above() {
        assert_eq!(
            problems("öwl-ñöç", &[]),
            ["This password is too short. It must contain at least 8 characters."],
            "seven characters are eleven bytes"
        );
        assert_eq!(problems("öwl-ñöç!", &[]), [""; 0]);
        let long: String = (0..1_000).map(|number| format!("owl {number} ")).collect();
        assert_eq!(problems(&long[..MAX_BYTES], &[]), [""; 0]);
        assert_eq!(
            problems(&long[..=MAX_BYTES], &[("username", &long)]),
            ["This password is longer than 4096 bytes."],
            "nothing else is looked at"
        );
    }

    #[test]
    fn what_everybody_tries_is_refused() {
        for common in [
            "password",
            "Password1!",
            "P@ssw0rd",
            "qwertyuiop",
            "letmein123",
            "iloveyou",
            "aaaaaaaa",
            "abcabcabc",
            "12345678",
            "87654321",
            "1qaz2wsx",
            "football2024",
            "Welcome1",
            "admin12345",
            "changeme",
            "S3cr3t!!",
            "$unshine99",
            "a1b2c3d4",
            "neo4j2026",
            " qwertyuiop ",
            "uiopqwer",
            "mnemosyne1",
        ] {
            assert!(
                problems(common, &[])
                    .iter()
                    .any(|problem| problem.contains("too common")),
                "{common}"
            );
        }
    }

    #[test]
    fn what_is_known_of_a_user_is_refused() {
        let known = [
            ("username", "gertrude"),
            ("email address", "trudi.stein@example.org"),
            ("last name", "ANNA STEIN-HAUSER"),
        ];
        for (like, what) in [
            ("gertrude1", "username"),
            ("Eduretrg99", "username"),
            ("trudi.stein@example", "email address"),
            ("GERTRUDE1", "username"),
            ("hauser12", "last name"),
            ("annasteinhauser", "last name"),
        ] {
            assert_eq!(
                problems(like, &known),
                [format!("The password is too similar to the {what}.")],
                "{like}"
            );
        }
        assert_eq!(problems("gertrude-and-her-forty-owls", &known), [""; 0]);
    }
}
