//! Names on the wire (contract §4.2): one set of shapes for REST, MCP and `--json`. More may be added, none renamed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mnemosyne_domain as domain;
use mnemosyne_domain::item::text_preview;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::models::ModelView;
use crate::providers::{self, KeyState, ProviderView};
use crate::search::{SearchHit, SearchOutcome};

/// The library of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Workspace {
    /// The client's own name for it.
    pub workspace_id: Option<String>,
    /// Its library.
    pub library_uid: String,
    /// The library's name.
    pub name: String,
    /// One of the nine library types.
    pub library_type: String,
    /// Free text.
    pub description: String,
    /// Visible items.
    pub item_count: u64,
    /// Chunks of visible items.
    pub chunk_count: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<domain::Library> for Workspace {
    fn from(library: domain::Library) -> Self {
        Self {
            workspace_id: library.workspace_id.map(|id| id.as_str().to_owned()),
            library_uid: library.uid.to_string(),
            name: library.name,
            library_type: library.library_type.as_str().to_owned(),
            description: library.description,
            item_count: library.item_count,
            chunk_count: library.chunk_count,
            created_at: library.created_at,
        }
    }
}

/// A user or a service account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct User {
    /// Its key.
    pub user_id: i64,
    /// Unique.
    pub username: String,
    /// Mail address, may be empty.
    pub email: String,
    /// Given name, may be empty.
    pub first_name: String,
    /// Family name, may be empty.
    pub last_name: String,
    /// May do everything.
    pub is_superuser: bool,
    /// May sign in at all.
    pub is_active: bool,
    /// When it was made.
    pub date_joined: DateTime<Utc>,
    /// Last sign-in in a browser.
    pub last_login: Option<DateTime<Utc>>,
    /// It belongs to a program: no link to choose a new password is mailed to it.
    pub is_service: bool,
}

impl From<domain::User> for User {
    fn from(user: domain::User) -> Self {
        Self {
            user_id: user.id.0,
            username: user.username,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            is_superuser: user.is_superuser,
            is_active: user.is_active,
            date_joined: user.date_joined,
            last_login: user.last_login,
            is_service: user.is_service,
        }
    }
}

/// Something that was written down.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct AuditEntry {
    /// Its key.
    pub id: i64,
    /// When it happened (first).
    pub at: DateTime<Utc>,
    /// When it happened last.
    pub last_at: DateTime<Utc>,
    /// How often it happened.
    pub count: u64,
    /// What happened: a stable word.
    pub event: String,
    /// Who did it; empty where nobody known did.
    pub actor: String,
    /// The address of the client; empty for a command.
    pub address: String,
    /// What it was done to.
    pub subject: String,
    /// What else there is to say.
    pub detail: String,
}

impl From<domain::AuditEntry> for AuditEntry {
    fn from(entry: domain::AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            last_at: entry.last_at,
            count: entry.count,
            event: entry.event.as_str().to_owned(),
            actor: entry.actor,
            address: entry.address,
            subject: entry.subject,
            detail: entry.detail,
        }
    }
}

/// A library.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Library {
    /// Its identifier.
    pub library_uid: String,
    /// Unique among all libraries.
    pub name: String,
    /// One of the nine library types; frozen.
    pub library_type: String,
    /// Free text.
    pub description: String,
    /// The workspace it belongs to; null for a global library.
    pub workspace_id: Option<String>,
    /// Visible items.
    pub item_count: u64,
    /// Chunks of visible items.
    pub chunk_count: u64,
    /// The model that makes its vectors; null until its first item.
    pub embedding_model: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// What happens to a document in it: its type's settings with what it overrides.
    pub profile: Profile,
}

/// What a library type does to a document.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Profile {
    /// Size that a chunk aims at, in characters.
    pub target_chars: usize,
    /// Largest size of an ordinary chunk, in characters.
    pub max_chars: usize,
    /// Overlap of neighbouring chunks, in characters.
    pub overlap_chars: usize,
    /// What an embedding model is told about questions.
    pub embedding_instruction: String,
    /// What a reranker is told.
    pub rerank_instruction: String,
    /// What a model that reads the results should know about them.
    pub llm_context: String,
    /// What a vision model is asked about an image.
    pub vision_prompt: String,
}

