//! What of a chunk is embedded.

/// The longest heading path that goes in front of a passage, in characters.
const MAX_CONTEXT_CHARS: usize = 200;

/// The text that stands for a chunk in the vector space: the item's title and the headings it stands under, then the
/// passage. A passage that says only "it" is found by what its chapter is called.
pub fn passage_text(title: &str, heading_path: &[String], text: &str) -> String {
    let mut context = String::new();
    for part in std::iter::once(title).chain(heading_path.iter().map(String::as_str)) {
        let repeated = context.is_empty() && part.is_empty() || context.ends_with(part) && !part.is_empty();
        if repeated || context.chars().count() + part.chars().count() > MAX_CONTEXT_CHARS {
            continue;
        }
        if !context.is_empty() {
            context.push_str(" > ");
        }
        context.push_str(part);
    }
    if context.is_empty() {
        text.to_owned()
    } else {
        format!("{context}\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_brings_its_headings_and_no_endless_ones() {
        let path = ["Pumps".to_owned(), "Priming".to_owned()];
        assert_eq!(
            passage_text("Manual", &path, "Open it."),
            "Manual > Pumps > Priming\nOpen it."
        );
        assert_eq!(passage_text("", &[], "Open it."), "Open it.");
        assert_eq!(passage_text("Manual", &["Manual".to_owned()], "x"), "Manual\nx");
        assert_eq!(passage_text(&"x".repeat(300), &[], "y"), "y");
    }
}
