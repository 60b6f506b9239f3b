//! `ingest`: takes in files and folders, and waits until each has become an item or failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use mnemosyne_documents::Format;
use mnemosyne_domain::{FailureCode, JobId, Library, LibraryType, Principal, Queue};
use mnemosyne_services::ingest::IngestRequest;
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::{ServiceError, Services, wire};
use mnemosyne_worker::WorkerSettings;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::output::{self, explain, grouped};
use crate::cli::IngestArgs;
use crate::context::Context;
use crate::serve::worker_queues;

/// How often the table of jobs is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Failures that are written out; the rest is counted.
const SHOWN_FAILURES: usize = 20;

struct Found {
    files: Vec<PathBuf>,
    skipped: BTreeMap<String, usize>,
}

enum Outcome {
    Job(JobId),
    Refused {
        path: PathBuf,
        code: &'static str,
        message: String,
    },
}

pub(super) async fn run(args: IngestArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let found = find(&args.paths)?;
    if found.files.is_empty() {
        report_skipped(&found.skipped);
        bail!("there is nothing to ingest");
    }
    let services = &context.services;
    let library = library(services, &args).await?;

    let stop = CancellationToken::new();
    let worker = tokio::spawn(mnemosyne_worker::run(
        Arc::clone(services),
        WorkerSettings {
            name: format!("ingest-{}", std::process::id()),
            queues: worker_queues(&context.config),
            concurrency: context.config.worker.concurrency,
            poll: Duration::from_secs(1),
        },
        stop.clone(),
    ));
    let bar = ProgressBar::new(found.files.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:32} {pos}/{len} files  {per_sec}  {eta} left  {wide_msg}",
    )?);
    bar.enable_steady_tick(Duration::from_millis(250));
    let work = async {
        let mut outcomes = Vec::with_capacity(found.files.len());
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
        outcomes = work => Some(outcomes?),
        _ = tokio::signal::ctrl_c() => None,
    };
    bar.finish_and_clear();
    stop.cancel();
    worker.await.context("the worker broke down")?;
    let Some(outcomes) = result else {
        eprintln!(
            "Interrupted. What was taken in stays; the rest goes on with the next `serve` or `ingest`."
        );
        return Ok(ExitCode::from(130));
    };
    report(services, &library, outcomes, &found, args.json).await
}

/// Every file below the paths, in order. Inside folders, hidden files and unknown kinds are skipped, and counted.
fn find(paths: &[PathBuf]) -> anyhow::Result<Found> {
    let mut found = Found {
        files: Vec::new(),
        skipped: BTreeMap::new(),
    };
    for path in paths {
        let kind = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if kind.is_dir() {
            walk(path, &mut found)?;
        } else {
            found.files.push(path.clone());
        }
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut Found) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link may lead in circles or out of the folder that was meant.
        let kind = entry.file_type()?;
        if name.starts_with('.') || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), found)?;
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
    Ok(())
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

async fn offer(
    services: &Services,
    library: &Library,
    path: &Path,
    collection: Option<&str>,
) -> anyhow::Result<Outcome> {
    let refused = |code: FailureCode, message: String| {
        Ok(Outcome::Refused {
            path: path.to_owned(),
            code: code.as_str(),
            message,
        })
    };
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
        Err(error) => {
            return refused(
                FailureCode::SourceUnavailable,
                format!("The file cannot be read: {error}."),
            );
        }
    };
    let content = Box::pin(ReaderStream::with_capacity(file, 64 * 1024));
    let local = Principal::Local;
    let upload = match services.receive_upload(&local, content).await {
        Ok(upload) => upload,
        Err(ServiceError::TooLarge(limit)) => {
            return refused(
                FailureCode::TooLarge,
                format!("The file is larger than {}.", output::size(limit)),
            );
        }
        Err(error) => return Err(explain(error)),
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
    let enqueued = services
        .ingest(&local, request, Some(upload), Queue::Batch)
        .await
        .map_err(explain)?;
    Ok(Outcome::Job(enqueued.job.id))
}

/// How many open jobs are looked at in one round: those behind them can hardly be ready earlier.
const LOOKAHEAD: usize = 64;

/// Waits until every job has ended, whichever process runs it.
async fn watch(services: &Services, outcomes: &[Outcome], bar: &ProgressBar) -> anyhow::Result<()> {
    let mut open: std::collections::VecDeque<&JobId> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Job(id) => Some(id),
            Outcome::Refused { .. } => None,
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

async fn report(
    services: &Services,
    library: &Library,
    outcomes: Vec<Outcome>,
    found: &Found,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut jobs: Vec<Value> = Vec::with_capacity(outcomes.len());
    let mut failures: Vec<(String, String, String)> = Vec::new();
    let mut chunks = 0;
    let mut completed = 0_u64;
    for outcome in outcomes {
        match outcome {
            Outcome::Job(id) => {
                let job = match services.job(&Principal::Local, &id).await {
                    Ok(job) => wire::Job::from(job),
                    Err(ServiceError::NotFound(_)) => continue,
                    Err(error) => return Err(explain(error)),
                };
                if let Some(error) = job.error.as_ref().filter(|_| job.status == "failed") {
                    failures.push((job.source_ref.clone(), error.code.clone(), error.message.clone()));
                } else {
                    completed += 1;
                    chunks += job.counts.chunks;
                }
                jobs.push(serde_json::to_value(job)?);
            }
            Outcome::Refused { path, code, message } => {
                failures.push((path.display().to_string(), code.to_owned(), message.clone()));
                jobs.push(json!({
                    "job_id": null,
                    "filename": path.file_name().unwrap_or_default().to_string_lossy(),
                    "source_ref": path.display().to_string(),
                    "library_uid": library.uid.to_string(),
                    "status": "failed",
                    "error": { "code": code, "message": message },
                }));
            }
        }
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
        report_skipped(&found.skipped);
        for (path, code, message) in failures.iter().take(SHOWN_FAILURES) {
            let advice = FailureCode::parse(code)
                .map(FailureCode::advice)
                .unwrap_or_default();
            println!("  failed  {path}\n          {message} ({code}) {advice}");
        }
        if failures.len() > SHOWN_FAILURES {
            println!(
                "  and {} more; see Activity, or --json.",
                failures.len() - SHOWN_FAILURES
            );
        }
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report_skipped(skipped: &BTreeMap<String, usize>) {
    if skipped.is_empty() {
        return;
    }
    let kinds: Vec<String> = skipped
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