impl From<domain::LibraryTypeProfile> for Profile {
    fn from(profile: domain::LibraryTypeProfile) -> Self {
        Self {
            target_chars: profile.target_chars,
            max_chars: profile.max_chars,
            overlap_chars: profile.overlap_chars,
            embedding_instruction: profile.embedding_instruction,
            rerank_instruction: profile.rerank_instruction,
            llm_context: profile.llm_context,
            vision_prompt: profile.vision_prompt,
        }
    }
}

impl From<domain::Library> for Library {
    fn from(library: domain::Library) -> Self {
        Self {
            profile: library.profile().into(),
            library_uid: library.uid.to_string(),
            name: library.name,
            library_type: library.library_type.as_str().to_owned(),
            description: library.description,
            workspace_id: library.workspace_id.map(|id| id.as_str().to_owned()),
            item_count: library.item_count,
            chunk_count: library.chunk_count,
            embedding_model: library.embedding_model,
            created_at: library.created_at,
        }
    }
}

/// A collection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Collection {
    /// Its identifier.
    pub collection_uid: String,
    /// The library that contains it.
    pub library_uid: String,
    /// Unique inside the library.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Visible items.
    pub item_count: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl From<domain::Collection> for Collection {
    fn from(collection: domain::Collection) -> Self {
        Self {
            collection_uid: collection.uid.to_string(),
            library_uid: collection.library_uid.to_string(),
            name: collection.name,
            description: collection.description,
            item_count: collection.item_count,
            created_at: collection.created_at,
        }
    }
}

/// An item.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Item {
    /// Its identifier.
    pub item_uid: String,
    /// Its library.
    pub library_uid: String,
    /// Its collection.
    pub collection_uid: String,
    /// Title.
    pub title: String,
    /// Authors, as the document names them.
    pub authors: Vec<String>,
    /// BCP 47 language, where known.
    pub language: Option<String>,
    /// The name the client knows the source by.
    pub source_ref: String,
    /// The client's hash of the content.
    pub content_hash: String,
    /// File name.
    pub filename: String,
    /// Media type, as found in the file.
    pub content_type: String,
    /// Size of the original in bytes.
    pub byte_size: u64,
    /// Pages or sections, where the format has them.
    pub page_count: Option<u32>,
    /// Number of its chunks.
    pub chunk_count: u64,
    /// `completed`: it can be found.
    pub embedding_status: String,
    /// The model that made its vectors.
    pub embedding_model: Option<String>,
    /// `ok`, or what could not be read.
    pub extraction: String,
    /// Whatever the client attached.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<domain::Item> for Item {
    fn from(item: domain::Item) -> Self {
        Self {
            item_uid: item.uid.to_string(),
            library_uid: item.library_uid.to_string(),
            collection_uid: item.collection_uid.to_string(),
            title: item.title,
            authors: item.authors,
            language: item.language,
            source_ref: item.source_ref,
            content_hash: item.content_hash,
            filename: item.filename,
            content_type: item.content_type,
            byte_size: item.byte_size,
            page_count: item.page_count,
            chunk_count: item.chunk_count,
            embedding_status: item.status.as_str().to_owned(),
            embedding_model: item.embedding_model,
            extraction: item.extraction,
            metadata: item.metadata,
            created_at: item.created_at,
            updated_at: item.updated_at,
        }
    }
}

/// A chunk with its whole text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Chunk {
    /// Its identifier.
    pub chunk_uid: String,
    /// Its item.
    pub item_uid: String,
    /// The item's title.
    pub item_title: String,
    /// The whole text.
    pub text: String,
    /// The headings it stands under, outermost first.
    pub heading_path: Vec<String>,
    /// The page or section it begins on, from 1, where the format has them.
    pub page: Option<u32>,
    /// `page`, or `section` where the format has no pages; absent without a number.
    pub page_kind: Option<String>,
    /// 0 for the item's first chunk.
    pub position: u32,
    /// Start in the item's extracted text, in bytes.
    pub byte_start: u64,
    /// End in the item's extracted text, in bytes.
    pub byte_end: u64,
    /// The chunk before it.
    pub previous_chunk_uid: Option<String>,
    /// The chunk after it.
    pub next_chunk_uid: Option<String>,
}

