//! The stages of one job.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mnemosyne_documents::{ChunkDraft, Coverage, Document, FileHint};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{
    ChunkVector, EmbedError, EmbedText, Embedder, JobUpdate, Lease, PublishOutcome, SourceError,
};
use mnemosyne_domain::{
    ChunkUid, CollectionUid, EmbeddingPurpose, EmbeddingStatus, Failure, FailureCode, ItemUid, Library,
    NewChunk, NewItem, Stage, StoreError,
};

use super::{Interrupt, Progress, Published, passage_text};
use crate::context::Services;
use crate::error::ServiceError;

/// The most concepts of one document (contract §7).
const MAX_CONCEPTS: usize = 60;

/// Names of checkpoints.
pub(crate) mod checkpoint {
    pub(super) const ORIGINAL: &str = "original";
    pub(super) const ORIGINAL_SIZE: &str = "original_size";
    pub(crate) const DOCUMENT: &str = "document";
    pub(super) const TEXT: &str = "text";
    pub(crate) const STAGED: &str = "staged";
}

type Checkpoints = BTreeMap<String, String>;

struct FetchedOriginal {
    digest: String,
    size: u64,
}

struct ParsedText {
    document: Arc<Document>,
    text_digest: String,
}

impl Services {
    /// Everything up to publishing; answers how many chunks the item has.
    pub(super) async fn run_stages(&self, lease: &Lease, progress: &Progress) -> Result<u64, Interrupt> {
        let job = &lease.job;
        let library = self
            .knowledge
            .library(&job.request.library_uid)
            .await?
            .ok_or_else(|| Failure::new(FailureCode::LibraryGone, "The library was deleted meanwhile."))?;
        let visible = self
            .knowledge
            .item(&job.item_uid)
            .await?
            .filter(|item| item.status == EmbeddingStatus::Completed);
        let Some(item) = visible else {
            return self.write_item(lease, progress, &library).await;
        };
        // The library may have moved to another model since: then the new space's vectors are made now. (Where that happens
        // while an item is written, publishing finds out.)
        self.embed(lease, progress, &library).await?;
        Ok(item.chunk_count)
    }

    async fn write_item(
        &self,
        lease: &Lease,
        progress: &Progress,
        library: &Library,
    ) -> Result<u64, Interrupt> {
        let done = self.relational.checkpoints(&lease.job.id).await?;
        progress.enter(Stage::Fetch, 0.0);
        let original = self.fetch(lease, progress, &done).await?;
        progress.enter(Stage::Parse, 0.05);
        let parsed = self.parse(lease, progress, &done, &original).await?;
        progress.enter(Stage::Chunk, 0.15);
        let drafts = self
            .cut(lease, progress, &done, library, &original, &parsed)
            .await?;
        let chunks = drafts.len() as u64;
        progress.enter(Stage::Embed, 0.2);
        self.embed(lease, progress, library).await?;
        progress.enter(Stage::Concepts, 0.9);
        self.link_concepts(lease, progress, &parsed.document, drafts)
            .await?;
        Ok(chunks)
    }

    async fn remember(
        &self,
        lease: &Lease,
        progress: &Progress,
        results: &[(&str, String)],
    ) -> Result<(), Interrupt> {
        let checkpoints = results
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let update = JobUpdate {
            checkpoints,
            ..progress.update()
        };
        // What a lease that ended meanwhile means is decided where heartbeats are kept.
        self.tell(lease, update).await?;
        Ok(())
    }

    /// Brings the original into the blob store, its size checked before its first byte.
    async fn fetch(
        &self,
        lease: &Lease,
        progress: &Progress,
        done: &Checkpoints,
    ) -> Result<FetchedOriginal, Interrupt> {
        let job = &lease.job;
        let holder = job.item_uid.as_str();
        let known = done
            .get(checkpoint::ORIGINAL)
            .zip(done.get(checkpoint::ORIGINAL_SIZE));
        if let Some((digest, size)) = known
            && self.blobs.exists(digest).await?
        {
            return Ok(FetchedOriginal {
                digest: digest.clone(),
                size: size.parse().unwrap_or_default(),
            });
        }
        let limit = self.settings.ingest.max_file_bytes;
        let too_large = || {
            Failure::new(
                FailureCode::TooLarge,
                format!("The file is larger than the limit of {limit} bytes."),
            )
        };
        let original = match &job.request.source {
            JobSource::Blob { digest, size } => {
                self.relational.claim_blob(digest, holder).await?;
                if !self.blobs.exists(digest).await? {
                    return Err(
                        Failure::new(FailureCode::SourceNotFound, "The uploaded file is gone.").into(),
                    );
                }
                FetchedOriginal {
                    digest: digest.clone(),
                    size: *size,
                }
            }
            JobSource::BucketObject { key } => {
                let object = self
                    .bucket
                    .open(key)
                    .await
                    .map_err(|error| source_failure(key, &error))?;
                if object.size > limit {
                    return Err(too_large().into());
                }
                let stored = match self.blobs.put(object.content, limit).await {
                    Err(StoreError::Conflict("size")) => return Err(too_large().into()),
                    other => other?,
                };
                self.relational.claim_blob(&stored.digest, holder).await?;
                // Between storing and claiming, the last holder of the same content may have let go of it.
                if !self.blobs.exists(&stored.digest).await? {
                    return Err(Failure::new(
                        FailureCode::SourceUnavailable,
                        "The same file was being deleted at this moment.",
                    )
                    .into());
                }
                FetchedOriginal {
                    digest: stored.digest,
                    size: stored.size,
                }
            }
        };
        if original.size == 0 {
            return Err(Failure::new(FailureCode::EmptyFile, "The file is empty.").into());
        }
        self.remember(
            lease,
            progress,
            &[
                (checkpoint::ORIGINAL, original.digest.clone()),
                (checkpoint::ORIGINAL_SIZE, original.size.to_string()),
            ],
        )
        .await?;
        Ok(original)
    }

