//! When a request is repeated.

use std::time::Duration;

use mnemosyne_domain::EmbeddingPurpose;
use mnemosyne_http::HttpError;

/// How often and how patiently a request is repeated after a transient failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in all for passages; the job's own retries come on top.
    pub passage_attempts: u32,
    /// Requests in all for a question: somebody waits for the answer.
    pub query_attempts: u32,
    /// The wait after the first failure; it doubles with each.
    pub first_wait: Duration,
    /// No wait is longer. A server that asks for more is reported instead of waited for.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// 5 requests for passages, 2 for a question, waits from half a second to 30 s.
    fn default() -> Self {
        Self {
            passage_attempts: 5,
            query_attempts: 2,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// How long to wait before the next request, `None` to give up. `attempt` counts from 1; `random` (0 to 1) spreads
    /// the waits of several workers over the second half of each.
    pub(crate) fn wait(
        &self,
        attempt: u32,
        error: &HttpError,
        purpose: EmbeddingPurpose,
        random: f64,
    ) -> Option<Duration> {
        let attempts = match (error, purpose) {
            // A whole time-out has passed already; one more says whether it was chance.
            (HttpError::Timeout { .. }, EmbeddingPurpose::Passage) => self.passage_attempts.min(2),
            (HttpError::Timeout { .. }, EmbeddingPurpose::Query) => 1,
            (_, EmbeddingPurpose::Passage) => self.passage_attempts,
            (_, EmbeddingPurpose::Query) => self.query_attempts,
        };
        if attempt >= attempts {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(1 << (attempt - 1).min(16));
        let wait = doubled
            .min(self.longest_wait)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        match error.retry_after() {
            Some(asked) if asked > self.longest_wait => None,
            Some(asked) => Some(asked.max(wait)),
            None => Some(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnemosyne_domain::EmbeddingPurpose::{Passage, Query};

    fn busy(retry_after: Option<u64>) -> HttpError {
        HttpError::Status {
            host: "host".into(),
            code: 429,
            body_excerpt: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy {
            passage_attempts: 20,
            ..RetryPolicy::default()
        };
        let wait = |attempt, random| policy.wait(attempt, &busy(None), Passage, random);
        assert_eq!(wait(1, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(wait(1, 0.0), Some(Duration::from_millis(250)));
        assert_eq!(wait(3, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(wait(19, 1.0), Some(Duration::from_secs(30)));
        assert_eq!(wait(20, 1.0), None);
    }

    #[test]
    fn a_servers_wish_is_kept_or_the_server_is_left() {
        let policy = RetryPolicy::default();
        assert_eq!(
            policy.wait(1, &busy(Some(7)), Passage, 0.3),
            Some(Duration::from_secs(7))
        );
        assert_eq!(policy.wait(1, &busy(Some(31)), Passage, 0.3), None);
    }

    #[test]
    fn a_question_does_not_wait_long() {
        let policy = RetryPolicy::default();
        assert!(policy.wait(1, &busy(None), Query, 0.5).is_some());
        assert_eq!(policy.wait(2, &busy(None), Query, 0.5), None);
        let slow = HttpError::Timeout {
            host: "host".into(),
            after: Duration::from_secs(120),
        };
        assert_eq!(policy.wait(1, &slow, Query, 0.5), None);
        assert!(policy.wait(1, &slow, Passage, 0.5).is_some());
        assert_eq!(policy.wait(2, &slow, Passage, 0.5), None);
    }
}