impl From<domain::Chunk> for Chunk {
    fn from(chunk: domain::Chunk) -> Self {
        Self {
            chunk_uid: chunk.uid.to_string(),
            item_uid: chunk.item_uid.to_string(),
            item_title: chunk.item_title,
            text: chunk.text,
            heading_path: chunk.heading_path,
            page: chunk.page,
            page_kind: page_kind(chunk.page, chunk.page_kind),
            position: chunk.position,
            byte_start: chunk.byte_start,
            byte_end: chunk.byte_end,
            previous_chunk_uid: chunk.previous.map(|uid| uid.to_string()),
            next_chunk_uid: chunk.next.map(|uid| uid.to_string()),
        }
    }
}

/// The word beside the number of a place.
fn page_kind(page: Option<u32>, kind: domain::PlaceKind) -> Option<String> {
    page.map(|_| kind.as_str().to_owned())
}

/// A concept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Concept {
    /// Its identifier.
    pub concept_uid: String,
    /// Its name.
    pub name: String,
    /// `person`, `place`, `topic`, `technique` or `theme`.
    pub concept_type: String,
    /// `local` for the cheap extractor, otherwise the name of a model.
    pub extracted_by: String,
    /// In how many chunks it is mentioned.
    pub mentions: u64,
}

impl From<domain::Concept> for Concept {
    fn from(concept: domain::Concept) -> Self {
        Self {
            concept_uid: concept.uid.to_string(),
            name: concept.name,
            concept_type: concept.kind.as_str().to_owned(),
            extracted_by: concept.extracted_by,
            mentions: concept.mentions,
        }
    }
}

/// The answer to a request to ingest.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct IngestAnswer {
    /// Poll `jobs/{job_id}/`.
    pub job_id: String,
    /// The item it makes.
    pub item_uid: String,
    /// The library it goes to.
    pub library_uid: String,
    /// Where the job stands.
    pub status: String,
    /// Whether the same request was made before; this is its job.
    pub deduplicated: bool,
}

impl From<domain::ports::Enqueued> for IngestAnswer {
    fn from(enqueued: domain::ports::Enqueued) -> Self {
        Self {
            job_id: enqueued.job.id.to_string(),
            item_uid: enqueued.job.item_uid.to_string(),
            library_uid: enqueued.job.request.library_uid.to_string(),
            status: enqueued.job.status.as_str().to_owned(),
            deduplicated: enqueued.deduplicated,
        }
    }
}

/// Why a job failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct JobError {
    /// The stable word; see docs/errors.md.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
}

/// What a job has made so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct JobCounts {
    /// Chunks.
    pub chunks: u64,
    /// Images.
    pub images: u64,
    /// Concepts.
    pub concepts: u64,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Job {
    /// Its identifier.
    pub job_id: String,
    /// The item it makes.
    pub item_uid: String,
    /// The library it goes to.
    pub library_uid: String,
    /// The name the client knows the source by.
    pub source_ref: String,
    /// File name.
    pub filename: String,
    /// `pending`, `processing`, `completed`, `failed`, `superseded` or `cancelled`.
    pub status: String,
    /// The stage it is in, or ended in.
    pub stage: String,
    /// 0 to 1.
    pub progress: f32,
    /// How often it was begun.
    pub attempts: u32,
    /// What it has made so far.
    pub counts: JobCounts,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was first begun.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Milliseconds by stage.
    pub timings_ms: BTreeMap<String, u64>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<JobError>,
}

impl From<domain::Job> for Job {
    fn from(job: domain::Job) -> Self {
        let attempts = job.runs();
        Self {
            job_id: job.id.to_string(),
            item_uid: job.item_uid.to_string(),
            library_uid: job.request.library_uid.to_string(),
            source_ref: job.request.source_ref,
            filename: job.request.filename,
            status: job.status.as_str().to_owned(),
            stage: job.stage.as_str().to_owned(),
            progress: job.progress,
            attempts,
            counts: JobCounts {
                chunks: job.counts.chunks,
                images: job.counts.images,
                concepts: job.counts.concepts,
            },
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            timings_ms: job.timings_ms,
            error: job.error.map(|failure| JobError {
                code: failure.code.as_str().to_owned(),
                message: failure.message,
            }),
        }
    }
}

