//! Password hashes as Django 5.2 writes and reads them. New ones are `pbkdf2_sha256$iterations$salt$base64`, Django's first
//! choice; those of the other hashers that it has by default (`PASSWORD_HASHERS`) are read, and count as weak, as in
//! Django, which replaces them at the next sign-in:
//!
//! | hash | made by |
//! |---|---|
//! | `pbkdf2_sha1$iterations$salt$base64` | `PBKDF2SHA1PasswordHasher` |
//! | `argon2$argon2id$v=19$m=…,t=…,p=…$salt$hash` | `Argon2PasswordHasher` |
//! | `bcrypt_sha256$$2b$cost$salt and hash` | `BCryptSHA256PasswordHasher`, of the hexadecimal SHA-256 of the password |
//! | `scrypt$n$salt$r$p$base64` | `ScryptPasswordHasher` |
//!
//! One hash costs a few tenths of a second of CPU by design: call these functions off the async executor.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::mac;
use crate::secret::{ALPHANUMERIC, random_text};

/// Iterations of new hashes: those of Django 5.2 (`PBKDF2PasswordHasher.iterations`).
pub const ITERATIONS: u32 = 1_000_000;

/// Characters of a new salt: 22 of 62 are 131 bits, as Django draws them; a shorter one counts as weak.
pub const SALT_LENGTH: usize = 22;

const ALGORITHM: &str = "pbkdf2_sha256";

/// The salt of work that is done for its time only.
const DUMMY_SALT: &str = "mnemosyne-no-such-user";

// A stored hash that asks for more than these is refused, so that one row cannot keep a core busy for minutes, or take all
// memory. Each is far above what Django writes.
const MAX_ITERATIONS: u32 = 20_000_000;
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 64;
const MAX_BCRYPT_COST: u32 = 17;

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Right,
    /// The password is right, and its hash should be replaced by [`hash`]: it is of another algorithm, has fewer iterations
    /// than [`ITERATIONS`] or a salt shorter than [`SALT_LENGTH`].
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
    if !stored.is_of(password) {
        let spent = match &stored {
            Stored::Pbkdf2 { iterations, .. } => *iterations,
            _ => 0,
        };
        if let Some(missing) = ITERATIONS.checked_sub(spent).filter(|&n| n > 0) {
            std::hint::black_box(derive(password, DUMMY_SALT, missing));
        }
        return Verdict::Wrong;
    }
    match stored {
        Stored::Pbkdf2 { iterations, salt, .. }
            if iterations >= ITERATIONS && salt.chars().count() >= SALT_LENGTH =>
        {
            Verdict::Right
        }
        _ => Verdict::RightButWeak,
    }
}

/// Spends the time of one [`verify`], for a user who does not exist.
pub fn verify_dummy(password: &str) {
    std::hint::black_box(derive(password, DUMMY_SALT, ITERATIONS));
}

fn derive(password: &str, salt: &str, iterations: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt.as_bytes(), iterations)
}

/// A hash that can be checked.
enum Stored<'a> {
    Pbkdf2 {
        iterations: u32,
        salt: &'a str,
        digest: Vec<u8>,
    },
    Pbkdf2Sha1 {
        iterations: u32,
        salt: &'a str,
        digest: Vec<u8>,
    },
    Argon2(PasswordHash<'a>),
    /// `$2b$…`, over the hexadecimal SHA-256 of the password.
    BcryptSha256(&'a str),
    Scrypt {
        params: scrypt::Params,
        salt: &'a str,
        digest: Vec<u8>,
    },
}

impl<'a> Stored<'a> {
    fn parse(encoded: &'a str) -> Option<Self> {
        let (algorithm, rest) = encoded.split_once('$')?;
        match algorithm {
            ALGORITHM => {
                let (iterations, salt, digest) = pbkdf2_parts(rest, 32)?;
                Some(Self::Pbkdf2 {
                    iterations,
                    salt,
                    digest,
                })
            }
            "pbkdf2_sha1" => {
                let (iterations, salt, digest) = pbkdf2_parts(rest, 20)?;
                Some(Self::Pbkdf2Sha1 {
                    iterations,
                    salt,
                    digest,
                })
            }
            // What follows the word is the usual text of the algorithm, whose dollar the separator is.
            "argon2" => argon2_hash(&encoded["argon2".len()..]),
            "bcrypt_sha256" => bcrypt_hash(rest),
            "scrypt" => scrypt_hash(rest),
            _ => None,
        }
    }

    fn is_of(&self, password: &str) -> bool {
        match self {
            Self::Pbkdf2 {
                iterations,
                salt,
                digest,
            } => mac::equal(&derive(password, salt, *iterations), digest),
            Self::Pbkdf2Sha1 {
                iterations,
                salt,
                digest,
            } => {
                let computed =
                    pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password.as_bytes(), salt.as_bytes(), *iterations);
                mac::equal(&computed, digest)
            }
            Self::Argon2(hash) => Argon2::default()
                .verify_password(password.as_bytes(), hash)
                .is_ok(),
            Self::BcryptSha256(hash) => {
                let digest = hex::encode(Sha256::digest(password.as_bytes()));
                bcrypt::verify(digest, hash).unwrap_or_default()
            }
            Self::Scrypt { params, salt, digest } => {
                let mut computed = vec![0; digest.len()];
                scrypt::scrypt(password.as_bytes(), salt.as_bytes(), params, &mut computed).is_ok()
                    && mac::equal(&computed, digest)
            }
        }
    }
}

