//! The parent's side: a small pool of children, begun when needed, reused, replaced when one breaks.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mnemosyne_documents::{Document, Extractor, FileHint};
use mnemosyne_domain::{Failure, FailureCode};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::child::DEFAULT_IDLE;
use crate::wire::{IDLE_EXIT, Limits, Reply, Request};

/// How much of what a child said before it died is kept for the log.
const LAST_WORDS: usize = 4 * 1024;

/// The limits of reading one file, and the size of the pool.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The program to run: this one.
    pub executable: PathBuf,
    /// The hidden first word that makes it a child.
    pub argument: String,
    /// The most children at once.
    pub children: usize,
    /// Address space of a child, in bytes.
    pub memory_bytes: u64,
    /// Wall time for one file.
    pub wall: Duration,
    /// Processor time for one file.
    pub cpu: Duration,
    /// The largest document that a child may answer, in bytes.
    pub max_output_bytes: usize,
    /// Files that a child reads before a fresh one takes its place, so that leaks of readers stay small.
    pub max_files_per_child: u32,
    /// A child that is not needed for this long ends, so that an idle service is small.
    pub idle: Duration,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            executable: PathBuf::new(),
            argument: "parse-child".to_owned(),
            children: 2,
            memory_bytes: 1 << 30,
            wall: Duration::from_secs(60),
            cpu: Duration::from_secs(60),
            max_output_bytes: 256 << 20,
            max_files_per_child: 500,
            idle: DEFAULT_IDLE,
        }
    }
}

/// Reads files in child processes.
pub struct Sandbox {
    settings: SandboxSettings,
    slots: Semaphore,
    resting: Mutex<Vec<Reader>>,
}

/// A child and the pipes to it. It is killed when this is dropped.
struct Reader {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
    last_words: JoinHandle<String>,
    files: u32,
}

enum Talk {
    Reply(Reply),
    /// The child ended without an answer.
    Ended,
    /// It answered what cannot be.
    Nonsense,
}

impl Sandbox {
    /// A pool without any child yet.
    pub fn new(settings: SandboxSettings) -> Self {
        let slots = Semaphore::new(settings.children.max(1));
        Self { settings, slots, resting: Mutex::new(Vec::new()) }
    }

    fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.settings.memory_bytes,
            cpu_seconds: self.settings.cpu.as_secs().max(1),
            max_output_bytes: self.settings.max_output_bytes,
            idle_seconds: self.settings.idle.as_secs().max(1),
        }
    }

    fn begin(&self) -> std::io::Result<Reader> {
        let mut process = Command::new(&self.settings.executable)
            .arg(&self.settings.argument)
            .args(self.limits().to_words())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(std::io::Error::other("a child without pipes"));
        };
        Ok(Reader { process, input, output, last_words: tokio::spawn(listen(errors)), files: 0 })
    }

    /// A child that rests and lives, if there is one.
    fn rested(&self) -> Option<Reader> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut reader) = resting.pop() {
            if matches!(reader.process.try_wait(), Ok(None)) {
                return Some(reader);
            }
        }
        None
    }

    fn rest(&self, reader: Reader) {
        if reader.files < self.settings.max_files_per_child {
            self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
    }

    async fn ask(&self, reader: &mut Reader, request: &[u8]) -> std::io::Result<Talk> {
        reader.files += 1;
        let length = u32::try_from(request.len()).map_err(std::io::Error::other)?;
        let sent = async {
            reader.input.write_all(&length.to_le_bytes()).await?;
            reader.input.write_all(request).await?;
            reader.input.flush().await
        };
        if sent.await.is_err() {
            return Ok(Talk::Ended);
        }
        let mut length = [0; 4];
        if reader.output.read_exact(&mut length).await.is_err() {
            return Ok(Talk::Ended);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > self.settings.max_output_bytes + 1024 {
            return Ok(Talk::Nonsense);
        }
        let mut bytes = vec![0; length];
        if reader.output.read_exact(&mut bytes).await.is_err() {
            return Ok(Talk::Ended);
        }
        // A large document takes its time to be put together again.
        let decoded = tokio::task::spawn_blocking(move || postcard::from_bytes::<Reply>(&bytes)).await;
        match decoded {
            Ok(Ok(reply)) => Ok(Talk::Reply(reply)),
            _ => Ok(Talk::Nonsense),
        }
    }

    /// Why a child ended without an answer.
    async fn post_mortem(&self, reader: Reader, file: &Path) -> Result<(), Failure> {
        let Reader { mut process, input, output, last_words, files } = reader;
        drop((input, output));
        let status = process.wait().await.ok();
        let words = last_words.await.unwrap_or_default();
        if status.and_then(|status| status.code()) == Some(i32::from(IDLE_EXIT)) && files > 1 {
            // It went to sleep for good just when it was asked.
            return Ok(());
        }
        tracing::warn!(file = %file.display(), ?status, words, "the reader of a file died");
        Err(verdict(status, &words, &self.settings))
    }
}

fn verdict(status: Option<ExitStatus>, words: &str, settings: &SandboxSettings) -> Failure {
    let signal = status.and_then(|status| status.signal());
    if signal == Some(Signal::XCPU.as_raw()) {
        let seconds = settings.cpu.as_secs();
        let message = format!("Reading the file took more than {seconds} s of processor time.");
        return Failure::new(FailureCode::ParserLimit, message);
    }
    if words.contains("memory allocation of") || words.contains("out of memory") {
        let megabytes = settings.memory_bytes >> 20;
        let message = format!("Reading the file took more than {megabytes} MiB of memory.");
        return Failure::new(FailureCode::ParserLimit, message);
    }
    if words.contains("has overflowed its stack") {
        return Failure::new(FailureCode::ParserLimit, "The file is nested too deeply.");
    }
    Failure::new(FailureCode::ParserCrashed, "The reader of this format broke down on the file.")
}

/// Keeps the end of what a child says.
async fn listen(mut errors: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut block = [0; 1024];
    while let Ok(read @ 1..) = errors.read(&mut block).await {
        kept.extend_from_slice(&block[..read]);
        if kept.len() > LAST_WORDS * 2 {
            kept.drain(..kept.len() - LAST_WORDS);
        }
    }
    let from = kept.len().saturating_sub(LAST_WORDS);
    String::from_utf8_lossy(&kept[from..]).into_owned()
}

fn internal(error: impl std::fmt::Display) -> Failure {
    tracing::error!(%error, "no reader could be started");
    Failure::new(FailureCode::Internal, "No reader could be started.")
}

#[async_trait::async_trait]
impl Extractor for Sandbox {
    async fn extract(&self, file: &Path, hint: &FileHint) -> Result<Document, Failure> {
        let path = file.to_str().ok_or_else(|| internal("a path that is not UTF-8"))?;
        let request = Request { path: path.to_owned(), hint: hint.clone() };
        let request = postcard::to_stdvec(&request).map_err(internal)?;
        let _slot = self.slots.acquire().await.map_err(internal)?;
        loop {
            let mut reader = match self.rested() {
                Some(reader) => reader,
                None => self.begin().map_err(internal)?,
            };
            let talk = tokio::time::timeout(self.settings.wall, self.ask(&mut reader, &request)).await;
            match talk {
                Ok(Ok(Talk::Reply(reply))) => {
                    self.rest(reader);
                    return reply;
                }
                Ok(Ok(Talk::Ended)) => self.post_mortem(reader, file).await?,
                Ok(Ok(Talk::Nonsense)) => {
                    return Err(Failure::new(
                        FailureCode::ParserCrashed,
                        "The reader of this format broke down on the file.",
                    ));
                }
                Ok(Err(error)) => return Err(internal(error)),
                // Dropping the reader kills it.
                Err(_) => {
                    let seconds = self.settings.wall.as_secs();
                    let message = format!("Reading the file took more than {seconds} s.");
                    return Err(Failure::new(FailureCode::ParserLimit, message));
                }
            }
        }
    }
}
