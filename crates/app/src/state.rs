//! What every handler gets.

use std::fmt;
use std::sync::Arc;

use chrono_tz::Tz;
use mnemosyne_config::IpNetwork;
use mnemosyne_domain::Dependency;
use mnemosyne_services::{ServiceResult, Services, origin};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ApiResult};
use crate::metrics::Metrics;

/// Requests that may be worked on at once; more are answered 503 at once, which is kinder than a queue nobody sees.
const MAX_CONCURRENT_REQUESTS: usize = 512;

/// How the role is reached and guarded.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// `ALLOWED_HOSTS`: names, `.name` for it and all below it, `*` for any.
    pub allowed_hosts: Vec<String>,
    /// `CSRF_TRUSTED_ORIGINS`: `https://name`, or `https://*.name` for all below it.
    pub csrf_trusted_origins: Vec<String>,
    /// `MNEMOSYNE_TRUSTED_PROXIES`: whose `X-Forwarded-` headers count.
    pub trusted_proxies: Vec<IpNetwork>,
    /// `DEBUG`: whether visitors see what went wrong inside.
    pub debug: bool,
    /// `TIME_ZONE`: the zone that pages show times in.
    pub time_zone: Tz,
    /// `LANGUAGE_CODE`: the language that pages declare.
    pub language_code: String,
    /// `MNEMOSYNE_READY_REQUIRES`: what `/ready/` demands besides what it always does.
    pub ready_requires: Vec<Dependency>,
    /// The address of the MCP server, as people are told.
    pub mcp_url: String,
    /// `MCP_REQUIRE_AUTH`: whether callers of that server need a token.
    pub mcp_requires_token: bool,
    /// The version that runs.
    pub version: String,
}

/// The state of the role; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub(crate) services: Arc<Services>,
    pub(crate) settings: Arc<AppSettings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) capacity: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

impl AppState {
    /// Binds the role to its use cases. `stop` ends streams when the process stops.
    pub fn new(services: Arc<Services>, settings: AppSettings, stop: CancellationToken) -> Self {
        Self {
            services,
            settings: Arc::new(settings),
            metrics: Arc::new(Metrics::new()),
            capacity: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)),
            stop,
        }
    }

    /// The use cases.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// The settings in force.
    pub fn settings(&self) -> &AppSettings {
        &self.settings
    }

    /// Fires when the process stops: streams end then.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Runs a change to its end even where the client goes away in the middle of it.
pub(crate) async fn to_the_end<T, F>(
    state: &AppState,
    change: impl FnOnce(Arc<Services>) -> F,
) -> ApiResult<T>
where
    T: Send + 'static,
    F: Future<Output = ServiceResult<T>> + Send + 'static,
{
    let work = origin::from(origin::address(), change(Arc::clone(&state.services)));
    match tokio::spawn(work).await {
        Ok(answer) => Ok(answer?),
        Err(error) => Err(ApiError::internal(&format!("a change broke down: {error}"))),
    }
}
