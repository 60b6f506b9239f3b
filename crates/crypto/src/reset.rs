//! Tokens of links that let somebody choose a new password, as Django 5.2's `PasswordResetTokenGenerator` makes them:
//! seconds since 2001 in base 36, and half of an HMAC over what changes when the link was used.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use crate::mac;
use crate::signing::Key;

const SALT: &str = "django.contrib.auth.tokens.PasswordResetTokenGenerator";
/// 2001-01-01, from which Django counts.
const EPOCH: i64 = 978_307_200;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// What a token is bound to: it holds no longer when any of it changes.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    /// Primary key of the user.
    pub id: i64,
    /// The stored hash of the password.
    pub password: &'a str,
    /// Last sign-in in a browser.
    pub last_login: Option<DateTime<Utc>>,
    /// Mail address.
    pub email: &'a str,
}

/// The token of a user, as of now.
pub fn make(user: Bound<'_>, secret_key: &str, now: DateTime<Utc>) -> String {
    let stamp = u64::try_from(now.timestamp() - EPOCH).unwrap_or_default();
    with_stamp(user, secret_key, stamp)
}

/// Whether a token is this user's, not older than `max_age`, and nothing it is bound to has changed since.
pub fn check(user: Bound<'_>, token: &str, secret_key: &str, max_age: Duration, now: DateTime<Utc>) -> bool {
    let Some((stamp, _)) = token.split_once('-') else {
        return false;
    };
    // Thirteen digits of base 36 are more than Django reads, and more than the seconds of any century.
    if stamp.is_empty() || stamp.len() > 12 || !stamp.bytes().all(|byte| DIGITS.contains(&byte)) {
        return false;
    }
    let Ok(stamp) = u64::from_str_radix(stamp, 36) else {
        return false;
    };
    if !mac::equal(with_stamp(user, secret_key, stamp).as_bytes(), token.as_bytes()) {
        return false;
    }
    let seconds = u64::try_from(now.timestamp() - EPOCH).unwrap_or_default();
    seconds.saturating_sub(stamp) <= max_age.as_secs()
}

/// The user's key as it stands in the link: base64url of its decimal digits.
pub fn encode_id(id: i64) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

/// The key in a link.
pub fn decode_id(text: &str) -> Option<i64> {
    let digits = URL_SAFE_NO_PAD.decode(text).ok()?;
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn with_stamp(user: Bound<'_>, secret_key: &str, stamp: u64) -> String {
    let login = user
        .last_login
        .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let value = format!("{}{}{login}{stamp}{}", user.id, user.password, user.email);
    let digest = hex::encode(Key::new(secret_key).salted_hmac(SALT, value.as_bytes()));
    let half: String = digest.chars().step_by(2).collect();
    format!("{}-{half}", base36(stamp))
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = usize::try_from(number % 36).unwrap_or_default();
        digits.push(char::from(DIGITS[digit]));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn ada() -> Bound<'static> {
        Bound {
            id: 7,
            password: "pbkdf2_sha256$1$a$b",
            last_login: Some(at(-500)),
            email: "ada@example.org",
        }
    }

    #[test]
    fn a_token_holds_until_what_it_is_bound_to_changes() {
        let token = make(ada(), "key", at(0));
        let holds = |user: Bound<'_>| check(user, &token, "key", DAY, at(10));
        assert!(holds(ada()));
        assert!(!holds(Bound { id: 8, ..ada() }));
        assert!(!holds(Bound {
            password: "other",
            ..ada()
        }));
        assert!(!holds(Bound {
            last_login: Some(at(1)),
            ..ada()
        }));
        assert!(!holds(Bound { email: "", ..ada() }));
        assert!(!check(ada(), &token, "another", DAY, at(10)));
    }

    #[test]
    fn django_made_these() {
        let time = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        let ada = Bound {
            last_login: Some(time("2026-09-21T13:30:00.123456Z")),
            ..ada()
        };
        let (secret, now) = ("a django secret key", time("2026-09-21T14:00:00Z"));
        assert_eq!(make(ada, secret, now), "df9dk0-1476e2731646a8c79734f11a846021da");
        let never = Bound {
            last_login: None,
            ..ada
        };
        assert_eq!(
            make(never, secret, now),
            "df9dk0-9106dede718c1a59ca3c9f12edb05607"
        );
        assert_eq!(encode_id(7), "Nw");
    }

    #[test]
    fn a_token_ends() {
        let token = make(ada(), "key", at(0));
        assert!(check(ada(), &token, "key", DAY, at(86_400)));
        assert!(!check(ada(), &token, "key", DAY, at(86_401)));
    }

    #[test]
    fn nonsense_is_no_token() {
        let token = make(ada(), "key", at(0));
        for bad in [
            "",
            "-",
            "abc",
            "abc-",
            "+1-abc",
            "ABC-def",
            &token[1..],
            &format!("0{token}"),
            &format!("{token}0"),
        ] {
            assert!(!check(ada(), bad, "key", DAY, at(1)), "{bad}");
        }
        assert_eq!(decode_id(&encode_id(42)), Some(42));
        for bad in ["", "!!", "YWJj"] {
            assert_eq!(decode_id(bad), None);
        }
    }
}
