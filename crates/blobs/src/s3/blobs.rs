//! Blobs as objects of a bucket. An object is there whole or not at all, which the server promises; content is spooled on
//! this machine first, because its name is known only at its end.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream as SdkByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Part};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use mnemosyne_domain::ports::{BlobStore, ByteStream, Health, LocalFile, StoredBlob};
use mnemosyne_domain::{StoreError, StoreResult};
use tempfile::NamedTempFile;

use crate::layout;
use crate::s3::download::Download;
use crate::s3::error::{self, Place};
use crate::s3::payload::KnownPayload;
use crate::s3::server_time::ServerTime;
use crate::s3::spool::{self, Source, Spool, SpoolFolder, Spooled, blocking};
use crate::s3::{S3Settings, connect, probe, transfer, transfer_time};

/// What is hashed and written in one go, away from the async executor.
const WRITE_BLOCK: usize = 256 * 1024;
/// How many parts of one blob are sent side by side.
const PARTS_AT_ONCE: usize = 3;
/// The most parts that an upload may have.
const MAX_PARTS: u64 = 10_000;
/// How long putting the parts together may take on the server.
const COMPLETION_TIME: Duration = Duration::from_secs(300);
/// How long an unfinished upload is worth removing.
const ABORT_TIME: Duration = Duration::from_secs(10);
/// How long the bucket may take to show its health.
const CHECK_TIME: Duration = Duration::from_secs(5);

/// How content gets to the bucket.
#[derive(Clone, Debug)]
pub struct UploadSettings {
    /// Folder for content on its way; it holds as much as is stored at one time.
    pub spool: PathBuf,
    /// Content above this many bytes is sent in parts.
    pub single_bytes: u64,
    /// Bytes of a part; servers want at least 5 MiB.
    pub part_bytes: u64,
}

impl UploadSettings {
    /// Parts of 8 MiB above 16 MiB.
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        Self {
            spool: spool.into(),
            single_bytes: 16 * 1024 * 1024,
            part_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Blobs in a bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3Blobs {
    client: Client,
    place: Place,
    spool: SpoolFolder,
    single_bytes: u64,
    part_bytes: u64,
}

impl std::fmt::Debug for S3Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Blobs")
            .field("bucket", &self.place.bucket())
            .finish_non_exhaustive()
    }
}

impl S3Blobs {
    /// Sets up the client and the spool folder, and removes what killed processes left there. Connects to nothing: the
    /// server may be away. Fails with [`StoreError::Unavailable`] where the settings or the folder cannot be used.
    pub async fn open(settings: &S3Settings, upload: UploadSettings) -> StoreResult<Self> {
        Ok(Self {
            client: connect(settings)?,
            place: Place::new(settings),
            spool: SpoolFolder::open(upload.spool).await?,
            single_bytes: upload.single_bytes,
            part_bytes: upload.part_bytes.max(1),
        })
    }

    fn key(&self, digest: &str) -> StoreResult<String> {
        layout::key_of(digest).ok_or(StoreError::NotFound)
    }

