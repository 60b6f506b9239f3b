//! Fetching a model from a mirror.

use std::path::Path;
use std::sync::Mutex;

use mnemosyne_inference::{KnownModel, ModelFile, ModelStore, PullError, PullProgress};

use crate::mirror::{Accident, Mirror};
use crate::{outbound, real_weights};

/// 40,000 bytes: the numbers from 0, four digits each.
fn large() -> Vec<u8> {
    (0..10_000)
        .flat_map(|number| format!("{number:04}").into_bytes())
        .collect()
}

const CATALOGUE: &[KnownModel] = &[KnownModel {
    name: "tiny",
    repository: "people/tiny",
    revision: "0123456789abcdef0123456789abcdef01234567",
    description: "For tests.",
    licence: "MIT",
    floor: 0.0,
    files: &[
        ModelFile {
            name: "small.json",
            size: 2,
            sha256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        },
        ModelFile {
            name: "large.bin",
            size: 40_000,
            sha256: "f6c56731dfa8918781871e46713283ad77aae49109cd0bc1bd7c62b4006f89ca",
        },
    ],
}];

fn originals() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("small.json"), "{}").expect("writable");
    std::fs::write(folder.path().join("large.bin"), large()).expect("writable");
    folder
}

struct Setup {
    mirror: Mirror,
    store: ModelStore,
    models: tempfile::TempDir,
    _originals: tempfile::TempDir,
}

impl Setup {
    async fn new(originals: tempfile::TempDir, accidents: Vec<Accident>) -> Self {
        let models = tempfile::tempdir().expect("a folder");
        Self {
            mirror: Mirror::start(originals.path().to_owned(), accidents).await,
            store: ModelStore::with_catalogue(models.path().join("models"), CATALOGUE),
            models,
            _originals: originals,
        }
    }

    async fn pull(&self) -> Result<std::path::PathBuf, PullError> {
        self.store
            .pull("tiny", &self.mirror.endpoint(), &outbound(), &|_| {})
            .await
    }

    fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.models.path().join("models"))
            .expect("there")
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

fn assert_whole(folder: &Path) {
    assert_eq!(std::fs::read(folder.join("small.json")).expect("there"), b"{}");
    assert!(std::fs::read(folder.join("large.bin")).expect("there") == large());
}

#[tokio::test]
async fn a_model_is_fetched_once_listed_and_removed() {
    let setup = Setup::new(originals(), Vec::new()).await;
    assert_eq!(setup.store.installed("tiny"), None);
    let seen: Mutex<Vec<PullProgress>> = Mutex::default();
    let folder = setup
        .store
        .pull(
            "people/Tiny",
            &format!("{}/", setup.mirror.endpoint()),
            &outbound(),
            &|progress| {
                seen.lock().expect("no panic while locked").push(progress);
            },
        )
        .await
        .expect("fetched");
    assert_whole(&folder);
    assert_eq!(
        setup.mirror.paths(),
        [
            "/people/tiny/resolve/0123456789abcdef0123456789abcdef01234567/small.json",
            "/people/tiny/resolve/0123456789abcdef0123456789abcdef01234567/large.bin",
        ]
    );
    let seen = seen.into_inner().expect("no panic while locked");
    assert!(seen.is_sorted_by_key(|progress| progress.done));
    let last = seen.last().expect("some progress");
    assert_eq!((last.done, last.total, last.file), (40_002, 40_002, "large.bin"));

    assert_eq!(setup.pull().await.expect("already here"), folder);
    assert_eq!(setup.mirror.paths().len(), 2);
    assert_eq!(setup.store.list().len(), 1);
    assert_eq!(setup.store.installed("TINY"), Some(folder));
    assert_eq!(setup.entries(), [".tiny.lock", "tiny"]);

    assert!(setup.store.remove("tiny").expect("removable"));
    assert!(!setup.store.remove("tiny").expect("nothing there"));
    assert!(setup.store.list().is_empty());
}

#[tokio::test]
async fn a_cut_connection_is_taken_up_where_it_broke() {
    let cut = Accident::CutOff {
        answer: 1,
        after: 12_345,
    };
    let setup = Setup::new(originals(), vec![cut]).await;
    assert_whole(&setup.pull().await.expect("at the second attempt"));
    assert_eq!(setup.mirror.ranges(), [None, None, Some(12_345)]);
}

#[tokio::test]
async fn what_an_ended_run_left_is_taken_up() {
    let setup = Setup::new(originals(), Vec::new()).await;
    let partial = setup.models.path().join("models/.partial-tiny-0123456789ab");
    std::fs::create_dir_all(&partial).expect("writable");
    std::fs::write(partial.join("small.json"), "{}").expect("writable");
    std::fs::write(partial.join("large.bin.part"), &large()[..30_000]).expect("writable");
    assert_whole(&setup.pull().await.expect("fetched"));
    assert_eq!(setup.mirror.ranges(), [Some(30_000)]);
}

