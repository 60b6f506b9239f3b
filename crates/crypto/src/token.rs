//! Opaque bearer tokens: shown once, stored as their SHA-256 only (contract §5). A token holds 256 random bits, so a plain
//! digest is enough: there is nothing to guess.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::secret;

/// What every token begins with, so that a scanner for leaked secrets can know one.
pub const MARK: &str = "mnm_";

/// Characters of a token that may be stored and shown to recognise it by, [`MARK`] included.
pub const PREFIX_LENGTH: usize = 12;

/// A token that was just made. Only its prefix shows in `Debug`.
#[derive(Clone)]
pub struct Fresh {
    /// The token itself, to be shown once and never stored.
    pub token: String,
    /// Its first [`PREFIX_LENGTH`] characters.
    pub prefix: String,
    /// [`digest`] of the token.
    pub digest: String,
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A new token: `mnm_` and 256 random bits in base64url, 47 characters.
pub fn generate() -> Fresh {
    let token = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(secret::random_bytes::<32>()));
    Fresh {
        prefix: token.chars().take(PREFIX_LENGTH).collect(),
        digest: digest(&token),
        token,
    }
}

/// What is stored of a token: its SHA-256 in lower-case hexadecimal, 64 characters.
pub fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_digest_and_prefix() {
        let fresh = generate();
        assert_eq!(fresh.token.len(), 47);
        assert!(fresh.token.starts_with(MARK));
        assert!(fresh.token.starts_with(&fresh.prefix));
        assert_eq!(fresh.prefix.len(), PREFIX_LENGTH);
        assert_eq!(fresh.digest, digest(&fresh.token));
        assert_ne!(fresh.token, generate().token);
        assert!(!format!("{fresh:?}").contains(&fresh.token));
    }

    #[test]
    fn the_digest_is_plain_sha_256() {
        assert_eq!(
            digest("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
