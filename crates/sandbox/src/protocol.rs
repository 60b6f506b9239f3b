//! What parent and child say to each other: frames of a little-endian `u32` length and a postcard value.

use mnemosyne_documents::{Document, FileHint};
use mnemosyne_domain::Failure;
use serde::{Deserialize, Serialize};

/// The first frame: what the child may use, for each file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Address space in bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time of one file in whole seconds.
    pub(crate) cpu_seconds: u64,
    /// Size of a reply in bytes.
    pub(crate) max_output_bytes: u64,
}

/// One file to read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The bytes of the path.
    pub(crate) path: Vec<u8>,
    /// What is known of it.
    pub(crate) hint: FileHint,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The document, or why there is none.
    pub(crate) result: Result<Document, Failure>,
    /// Whether the child should not be used again: it holds much memory, or something broke in it.
    pub(crate) worn_out: bool,
}

/// Room for the envelope of a reply beside the document.
pub(crate) const ENVELOPE_BYTES: u64 = 4096;
