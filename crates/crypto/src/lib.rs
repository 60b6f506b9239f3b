//! Cryptography of the wire and of the database: Django's password hashes, signatures and sessions, Fernet, per-turn
//! JSON Web Tokens, and opaque tokens with their digests.
//!
//! Pure functions: the time is an argument, keys are arguments, and only [`secret`] draws random numbers. Where a format
//! belongs to another program, `tests/vectors` holds what that program wrote, and the script that made it write.

pub mod csrf;
pub mod fernet;
pub mod jwt;
pub mod legacy;
pub mod password;
pub mod reset;
pub mod secret;
pub mod session;
pub mod signing;
pub mod token;

mod mac;

/// Whether two texts are equal, in a time that depends on their lengths only: for digests and other secrets that come
/// from outside.
pub fn same(left: &str, right: &str) -> bool {
    mac::equal(left.as_bytes(), right.as_bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_compared_whole() {
        assert!(super::same("abc", "abc"));
        assert!(!super::same("abc", "abd"));
        assert!(!super::same("abc", "abcd"));
    }
}
