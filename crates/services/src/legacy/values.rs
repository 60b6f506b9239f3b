//! What stands in the rows of the system before this one.

use chrono::{DateTime, NaiveDateTime, Utc};
use mnemosyne_crypto::fernet;
use serde_json::{Map, Value};

/// A row as the port gives it.
pub(super) type Row = Map<String, Value>;

/// How every Fernet token begins: its version and the first bytes of a time of this century.
const FERNET: &str = "gAAAA";

/// The text of a column, without white space around it; `None` where it is empty, or no text.
pub(super) fn text<'r>(row: &'r Row, column: Option<&String>) -> Option<&'r str> {
    row.get(column?)?
        .as_str()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// The moment in a column. One without an offset is taken as UTC, as Django writes it.
pub(super) fn time(row: &Row, column: Option<&String>) -> Option<DateTime<Utc>> {
    let text = text(row, column)?;
    let moment = DateTime::parse_from_rfc3339(text).map(|moment| moment.to_utc());
    moment
        .or_else(|_| text.parse::<NaiveDateTime>().map(|moment| moment.and_utc()))
        .ok()
}

/// The whole number in a column.
pub(super) fn number(row: &Row, column: Option<&String>) -> Option<i64> {
    row.get(column?)?.as_i64()
}

/// What names a row to a person: its primary key, or its place.
pub(super) fn row_name(row: &Row, place: u64) -> String {
    ["id", "uuid", "uid", "pk"]
        .into_iter()
        .find_map(|column| match row.get(column)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .unwrap_or_else(|| format!("row {}", place + 1))
}

/// Whether a row says that it is not in use any more.
pub(super) fn is_retired(row: &Row) -> bool {
    let flag = |column: &str| row.get(column).and_then(Value::as_bool);
    let is_set = |column: &str| row.get(column).is_some_and(|value| !value.is_null());
    ["is_active", "active", "enabled", "is_enabled"]
        .into_iter()
        .any(|column| flag(column) == Some(false))
        || ["revoked", "is_revoked", "retired", "is_retired", "disabled"]
            .into_iter()
            .any(|column| flag(column) == Some(true))
        || ["revoked_at", "retired_at", "disabled_at", "deleted_at"]
            .into_iter()
            .any(is_set)
        || row
            .get("status")
            .and_then(Value::as_str)
            .is_some_and(|status| matches!(status, "retired" | "revoked" | "inactive" | "disabled"))
}

/// A list of names in a column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// There is no such column, or nothing in it.
    Absent,
    /// There is a list, and it is empty.
    Empty,
    /// These.
    Some(Vec<String>),
    /// There is something that is no list of names.
    Unreadable,
}

/// The list in a column: JSON, an array, or names separated by commas or white space.
pub(super) fn names(row: &Row, column: Option<&String>) -> Names {
    let Some(value) = column.and_then(|column| row.get(column)) else {
        return Names::Absent;
    };
    let parsed;
    let entries = match value {
        Value::Null => return Names::Absent,
        Value::Array(entries) => entries,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(entries)) => {
                parsed = entries;
                &parsed
            }
            Ok(Value::Null) => return Names::Absent,
            Ok(Value::Object(_)) => return Names::Unreadable,
            _ => {
                let names: Vec<String> = text
                    .split(|c: char| c == ',' || c.is_whitespace())
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                return if names.is_empty() {
                    Names::Empty
                } else {
                    Names::Some(names)
                };
            }
        },
        _ => return Names::Unreadable,
    };
    if entries.is_empty() {
        return Names::Empty;
    }
    let names: Option<Vec<String>> = entries
        .iter()
        .map(|entry| entry.as_str().map(|name| name.trim().to_owned()))
        .collect();
    names.map_or(Names::Unreadable, Names::Some)
}

/// A SHA-256 in lower-case hexadecimal: from hexadecimal digits, with or without the name of the algorithm, or from bytes.
pub(super) fn sha256(row: &Row, column: &String) -> Option<String> {
    let text = text(row, Some(column))?;
    let digits = text
        .strip_prefix("\\x")
        .or_else(|| text.strip_prefix("sha256:"))
        .or_else(|| text.strip_prefix("sha256$"))
        .unwrap_or(text);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| digits.to_ascii_lowercase())
}

/// The bytes of a stored secret: sealed with Fernet or not. `Err` says why there are none.
pub(super) fn secret(row: &Row, column: &String, keys: &[fernet::Key]) -> Result<Vec<u8>, &'static str> {
    let text = text(row, Some(column)).ok_or("it holds no secret")?;
    let stored = match text.strip_prefix("\\x") {
        Some(digits) => hex::decode(digits).map_err(|_| "its secret cannot be read")?,
        None => text.as_bytes().to_vec(),
    };
    if !stored.starts_with(FERNET.as_bytes()) {
        return Ok(stored);
    }
    let sealed = String::from_utf8(stored).map_err(|_| "its secret cannot be read")?;
    keys.iter()
        .find_map(|key| key.open(&sealed).ok())
        .ok_or("its secret is sealed with a key that is not set here")
}

