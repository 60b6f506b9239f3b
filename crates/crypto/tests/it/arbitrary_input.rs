//! Round trips of arbitrary data, and arbitrary text where a signed one is expected.

use chrono::{DateTime, Utc};
use mnemosyne_crypto::signing::{Compression, DEFAULT_SALT};
use mnemosyne_crypto::{csrf, fernet, jwt, session, signing};
use proptest::prelude::*;
use serde_json::{Map, Value};

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
}
