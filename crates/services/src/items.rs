//! Items and their chunks: list, read, change, delete, download.

use std::ops::Range;

use mnemosyne_documents::{Block, Document};
use mnemosyne_domain::ports::{ByteStream, ItemFilter};
use mnemosyne_domain::{
    AuditEvent, Chunk, ChunkUid, CollectionUid, EmbeddingStatus, Item, ItemUid, Library, Page, PageRequest,
    Principal, StoreError,
};
use serde_json::{Map, Value};

use crate::audit;
use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::pipeline::checkpoint;
use crate::validate::Problems;

/// What may change about an item. `None` leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct ItemUpdate {
    /// A new title.
    pub title: Option<String>,
    /// New metadata, replacing what was there.
    pub metadata: Option<Map<String, Value>>,
    /// Another collection of the same library.
    pub collection_uid: Option<CollectionUid>,
}

/// The original of an item.
pub struct Original {
    /// File name as the client gave it.
    pub filename: String,
    /// Media type found in the file.
    pub content_type: String,
    /// Size in bytes.
    pub size: u64,
    /// The content.
    pub content: ByteStream,
}

impl Services {
    /// Items in the order of the filter, by default newest first.
    pub async fn items(
        &self,
        caller: &Principal,
        mut filter: ItemFilter,
        page: PageRequest,
    ) -> ServiceResult<Page<Item>> {
        permission::require(caller, Action::Read)?;
        filter.scope = permission::browsing(caller).or(filter.scope);
        Ok(self.knowledge.items(&filter, page).await?)
    }

    /// One visible item.
    pub async fn item(&self, caller: &Principal, uid: &ItemUid) -> ServiceResult<Item> {
        let item = self.visible_item(caller, uid).await?;
        // Who sees everything needs no look at the library.
        if permission::browsing(caller).is_some() {
            self.library_of(caller, &item).await?;
        }
        Ok(item)
    }

    /// One visible item with its library.
    pub async fn item_with_library(
        &self,
        caller: &Principal,
        uid: &ItemUid,
    ) -> ServiceResult<(Item, Library)> {
        let item = self.visible_item(caller, uid).await?;
        let library = self.library_of(caller, &item).await?;
        Ok((item, library))
    }

    async fn visible_item(&self, caller: &Principal, uid: &ItemUid) -> ServiceResult<Item> {
        permission::require(caller, Action::Read)?;
        self.knowledge
            .item(uid)
            .await?
            .filter(|item| item.status == EmbeddingStatus::Completed)
            .ok_or(ServiceError::NotFound("item"))
    }

    async fn library_of(&self, caller: &Principal, item: &Item) -> ServiceResult<Library> {
        match self.library(caller, &item.library_uid).await {
            Err(ServiceError::NotFound(_)) => Err(ServiceError::NotFound("item")),
            other => other,
        }
    }

    /// Chunks of an item by position.
    pub async fn chunks(
        &self,
        caller: &Principal,
        item: &ItemUid,
        page: PageRequest,
    ) -> ServiceResult<Page<Chunk>> {
        self.item(caller, item).await?;
        Ok(self.knowledge.chunks(item, page).await?)
    }

    /// One chunk.
    pub async fn chunk(&self, caller: &Principal, uid: &ChunkUid) -> ServiceResult<Chunk> {
        permission::require(caller, Action::Read)?;
        self.knowledge
            .chunk(uid, permission::browsing(caller).as_ref())
            .await?
            .ok_or(ServiceError::NotFound("chunk"))
    }

