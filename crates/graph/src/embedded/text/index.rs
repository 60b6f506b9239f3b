//! The index on disk: its fields, its files, what is written into it and asked of it. Everything here blocks.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use mnemosyne_domain::{StoreError, StoreResult};
use serde_json::{Value, json};
use tantivy::collector::TopDocs;
use tantivy::columnar::Column;
use tantivy::indexer::{IndexWriterOptions, NoMergePolicy};
use tantivy::query::{BooleanQuery, BoostQuery, ConstScoreQuery, Occur, Query, TermQuery, TermSetQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term};

use super::{TextHit, TextScope};
use crate::analysis;
use crate::embedded::schema::io_error;

/// Changes whenever the fields, the analysis of texts, or what is written changes: an index of another version is
/// built anew.
const VERSION: u64 = 1;

/// The name under which the index knows our analysis.
const ANALYSIS: &str = "mnemosyne";

/// What a word in a heading or in the title counts, compared with one in the text.
const CONTEXT_BOOST: f32 = 0.4;

/// How many terms of a question are searched; of more, the rarest.
const MAX_TERMS: usize = 64;

/// The most hits of one search.
const MAX_HITS: usize = 10_000;

/// From how many segments on the smaller ones are merged, and how many large ones are left alone.
const MERGE_FROM: usize = 12;
/// See [`MERGE_FROM`].
const LEFT_ALONE: usize = 5;

/// From how many chunks on two threads write.
const MANY_CHUNKS: u64 = 2_000;

/// What an error of the index means: it is derived, so it can be had again.
pub(super) fn text_error(error: TantivyError) -> StoreError {
    StoreError::Unavailable(format!("the text index: {error}"))
}

/// The fields of a document of the index: a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    chunk: Field,
    item: Field,
    library: Field,
    collection: Field,
    text: Field,
    context: Field,
}

impl Fields {
    fn schema() -> (Schema, Self) {
        let words = TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(ANALYSIS)
                .set_index_option(IndexRecordOption::WithFreqs),
        );
        let mut schema = Schema::builder();
        let fields = Self {
            chunk: schema.add_u64_field("chunk", FAST),
            item: schema.add_u64_field("item", INDEXED),
            library: schema.add_u64_field("library", INDEXED),
            collection: schema.add_u64_field("collection", INDEXED),
            text: schema.add_text_field("text", words.clone()),
            context: schema.add_text_field("context", words),
        };
        (schema.build(), fields)
    }
}

/// A chunk as the index takes it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) chunk: u64,
    pub(super) item: u64,
    pub(super) library: u64,
    pub(super) collection: u64,
    /// The item's title and the headings.
    pub(super) context: String,
    pub(super) text: String,
}

/// Which state of which store an index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The store's own identifier.
    pub(super) store: String,
    /// The last change that is in the index.
    pub(super) sequence: i64,
    /// That change's stamp.
    pub(super) stamp: i64,
}

impl Contents {
    fn payload(&self) -> String {
        json!({ "version": VERSION, "store": self.store, "sequence": self.sequence, "stamp": self.stamp })
            .to_string()
    }

    fn parse(payload: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(payload).ok()?;
        if value.get("version")?.as_u64()? != VERSION {
            return None;
        }
        Some(Self {
            store: value.get("store")?.as_str()?.to_owned(),
            sequence: value.get("sequence")?.as_i64()?,
            stamp: value.get("stamp")?.as_i64()?,
        })
    }
}

/// An index with our fields and our analysis.
fn with_fields(index: tantivy::Result<Index>) -> tantivy::Result<(Index, Fields)> {
    let index = index?;
    let (schema, fields) = Fields::schema();
    if index.schema() != schema {
        return Err(TantivyError::SchemaError("it has other fields".to_owned()));
    }
    index
        .tokenizers()
        .register(ANALYSIS, analysis::passage_analyzer());
    Ok((index, fields))
}

/// An index that is open for reading.
pub(super) struct Opened {
    index: Index,
    fields: Fields,
    reader: IndexReader,
}

