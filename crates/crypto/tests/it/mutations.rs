//! Signed and sealed texts with something done to them: what is not, byte for byte, one that was signed is refused, and nothing
//! breaks. Long runs: `PROPTEST_CASES=1000000`.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use base64::{Engine, alphabet};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use mnemosyne_crypto::reset::{self, Bound};
use mnemosyne_crypto::{csrf, fernet, jwt, session};
use mnemosyne_testkit::mutate::{mutated_text, mutations};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sha2::Sha256;

const KEY: &str = "a key for mutated input";
const SECRET: [u8; 32] = [7; 32];
const OTHER_SECRET: [u8; 32] = [8; 32];
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A session as Django and we write it; a long one is compressed.
fn session_of(user: i64, note: &str) -> String {
    let data = Map::from_iter([
        (session::USER_ID.to_owned(), json!(user.to_string())),
        (session::USER_BACKEND.to_owned(), json!(session::MODEL_BACKEND)),
        (
            session::USER_HASH.to_owned(),
            json!(session::auth_hash("pbkdf2_sha256$1$a$b", KEY)),
        ),
        ("note".to_owned(), json!(note)),
    ]);
    session::encode(&data, KEY, now())
}

fn turn(header: Value, claims: Value, secret: &[u8]) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let content = format!("{}.{}", part(header), part(claims));
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).unwrap();
    mac.update(content.as_bytes());
    format!(
        "{content}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn header() -> Value {
    json!({ "alg": "HS256", "typ": "JWT", "kid": "k" })
}

/// A turn that is let through, another one, and some that are signed and refused.
fn turns() -> [String; 5] {
    let until = now().timestamp() + 600;
    let wide = json!({ "iss": "daedalus", "exp": until, "libs": ["l1", "l2"], "jti": "t2" });
    [
        turn(
            header(),
            json!({ "iss": "daedalus", "exp": until, "ws": "w", "jti": "t1" }),
            &SECRET,
        ),
        turn(header(), wide.clone(), &SECRET),
        turn(header(), wide.clone(), &OTHER_SECRET),
        turn(json!({ "alg": "none", "kid": "k" }), wide, &SECRET),
        turn(
            header(),
            json!({ "iss": "daedalus", "exp": until + 1_000_000, "ws": "w" }),
            &SECRET,
        ),
    ]
}

/// The bytes of a seal, as Python reads base64; white space around it is no part of it.
fn sealed_bytes(text: &str) -> Option<Vec<u8>> {
    let as_python = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::URL_SAFE, as_python)
        .decode(text.trim())
        .ok()
}

