//! Slowing down whoever guesses passwords. Failures are counted in the database, so for all processes together, in buckets:
//!
//! | bucket | what fails without a pause | longest pause |
//! |---|---|---|
//! | the name at the address (an IPv6 address by its /64) | 5 | 15 minutes |
//! | the address, whatever the names | 30 | 5 minutes |
//! | the site of an IPv6 address, its /48 | 300 | 5 minutes |
//! | the name, wherever it is tried | 100 | 5 minutes |
//!
//! A name that succeeded from an address lately is held up by the first bucket alone: nobody can lock out an account where
//! it is used, neither from next door nor from elsewhere. Names that nobody has are counted like all others.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemosyne_domain::Attempts;
use sha2::{Digest, Sha256};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::origin;

/// Failures older than this are forgotten.
const MEMORY: TimeDelta = TimeDelta::hours(1);
/// How long a success exempts a name from what others do at its address.
const TRUST: TimeDelta = TimeDelta::hours(24);
/// A success is noted anew when the last note is older.
const NOTE_AGAIN: TimeDelta = TimeDelta::hours(1);
/// How long what is known of a bucket is kept.
const KEEP: TimeDelta = TimeDelta::hours(25);

/// How much may fail before it slows down, and by how much at the most.
struct Limit {
    free: u32,
    longest: TimeDelta,
}

/// For one name from one address.
const PAIR: Limit = Limit {
    free: 5,
    longest: TimeDelta::minutes(15),
};
/// For one address, whatever the names.
const ADDRESS: Limit = Limit {
    free: 30,
    longest: TimeDelta::minutes(5),
};
/// For one site, which has 65,536 addresses in the sense of the limits above.
const SITE: Limit = Limit {
    free: 300,
    longest: TimeDelta::minutes(5),
};
/// For one name, wherever it is tried: whoever has many addresses has no more guesses than this.
const NAME: Limit = Limit {
    free: 100,
    longest: TimeDelta::minutes(5),
};
/// Mails to one account within [`MEMORY`].
const MAILS: u32 = 3;

impl Limit {
    /// The pause after so many failures: none for the free ones, then 1, 2, 4, … seconds.
    fn pause(&self, failures: u32) -> TimeDelta {
        let Some(over) = failures.checked_sub(self.free) else {
            return TimeDelta::zero();
        };
        let seconds = 1_i64.checked_shl(over.min(32)).unwrap_or(i64::MAX);
        TimeDelta::try_seconds(seconds)
            .unwrap_or(self.longest)
            .min(self.longest)
    }

    /// How long to wait still.
    fn remaining(&self, attempts: Attempts, now: DateTime<Utc>) -> Option<Duration> {
        let failed_at = attempts.failed_at?;
        let left = self.pause(attempts.failures) - (now - failed_at).max(TimeDelta::zero());
        left.to_std().ok().filter(|left| !left.is_zero())
    }
}

/// Where the attempts of one name from the address at hand are counted.
pub(crate) struct Buckets {
    pair: String,
    address: String,
    /// Only where the address is one of IPv6.
    site: Option<String>,
    name: String,
}

impl Buckets {
    /// The buckets of a name. The name is counted by its digest: what strangers type stays out of the database.
    pub(crate) fn of(username: &str) -> Self {
        let network = origin::network(origin::address());
        let digest = hex::encode(&Sha256::digest(username)[..16]);
        Self {
            pair: format!("pair|{network}|{digest}"),
            address: format!("address|{network}"),
            site: origin::site(origin::address()).map(|site| format!("site|{site}")),
            name: format!("name|{digest}"),
        }
    }

    /// Those that hold up whoever did not succeed lately, with their limits.
    fn shared(&self) -> impl Iterator<Item = (&String, &'static Limit)> {
        [(&self.address, &ADDRESS), (&self.name, &NAME)]
            .into_iter()
            .chain(self.site.iter().map(|site| (site, &SITE)))
    }
}

