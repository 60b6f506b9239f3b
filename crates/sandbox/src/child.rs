//! The child: puts itself under limits, then reads one file after another until it is not needed any more.

use std::io::{self, Read, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use mnemosyne_domain::{Failure, FailureCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::wire::{IDLE_EXIT, Limits, MAX_REQUEST, Reply, Request};

/// Documents nest deeply, by design or malice; address space is reserved for it, memory only where it is used.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs a child to its end. The words after the hidden first one are its limits.
pub fn run_child() -> ExitCode {
    let Some(limits) = Limits::from_words(std::env::args().skip(2)) else {
        return ExitCode::from(64);
    };
    if restrict(&limits).is_err() {
        return ExitCode::from(65);
    }
    match serve(&limits) {
        Ok(()) => ExitCode::from(IDLE_EXIT),
        Err(_) => ExitCode::from(66),
    }
}

fn restrict(limits: &Limits) -> io::Result<()> {
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::As, both(limits.memory_bytes))?;
    setrlimit(Resource::Core, both(0))?;
    // Pipes do not count; files do. A reader has nothing to write.
    setrlimit(Resource::Fsize, both(0))?;
    setrlimit(Resource::Nofile, both(32))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Gives the next file its own share of processor time. The limit counts from the start of the process.
fn renew_cpu(seconds: u64) -> io::Result<()> {
    let spent = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or_default();
    setrlimit(Resource::Cpu, Rlimit { current: Some(spent + seconds + 1), maximum: None })?;
    Ok(())
}

fn serve(limits: &Limits) -> io::Result<()> {
    let input = io::stdin();
    let mut output = io::stdout().lock();
    while wait_for_input(&input, limits.idle_seconds)? {
        let Some(request) = read_request(&mut input.lock())? else { return Ok(()) };
        renew_cpu(limits.cpu_seconds)?;
        let (reply, healthy) = read_file(request);
        let mut bytes = postcard::to_stdvec(&reply).map_err(io::Error::other)?;
        if bytes.len() > limits.max_output_bytes {
            let message = format!("The text in the file is larger than {} bytes.", limits.max_output_bytes);
            let refused: Reply = Err(Failure::new(FailureCode::ParserLimit, message));
            bytes = postcard::to_stdvec(&refused).map_err(io::Error::other)?;
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        output.write_all(&length.to_le_bytes())?;
        output.write_all(&bytes)?;
        output.flush()?;
        // After a panic nobody knows what is left in memory.
        if !healthy {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether something came in time; the end of the input counts as something.
fn wait_for_input(input: &io::Stdin, seconds: u64) -> io::Result<bool> {
    let patience = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut watched = [PollFd::new(input, PollFlags::IN)];
    loop {
        match poll(&mut watched, Some(&patience)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_request(input: &mut impl Read) -> io::Result<Option<Request>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_REQUEST {
        return Err(io::Error::other("an impossible request"));
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

/// Reads a file on a stack of its own; false where the reader panicked.
fn read_file(request: Request) -> (Reply, bool) {
    let work = move || {
        let bytes = std::fs::read(&request.path).map_err(|error| {
            Failure::new(FailureCode::SourceUnavailable, format!("The file could not be read: {}.", error.kind()))
        })?;
        mnemosyne_documents::parse(&bytes, &request.hint)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let outcome = thread.spawn(|| std::panic::catch_unwind(AssertUnwindSafe(work))).map(std::thread::JoinHandle::join);
    match outcome {
        Ok(Ok(Ok(reply))) => (reply, true),
        Ok(Ok(Err(_)) | Err(_)) => {
            (Err(Failure::new(FailureCode::ParserCrashed, "The reader of this format broke down on the file.")), false)
        }
        Err(_) => (Err(Failure::new(FailureCode::ParserLimit, "There was no memory to read the file.")), false),
    }
}

/// The default of [`crate::SandboxSettings::idle`].
pub(crate) const DEFAULT_IDLE: Duration = Duration::from_secs(20);
