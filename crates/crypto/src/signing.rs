//! Django's `django.core.signing` and `salted_hmac`, with SHA-256, in the formats of Django 5.2.

use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::mac;

/// What `django.core.signing.dumps` salts with where the caller gives no salt.
pub const DEFAULT_SALT: &str = "django.core.signing";

/// A signed value may not inflate to more than this.
const MAX_INFLATED_BYTES: u64 = 1 << 20;

/// Between a value, its timestamp and its signature.
const SEPARATOR: char = ':';

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a signed value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// It has no signature, or not this key's.
    #[error("the signature does not match")]
    BadSignature,
    /// The signature is right, the value is older than allowed.
    #[error("the signature has expired")]
    Expired,
    /// The signature is right, what it covers cannot be read.
    #[error("the signed value cannot be read")]
    Malformed,
}

/// Whether a signed value may be compressed (zlib).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Left as it is.
    Never,
    /// Compressed where that makes it shorter, which a leading dot marks.
    WhenSmaller,
}

/// `SECRET_KEY` as a signing key. Does not show itself in `Debug`.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key made of this `SECRET_KEY`.
    pub fn new(secret_key: &str) -> Self {
        Self(secret_key.to_owned())
    }

    /// Django's `salted_hmac(key_salt, value, secret, algorithm="sha256")`: HMAC-SHA256 of `value` under
    /// SHA-256(`key_salt` + secret).
    pub fn salted_hmac(&self, key_salt: &str, value: &[u8]) -> [u8; 32] {
        let derived = Sha256::new()
            .chain_update(key_salt.as_bytes())
            .chain_update(self.0.as_bytes())
            .finalize();
        mac::hmac_sha256(&derived, &[value])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// Django's `TimestampSigner`: `value:timestamp:signature`, the timestamp in base 62 seconds.
#[derive(Clone, Debug)]
pub struct TimestampSigner<'a> {
    key: &'a Key,
    key_salt: String,
}

impl<'a> TimestampSigner<'a> {
    /// A signer with this salt (Django adds the word `signer` to it).
    pub fn new(key: &'a Key, salt: &str) -> Self {
        Self {
            key,
            key_salt: format!("{salt}signer"),
        }
    }

    /// Signs a text as of now.
    pub fn sign(&self, value: &str, now: DateTime<Utc>) -> String {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let stamped = format!("{value}{SEPARATOR}{}", base62_encode(seconds));
        let signature = self.signature(&stamped);
        format!("{stamped}{SEPARATOR}{signature}")
    }

    /// The text that was signed. Refused where the signature is not this key's, or older than `max_age`. A timestamp in
    /// the future is accepted, as Django does.
    pub fn unsign<'v>(
        &self,
        signed: &'v str,
        max_age: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Result<&'v str, SigningError> {
        let (stamped, signature) = signed.rsplit_once(SEPARATOR).ok_or(SigningError::BadSignature)?;
        if !mac::equal(self.signature(stamped).as_bytes(), signature.as_bytes()) {
            return Err(SigningError::BadSignature);
        }
        let (value, timestamp) = stamped.rsplit_once(SEPARATOR).ok_or(SigningError::Malformed)?;
        let signed_at = base62_decode(timestamp).ok_or(SigningError::Malformed)?;
        let Some(max_age) = max_age else {
            return Ok(value);
        };
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let age = Duration::from_secs(seconds.saturating_sub(signed_at));
        if age > max_age {
            return Err(SigningError::Expired);
        }
        Ok(value)
    }

    fn signature(&self, value: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.salted_hmac(&self.key_salt, value.as_bytes()))
    }
}

/// Django's `signing.dumps`: the value as JSON, base64url, stamped and signed.
pub fn dumps(
    value: &Value,
    secret_key: &str,
    salt: &str,
    compress: Compression,
    now: DateTime<Utc>,
) -> String {
    let json = ascii_json(value);
    let payload = match compressed(json.as_bytes(), compress) {
        Some(smaller) => format!(".{}", URL_SAFE_NO_PAD.encode(smaller)),
        None => URL_SAFE_NO_PAD.encode(&json),
    };
    TimestampSigner::new(&Key::new(secret_key), salt).sign(&payload, now)
}