impl Services {
    /// [`ServiceError::Throttled`] while a name has to wait.
    pub(crate) async fn require_patience(&self, buckets: &Buckets) -> ServiceResult<()> {
        let now = self.clock.now();
        let pair = self.relational.attempts(&buckets.pair, now - MEMORY).await?;
        if let Some(left) = PAIR.remaining(pair, now) {
            return Err(ServiceError::Throttled(left));
        }
        if pair.succeeded_at.is_some_and(|at| now - at < TRUST) {
            return Ok(());
        }
        for (bucket, limit) in buckets.shared() {
            let known = self.relational.attempts(bucket, now - MEMORY).await?;
            if let Some(left) = limit.remaining(known, now) {
                return Err(ServiceError::Throttled(left));
            }
        }
        Ok(())
    }

    /// Counts a failure.
    pub(crate) async fn count_failure(&self, buckets: &Buckets) -> ServiceResult<()> {
        let now = self.clock.now();
        let shared = buckets.shared().map(|(bucket, _)| bucket);
        for bucket in std::iter::once(&buckets.pair).chain(shared) {
            self.relational.note_failure(bucket, now, now - MEMORY).await?;
        }
        Ok(())
    }

    /// Notes that a name which got in before is still used where it is. What fails beside it goes on being counted: a steady
    /// caller must not give its neighbours new guesses every minute.
    pub(crate) async fn count_presence(&self, buckets: &Buckets) -> ServiceResult<()> {
        let now = self.clock.now();
        let known = self.relational.attempts(&buckets.pair, now - MEMORY).await?;
        if known.succeeded_at.is_none_or(|at| now - at >= NOTE_AGAIN) {
            self.relational.note_presence(&buckets.pair, now).await?;
        }
        Ok(())
    }

    /// Forgets the failures of a name that got in.
    pub(crate) async fn count_success(&self, buckets: &Buckets) -> ServiceResult<()> {
        let now = self.clock.now();
        let known = self.relational.attempts(&buckets.pair, now - MEMORY).await?;
        let is_noted = known.failures == 0 && known.succeeded_at.is_some_and(|at| now - at < NOTE_AGAIN);
        if !is_noted {
            self.relational.note_success(&buckets.pair, now).await?;
        }
        Ok(())
    }

    /// Whether one more mail may go to an account; counts it.
    pub(crate) async fn may_mail(&self, bucket: &str) -> ServiceResult<bool> {
        let now = self.clock.now();
        let known = self.relational.attempts(bucket, now - MEMORY).await?;
        if known.failures >= MAILS {
            return Ok(false);
        }
        // Many may have read the same count: what this one makes of it decides.
        let counted = self.relational.note_failure(bucket, now, now - MEMORY).await?;
        Ok(counted.failures <= MAILS)
    }

    /// Removes what is known of attempts long ago.
    pub(crate) async fn forget_attempts(&self, now: DateTime<Utc>) -> ServiceResult<u64> {
        Ok(self.relational.delete_attempts_before(now - KEEP).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let seconds = |failures| PAIR.pause(failures).num_seconds();
        assert_eq!([0, 4, 5, 6, 7].map(seconds), [0, 0, 1, 2, 4]);
        assert_eq!([15, 40, u32::MAX].map(seconds), [900; 3]);
    }

    #[test]
    fn a_pause_counts_from_the_last_failure() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let attempts = |failures, ago| Attempts {
            failures,
            failed_at: Some(now - TimeDelta::seconds(ago)),
            succeeded_at: None,
        };
        assert_eq!(PAIR.remaining(attempts(4, 0), now), None);
        assert_eq!(PAIR.remaining(attempts(7, 1), now), Some(Duration::from_secs(3)));
        assert_eq!(PAIR.remaining(attempts(7, 4), now), None);
        assert_eq!(PAIR.remaining(Attempts::default(), now), None);
        assert_eq!(
            PAIR.remaining(attempts(7, -100), now),
            Some(Duration::from_secs(4)),
            "a clock that is behind makes no pause longer"
        );
    }
}
