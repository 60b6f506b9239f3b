//! HTTP Basic: the password comes with each request, and to check it costs most of a second of one core. So a success is
//! remembered, and believed only while the stored hash is the same, the user active, and only at the network that it came
//! from: elsewhere a guess must not be told apart from a right password without the throttle.
//!
//! Memory is in two places: in this process, so that a cache that is away makes nothing slow; and in the shared cache, so
//! that other processes and the next start need not check again. What is kept there is a digest under `SECRET_KEY`, and says
//! nothing to whoever reads it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_crypto::signing::Key;
use mnemosyne_domain::{AuditEvent, Principal, User};
use sha2::{Digest, Sha256};

use crate::accounts::principal;
use crate::context::{SecretKey, Services};
use crate::error::ServiceResult;
use crate::origin;
use crate::throttle::Buckets;

/// How long a success is remembered.
const KEEP: TimeDelta = TimeDelta::minutes(2);
/// The age at which a success that is still true is noted anew, so that steady callers never all meet its end at once.
const RENEW: TimeDelta = TimeDelta::minutes(1);
/// How many successes a process remembers. Each needs a password, and a network.
const MOST: usize = 1_024;
/// Keeps these digests apart from whatever else is made with `SECRET_KEY`.
const SALT: &str = "mnemosyne.services.basic";

type Sha256Digest = [u8; 32];

/// What a process remembers of successful checks, by a digest of who sent what from where.
pub(crate) struct Remembered {
    key: Key,
    near: Mutex<HashMap<Sha256Digest, Success>>,
}

/// A successful check.
#[derive(Clone, Copy)]
struct Success {
    /// The digest of the password hash that it was checked against.
    fingerprint: Sha256Digest,
    noted_at: DateTime<Utc>,
}

/// What is found of a success.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    fingerprint: Sha256Digest,
    /// Whether it is for the caller to note it anew.
    is_old: bool,
}

impl Remembered {
    pub(crate) fn new(secret_key: &SecretKey) -> Self {
        Self {
            key: Key::new(secret_key.expose()),
            near: Mutex::default(),
        }
    }

    /// The digest under which a success with these credentials, from the network at hand, is remembered.
    fn digest(&self, username: &str, password: &str) -> Sha256Digest {
        let network = origin::network(origin::address());
        let mut message = Vec::with_capacity(16 + username.len() + network.len() + password.len());
        for part in [username, &network] {
            message.extend((part.len() as u64).to_be_bytes());
            message.extend(part.as_bytes());
        }
        message.extend(password.as_bytes());
        self.key.salted_hmac(SALT, &message)
    }

    /// What is remembered here at a moment. Of all who find an old success, one is asked to note it anew.
    fn find(&self, digest: &Sha256Digest, now: DateTime<Utc>) -> Option<Found> {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        let success = near.get_mut(digest)?;
        let age = now - success.noted_at;
        if age >= KEEP {
            near.remove(digest);
            return None;
        }
        let is_old = age >= RENEW;
        if is_old {
            success.noted_at = now;
        }
        Some(Found {
            fingerprint: success.fingerprint,
            is_old,
        })
    }

    fn note(&self, digest: Sha256Digest, fingerprint: Sha256Digest, now: DateTime<Utc>) {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        if near.len() >= MOST && !near.contains_key(&digest) {
            near.retain(|_, success| now - success.noted_at < KEEP);
            let oldest = near.iter().min_by_key(|(_, success)| success.noted_at);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest).filter(|_| near.len() >= MOST) {
                near.remove(&oldest);
            }
        }
        let success = Success {
            fingerprint,
            noted_at: now,
        };
        near.insert(digest, success);
    }

    fn forget(&self, digest: &Sha256Digest) {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        near.remove(digest);
    }
}

fn fingerprint(user: &User) -> Sha256Digest {
    Sha256::digest(&user.password).into()
}

fn shared_entry(digest: &Sha256Digest) -> String {
    format!("basic:{}", hex::encode(digest))
}

