//! Keys of per-turn tokens (contract §5, seed §3.3).

use chrono::{DateTime, Utc};
use mnemosyne_domain::{AuditEvent, Principal, SigningKey, StoreError};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::validate::Problems;

/// What `seed_signing_key` did.
pub enum Seeded {
    /// A new key; the secret is shown once.
    Created {
        /// 64 lower-case hexadecimal digits; the HMAC key is the bytes they encode.
        secret_hex: String,
    },
    /// The key was there already; its secret is not shown again.
    Exists,
}

impl Services {
    /// Makes sure that a signing key is there, and retires the others where asked; idempotent.
    pub async fn seed_signing_key(
        &self,
        caller: &Principal,
        kid: &str,
        others: OtherKeys,
    ) -> ServiceResult<Seeded> {
        permission::require(caller, Action::Administer)?;
        let mut problems = Problems::default();
        let kid = problems.text("kid", Some(kid), 128);
        // A token whose header holds one is refused, so a key of such a name could never be used.
        if kid.chars().any(char::is_control) {
            problems.add(
                "kid",
                "Line breaks, tabs and other control characters are not allowed.",
            );
        }
        problems.check()?;
        let now = self.clock.now();
        let secret: [u8; 32] = mnemosyne_crypto::secret::random_bytes();
        let key = SigningKey {
            kid: kid.clone(),
            sealed_secret: self.seal_signing_secret(&secret, now),
            created_at: now,
            retired_at: None,
        };
        match self
            .relational
            .create_signing_key(key, others == OtherKeys::Retire)
            .await
        {
            Ok(()) => {
                let detail = if others == OtherKeys::Retire {
                    "others retired"
                } else {
                    ""
                };
                self.audited(caller, AuditEvent::KeyCreated, &kid, detail).await;
                Ok(Seeded::Created {
                    secret_hex: hex::encode(secret),
                })
            }
            Err(StoreError::Conflict(_)) => {
                let known = self.relational.signing_key(&kid).await?;
                if known.is_some_and(|known| known.retired_at.is_some()) {
                    return Err(ServiceError::Conflict {
                        code: "retired",
                        message: format!("The key {kid:?} was retired; choose another kid."),
                    });
                }
                if others == OtherKeys::Retire
                    && self.relational.retire_other_signing_keys(&kid, now).await? > 0
                {
                    self.audited(caller, AuditEvent::KeysRetired, "", &format!("all but {kid}"))
                        .await;
                }
                Ok(Seeded::Exists)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn seal_signing_secret(&self, secret: &[u8], now: DateTime<Utc>) -> String {
        self.keyring.stored.seal(secret, now)
    }

    pub(crate) fn open_signing_secret(&self, key: &SigningKey) -> ServiceResult<Vec<u8>> {
        self.keyring.stored.open(&key.sealed_secret).ok_or_else(|| {
            tracing::error!(
                kid = key.kid,
                "the signing key cannot be read: was SECRET_KEY changed? SECRET_KEY_FALLBACKS takes the former one"
            );
            ServiceError::Unauthenticated
        })
    }
}

/// What happens to the keys beside a seeded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherKeys {
    /// They stay as they are.
    Keep,
    /// Tokens under them are refused from now on.
    Retire,
}
