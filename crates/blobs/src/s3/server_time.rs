//! The server's own clock, as its answers tell it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// Remembers the moment at which the server gave its last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerTime(Arc<Mutex<Option<SystemTime>>>);

impl ServerTime {
    /// Whether something of that moment is older than `age`, by the server's clock or, where it told none, by ours. What
    /// bears no moment is not.
    pub(super) fn is_older(&self, moment: Option<&DateTime>, age: Duration) -> bool {
        let Some(moment) = moment.and_then(|moment| SystemTime::try_from(*moment).ok()) else {
            return false;
        };
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = told.unwrap_or_else(SystemTime::now);
        now.duration_since(moment).unwrap_or_default() >= age
    }
}

#[dyn_dispatch_hint]
impl Intercept for ServerTime {
    fn name(&self) -> &'static str {
        "ServerTime"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let told = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_by_the_clock_of_the_server() {
        let server = ServerTime::default();
        let hour = Duration::from_secs(3_600);
        let now = DateTime::from(SystemTime::now());
        assert!(server.is_older(Some(&now), Duration::ZERO));
        assert!(!server.is_older(Some(&now), hour));
        assert!(!server.is_older(None, Duration::ZERO));
        *server.0.lock().unwrap() = Some(SystemTime::now() + 2 * hour);
        assert!(server.is_older(Some(&now), hour));
        *server.0.lock().unwrap() = Some(SystemTime::now() - hour);
        assert!(
            server.is_older(Some(&now), Duration::ZERO),
            "a moment ahead is no age"
        );
    }
}
