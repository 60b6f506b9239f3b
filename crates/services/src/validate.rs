//! Collects what is wrong with the fields of a request, so that a caller hears all of it at once.

use std::collections::BTreeMap;

use crate::error::{ServiceError, ServiceResult};

/// The problems found so far, by field.
#[derive(Debug, Default)]
pub struct Problems(BTreeMap<String, Vec<String>>);

/// Whether a text holds a control character. No name does, and PostgreSQL refuses to look for a NUL.
pub(crate) fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0.entry(field.to_owned()).or_default().push(problem.into());
    }

    /// A text that must be there: trimmed, 1 to `max` characters, without control characters (line breaks and tabs
    /// aside).
    pub fn text(&mut self, field: &str, value: Option<&str>, max: usize) -> String {
        let value = value.unwrap_or_default().trim();
        if value.is_empty() {
            self.add(field, "This field is required.");
        }
        self.bounded(field, value, max);
        value.to_owned()
    }

    /// A text that may be absent.
    pub fn optional_text(&mut self, field: &str, value: Option<&str>, max: usize) -> Option<String> {
        let value = value?.trim();
        if value.is_empty() {
            return None;
        }
        self.bounded(field, value, max);
        Some(value.to_owned())
    }

    fn bounded(&mut self, field: &str, value: &str, max: usize) {
        if value.chars().count() > max {
            self.add(
                field,
                format!("Ensure this field has no more than {max} characters."),
            );
        }
        if value
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        {
            self.add(field, "Control characters are not allowed.");
        }
    }

    /// Ends the check.
    pub fn check(self) -> ServiceResult<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ServiceError::Invalid(self.0))
        }
    }
}
