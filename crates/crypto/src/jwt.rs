//! Per-turn tokens (contract §5): JSON Web Tokens, HS256 only, issued by Daedalus for one turn of a conversation.
//!
//! Everything that is not exactly as expected is refused. The key is looked up between the two steps: [`peek_kid`] names
//! it, [`verify`] checks the token with it. Registered claims that the contract does not name (`aud`, `sub`) are not
//! looked at: a key belongs to one issuer and one reader.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::mac;

/// The one issuer.
pub const ISSUER: &str = "daedalus";

/// How far ahead `exp` may lie where the setting says nothing else.
pub const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How far the issuer's clock may be ahead of ours: granted to `nbf`, `iat` and to the longest lifetime. Not to `exp`: a
/// token is refused from the second it names.
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// A longer token is refused unread.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A `kid` has 1 to this many characters.
pub const MAX_KID_CHARACTERS: usize = 128;

/// A `jti` has 1 to this many characters, none of them a control character.
pub const MAX_JTI_CHARACTERS: usize = 256;

/// The least length of a key: that of the hash (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// Why a token was refused. For logs: a client is told nothing but 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url, or not JSON objects inside.
    #[error("this is no JSON Web Token")]
    Malformed,
    /// `alg` is missing or anything but HS256.
    #[error("the algorithm is not HS256")]
    Algorithm,
    /// The header demands an extension (`crit`); none is understood.
    #[error("the token demands an extension that is not understood")]
    CriticalExtension,
    /// `kid` is missing, empty, too long or no text.
    #[error("the key's name (kid) is missing or not 1 to {MAX_KID_CHARACTERS} characters")]
    Kid,
    /// The key to check with is shorter than [`MIN_KEY_BYTES`].
    #[error("the signing key is shorter than {MIN_KEY_BYTES} bytes")]
    WeakKey,
    /// The signature is not this key's.
    #[error("the signature does not match")]
    Signature,
    /// `iss` is missing or another.
    #[error("the issuer is not {ISSUER}")]
    Issuer,
    /// A claim that must be there is not.
    #[error("the claim {0} is missing")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or an impossible value.
    #[error("the claim {0} has a wrong type or value")]
    InvalidClaim(&'static str),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `exp` is further ahead than allowed.
    #[error("the token lives longer than allowed")]
    LifetimeTooLong,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet ({0})")]
    NotYetValid(&'static str),
    /// Neither a workspace nor libraries.
    #[error("the token names neither a workspace (ws) nor libraries (libs)")]
    MissingScope,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnClaims {
    /// The key it was signed with.
    pub kid: String,
    /// The turn, where the token names one.
    pub jti: Option<String>,
    /// The one workspace it may see; `None` where `ws` is absent or empty. Where it is `None`, `libraries` is not empty.
    pub workspace: Option<String>,
    /// Where not empty, only these libraries may be seen. An entry that names no library narrows all the same: whoever
    /// drops it must not end up with an empty list, which would mean "all".
    pub libraries: Vec<String>,
    /// From this moment on the token is refused.
    pub expires_at: DateTime<Utc>,
    /// Lower-case hexadecimal SHA-256 of the payload, byte for byte: two tokens of one `jti` are the same turn only where
    /// this is the same.
    pub content_digest: String,
}

/// The name of the key a token claims to be signed with. Nothing in the token is proven yet.
pub fn peek_kid(token: &str) -> Result<String, JwtError> {
    Ok(Parts::split(token)?.header()?.kid)
}

/// Checks a token with the key its `kid` named (the bytes, not their hexadecimal form), and reads its claims. `exp` is
/// required, and at most `max_lifetime` ahead.
pub fn verify(
    token: &str,
    key: &[u8],
    now: DateTime<Utc>,
    max_lifetime: Duration,
) -> Result<TurnClaims, JwtError> {
    let parts = Parts::split(token)?;
    let header = parts.header()?;
    if key.len() < MIN_KEY_BYTES {
        return Err(JwtError::WeakKey);
    }
    let signature = URL_SAFE_NO_PAD
        .decode(parts.signature)
        .map_err(|_| JwtError::Malformed)?;
    if !mac::equal(&mac::hmac_sha256(key, &[parts.signed.as_bytes()]), &signature) {
        return Err(JwtError::Signature);
    }

    let payload = URL_SAFE_NO_PAD
        .decode(parts.payload)
        .map_err(|_| JwtError::Malformed)?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| JwtError::Malformed)?;
    if claims.get("iss").and_then(Value::as_str) != Some(ISSUER) {
        return Err(JwtError::Issuer);
    }
    let expires_at = check_times(&claims, now, max_lifetime)?;
    let jti = text_claim(&claims, "jti")?;
    if jti.as_ref().is_some_and(|jti| {
        !(1..=MAX_JTI_CHARACTERS).contains(&jti.chars().count()) || jti.chars().any(char::is_control)
    }) {
        return Err(JwtError::InvalidClaim("jti"));
    }
    let workspace = text_claim(&claims, "ws")?.filter(|workspace| !workspace.is_empty());
    let libraries = libraries(&claims)?;
    if workspace.is_none() && libraries.is_empty() {
        return Err(JwtError::MissingScope);
    }
    Ok(TurnClaims {
        kid: header.kid,
        jti,
        workspace,
        libraries,
        expires_at,
        content_digest: hex::encode(Sha256::digest(&payload)),
    })
}

/// The three parts of a token, still encoded.
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header and payload with the dot between them: what the signature covers.
    signed: &'a str,
}