    async fn spool(&self, mut content: ByteStream, limit: u64) -> StoreResult<Spooled> {
        let limit = limit.min(self.part_bytes.saturating_mul(MAX_PARTS));
        let mut spool = Spool::new(self.spool.clone());
        let mut pieces = Vec::new();
        let mut waiting = 0;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|error| {
                StoreError::Unavailable(format!("the content could not be read to its end: {error}"))
            })?;
            waiting += piece.len();
            if spool.size() + waiting as u64 > limit {
                return Err(StoreError::Conflict("size"));
            }
            pieces.push(piece);
            if waiting >= WRITE_BLOCK {
                let block = std::mem::take(&mut pieces);
                waiting = 0;
                spool = blocking(move || spool.append(&block).map(|()| spool)).await?;
            }
        }
        blocking(move || {
            spool.append(&pieces)?;
            Ok(spool.finish())
        })
        .await
    }

    /// Sends spooled content, unless it is there already.
    async fn keep(&self, content: Spooled) -> StoreResult<StoredBlob> {
        let stored = StoredBlob {
            digest: content.digest,
            size: content.size,
        };
        let key = self.key(&stored.digest)?;
        if self.size_of(&key).await? == Some(stored.size) {
            return Ok(stored);
        }
        match content.source {
            Source::File(file) if stored.size > self.single_bytes => {
                self.send_in_parts(&key, &file, stored.size).await?;
            }
            Source::File(file) => {
                let body = file_part(&file, 0, stored.size).await?;
                self.send_whole(&key, &stored, body).await?;
            }
            Source::Memory(content) => {
                self.send_whole(&key, &stored, content.into()).await?;
            }
        }
        Ok(stored)
    }

    /// The size of an object, `None` where there is none.
    async fn size_of(&self, key: &str) -> StoreResult<Option<u64>> {
        let head = self.client.head_object().bucket(self.place.bucket()).key(key);
        match head.send().await {
            Ok(found) => Ok(found.content_length().and_then(|size| u64::try_from(size).ok())),
            Err(error) if error::is_missing_to_head(&error) => Ok(None),
            Err(error) => Err(self.place.unavailable(&error)),
        }
    }

    async fn send_whole(&self, key: &str, stored: &StoredBlob, body: SdkByteStream) -> StoreResult<()> {
        self.client
            .put_object()
            .bucket(self.place.bucket())
            .key(key)
            .content_length(i64::try_from(stored.size).unwrap_or(i64::MAX))
            .body(body)
            .customize()
            .config_override(transfer(stored.size))
            .interceptor(KnownPayload(stored.digest.clone()))
            .send()
            .await
            .map(drop)
            .map_err(|error| self.place.unavailable(&error))
    }

    async fn send_in_parts(&self, key: &str, file: &NamedTempFile, size: u64) -> StoreResult<()> {
        let upload = Upload::begin(self, key).await?;
        match self.fill(&upload, file, size).await {
            Ok(()) => {
                upload.finished();
                Ok(())
            }
            // The answer may have been lost, and not the work.
            Err(_) if matches!(self.size_of(key).await, Ok(Some(found)) if found == size) => {
                upload.finished();
                Ok(())
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }

    async fn fill(&self, upload: &Upload, file: &NamedTempFile, size: u64) -> StoreResult<()> {
        let count = size.div_ceil(self.part_bytes);
        let sending = (0..count).map(|index| {
            let offset = index * self.part_bytes;
            let length = self.part_bytes.min(size - offset);
            self.send_part(upload, file, index, offset, length)
        });
        let parts: Vec<CompletedPart> = stream::iter(sending)
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        let timeouts = aws_sdk_s3::config::timeout::TimeoutConfig::builder()
            .operation_timeout(COMPLETION_TIME)
            .read_timeout(COMPLETION_TIME)
            .build();
        self.client
            .complete_multipart_upload()
            .bucket(self.place.bucket())
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map(drop)
            .map_err(|error| self.place.unavailable(&error))
    }

    async fn send_part(
        &self,
        upload: &Upload,
        file: &NamedTempFile,
        index: u64,
        offset: u64,
        length: u64,
    ) -> StoreResult<CompletedPart> {
        let path = file.path().to_owned();
        let digest = blocking(move || spool::digest_of_part(&path, offset, length)).await?;
        let number = i32::try_from(index + 1).map_err(|_| StoreError::Conflict("size"))?;
        let sent = self
            .client
            .upload_part()
            .bucket(self.place.bucket())
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(number)
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .body(file_part(file, offset, length).await?)
            .customize()
            .config_override(transfer(length))
            .interceptor(KnownPayload(digest))
            .send()
            .await
            .map_err(|error| self.place.unavailable(&error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag().map(str::to_owned))
            .build())
    }

    async fn download(&self, digest: &str) -> StoreResult<Download> {
        let key = self.key(digest)?;
        Download::begin(&self.client, &self.place, &key)
            .await
            .map_err(|refusal| {
                if refusal.is_missing() {
                    return StoreError::NotFound;
                }
                StoreError::Unavailable(refusal.sentence(&self.place))
            })
    }

    /// Removes uploads in parts to which nothing came for longer than that. Servers that list uploads of one known key only
    /// (MinIO does) remove old ones by themselves.
    async fn abort_abandoned(&self, age: Duration) -> StoreResult<()> {
        let time = ServerTime::default();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let listed = self
                .client
                .list_multipart_uploads()
                .bucket(self.place.bucket())
                .prefix(layout::KEY_PREFIX)
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .customize()
                .interceptor(time.clone())
                .send()
                .await
                .map_err(|error| self.place.unavailable(&error))?;
            for upload in listed.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                if time.is_older(upload.initiated(), age) && self.stands_still(key, id, age).await? {
                    abort(&self.client, self.place.bucket(), key, id).await;
                }
            }
            if listed.is_truncated() != Some(true) || listed.next_key_marker().is_none() {
                return Ok(());
            }
            key_marker = listed.next_key_marker().map(str::to_owned);
            id_marker = listed.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// Whether no part came to an upload for longer than that.
    async fn stands_still(&self, key: &str, id: &str, age: Duration) -> StoreResult<bool> {
        let time = ServerTime::default();
        let mut marker = None;
        loop {
            let listed = self
                .client
                .list_parts()
                .bucket(self.place.bucket())
                .key(key)
                .upload_id(id)
                .set_part_number_marker(marker)
                .customize()
                .interceptor(time.clone())
                .send()
                .await;
            let listed = match listed {
                Ok(listed) => listed,
                // It came to its end meanwhile.
                Err(error) if error::is_no_such_upload(&error) => return Ok(false),
                Err(error) => return Err(self.place.unavailable(&error)),
            };
            let moves = |part: &Part| !time.is_older(part.last_modified(), age);
            if listed.parts().iter().any(moves) {
                return Ok(false);
            }
            if listed.is_truncated() != Some(true) || listed.next_part_number_marker().is_none() {
                return Ok(true);
            }
            marker = listed.next_part_number_marker().map(str::to_owned);
        }
    }

    /// Waits for a transfer of this many bytes for as long as it may take.
    async fn within<T>(&self, bytes: u64, transfer: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        let limit = transfer_time(bytes);
        match tokio::time::timeout(limit, transfer).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable(format!(
                "the bucket {} did not give {bytes} bytes within {} s",
                self.place.bucket(),
                limit.as_secs()
            ))),
        }
    }
}

