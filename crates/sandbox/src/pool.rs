//! The parent's side: a few children, each busy with one file at a time.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mnemosyne_documents::{Document, Extractor, FileHint};
use mnemosyne_domain::{Failure, FailureCode};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use crate::protocol::{ENVELOPE_BYTES, Limits, Reply, Request};

/// How much of what a child wrote to its standard error is kept for the log, in bytes.
const KEPT_STDERR_BYTES: usize = 4096;

/// How files are read.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The program to start; ours. Always to be set.
    pub executable: PathBuf,
    /// The hidden subcommand under which it calls [`crate::run_child`].
    pub argument: String,
    /// How many children work at the same time, at most.
    pub children: usize,
    /// Address space of a child, in bytes.
    pub memory_bytes: u64,
    /// Time for one file.
    pub wall: Duration,
    /// Processor time for one file.
    pub cpu: Duration,
    /// What one file may become, in bytes.
    pub max_output_bytes: usize,
    /// A child is replaced after this many files.
    pub max_jobs_per_child: u32,
    /// A child that had nothing to do for this long is let go.
    pub idle: Duration,
}

impl Default for SandboxSettings {
    /// This program's own name for the child, two children of 1 GiB address space, two minutes and 64 MiB of text a file.
    fn default() -> Self {
        Self {
            executable: PathBuf::new(),
            argument: "parse-child".to_owned(),
            children: 2,
            memory_bytes: 1024 * 1024 * 1024,
            wall: Duration::from_secs(120),
            cpu: Duration::from_secs(120),
            max_output_bytes: 64 * 1024 * 1024,
            max_jobs_per_child: 200,
            idle: Duration::from_secs(30),
        }
    }
}

/// A pool of child processes that read files. Children start when they are needed. Dropping a running
/// [`Extractor::extract`] ends the child that works on it; dropping the sandbox ends all.
pub struct Sandbox {
    settings: SandboxSettings,
    slots: Semaphore,
    idle: Arc<Mutex<Vec<Worker>>>,
}

impl Sandbox {
    /// A pool without any child yet.
    pub fn new(settings: SandboxSettings) -> Self {
        Self {
            slots: Semaphore::new(settings.children.max(1)),
            idle: Arc::new(Mutex::new(Vec::new())),
            settings,
        }
    }

    /// How many children wait for work. For tests and metrics.
    pub fn idle_children(&self) -> usize {
        self.lock_idle().len()
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        // The list is sound after any panic: every change is one push or removal.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_worker(&self) -> Option<Worker> {
        let mut idle = self.lock_idle();
        while let Some(mut worker) = idle.pop() {
            // One that died while it waited (the system was short of memory, say) is of no use.
            if matches!(worker.child.try_wait(), Ok(None)) {
                return Some(worker);
            }
        }
        None
    }

    async fn start_worker(&self) -> Result<Worker, Failure> {
        let failed = |error: std::io::Error| {
            tracing::error!(%error, executable = %self.settings.executable.display(), "a parser process could not be started");
            Failure::new(
                FailureCode::Internal,
                "A process that reads files could not be started.",
            )
        };
        let mut child = Command::new(&self.settings.executable)
            .arg(&self.settings.argument)
            .env_clear()
            // Address space is limited: allocator arenas and pools of threads for every core would eat it for nothing.
            .env("MALLOC_ARENA_MAX", "2")
            .env("RAYON_NUM_THREADS", "1")
            .current_dir("/")
            // A group of its own: what a terminal sends to the program in its foreground is not meant for a reader, which
            // ends with its parent anyway.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output), Some(mut errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::Error::other("no pipes")));
        };
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&stderr);
        let drain = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..length]);
                let excess = kept.len().saturating_sub(KEPT_STDERR_BYTES);
                kept.drain(..excess);
            }
        });
        let mut worker = Worker {
            child,
            input,
            output,
            stderr,
            drain,
            jobs: 0,
        };
        let limits = Limits {
            memory_bytes: self.settings.memory_bytes,
            cpu_seconds: self.settings.cpu.as_secs().max(1),
            max_output_bytes: self.settings.max_output_bytes as u64,
        };
        worker.send(&limits).await.map_err(failed)?;
        Ok(worker)
    }

    /// Lets a worker wait for the next file, and go when none comes.
    fn put_back(&self, worker: Worker) {
        let id = (worker.child.id(), worker.jobs);
        self.lock_idle().push(worker);
        let idle = Arc::downgrade(&self.idle);
        let wait = self.settings.idle;
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(idle) = idle.upgrade() {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.retain(|worker| (worker.child.id(), worker.jobs) != id);
            }
        });
    }

    async fn exchange(&self, worker: &mut Worker, request: &Request) -> Result<Reply, Broken> {
        worker.send(request).await.map_err(|_| Broken::Ended)?;
        let most = (self.settings.max_output_bytes as u64).saturating_add(ENVELOPE_BYTES);
        let mut length = [0; 4];
        worker
            .output
            .read_exact(&mut length)
            .await
            .map_err(|_| Broken::Ended)?;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > most {
            return Err(Broken::Nonsense);
        }
        let mut bytes = Vec::new();
        let read = (&mut worker.output)
            .take(u64::from(length))
            .read_to_end(&mut bytes)
            .await;
        if read.ok() != Some(length as usize) {
            return Err(Broken::Ended);
        }
        // Up to many megabytes of text: that is nothing for the thread that serves requests.
        match tokio::task::spawn_blocking(move || postcard::from_bytes(&bytes)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(Broken::Nonsense),
        }
    }
}

