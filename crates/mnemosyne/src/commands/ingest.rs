//! `ingest`: takes in files and folders, and waits until each has become an item or failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use mnemosyne_documents::Format;
use mnemosyne_domain::{FailureCode, JobId, JobStatus, Library, LibraryType, Principal, Queue, Stage};
use mnemosyne_services::ingest::IngestRequest;
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::{ServiceError, Services, wire};
use mnemosyne_worker::WorkerSettings;
use serde_json::Value;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::output::{self, explain, grouped};
use crate::cli::IngestArgs;
use crate::context::Context;
use crate::serve::{INTERRUPTED, Signals};

/// How often the table of jobs is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Files that are written out; the rest is counted.
const SHOWN_REMARKS: usize = 20;

#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// Folders that could not be looked into.
    refused: Vec<Refusal>,
    /// Files of unknown kinds, by extension.
    skipped: BTreeMap<String, usize>,
    /// Symbolic links that were not followed.
    links: usize,
}

/// A file that did not become a job, and why.
struct Refusal {
    path: PathBuf,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(path: &Path, code: FailureCode, message: String) -> Self {
        Self {
            path: path.to_owned(),
            code: code.as_str(),
            message,
        }
    }

    fn unreadable(path: &Path, what: &str, error: &std::io::Error) -> Self {
        let message = format!("The {what} cannot be read: {error}.");
        Self::new(path, FailureCode::SourceUnavailable, message)
    }
}

enum Outcome {
    Job(JobId, PathBuf),
    Refused(Refusal),
}

pub(super) async fn run(args: IngestArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let mut found = find(&args.paths)?;
    let refused = std::mem::take(&mut found.refused);
    if found.files.is_empty() && refused.is_empty() {
        report_skipped(&found);
        bail!("there is nothing to ingest");
    }
    let services = &context.services;
    let library = library(services, &args).await?;
    let bar = ProgressBar::new(found.files.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {pos}/{len} files  {per_sec}  {eta} left  {wide_msg}",
    )?);
    let mut signals = Signals::new().context("signals cannot be waited for")?;

    let stop = CancellationToken::new();
    let mut worker = tokio::spawn(mnemosyne_worker::run(
        Arc::clone(services),
        WorkerSettings {
            name: format!("ingest-{}", std::process::id()),
            // What others asked for is left to the server: this process may have other settings than they counted on.
            queues: vec![Queue::Batch],
            concurrency: context.config.worker.concurrency,
            poll: Duration::from_secs(1),
            upkeep: false,
        },
        stop.clone(),
    ));
    bar.enable_steady_tick(Duration::from_millis(250));
    let work = async {
        let mut outcomes: Vec<Outcome> = refused.into_iter().map(Outcome::Refused).collect();
        for file in &found.files {
            bar.set_message(
                file.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
            outcomes.push(offer(services, &library, file, args.collection.as_deref()).await?);
        }
        watch(services, &outcomes, &bar).await?;
        anyhow::Ok(outcomes)
    };
    let result = tokio::select! {
        outcomes = work => Some(outcomes),
        _ = signals.next() => None,
    };
    bar.finish_and_clear();
    stop.cancel();
    let left = tokio::select! {
        ended = &mut worker => {
            ended.context("the worker broke down")?;
            result
        }
        // Somebody who asks twice does not want to wait. Nothing that was acknowledged is lost by it.
        _ = signals.next() => None,
    };
    let Some(outcomes) = left else {
        eprintln!(
            "Interrupted. What was taken in stays; the rest goes on with the next `serve` or `ingest`."
        );
        return Ok(ExitCode::from(INTERRUPTED));
    };
    report(services, &library, outcomes?, &found, args.json).await
}

/// Every file below the paths, in order. Inside folders, hidden files and unknown kinds are skipped, and counted.
fn find(paths: &[PathBuf]) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for path in paths {
        let kind = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if kind.is_dir() {
            walk(path, &mut found);
        } else {
            found.files.push(path.clone());
        }
    }
    Ok(found)
}

/// Collects what is below a folder. What cannot be looked into is noted, and holds nothing else up.
fn walk(folder: &Path, found: &mut Found) {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            found.refused.push(Refusal::unreadable(folder, "folder", &error));
            return;
        }
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => {
                found
                    .refused
                    .push(Refusal::unreadable(&entry.path(), "file", &error));
                continue;
            }
        };
        // A link may lead in circles or out of the folder that was meant.
        if kind.is_symlink() {
            found.links += 1;
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), found);
            continue;
        }
        let extension = name
            .rsplit_once('.')
            .map_or(String::new(), |(_, extension)| extension.to_lowercase());
        if kind.is_file()
            && Format::ALL
                .iter()
                .any(|format| format.extensions().contains(&extension.as_str()))
        {
            found.files.push(entry.path());
        } else {
            *found.skipped.entry(extension).or_default() += 1;
        }
    }
}

