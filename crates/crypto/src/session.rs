//! Session data as the database backend of Django 5.2 keeps it in `django_session`, so that sessions made by Django go on
//! here, and sessions made here there, as long as `SECRET_KEY` stays.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::secret::random_text;
use crate::signing::{self, Compression, Key};

/// Key in the session data: the primary key of the user who signed in, as text.
pub const USER_ID: &str = "_auth_user_id";
/// Key in the session data: what checked the password; see [`MODEL_BACKEND`].
pub const USER_BACKEND: &str = "_auth_user_backend";
/// Key in the session data: [`auth_hash`] of the user's password hash when signing in. A session whose value differs from
/// the present one is over: the password was changed.
pub const USER_HASH: &str = "_auth_user_hash";
/// The value of [`USER_BACKEND`] for a password of `auth_user`.
pub const MODEL_BACKEND: &str = "django.contrib.auth.backends.ModelBackend";

/// `django.contrib.sessions.` and the name of the backend's class.
const SALT: &str = "django.contrib.sessions.SessionStore";
const AUTH_HASH_SALT: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
const KEY_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const KEY_LENGTH: usize = 32;

/// The data as `django_session.session_data` holds it: JSON, compressed where that helps, stamped, signed.
pub fn encode(data: &Map<String, Value>, secret_key: &str, now: DateTime<Utc>) -> String {
    let value = Value::Object(data.clone());
    signing::dumps(&value, secret_key, SALT, Compression::WhenSmaller, now)
}

/// The data of a `django_session.session_data`; `None` where it was not signed with this key or cannot be read. How old
/// it is does not count here: the row says when the session ends.
pub fn decode(text: &str, secret_key: &str) -> Option<Map<String, Value>> {
    match signing::loads(text, secret_key, SALT, None, DateTime::UNIX_EPOCH) {
        Ok(Value::Object(data)) => Some(data),
        _ => None,
    }
}

/// A new session key, the secret in the cookie: 32 lower-case letters and digits, 165 bits.
pub fn new_key() -> String {
    random_text(KEY_ALPHABET, KEY_LENGTH)
}

/// Django's `User.get_session_auth_hash()`: what ties a session to the password it was opened with. Lower-case
/// hexadecimal, 64 characters.
pub fn auth_hash(password_hash: &str, secret_key: &str) -> String {
    hex::encode(Key::new(secret_key).salted_hmac(AUTH_HASH_SALT, password_hash.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data() -> Map<String, Value> {
        Map::from_iter([
            (USER_ID.to_owned(), json!("1")),
            (USER_BACKEND.to_owned(), json!(MODEL_BACKEND)),
            ("name".to_owned(), json!("Zoë 🦉")),
        ])
    }

    #[test]
    fn a_session_is_read_with_its_key_only() {
        let text = encode(&data(), "key", Utc::now());
        assert_eq!(decode(&text, "key"), Some(data()));
        assert_eq!(decode(&text, "another"), None);
        assert_eq!(decode("", "key"), None);
    }

    #[test]
    fn what_is_signed_but_no_object_is_no_session() {
        let text = signing::dumps(&json!([1]), "key", SALT, Compression::Never, Utc::now());
        assert_eq!(decode(&text, "key"), None);
    }

    #[test]
    fn keys_look_like_djangos() {
        let key = new_key();
        assert_eq!(key.len(), 32);
        assert!(key.bytes().all(|byte| KEY_ALPHABET.contains(&byte)));
        assert_ne!(key, new_key());
    }

    #[test]
    fn another_password_gives_another_hash() {
        assert_ne!(auth_hash("one", "key"), auth_hash("two", "key"));
        assert_ne!(auth_hash("one", "key"), auth_hash("one", "another key"));
    }
}
