//! Full text: an index that is derived from the store and never trusted.
//!
//! The index carries the number of the last change that is in it. A search first adds what is newer; an index that is
//! missing, damaged, of another version or of another store is built anew from the store. One process at a time
//! writes, under a lock; what it wrote, the others read.

mod index;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::TryStreamExt as _;
use mnemosyne_domain::{StoreError, StoreResult};
use sqlx::SqliteConnection;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use self::index::{Contents, Document, Merge, Opened, Writer};
use super::schema::{Database, blocking, store_error};
use super::scope::get;

/// The folder of the index, and the file whose lock its writer holds.
const INDEX_FOLDER: &str = "knowledge.text";
/// See [`INDEX_FOLDER`].
const INDEX_LOCK: &str = "knowledge.text.lock";

/// How long a search waits for an index that another search, or another process, is writing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Up to how many chunks with how many terms are searched at once, where they are asked for: what takes less time than
/// the change to another thread and back.
const AT_ONCE_CHUNKS: u64 = 4_000;
/// See [`AT_ONCE_CHUNKS`].
const AT_ONCE_TERMS: usize = 16;

/// How many chunks go to the writer at once.
const BATCH: usize = 64;

/// A chunk that the index found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TextHit {
    /// The chunk's key.
    pub(super) chunk: u64,
    /// BM25.
    pub(super) score: f32,
}

/// Which chunks a search may find.
#[derive(Clone, Debug, Default)]
pub(super) struct TextScope {
    /// How many chunks the libraries have in which it looks.
    pub(super) chunks: u64,
    /// Only these libraries; `None` for all there are.
    pub(super) libraries: Option<Vec<i64>>,
    /// Only this collection.
    pub(super) collection: Option<i64>,
    /// Only this item.
    pub(super) item: Option<i64>,
}

/// The text index of one store.
#[derive(Clone, Debug)]
pub(super) struct TextIndex {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    lock: PathBuf,
    state: RwLock<State>,
    /// Held by the one task that brings the index up to date.
    updating: Arc<Mutex<Option<Kept>>>,
}

/// What this process knows of the index.
#[derive(Clone, Default)]
struct State {
    /// The last change that searches see.
    sequence: i64,
    /// `None` where there is nothing to be found, or nothing was read yet.
    opened: Option<Arc<Opened>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// A writer that stays while merges go on, so that new chunks need not wait for them.
struct Kept {
    writer: Writer,
    merges: usize,
    _lock: File,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("merges", &self.merges)
            .finish_non_exhaustive()
    }
}

type Updating = OwnedMutexGuard<Option<Kept>>;

/// What a writer is told.
enum Order {
    Add(Vec<Document>),
    Commit,
}

/// What the store has that an index lacks.
struct Missing {
    contents: Contents,
    gone: Vec<u64>,
    /// How many chunks have to be added.
    chunks: u64,
}