#[tokio::test]
async fn a_mirror_without_ranges_begins_anew() {
    let cut = Accident::CutOff {
        answer: 1,
        after: 12_345,
    };
    let setup = Setup::new(originals(), vec![cut, Accident::NoRanges]).await;
    assert_whole(&setup.pull().await.expect("at the second attempt"));
    assert_eq!(setup.mirror.ranges(), [None, None, Some(12_345)]);
}

#[tokio::test]
async fn wrong_content_is_thrown_away_and_named() {
    let wrong_digest = originals();
    let mut content = large();
    content[39_999] = b'x';
    std::fs::write(wrong_digest.path().join("large.bin"), content).expect("writable");
    let too_short = originals();
    std::fs::write(too_short.path().join("large.bin"), "short").expect("writable");
    let too_long = originals();
    std::fs::write(too_long.path().join("large.bin"), vec![0; 50_000]).expect("writable");

    for (originals, word) in [
        (wrong_digest, "digest"),
        (too_short, "5 bytes"),
        (too_long, "more than"),
    ] {
        let setup = Setup::new(originals, Vec::new()).await;
        let refused = setup.pull().await.expect_err("another file");
        assert!(
            matches!(&refused, PullError::WrongContent { file: "large.bin", reason } if reason.contains(word)),
            "{refused}"
        );
        assert_eq!(setup.store.installed("tiny"), None);
        let partial = setup.models.path().join("models/.partial-tiny-0123456789ab");
        let left: Vec<_> = std::fs::read_dir(partial).expect("there").collect();
        assert_eq!(left.len(), 1, "only the sound file stays: {left:?}");
    }
}

#[tokio::test]
async fn a_part_that_is_damaged_on_disk_is_found_out() {
    let setup = Setup::new(originals(), Vec::new()).await;
    let partial = setup.models.path().join("models/.partial-tiny-0123456789ab");
    std::fs::create_dir_all(&partial).expect("writable");
    std::fs::write(partial.join("large.bin.part"), vec![b'x'; 30_000]).expect("writable");
    assert!(matches!(setup.pull().await, Err(PullError::WrongContent { .. })));
    assert_whole(&setup.pull().await.expect("from the beginning"));
}

#[tokio::test]
async fn refusals_are_told_and_nothing_is_installed() {
    let setup = Setup::new(originals(), vec![Accident::Status(404)]).await;
    let refused = setup.pull().await.expect_err("404");
    assert!(refused.to_string().contains("404"), "{refused}");
    assert_eq!(setup.mirror.paths().len(), 1);
    assert_eq!(setup.store.installed("tiny"), None);

    let unknown = setup
        .store
        .pull("huge", &setup.mirror.endpoint(), &outbound(), &|_| {})
        .await
        .expect_err("unknown");
    assert!(unknown.to_string().contains("tiny"), "{unknown}");
}

#[tokio::test]
async fn two_do_not_fetch_the_same_model() {
    let setup = Setup::new(originals(), Vec::new()).await;
    let models = setup.models.path().join("models");
    std::fs::create_dir_all(&models).expect("writable");
    let held = std::fs::File::create(models.join(".tiny.lock")).expect("writable");
    held.lock().expect("free");
    assert!(matches!(setup.pull().await, Err(PullError::Busy("tiny"))));
    drop(held);
    assert_whole(&setup.pull().await.expect("free again"));
}

#[tokio::test]
async fn incomplete_files_put_there_by_hand_are_replaced() {
    let setup = Setup::new(originals(), Vec::new()).await;
    let folder = setup.models.path().join("models/tiny");
    std::fs::create_dir_all(&folder).expect("writable");
    std::fs::write(folder.join("large.bin"), "half").expect("writable");
    assert_eq!(setup.store.installed("tiny"), None);
    assert_whole(&setup.pull().await.expect("fetched"));
}

#[tokio::test]
#[ignore = "needs the weights"]
async fn the_real_model_is_fetched_with_its_pinned_digests() {
    let cut = Accident::CutOff {
        answer: 3,
        after: 50_000_000,
    };
    let mirror = Mirror::start(real_weights(), vec![cut]).await;
    let models = tempfile::tempdir().expect("a folder");
    let store = ModelStore::new(models.path());
    let name = store.known()[0].name;
    let folder = store
        .pull(name, &mirror.endpoint(), &outbound(), &|_| {})
        .await
        .expect("fetched");
    assert_eq!(store.installed(name), Some(folder));
    assert_eq!(mirror.ranges().last().copied().flatten(), Some(50_000_000));
}
