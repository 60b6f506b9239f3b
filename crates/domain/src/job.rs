//! Jobs: requests to ingest one file each. The row of a job is the truth about it; a message in a queue is a nudge.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::error::Failure;
use crate::id::{CollectionUid, ItemUid, JobId, LibraryUid};

/// The name of the task that runs a job, in messages and for tools that watch workers.
pub const INGEST_TASK: &str = "library.tasks.ingest_from_daedalus";

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Waits for a worker, or for its next attempt.
    Pending,
    /// A worker holds a lease on it.
    Processing,
    /// Its item is visible to every search that starts now.
    Completed,
    /// It ended with an error; it can be retried.
    Failed,
    /// A later request for the same source took its place.
    Superseded,
    /// Somebody stopped it.
    Cancelled,
}

impl JobStatus {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Processing,
        Self::Completed,
        Self::Failed,
        Self::Superseded,
        Self::Cancelled,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing more happens to the job by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Processing)
    }
}

/// The stages of an ingest, in order. Each is finished before the next begins, and survives a killed worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The request is recorded.
    Queued,
    /// The original is brought into the blob store.
    Fetch,
    /// Text and structure are read from it.
    Parse,
    /// The text is cut into chunks by the library's type.
    Chunk,
    /// Chunks become vectors.
    Embed,
    /// Concepts are found and linked.
    Concepts,
    /// One transaction makes the item visible.
    Publish,
    /// Done.
    Complete,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Fetch,
        Self::Parse,
        Self::Chunk,
        Self::Embed,
        Self::Concepts,
        Self::Publish,
        Self::Complete,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Fetch => "fetch",
            Self::Parse => "parse",
            Self::Chunk => "chunk",
            Self::Embed => "embed",
            Self::Concepts => "concepts",
            Self::Publish => "publish",
            Self::Complete => "complete",
        }
    }

    /// The stage of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

/// The queues of the system being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// The default queue, `celery`.
    Default,
    /// Single documents.
    Embedding,
    /// Bulk work that yields to single documents.
    Batch,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 3] = [Self::Default, Self::Embedding, Self::Batch];

    /// The name of the queue on the broker.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "celery",
            Self::Embedding => "embedding",
            Self::Batch => "batch",
        }
    }

    /// The queue of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == name)
    }
}

/// What a job has made so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Chunks written.
    pub chunks: u64,
    /// Images found.
    pub images: u64,
    /// Concepts linked.
    pub concepts: u64,
}

/// Where the original of a job comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSource {
    /// An object in the Daedalus bucket (on the embedded default: a file below the configured folder).
    BucketObject {
        /// The object's key.
        key: String,
    },
    /// A file that was uploaded with the request and is in the blob store already.
    Blob {
        /// Its digest.
        digest: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// A request to ingest, before it has a row.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The library to put the item in.
    pub library_uid: LibraryUid,
    /// The collection to put the item in; `None` for the library's default one.
    pub collection_uid: Option<CollectionUid>,
    /// The name the client knows the source by.
    pub source_ref: String,
    /// The client's hash of the content.
    pub content_hash: String,
    /// File name.
    pub filename: String,
    /// Media type the client claims.
    pub content_type: Option<String>,
    /// Title the client gives.
    pub title: Option<String>,
    /// Whatever the client attached.
    pub metadata: Map<String, Value>,
    /// Where the original is.
    pub source: JobSource,
    /// The queue it waits in.
    pub queue: Queue,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Its place in the order of all jobs; an item's [`crate::Item::revision`].
    pub sequence: i64,
    /// The item it makes.
    pub item_uid: ItemUid,
    /// What was asked for.
    pub request: NewJob,
    /// Where it stands.
    pub status: JobStatus,
    /// The stage it is in, or ended in.
    pub stage: Stage,
    /// 0 to 1.
    pub progress: f32,
    /// How often a worker has begun it without coming to a failure.
    pub attempts: u32,
    /// How many attempts ended with a failure since it was asked for, or put back to work by hand.
    pub failures: u32,
    /// What it has made so far.
    pub counts: JobCounts,
    /// Milliseconds spent in each stage, by [`Stage::as_str`].
    pub timings_ms: BTreeMap<String, u64>,
    /// Why it failed, or why the last attempt did.
    pub error: Option<Failure>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker first began it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Not before this moment is it begun (again).
    pub due_at: DateTime<Utc>,
}

impl Job {
    /// How often a worker has begun it since it was asked for, or put back to work by hand.
    pub fn runs(&self) -> u32 {
        self.attempts.saturating_add(self.failures)
    }
}