    /// Reads text and structure in a child process, and keeps both.
    async fn parse(
        &self,
        lease: &Lease,
        progress: &Progress,
        done: &Checkpoints,
        original: &FetchedOriginal,
    ) -> Result<ParsedText, Interrupt> {
        let job = &lease.job;
        if let (Some(structure), Some(text)) = (done.get(checkpoint::DOCUMENT), done.get(checkpoint::TEXT))
            && let Ok(bytes) = self.blobs.get(structure).await
            && let Ok(document) = off_executor(move || postcard::from_bytes::<Document>(&bytes)).await?
            && self.blobs.exists(text).await?
        {
            return Ok(ParsedText {
                document: Arc::new(document),
                text_digest: text.clone(),
            });
        }
        let file = self.blobs.local_file(&original.digest).await?;
        let hint = FileHint {
            filename: job.request.filename.clone(),
            content_type: job.request.content_type.clone(),
        };
        let document = Arc::new(self.extractor.extract(file.path(), &hint).await?);
        let (structure, text) = {
            let document = Arc::clone(&document);
            off_executor(move || (postcard::to_stdvec(document.as_ref()), document.text.clone())).await?
        };
        let structure = Bytes::from(structure.map_err(internal)?);
        let structure = self.keep(job.item_uid.as_str(), structure).await?;
        let text_digest = self.keep(job.item_uid.as_str(), Bytes::from(text)).await?;
        self.remember(
            lease,
            progress,
            &[
                (checkpoint::DOCUMENT, structure),
                (checkpoint::TEXT, text_digest.clone()),
            ],
        )
        .await?;
        Ok(ParsedText {
            document,
            text_digest,
        })
    }