/// Rank and score of a result in one leg.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct LegScore {
    /// 1 for the leg's best.
    pub rank: usize,
    /// The leg's own score; not comparable between legs.
    pub score: f32,
}

/// A found passage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct SearchResult {
    /// The chunk.
    pub chunk_uid: String,
    /// Its item.
    pub item_uid: String,
    /// The item's title.
    pub item_title: String,
    /// The item's library.
    pub library_uid: String,
    /// That library's type.
    pub library_type: String,
    /// The first 500 characters or so of the passage.
    pub text_preview: String,
    /// The headings it stands under, outermost first.
    pub heading_path: Vec<String>,
    /// The page or section it begins on, from 1, where the format has them.
    pub page: Option<u32>,
    /// `page`, or `section` where the format has no pages; absent without a number.
    pub page_kind: Option<String>,
    /// 1 for the best.
    pub rank: usize,
    /// The fused score; good for order only.
    pub score: f32,
    /// Rank and score in each leg that found it: `vector`, `fulltext`, `graph`, `image`.
    pub legs: BTreeMap<String, LegScore>,
    /// The reranker's score, where it ran.
    pub rerank_score: Option<f32>,
}

impl From<SearchHit> for SearchResult {
    fn from(found: SearchHit) -> Self {
        Self {
            chunk_uid: found.hit.chunk_uid.to_string(),
            item_uid: found.hit.item_uid.to_string(),
            item_title: found.hit.item_title,
            library_uid: found.hit.library_uid.to_string(),
            library_type: found.hit.library_type.as_str().to_owned(),
            text_preview: text_preview(&found.hit.text).to_owned(),
            heading_path: found.hit.heading_path,
            page: found.hit.page,
            page_kind: page_kind(found.hit.page, found.hit.page_kind),
            rank: found.rank,
            score: found.score,
            legs: found
                .legs
                .into_iter()
                .map(|(leg, place)| {
                    (
                        leg.as_str().to_owned(),
                        LegScore {
                            rank: place.rank,
                            score: place.score,
                        },
                    )
                })
                .collect(),
            rerank_score: None,
        }
    }
}

/// A model whose vectors were compared.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// `neural`, or `lexical`: spelling only, no meaning.
    pub kind: String,
    /// Length of its vectors.
    pub dimension: usize,
}

