//! The ports: what the use cases need from the world. Every port has one conformance suite (in `testkit`) that each of
//! its backends must pass.

mod accounts;
mod audit;
mod blobs;
mod cache;
mod clock;
mod embedder;
mod foreign;
mod jobs;
mod knowledge;
mod model_servers;
mod providers;
mod queue;

pub use accounts::{Accounts, SigningKeys, Tokens};
pub use audit::{Audit, Mailer, Profiles, Throttle};
pub use blobs::{BlobStore, ByteStream, LocalFile, SourceBucket, SourceError, SourceObject, StoredBlob};
pub use cache::{Cache, CacheCounters};
pub use clock::{Clock, SystemClock};
pub use embedder::{EmbedError, EmbedText, Embedder, EmbedderRegistry};
pub use foreign::{ForeignColumn, ForeignTable, ForeignTables};
pub use jobs::{
    BlobLedger, Enqueued, Finished, JobFilter, JobOrder, JobUpdate, Jobs, Lease, LeaseOutcome, LeaseRequest,
    Settings, Throughput,
};
pub use knowledge::{
    ChunkVector, ConceptFilter, ItemFilter, ItemOrder, KnowledgeStore, LibraryFilter, LibraryOrder,
    LibraryTotals, LibraryUpdate, PublishOutcome, Removed, StoreReport, VectorQuery,
};
pub use model_servers::{ModelServers, ServerAnswer, ServerRefusal};
pub use providers::{Providers, RegisteredModel, RegisteredModels};
pub use queue::{
    Announcement, Awaited, CancelOutcome, Cancellation, JobQueue, Nudge, Receipt, TaskReport, TaskState,
};

use crate::error::StoreResult;

/// Everything relational: one database behind all of these.
pub trait Relational:
    Accounts
    + Tokens
    + SigningKeys
    + Providers
    + Jobs
    + BlobLedger
    + Settings
    + Audit
    + Throttle
    + Profiles
    + Health
{
}

impl<T> Relational for T where
    T: Accounts
        + Tokens
        + SigningKeys
        + Providers
        + Jobs
        + BlobLedger
        + Settings
        + Audit
        + Throttle
        + Profiles
        + Health
{
}

/// Whether a backend can serve right now.
#[async_trait::async_trait]
pub trait Health: Send + Sync {
    /// Answers at once where the backend can serve; [`crate::StoreError::Schema`] where `migrate` is missing.
    async fn check(&self) -> StoreResult<()>;
}
