//! Vectors made by Django, `cryptography` and PyJWT: see `tests/vectors/make.py`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_crypto::signing::Compression;
use mnemosyne_crypto::{csrf, fernet, jwt, password, session, signing};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Django {
    secret_key: String,
    signed_at: i64,
    passwords: Vec<Password>,
    weak_passwords: Vec<Password>,
    unusable_password: String,
    signed: Vec<Signed>,
    sessions: Vec<Session>,
    auth_hashes: Vec<AuthHash>,
    csrf: Vec<Csrf>,
}

#[derive(Deserialize)]
struct Password {
    password: String,
    encoded: String,
}

#[derive(Deserialize)]
struct Signed {
    value: Value,
    salt: String,
    compress: bool,
    text: String,
}

#[derive(Deserialize)]
struct Session {
    data: Map<String, Value>,
    text: String,
}

#[derive(Deserialize)]
struct AuthHash {
    password_hash: String,
    hash: String,
}

#[derive(Deserialize)]
struct Csrf {
    secret: String,
    token: String,
}

#[derive(Deserialize)]
struct Fernet {
    tokens: Vec<FernetToken>,
    derived: Vec<DerivedToken>,
}

#[derive(Deserialize)]
struct FernetToken {
    key: String,
    plain: String,
    token: String,
}

#[derive(Deserialize)]
struct DerivedToken {
    secret_key: String,
    purpose: String,
    token: String,
}

#[derive(Deserialize)]
struct Jwt {
    key: String,
    now: i64,
    good: String,
    good_libraries_only: String,
    bad: std::collections::BTreeMap<String, String>,
}

fn django() -> Django {
    serde_json::from_str(include_str!("../vectors/django.json")).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn passwords_of_django() {
    use password::Verdict;
    let vectors = django();
    for vector in &vectors.passwords {
        assert_eq!(
            password::verify(&vector.password, &vector.encoded),
            Verdict::Right
        );
        let parts: Vec<&str> = vector.encoded.split('$').collect();
        let again = password::hash_with(&vector.password, parts[1].parse().unwrap(), parts[2]);
        assert_eq!(again, vector.encoded);
    }
    for vector in &vectors.weak_passwords {
        assert_eq!(
            password::verify(&vector.password, &vector.encoded),
            Verdict::RightButWeak
        );
        assert_eq!(password::verify("wrong", &vector.encoded), Verdict::Wrong);
    }
    assert_eq!(
        password::verify("", &vectors.unusable_password),
        Verdict::Unusable
    );
}

#[test]
fn signatures_of_django() {
    let vectors = django();
    let now = at(vectors.signed_at);
    let minute = Some(Duration::from_secs(60));
    for vector in &vectors.signed {
        let read = signing::loads(&vector.text, &vectors.secret_key, &vector.salt, minute, now);
        assert_eq!(read.as_ref(), Ok(&vector.value));
        if vector.compress {
            continue;
        }
        // Without compression the text is the same, character for character.
        let written = signing::dumps(
            &vector.value,
            &vectors.secret_key,
            &vector.salt,
            Compression::Never,
            now,
        );
        assert_eq!(written, vector.text);
    }
    assert!(vectors.signed.iter().any(|vector| vector.text.starts_with('.')));
}

#[test]
fn sessions_of_django() {
    let vectors = django();
    for vector in &vectors.sessions {
        let read = session::decode(&vector.text, &vectors.secret_key);
        assert_eq!(read.as_ref(), Some(&vector.data));
        let written = session::encode(&vector.data, &vectors.secret_key, at(vectors.signed_at));
        assert_eq!(
            session::decode(&written, &vectors.secret_key).as_ref(),
            Some(&vector.data)
        );
        assert_eq!(written.starts_with('.'), vector.text.starts_with('.'));
    }
    for vector in &vectors.auth_hashes {
        assert_eq!(
            session::auth_hash(&vector.password_hash, &vectors.secret_key),
            vector.hash
        );
    }
}

#[test]
fn csrf_tokens_of_django() {
    for vector in django().csrf {
        assert!(csrf::matches(&vector.token, &vector.secret));
        assert!(csrf::matches(&vector.secret, &vector.secret));
    }
}

#[test]
fn fernet_tokens_of_python() {
    let vectors: Fernet = serde_json::from_str(include_str!("../vectors/fernet.json")).unwrap();
    for vector in &vectors.tokens {
        let key = fernet::Key::parse(&vector.key).unwrap();
        assert_eq!(key.open(&vector.token).unwrap(), vector.plain.as_bytes());
    }
    for vector in &vectors.derived {
        let key = fernet::Key::derive(&vector.secret_key, &vector.purpose);
        assert_eq!(key.open(&vector.token).unwrap(), b"derived");
    }
}

#[test]
fn per_turn_tokens_of_pyjwt() {
    let vectors: Jwt = serde_json::from_str(include_str!("../vectors/jwt.json")).unwrap();
    let key = hex::decode(&vectors.key).unwrap();
    let check = |token: &str| jwt::verify(token, &key, at(vectors.now), jwt::DEFAULT_MAX_LIFETIME);

    assert_eq!(jwt::peek_kid(&vectors.good).unwrap(), "daedalus-1");
    let turn = check(&vectors.good).unwrap();
    assert_eq!(turn.jti.as_deref(), Some("turn-1"));
    assert_eq!(turn.workspace.as_deref(), Some("workspace-é"));
    assert_eq!(turn.libraries, ["l1"]);
    assert_eq!(turn.expires_at, at(vectors.now + 600));
    assert_eq!(check(&vectors.good_libraries_only).unwrap().workspace, None);

    assert_eq!(vectors.bad.len(), 13);
    for (why, token) in &vectors.bad {
        assert!(check(token).is_err(), "{why}");
    }
}