struct Header {
    kid: String,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        // Further dots end up in the payload, where base64url has none.
        Ok(Self {
            header,
            payload,
            signature,
            signed,
        })
    }

    fn header(&self) -> Result<Header, JwtError> {
        let header = URL_SAFE_NO_PAD
            .decode(self.header)
            .map_err(|_| JwtError::Malformed)?;
        let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| JwtError::Malformed)?;
        if header.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err(JwtError::Algorithm);
        }
        if header.contains_key("crit") {
            return Err(JwtError::CriticalExtension);
        }
        let kid = header
            .get("kid")
            .and_then(Value::as_str)
            .filter(|kid| (1..=MAX_KID_CHARACTERS).contains(&kid.chars().count()))
            .filter(|kid| !kid.chars().any(char::is_control))
            .ok_or(JwtError::Kid)?;
        Ok(Header { kid: kid.to_owned() })
    }
}

/// Checks `exp`, `nbf` and `iat`, and answers `exp`.
fn check_times(
    claims: &Map<String, Value>,
    now: DateTime<Utc>,
    max_lifetime: Duration,
) -> Result<DateTime<Utc>, JwtError> {
    let leeway = TimeDelta::from_std(CLOCK_LEEWAY).unwrap_or_default();
    for name in ["nbf", "iat"] {
        if time_claim(claims, name)?.is_some_and(|time| time - leeway > now) {
            return Err(JwtError::NotYetValid(name));
        }
    }
    let expires_at = time_claim(claims, "exp")?.ok_or(JwtError::MissingClaim("exp"))?;
    if expires_at <= now {
        return Err(JwtError::Expired);
    }
    let ahead = (expires_at - now).to_std().unwrap_or(Duration::MAX);
    if ahead > max_lifetime.saturating_add(CLOCK_LEEWAY) {
        return Err(JwtError::LifetimeTooLong);
    }
    Ok(expires_at)
}

/// A claim in seconds since 1970, whole or with a fraction (which is dropped), up to the year 9999.
fn time_claim(claims: &Map<String, Value>, name: &'static str) -> Result<Option<DateTime<Utc>>, JwtError> {
    const LATEST: i64 = 253_402_300_799;
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        // A float outside of the range becomes the nearest whole number, which the check below refuses.
        None => value.as_f64().ok_or(JwtError::InvalidClaim(name))?.floor() as i64,
    };
    if !(0..=LATEST).contains(&seconds) {
        return Err(JwtError::InvalidClaim(name));
    }
    DateTime::from_timestamp(seconds, 0)
        .map(Some)
        .ok_or(JwtError::InvalidClaim(name))
}

fn text_claim(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, JwtError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(JwtError::InvalidClaim(name)),
    }
}

