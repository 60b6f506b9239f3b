//! The child: takes requests from its standard input until that ends.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use mnemosyne_documents::{Document, FileHint};
use mnemosyne_domain::{Failure, FailureCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{Limits, Reply, Request};

/// What a child does with the bytes of a file.
pub type Parse = fn(&[u8], &FileHint) -> Result<Document, Failure>;

/// Stack of the thread that parses, in bytes: deeply nested files need much, and it is only address space until used.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// A child that holds more than this many bytes after a file is replaced, so that one large file is not paid for for ever.
const WORN_OUT_BYTES: u64 = 160 * 1024 * 1024;
/// Frames that a parent sends are small.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The whole life of a child process; `main` returns what this returns, and does nothing before it.
pub fn run_child() -> ExitCode {
    run_child_with(mnemosyne_documents::parse)
}

/// [`run_child`] with another reader. For tests of what a reader may do to its process.
pub fn run_child_with(parse: Parse) -> ExitCode {
    match serve(parse) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parser process: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(parse: Parse) -> std::io::Result<()> {
    // Replies have the pipe for themselves: what a reader prints goes to the log.
    let mut replies = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let mut input = std::io::stdin().lock();
    let Some(limits) = read_frame::<Limits>(&mut input)? else {
        return Ok(());
    };
    apply(&limits)?;
    let (requests, work) = mpsc::channel::<Request>();
    let worker = std::thread::Builder::new()
        .name("parse".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            while let Ok(request) = work.recv() {
                let reply = answer(parse, &request, &limits);
                if write_frame(&mut replies, &reply).is_err() {
                    return;
                }
            }
        })?;
    // This thread only waits for the next request, or for the parent to go: then nobody wants the current one either.
    while let Some(request) = read_frame::<Request>(&mut input)? {
        if requests.send(request).is_err() || worker.is_finished() {
            break;
        }
    }
    Ok(())
}

fn apply(limits: &Limits) -> std::io::Result<()> {
    let both = |value: u64| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Fsize, both(0))?;
    setrlimit(Resource::Nofile, both(16))?;
    setrlimit(Resource::As, both(limits.memory_bytes))?;
    Ok(())
}

/// Gives the process as many seconds of processor time from now on; the kernel ends it after them.
fn renew_cpu_time(seconds: u64) -> std::io::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec;
    let maximum = getrlimit(Resource::Cpu).maximum;
    let wanted = u64::try_from(used)
        .unwrap_or(0)
        .saturating_add(seconds)
        .saturating_add(1);
    let current = Some(maximum.map_or(wanted, |maximum| wanted.min(maximum)));
    setrlimit(Resource::Cpu, Rlimit { current, maximum })?;
    Ok(())
}

fn answer(parse: Parse, request: &Request, limits: &Limits) -> Vec<u8> {
    let mut panicked = false;
    let result = renew_cpu_time(limits.cpu_seconds)
        .map_err(|error| {
            Failure::new(
                FailureCode::Internal,
                format!("A limit could not be set: {error}."),
            )
        })
        .and_then(|()| read_file(request, limits))
        .and_then(|bytes| {
            catch_unwind(AssertUnwindSafe(|| parse(&bytes, &request.hint))).unwrap_or_else(|_| {
                panicked = true;
                Err(Failure::new(
                    FailureCode::ParserCrashed,
                    "The reader of this kind of file broke down on it.",
                ))
            })
        });
    let worn_out = panicked || resident_bytes() > WORN_OUT_BYTES;
    encode(Reply { result, worn_out }, limits)
}

fn encode(reply: Reply, limits: &Limits) -> Vec<u8> {
    let too_large = |length: usize| {
        let failure = Failure::new(
            FailureCode::ParserLimit,
            format!(
                "The file holds more text than one document may have: {} MiB of at most {} MiB.",
                length / (1024 * 1024),
                limits.max_output_bytes / (1024 * 1024)
            ),
        );
        Reply {
            result: Err(failure),
            worn_out: true,
        }
    };
    let text_bytes = reply.result.as_ref().map_or(0, |document| document.text.len());
    if text_bytes as u64 > limits.max_output_bytes {
        return to_bytes(&too_large(text_bytes));
    }
    let bytes = to_bytes(&reply);
    if bytes.len() as u64 > limits.max_output_bytes {
        return to_bytes(&too_large(bytes.len()));
    }
    bytes
}

fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Our own plain types always have a form; an empty frame would be taken for a broken child.
    postcard::to_allocvec(value).unwrap_or_default()
}

fn read_file(request: &Request, limits: &Limits) -> Result<Vec<u8>, Failure> {
    let unavailable = |error: std::io::Error| {
        Failure::new(
            FailureCode::SourceUnavailable,
            format!("The file could not be read from disk: {}.", error.kind()),
        )
    };
    let file = std::fs::File::open(Path::new(OsStr::from_bytes(&request.path))).map_err(unavailable)?;
    let size = file.metadata().map_err(unavailable)?.len();
    let most = limits.memory_bytes / 3;
    if size > most {
        return Err(Failure::new(
            FailureCode::TooLarge,
            format!(
                "The file has {} MiB; a reader takes at most {} MiB.",
                size / (1024 * 1024),
                most / (1024 * 1024)
            ),
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes).map_err(unavailable)?;
    Ok(bytes)
}

/// What the process holds in memory; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

fn read_frame<T: DeserializeOwned>(input: &mut impl Read) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_REQUEST_BYTES {
        return Err(std::io::Error::other("a request that is too long"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(std::io::Error::other)
}

fn write_frame(output: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(bytes)?;
    output.flush()
}