    /// Claims and stores a blob of ours, in that order.
    async fn keep(&self, holder: &str, content: Bytes) -> Result<String, Interrupt> {
        let (content, digest) = off_executor(move || {
            let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&content));
            (content, digest)
        })
        .await?;
        self.relational.claim_blob(&digest, holder).await?;
        let stored = self.blobs.put_bytes(content).await?;
        if stored.digest == digest {
            return Ok(digest);
        }
        Err(internal(format!(
            "a blob was stored as {} instead of {digest}",
            stored.digest
        )))
    }

    /// Cuts the text by the library's type, and stages the item with its chunks.
    async fn cut(
        &self,
        lease: &Lease,
        progress: &Progress,
        done: &Checkpoints,
        library: &Library,
        original: &FetchedOriginal,
        parsed: &ParsedText,
    ) -> Result<Vec<ChunkDraft>, Interrupt> {
        let job = &lease.job;
        let profile = library.profile();
        let document = Arc::clone(&parsed.document);
        let drafts = off_executor(move || mnemosyne_documents::chunk(&document, &profile)).await?;
        if drafts.is_empty() {
            return Err(Failure::new(FailureCode::NoTextExtracted, "The file holds no text.").into());
        }
        progress.count(|counts| counts.chunks = drafts.len() as u64);
        let fingerprint = draft_fingerprint(&drafts);
        if done.get(checkpoint::STAGED) == Some(&fingerprint)
            && self.knowledge.item(&job.item_uid).await?.is_some()
        {
            return Ok(drafts);
        }
        let item = self.new_item(lease, original, parsed, self.collection_for(lease).await?);
        self.knowledge.stage_item(item).await?;
        let (document, uid) = (Arc::clone(&parsed.document), job.item_uid.clone());
        let (drafts, chunks) = off_executor(move || {
            let chunks = new_chunks(&uid, &document, &drafts);
            (drafts, chunks)
        })
        .await?;
        for some in chunks.chunks(500) {
            self.knowledge.stage_chunks(&job.item_uid, some).await?;
        }
        self.remember(lease, progress, &[(checkpoint::STAGED, fingerprint)])
            .await?;
        Ok(drafts)
    }

    /// The collection that was asked for, or the default one where that is gone.
    async fn collection_for(&self, lease: &Lease) -> Result<CollectionUid, Interrupt> {
        let request = &lease.job.request;
        if let Some(uid) = &request.collection_uid
            && self
                .knowledge
                .collection(uid)
                .await?
                .is_some_and(|found| found.library_uid == request.library_uid)
        {
            return Ok(uid.clone());
        }
        Ok(self.knowledge.default_collection(&request.library_uid).await?.uid)
    }

    fn new_item(
        &self,
        lease: &Lease,
        original: &FetchedOriginal,
        parsed: &ParsedText,
        collection_uid: CollectionUid,
    ) -> NewItem {
        let job = &lease.job;
        let document = &parsed.document;
        NewItem {
            uid: job.item_uid.clone(),
            library_uid: job.request.library_uid.clone(),
            collection_uid,
            title: title_of(job.request.title.as_deref(), document, &job.request.filename),
            source_ref: job.request.source_ref.clone(),
            content_hash: job.request.content_hash.clone(),
            revision: job.sequence,
            filename: job.request.filename.clone(),
            content_type: document.format.media_type().to_owned(),
            byte_size: original.size,
            original_digest: original.digest.clone(),
            text_digest: parsed.text_digest.clone(),
            authors: document.authors.clone(),
            language: document.language.clone(),
            page_count: document.page_count,
            extraction: match &document.coverage {
                Coverage::Full => "ok".to_owned(),
                Coverage::Partial(missing) => format!("partial: {missing}"),
            },
            metadata: job.request.metadata.clone(),
            created_at: job.created_at,
        }
    }

    /// Makes vectors for every chunk that has none yet.
    async fn embed(&self, lease: &Lease, progress: &Progress, library: &Library) -> Result<(), Interrupt> {
        let job = &lease.job;
        let embedder = self.embedder_for(library).await?;
        let space = embedder.model().space();
        let missing = self
            .knowledge
            .chunks_without_vector(&job.item_uid, &space)
            .await?;
        if missing.is_empty() {
            return Ok(());
        }
        let title = self
            .knowledge
            .item(&job.item_uid)
            .await?
            .map(|item| item.title)
            .unwrap_or_default();
        let total = missing.len() as f32;
        let mut finished = 0_usize;
        for step in missing.chunks(self.settings.ingest.embed_step.max(1)) {
            let vectors = embed_chunks(embedder.as_ref(), &title, step).await?;
            self.knowledge.put_vectors(&space, &vectors).await?;
            finished += step.len();
            progress.advance(0.2 + 0.7 * (finished as f32 / total));
        }
        Ok(())
    }

    /// The embedder that makes a library's vectors: the one it began with, or, for its first item, the system's.
    pub(crate) async fn embedder_for(&self, library: &Library) -> Result<Arc<dyn Embedder>, Interrupt> {
        let system = self.embedders.system().await?;
        let space = self
            .knowledge
            .adopt_model(&library.uid, &system.model().space())
            .await?;
        if space == system.model().space() {
            return Ok(system);
        }
        self.embedders.by_space(&space).await?.ok_or_else(|| {
            Failure::new(
                FailureCode::EmbeddingModelMissing,
                format!(
                    "The library's vectors were made by {}, which is not available here.",
                    space.model
                ),
            )
            .into()
        })
    }

    async fn link_concepts(
        &self,
        lease: &Lease,
        progress: &Progress,
        document: &Arc<Document>,
        drafts: Vec<ChunkDraft>,
    ) -> Result<(), Interrupt> {
        let document = Arc::clone(document);
        let concepts =
            off_executor(move || mnemosyne_documents::extract_concepts(&document, &drafts, MAX_CONCEPTS))
                .await?;
        progress.count(|counts| counts.concepts = concepts.len() as u64);
        self.knowledge
            .stage_concepts(&lease.job.item_uid, &concepts)
            .await?;
        Ok(())
    }

    pub(super) async fn publish(
        &self,
        lease: &Lease,
        progress: &Progress,
        chunks: u64,
    ) -> Result<Published, Interrupt> {
        let job = &lease.job;
        match self
            .knowledge
            .publish_item(&job.item_uid, chunks, self.clock.now())
            .await
        {
            Ok(PublishOutcome::Published { superseded }) => {
                if let Err(error) = self.release_items(&superseded).await {
                    tracing::warn!(job = %job.id, %error, "files of earlier revisions could not be let go of yet");
                }
                Ok(Published::Visible)
            }
            Ok(PublishOutcome::Superseded) => Err(Interrupt::Superseded),
            Ok(PublishOutcome::LibraryGone) => {
                Err(Failure::new(FailureCode::LibraryGone, "The library was deleted meanwhile.").into())
            }
            // The library moved to another model meanwhile.
            Err(StoreError::Conflict("vectors")) => Ok(Published::Outrun),
            // A run that had lost its lease staged the item anew.
            Err(StoreError::Conflict("chunks")) => {
                self.remember(lease, progress, &[(checkpoint::STAGED, String::new())])
                    .await?;
                Ok(Published::Outrun)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn new_chunks(item: &ItemUid, document: &Document, drafts: &[ChunkDraft]) -> Vec<NewChunk> {
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            let position = u32::try_from(index).unwrap_or(u32::MAX);
            NewChunk {
                uid: ChunkUid::derive(item, position),
                position,
                text: document.text[draft.span.clone()].to_owned(),
                heading_path: draft.heading_path.clone(),
                page: draft.page,
                byte_start: draft.span.start as u64,
                byte_end: draft.span.end as u64,
            }
        })
        .collect()
}

/// The vectors of some chunks of one item.
pub(crate) async fn embed_chunks(
    embedder: &dyn Embedder,
    title: &str,
    chunks: &[NewChunk],
) -> Result<Vec<ChunkVector>, Interrupt> {
    let texts: Vec<String> = chunks
        .iter()
        .map(|chunk| passage_text(title, &chunk.heading_path, &chunk.text))
        .collect();
    let inputs: Vec<EmbedText<'_>> = texts
        .iter()
        .map(|text| EmbedText {
            text,
            instruction: None,
        })
        .collect();
    let vectors = embedder
        .embed(&inputs, EmbeddingPurpose::Passage)
        .await
        .map_err(|error| match error {
            EmbedError::Transient { message, retry_after } => Interrupt::Failed {
                failure: Failure::new(FailureCode::EmbedderUnavailable, message),
                retry_after,
            },
            EmbedError::Permanent { message } => Failure::new(FailureCode::EmbedderRefused, message).into(),
        })?;
    if vectors.len() != chunks.len() {
        return Err(internal(format!(
            "{} vectors for {} texts",
            vectors.len(),
            chunks.len()
        )));
    }
    Ok(chunks
        .iter()
        .zip(vectors)
        .map(|(chunk, vector)| ChunkVector {
            chunk_uid: chunk.uid.clone(),
            vector,
        })
        .collect())
}

/// Runs work of more than half a millisecond beside the executor.
async fn off_executor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Interrupt> {
    tokio::task::spawn_blocking(work).await.map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Interrupt {
    tracing::error!(%error, "ingest met a defect");
    Failure::new(FailureCode::Internal, "Something went wrong inside Mnemosyne.").into()
}

impl From<ServiceError> for Interrupt {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(text) => StoreError::Unavailable(text).into(),
            other => internal(other),
        }
    }
}