impl From<domain::EmbeddingModel> for Model {
    fn from(model: domain::EmbeddingModel) -> Self {
        Self {
            name: model.id,
            kind: model.kind.as_str().to_owned(),
            dimension: model.dimension,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct SearchAnswer {
    /// Passages, best first.
    pub results: Vec<SearchResult>,
    /// Images, best first.
    #[schema(value_type = Vec<Object>)]
    pub image_results: Vec<Value>,
    /// `ok`, `skipped` or `failed`.
    pub rerank_status: String,
    /// What could not be done; empty where all went well.
    pub degraded: Vec<String>,
    /// The embedding models whose vectors were compared.
    pub models: Vec<Model>,
    /// Milliseconds by step.
    pub timings_ms: BTreeMap<String, f64>,
}

impl From<SearchOutcome> for SearchAnswer {
    fn from(outcome: SearchOutcome) -> Self {
        Self {
            results: outcome.hits.into_iter().map(Into::into).collect(),
            image_results: Vec::new(),
            rerank_status: outcome.rerank.as_str().to_owned(),
            degraded: outcome.degraded,
            models: outcome.models.into_iter().map(Into::into).collect(),
            timings_ms: outcome.timings_ms,
        }
    }
}

/// A server of models. Its key is never told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct Provider {
    /// Its identifier.
    pub provider_uid: String,
    /// What people call it; unique.
    pub name: String,
    /// How it speaks: `openai` or `synesis`.
    pub kind: String,
    /// Its address.
    pub base_url: String,
    /// Whether it is given a key.
    pub api_key_set: bool,
    /// The last characters of the key, four at the most; null where there is none, or where it cannot be opened.
    pub api_key_hint: Option<String>,
    /// False where there is a key that none of the configured encryption keys opens.
    pub api_key_readable: bool,
    /// Whether its certificate is checked.
    pub verify_tls: bool,
    /// Whether its host may have a private address although no setting names it.
    pub private_address_allowed: bool,
    /// Seconds that one request may take.
    pub timeout_seconds: u64,
    /// Texts in one request.
    pub batch_size: u32,
    /// Estimated tokens in one request.
    pub batch_tokens: u32,
    /// Estimated tokens of the longest piece of text.
    pub text_tokens: u32,
    /// Requests of one process at the same time.
    pub max_parallel: u32,
    /// Registered models.
    pub model_count: u64,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<ProviderView> for Provider {
    fn from(view: ProviderView) -> Self {
        let draft = view.provider.draft;
        let limits = draft.limits;
        Self {
            provider_uid: view.provider.uid.to_string(),
            name: draft.name,
            kind: draft.kind.as_str().to_owned(),
            base_url: draft.base_url,
            api_key_set: view.key != KeyState::None,
            api_key_readable: view.key != KeyState::Unreadable,
            api_key_hint: match view.key {
                KeyState::Set { hint } => Some(hint),
                KeyState::None | KeyState::Unreadable => None,
            },
            verify_tls: draft.verify_tls,
            private_address_allowed: draft.allow_private,
            timeout_seconds: limits.timeout.as_secs(),
            batch_size: limits.batch_size,
            batch_tokens: limits.batch_tokens,
            text_tokens: limits.text_tokens,
            max_parallel: limits.max_parallel,
            model_count: view.models.len() as u64,
            created_at: view.provider.created_at,
            updated_at: view.provider.updated_at,
        }
    }
}

/// A model of a registered server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct RegisteredModel {
    /// Its identifier.
    pub model_uid: String,
    /// The server.
    pub provider_uid: String,
    /// The server's name.
    pub provider_name: String,
    /// Its name on the wire.
    pub name: String,
    /// `embedding`, `reranker`, `chat` or `vision`; frozen.
    pub role: String,
    /// The length of its vectors; null but for embeddings.
    pub dimension: Option<u64>,
    /// Whether it was trained to be told its task; null: if its name says so.
    pub takes_instructions: Option<bool>,
    /// Whether it is the system's for its role.
    pub is_default: bool,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl From<ModelView> for RegisteredModel {
    fn from(view: ModelView) -> Self {
        let draft = view.model.draft;
        Self {
            model_uid: view.model.uid.to_string(),
            provider_uid: view.model.provider.to_string(),
            provider_name: view.provider_name,
            name: draft.name,
            role: draft.role.as_str().to_owned(),
            dimension: draft.dimension.map(|dimension| dimension as u64),
            takes_instructions: draft.takes_instructions,
            is_default: draft.is_default,
            created_at: view.model.created_at,
            updated_at: view.model.updated_at,
        }
    }
}

/// How the test of a server or a model ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema, JsonSchema)]
pub struct ServerTest {
    /// Whether the server did what it should.
    pub ok: bool,
    /// How long its answer took; null where none came.
    pub latency_ms: Option<f64>,
    /// The length of the vector that came, from embedding models.
    pub dimension: Option<u64>,
    /// What came, in a sentence; null where it went wrong.
    pub detail: Option<String>,
    /// What went wrong, in a sentence or two; null where all is well.
    pub error: Option<String>,
    /// The names of the server's models, where the server was tested and lists them.
    pub models: Vec<String>,
}

impl From<providers::ServerTest> for ServerTest {
    fn from(test: providers::ServerTest) -> Self {
        let (detail, error) = if test.ok {
            (Some(test.detail), None)
        } else {
            (None, Some(test.detail))
        };
        Self {
            ok: test.ok,
            latency_ms: test.latency_ms,
            dimension: test.dimension.map(|dimension| dimension as u64),
            detail,
            error,
            models: test.models,
        }
    }
}