impl Services {
    /// Signs in with a name and a password: for HTTP Basic.
    pub async fn authenticate_basic(&self, username: &str, password: &str) -> ServiceResult<Principal> {
        let digest = self.remembered.digest(username, password);
        if let Some(found) = self.remembered.find(&digest, self.clock.now()) {
            if let Some(user) = self.user_of(username, &found.fingerprint).await? {
                if found.is_old {
                    self.note_basic(digest, &user).await;
                    self.count_presence(&Buckets::of(username)).await?;
                }
                return Ok(principal(&user));
            }
            self.remembered.forget(&digest);
        }
        let shared = self.cache.get(&shared_entry(&digest)).await;
        let shared = shared.and_then(|bytes| Sha256Digest::try_from(&bytes[..]).ok());
        if let Some(fingerprint) = shared {
            if let Some(user) = self.user_of(username, &fingerprint).await? {
                self.remembered.note(digest, fingerprint, self.clock.now());
                return Ok(principal(&user));
            }
            self.cache.forget(&shared_entry(&digest)).await;
        }
        let turn = self.turn_to_check(&Buckets::of(username)).await?;
        // Many may have come at once: what the first one found holds for those who waited behind it.
        if let Some(found) = self.remembered.find(&digest, self.clock.now())
            && let Some(user) = self.user_of(username, &found.fingerprint).await?
        {
            return Ok(principal(&user));
        }
        let note = |user: &User| self.remembered.note(digest, fingerprint(user), self.clock.now());
        let user = self
            .check_in_turn(turn, username, password, "basic", note)
            .await?;
        self.note_basic(digest, &user).await;
        Ok(principal(&user))
    }

    /// The user of this name, where it is active and has the password hash that was checked.
    async fn user_of(&self, username: &str, checked: &Sha256Digest) -> ServiceResult<Option<User>> {
        let user = self.user_of_name(username).await?;
        Ok(user.filter(|user| user.is_active && fingerprint(user) == *checked))
    }

    /// Remembers a success, and writes down that somebody was here.
    async fn note_basic(&self, digest: Sha256Digest, user: &User) {
        self.audited_often(&user.username, AuditEvent::SignedIn, "", "basic")
            .await;
        let keep = KEEP.to_std().unwrap_or(Duration::ZERO);
        let fingerprint = fingerprint(user);
        self.remembered.note(digest, fingerprint, self.clock.now());
        self.cache
            .put(&shared_entry(&digest), Bytes::copy_from_slice(&fingerprint), keep)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered::new(&SecretKey::new(&"k".repeat(50)))
    }

    fn moment(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_success_that_is_used_is_noted_anew_by_one_and_one_that_is_not_ends() {
        let remembered = remembered();
        let digest = remembered.digest("ada", "secret");
        let found = |is_old| {
            Some(Found {
                fingerprint: [7; 32],
                is_old,
            })
        };
        remembered.note(digest, [7; 32], moment(0));
        assert_eq!(remembered.find(&digest, moment(59)), found(false));
        assert_eq!(remembered.find(&digest, moment(60)), found(true));
        assert_eq!(
            remembered.find(&digest, moment(60)),
            found(false),
            "one is enough"
        );
        assert_eq!(remembered.find(&digest, moment(179)), found(true));
        assert_eq!(remembered.find(&digest, moment(179 + 120)), None);
        assert_eq!(remembered.find(&digest, moment(179)), None, "it is gone");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let remembered = remembered();
        let digests: Vec<_> = (0..MOST + 2)
            .map(|number| remembered.digest("ada", &number.to_string()))
            .collect();
        for (number, digest) in digests.iter().enumerate() {
            let millis = i64::try_from(number).unwrap();
            remembered.note(
                *digest,
                [0; 32],
                DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis),
            );
        }
        assert_eq!(remembered.near.lock().unwrap().len(), MOST);
        let is_there = |index: usize| remembered.find(&digests[index], moment(3)).is_some();
        assert_eq!([0, 1, 2, MOST + 1].map(is_there), [false, false, true, true]);
    }

    #[tokio::test]
    async fn other_words_another_network_and_another_key_are_another_digest() {
        let ours = remembered();
        let digest = ours.digest("ada", "secret");
        assert_eq!(
            digest,
            remembered().digest("ada", "secret"),
            "another process finds it"
        );
        assert_ne!(digest, ours.digest("adas", "ecret"));
        assert_ne!(digest, ours.digest("ada", "secret "));
        assert_ne!(
            digest,
            Remembered::new(&SecretKey::new(&"x".repeat(50))).digest("ada", "secret")
        );
        let elsewhere = origin::from("192.0.2.7".parse().ok(), async { ours.digest("ada", "secret") });
        assert_ne!(digest, elsewhere.await);
    }
}