proptest! {
    #[test]
    fn a_session_is_one_that_was_signed(mutations in mutations(), which in 0_usize..3) {
        let valid = [session_of(1, ""), session_of(2, "short"), session_of(3, &"long ".repeat(200))];
        prop_assert!(valid[2].starts_with('.'), "it is compressed");
        let donors: Vec<&str> = valid.iter().map(String::as_str).collect();
        let text = mutated_text(&valid[which], &donors, &mutations);
        let read = session::decode(&text, KEY);
        prop_assert_eq!(read.is_some(), valid.contains(&text), "{}", text);
        prop_assert_eq!(session::decode(&text, "another key"), None);
    }

    #[test]
    fn a_turn_is_one_that_was_signed(mutations in mutations(), which in 0_usize..5) {
        let all = turns();
        let donors: Vec<&str> = all.iter().map(String::as_str).collect();
        let text = mutated_text(&all[which], &donors, &mutations);
        let peeked = jwt::peek_kid(&text);
        let turn = jwt::verify(&text, &SECRET, now(), jwt::DEFAULT_MAX_LIFETIME);
        prop_assert_eq!(turn.is_ok(), all[..2].contains(&text), "{}", text);
        if let Ok(turn) = turn {
            prop_assert_eq!(peeked, Ok(turn.kid));
        }
        if text.len() > jwt::MAX_TOKEN_BYTES {
            prop_assert_eq!(jwt::peek_kid(&text), Err(jwt::JwtError::TooLong));
        }
    }

    /// Who holds the key may sign anything; what it says is read as it must be, or refused.
    #[test]
    fn a_signed_turn_says_what_a_turn_may_say(mutations in mutations(), in_header in any::<bool>()) {
        let claims = json!({ "iss": "daedalus", "exp": now().timestamp() + 600, "ws": "w", "libs": ["l1"], "jti": "t1" }).to_string();
        let head = header().to_string();
        let (head, claims) = if in_header {
            (mutated_text(&head, &[&claims], &mutations), claims)
        } else {
            let claims = mutated_text(&claims, &[&head], &mutations);
            (head, claims)
        };
        let content = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(&claims));
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&SECRET).unwrap();
        mac.update(content.as_bytes());
        let token = format!("{content}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        if let Ok(turn) = jwt::verify(&token, &SECRET, now(), jwt::DEFAULT_MAX_LIFETIME) {
            let claims: Value = serde_json::from_str(&claims).unwrap();
            prop_assert_eq!(&claims["iss"], "daedalus");
            prop_assert_eq!(turn.workspace.as_deref(), claims["ws"].as_str().filter(|text| !text.is_empty()));
            prop_assert_eq!(turn.jti.as_deref(), claims["jti"].as_str());
            prop_assert!(turn.workspace.is_some() || !turn.libraries.is_empty());
            let listed = claims["libs"].as_array().map_or(0, Vec::len);
            prop_assert_eq!(turn.libraries.len(), listed, "a limit was lost");
            prop_assert!(turn.expires_at > now() && turn.expires_at <= now() + TimeDelta::seconds(905));
        }
        prop_assert!(jwt::verify(&token, &OTHER_SECRET, now(), jwt::DEFAULT_MAX_LIFETIME).is_err());
    }

    #[test]
    fn a_link_is_one_that_was_made(mutations in mutations()) {
        let ada = Bound { id: 7, password: "pbkdf2_sha256$1$a$b", last_login: None, email: "ada@example.org" };
        let bob = Bound { id: 8, ..ada };
        let (valid, other) = (reset::make(ada, KEY, now()), reset::make(bob, KEY, now()));
        let text = mutated_text(&valid, &[&other], &mutations);
        prop_assert_eq!(reset::check(ada, &text, KEY, DAY, now()), text == valid, "{}", text);
        let uid = mutated_text(&reset::encode_id(7), &[&reset::encode_id(8)], &mutations);
        if let Some(id) = reset::decode_id(&uid) {
            // Django reads a sign and leading zeros as well.
            let digits = URL_SAFE_NO_PAD.decode(&uid).unwrap();
            prop_assert_eq!(std::str::from_utf8(&digits).unwrap().parse(), Ok(id));
        }
    }

    #[test]
    fn a_seal_is_one_that_was_made(mutations in mutations()) {
        let key = fernet::Key::derive(KEY, "test");
        let valid = [key.seal(b"sk-secret", now()), key.seal(&[0; 100], now())];
        let text = mutated_text(&valid[0], &[&valid[1]], &mutations);
        if let Ok(plain) = key.open(&text) {
            // What Python passes over in base64, padding and spare bits at the end, is passed over here; the bytes are the same.
            let which = valid.iter().position(|seal| sealed_bytes(seal) == sealed_bytes(&text));
            prop_assert!(which.is_some(), "{}", text);
            prop_assert_eq!(plain.len(), [9, 100][which.unwrap_or_default()]);
        }
    }

    #[test]
    fn a_form_is_one_of_ours(mutations in mutations()) {
        let secret = "abcdefghijklmnopqrstuvwxyz012345";
        let token = csrf::mask(secret);
        let text = mutated_text(&token, &[&csrf::mask("543210zyxwvutsrqponmlkjihgfedcba"), secret], &mutations);
        // A token is a mask and what it hides; it is ours where the secret comes out.
        if csrf::matches(&text, secret) {
            prop_assert!(text.len() == 64 || text == secret, "{}", text);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
