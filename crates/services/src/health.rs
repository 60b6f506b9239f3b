//! Whether the parts answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mnemosyne_domain::ports::{CacheCounters, StoreReport};
use mnemosyne_domain::{Dependency, EmbeddingModel, Principal, Refusal, StoreError};
use tokio_util::sync::CancellationToken;

use crate::context::Services;
use crate::error::ServiceResult;
use crate::permission::{self, Action};

/// How long a dependency may take before it counts as away.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for a probe that must answer itself within two seconds, which is what balancers wait for by default.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// How old what such a probe tells may be.
const SHORT_AGE: Duration = Duration::from_secs(1);
/// How often a role looks by itself whether what it stands on is there.
const LOOK: Duration = Duration::from_secs(20);

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

/// What the log was last told of each dependency that is away: one line when it goes and one when it is back, however often
/// somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<Dependency, &'static str>>);

impl Told {
    fn tell(&self, dependency: Dependency, problem: Option<&Problem>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = dependency.as_str();
        let Some(problem) = problem else {
            if told.remove(&dependency).is_some() {
                tracing::info!(dependency = name, "a dependency answers again");
            }
            return;
        };
        if told.insert(dependency, problem.sentence) == Some(problem.sentence) {
            tracing::debug!(dependency = name, error = problem.details, "{}", problem.sentence);
        } else {
            tracing::error!(dependency = name, error = problem.details, "{}", problem.sentence);
        }
    }
}

/// One look at all dependencies at a time, however many ask: probes are open to everybody, and a flood of them must not
/// take the connections of those who work.
#[derive(Debug, Default)]
pub(crate) struct Look(tokio::sync::Mutex<Option<Seen>>);

/// What a look has seen.
#[derive(Debug)]
struct Seen {
    began: Instant,
    states: Vec<DependencyState>,
}

impl Look {
    /// What is seen now, or what somebody saw whose look began at most `age` before this call.
    async fn share<F>(&self, age: Duration, look: impl FnOnce() -> F) -> Vec<DependencyState>
    where
        F: Future<Output = Vec<DependencyState>>,
    {
        let asked = Instant::now();
        let mut seen = self.0.lock().await;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.began + age >= asked) {
            return seen.states.clone();
        }
        let began = Instant::now();
        let states = look().await;
        *seen = Some(Seen {
            began,
            states: states.clone(),
        });
        states
    }
}

/// Why a dependency cannot be used.
struct Problem {
    /// For everybody: no host, no user, no secret.
    sentence: &'static str,
    /// For the log.
    details: String,
}

impl Services {
    /// What came of the calls of the shared cache by this process.
    pub fn cache_counters(&self) -> Option<CacheCounters> {
        self.cache.counters()
    }

    /// Asks every dependency, all at once; in the order of [`Dependency::ALL`].
    pub async fn dependencies(&self) -> Vec<DependencyState> {
        let look = || join_all(Dependency::ALL.map(|dependency| self.state_of(dependency)));
        self.look.share(Duration::ZERO, look).await
    }

    /// As [`Services::dependencies`], for a probe that must answer within two seconds whatever hangs: what is slow counts
    /// as away sooner, and what is told may be a second old.
    pub async fn dependencies_soon(&self) -> Vec<DependencyState> {
        let soon = |dependency| async move {
            let (state, _) = self.ask(dependency, SHORT_PATIENCE).await;
            state
        };
        let look = || join_all(Dependency::ALL.map(soon));
        self.short_look.share(SHORT_AGE, look).await
    }