fn libraries(claims: &Map<String, Value>) -> Result<Vec<String>, JwtError> {
    let Some(value) = claims.get("libs") else {
        return Ok(Vec::new());
    };
    let entries = value.as_array().ok_or(JwtError::InvalidClaim("libs"))?;
    entries
        .iter()
        .map(|entry| match entry.as_str() {
            Some(uid) if !uid.is_empty() => Ok(uid.to_owned()),
            _ => Err(JwtError::InvalidClaim("libs")),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_800_000_000;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }

    fn mint(header: &Value, claims: &Value, key: &[u8]) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = mac::hmac_sha256(key, &[signed.as_bytes()]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header() -> Value {
        json!({"alg": "HS256", "typ": "JWT", "kid": "daedalus-1"})
    }

    fn claims() -> Value {
        json!({"iss": "daedalus", "exp": NOW + 300, "jti": "turn-1", "ws": "w1", "libs": ["l1", "l2"]})
    }

    fn check(token: &str) -> Result<TurnClaims, JwtError> {
        verify(token, KEY, now(), DEFAULT_MAX_LIFETIME)
    }

    /// The verdict on the good claims with some replaced (null removes one).
    fn with_claims(changes: &Value) -> Result<TurnClaims, JwtError> {
        check(&mint(&header(), &changed(claims(), changes), KEY))
    }

    fn with_header(changes: &Value) -> Result<TurnClaims, JwtError> {
        check(&mint(&changed(header(), changes), &claims(), KEY))
    }

    fn changed(mut object: Value, changes: &Value) -> Value {
        let map = object.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            if value == "REMOVED" {
                map.remove(name);
            } else {
                map.insert(name.clone(), value.clone());
            }
        }
        object
    }

    #[test]
    fn a_good_token_is_read() {
        let token = mint(&header(), &claims(), KEY);
        assert_eq!(peek_kid(&token).unwrap(), "daedalus-1");
        let turn = check(&token).unwrap();
        assert_eq!(turn.kid, "daedalus-1");
        assert_eq!(turn.jti.as_deref(), Some("turn-1"));
        assert_eq!(turn.workspace.as_deref(), Some("w1"));
        assert_eq!(turn.libraries, ["l1", "l2"]);
        assert_eq!(turn.expires_at.timestamp(), NOW + 300);
        assert_eq!(turn.content_digest.len(), 64);
    }

    #[test]
    fn the_scope_may_be_a_workspace_or_libraries() {
        assert_eq!(
            with_claims(&json!({"libs": "REMOVED"})).unwrap().libraries,
            [""; 0]
        );
        assert_eq!(with_claims(&json!({"libs": []})).unwrap().libraries, [""; 0]);
        assert_eq!(with_claims(&json!({"ws": "REMOVED"})).unwrap().workspace, None);
        assert_eq!(with_claims(&json!({"ws": ""})).unwrap().workspace, None);
        assert_eq!(with_claims(&json!({"jti": "REMOVED"})).unwrap().jti, None);
    }

    #[test]
    fn claims_that_are_not_as_they_must_be_are_refused() {
        use JwtError::{
            Expired, InvalidClaim, Issuer, LifetimeTooLong, MissingClaim, MissingScope, NotYetValid,
        };
        for (changes, error) in [
            (json!({"iss": "REMOVED"}), Issuer),
            (json!({"iss": "someone"}), Issuer),
            (json!({"iss": ["daedalus"]}), Issuer),
            (json!({"exp": "REMOVED"}), MissingClaim("exp")),
            (json!({"exp": NOW}), Expired),
            (json!({"exp": NOW - 1}), Expired),
            (json!({"exp": 0}), Expired),
            (json!({"exp": NOW + 906}), LifetimeTooLong),
            (json!({"exp": NOW + 86_400}), LifetimeTooLong),
            (json!({"exp": -1}), InvalidClaim("exp")),
            (json!({"exp": 1e300}), InvalidClaim("exp")),
            (json!({"exp": u64::MAX}), InvalidClaim("exp")),
            (json!({"exp": i64::MAX}), InvalidClaim("exp")),
            (json!({"exp": (NOW + 300).to_string()}), InvalidClaim("exp")),
            (json!({"exp": null}), InvalidClaim("exp")),
            (json!({"exp": true}), InvalidClaim("exp")),
            (json!({"exp": [NOW + 300]}), InvalidClaim("exp")),
            (json!({"nbf": NOW + 6}), NotYetValid("nbf")),
            (json!({"nbf": "soon"}), InvalidClaim("nbf")),
            (json!({"iat": NOW + 6}), NotYetValid("iat")),
            (json!({"iat": null}), InvalidClaim("iat")),
            (json!({"jti": 7}), InvalidClaim("jti")),
            (json!({"jti": ""}), InvalidClaim("jti")),
            (json!({"jti": "j".repeat(257)}), InvalidClaim("jti")),
            (json!({"jti": "a\u{0}b"}), InvalidClaim("jti")),
            (json!({"ws": 7}), InvalidClaim("ws")),
            (json!({"ws": null}), InvalidClaim("ws")),
            (json!({"ws": ["w1"]}), InvalidClaim("ws")),
            (json!({"ws": {"id": "w1"}}), InvalidClaim("ws")),
            (json!({"libs": "l1"}), InvalidClaim("libs")),
            (json!({"libs": {"l1": true}}), InvalidClaim("libs")),
            (json!({"libs": null}), InvalidClaim("libs")),
            (json!({"libs": [1]}), InvalidClaim("libs")),
            (json!({"libs": ["l1", null]}), InvalidClaim("libs")),
            (json!({"libs": [""]}), InvalidClaim("libs")),
            (json!({"ws": "REMOVED", "libs": "REMOVED"}), MissingScope),
            (json!({"ws": "", "libs": []}), MissingScope),
        ] {
            assert_eq!(with_claims(&changes), Err(error), "{changes}");
        }
    }

    #[test]
    fn a_clock_may_be_a_little_ahead() {
        for changes in [
            json!({"exp": NOW + 1}),
            json!({"exp": NOW + 900}),
            json!({"exp": NOW + 905}),
            json!({"exp": NOW as f64 + 10.5}),
            json!({"nbf": NOW + 5, "iat": NOW + 5}),
            json!({"nbf": NOW - 100, "iat": NOW - 100}),
        ] {
            assert!(with_claims(&changes).is_ok(), "{changes}");
        }
    }

    #[test]
    fn headers_that_are_not_as_they_must_be_are_refused() {
        for (changes, error) in [
            (json!({"alg": "REMOVED"}), JwtError::Algorithm),
            (json!({"alg": "none"}), JwtError::Algorithm),
            (json!({"alg": "None"}), JwtError::Algorithm),
            (json!({"alg": "hs256"}), JwtError::Algorithm),
            (json!({"alg": "HS384"}), JwtError::Algorithm),
            (json!({"alg": "HS512"}), JwtError::Algorithm),
            (json!({"alg": "RS256"}), JwtError::Algorithm),
            (json!({"alg": ["HS256"]}), JwtError::Algorithm),
            (json!({"alg": null}), JwtError::Algorithm),
            (json!({"crit": ["exp"]}), JwtError::CriticalExtension),
            (json!({"crit": []}), JwtError::CriticalExtension),
            (json!({"kid": "REMOVED"}), JwtError::Kid),
            (json!({"kid": ""}), JwtError::Kid),
            (json!({"kid": 1}), JwtError::Kid),
            (json!({"kid": "a\nb"}), JwtError::Kid),
            (json!({"kid": "k".repeat(129)}), JwtError::Kid),
        ] {
            assert_eq!(with_header(&changes), Err(error), "{changes}");
        }
        assert!(with_header(&json!({"kid": "k".repeat(128)})).is_ok());
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let token = mint(&json!({"alg": "none", "kid": "daedalus-1"}), &claims(), KEY);
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(check(&format!("{signed}.")), Err(JwtError::Algorithm));
        let token = mint(&header(), &claims(), KEY);
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(check(&format!("{signed}.")), Err(JwtError::Signature));
        assert_eq!(check(signed), Err(JwtError::Malformed));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let token = mint(&header(), &claims(), KEY);
        for position in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[position] = if altered[position] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(check(&altered).is_err(), "{position}");
        }
    }

    #[test]
    fn another_key_or_a_weak_one_is_refused() {
        let token = mint(&header(), &claims(), &[b'x'; 32]);
        assert_eq!(check(&token), Err(JwtError::Signature));
        let token = mint(&header(), &claims(), b"");
        assert_eq!(
            verify(&token, b"", now(), DEFAULT_MAX_LIFETIME),
            Err(JwtError::WeakKey)
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = mint(&header(), &claims(), KEY);
        let array = mint(&header(), &json!(["iss", "daedalus"]), KEY);
        let no_object = mint(&json!("HS256"), &claims(), KEY);
        for text in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            &format!("{good}="),
            &format!(" {good}"),
            &array,
            &no_object,
        ] {
            assert_eq!(check(text), Err(JwtError::Malformed), "{text}");
        }
        assert!(check(&format!("{good}.{good}")).is_err());
        assert_eq!(check(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(JwtError::TooLong));
        assert_eq!(peek_kid(&"a".repeat(MAX_TOKEN_BYTES + 1)), Err(JwtError::TooLong));
    }

    #[test]
    fn the_digest_is_that_of_the_content() {
        let digest = |claims: &Value| check(&mint(&header(), claims, KEY)).unwrap().content_digest;
        assert_eq!(digest(&claims()), digest(&claims()));
        assert_ne!(
            digest(&claims()),
            digest(&changed(claims(), &json!({"ws": "w2"})))
        );
    }

    #[test]
    fn a_setting_may_shorten_the_lifetime() {
        let token = mint(&header(), &claims(), KEY);
        let minute = Duration::from_secs(60);
        assert_eq!(verify(&token, KEY, now(), minute), Err(JwtError::LifetimeTooLong));
    }
}