fn source_failure(key: &str, error: &SourceError) -> Failure {
    match error {
        SourceError::NotFound => Failure::new(
            FailureCode::SourceNotFound,
            format!("There is no object {key:?}."),
        ),
        SourceError::Denied => Failure::new(
            FailureCode::SourceUnavailable,
            format!("There is no object {key:?}, or the credentials of the bucket may not read it."),
        ),
        SourceError::Unavailable(text) => {
            tracing::warn!(key, error = text, "the bucket cannot be read");
            Failure::new(FailureCode::SourceUnavailable, "The bucket could not be read.")
        }
        SourceError::NotConfigured => Failure::new(
            FailureCode::SourceNotFound,
            "No bucket is configured; set MNEMOSYNE_DAEDALUS_FOLDER, or upload the file itself.",
        ),
    }
}

/// Tells one cutting of a text from another: a run that resumes under changed settings must write its chunks anew.
fn draft_fingerprint(drafts: &[ChunkDraft]) -> String {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    for draft in drafts {
        hasher.update((draft.span.start as u64).to_le_bytes());
        hasher.update((draft.span.end as u64).to_le_bytes());
        for heading in &draft.heading_path {
            hasher.update(heading.as_bytes());
            hasher.update([0]);
        }
    }
    hex::encode(hasher.finalize())
}

/// The client's title, else the document's own, else the file name without its extension.
fn title_of(given: Option<&str>, document: &Document, filename: &str) -> String {
    let own = document
        .title
        .as_deref()
        .map(str::trim)
        .filter(|title| !title.is_empty());
    let chosen = given.or(own).unwrap_or_else(|| {
        let name = filename.rsplit(['/', '\\']).next().unwrap_or(filename);
        match name.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem,
            _ => name,
        }
    });
    chosen.chars().take(500).collect()
}