impl TextIndex {
    /// The index of a store's folder; nothing is read or written yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                folder: folder.join(INDEX_FOLDER),
                lock: folder.join(INDEX_LOCK),
                state: RwLock::default(),
                updating: Arc::default(),
            }),
        }
    }

    fn state(&self) -> State {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_state(&self, sequence: i64, opened: Option<Arc<Opened>>) {
        *self.shared.state.write().unwrap_or_else(PoisonError::into_inner) = State { sequence, opened };
    }

    /// Searches the state of the store at `sequence` or later.
    pub(super) async fn search(
        &self,
        database: &Database,
        sequence: i64,
        terms: Vec<String>,
        scope: TextScope,
        limit: usize,
    ) -> StoreResult<Vec<TextHit>> {
        self.catch_up(database, sequence).await?;
        let question = Arc::new((terms, scope));
        match self.ask(&question, limit).await {
            Ok(hits) => Ok(hits),
            Err(error) => {
                tracing::warn!(%error, "the text index failed and is opened again");
                self.set_state(0, None);
                self.catch_up(database, sequence).await?;
                self.ask(&question, limit).await
            }
        }
    }

    async fn ask(&self, question: &Arc<(Vec<String>, TextScope)>, limit: usize) -> StoreResult<Vec<TextHit>> {
        let Some(opened) = self.state().opened else {
            return Ok(Vec::new());
        };
        let (terms, scope) = &**question;
        if scope.chunks <= AT_ONCE_CHUNKS && terms.len() <= AT_ONCE_TERMS {
            return opened.search(terms, scope, limit);
        }
        let question = Arc::clone(question);
        blocking(move || opened.search(&question.0, &question.1, limit)).await
    }

    /// What does not fit together between the index and the store, in words.
    pub(super) async fn problems(&self, database: &Database) -> StoreResult<Vec<String>> {
        let row = sqlx::query(
            "SELECT (SELECT max(sequence) FROM change), (SELECT count(*) FROM chunk c JOIN item i ON i.key = c.item \
             WHERE i.status = 1)",
        )
        .fetch_one(&database.read)
        .await
        .map_err(store_error)?;
        let chunks = get::<i64>(&row, 1)?.unsigned_abs();
        let state = self.state();
        let indexed = state.opened.map_or(0, |opened| opened.chunks());
        if state.sequence == get::<i64>(&row, 0)? && indexed != chunks {
            return Ok(vec![format!(
                "the text index has {indexed} chunks, the store {chunks}"
            )]);
        }
        Ok(Vec::new())
    }

    /// Has searches see the state of the store at `sequence` or later.
    pub(super) async fn catch_up(&self, database: &Database, sequence: i64) -> StoreResult<()> {
        if self.state().sequence >= sequence {
            return Ok(());
        }
        let updating = tokio::time::timeout(PATIENCE, Arc::clone(&self.shared.updating).lock_owned())
            .await
            .map_err(|_| StoreError::Unavailable("the text index is being built".to_owned()))?;
        if self.state().sequence >= sequence {
            return Ok(());
        }
        let mut transaction = database.read.begin().await.map_err(store_error)?;
        // Another process may have written what is missing here.
        if let Some(opened) = self.opened().await?
            && let Some(known) = self.known(&mut transaction, &opened).await?
        {
            let missing = missing(&mut transaction, known).await?;
            if missing.gone.is_empty() && missing.chunks == 0 {
                blocking_reload(&opened).await?;
                self.set_state(missing.contents.sequence, Some(opened));
                return Ok(());
            }
        }
        let lock = match &*updating {
            Some(_) => None,
            None => Some(self.take_lock().await?),
        };
        match self.update(&mut transaction, updating, lock).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the text index could not be brought up to date and is built anew");
                let updating = Arc::clone(&self.shared.updating).lock_owned().await;
                self.set_state(0, None);
                self.rebuild(&mut transaction, updating).await
            }
        }
    }

    /// The index as it is open, or as it is found in its folder.
    async fn opened(&self) -> StoreResult<Option<Arc<Opened>>> {
        if let Some(opened) = self.state().opened {
            return Ok(Some(opened));
        }
        let folder = self.shared.folder.clone();
        blocking(move || Ok(Opened::open(&folder).map(Arc::new))).await
    }

    /// The last change that the files of an index hold, where they are of this store as it is.
    async fn known(
        &self,
        connection: &mut SqliteConnection,
        opened: &Arc<Opened>,
    ) -> StoreResult<Option<i64>> {
        let opened = Arc::clone(opened);
        let Some(contents) = blocking(move || Ok(opened.contents())).await? else {
            return Ok(None);
        };
        let row = sqlx::query("SELECT uid, (SELECT stamp FROM change WHERE sequence = ?1) FROM store")
            .bind(contents.sequence)
            .fetch_one(connection)
            .await
            .map_err(store_error)?;
        let ours =
            get::<String>(&row, 0)? == contents.store && get::<Option<i64>>(&row, 1)? == Some(contents.stamp);
        Ok(ours.then_some(contents.sequence))
    }

    /// Adds what is missing, under the lock.
    async fn update(
        &self,
        connection: &mut SqliteConnection,
        updating: Updating,
        lock: Option<File>,
    ) -> StoreResult<()> {
        let opened = self.opened().await?;
        let known = match &opened {
            Some(opened) => self.known(connection, opened).await?,
            None => None,
        };
        let (Some(opened), Some(known)) = (opened, known) else {
            return self.build(connection, updating, lock).await;
        };
        let missing = missing(connection, known).await?;
        self.write(connection, updating, lock, opened, known, missing)
            .await
    }

    /// Throws the index away and builds it from the store.
    async fn rebuild(&self, connection: &mut SqliteConnection, mut updating: Updating) -> StoreResult<()> {
        let kept = updating.take();
        blocking(move || {
            drop(kept);
            Ok(())
        })
        .await?;
        let lock = self.take_lock().await?;
        self.build(connection, updating, Some(lock)).await
    }

    async fn build(
        &self,
        connection: &mut SqliteConnection,
        updating: Updating,
        lock: Option<File>,
    ) -> StoreResult<()> {
        let mut missing = missing(connection, 0).await?;
        missing.gone.clear();
        if missing.chunks == 0 && !self.shared.folder.exists() {
            self.set_state(missing.contents.sequence, None);
            return Ok(());
        }
        let folder = self.shared.folder.clone();
        let opened = blocking(move || Opened::create(&folder).map(Arc::new)).await?;
        self.write(connection, updating, lock, opened, 0, missing).await
    }

    async fn take_lock(&self) -> StoreResult<File> {
        let path = self.shared.lock.clone();
        blocking(move || index::lock(&path, PATIENCE)).await
    }

    /// Writes what is missing since `known` into the index and has searches see it.
    async fn write(
        &self,
        connection: &mut SqliteConnection,
        mut updating: Updating,
        lock: Option<File>,
        opened: Arc<Opened>,
        known: i64,
        missing: Missing,
    ) -> StoreResult<()> {
        let sequence = missing.contents.sequence;
        let kept = updating.take();
        let folder = self.shared.folder.clone();
        let reader = Arc::clone(&opened);
        let (orders, received) = mpsc::channel(8);
        let Missing {
            contents,
            gone,
            chunks,
        } = missing;
        let writing = tokio::task::spawn_blocking(move || -> StoreResult<(Option<Kept>, Option<Merge>)> {
            let mut kept = match (kept, lock) {
                (Some(kept), _) => kept,
                (None, Some(lock)) => Kept {
                    writer: Opened::writer(&folder, chunks)?,
                    merges: 0,
                    _lock: lock,
                },
                (None, None) => return Err(StoreError::Corrupt("the text index has no writer".to_owned())),
            };
            if !carry_out(&mut kept.writer, &gone, received, &contents)? {
                return Err(StoreError::Unavailable(
                    "writing the text index was broken off".to_owned(),
                ));
            }
            reader.reload()?;
            let merge = kept.writer.merge();
            kept.merges += usize::from(merge.is_some());
            Ok(((kept.merges > 0).then_some(kept), merge))
        });
        let read = read_documents(connection, known, sequence, &orders).await;
        if read.is_ok() {
            // Where the writer is gone already, its own answer says why.
            let _ = orders.send(Order::Commit).await;
        }
        drop(orders);
        let written = writing
            .await
            .map_err(|error| StoreError::Unavailable(format!("the text index: {error}")))?;
        read?;
        let (kept, merge) = written?;
        *updating = kept;
        self.set_state(sequence, Some(opened));
        if let Some(merge) = merge {
            tokio::spawn(self.clone().end_merge(merge));
        }
        Ok(())
    }

    /// Waits for a merge, and lets the writer go where it was the last one.
    async fn end_merge(self, merge: Merge) {
        if let Err(error) = merge.await {
            tracing::warn!(%error, "segments of the text index could not be merged");
        }
        let mut updating = Arc::clone(&self.shared.updating).lock_owned().await;
        let Some(mut kept) = updating.take() else {
            return;
        };
        kept.merges = kept.merges.saturating_sub(1);
        let opened = self.state().opened;
        let ended = blocking(move || {
            if let Some(opened) = opened {
                opened.reload()?;
            }
            Ok((kept.merges > 0).then_some(kept))
        })
        .await;
        match ended {
            Ok(kept) => *updating = kept,
            Err(error) => tracing::warn!(%error, "the merged text index could not be read"),
        }
    }
}

