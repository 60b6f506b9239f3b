//! Whether the parts answer.

use std::time::{Duration, Instant};

use futures::future::join_all;
use mnemosyne_domain::ports::{CacheCounters, StoreReport};
use mnemosyne_domain::{Dependency, EmbeddingModel, Principal, StoreError};

use crate::context::Services;
use crate::error::ServiceResult;
use crate::permission::{self, Action};

/// How long a dependency may take before it counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// One dependency.
#[derive(Clone, Debug, PartialEq)]
pub struct DependencyState {
    /// What it is.
    pub dependency: Dependency,
    /// `None` where it answers, otherwise a sentence.
    pub problem: Option<String>,
    /// How long the answer took, in milliseconds.
    pub milliseconds: f64,
}

impl Services {
    /// What came of the calls of the shared cache by this process.
    pub fn cache_counters(&self) -> Option<CacheCounters> {
        self.cache.counters()
    }

    /// Asks every dependency, all at once; in the order of [`Dependency::ALL`].
    pub async fn dependencies(&self) -> Vec<DependencyState> {
        let asked = Dependency::ALL.map(|dependency| {
            probe(
                dependency,
                match dependency {
                    Dependency::Database => self.relational.check(),
                    Dependency::Cache => self.cache.check(),
                    Dependency::Knowledge => self.knowledge.check(),
                    Dependency::Broker => self.queue.check(),
                    Dependency::Storage => self.blobs.check(),
                    Dependency::Bucket => self.bucket.check(),
                },
            )
        });
        join_all(asked).await
    }

    /// The models that can be had, the system's first.
    pub async fn models(&self) -> ServiceResult<Vec<EmbeddingModel>> {
        Ok(self.embedders.available().await?)
    }

    /// What the knowledge store holds and whether it fits together.
    pub async fn store_report(&self, caller: &Principal) -> ServiceResult<StoreReport> {
        permission::require(caller, Action::Read)?;
        Ok(self.knowledge.report().await?)
    }
}

async fn probe(
    dependency: Dependency,
    check: impl Future<Output = Result<(), StoreError>>,
) -> DependencyState {
    let name = dependency.as_str();
    let began = Instant::now();
    let problem = match tokio::time::timeout(PATIENCE, check).await {
        Ok(Ok(())) => None,
        Ok(Err(StoreError::Schema(text))) => {
            tracing::error!(
                dependency = name,
                error = text,
                "the schema is missing or of another version"
            );
            Some("The schema is missing or of another version; run `mnemosyne migrate`.".to_owned())
        }
        Ok(Err(error)) => {
            tracing::error!(dependency = name, %error, "a dependency does not answer");
            Some("It does not answer; the log has the details.".to_owned())
        }
        Err(_) => Some(format!("It did not answer within {} s.", PATIENCE.as_secs())),
    };
    let milliseconds = (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0;
    DependencyState {
        dependency,
        problem,
        milliseconds,
    }
}