/// A part of a spool file as a body that can be sent again.
async fn file_part(file: &NamedTempFile, offset: u64, length: u64) -> StoreResult<SdkByteStream> {
    SdkByteStream::read_from()
        .path(file.path())
        .offset(offset)
        .length(Length::Exact(length))
        .build()
        .await
        .map_err(|error| StoreError::Unavailable(format!("the spool folder: {error}")))
}

/// An upload in parts. Unless it is finished, its parts are removed from the server: at once by [`Upload::abort`], in the
/// background where it is merely dropped.
struct Upload {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    is_open: bool,
}

impl Upload {
    async fn begin(blobs: &S3Blobs, key: &str) -> StoreResult<Self> {
        let bucket = blobs.place.bucket();
        let begun = blobs
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| blobs.place.unavailable(&error))?;
        let id = begun.upload_id().ok_or_else(|| {
            StoreError::Unavailable(format!(
                "the server of the bucket {bucket} began an upload without a name"
            ))
        })?;
        Ok(Self {
            client: blobs.client.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: id.to_owned(),
            is_open: true,
        })
    }

    fn finished(mut self) {
        self.is_open = false;
    }

    async fn abort(mut self) {
        self.is_open = false;
        abort(&self.client, &self.bucket, &self.key, &self.id).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (client, bucket) = (self.client.clone(), std::mem::take(&mut self.bucket));
        let (key, id) = (std::mem::take(&mut self.key), std::mem::take(&mut self.id));
        runtime.spawn(async move { abort(&client, &bucket, &key, &id).await });
    }
}

async fn abort(client: &Client, bucket: &str, key: &str, id: &str) {
    let aborting = client
        .abort_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .send();
    if !matches!(tokio::time::timeout(ABORT_TIME, aborting).await, Ok(Ok(_))) {
        tracing::warn!(bucket, key, "parts of an unfinished upload stay in the bucket");
    }
}

#[async_trait::async_trait]
impl Health for S3Blobs {
    async fn check(&self) -> StoreResult<()> {
        let spool = self.spool.clone();
        blocking(move || spool.file().map(drop)).await?;
        probe(&self.client, self.place.bucket(), layout::PROBE_KEY, CHECK_TIME)
            .await
            .map_err(|error| self.place.unavailable(&error))
    }
}

#[async_trait::async_trait]
impl BlobStore for S3Blobs {
    async fn put(&self, content: ByteStream, limit: u64) -> StoreResult<StoredBlob> {
        let spooled = self.spool(content, limit).await?;
        self.keep(spooled).await
    }