async fn blocking_reload(opened: &Arc<Opened>) -> StoreResult<()> {
    let opened = Arc::clone(opened);
    blocking(move || opened.reload()).await
}

/// Does what is ordered, up to the commit. Whether there was one.
fn carry_out(
    writer: &mut Writer,
    gone: &[u64],
    mut orders: mpsc::Receiver<Order>,
    contents: &Contents,
) -> StoreResult<bool> {
    for item in gone {
        writer.remove_item(*item);
    }
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Add(documents) => {
                for document in &documents {
                    writer.add(document)?;
                }
            }
            Order::Commit => {
                writer.commit(contents)?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What the store has beyond the change `known`.
async fn missing(connection: &mut SqliteConnection, known: i64) -> StoreResult<Missing> {
    let row = sqlx::query(
        "SELECT s.uid, c.sequence, c.stamp, \
         (SELECT coalesce(sum(chunk_count), 0) FROM item WHERE status = 1 AND text_change > ?1) \
         FROM store s, change c WHERE c.sequence = (SELECT max(sequence) FROM change)",
    )
    .bind(known)
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    let rows = sqlx::query(
        "SELECT item FROM removal WHERE sequence > ?1 UNION SELECT key FROM item WHERE status = 1 AND text_change > ?1",
    )
    .bind(known)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut gone = BTreeSet::new();
    for row in &rows {
        gone.insert(get::<i64>(row, 0)?.unsigned_abs());
    }
    Ok(Missing {
        contents: Contents {
            store: get(&row, 0)?,
            sequence: get(&row, 1)?,
            stamp: get(&row, 2)?,
        },
        chunks: get::<i64>(&row, 3)?.unsigned_abs(),
        gone: gone.into_iter().collect(),
    })
}

/// Hands the chunks of items that changed after `known` to the writer.
async fn read_documents(
    connection: &mut SqliteConnection,
    known: i64,
    sequence: i64,
    orders: &mpsc::Sender<Order>,
) -> StoreResult<()> {
    let mut rows = sqlx::query(
        "SELECT c.key, i.key, i.library, i.collection, i.title, c.heading_path, c.text \
         FROM item i CROSS JOIN chunk c ON c.item = i.key \
         WHERE i.status = 1 AND i.text_change > ?1 AND i.text_change <= ?2",
    )
    .bind(known)
    .bind(sequence)
    .fetch(connection);
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.try_next().await.map_err(store_error)? {
        let headings: Vec<String> = super::parse_json(&row, 5)?;
        let mut context: String = get(&row, 4)?;
        for heading in headings {
            context.push('\n');
            context.push_str(&heading);
        }
        batch.push(Document {
            chunk: get::<i64>(&row, 0)?.unsigned_abs(),
            item: get::<i64>(&row, 1)?.unsigned_abs(),
            library: get::<i64>(&row, 2)?.unsigned_abs(),
            collection: get::<i64>(&row, 3)?.unsigned_abs(),
            context,
            text: get(&row, 6)?,
        });
        if batch.len() == BATCH && orders.send(Order::Add(std::mem::take(&mut batch))).await.is_err() {
            // The writer ended early; it says why itself.
            return Ok(());
        }
    }
    let _ = orders.send(Order::Add(batch)).await;
    Ok(())
}