#[async_trait::async_trait]
impl Extractor for Sandbox {
    async fn extract(&self, file: &Path, hint: &FileHint) -> Result<Document, Failure> {
        let internal = || Failure::new(FailureCode::Internal, "The file could not be handed to a reader.");
        let _slot = self.slots.acquire().await.map_err(|_| internal())?;
        // Children stand in the root folder.
        let path = std::path::absolute(file).map_err(|_| internal())?;
        let request = Request {
            path: path.as_os_str().as_bytes().to_vec(),
            hint: hint.clone(),
        };
        match self.read(&request).await? {
            Attempt::Answered(result) => result,
            // Somebody stopped the child and not the file: it deserves another one, once.
            Attempt::Stopped(_) => match self.read(&request).await? {
                Attempt::Answered(result) => result,
                Attempt::Stopped(failure) => Err(failure),
            },
        }
    }
}

impl Sandbox {
    /// Has a child read one file.
    async fn read(&self, request: &Request) -> Result<Attempt, Failure> {
        let filename = &request.hint.filename;
        let mut worker = match self.take_worker() {
            Some(worker) => worker,
            None => self.start_worker().await?,
        };
        worker.jobs += 1;
        let outcome = tokio::time::timeout(self.settings.wall, self.exchange(&mut worker, request)).await;
        Ok(match outcome {
            Ok(Ok(reply)) => {
                if !reply.worn_out && worker.jobs < self.settings.max_jobs_per_child {
                    self.put_back(worker);
                }
                Attempt::Answered(reply.result)
            }
            Ok(Err(Broken::Nonsense)) => {
                worker.end(filename).await;
                Attempt::Answered(Err(Failure::new(
                    FailureCode::ParserCrashed,
                    "The reader gave an answer that makes no sense, and was ended.",
                )))
            }
            Ok(Err(Broken::Ended)) => {
                let (status, stderr) = worker.end(filename).await;
                let failure = explain_end(status, &stderr);
                if was_told_to_end(status) {
                    Attempt::Stopped(failure)
                } else {
                    Attempt::Answered(Err(failure))
                }
            }
            Err(_) => {
                worker.end(filename).await;
                Attempt::Answered(Err(Failure::new(
                    FailureCode::ParserLimit,
                    format!(
                        "Reading the file took longer than {} seconds, and was ended.",
                        self.settings.wall.as_secs().max(1)
                    ),
                )))
            }
        })
    }
}

/// What came of having a child read a file.
enum Attempt {
    /// The file was read or refused.
    Answered(Result<Document, Failure>),
    /// The child was told to end by somebody else, which says nothing about the file.
    Stopped(Failure),
}

/// How talking to a child failed.
enum Broken {
    /// It is gone.
    Ended,
    /// It said what no child of ours says.
    Nonsense,
}

/// A child and the ends of its pipes.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    stderr: Arc<Mutex<Vec<u8>>>,
    drain: tokio::task::JoinHandle<()>,
    jobs: u32,
}

impl Worker {
    async fn send<T: Serialize>(&mut self, value: &T) -> std::io::Result<()> {
        let bytes = postcard::to_allocvec(value).map_err(std::io::Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&bytes);
        self.input.write_all(&frame).await?;
        self.input.flush().await
    }

    /// Ends the child if it still runs; how it ended, and its last words.
    async fn end(mut self, filename: &str) -> (Option<ExitStatus>, String) {
        // A child that closed its pipe is about to be gone by itself, and then its own end tells more than our signal.
        let status = match tokio::time::timeout(Duration::from_millis(500), self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = self.child.kill().await;
                self.child.try_wait().ok().flatten()
            }
        };
        // Whoever else holds the pipe (a grandchild, which there should not be) is not waited for.
        let _ = tokio::time::timeout(Duration::from_millis(200), &mut self.drain).await;
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stderr = String::from_utf8_lossy(&kept).into_owned();
        tracing::debug!(filename, ?status, stderr, "a parser process ended");
        (status, stderr)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

/// Whether a child ended because somebody asked it to: by a hangup, an interrupt or a request to terminate.
fn was_told_to_end(status: Option<ExitStatus>) -> bool {
    const HUP: i32 = 1;
    const INT: i32 = 2;
    const TERM: i32 = 15;
    matches!(status.and_then(|status| status.signal()), Some(HUP | INT | TERM))
}

/// What the end of a child means for its file.
fn explain_end(status: Option<ExitStatus>, stderr: &str) -> Failure {
    const XCPU: i32 = 24;
    const KILL: i32 = 9;
    let signal = status.and_then(|status| status.signal());
    if signal == Some(XCPU) {
        return Failure::new(
            FailureCode::ParserLimit,
            "Reading the file took more processor time than one file may take.",
        );
    }
    if stderr.contains("memory allocation of") || stderr.contains("capacity overflow") || signal == Some(KILL)
    {
        return Failure::new(
            FailureCode::ParserLimit,
            "Reading the file took more memory than one file may take.",
        );
    }
    if stderr.contains("has overflowed its stack") {
        return Failure::new(
            FailureCode::ParserLimit,
            "The file is nested more deeply than it can be read.",
        );
    }
    Failure::new(
        FailureCode::ParserCrashed,
        "The reader of this kind of file broke down on it.",
    )
}
