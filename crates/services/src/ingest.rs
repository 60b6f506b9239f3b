//! Taking requests to ingest (contract §4.2).

use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{ByteStream, Enqueued, StoredBlob};
use mnemosyne_domain::{
    CollectionUid, Job, JobId, JobStatus, Library, LibraryUid, NewJob, Principal, Queue, StoreError,
    WorkspaceId,
};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::validate::Problems;

/// A request to ingest, as the client wrote it.
#[derive(Clone, Debug, Default)]
pub struct IngestRequest {
    /// The workspace to put the item in.
    pub workspace_id: Option<String>,
    /// Or the library.
    pub library_uid: Option<String>,
    /// The name the client knows the source by. With an upload it defaults to the file name.
    pub source_ref: Option<String>,
    /// The client's hash of the content. With an upload it defaults to the SHA-256 of the file.
    pub content_hash: Option<String>,
    /// The object in the Daedalus bucket.
    pub s3_key: Option<String>,
    /// File name. With an object it defaults to the last part of its key.
    pub filename: Option<String>,
    /// Media type the client claims.
    pub content_type: Option<String>,
    /// Title.
    pub title: Option<String>,
    /// Uid of a collection of the library, or a name: a collection of this name is made where there is none.
    pub collection: Option<String>,
    /// Whatever the client wants kept with the item.
    pub metadata: Option<Value>,
}

/// A file that came with a request and is stored, but does not belong to a job yet.
pub struct Upload {
    blob: StoredBlob,
    holder: String,
}

impl Upload {
    /// What was stored.
    pub fn blob(&self) -> &StoredBlob {
        &self.blob
    }
}

/// The name under which the file of a request is claimed before it belongs to a job. It says when the request came, so that
/// what a kill leaves can be told from what is just coming.
fn upload_holder(now: DateTime<Utc>) -> String {
    format!("upload:{}:{}", now.timestamp(), JobId::generate())
}

/// When the request came that claims under this name; `None` for other names.
pub(crate) fn upload_began(holder: &str) -> Option<DateTime<Utc>> {
    let (seconds, _) = holder.strip_prefix("upload:")?.split_once(':')?;
    DateTime::from_timestamp(seconds.parse().ok()?, 0)
}

const MAX_SOURCE_REF: usize = 1_000;
const MAX_METADATA_BYTES: usize = 65_536;
/// Time between two looks at a job that a worker was faster to take.
const EAGER_LOOK: Duration = Duration::from_millis(100);

impl Services {
    /// Stores the file of a request. Follow it by [`Services::ingest`], or by [`Services::abandon_upload`].
    pub async fn receive_upload(&self, caller: &Principal, content: ByteStream) -> ServiceResult<Upload> {
        permission::require(caller, Action::Ingest)?;
        let limit = self.settings.ingest.max_file_bytes;
        let blob = match self.blobs.put(content, limit).await {
            Err(StoreError::Conflict("size")) => return Err(ServiceError::TooLarge(limit)),
            other => other?,
        };
        let holder = upload_holder(self.clock.now());
        self.relational.claim_blob(&blob.digest, &holder).await?;
        let upload = Upload { blob, holder };
        // Between storing and claiming, the last holder of the same content may have let go of it.
        if !self.blobs.exists(&upload.blob.digest).await? {
            self.abandon_upload(upload).await;
            return Err(ServiceError::Unavailable(
                "the same file was being deleted; send it again".into(),
            ));
        }
        Ok(upload)
    }

    /// Forgets a file that came with a request that was refused. Where that fails [`Services::mend`] does it later.
    pub async fn abandon_upload(&self, upload: Upload) {
        let released = self
            .relational
            .release_blobs(&[&upload.holder], self.blobs.as_ref())
            .await;
        if let Err(error) = released {
            tracing::warn!(upload = upload.holder, %error, "an upload could not be let go of");
        }
    }

