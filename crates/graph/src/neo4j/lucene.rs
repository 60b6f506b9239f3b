//! Questions in the query language of Lucene, made of terms alone.

/// How many terms of a question are looked for. Lucene refuses questions of more than 1,024 clauses; each term is
/// looked for in three fields, and libraries are named beside them.
const MAX_TERMS: usize = 256;

/// What a word of the headings or of the title counts, against 1 for a word of the text.
const CONTEXT_BOOST: &str = "0.4";

/// Up to how many libraries are named in a question.
pub(super) const MAX_LIBRARIES: usize = 200;

/// A term that stands for itself: each character that is, or could be, part of the query language is escaped. Terms come
/// from the analysis of texts and are nearly always letters and digits, but not always: it writes `⑴` as `(1)`.
fn escaped(term: &str) -> String {
    let mut text = String::with_capacity(term.len() + 2);
    for c in term.chars() {
        if !c.is_alphanumeric() && c != '_' {
            text.push('\\');
        }
        text.push(c);
    }
    // Operators are operators only in capitals, and terms are in small letters; were it ever otherwise, an escaped first
    // letter is no operator.
    if matches!(text.as_str(), "AND" | "OR" | "NOT" | "TO") {
        text.insert(0, '\\');
    }
    text
}

fn joined<'a>(terms: impl IntoIterator<Item = &'a str>) -> String {
    let escaped: Vec<String> = terms
        .into_iter()
        .filter(|term| !term.is_empty())
        .take(MAX_TERMS)
        .map(escaped)
        .collect();
    escaped.join(" ")
}

/// What chunks are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Within<'a> {
    /// Any.
    Anything,
    /// Those of these libraries.
    Libraries(&'a [String]),
    /// Those of this item.
    Item(&'a str),
}

/// The question for chunks with any of the terms. `None` where there is no term.
pub(super) fn chunks_with(terms: &[String], within: Within<'_>) -> Option<String> {
    let words = joined(terms.iter().map(String::as_str));
    if words.is_empty() {
        return None;
    }
    let question =
        format!("+(terms:({words}) context:({words})^{CONTEXT_BOOST} title_terms:({words})^{CONTEXT_BOOST})");
    // What the filters match counts nothing.
    Some(match within {
        Within::Anything => question,
        Within::Libraries(libraries) => {
            let libraries = joined(libraries.iter().map(String::as_str));
            format!("{question} +library_uid:({libraries})^0")
        }
        Within::Item(item) => format!("{question} +item_uid:({})^0", joined([item])),
    })
}

/// The question for concepts whose names have any of the terms. `None` where there is no term.
pub(super) fn concepts_with(terms: &[String]) -> Option<String> {
    let words = joined(terms.iter().map(String::as_str));
    (!words.is_empty()).then(|| format!("terms:({words})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_stands_for_itself() {
        assert_eq!(escaped("engin"), "engin");
        assert_eq!(escaped("東京"), "東京");
        assert_eq!(escaped("(1)"), "\\(1\\)");
        for special in "+-&|!(){}[]^\"~*?:\\/<>=@#'`$%,;. \t\n\u{0}".chars() {
            assert_eq!(escaped(&special.to_string()), format!("\\{special}"));
        }
        for word in ["AND", "OR", "NOT", "TO"] {
            assert_eq!(escaped(word), format!("\\{word}"));
        }
    }

    #[test]
    fn a_question_is_bounded_and_never_empty() {
        let many: Vec<String> = (0..5000).map(|number| format!("w{number}")).collect();
        let question = chunks_with(&many, Within::Anything).unwrap();
        assert!(question.contains("w255") && !question.contains("w256"));
        assert_eq!(chunks_with(&[], Within::Anything), None);
        assert_eq!(chunks_with(&[String::new()], Within::Anything), None);
        assert_eq!(concepts_with(&[]), None);
    }

    #[test]
    fn filters_hold_identifiers() {
        let terms = ["a".to_owned()];
        let question = chunks_with(&terms, Within::Libraries(&["0190-a_B".to_owned()])).unwrap();
        assert!(question.ends_with(" +library_uid:(0190\\-a_B)^0"), "{question}");
        let question = chunks_with(&terms, Within::Item("x-1")).unwrap();
        assert!(question.ends_with(" +item_uid:(x\\-1)^0"), "{question}");
    }
}