/// Django's `signing.loads`: the value of a text that [`dumps`] or Django wrote. The signature is checked before anything
/// else is looked at; a compressed value may inflate to one mebibyte.
pub fn loads(
    text: &str,
    secret_key: &str,
    salt: &str,
    max_age: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Value, SigningError> {
    let key = Key::new(secret_key);
    let payload = TimestampSigner::new(&key, salt).unsign(text, max_age, now)?;
    read_payload(payload).ok_or(SigningError::Malformed)
}

fn read_payload(payload: &str) -> Option<Value> {
    let Some(compressed) = payload.strip_prefix('.') else {
        return serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok();
    };
    let compressed = URL_SAFE_NO_PAD.decode(compressed).ok()?;
    let mut json = Vec::new();
    ZlibDecoder::new(compressed.as_slice())
        .take(MAX_INFLATED_BYTES + 1)
        .read_to_end(&mut json)
        .ok()?;
    if json.len() as u64 > MAX_INFLATED_BYTES {
        return None;
    }
    serde_json::from_slice(&json).ok()
}

/// The compressed form, where it is asked for and by Django's rule worth its dot.
fn compressed(json: &[u8], compress: Compression) -> Option<Vec<u8>> {
    if compress == Compression::Never {
        return None;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(json).ok()?;
    let smaller = encoder.finish().ok()?;
    (smaller.len() + 1 < json.len()).then_some(smaller)
}

/// JSON in ASCII: Django reads the bytes as Latin-1, so every other character is written as an escape.
fn ascii_json(value: &Value) -> String {
    let json = value.to_string();
    if json.is_ascii() {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

fn base62_encode(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(BASE62[(number % 62) as usize]));
        number /= 62;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().collect()
}

fn base62_decode(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = BASE62.iter().position(|&known| known == byte)?;
        number.checked_mul(62)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "a secret key of some length";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn base_62_is_read_as_written() {
        for number in [0, 1, 61, 62, 1_700_000_000, u64::MAX] {
            assert_eq!(base62_decode(&base62_encode(number)), Some(number));
        }
        assert_eq!(base62_decode(""), None);
        assert_eq!(base62_decode("-1"), None);
        assert_eq!(base62_decode("zzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn a_signature_is_good_for_its_key_its_salt_and_its_age() {
        let text = dumps(&json!({"a": 1}), KEY, "salt", Compression::Never, at(1000));
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(loads(&text, KEY, "salt", hour, at(4600)), Ok(json!({"a": 1})));
        assert_eq!(
            loads(&text, KEY, "salt", hour, at(4601)),
            Err(SigningError::Expired)
        );
        assert_eq!(
            loads(&text, KEY, "salt", None, at(9_999_999)),
            Ok(json!({"a": 1}))
        );
        for (key, salt) in [("another key", "salt"), (KEY, "pepper")] {
            assert_eq!(
                loads(&text, key, salt, None, at(1000)),
                Err(SigningError::BadSignature)
            );
        }
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = dumps(&json!("value"), KEY, "salt", Compression::Never, at(1000));
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(loads(&changed, KEY, "salt", None, at(1000)).is_err(), "{changed}");
        }
    }

    #[test]
    fn a_long_value_is_compressed_and_a_short_one_is_not() {
        let long = json!({"text": "again and ".repeat(50)});
        let text = dumps(&long, KEY, "salt", Compression::WhenSmaller, at(1000));
        assert!(text.starts_with('.'));
        assert!(text.len() < 200);
        assert_eq!(loads(&text, KEY, "salt", None, at(1000)), Ok(long));
        let short = dumps(&json!(1), KEY, "salt", Compression::WhenSmaller, at(1000));
        assert!(!short.starts_with('.'));
    }

    #[test]
    fn a_value_that_inflates_without_end_is_refused() {
        let bomb = Value::String("0".repeat(2 << 20));
        let text = dumps(&bomb, KEY, "salt", Compression::WhenSmaller, at(1000));
        assert_eq!(
            loads(&text, KEY, "salt", None, at(1000)),
            Err(SigningError::Malformed)
        );
    }

    #[test]
    fn text_beyond_ascii_is_written_as_escapes() {
        assert_eq!(ascii_json(&json!("é😀")), "\"\\u00e9\\ud83d\\ude00\"");
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = Key::new("hunter2");
        assert!(!format!("{key:?} {:?}", TimestampSigner::new(&key, "s")).contains("hunter2"));
    }
}
