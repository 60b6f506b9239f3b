//! Files: modes, drafts, and writers that are killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream;
use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_domain::ports::BlobStore;
use sha2::{Digest, Sha256};

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn blobs_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("blobs");
    let blobs = FileBlobs::open(&root).await.unwrap();
    let stored = blobs.put_bytes(Bytes::from_static(b"secret")).await.unwrap();
    let file = root
        .join(&stored.digest[..2])
        .join(&stored.digest[2..4])
        .join(&stored.digest);
    assert_eq!(files(&root), std::slice::from_ref(&file));
    assert_eq!(mode(&file), 0o600);
    for directory in [
        root.as_path(),
        &root.join("tmp"),
        file.parent().unwrap(),
        file.parent().unwrap().parent().unwrap(),
    ] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
}

#[tokio::test]
async fn a_damaged_file_is_healed_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::open(folder.path()).await.unwrap();
    let stored = blobs.put_bytes(Bytes::from_static(b"whole")).await.unwrap();
    fs::write(blobs.local_file(&stored.digest).await.unwrap().path(), b"wh0le").unwrap();
    blobs.put_bytes(Bytes::from_static(b"whole")).await.unwrap();
    assert_eq!(blobs.get(&stored.digest).await.unwrap(), "whole");
}

#[tokio::test]
async fn only_old_drafts_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    FileBlobs::open(folder.path()).await.unwrap();
    let (old, young) = (folder.path().join("tmp/old"), folder.path().join("tmp/young"));
    for (draft, age) in [(&old, 3_700), (&young, 3_000)] {
        let file = File::create(draft).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .unwrap();
    }
    FileBlobs::open(folder.path()).await.unwrap();
    assert!(!old.exists());
    assert!(young.exists(), "its writer may be alive");
}

#[tokio::test]
async fn what_fails_leaves_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::open(folder.path()).await.unwrap();
    let large = || Box::pin(stream::iter((0..4).map(|_| Ok(Bytes::from(vec![1; 300_000])))));
    blobs.put(large(), 1_000_000).await.unwrap_err();
    let broken = stream::iter([
        Ok(Bytes::from(vec![1; 300_000])),
        Err(std::io::Error::other("gone")),
    ]);
    blobs.put(Box::pin(broken), u64::MAX).await.unwrap_err();
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_folder_that_is_gone_is_unavailable_and_not_a_missing_blob() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::open(folder.path()).await.unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    for refused in [
        blobs.put_bytes(Bytes::from_static(b"x")).await.map(drop),
        mnemosyne_check(&blobs).await,
    ] {
        assert!(
            matches!(refused, Err(mnemosyne_domain::StoreError::Unavailable(_))),
            "{refused:?}"
        );
    }
}

async fn mnemosyne_check(blobs: &FileBlobs) -> mnemosyne_domain::StoreResult<()> {
    mnemosyne_domain::ports::Health::check(blobs).await
}

/// Set for the child process that [`a_killed_writer_leaves_whole_blobs_only`] starts.
const CHILD_FOLDER: &str = "MNEMOSYNE_TEST_BLOBS_FOLDER";

/// Not a test by itself: writes blobs until it is killed, and says which are acknowledged.
#[tokio::test]
async fn writer_to_be_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let blobs = FileBlobs::open(Path::new(&folder)).await.unwrap();
    for number in 0_u32.. {
        let length = 1 + (number as usize * 7_919) % 400_000;
        let pieces = (0..4).map(move |part| Ok(Bytes::from(vec![(number + part) as u8; length])));
        let mut content = vec![Ok(Bytes::copy_from_slice(&number.to_le_bytes()))];
        content.extend(pieces);
        let stored = blobs
            .put(Box::pin(stream::iter(content)), u64::MAX)
            .await
            .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "stored {}", stored.digest).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_whole_blobs_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::writer_to_be_killed", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let stored = lines.filter_map(|line| Some(line.unwrap().split_once("stored ")?.1.to_owned()));
        acknowledged.extend(stored.take(round * 9));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut seen = BTreeSet::new();
    for file in files(folder.path()) {
        if file.starts_with(folder.path().join("tmp")) {
            continue;
        }
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            hex::encode(Sha256::digest(fs::read(&file).unwrap())),
            name,
            "a blob is whole"
        );
        seen.insert(name);
    }
    assert!(acknowledged.len() >= 36, "{}", acknowledged.len());
    assert!(acknowledged.is_subset(&seen), "what was acknowledged is there");
}
