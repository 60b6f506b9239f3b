//! Tokens against cross-site request forgery, as Django 4 and later makes them: the cookie holds the bare secret, a form
//! holds the secret under a fresh mask, so that a page never repeats bytes a compression attack could guess.

use crate::mac;
use crate::secret::{ALPHANUMERIC, random_text};

/// Length of a secret, in characters.
pub const SECRET_LENGTH: usize = 32;
/// Length of a masked token, in characters: the mask, then the masked secret.
pub const TOKEN_LENGTH: usize = 2 * SECRET_LENGTH;

/// A new secret: 32 letters and digits, 190 bits.
pub fn new_secret() -> String {
    random_text(ALPHANUMERIC, SECRET_LENGTH)
}

/// A token for a form: the secret under a new mask. A secret that is not one of [`new_secret`]'s shape gives a token that
/// matches nothing.
pub fn mask(secret: &str) -> String {
    let mask = new_secret();
    let secret = indexes(secret).unwrap_or_else(indexes_of_random);
    let cipher: String = secret
        .iter()
        .zip(mask.bytes().filter_map(index))
        .map(|(secret, mask)| char::from(ALPHANUMERIC[(secret + mask) % ALPHANUMERIC.len()]))
        .collect();
    mask + &cipher
}

/// Whether a token, masked or bare, belongs to this secret. Takes the same time for every token of one length.
pub fn matches(token: &str, secret: &str) -> bool {
    if indexes(secret).is_none() {
        return false;
    }
    match token.len() {
        SECRET_LENGTH => mac::equal(token.as_bytes(), secret.as_bytes()),
        TOKEN_LENGTH => unmask(token).is_some_and(|bare| mac::equal(&bare, secret.as_bytes())),
        _ => false,
    }
}

fn unmask(token: &str) -> Option<Vec<u8>> {
    let (mask, cipher) = token.split_at_checked(SECRET_LENGTH)?;
    let (mask, cipher) = (indexes(mask)?, indexes(cipher)?);
    let size = ALPHANUMERIC.len();
    let bare = cipher
        .iter()
        .zip(&mask)
        .map(|(cipher, mask)| ALPHANUMERIC[(cipher + size - mask) % size]);
    Some(bare.collect())
}

/// The place of each character in the alphabet; `None` where the length is wrong or one is not in it.
fn indexes(text: &str) -> Option<Vec<usize>> {
    if text.len() != SECRET_LENGTH {
        return None;
    }
    text.bytes().map(index).collect()
}

fn indexes_of_random() -> Vec<usize> {
    new_secret().bytes().filter_map(index).collect()
}

fn index(byte: u8) -> Option<usize> {
    ALPHANUMERIC.iter().position(|&known| known == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_token_matches_its_secret_only() {
        let secret = new_secret();
        let token = mask(&secret);
        assert_eq!(token.len(), TOKEN_LENGTH);
        assert!(matches(&token, &secret));
        assert!(matches(&secret, &secret));
        assert!(!matches(&token, &new_secret()));
        assert_ne!(token, mask(&secret));
    }

    #[test]
    fn other_shapes_match_nothing() {
        let secret = new_secret();
        let token = mask(&secret);
        for wrong in [
            "",
            "short",
            &token[1..],
            &format!("{token}a"),
            &"é".repeat(32),
            &"-".repeat(64),
        ] {
            assert!(!matches(wrong, &secret), "{wrong}");
        }
        for secret in ["", "short", &"-".repeat(32)] {
            assert!(!matches(secret, secret), "{secret}");
            assert!(!matches(&mask(secret), secret), "{secret}");
        }
    }
}