/// `iterations$salt$base64` with a digest of this many bytes.
fn pbkdf2_parts(text: &str, length: usize) -> Option<(u32, &str, Vec<u8>)> {
    let mut parts = text.splitn(3, '$');
    let iterations = parts.next()?.parse().ok()?;
    if !(1..=MAX_ITERATIONS).contains(&iterations) {
        return None;
    }
    let salt = parts.next().filter(|salt| !salt.is_empty())?;
    let digest = STANDARD.decode(parts.next()?).ok()?;
    (digest.len() == length).then_some((iterations, salt, digest))
}

/// `$argon2id$v=19$m=102400,t=2,p=8$salt$hash`.
fn argon2_hash(text: &str) -> Option<Stored<'_>> {
    let hash = PasswordHash::new(text).ok()?;
    let params = argon2::Params::try_from(&hash).ok()?;
    let is_bounded = params.m_cost() <= MAX_MEMORY_KIB
        && params.t_cost() <= MAX_PASSES
        && params.p_cost() <= MAX_LANES
        && hash.salt.is_some()
        && hash.hash.is_some();
    is_bounded.then_some(Stored::Argon2(hash))
}

/// `$2b$12$` and 53 characters.
fn bcrypt_hash(text: &str) -> Option<Stored<'_>> {
    let (version, rest) = text.strip_prefix('$')?.split_once('$')?;
    let (cost, rest) = rest.split_once('$')?;
    let is_good = matches!(version, "2a" | "2b" | "2y")
        && cost
            .parse()
            .is_ok_and(|cost: u32| (4..=MAX_BCRYPT_COST).contains(&cost))
        && rest.len() == 53
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    is_good.then_some(Stored::BcryptSha256(text))
}

/// `n$salt$r$p$base64`, the digest of 64 bytes.
fn scrypt_hash(text: &str) -> Option<Stored<'_>> {
    let mut parts = text.splitn(5, '$');
    let n: u64 = parts.next()?.parse().ok()?;
    let salt = parts.next().filter(|salt| !salt.is_empty())?;
    let r: u32 = parts.next()?.parse().ok()?;
    let p: u32 = parts.next()?.parse().ok()?;
    let digest = STANDARD.decode(parts.next()?).ok()?;
    let memory_kib = n.checked_mul(u64::from(r))? / 8;
    if !n.is_power_of_two() || memory_kib > u64::from(MAX_MEMORY_KIB) || p > MAX_LANES || digest.len() != 64 {
        return None;
    }
    let log_n = u8::try_from(n.ilog2()).ok()?;
    let params = scrypt::Params::new(log_n, r, p, 64).ok()?;
    Some(Stored::Scrypt { params, salt, digest })
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
    fn what_cannot_be_checked_is_unusable() {
        let digest = STANDARD.encode([0; 32]);
        let long = STANDARD.encode([0; 64]);
        let argon2 = "$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let bcrypt = "abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE";
        for encoded in [
            String::new(),
            "!".to_owned(),
            "!aB3dE".to_owned(),
            "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
            format!("pbkdf2_sha1$1000$salt${digest}"),
            "pbkdf2_sha256".to_owned(),
            "pbkdf2_sha256$1000$salt".to_owned(),
            format!("pbkdf2_sha256$0$salt${digest}"),
            format!("pbkdf2_sha256$-1$salt${digest}"),
            format!("pbkdf2_sha256$4000000000$salt${digest}"),
            format!("pbkdf2_sha256$1000$${digest}"),
            "pbkdf2_sha256$1000$salt$AAAA".to_owned(),
            "pbkdf2_sha256$1000$salt$not base64!".to_owned(),
            "argon2$".to_owned(),
            "argon2$argon2id$v=19$m=102400,t=2,p=8$c29tZXNhbHQ".to_owned(),
            format!("argon2$argon2id$v=19$m=2000000,t=2,p=8{argon2}"),
            format!("argon2$argon2id$v=19$m=1024,t=65,p=8{argon2}"),
            format!("argon2$argon2id$v=19$m=1024,t=2,p=65{argon2}"),
            "bcrypt_sha256$$2b$12$abcdefghijklmnopqrstuu".to_owned(),
            format!("bcrypt_sha256$$2b$18${bcrypt}"),
            format!("bcrypt_sha256$$2b$03${bcrypt}"),
            format!("bcrypt_sha256$$2b$12${}", "é".repeat(27)),
            format!("bcrypt$$2b$12${bcrypt}"),
            format!("scrypt$16383$salt$8$5${long}"),
            format!("scrypt$0$salt$8$5${long}"),
            format!("scrypt$16384$$8$5${long}"),
            format!("scrypt$16384$salt$8$5${digest}"),
            format!("scrypt$16384$salt$8$65${long}"),
            format!("scrypt$16384$salt$0$5${long}"),
            format!("scrypt$16777216$salt$8$5${long}"),
            format!("scrypt$9223372036854775808$salt$8$5${long}"),
        ] {
            assert!(Stored::parse(&encoded).is_none(), "{encoded}");
        }
        assert_eq!(verify("", "!"), Verdict::Unusable);
    }
}