    /// Takes a request to ingest: an object in the bucket, or an upload. Idempotent on library, `source_ref` and
    /// `content_hash`. Once this returns, the job survives whatever happens.
    pub async fn ingest(
        &self,
        caller: &Principal,
        request: IngestRequest,
        upload: Option<Upload>,
        queue: Queue,
    ) -> ServiceResult<Enqueued> {
        permission::require(caller, Action::Ingest)?;
        let result = self.record(caller, request, upload.as_ref(), queue).await;
        // A new job has taken the claims over; otherwise nobody needs them any more.
        let taken = result.as_ref().is_ok_and(|enqueued| !enqueued.deduplicated);
        if let Some(upload) = upload
            && !taken
        {
            self.abandon_upload(upload).await;
        }
        let enqueued = result?;
        for job in &enqueued.superseded {
            self.discard_or_warn(&job.item_uid).await;
        }
        if enqueued.deduplicated {
            return Ok(enqueued);
        }
        let settings = &self.settings.ingest;
        let is_at_hand =
            settings.reads_bucket || !matches!(enqueued.job.request.source, JobSource::BucketObject { .. });
        if settings.always_eager && is_at_hand {
            let job = self.run_now(enqueued.job).await?;
            return Ok(Enqueued { job, ..enqueued });
        }
        self.nudge(enqueued.job.request.queue, &enqueued.job.id).await;
        Ok(enqueued)
    }

    async fn record(
        &self,
        caller: &Principal,
        request: IngestRequest,
        upload: Option<&Upload>,
        queue: Queue,
    ) -> ServiceResult<Enqueued> {
        let job = self.prepare(caller, request, upload, queue).await?;
        let holder = upload.map(|upload| upload.holder.as_str());
        match self.relational.enqueue(job, holder, self.clock.now()).await {
            Err(StoreError::NotFound) => Err(ServiceError::Unavailable(
                "the file of this request was given up meanwhile; send it again".into(),
            )),
            other => Ok(other?),
        }
    }

    /// Runs a new job here and now (`CELERY_TASK_ALWAYS_EAGER`), and answers it as it then stands. One attempt: what is
    /// to be tried again later is left to the workers, and so is a job that a worker was faster to take.
    async fn run_now(&self, job: Job) -> ServiceResult<Job> {
        let holder = format!("eager-{}", job.id);
        let queues = [job.request.queue];
        if let Some(lease) = self.lease_job(&holder, &queues, Some(&job.id)).await? {
            self.run_job(lease, &CancellationToken::new()).await?;
        }
        while let Some(found) = self.relational.job(&job.id).await? {
            if found.status != JobStatus::Processing {
                return Ok(found);
            }
            tokio::time::sleep(EAGER_LOOK).await;
        }
        // Its library was deleted meanwhile, and the job with it.
        Ok(job)
    }

    async fn prepare(
        &self,
        caller: &Principal,
        request: IngestRequest,
        upload: Option<&Upload>,
        queue: Queue,
    ) -> ServiceResult<NewJob> {
        let mut problems = Problems::default();
        let s3_key = problems.optional_text("s3_key", request.s3_key.as_deref(), 1_024);
        let source = match (s3_key, upload) {
            (Some(_), Some(_)) => {
                problems.add("s3_key", "Give either a file or an s3_key, not both.");
                None
            }
            (None, None) => {
                problems.add("s3_key", "This field is required.");
                None
            }
            (Some(key), None) => Some(JobSource::BucketObject { key }),
            (None, Some(upload)) => Some(JobSource::Blob {
                digest: upload.blob.digest.clone(),
                size: upload.blob.size,
            }),
        };
        let key_name = match &source {
            Some(JobSource::BucketObject { key }) => key.rsplit('/').next().map(str::to_owned),
            _ => None,
        };
        let filename = request
            .filename
            .filter(|name| !name.trim().is_empty())
            .or(key_name);
        let filename = problems.text("filename", filename.as_deref(), 255);
        let (source_ref, content_hash) = match upload {
            None => (request.source_ref, request.content_hash),
            Some(upload) => (
                request.source_ref.or_else(|| Some(filename.clone())),
                request.content_hash.or_else(|| Some(upload.blob.digest.clone())),
            ),
        };
        let source_ref = problems.text("source_ref", source_ref.as_deref(), MAX_SOURCE_REF);
        let content_hash = problems.text("content_hash", content_hash.as_deref(), 256);
        let content_type = problems.optional_text("content_type", request.content_type.as_deref(), 255);
        let title = problems.optional_text("title", request.title.as_deref(), 500);
        let collection = problems.optional_text("collection", request.collection.as_deref(), 200);
        let metadata = match request.metadata {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => {
                if Value::Object(map.clone()).to_string().len() > MAX_METADATA_BYTES {
                    problems.add("metadata", "Metadata may take 64 KiB at most.");
                }
                map
            }
            Some(_) => {
                problems.add("metadata", "Expected a JSON object.");
                Map::new()
            }
        };
        if request.workspace_id.as_deref().unwrap_or_default().is_empty()
            && request.library_uid.as_deref().unwrap_or_default().is_empty()
        {
            problems.add("workspace_id", "Give a workspace_id or a library_uid.");
        }
        problems.check()?;
        let library = self
            .target(
                caller,
                request.workspace_id.as_deref(),
                request.library_uid.as_deref(),
            )
            .await?;
        let collection_uid = match collection {
            Some(collection) => Some(self.target_collection(&library, &collection).await?),
            None => None,
        };
        let Some(source) = source else {
            return Err(ServiceError::Internal("a checked request lost its source".into()));
        };
        Ok(NewJob {
            library_uid: library.uid,
            collection_uid,
            source_ref,
            content_hash,
            filename,
            content_type,
            title,
            metadata,
            source,
            queue,
        })
    }

