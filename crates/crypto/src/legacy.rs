//! The Fernet keys that Django programs commonly make of their `SECRET_KEY`, to read what the system before this one sealed.
//! Nothing new is sealed with them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use sha2::{Digest, Sha256};

use crate::fernet::Key;

/// The keys that may have been meant: the text as a key itself, its SHA-256, and its first 32 bytes.
pub fn fernet_keys(secret_key: &str) -> Vec<Key> {
    let digest: &[u8] = &Sha256::digest(secret_key.as_bytes());
    let beginning = secret_key.as_bytes().get(..32);
    let encoded = [Some(digest), beginning]
        .into_iter()
        .flatten()
        .map(|bytes| URL_SAFE.encode(bytes));
    std::iter::once(secret_key.to_owned())
        .chain(encoded)
        .filter_map(|text| Key::parse(&text).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    #[test]
    fn each_way_to_make_a_key_is_known() {
        let secret = "django-insecure-0123456789abcdefghijklmnop";
        let made = [
            URL_SAFE.encode(Sha256::digest(secret)),
            URL_SAFE.encode(&secret.as_bytes()[..32]),
        ];
        let keys = fernet_keys(secret);
        assert_eq!(keys.len(), 2);
        for text in made {
            let sealed = Key::parse(&text).map(|key| key.seal(b"plain", Utc::now()));
            let sealed = sealed.unwrap_or_default();
            assert!(keys.iter().any(|key| key.open(&sealed).is_ok()), "{text}");
        }
        assert_eq!(
            fernet_keys("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").len(),
            3
        );
        assert_eq!(fernet_keys("short").len(), 1);
    }
}
