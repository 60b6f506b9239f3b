//! Password hashes as Django 5.2 writes and reads them: `pbkdf2_sha256$iterations$salt$base64`.
//!
//! Of Django's other hashers none is read yet: their hashes are [`Verdict::Unusable`].
//!
//! One hash costs a few tenths of a second of CPU by design: call these functions off the async executor.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Sha256;

use crate::mac;
use crate::secret::{ALPHANUMERIC, random_text};

/// Iterations of new hashes: those of Django 5.2 (`PBKDF2PasswordHasher.iterations`).
pub const ITERATIONS: u32 = 1_000_000;

/// Characters of a new salt: 22 of 62 are 131 bits, as Django draws them; a shorter one counts as weak.
pub const SALT_LENGTH: usize = 22;

const ALGORITHM: &str = "pbkdf2_sha256";

/// A stored hash with more iterations than this is refused, so that one row cannot keep a core busy for minutes.
const MAX_ITERATIONS: u32 = 20_000_000;

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Right,
    /// The password is right, and its hash should be replaced by [`hash`]: it has fewer iterations than [`ITERATIONS`] or
    /// a salt shorter than [`SALT_LENGTH`].
    RightButWeak,
    /// The password is wrong.
    Wrong,
    /// No password can be right: Django's mark for "no password" (`!…`), an algorithm that is not read here, or no hash
    /// at all.
    Unusable,
}

/// The hash of a password, with a new salt.
pub fn hash(password: &str) -> String {
    hash_with(password, ITERATIONS, &random_text(ALPHANUMERIC, SALT_LENGTH))
}

/// The hash of a password with these iterations and this salt, which must not contain `$`.
pub fn hash_with(password: &str, iterations: u32, salt: &str) -> String {
    let digest = STANDARD.encode(derive(password, salt, iterations));
    format!("{ALGORITHM}${iterations}${salt}${digest}")
}

/// Checks a password against a stored hash.
///
/// Takes at least as long as a check against a hash of [`ITERATIONS`] unless the password is right, so that neither an
/// old hash nor an unusable one can be told from a wrong password by the clock.
pub fn verify(password: &str, encoded: &str) -> Verdict {
    let Some(stored) = Stored::parse(encoded) else {
        verify_dummy(password);
        return Verdict::Unusable;
    };
    let computed = derive(password, stored.salt, stored.iterations);
    if !mac::equal(&computed, &stored.digest) {
        if let Some(missing) = ITERATIONS.checked_sub(stored.iterations).filter(|&n| n > 0) {
            std::hint::black_box(derive(password, stored.salt, missing));
        }
        return Verdict::Wrong;
    }
    if stored.iterations < ITERATIONS || stored.salt.chars().count() < SALT_LENGTH {
        return Verdict::RightButWeak;
    }
    Verdict::Right
}

/// Spends the time of one [`verify`], for a user who does not exist.
pub fn verify_dummy(password: &str) {
    std::hint::black_box(derive(password, "mnemosyne-no-such-user", ITERATIONS));
}

fn derive(password: &str, salt: &str, iterations: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt.as_bytes(), iterations)
}

/// A hash that can be checked.
struct Stored<'a> {
    iterations: u32,
    salt: &'a str,
    digest: Vec<u8>,
}

impl<'a> Stored<'a> {
    fn parse(encoded: &'a str) -> Option<Self> {
        let mut parts = encoded.splitn(4, '$');
        if parts.next()? != ALGORITHM {
            return None;
        }
        let iterations = parts.next()?.parse().ok()?;
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return None;
        }
        let salt = parts.next().filter(|salt| !salt.is_empty())?;
        let digest = STANDARD.decode(parts.next()?).ok()?;
        (digest.len() == 32).then_some(Self {
            iterations,
            salt,
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hash_is_right_for_its_password_only() {
        let encoded = hash("correct horse");
        assert!(encoded.starts_with("pbkdf2_sha256$1000000$"));
        assert_eq!(encoded.split('$').nth(2).map(str::len), Some(SALT_LENGTH));
        assert_eq!(verify("correct horse", &encoded), Verdict::Right);
        assert_eq!(verify("correct horse ", &encoded), Verdict::Wrong);
    }

    #[test]
    fn fewer_iterations_or_a_short_salt_are_weak() {
        let old = hash_with("secret", 1000, "abcdefghijklmnopqrstuv");
        assert_eq!(verify("secret", &old), Verdict::RightButWeak);
        assert_eq!(verify("Secret", &old), Verdict::Wrong);
        let short = hash_with("secret", ITERATIONS, "abc");
        assert_eq!(verify("secret", &short), Verdict::RightButWeak);
    }

    #[test]
    fn what_is_no_pbkdf2_hash_is_unusable() {
        let digest = STANDARD.encode([0; 32]);
        for encoded in [
            String::new(),
            "!".to_owned(),
            "!aB3dE".to_owned(),
            "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
            "bcrypt_sha256$$2b$12$abcdefghijklmnopqrstuu".to_owned(),
            format!("pbkdf2_sha1$1000$salt${digest}"),
            "pbkdf2_sha256".to_owned(),
            "pbkdf2_sha256$1000$salt".to_owned(),
            format!("pbkdf2_sha256$0$salt${digest}"),
            format!("pbkdf2_sha256$-1$salt${digest}"),
            format!("pbkdf2_sha256$4000000000$salt${digest}"),
            format!("pbkdf2_sha256$1000$${digest}"),
            "pbkdf2_sha256$1000$salt$AAAA".to_owned(),
            "pbkdf2_sha256$1000$salt$not base64!".to_owned(),
        ] {
            assert!(Stored::parse(&encoded).is_none(), "{encoded}");
        }
        assert_eq!(verify("", "!"), Verdict::Unusable);
    }
}
