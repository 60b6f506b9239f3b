//! Files that come in, and the limits of their parsers.

use std::path::PathBuf;

use crate::reader::Reader;

/// The bounds of ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSection {
    /// The largest file, in bytes.
    pub max_bytes: u64,
    /// The folder that plays the Daedalus bucket, where one is set.
    pub daedalus_folder: Option<PathBuf>,
    /// The memory that the parser of one document may use, in bytes.
    pub parser_memory_bytes: u64,
    /// The wall time that parsing one document may take, in seconds.
    pub parser_seconds: u64,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<FilesSection> {
    let daedalus_folder = reader.text("MNEMOSYNE_DAEDALUS_FOLDER").map(PathBuf::from);
    let max_bytes = reader.number("MNEMOSYNE_MAX_FILE_BYTES", 1..=1 << 40);
    let parser_memory_bytes = reader.number("MNEMOSYNE_PARSER_MEMORY_BYTES", 64 << 20..=1 << 40);
    let parser_seconds = reader.number("MNEMOSYNE_PARSER_SECONDS", 1..=3600);
    Some(FilesSection {
        max_bytes: max_bytes?,
        daedalus_folder,
        parser_memory_bytes: parser_memory_bytes?,
        parser_seconds: parser_seconds?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{problems, read};
    use crate::environment::MapEnvironment;

    #[test]
    fn defaults() {
        let files = read(&[("MNEMOSYNE_DAEDALUS_FOLDER", "")]).files;
        assert_eq!(files.max_bytes, 512 << 20);
        assert_eq!(files.daedalus_folder, None);
        assert_eq!(files.parser_memory_bytes, 1 << 30);
        assert_eq!(files.parser_seconds, 60);
    }

    #[test]
    fn values() {
        let files = read(&[
            ("MNEMOSYNE_DAEDALUS_FOLDER", "/srv/bucket"),
            ("MNEMOSYNE_MAX_FILE_BYTES", "1000"),
        ])
        .files;
        assert_eq!(files.daedalus_folder, Some(PathBuf::from("/srv/bucket")));
        assert_eq!(files.max_bytes, 1000);
    }

    #[test]
    fn bad_values() {
        for (name, value) in [
            ("MNEMOSYNE_MAX_FILE_BYTES", "0"),
            ("MNEMOSYNE_MAX_FILE_BYTES", "512MB"),
            ("MNEMOSYNE_PARSER_MEMORY_BYTES", "1024"),
            ("MNEMOSYNE_PARSER_SECONDS", "forever"),
        ] {
            let problems = problems(&MapEnvironment::new().with(name, value));
            assert_eq!(problems.len(), 1, "{name}={value}");
            assert_eq!(problems[0].name, name);
        }
    }
}
