//! Names of ours that nobody knows: a misspelt setting must not be a setting that has no effect.

use crate::reader::Reader;
use crate::settings::{SETTINGS, setting};

const PREFIX: &str = "MNEMOSYNE_";

/// A name is suggested where it is at most this many changed characters away.
const NEAR: usize = 4;

pub(crate) fn check(reader: &mut Reader<'_>) {
    let mut names = reader.environment().names();
    names.sort_unstable();
    for name in names {
        if !name.starts_with(PREFIX) || is_known(&name) {
            continue;
        }
        let message = match nearest(&name) {
            Some(known) => format!("is not a setting. Did you mean {known}?"),
            None => "is not a setting. `mnemosyne config` lists them all.".to_owned(),
        };
        reader.problem_with_example(&name, message, None);
    }
}

fn is_known(name: &str) -> bool {
    setting(name).is_some()
        || name
            .strip_suffix("_FILE")
            .and_then(setting)
            .is_some_and(|setting| setting.secret)
}

fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(name, setting.name), setting.name))
        .filter(|(distance, _)| *distance <= NEAR)
        .min()
        .map(|(_, known)| known)
}

/// How many characters must be put in, taken out or replaced to make one name of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn a_misspelt_name_is_reported_with_the_right_one() {
        for (wrong, right) in [
            ("MNEMOSYNE_DATTA", "MNEMOSYNE_DATA"),
            ("MNEMOSYNE_APP_LISTENS", "MNEMOSYNE_APP_LISTEN"),
            ("MNEMOSYNE_MAX_FILESIZE_BYTES", "MNEMOSYNE_MAX_FILE_BYTES"),
            ("MNEMOSYNE_TRUSTED_PROXY", "MNEMOSYNE_TRUSTED_PROXIES"),
        ] {
            let problems = problems(&MapEnvironment::new().with(wrong, "1"));
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].name, wrong);
            assert!(
                problems[0].message.contains(&format!("Did you mean {right}?")),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_name_like_no_other_is_reported_too() {
        let problems = problems(&MapEnvironment::new().with("MNEMOSYNE_COFFEE_STRENGTH", ""));
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].message.contains("Did you mean"));
    }

    #[test]
    fn names_of_others_are_left_alone() {
        read(&[
            ("PATH", "/bin"),
            ("EMBEDDING_BSAE_URL", "x"),
            ("mnemosyne_data", "x"),
        ]);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
