//! Where a blob lies, below the folder of blobs and in the bucket. Every key layout stands here.

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

/// Before every key of ours, so that blobs can share a bucket with other things.
pub(crate) const KEY_PREFIX: &str = "blobs/";

/// A key that no blob ever has: asking for it shows whether the bucket answers.
pub(crate) const PROBE_KEY: &str = "blobs/probe";

/// How files of ours in a spool folder begin, which may be a folder that others use too.
pub(crate) const SPOOL_PREFIX: &str = "mnemosyne-spool-";

/// The key of a blob in the bucket: `blobs/ab/cd/abcd…`. `None` for what is no digest.
pub(crate) fn key_of(digest: &str) -> Option<String> {
    is_digest(digest).then(|| format!("{KEY_PREFIX}{}/{}/{digest}", &digest[..2], &digest[2..4]))
}

/// How the keys of the blobs begin whose digest begins with this byte.
pub(crate) fn keys_of(first_byte: u8) -> String {
    format!("{KEY_PREFIX}{}/", hex::encode([first_byte]))
}

/// The digest that a key in the bucket is of. `None` for what is no key of a blob.
pub(crate) fn digest_of(key: &str) -> Option<&str> {
    let digest = key.rsplit('/').next()?;
    (key_of(digest)? == key).then_some(digest)
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
        assert_eq!(key_of(&digest), Some(format!("blobs/01/23/{digest}")));
        assert_eq!(key_of("probe"), None);
        let key = key_of(&digest).unwrap();
        assert!(key.starts_with(&keys_of(0x01)));
        assert_eq!(digest_of(&key), Some(digest.as_str()));
        for bad in [
            PROBE_KEY,
            &digest,
            &format!("blobs/00/23/{digest}"),
            &format!("{key}/"),
        ] {
            assert_eq!(digest_of(bad), None, "{bad}");
        }
        for bad in ["", "../../etc/passwd", &digest.to_uppercase(), &digest[1..]] {
            assert_eq!(file_of(Path::new("/b"), bad), None, "{bad:?}");
            assert_eq!(key_of(bad), None, "{bad:?}");
        }
    }
}
