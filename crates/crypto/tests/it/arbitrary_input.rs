//! Round trips of arbitrary data, and arbitrary text where a signed one is expected.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use mnemosyne_crypto::signing::{Compression, DEFAULT_SALT};
use mnemosyne_crypto::{csrf, fernet, jwt, password, session, signing};
use proptest::prelude::*;
use serde_json::{Map, Value};
use sha2::Sha256;

const KEY: &str = "a key for arbitrary input";

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6).prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..4_000_000_000).prop_map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap())
}

proptest! {
    #[test]
    fn signed_values_come_back(value in json(), now in moment(), small in any::<bool>()) {
        let compress = if small { Compression::WhenSmaller } else { Compression::Never };
        let text = signing::dumps(&value, KEY, DEFAULT_SALT, compress, now);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(signing::loads(&text, KEY, DEFAULT_SALT, None, now), Ok(value));
    }

    #[test]
    fn sessions_come_back(data in prop::collection::btree_map(".*", json(), 0..5), now in moment()) {
        let data = Map::from_iter(data);
        prop_assert_eq!(session::decode(&session::encode(&data, KEY, now), KEY), Some(data));
    }

    #[test]
    fn sealed_bytes_come_back(plain in prop::collection::vec(any::<u8>(), 0..200), now in moment()) {
        let key = fernet::Key::derive(KEY, "test");
        prop_assert_eq!(key.open(&key.seal(&plain, now)), Ok(plain));
    }

    #[test]
    fn arbitrary_text_is_refused(text in prop_oneof![".*", "[A-Za-z0-9_.:=-]*", "\\.?[A-Za-z0-9_-]*:[a-zA-Z0-9]{0,8}:[A-Za-z0-9_-]*"]) {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        prop_assert!(signing::loads(&text, KEY, DEFAULT_SALT, None, now).is_err());
        prop_assert_eq!(session::decode(&text, KEY), None);
        prop_assert!(fernet::Key::derive(KEY, "test").open(&text).is_err());
        prop_assert!(jwt::peek_kid(&text).is_err());
        prop_assert!(jwt::verify(&text, &[7; 32], now, jwt::DEFAULT_MAX_LIFETIME).is_err());
        prop_assert!(!csrf::matches(&text, &csrf::new_secret()));
        let _ = fernet::Key::parse(&text);
    }

    /// What is signed and no session, or altered anywhere, is refused without harm.
    #[test]
    fn signed_nonsense_is_no_session(payload in prop_oneof!["\\.?[A-Za-z0-9_-]{0,120}", ".{0,60}"], stamp in "[0-9A-Za-z]{0,12}", cut in any::<prop::sample::Index>()) {
        let key = signing::Key::new(KEY);
        let stamped = format!("{payload}:{stamp}");
        let salted = key.salted_hmac("django.contrib.sessions.SessionStoresigner", stamped.as_bytes());
        let text = format!("{stamped}:{}", URL_SAFE_NO_PAD.encode(salted));
        // Whatever it says, it says it to nobody but who can sign; reading it must end.
        let read = session::decode(&text, KEY);
        prop_assert_eq!(session::decode(&text, "another key"), None);
        let mut altered: Vec<char> = text.chars().collect();
        let at = cut.index(altered.len());
        altered[at] = if altered[at] == 'A' { 'B' } else { 'A' };
        let altered: String = altered.into_iter().collect();
        prop_assert_eq!(session::decode(&altered, KEY), None);
        drop(read);
    }

    /// A token is let through only with a scope, its issuer and an end that is near, whatever else is in it.
    #[test]
    fn signed_claims_are_let_through_only_as_they_must_be(
        header in prop::collection::btree_map(prop_oneof![Just("alg".to_owned()), Just("kid".to_owned()), Just("crit".to_owned()), "[a-z]{1,4}"], json(), 0..4),
        claims in prop::collection::btree_map(claim(), prop_oneof![json(), numbers(), Just(Value::from("daedalus")), Just(Value::from("w"))], 0..8),
        is_usual in any::<bool>(),
    ) {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut header = Map::from_iter(header);
        if is_usual {
            header.insert("alg".to_owned(), "HS256".into());
            header.insert("kid".to_owned(), "k".into());
            header.remove("crit");
        }
        let content = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(Value::Object(header.clone()).to_string()),
            URL_SAFE_NO_PAD.encode(Value::Object(Map::from_iter(claims.clone())).to_string())
        );
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&[7; 32]).unwrap();
        mac.update(content.as_bytes());
        let token = format!("{content}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
        let peeked = jwt::peek_kid(&token);
        if let Ok(turn) = jwt::verify(&token, &[7; 32], now, jwt::DEFAULT_MAX_LIFETIME) {
            prop_assert_eq!(peeked.as_deref(), Ok(turn.kid.as_str()));
            prop_assert_eq!(&header["alg"], "HS256");
            prop_assert!(!header.contains_key("crit"));
            prop_assert_eq!(&claims["iss"], "daedalus");
            prop_assert!(turn.expires_at > now);
            prop_assert!(turn.expires_at <= now + jwt::DEFAULT_MAX_LIFETIME + jwt::CLOCK_LEEWAY);
            prop_assert!(turn.workspace.is_some() || !turn.libraries.is_empty());
            let unchanged = claims.get("ws").and_then(Value::as_str).filter(|text| !text.is_empty());
            prop_assert_eq!(turn.workspace.as_deref(), unchanged);
        }
        prop_assert!(jwt::verify(&token, &[8; 32], now, jwt::DEFAULT_MAX_LIFETIME).is_err());
    }
}

/// Names of claims: those that are looked at, and others.
fn claim() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["iss", "exp", "nbf", "iat", "jti", "ws", "libs"]).prop_map(str::to_owned),
        "[a-z]{0,5}",
    ]
}

/// Numbers near the moment of the test, and far from it.
fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-1_000_i64..1_000).prop_map(|seconds| Value::from(1_800_000_000 + seconds)),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

proptest! {
    // A check against a hash costs most of a second, so these are stopped before it: a wrong form is told by its form.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever stands in the place of a hash, no password is right, and reading it ends.
    #[test]
    fn arbitrary_hashes_are_never_right(
        encoded in prop_oneof![
            ".{0,80}",
            "(pbkdf2_sha256|pbkdf2_sha1|argon2|bcrypt_sha256|scrypt)\\$[$a-zA-Z0-9=,./+]{0,80}",
            "scrypt\\$[0-9]{1,6}\\$[a-z]{1,4}\\$[0-9]{1,3}\\$[0-9]{1,3}\\$[A-Za-z0-9+/]{86}==",
            "argon2\\$argon2id\\$v=19\\$m=[0-9]{1,4},t=[0-9],p=[0-9]\\$[a-zA-Z0-9]{8,12}\\$[a-zA-Z0-9]{20,43}",
        ]
    ) {
        let verdict = password::verify("a password", &encoded);
        prop_assert!(matches!(verdict, password::Verdict::Wrong | password::Verdict::Unusable));
    }
}