impl Opened {
    /// Opens the index of a folder. `None` where there is none, or none that this program can read.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        if !folder.join("meta.json").exists() {
            return None;
        }
        let opened = Self::with(Index::open_in_dir(folder)).and_then(|opened| {
            let damaged = opened.index.validate_checksum()?;
            if damaged.is_empty() {
                return Ok(opened);
            }
            Err(TantivyError::SystemError(format!(
                "{} of its files are damaged",
                damaged.len()
            )))
        });
        match opened {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::warn!(%error, "the text index cannot be used and will be built anew");
                None
            }
        }
    }

    /// Makes an empty index in place of whatever the folder holds. The caller holds the lock.
    pub(super) fn create(folder: &Path) -> StoreResult<Self> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
            _ => {}
        }
        fs::create_dir_all(folder).map_err(io_error)?;
        Self::with(Index::create_in_dir(folder, Fields::schema().0)).map_err(text_error)
    }

    fn with(index: tantivy::Result<Index>) -> tantivy::Result<Self> {
        let (index, fields) = with_fields(index)?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(0)
            .try_into()?;
        Ok(Self {
            index,
            fields,
            reader,
        })
    }

    /// What the files hold now. `None` where they say nothing that this program knows.
    pub(super) fn contents(&self) -> Option<Contents> {
        let payload = self.index.load_metas().ok()?.payload?;
        Contents::parse(&payload)
    }

    /// Has searches see what the files hold now.
    pub(super) fn reload(&self) -> StoreResult<()> {
        self.reader.reload().map_err(text_error)
    }

    /// How many chunks it holds.
    pub(super) fn chunks(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// A writer; the caller holds the lock. It sees the files as they are, also after another process wrote them.
    pub(super) fn writer(folder: &Path, chunks: u64) -> StoreResult<Writer> {
        let (index, fields) = with_fields(Index::open_in_dir(folder)).map_err(text_error)?;
        let (threads, budget) = if chunks >= MANY_CHUNKS {
            (2, 48_000_000)
        } else {
            (1, 15_000_000)
        };
        let options = IndexWriterOptions::builder()
            .num_worker_threads(threads)
            .memory_budget_per_thread(budget)
            .num_merge_threads(1)
            .build();
        let writer: IndexWriter = index.writer_with_options(options).map_err(text_error)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        Ok(Writer { writer, fields })
    }

    /// The chunks that match any of the terms, best first.
    pub(super) fn search(
        &self,
        terms: &[String],
        scope: &TextScope,
        limit: usize,
    ) -> StoreResult<Vec<TextHit>> {
        let fields = self.fields;
        let searcher = self.reader.searcher();
        if searcher.num_docs() == 0 {
            return Ok(Vec::new());
        }
        let mut chosen: Vec<Term> = terms
            .iter()
            .map(|term| Term::from_field_text(fields.text, term))
            .collect();
        if chosen.len() > MAX_TERMS {
            let mut by_rarity = Vec::with_capacity(chosen.len());
            for term in chosen {
                let chunks = searcher.doc_freq(&term).map_err(text_error)?;
                if chunks > 0 {
                    by_rarity.push((chunks, term));
                }
            }
            by_rarity.sort();
            by_rarity.truncate(MAX_TERMS);
            chosen = by_rarity.into_iter().map(|(_, term)| term).collect();
        }
        let mut words: Vec<(Occur, Box<dyn Query>)> = Vec::with_capacity(chosen.len() * 2);
        for term in chosen {
            let context = Term::from_field_text(fields.context, term.value().as_str().unwrap_or_default());
            let context = TermQuery::new(context, IndexRecordOption::WithFreqs);
            words.push((
                Occur::Should,
                Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
            ));
            words.push((
                Occur::Should,
                Box::new(BoostQuery::new(Box::new(context), CONTEXT_BOOST)),
            ));
        }
        let mut query: Box<dyn Query> = Box::new(BooleanQuery::new(words));
        let filters = filters(fields, scope);
        if !filters.is_empty() {
            let mut clauses = vec![(Occur::Must, query)];
            for filter in filters {
                clauses.push((Occur::Must, Box::new(ConstScoreQuery::new(filter, 0.0))));
            }
            query = Box::new(BooleanQuery::new(clauses));
        }
        let top = TopDocs::with_limit(limit.clamp(1, MAX_HITS)).order_by_score();
        let found = searcher.search(&*query, &top).map_err(text_error)?;
        let mut columns: HashMap<u32, Column<u64>> = HashMap::new();
        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            if let std::collections::hash_map::Entry::Vacant(entry) = columns.entry(address.segment_ord) {
                let segment = searcher.segment_reader(address.segment_ord);
                entry.insert(segment.fast_fields().u64("chunk").map_err(text_error)?);
            }
            if let Some(chunk) = columns
                .get(&address.segment_ord)
                .and_then(|column| column.first(address.doc_id))
            {
                hits.push(TextHit { chunk, score });
            }
        }
        Ok(hits)
    }
}

