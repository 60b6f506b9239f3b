//! Random secrets. Every number comes from the thread's cryptographic generator, seeded by the operating system.

use rand::Rng;

/// Letters and digits, in Django's order (`RANDOM_STRING_CHARS` and `CSRF_ALLOWED_CHARS`).
pub(crate) const ALPHANUMERIC: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Digits and lower-case letters without those that are mistaken for one another (0 and o, 1, i and l).
const READABLE: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// Groups in a generated password, and characters in a group: 25 characters of 31 are 123 bits.
const PASSWORD_GROUPS: usize = 5;
const PASSWORD_GROUP_LENGTH: usize = 5;

/// Length of a generated `SECRET_KEY`: 64 characters of 62 are 381 bits. Django warns below 50 characters.
const SECRET_KEY_LENGTH: usize = 64;

/// `N` random bytes.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

/// A password that can be read out and typed: five groups of five lower-case characters, 123 bits.
pub fn random_password() -> String {
    (0..PASSWORD_GROUPS)
        .map(|_| random_text(READABLE, PASSWORD_GROUP_LENGTH))
        .collect::<Vec<_>>()
        .join("-")
}

/// A new `SECRET_KEY`: 64 letters and digits, safe in a shell and in a `.env` file.
pub fn random_secret_key() -> String {
    random_text(ALPHANUMERIC, SECRET_KEY_LENGTH)
}

/// A random text over an ASCII alphabet, every character as likely as any other.
pub(crate) fn random_text(alphabet: &[u8], length: usize) -> String {
    let mut generator = rand::rng();
    (0..length)
        .map(|_| char::from(alphabet[generator.random_range(0..alphabet.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_readable_and_differ() {
        let password = random_password();
        assert_eq!(password.len(), 29);
        assert!(
            password
                .bytes()
                .all(|byte| byte == b'-' || READABLE.contains(&byte))
        );
        assert_ne!(password, random_password());
    }

    #[test]
    fn secret_keys_are_long_and_differ() {
        let key = random_secret_key();
        assert!(key.len() >= 50);
        assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(key, random_secret_key());
    }

    #[test]
    fn bytes_are_drawn_each_time() {
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
    }
}
