//! Secrets at rest: which keys seal and open them, and how they move to new keys (contract §3, §5).
//!
//! | secret | sealed with | opened with |
//! |---|---|---|
//! | keys of providers | the first of `LLM_API_SECRETS_ENCRYPTION_KEY`; without it, a key derived from `SECRET_KEY` | all of both, and keys derived from `SECRET_KEY_FALLBACKS` |
//! | signing keys | a key derived from `SECRET_KEY` | that, and keys derived from `SECRET_KEY_FALLBACKS` |

use std::fmt;

use chrono::{DateTime, Utc};
use mnemosyne_crypto::fernet::Key;
use mnemosyne_domain::{ApiKey, AuditEvent, Principal, Provider, ProviderKey};

use crate::context::{SecretKey, Services};
use crate::error::ServiceResult;
use crate::permission::{self, Action};

/// The info of the key that signing keys are sealed with. Changing it makes every one of them unreadable.
const STORED_SECRETS: &str = "mnemosyne.stored-secrets";
/// The same of the key that providers' keys are sealed with where no key of their own is configured.
const PROVIDER_KEYS: &str = "mnemosyne.provider-keys";

/// The keys of one kind of secret: the first seals, all of them open.
pub(crate) struct SealingKeys {
    first: Key,
    others: Vec<Key>,
}

impl SealingKeys {
    pub(crate) fn seal(&self, plain: &[u8], now: DateTime<Utc>) -> String {
        self.first.seal(plain, now)
    }

    pub(crate) fn open(&self, sealed: &str) -> Option<Vec<u8>> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find_map(|key| key.open(sealed).ok())
    }

    fn is_current(&self, sealed: &str) -> bool {
        self.first.open(sealed).is_ok()
    }
}

/// All keys of an installation. Shows none of them.
pub struct Keyring {
    secret_key: SecretKey,
    fallbacks: Vec<SecretKey>,
    pub(crate) stored: SealingKeys,
    pub(crate) providers: SealingKeys,
}

impl Keyring {
    /// The keys that follow from `SECRET_KEY`, `SECRET_KEY_FALLBACKS` and `LLM_API_SECRETS_ENCRYPTION_KEY`, each list in the
    /// order in which it was configured.
    pub fn new(secret_key: SecretKey, fallbacks: Vec<SecretKey>, provider_keys: Vec<Key>) -> Self {
        let derived = |purpose: &str| {
            let first = Key::derive(secret_key.expose(), purpose);
            let others: Vec<Key> = fallbacks
                .iter()
                .map(|secret| Key::derive(secret.expose(), purpose))
                .collect();
            SealingKeys { first, others }
        };
        let stored = derived(STORED_SECRETS);
        let from_secret_key = derived(PROVIDER_KEYS);
        let mut given = provider_keys.into_iter();
        let providers = match given.next() {
            None => from_secret_key,
            Some(first) => SealingKeys {
                first,
                others: given
                    .chain([from_secret_key.first])
                    .chain(from_secret_key.others)
                    .collect(),
            },
        };
        Self {
            secret_key,
            fallbacks,
            stored,
            providers,
        }
    }

    /// The `SECRET_KEY` in force.
    pub fn secret_key(&self) -> &SecretKey {
        &self.secret_key
    }

    /// It and its former values, as they were configured: what was signed under any of them is believed.
    pub fn secret_keys(&self) -> impl Iterator<Item = &SecretKey> {
        std::iter::once(&self.secret_key).chain(&self.fallbacks)
    }

    /// Seals the key of a provider.
    pub fn seal_provider_key(&self, key: &ApiKey, now: DateTime<Utc>) -> String {
        self.providers.seal(key.expose().as_bytes(), now)
    }

    /// The key of a provider.
    pub fn provider_key(&self, provider: &Provider) -> ProviderKey {
        let Some(sealed) = &provider.sealed_key else {
            return ProviderKey::None;
        };
        let opened = self
            .providers
            .open(sealed)
            .and_then(|plain| String::from_utf8(plain).ok());
        match opened {
            Some(key) => ProviderKey::Open(ApiKey::new(key)),
            None => ProviderKey::Unreadable,
        }
    }
}

impl From<SecretKey> for Keyring {
    fn from(secret_key: SecretKey) -> Self {
        Self::new(secret_key, Vec::new(), Vec::new())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

/// What became of the secrets of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Sealed with the current first key now.
    pub resealed: u64,
    /// Were so before.
    pub current: u64,
    /// The names of those that none of the keys opens; they stay as they are.
    pub unreadable: Vec<String>,
}

/// What became of all stored secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// The keys of providers, by the providers' names.
    pub provider_keys: Rotated,
    /// The signing keys, by their `kid`, retired ones included.
    pub signing_keys: Rotated,
}

impl Rotation {
    /// What was done, for the audit.
    fn summary(&self) -> String {
        let of = |counts: &Rotated| {
            let unreadable = counts.unreadable.len();
            format!("{} sealed anew, {unreadable} unreadable", counts.resealed)
        };
        let (providers, signing) = (of(&self.provider_keys), of(&self.signing_keys));
        format!("keys of providers: {providers}; signing keys: {signing}")
    }

    /// Whether every secret is sealed with its current key.
    pub fn is_complete(&self) -> bool {
        self.provider_keys.unreadable.is_empty() && self.signing_keys.unreadable.is_empty()
    }
}