/// What a hit has to be inside of.
fn filters(fields: Fields, scope: &TextScope) -> Vec<Box<dyn Query>> {
    let one = |field, key: i64| -> Box<dyn Query> {
        let term = Term::from_field_u64(field, key.unsigned_abs());
        Box::new(TermQuery::new(term, IndexRecordOption::Basic))
    };
    let mut filters = Vec::new();
    match scope.libraries.as_deref() {
        None => {}
        Some([library]) => filters.push(one(fields.library, *library)),
        Some(libraries) => {
            filters.push(Box::new(TermSetQuery::new(libraries.iter().map(|library| {
                Term::from_field_u64(fields.library, library.unsigned_abs())
            }))))
        }
    }
    filters.extend(
        scope
            .collection
            .map(|collection| one(fields.collection, collection)),
    );
    filters.extend(scope.item.map(|item| one(fields.item, item)));
    filters
}

/// A merge that goes on beside the executor.
pub(super) type Merge = tantivy::FutureResult<Option<tantivy::SegmentMeta>>;

/// An index that is open for writing.
pub(super) struct Writer {
    writer: IndexWriter,
    fields: Fields,
}

impl Writer {
    /// Takes all chunks of an item out.
    pub(super) fn remove_item(&self, item: u64) {
        self.writer
            .delete_term(Term::from_field_u64(self.fields.item, item));
    }

    /// Puts a chunk in.
    pub(super) fn add(&self, document: &Document) -> StoreResult<()> {
        let mut row = TantivyDocument::default();
        row.add_u64(self.fields.chunk, document.chunk);
        row.add_u64(self.fields.item, document.item);
        row.add_u64(self.fields.library, document.library);
        row.add_u64(self.fields.collection, document.collection);
        row.add_text(self.fields.context, &document.context);
        row.add_text(self.fields.text, &document.text);
        self.writer.add_document(row).map_err(text_error)?;
        Ok(())
    }

    /// Writes all of it to disk, or nothing.
    pub(super) fn commit(&mut self, contents: &Contents) -> StoreResult<()> {
        let mut commit = self.writer.prepare_commit().map_err(text_error)?;
        commit.set_payload(&contents.payload());
        commit.commit().map_err(text_error)?;
        Ok(())
    }

    /// Begins to merge the smaller segments where there are many.
    pub(super) fn merge(&mut self) -> Option<Merge> {
        let mut segments = self.writer.index().searchable_segment_metas().ok()?;
        if segments.len() < MERGE_FROM {
            return None;
        }
        segments.sort_by_key(|segment| segment.num_docs());
        let mut chunks = 0;
        let mut small = Vec::new();
        for (place, segment) in segments.iter().enumerate() {
            if place >= segments.len() - LEFT_ALONE && segment.num_docs() > chunks {
                break;
            }
            chunks += segment.num_docs();
            small.push(segment.id());
        }
        Some(self.writer.merge(&small))
    }
}

/// Takes the lock of the one process that writes; it is let go with the file.
pub(super) fn lock(path: &Path, patience: Duration) -> StoreResult<File> {
    const PAUSE: Duration = Duration::from_millis(5);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io_error)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() >= patience => {
                return Err(StoreError::Unavailable(
                    "the text index is being written by another process".to_owned(),
                ));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}