    /// Looks at every dependency until `stop`, so that the log of each role says by itself what is away, and when it is
    /// back.
    pub async fn watch_dependencies(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let endless = async {
            loop {
                tick.tick().await;
                self.dependencies().await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(endless).await;
    }

    async fn state_of(&self, dependency: Dependency) -> DependencyState {
        let (state, problem) = self.ask(dependency, PATIENCE).await;
        self.told.tell(dependency, problem.as_ref());
        state
    }

    /// A dependency as it is now, and what is wrong with it.
    async fn ask(&self, dependency: Dependency, patience: Duration) -> (DependencyState, Option<Problem>) {
        let check = match dependency {
            Dependency::Database => self.relational.check(),
            Dependency::Cache => self.cache.check(),
            Dependency::Knowledge => self.knowledge.check(),
            Dependency::Broker => self.queue.check(),
            Dependency::Storage => self.blobs.check(),
            Dependency::Bucket => self.bucket.check(),
        };
        let began = Instant::now();
        let problem = match tokio::time::timeout(patience, check).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Problem {
                sentence: sentence(dependency, &error),
                details: error.to_string(),
            }),
            Err(_) => Some(Problem {
                sentence: "It did not answer in time.",
                details: format!("no answer within {} s", patience.as_secs()),
            }),
        };
        let state = DependencyState {
            dependency,
            problem: problem.as_ref().map(|problem| problem.sentence.to_owned()),
            milliseconds: (began.elapsed().as_secs_f64() * 100_000.0).round() / 100.0,
        };
        (state, problem)
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

/// What is wrong with a dependency, and what mends it, for everybody.
fn sentence(dependency: Dependency, error: &StoreError) -> &'static str {
    match error {
        StoreError::Schema(_) => match dependency {
            Dependency::Knowledge => {
                "The indexes of the graph are missing or of another version; run `mnemosyne setup`."
            }
            _ => "The schema is missing or of another version; run `mnemosyne migrate`.",
        },
        StoreError::Refused(refusal, _) => sentence_of_refusal(dependency, *refusal),
        _ => "It does not answer; the log has the details.",
    }
}

fn sentence_of_refusal(dependency: Dependency, refusal: Refusal) -> &'static str {
    match (dependency, refusal) {
        (Dependency::Database, Refusal::Login) => {
            "PostgreSQL refuses the login; check APP_DB_USER and APP_DB_PASSWORD."
        }
        (Dependency::Database, Refusal::Place) => {
            "PostgreSQL has no database of this name; make it, or check APP_DB_NAME."
        }
        (Dependency::Database, Refusal::Permission) => {
            "PostgreSQL does not let APP_DB_USER in from this host, or do this: check the server's pg_hba.conf, and that the \
             user owns the database."
        }
        (Dependency::Knowledge, Refusal::Login) => {
            "Neo4j refuses the login; check user and password in NEOMODEL_NEO4J_BOLT_URL, percent-encoded."
        }
        (Dependency::Knowledge, _) => {
            "Neo4j has no database of this name; check the end of NEOMODEL_NEO4J_BOLT_URL."
        }
        (Dependency::Broker, Refusal::Login) => {
            "RabbitMQ refuses the login; check user and password in CELERY_BROKER_URL, percent-encoded."
        }
        (Dependency::Broker, Refusal::Place) => {
            "RabbitMQ has no such virtual host, or it is closed to the user; check the end of CELERY_BROKER_URL."
        }
        (Dependency::Broker, Refusal::Permission) => {
            "RabbitMQ does not let the user of CELERY_BROKER_URL configure, write and read its virtual host."
        }
        (Dependency::Storage, Refusal::Login) => {
            "The S3 server refuses the key; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        }
        (Dependency::Storage, Refusal::Place) => {
            "The bucket does not exist; make it, or check AWS_STORAGE_BUCKET_NAME."
        }
        (Dependency::Storage, Refusal::Permission) => {
            "The key AWS_ACCESS_KEY_ID may not list, read and write the bucket AWS_STORAGE_BUCKET_NAME."
        }
        (Dependency::Bucket, Refusal::Login) => {
            "The S3 server refuses the key; check DAEDALUS_S3_ACCESS_KEY_ID and DAEDALUS_S3_SECRET_ACCESS_KEY."
        }
        (Dependency::Bucket, Refusal::Place) => {
            "The bucket of Daedalus does not exist; check DAEDALUS_S3_BUCKET_NAME."
        }
        (Dependency::Bucket, Refusal::Permission) => {
            "The key DAEDALUS_S3_ACCESS_KEY_ID may not read the bucket DAEDALUS_S3_BUCKET_NAME."
        }
        (Dependency::Cache, _) => "Memcached refuses the connection; check KVDB_LOCATION.",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn state(milliseconds: f64) -> DependencyState {
        DependencyState {
            dependency: Dependency::Cache,
            problem: None,
            milliseconds,
        }
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_one_look_that_began_after_they_asked() {
        let look = Look::default();
        let looks = AtomicU32::new(0);
        let slow = || async {
            let number = looks.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            vec![state(f64::from(number))]
        };
        let seen = join_all((0..50).map(|_| look.share(Duration::ZERO, slow))).await;
        // The first looks at once; all others asked before that look began, or share the next one.
        assert!(looks.load(Ordering::SeqCst) <= 2, "{looks:?}");
        assert!(seen.iter().all(|states| states.len() == 1));

        let before = looks.load(Ordering::SeqCst);
        assert_eq!(
            look.share(Duration::ZERO, slow).await,
            [state(f64::from(before))],
            "seen anew"
        );
        let old = look.share(Duration::from_secs(60), slow).await;
        assert_eq!(old, [state(f64::from(before))], "a minute is young enough");
    }

    const REFUSALS: [Refusal; 3] = [Refusal::Login, Refusal::Place, Refusal::Permission];

    #[test]
    fn a_refusal_names_the_variable_of_its_own_dependency() {
        for (dependency, variable) in [
            (Dependency::Database, "APP_DB_"),
            (Dependency::Cache, "KVDB_LOCATION"),
            (Dependency::Knowledge, "NEOMODEL_NEO4J_BOLT_URL"),
            (Dependency::Broker, "CELERY_BROKER_URL"),
            (Dependency::Storage, "AWS_"),
            (Dependency::Bucket, "DAEDALUS_S3_"),
        ] {
            for refusal in REFUSALS {
                let said = sentence(dependency, &StoreError::Refused(refusal, "hunter2".into()));
                assert!(said.contains(variable) && said.ends_with('.'), "{said}");
            }
        }
    }

    #[test]
    fn what_a_missing_schema_needs_depends_on_whose_it_is() {
        let missing = StoreError::Schema(String::new());
        assert!(sentence(Dependency::Database, &missing).contains("mnemosyne migrate"));
        assert!(sentence(Dependency::Knowledge, &missing).contains("mnemosyne setup"));
    }
}
