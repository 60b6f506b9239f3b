//! Fernet, wire-compatible with Python's `cryptography`: AES-128-CBC, then HMAC-SHA256, in base64url.

use std::fmt;

use aes::Aes128;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use chrono::{DateTime, Utc};

use crate::{mac, secret};

const VERSION: u8 = 0x80;
const BLOCK: usize = 16;
/// Version, timestamp, initialisation vector.
const HEADER: usize = 1 + 8 + BLOCK;
/// The extraction salt of [`Key::derive`]. Changing it makes every stored secret unreadable.
const DERIVATION_SALT: &[u8] = b"mnemosyne fernet key v1";

/// Base64url, written with padding as Python does, read as generously as Python does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a key or a sealed text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FernetError {
    /// A key is 32 bytes in base64url, 44 characters.
    #[error("a Fernet key is 32 bytes in base64url (44 characters)")]
    MalformedKey,
    /// The text is no Fernet token.
    #[error("this is no Fernet token")]
    MalformedToken,
    /// The text was sealed with another key, or was changed.
    #[error("it was sealed with another key, or was changed")]
    WrongKey,
}

/// A Fernet key. Does not show itself in `Debug`.
#[derive(Clone)]
pub struct Key {
    signing: [u8; 16],
    encryption: [u8; 16],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

impl Key {
    /// The key in this text, as `Fernet.generate_key()` writes it; plain base64 is read, too, as Python reads it.
    pub fn parse(text: &str) -> Result<Self, FernetError> {
        let bytes = BASE64
            .decode(text.trim().replace('+', "-").replace('/', "_"))
            .map_err(|_| FernetError::MalformedKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| FernetError::MalformedKey)?;
        Ok(Self::from_bytes(bytes))
    }

    /// The key for one purpose, derived from `SECRET_KEY`: HKDF-SHA256 (RFC 5869) with the fixed salt
    /// `mnemosyne fernet key v1`, `secret_key` as input and `purpose` as info. Keys of different purposes tell nothing
    /// about one another.
    pub fn derive(secret_key: &str, purpose: &str) -> Self {
        let extracted = mac::hmac_sha256(DERIVATION_SALT, &[secret_key.as_bytes()]);
        Self::from_bytes(mac::hmac_sha256(&extracted, &[purpose.as_bytes(), &[1]]))
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut key = Self {
            signing: [0; 16],
            encryption: [0; 16],
        };
        key.signing.copy_from_slice(&bytes[..16]);
        key.encryption.copy_from_slice(&bytes[16..]);
        key
    }

    /// Seals these bytes. The time stands in the token in clear.
    pub fn seal(&self, plain: &[u8], now: DateTime<Utc>) -> String {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        self.seal_with(plain, seconds, secret::random_bytes())
    }

    fn seal_with(&self, plain: &[u8], seconds: u64, vector: [u8; BLOCK]) -> String {
        let mut token = Vec::with_capacity(HEADER + plain.len() + BLOCK + mac::LENGTH);
        token.push(VERSION);
        token.extend_from_slice(&seconds.to_be_bytes());
        token.extend_from_slice(&vector);
        let cipher = cbc::Encryptor::<Aes128>::new(&self.encryption.into(), &vector.into());
        token.extend_from_slice(&cipher.encrypt_padded_vec::<Pkcs7>(plain));
        let tag = mac::hmac_sha256(&self.signing, &[&token]);
        token.extend_from_slice(&tag);
        BASE64.encode(token)
    }

    /// The bytes in a sealed text, however old it is. Nothing is decrypted before the signature was found right.
    pub fn open(&self, text: &str) -> Result<Vec<u8>, FernetError> {
        let token = BASE64
            .decode(text.trim())
            .map_err(|_| FernetError::MalformedToken)?;
        let Some((signed, tag)) = token.split_last_chunk::<{ mac::LENGTH }>() else {
            return Err(FernetError::MalformedToken);
        };
        if signed.first() != Some(&VERSION) || signed.len() < HEADER {
            return Err(FernetError::MalformedToken);
        }
        if !mac::equal(&mac::hmac_sha256(&self.signing, &[signed]), tag) {
            return Err(FernetError::WrongKey);
        }
        let (header, cipher_text) = signed.split_at(HEADER);
        let Some((_, vector)) = header.split_last_chunk::<BLOCK>() else {
            return Err(FernetError::MalformedToken);
        };
        cbc::Decryptor::<Aes128>::new(&self.encryption.into(), &(*vector).into())
            .decrypt_padded_vec::<Pkcs7>(cipher_text)
            .map_err(|_| FernetError::MalformedToken)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

    /// The vector of the Fernet specification (`generate.json`).
    #[test]
    fn the_example_of_the_specification() {
        let key = Key::parse(TEXT).unwrap();
        let vector: [u8; 16] = std::array::from_fn(|i| i as u8);
        let token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(key.seal_with(b"hello", 499_162_800, vector), token);
        assert_eq!(key.open(token), Ok(b"hello".to_vec()));
        assert_eq!(key.open(token.trim_end_matches('=')), Ok(b"hello".to_vec()));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let key = Key::derive("secret", "test");
        let token = BASE64.decode(key.seal(b"plain", Utc::now())).unwrap();
        for position in 0..token.len() {
            let mut changed = token.clone();
            changed[position] ^= 1;
            assert!(key.open(&BASE64.encode(changed)).is_err(), "{position}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let key = Key::derive("secret", "test");
        for text in ["", "gAAAAA", "not base64 !", &BASE64.encode([VERSION; 40])] {
            assert_eq!(key.open(text), Err(FernetError::MalformedToken), "{text}");
        }
        assert_eq!(
            Key::derive("secret", "another").open(&key.seal(b"", Utc::now())),
            Err(FernetError::WrongKey)
        );
    }

    #[test]
    fn a_key_is_32_bytes() {
        for text in ["", "AAAA", &BASE64.encode([0; 31]), &BASE64.encode([0; 33]), "ä"] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
        assert!(!format!("{:?}", Key::parse(TEXT).unwrap()).contains("cw_"));
        let token = Key::parse(TEXT).unwrap().seal(b"x", Utc::now());
        for same in [
            "cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=",
            TEXT.trim_end_matches('='),
            &TEXT.replace("4e4=", "4e5="),
        ] {
            assert_eq!(
                Key::parse(same).unwrap().open(&token),
                Ok(b"x".to_vec()),
                "{same}"
            );
        }
    }

    #[test]
    fn another_purpose_or_secret_is_another_key() {
        let token = Key::derive("secret", "one").seal(b"x", Utc::now());
        assert_eq!(Key::derive("secret", "one").open(&token), Ok(b"x".to_vec()));
        assert!(Key::derive("secret", "two").open(&token).is_err());
        assert!(Key::derive("terces", "one").open(&token).is_err());
    }
}
