//! ZIP containers: what lies in them, read under limits.

use std::io::{Cursor, Read};

use mnemosyne_domain::{Failure, FailureCode};
use zip::ZipArchive;
use zip::result::ZipError;

/// The largest part that is read, unpacked, in bytes.
const MAX_PART_BYTES: u64 = 256 * 1024 * 1024;
/// What all parts of one file may unpack to, in bytes.
const MAX_TOTAL_BYTES: u64 = 512 * 1024 * 1024;
/// Entries of one archive.
const MAX_ENTRIES: usize = 20_000;
/// How many times smaller than its content a part of over a mebibyte may be: text seldom shrinks below a hundredth.
const MAX_RATIO: u64 = 400;

/// An opened ZIP container.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    read_bytes: u64,
}

impl<'a> Archive<'a> {
    /// Opens the directory of a container. A broken one is [`FailureCode::Damaged`].
    pub(crate) fn open(bytes: &'a [u8], what: &str) -> Result<Self, Failure> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|_| {
            Failure::new(
                FailureCode::Damaged,
                format!(
                    "The {what} is damaged: its ZIP container cannot be read (it may have been cut off)."
                ),
            )
        })?;
        if zip.len() > MAX_ENTRIES {
            return Err(Failure::new(
                FailureCode::ParserLimit,
                format!("The {what} holds {} parts, more than {MAX_ENTRIES}.", zip.len()),
            ));
        }
        Ok(Self { zip, read_bytes: 0 })
    }

    /// Whether a part of this name exists.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// Every name, in the order of the directory.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.zip
            .file_names()
            .filter_map(Result::ok)
            .map(|name| name.into_owned())
    }

    /// Holds the declared sizes against the limits, for readers that unpack by themselves.
    pub(crate) fn check_declared_sizes(&mut self, what: &str) -> Result<(), Failure> {
        let mut total = 0_u64;
        for index in 0..self.zip.len() {
            let Ok(entry) = self.zip.by_index_raw(index) else {
                continue;
            };
            total = total.saturating_add(entry.size());
            if total > MAX_TOTAL_BYTES || is_bomb(entry.compressed_size(), entry.size()) {
                return Err(too_much(what));
            }
        }
        Ok(())
    }

    /// The bytes of a part; `None` when there is no such part.
    pub(crate) fn read(&mut self, name: &str, what: &str) -> Result<Option<Vec<u8>>, Failure> {
        let entry = match self.zip.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(ZipError::UnsupportedArchive(reason)) if reason == ZipError::PASSWORD_REQUIRED => {
                return Err(Failure::new(
                    FailureCode::Encrypted,
                    format!("The {what} is protected by a password."),
                ));
            }
            Err(_) => return Err(damaged_part(name, what)),
        };
        let budget = MAX_PART_BYTES.min(MAX_TOTAL_BYTES - self.read_bytes);
        let packed = entry.compressed_size();
        let mut bytes = Vec::new();
        entry
            .take(budget + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| damaged_part(name, what))?;
        let length = bytes.len() as u64;
        if length > budget || is_bomb(packed, length) {
            return Err(too_much(what));
        }
        self.read_bytes += length;
        Ok(Some(bytes))
    }
}

fn is_bomb(packed: u64, unpacked: u64) -> bool {
    unpacked > 1024 * 1024 && unpacked / packed.max(1) > MAX_RATIO
}

fn too_much(what: &str) -> Failure {
    Failure::new(
        FailureCode::ParserLimit,
        format!(
            "The {what} unpacks to far more than its size; files made to exhaust a reader look like this."
        ),
    )
}

fn damaged_part(name: &str, what: &str) -> Failure {
    Failure::new(
        FailureCode::Damaged,
        format!("The {what} is damaged: its part {name} cannot be unpacked."),
    )
}