    async fn target(
        &self,
        caller: &Principal,
        workspace_id: Option<&str>,
        library_uid: Option<&str>,
    ) -> ServiceResult<Library> {
        let by_workspace = match workspace_id.filter(|id| !id.is_empty()) {
            Some(id) => {
                let id = WorkspaceId::parse(id).ok_or(ServiceError::NotFound("workspace"))?;
                let found = self.knowledge.library_of_workspace(&id).await?;
                Some(found.ok_or(ServiceError::NotFound("workspace"))?)
            }
            None => None,
        };
        let by_uid = match library_uid.filter(|uid| !uid.is_empty()) {
            Some(uid) => {
                let uid = LibraryUid::parse(uid).ok_or(ServiceError::NotFound("library"))?;
                Some(self.library(caller, &uid).await?)
            }
            None => None,
        };
        match (by_workspace, by_uid) {
            (Some(one), Some(other)) if one.uid != other.uid => Err(ServiceError::field(
                "library_uid",
                "This library does not belong to this workspace.",
            )),
            (Some(library), _) | (None, Some(library)) => Ok(library),
            (None, None) => Err(ServiceError::NotFound("workspace")),
        }
    }

    async fn target_collection(&self, library: &Library, wanted: &str) -> ServiceResult<CollectionUid> {
        if let Some(uid) = CollectionUid::parse(wanted)
            && let Some(found) = self.knowledge.collection(&uid).await?
        {
            if found.library_uid == library.uid {
                return Ok(found.uid);
            }
            return Err(ServiceError::field(
                "collection",
                "This collection belongs to another library.",
            ));
        }
        match self
            .knowledge
            .create_collection(&library.uid, wanted, "", self.clock.now())
            .await
        {
            Ok(made) => Ok(made.uid),
            Err(StoreError::Conflict(_)) => self
                .collection_by_name(&library.uid, wanted)
                .await?
                .ok_or_else(|| ServiceError::field("collection", "There is no such collection.")),
            Err(error) => Err(error.into()),
        }
    }

    async fn collection_by_name(
        &self,
        library: &LibraryUid,
        name: &str,
    ) -> ServiceResult<Option<CollectionUid>> {
        let mut page = mnemosyne_domain::PageRequest::first(mnemosyne_domain::PageRequest::MAX_LIMIT);
        loop {
            let found = self.knowledge.collections(None, Some(library), page).await?;
            if let Some(collection) = found.rows.iter().find(|collection| collection.name == name) {
                return Ok(Some(collection.uid.clone()));
            }
            page.offset += found.rows.len() as u64;
            if found.rows.is_empty() || page.offset >= found.total {
                return Ok(None);
            }
        }
    }
}