async fn library(services: &Services, args: &IngestArgs) -> anyhow::Result<Library> {
    let local = Principal::Local;
    if let Some(known) = services.library_by_name(&local, &args.library).await? {
        if let Some(asked) = &args.library_type
            && asked != known.library_type.as_str()
        {
            bail!(
                "{:?} is a {} library, and a library's type never changes",
                known.name,
                known.library_type
            );
        }
        return Ok(known);
    }
    let Some(library_type) = args.library_type.clone() else {
        let known = LibraryType::ALL.map(LibraryType::as_str).join(", ");
        bail!(
            "there is no library {:?} yet; give its --type to make it: {known}",
            args.library
        );
    };
    let request = LibraryRequest {
        name: args.library.clone(),
        library_type,
        description: String::new(),
    };
    match services.create_library(&local, request).await {
        Ok(library) => Ok(library),
        // Another command made it at this moment.
        Err(ServiceError::Conflict { .. }) => services
            .library_by_name(&local, &args.library)
            .await?
            .with_context(|| format!("the library {:?} cannot be made", args.library)),
        Err(error) => Err(explain(error)),
    }
}

/// Asks for one file to be ingested. What is wrong with the file is said in the outcome; an error ends everything.
async fn offer(
    services: &Services,
    library: &Library,
    path: &Path,
    collection: Option<&str>,
) -> anyhow::Result<Outcome> {
    let refused = |refusal: Refusal| Ok(Outcome::Refused(refusal));
    let opened = async {
        let whole = tokio::fs::canonicalize(path).await?;
        // Opening a pipe or a device might never end.
        if !tokio::fs::metadata(&whole).await?.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        Ok((tokio::fs::File::open(&whole).await?, whole))
    };
    let (file, whole) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return refused(Refusal::unreadable(path, "file", &error)),
    };
    // Tells a file that cannot be read to its end from a store that takes nothing.
    let unreadable = Arc::new(OnceLock::new());
    let noted = Arc::clone(&unreadable);
    let content = ReaderStream::with_capacity(file, 64 * 1024).inspect_err(move |error| {
        let _ = noted.set(error.to_string());
    });
    let local = Principal::Local;
    let upload = match services.receive_upload(&local, Box::pin(content)).await {
        Ok(upload) => upload,
        Err(error) => match (unreadable.get(), error) {
            (Some(error), _) => {
                let message = format!("The file cannot be read: {error}.");
                return refused(Refusal::new(path, FailureCode::SourceUnavailable, message));
            }
            (None, error) => return about_the_file(path, error),
        },
    };
    let request = IngestRequest {
        library_uid: Some(library.uid.to_string()),
        source_ref: Some(whole.to_string_lossy().into_owned()),
        filename: Some(
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        ),
        collection: collection.map(str::to_owned),
        ..IngestRequest::default()
    };
    let enqueued = match services.ingest(&local, request, Some(upload), Queue::Batch).await {
        Ok(enqueued) => enqueued,
        Err(error) => return about_the_file(path, error),
    };
    let job = enqueued.job;
    if enqueued.deduplicated && job.status == JobStatus::Failed {
        match services.retry_job(&local, &job.id, Some(Queue::Batch)).await {
            // Somebody else was faster, or its library is gone: how it ends is seen later.
            Ok(_) | Err(ServiceError::Conflict { .. } | ServiceError::NotFound(_)) => {}
            Err(error) => return Err(explain(error)),
        }
    }
    Ok(Outcome::Job(job.id, path.to_owned()))
}

/// The outcome of an error that says something about one file and nothing about the next.
fn about_the_file(path: &Path, error: ServiceError) -> anyhow::Result<Outcome> {
    let refusal = match error {
        ServiceError::TooLarge(limit) => {
            let message = format!("The file is larger than {}.", output::size(limit));
            Refusal::new(path, FailureCode::TooLarge, message)
        }
        ServiceError::Document(failure) => Refusal::new(path, failure.code, failure.message),
        error @ ServiceError::Invalid(_) => Refusal {
            path: path.to_owned(),
            code: "invalid",
            message: explain(error).to_string(),
        },
        other => return Err(explain(other)),
    };
    Ok(Outcome::Refused(refusal))
}

/// How many open jobs are looked at in one round: those behind them can hardly be ready earlier.
const LOOKAHEAD: usize = 64;

/// Waits until every job has ended, whichever process runs it.
async fn watch(services: &Services, outcomes: &[Outcome], bar: &ProgressBar) -> anyhow::Result<()> {
    let mut open: std::collections::VecDeque<&JobId> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Job(id, _) => Some(id),
            Outcome::Refused(_) => None,
        })
        .collect();
    while !open.is_empty() {
        bar.set_position((outcomes.len() - open.len()) as u64);
        for _ in 0..open.len().min(LOOKAHEAD) {
            let Some(id) = open.pop_front() else { break };
            match services.job(&Principal::Local, id).await {
                Ok(job) if job.status.is_final() => {}
                // Its library was deleted by somebody else.
                Err(ServiceError::NotFound(_)) => {}
                Ok(_) => open.push_back(id),
                Err(error) => return Err(explain(error)),
            }
        }
        if !open.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
    bar.set_position(outcomes.len() as u64);
    Ok(())
}