    async fn put_bytes(&self, content: Bytes) -> StoreResult<StoredBlob> {
        if content.len() as u64 > self.single_bytes {
            let limit = content.len() as u64;
            let content = stream::once(async move { Ok(content) });
            return self.put(Box::pin(content), limit).await;
        }
        let spooled = blocking(move || Ok(spool::spooled(content))).await?;
        self.keep(spooled).await
    }

    async fn exists(&self, digest: &str) -> StoreResult<bool> {
        let Ok(key) = self.key(digest) else {
            return Ok(false);
        };
        if self.size_of(&key).await?.is_some() {
            return Ok(true);
        }
        // The same answer is given where the bucket or the user is missing, and then nothing is known: asked for the object
        // itself, the server has words.
        match self.download(digest).await {
            Err(StoreError::NotFound) => Ok(false),
            asked => asked.map(|_| true),
        }
    }

    async fn open(&self, digest: &str) -> StoreResult<(u64, ByteStream)> {
        let download = self.download(digest).await?;
        Ok((download.size(), download.into_stream()))
    }

    async fn get(&self, digest: &str) -> StoreResult<Bytes> {
        let download = self.download(digest).await?;
        let size = download.size();
        let reading = async {
            let mut content = download.into_stream();
            let mut whole = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
            while let Some(piece) = content.next().await {
                whole.extend_from_slice(&piece.map_err(|error| StoreError::Unavailable(error.to_string()))?);
            }
            Ok(whole.freeze())
        };
        self.within(size, reading).await
    }

    async fn local_file(&self, digest: &str) -> StoreResult<LocalFile> {
        let download = self.download(digest).await?;
        let size = download.size();
        let spool = self.spool.clone();
        let reading = async {
            let mut content = download.into_stream();
            let mut file = blocking(move || spool.file()).await?;
            let mut pieces = Vec::new();
            let mut waiting = 0;
            while let Some(piece) = content.next().await {
                let piece = piece.map_err(|error| StoreError::Unavailable(error.to_string()))?;
                waiting += piece.len();
                pieces.push(piece);
                if waiting >= WRITE_BLOCK {
                    let block = std::mem::take(&mut pieces);
                    waiting = 0;
                    file = blocking(move || write(file, &block)).await?;
                }
            }
            blocking(move || write(file, &pieces)).await
        };
        let file = self.within(size, reading).await?;
        Ok(LocalFile::copied(file.path().to_owned(), file))
    }

    async fn remove(&self, digest: &str) -> StoreResult<()> {
        let Ok(key) = self.key(digest) else {
            return Ok(());
        };
        let removed = self
            .client
            .delete_object()
            .bucket(self.place.bucket())
            .key(&key)
            .send()
            .await;
        match removed {
            Err(error) if !error::is_no_such_key(&error) => Err(self.place.unavailable(&error)),
            _ => Ok(()),
        }
    }

    /// What was found to be there already by [`BlobStore::put`] keeps the age of its first storing.
    async fn older_than(&self, first_byte: u8, age: Duration) -> StoreResult<Vec<String>> {
        if first_byte == 0 {
            self.spool.tidy(age).await?;
            self.abort_abandoned(age).await?;
        }
        let time = ServerTime::default();
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let listed = self
                .client
                .list_objects_v2()
                .bucket(self.place.bucket())
                .prefix(layout::keys_of(first_byte))
                .set_continuation_token(next)
                .customize()
                .interceptor(time.clone())
                .send()
                .await
                .map_err(|error| self.place.unavailable(&error))?;
            for object in listed.contents() {
                let digest = object.key().and_then(layout::digest_of);
                if let Some(digest) = digest
                    && time.is_older(object.last_modified(), age)
                {
                    found.push(digest.to_owned());
                }
            }
            if listed.is_truncated() != Some(true) || listed.next_continuation_token().is_none() {
                return Ok(found);
            }
            next = listed.next_continuation_token().map(str::to_owned);
        }
    }
}

fn write(mut file: NamedTempFile, pieces: &[Bytes]) -> std::io::Result<NamedTempFile> {
    use std::io::Write;
    for piece in pieces {
        file.write_all(piece)?;
    }
    Ok(file)
}
