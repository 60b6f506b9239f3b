//! HMAC-SHA256 and comparison in constant time.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Length of an HMAC-SHA256 in bytes.
pub(crate) const LENGTH: usize = 32;

/// HMAC-SHA256 of the parts, one after the other.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; LENGTH] {
    // HMAC takes a key of any length (RFC 2104: a long one is hashed first); the error type is for other MACs. An
    // all-zero result could be guessed, so the impossible branch gives a random one, which matches nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return crate::secret::random_bytes();
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
