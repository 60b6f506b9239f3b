//! The vocabulary of Mnemosyne: identifiers, libraries, items, chunks, concepts, jobs, accounts, errors, and the
//! ports (traits) through which the use cases reach storage, queues and models.
//!
//! Plain data and rules. Nothing here does I/O, knows a framework or serialises a wire format.

pub mod account;
pub mod audit;
pub mod concept;
pub mod dependency;
pub mod error;
pub mod id;
pub mod item;
pub mod job;
pub mod library;
pub mod model;
pub mod page;
pub mod ports;
pub mod provider;
pub mod search;
pub mod words;

pub use account::{
    McpToken, NewMcpToken, NewUser, Principal, SessionRecord, SigningKey, TokenGrant, Tool, User, UserId,
};
pub use audit::{
    Attempts, AuditEntry, AuditEvent, AuditFilter, DateFormat, Mail, NewAuditEntry, Profile, ProfileChange,
    Theme, UserChange, UserUpdate,
};
pub use concept::{Concept, ConceptKind, ConceptMention};
pub use dependency::Dependency;
pub use error::{Failure, FailureCode, Refusal, StoreError, StoreResult};
pub use id::{
    ChunkUid, CollectionUid, ConceptUid, ItemUid, JobId, LibraryUid, ModelUid, ProviderUid, WorkspaceId,
};
pub use item::{Chunk, Collection, EmbeddingStatus, Item, NewChunk, NewItem, PlaceKind};
pub use job::{INGEST_TASK, Job, JobCounts, JobStatus, NewJob, Queue, Stage};
pub use library::{ChunkStrategy, Library, LibraryType, LibraryTypeProfile, NewLibrary, ProfileOverrides};
pub use model::{EmbeddingModel, EmbeddingPurpose, ModelKind, VectorSpace};
pub use page::{Page, PageRequest};
pub use provider::{
    ApiKey, KeyChange, ModelDraft, ModelRole, ModelTarget, Provider, ProviderDraft, ProviderKey,
    ProviderKind, ProviderLimits, ProviderModel,
};
pub use search::{ChunkHit, Leg, LegHit, Scope, SearchFilter};