    /// The extracted text of an item, as a whole: that it was handed out is written down.
    pub async fn item_text(&self, caller: &Principal, uid: &ItemUid) -> ServiceResult<String> {
        let item = self.item(caller, uid).await?;
        let bytes = self.blobs.get(&item.text_digest).await?;
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| ServiceError::Internal(format!("the text of item {uid} is not UTF-8")))?;
        self.audited_often(
            &audit::actor(caller),
            AuditEvent::TextDownloaded,
            uid.as_str(),
            &item.filename,
        )
        .await;
        Ok(text)
    }

    /// The blocks of an item's document that stand in a stretch of its extracted text, ascending; their offsets count in
    /// that text. Empty where the structure is not kept any more.
    pub async fn item_blocks(
        &self,
        caller: &Principal,
        uid: &ItemUid,
        stretch: Range<u64>,
    ) -> ServiceResult<Vec<Block>> {
        let item = self.item(caller, uid).await?;
        let Some(job) = self.relational.job_of_item(&item.uid).await? else {
            return Ok(Vec::new());
        };
        let checkpoints = self.relational.checkpoints(&job.id).await?;
        let Some(digest) = checkpoints.get(checkpoint::DOCUMENT) else {
            return Ok(Vec::new());
        };
        let structure = match self.blobs.get(digest).await {
            Ok(structure) => structure,
            Err(StoreError::NotFound) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let read = tokio::task::spawn_blocking(move || postcard::from_bytes::<Document>(&structure)).await;
        match read {
            Ok(Ok(document)) => Ok(document
                .blocks
                .into_iter()
                .filter(|block| {
                    (block.span.start as u64) < stretch.end && block.span.end as u64 > stretch.start
                })
                .collect()),
            Ok(Err(error)) => {
                // Another version wrote it: the text is there all the same.
                tracing::warn!(item = %uid, %error, "the structure of an item cannot be read");
                Ok(Vec::new())
            }
            Err(error) => Err(ServiceError::Internal(format!(
                "a structure broke its reader: {error}"
            ))),
        }
    }

    /// The original of an item.
    pub async fn original(&self, caller: &Principal, uid: &ItemUid) -> ServiceResult<Original> {
        let item = self.item(caller, uid).await?;
        let (size, content) = self.blobs.open(&item.original_digest).await?;
        let actor = audit::actor(caller);
        self.audited_often(
            &actor,
            AuditEvent::OriginalDownloaded,
            uid.as_str(),
            &item.filename,
        )
        .await;
        Ok(Original {
            filename: item.filename,
            content_type: item.content_type,
            size,
            content,
        })
    }

    /// Changes an item.
    pub async fn update_item(
        &self,
        caller: &Principal,
        uid: &ItemUid,
        update: ItemUpdate,
    ) -> ServiceResult<Item> {
        permission::require(caller, Action::Write)?;
        let mut problems = Problems::default();
        let title = update
            .title
            .map(|title| problems.text("title", Some(&title), 500));
        if update
            .metadata
            .as_ref()
            .is_some_and(|map| Value::Object(map.clone()).to_string().len() > 65_536)
        {
            problems.add("metadata", "Metadata may take 64 KiB at most.");
        }
        problems.check()?;
        self.item(caller, uid).await?;
        self.knowledge
            .update_item(
                uid,
                title.as_deref(),
                update.metadata.as_ref(),
                update.collection_uid.as_ref(),
                self.clock.now(),
            )
            .await
            .map_err(|error| match error {
                StoreError::NotFound => ServiceError::field(
                    "collection_uid",
                    "There is no such collection in the item's library.",
                ),
                other => other.into(),
            })
    }

    /// Removes an item with its chunks, vectors, job and files.
    pub async fn delete_item(&self, caller: &Principal, uid: &ItemUid) -> ServiceResult<()> {
        permission::require(caller, Action::Write)?;
        let (item, library) = self.item_with_library(caller, uid).await?;
        // The job goes first. One that outlived its item would read completed, and the same file would never be taken again.
        self.relational
            .delete_jobs_of_items(std::slice::from_ref(uid))
            .await?;
        let removed = self
            .knowledge
            .delete_item(uid)
            .await?
            .ok_or(ServiceError::NotFound("item"))?;
        self.release_items(&removed.items).await?;
        let detail = format!("{} in {}", item.title, library.name);
        self.audited(caller, AuditEvent::ItemDeleted, uid.as_str(), &detail)
            .await;
        Ok(())
    }
}