/// A file that is not in the library now, and why.
struct Remark {
    word: &'static str,
    path: String,
    sentence: String,
}

async fn report(
    services: &Services,
    library: &Library,
    outcomes: Vec<Outcome>,
    found: &Found,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut jobs: Vec<Value> = Vec::with_capacity(outcomes.len());
    let mut remarks: Vec<Remark> = Vec::new();
    let mut chunks = 0;
    let mut completed = 0_u64;
    let mut all_well = true;
    for outcome in outcomes {
        let refusal = match outcome {
            Outcome::Job(id, path) => match services.job(&Principal::Local, &id).await {
                Ok(job) => {
                    let job = wire::Job::from(job);
                    let (word, sentence) = match (job.status.as_str(), &job.error) {
                        ("completed", _) => {
                            completed += 1;
                            chunks += job.counts.chunks;
                            jobs.push(serde_json::to_value(job)?);
                            continue;
                        }
                        ("failed", Some(error)) => ("failed", with_advice(&error.message, &error.code)),
                        ("superseded", _) => (
                            "superseded",
                            "A later version of this file took its place.".to_owned(),
                        ),
                        _ => ("cancelled", "Somebody cancelled it.".to_owned()),
                    };
                    all_well &= word == "superseded";
                    remarks.push(Remark {
                        word,
                        path: path.display().to_string(),
                        sentence,
                    });
                    jobs.push(serde_json::to_value(job)?);
                    continue;
                }
                Err(ServiceError::NotFound(_)) => Refusal::new(
                    &path,
                    FailureCode::LibraryGone,
                    "It was deleted while it was being taken in.".to_owned(),
                ),
                Err(error) => return Err(explain(error)),
            },
            Outcome::Refused(refusal) => refusal,
        };
        all_well = false;
        jobs.push(refused_job(library, &refusal)?);
        remarks.push(Remark {
            word: "failed",
            path: refusal.path.display().to_string(),
            sentence: with_advice(&refusal.message, refusal.code),
        });
    }
    if as_json {
        output::json(&jobs)?;
    } else {
        println!(
            "{} of {} files are in {:?}: {} passages.",
            grouped(completed),
            grouped(jobs.len() as u64),
            library.name,
            grouped(chunks)
        );
        report_skipped(found);
        for Remark { word, path, sentence } in remarks.iter().take(SHOWN_REMARKS) {
            println!("  {word}  {path}\n          {sentence}");
        }
        if remarks.len() > SHOWN_REMARKS {
            println!(
                "  and {} more; see Activity, or --json.",
                remarks.len() - SHOWN_REMARKS
            );
        }
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What happened, its stable word, and what a person can do about it.
fn with_advice(message: &str, code: &str) -> String {
    let advice = FailureCode::parse(code)
        .map(FailureCode::advice)
        .unwrap_or_default();
    format!("{message} ({code}) {advice}").trim_end().to_owned()
}

/// A file without a job, in the form of one: what there is none of is null or nothing.
fn refused_job(library: &Library, refusal: &Refusal) -> anyhow::Result<Value> {
    let path = &refusal.path;
    let job = wire::Job {
        job_id: String::new(),
        item_uid: String::new(),
        library_uid: library.uid.to_string(),
        source_ref: path.display().to_string(),
        filename: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        status: JobStatus::Failed.as_str().to_owned(),
        stage: Stage::Queued.as_str().to_owned(),
        progress: 0.0,
        attempts: 0,
        counts: wire::JobCounts {
            chunks: 0,
            images: 0,
            concepts: 0,
        },
        created_at: library.created_at,
        started_at: None,
        finished_at: None,
        timings_ms: BTreeMap::new(),
        error: Some(wire::JobError {
            code: refusal.code.to_owned(),
            message: refusal.message.clone(),
        }),
    };
    let mut value = serde_json::to_value(job)?;
    for absent in ["job_id", "item_uid", "created_at"] {
        value[absent] = Value::Null;
    }
    Ok(value)
}

fn report_skipped(found: &Found) {
    if found.links > 0 {
        eprintln!("Skipped, because links are not followed: {}.", found.links);
    }
    if found.skipped.is_empty() {
        return;
    }
    let kinds: Vec<String> = found
        .skipped
        .iter()
        .map(|(extension, count)| {
            if extension.is_empty() {
                format!("{count} without extension")
            } else {
                format!("{count} .{extension}")
            }
        })
        .collect();
    eprintln!(
        "Skipped, because Mnemosyne does not read them: {}.",
        kinds.join(", ")
    );
}
