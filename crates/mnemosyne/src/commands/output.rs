//! How commands print.

use std::collections::BTreeMap;
use std::io::{self, Write};

use mnemosyne_services::ServiceError;
use serde::Serialize;

/// Prints one JSON document and nothing else. A reader that went away (`| head`) is no error.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print_text(&format!("{text}\n"))
}

/// Prints text; a reader that went away is no error.
pub(super) fn print_text(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A use case's refusal as a person reads it.
pub(super) fn explain(error: ServiceError) -> anyhow::Error {
    match error {
        ServiceError::Invalid(fields) => anyhow::anyhow!("{}", problems(&fields)),
        ServiceError::Conflict { message, .. } => anyhow::anyhow!("{message}"),
        other => other.into(),
    }
}

fn problems(fields: &BTreeMap<String, Vec<String>>) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|(field, problems)| format!("{field}: {}", problems.join(" ")))
        .collect();
    lines.join("; ")
}

/// A number with thin groups: 12 345.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A size in human units.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_human() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(90_900_000), "90.9 MB");
    }
}
