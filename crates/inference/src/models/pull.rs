//! Fetching a model from its hub, or from a mirror of it.
//!
//! Each file is a plain `GET ENDPOINT/REPOSITORY/resolve/REVISION/FILE`. A file that was cut off is taken up where it
//! stopped, now or by the next call; a file with another digest than the pinned one is thrown away and reported.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mnemosyne_http::{Headers, HttpError, Outbound};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::catalogue::{KnownModel, ModelFile};
use super::store::{ModelStore, is_complete, remove_folder};

/// The hub that is asked unless a mirror is configured (`HF_ENDPOINT`).
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How often one file is taken up again in one call, counted anew whenever something has arrived.
const ATTEMPTS: u32 = 4;

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// The file that is arriving.
    pub file: &'static str,
    /// Bytes of all files that are here.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

/// Why a model was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The name is in no catalogue.
    #[error("there is no model named {name:?}; known: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that are known, joined by commas.
        known: String,
    },
    /// Another process is fetching the same model.
    #[error("the model {0} is being fetched by another process already")]
    Busy(&'static str),
    /// The hub did not give the file.
    #[error(
        "{file} could not be fetched: {source}; what has arrived is kept, and the same command goes on from there"
    )]
    Download {
        /// The file.
        file: &'static str,
        /// What happened.
        source: HttpError,
    },
    /// The hub gave another file than the pinned one.
    #[error("{file} is not the file that is expected ({reason}); it was thrown away")]
    WrongContent {
        /// The file.
        file: &'static str,
        /// What is different.
        reason: String,
    },
    /// The file could not be stored.
    #[error("{path} could not be written: {source}")]
    Storage {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn storage(path: &Path) -> impl FnOnce(std::io::Error) -> PullError {
    let path = path.to_owned();
    move |source| PullError::Storage { path, source }
}

impl ModelStore {
    /// Fetches a model unless it is here, and returns its folder. `progress` is called often, from this task.
    pub async fn pull(
        &self,
        name: &str,
        endpoint: &str,
        outbound: &Outbound,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<PathBuf, PullError> {
        let model = self.find(name).ok_or_else(|| PullError::Unknown {
            name: name.to_owned(),
            known: self
                .known()
                .iter()
                .map(|model| model.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        std::fs::create_dir_all(&self.folder).map_err(storage(&self.folder))?;
        let _lock = self.lock(model)?;
        // Asked under the lock: another process may have just finished.
        if let Some(folder) = self.installed(model.name) {
            return Ok(folder);
        }
        let partial = self.partial_folder(model);
        std::fs::create_dir_all(&partial).map_err(storage(&partial))?;
        let mut before = 0;
        for file in model.files {
            let fetch = Fetch {
                file,
                url: file_url(endpoint, model, file),
                path: partial.join(file.name),
                outbound,
                report: &|here| {
                    progress(PullProgress {
                        file: file.name,
                        done: before + here,
                        total: model.size(),
                    });
                },
            };
            fetch.run().await?;
            before += file.size;
        }
        self.put_in_place(model, &partial)
    }

    /// Held while a model is fetched. The lock goes with the process, however it ends.
    fn lock(&self, model: &KnownModel) -> Result<File, PullError> {
        let path = self.folder.join(format!(".{}.lock", model.name));
        let file = File::create(&path).map_err(storage(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(PullError::Busy(model.name)),
            Err(std::fs::TryLockError::Error(source)) => Err(PullError::Storage { path, source }),
        }
    }

    fn put_in_place(&self, model: &KnownModel, partial: &Path) -> Result<PathBuf, PullError> {
        let folder = self.folder.join(model.name);
        if !is_complete(&folder, model) {
            // Files of an older revision, or put there by hand and incomplete.
            remove_folder(&folder).map_err(storage(&folder))?;
        }
        sync_folder(partial).map_err(storage(partial))?;
        std::fs::rename(partial, &folder).map_err(storage(&folder))?;
        sync_folder(&self.folder).map_err(storage(&self.folder))?;
        Ok(folder)
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

fn file_url(endpoint: &str, model: &KnownModel, file: &ModelFile) -> String {
    let endpoint = endpoint.trim().trim_end_matches('/');
    format!(
        "{endpoint}/{}/resolve/{}/{}",
        model.repository, model.revision, file.name
    )
}

/// The download of one file.
struct Fetch<'a> {
    file: &'static ModelFile,
    url: String,
    /// Where the complete file goes; while it arrives it has `.part` behind its name.
    path: PathBuf,
    outbound: &'a Outbound,
    report: &'a (dyn Fn(u64) + Send + Sync),
}

impl Fetch<'_> {
    async fn run(&self) -> Result<(), PullError> {
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == self.file.size) {
            // Only files with the right digest get this name.
            (self.report)(self.file.size);
            return Ok(());
        }
        let part = self.part();
        let mut failures = 0;
        loop {
            let before = part_length(&part);
            if before == self.file.size {
                break;
            }
            if before > self.file.size {
                std::fs::remove_file(&part).map_err(storage(&part))?;
                continue;
            }
            let source = match self.receive(&part, before).await {
                Ok(()) => continue,
                Err(PullError::Download { source, .. }) => source,
                Err(other) => return Err(other),
            };
            failures = if part_length(&part) > before {
                1
            } else {
                failures + 1
            };
            if !source.is_transient() || failures >= ATTEMPTS {
                return Err(PullError::Download {
                    file: self.file.name,
                    source,
                });
            }
            tracing::warn!(file = self.file.name, error = %source, "the download broke off and is taken up again");
            let wait = Duration::from_millis(250) * 2_u32.pow(failures);
            tokio::time::sleep(source.retry_after().unwrap_or(wait).min(Duration::from_secs(30))).await;
        }
        self.check(&part).await?;
        std::fs::rename(&part, &self.path).map_err(storage(&self.path))
    }

    fn part(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".part");
        name.into()
    }

    /// Receives what is missing and appends it. Ends without an error only when the server said that this was all.
    async fn receive(&self, part: &Path, offset: u64) -> Result<(), PullError> {
        let download = |source| PullError::Download {
            file: self.file.name,
            source,
        };
        let mut body = self
            .outbound
            .get_stream(&self.url, &Headers::new(), offset)
            .await
            .map_err(download)?;
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(part)
            .await
            .map_err(storage(part))?;
        // A server that cannot continue begins anew.
        let mut here = body.start();
        file.set_len(here).await.map_err(storage(part))?;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(here))
            .await
            .map_err(storage(part))?;
        let outcome = loop {
            match body.next_chunk().await {
                Ok(Some(chunk)) => {
                    here += chunk.len() as u64;
                    if here > self.file.size {
                        drop(file);
                        std::fs::remove_file(part).map_err(storage(part))?;
                        return Err(self.wrong(format!("it has more than {} bytes", self.file.size)));
                    }
                    file.write_all(&chunk).await.map_err(storage(part))?;
                    (self.report)(here);
                }
                Ok(None) => break Ok(()),
                Err(source) => break Err(source),
            }
        };
        // What has arrived stays, whatever happened: the next attempt begins behind it.
        file.sync_all().await.map_err(storage(part))?;
        outcome.map_err(download)?;
        if here < self.file.size {
            std::fs::remove_file(part).map_err(storage(part))?;
            return Err(self.wrong(format!("it has {here} bytes instead of {}", self.file.size)));
        }
        Ok(())
    }

    async fn check(&self, part: &Path) -> Result<(), PullError> {
        let path = part.to_owned();
        let digest = tokio::task::spawn_blocking(move || sha256_of(&path))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(storage(part))?;
        if digest == self.file.sha256 {
            return Ok(());
        }
        std::fs::remove_file(part).map_err(storage(part))?;
        Err(self.wrong(format!(
            "its SHA-256 digest is {digest} instead of {}",
            self.file.sha256
        )))
    }

    fn wrong(&self, reason: String) -> PullError {
        PullError::WrongContent {
            file: self.file.name,
            reason,
        }
    }
}

fn part_length(part: &Path) -> u64 {
    std::fs::metadata(part).map_or(0, |metadata| metadata.len())
}

fn sha256_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}
