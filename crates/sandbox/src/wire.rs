//! What parent and child say to each other: frames of a length (four bytes, little endian) and a postcard value.

use mnemosyne_documents::{Document, FileHint};
use mnemosyne_domain::Failure;
use serde::{Deserialize, Serialize};

/// The longest request: a path and a hint.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;
/// How a child ends that was not needed for a while: nothing was wrong with it.
pub(crate) const IDLE_EXIT: u8 = 0;

/// A file to read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) hint: FileHint,
}

/// What became of it.
pub(crate) type Reply = Result<Document, Failure>;

/// The limits of a child, as words of its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) max_output_bytes: usize,
    pub(crate) idle_seconds: u64,
}

impl Limits {
    pub(crate) fn to_words(self) -> [String; 4] {
        [
            self.memory_bytes.to_string(),
            self.cpu_seconds.to_string(),
            self.max_output_bytes.to_string(),
            self.idle_seconds.to_string(),
        ]
    }

    pub(crate) fn from_words(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut number = || words.next()?.parse::<u64>().ok();
        Some(Self {
            memory_bytes: number()?,
            cpu_seconds: number()?,
            max_output_bytes: usize::try_from(number()?).ok()?,
            idle_seconds: number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_command_line() {
        let limits = Limits { memory_bytes: 1, cpu_seconds: 2, max_output_bytes: 3, idle_seconds: 4 };
        assert_eq!(Limits::from_words(limits.to_words().into_iter()), Some(limits));
        assert_eq!(Limits::from_words(["1".to_owned()].into_iter()), None);
    }
}