/// What is to be done with one sealed secret.
enum Step {
    Nothing,
    Reseal(String),
    Unreadable,
}

fn step(keys: &SealingKeys, sealed: &str, now: DateTime<Utc>) -> Step {
    if keys.is_current(sealed) {
        return Step::Nothing;
    }
    match keys.open(sealed) {
        Some(plain) => Step::Reseal(keys.seal(&plain, now)),
        None => Step::Unreadable,
    }
}

impl Services {
    /// Seals every stored secret with the current first key of its kind. May be repeated, and interrupted: what cannot be
    /// opened is named and stays as it is, and so does what somebody changes at the same moment.
    pub async fn rotate_secrets(&self, caller: &Principal) -> ServiceResult<Rotation> {
        permission::require(caller, Action::Administer)?;
        let now = self.clock.now();
        let mut rotation = Rotation::default();
        for provider in self.relational.providers().await? {
            let Some(sealed) = &provider.sealed_key else {
                continue;
            };
            let counts = &mut rotation.provider_keys;
            match step(&self.keyring.providers, sealed, now) {
                Step::Nothing => counts.current += 1,
                Step::Unreadable => counts.unreadable.push(provider.draft.name),
                Step::Reseal(resealed) => {
                    let replaced = self
                        .relational
                        .reseal_provider_key(&provider.uid, sealed, &resealed)
                        .await?;
                    // Otherwise it was given a new key a moment ago, which was sealed with the current one.
                    counts.resealed += u64::from(replaced);
                    counts.current += u64::from(!replaced);
                }
            }
        }
        for key in self.relational.signing_keys().await? {
            let counts = &mut rotation.signing_keys;
            match step(&self.keyring.stored, &key.sealed_secret, now) {
                Step::Nothing => counts.current += 1,
                Step::Unreadable => counts.unreadable.push(key.kid),
                Step::Reseal(resealed) => {
                    let replaced = self
                        .relational
                        .reseal_signing_key(&key.kid, &key.sealed_secret, &resealed)
                        .await?;
                    counts.resealed += u64::from(replaced);
                    counts.current += u64::from(!replaced);
                }
            }
        }
        self.audited(caller, AuditEvent::SecretsRotated, "", &rotation.summary())
            .await;
        if !rotation.is_complete() {
            tracing::error!(
                provider_keys = ?rotation.provider_keys.unreadable,
                signing_keys = ?rotation.signing_keys.unreadable,
                "stored secrets cannot be opened with the configured keys"
            );
        }
        Ok(rotation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const SECOND: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=";

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn keyring(secrets: &[&str], keys: &[&str]) -> Keyring {
        let mut secrets = secrets.iter().map(|secret| SecretKey::new(secret));
        let first = secrets.next().unwrap();
        Keyring::new(
            first,
            secrets.collect(),
            keys.iter().map(|text| key(text)).collect(),
        )
    }

    fn opens(keyring: &Keyring, sealed: &str) -> bool {
        keyring.providers.open(sealed).as_deref() == Some(b"plain")
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let now = Utc::now();
        let both = keyring(&["s"], &[FIRST, SECOND]);
        let sealed = both.providers.seal(b"plain", now);
        assert_eq!(key(FIRST).open(&sealed).as_deref(), Ok(&b"plain"[..]));
        assert!(key(SECOND).open(&sealed).is_err());
        for (text, is_current) in [(FIRST, true), (SECOND, false)] {
            let sealed = key(text).seal(b"plain", now);
            assert!(opens(&both, &sealed));
            assert_eq!(both.providers.is_current(&sealed), is_current);
        }
    }

    #[test]
    fn without_a_key_of_their_own_providers_keys_depend_on_secret_key() {
        let now = Utc::now();
        let sealed = keyring(&["old"], &[]).providers.seal(b"plain", now);
        assert_eq!(
            Key::derive("old", "mnemosyne.provider-keys")
                .open(&sealed)
                .as_deref(),
            Ok(&b"plain"[..])
        );
        assert!(!opens(&keyring(&["new"], &[]), &sealed));
        assert!(opens(&keyring(&["new", "older", "old"], &[]), &sealed));
        // A key of their own that comes later opens what was sealed before.
        assert!(opens(&keyring(&["old"], &[FIRST]), &sealed));
        assert!(opens(&keyring(&["new", "old"], &[FIRST]), &sealed));
        assert!(!opens(&keyring(&["new"], &[FIRST]), &sealed));
    }

    #[test]
    fn signing_keys_depend_on_secret_key_alone() {
        let now = Utc::now();
        let sealed = keyring(&["old"], &[FIRST]).stored.seal(b"plain", now);
        let new = keyring(&["new", "old"], &[SECOND]);
        assert_eq!(new.stored.open(&sealed).as_deref(), Some(&b"plain"[..]));
        assert!(!new.stored.is_current(&sealed));
        assert_eq!(
            Key::derive("old", "mnemosyne.stored-secrets")
                .open(&sealed)
                .as_deref(),
            Ok(&b"plain"[..])
        );
        assert_eq!(keyring(&["new"], &[FIRST]).stored.open(&sealed), None);
        assert!(!format!("{new:?}").contains("new"));
    }
}