/// The bytes that hexadecimal digits encode; other bytes as they are, where they were sealed or stored as bytes.
pub(super) fn key_bytes(secret: Vec<u8>) -> Vec<u8> {
    if secret.len() < 64 {
        return secret;
    }
    hex::decode(&secret).unwrap_or(secret)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        match json!({ "c": value }) {
            Value::Object(row) => row,
            _ => Row::new(),
        }
    }

    fn c() -> String {
        "c".to_owned()
    }

    #[test]
    fn lists_come_in_several_forms_and_are_never_guessed() {
        let some = |names: &[&str]| Names::Some(names.iter().map(|&name| name.to_owned()).collect());
        for (value, expected) in [
            (json!(null), Names::Absent),
            (json!("null"), Names::Absent),
            (json!([]), Names::Empty),
            (json!("[]"), Names::Empty),
            (json!(""), Names::Empty),
            (json!(["search", " get_chunk"]), some(&["search", "get_chunk"])),
            (json!("[\"search\"]"), some(&["search"])),
            (json!("search, get_chunk"), some(&["search", "get_chunk"])),
            (json!("search\tget_chunk\n"), some(&["search", "get_chunk"])),
            (json!("[1]"), Names::Unreadable),
            (json!("7"), some(&["7"])),
            (json!({ "search": true }), Names::Unreadable),
            (json!("{\"search\": true}"), Names::Unreadable),
            (json!([1]), Names::Unreadable),
            (json!(7), Names::Unreadable),
        ] {
            assert_eq!(names(&row(value.clone()), Some(&c())), expected, "{value}");
        }
        assert_eq!(names(&row(json!([])), None), Names::Absent);
    }

    #[test]
    fn digests_are_64_digits() {
        let digits = "AB".repeat(32);
        for text in [
            digits.clone(),
            format!(" {digits} "),
            format!("\\x{digits}"),
            format!("sha256${digits}"),
            format!("sha256:{digits}"),
        ] {
            assert_eq!(sha256(&row(json!(text)), &c()), Some("ab".repeat(32)), "{text}");
        }
        for bad in ["ab".repeat(31), "zz".repeat(32), "ab".repeat(20), String::new()] {
            assert_eq!(sha256(&row(json!(bad)), &c()), None, "{bad}");
        }
    }

    #[test]
    fn secrets_are_opened_with_the_keys_that_there_are() {
        let key = fernet::Key::derive("secret", "test");
        let other = fernet::Key::derive("other", "test");
        let sealed = key.seal(b"plain", Utc::now());
        let in_bytes = format!("\\x{}", hex::encode(&sealed));
        for text in [&sealed, &in_bytes] {
            let opened = secret(&row(json!(text)), &c(), &[other.clone(), key.clone()]);
            assert_eq!(opened.as_deref(), Ok(&b"plain"[..]));
            assert!(secret(&row(json!(text)), &c(), std::slice::from_ref(&other)).is_err());
        }
        assert_eq!(
            secret(&row(json!("plain")), &c(), &[]).as_deref(),
            Ok(&b"plain"[..])
        );
        assert!(secret(&row(json!("")), &c(), &[]).is_err());
        assert_eq!(key_bytes("0a".repeat(32).into_bytes()), vec![10; 32]);
        assert_eq!(key_bytes(vec![b'z'; 64]), vec![b'z'; 64]);
        assert_eq!(
            key_bytes("0a".repeat(16).into_bytes()),
            "0a".repeat(16).into_bytes(),
            "a key of 32 bytes that look like digits"
        );
    }

    #[test]
    fn what_is_not_in_use_any_more_says_so_in_several_ways() {
        let says = |column: &str, value: Value| is_retired(&Row::from_iter([(column.to_owned(), value)]));
        for column in ["is_active", "active", "enabled", "is_enabled"] {
            assert!(says(column, json!(false)), "{column}");
            assert!(
                !says(column, json!(true)) && !says(column, json!(null)),
                "{column}"
            );
        }
        for column in ["revoked", "is_revoked", "retired", "is_retired", "disabled"] {
            assert!(says(column, json!(true)), "{column}");
            assert!(
                !says(column, json!(false)) && !says(column, json!(null)),
                "{column}"
            );
        }
        for column in ["revoked_at", "retired_at", "disabled_at", "deleted_at"] {
            assert!(says(column, json!("2026-01-02")), "{column}");
            assert!(!says(column, json!(null)), "{column}");
        }
        for status in ["retired", "revoked", "inactive", "disabled"] {
            assert!(says("status", json!(status)), "{status}");
        }
        assert!(
            !says("status", json!("active")) && !says("name", json!("revoked")) && !is_retired(&Row::new())
        );
    }

    #[test]
    fn a_row_is_named_by_its_key_or_its_place() {
        let named = |pairs: &[(&str, Value)]| {
            let row = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect();
            row_name(&row, 4)
        };
        assert_eq!(
            named(&[("name", json!("x")), ("uid", json!("u")), ("id", json!(7))]),
            "7"
        );
        assert_eq!(named(&[("id", json!(null)), ("uuid", json!("u"))]), "u");
        assert_eq!(named(&[("name", json!("x"))]), "row 5");
    }

    #[test]
    fn texts_and_numbers_are_what_they_are_or_nothing() {
        assert_eq!(text(&row(json!("  x ")), Some(&c())), Some("x"));
        for nothing in [json!("  "), json!(""), json!(null), json!(7)] {
            assert_eq!(text(&row(nothing), Some(&c())), None);
        }
        assert_eq!(text(&row(json!("x")), None), None);
        assert_eq!(number(&row(json!(7)), Some(&c())), Some(7));
        assert_eq!(number(&row(json!("7")), Some(&c())), None);
    }

    #[test]
    fn times_have_an_offset_or_are_utc() {
        let at = |text: &str| time(&row(json!(text)), Some(&c())).map(|moment| moment.timestamp());
        assert_eq!(at("2026-01-02T03:04:05+01:00"), Some(1_767_319_445));
        assert_eq!(at("2026-01-02T03:04:05.5"), Some(1_767_323_045));
        assert_eq!(at("yesterday"), None);
    }
}
