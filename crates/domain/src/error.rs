//! What can go wrong, in the words a person meets.

use std::fmt;

/// Why a document could not be ingested, or an attempt failed. The word is stable and documented in `docs/errors.md`;
/// clients and search engines may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The object named by the request is not in the bucket.
    SourceNotFound,
    /// The bucket or the file could not be read just now.
    SourceUnavailable,
    /// The file is larger than the limit.
    TooLarge,
    /// The file has no bytes.
    EmptyFile,
    /// No reader knows this kind of file.
    UnsupportedFormat,
    /// The file is protected by a password or by rights management.
    Encrypted,
    /// The file is damaged.
    Damaged,
    /// The file was read, and holds no text (a scan, say).
    NoTextExtracted,
    /// Reading the file took more time, memory or output than one file may take.
    ParserLimit,
    /// The reader broke down on the file.
    ParserCrashed,
    /// The embedding model could not be reached or was overloaded.
    EmbedderUnavailable,
    /// The embedding model refused the request.
    EmbedderRefused,
    /// The model that made the library's vectors is not available here.
    EmbeddingModelMissing,
    /// The library was deleted meanwhile.
    LibraryGone,
    /// A store could not be reached or refused.
    StorageUnavailable,
    /// The job was begun too often without ending (it kills its worker, say).
    TooManyAttempts,
    /// A mistake of ours; the log has the details.
    Internal,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 17] = [
        Self::SourceNotFound,
        Self::SourceUnavailable,
        Self::TooLarge,
        Self::EmptyFile,
        Self::UnsupportedFormat,
        Self::Encrypted,
        Self::Damaged,
        Self::NoTextExtracted,
        Self::ParserLimit,
        Self::ParserCrashed,
        Self::EmbedderUnavailable,
        Self::EmbedderRefused,
        Self::EmbeddingModelMissing,
        Self::LibraryGone,
        Self::StorageUnavailable,
        Self::TooManyAttempts,
        Self::Internal,
    ];

    /// The word on the wire and in stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceNotFound => "source_not_found",
            Self::SourceUnavailable => "source_unavailable",
            Self::TooLarge => "too_large",
            Self::EmptyFile => "empty_file",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Encrypted => "encrypted",
            Self::Damaged => "damaged",
            Self::NoTextExtracted => "no_text_extracted",
            Self::ParserLimit => "parser_limit",
            Self::ParserCrashed => "parser_crashed",
            Self::EmbedderUnavailable => "embedder_unavailable",
            Self::EmbedderRefused => "embedder_refused",
            Self::EmbeddingModelMissing => "embedding_model_missing",
            Self::LibraryGone => "library_gone",
            Self::StorageUnavailable => "storage_unavailable",
            Self::TooManyAttempts => "too_many_attempts",
            Self::Internal => "internal",
        }
    }

    /// The code of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Whether trying again later, with nothing changed by hand, may succeed.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::SourceUnavailable | Self::EmbedderUnavailable | Self::StorageUnavailable
        )
    }

    /// What a person can do about it, in one sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::SourceNotFound => "Put the object into the bucket, then retry.",
            Self::SourceUnavailable => "It is tried again by itself; check the bucket if it goes on.",
            Self::TooLarge => "Split the file, or raise MNEMOSYNE_MAX_FILE_BYTES.",
            Self::EmptyFile => "Check the file at its source; it has no content.",
            Self::UnsupportedFormat => "Convert the file to PDF, DOCX, EPUB, HTML, Markdown or plain text.",
            Self::Encrypted => "Remove the password or the rights management, then upload it again.",
            Self::Damaged => "Open the file in its own program and save it again, then upload it again.",
            Self::NoTextExtracted => "Run text recognition (OCR) over the file, then upload it again.",
            Self::ParserLimit => "Split the file into smaller parts.",
            Self::ParserCrashed => {
                "Save the file in another format; please report it with the file if you can."
            }
            Self::EmbedderUnavailable => {
                "It is tried again by itself; check the embedding server if it goes on."
            }
            Self::EmbedderRefused => {
                "Check the registered model, or the EMBEDDING_ settings, against what the embedding server says."
            }
            Self::EmbeddingModelMissing => {
                "Make the library's model available again, or move the library with `mnemosyne reembed`."
            }
            Self::LibraryGone => "Nothing to do: the library was deleted.",
            Self::StorageUnavailable => {
                "It is tried again by itself; check disk space and permissions if it goes on."
            }
            Self::TooManyAttempts => "Look into the log for what happened to the worker, then retry.",
            Self::Internal => "Look into the log, then retry.",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure with its code and a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The stable word.
    pub code: FailureCode,
    /// One sentence that names what happened; it never holds a secret or an internal path.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence. Control characters, which may come from names inside of files and which PostgreSQL would
    /// not keep, become spaces.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.contains(char::is_control) {
            message = message.replace(char::is_control, " ");
        }
        Self { code, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Failure {}

/// What of the settings a server does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user, or the secret that goes with it.
    Login,
    /// The database, the virtual host or the bucket: there is none of this name, or it is closed to this user.
    Place,
    /// What is done there: the user may log in, but not this.
    Permission,
}

/// What a store answers when it cannot do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another row has this value; the text is the name of the field.
    #[error("{0} is taken")]
    Conflict(&'static str),
    /// The row does not exist (any more).
    #[error("not found")]
    NotFound,
    /// The store's schema is missing or of another version; `migrate` mends it.
    #[error("schema: {0}")]
    Schema(String),
    /// The store could not be reached, is full, or is busy beyond its time-out; trying again may help.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The store answers, but not to what the settings say; the text is for the log. Trying again helps once somebody has
    /// mended the settings or the server.
    #[error("unavailable: {1}")]
    Refused(Refusal, String),
    /// A value that the store cannot hold, or cannot look for: PostgreSQL keeps no NUL in a text, say. Trying again does not
    /// help.
    #[error("unstorable: {0}")]
    Unstorable(String),
    /// The store holds something it cannot: a defect.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_and_advice() {
        for code in FailureCode::ALL {
            assert_eq!(FailureCode::parse(code.as_str()), Some(code));
            assert!(code.advice().ends_with('.'));
        }
    }

    #[test]
    fn a_sentence_has_no_control_characters() {
        let failure = Failure::new(FailureCode::Damaged, "The part \"a\0b\n\" is damaged.");
        assert_eq!(failure.message, "The part \"a b \" is damaged.");
    }

    #[test]
    fn every_code_is_documented_with_its_advice() {
        let table = include_str!("../../../docs/errors.md");
        for code in FailureCode::ALL {
            let row = table
                .lines()
                .find(|line| line.starts_with(&format!("| `{code}`")));
            assert!(
                row.is_some_and(|row| row.contains(code.advice())),
                "docs/errors.md lacks {code}"
            );
        }
    }
}
