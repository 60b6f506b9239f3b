//! What is known of words wherever they are looked at.

/// Words that tell nothing about what a passage is about: full text leaves them out, and pages do not mark them.
pub const STOP_WORDS: [&str; 96] = [
    "a", "about", "am", "an", "and", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could",
    "did", "do", "does", "doing", "for", "from", "had", "has", "have", "having", "he", "her", "hers", "him",
    "his", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no", "nor", "not", "of", "on",
    "or", "our", "ours", "she", "should", "so", "some", "such", "than", "that", "the", "their", "theirs",
    "them", "then", "there", "these", "they", "this", "those", "to", "too", "us", "very", "was", "we",
    "were", "what", "when", "where", "which", "while", "who", "whom", "whose", "why", "will", "with",
    "would", "you", "your", "yours", "s", "t", "d", "ll", "m", "re", "ve", "shall", "may",
];

/// The text of a passage on one line, for excerpts: marks of headings, lists and code are left out, the rows of a table
/// end with semicolons, so that they do not run together, and white space is written as single spaces.
pub fn running_text(passage: &str) -> String {
    let lines: Vec<&str> = passage.lines().map(str::trim).collect();
    let mut parts: Vec<String> = Vec::new();
    for block in lines.split(|line| line.is_empty()) {
        let is_table = are_rows(block);
        for line in block {
            if line.starts_with("```") || is_rule_of_table(line) {
                continue;
            }
            let is_row = is_table || (line.len() > 1 && line.starts_with('|') && line.ends_with('|'));
            let is_heading = line.starts_with('#');
            let bare = line.trim_start_matches(['#', '>']).trim();
            let bare = bare
                .strip_prefix("- ")
                .or(bare.strip_prefix("* "))
                .unwrap_or(bare);
            let words = bare.split_whitespace().collect::<Vec<_>>().join(" ");
            if words.is_empty() {
                continue;
            }
            parts.push(if is_row {
                let cells: Vec<&str> = words.trim_matches('|').split('|').map(str::trim).collect();
                format!("{};", cells.join(" | "))
            } else if is_heading {
                format!("{words}:")
            } else {
                words
            });
        }
    }
    let text = parts.join(" ");
    text.strip_suffix([';', ':']).map(str::to_owned).unwrap_or(text)
}

/// Whether lines are rows of a table as readers write them, `a | b`. The last one may have been cut off.
fn are_rows(lines: &[&str]) -> bool {
    let cells = |line: &str| line.matches(" | ").count();
    let Some((last, whole)) = lines.split_last() else {
        return false;
    };
    let Some(first) = whole.first() else {
        return false;
    };
    let columns = cells(first);
    columns > 0 && whole.iter().all(|line| cells(line) == columns) && cells(last) <= columns
}

/// Whether a line only parts the head of a table from its body.
fn is_rule_of_table(line: &str) -> bool {
    line.contains('-') && line.chars().all(|c| matches!(c, '-' | ':' | '|' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_become_one_line_and_rows_stay_apart() {
        let marked_up = "## Seals\n\n- rubber\n- steel\n\n| a | b |\n|---|---|\n| 1 | 2 |\n```\nx\n```";
        assert_eq!(running_text(marked_up), "Seals: rubber steel a | b; 1 | 2; x");
        assert_eq!(
            running_text("Faults\n\nCode | Meaning\nE11 | current\nE12 | cur\n\nAfter it | wait."),
            "Faults Code | Meaning; E11 | current; E12 | cur; After it | wait."
        );
        assert_eq!(running_text(" \n\n"), "");
        assert_eq!(running_text("|"), "|");
    }
}
