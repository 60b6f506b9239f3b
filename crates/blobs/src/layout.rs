//! Where a blob lies below the folder of blobs. Every key layout stands here.

use std::path::{Path, PathBuf};

/// Drafts of writers: what is in here is not a blob yet.
pub(crate) const DRAFTS: &str = "tmp";

/// Whether this names a blob: 64 lower-case hexadecimal digits.
pub(crate) fn is_digest(digest: &str) -> bool {
    digest.len() == 64
        && digest
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The file of a blob: `ab/cd/abcd…`, so that no folder grows beyond what file systems like. `None` for what is no digest.
pub(crate) fn file_of(root: &Path, digest: &str) -> Option<PathBuf> {
    is_digest(digest).then(|| root.join(&digest[..2]).join(&digest[2..4]).join(digest))
}

/// The folder of the blobs whose digest begins with this byte.
pub(crate) fn folder_of(root: &Path, first_byte: u8) -> PathBuf {
    root.join(hex::encode([first_byte]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_name_files() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(
            file_of(Path::new("/b"), &digest),
            Some(PathBuf::from(format!("/b/01/23/{digest}")))
        );
        for bad in ["", "../../etc/passwd", &digest.to_uppercase(), &digest[1..]] {
            assert_eq!(file_of(Path::new("/b"), bad), None, "{bad:?}");
        }
    }
}
