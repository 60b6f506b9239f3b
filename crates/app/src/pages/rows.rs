//! What several pages list: libraries, items, jobs, failures.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{JobFilter, LibraryFilter, Throughput};
use mnemosyne_domain::{
    EmbeddingModel, FailureCode, Item, Job, JobStatus, Library, LibraryUid, ModelKind, PageRequest,
    PlaceKind, Principal, Stage,
};
use mnemosyne_services::{Format, ServiceError, ServiceResult, Services};

use super::view::{
    FailureGroup, ItemRow, JobRow, LibraryRef, LibraryRow, ModelLabel, QuestionLink, RunningJob, WaitingJob,
};

/// How many running jobs a page shows.
pub(super) const RUNNING_SHOWN: u32 = 20;

/// A library's name, type and address.
pub(super) fn library_ref(library: &Library) -> LibraryRef {
    LibraryRef {
        uid: library.uid.clone(),
        name: library.name.clone(),
        kind: library.library_type,
    }
}

/// A model's name and kind. The lexical models are always at hand, so one that is not was a neural one.
pub(super) fn model_label(available: &[EmbeddingModel], name: &str) -> ModelLabel {
    let kind = available
        .iter()
        .find(|model| model.id == name)
        .map_or(ModelKind::Neural, |model| model.kind);
    ModelLabel {
        name: name.to_owned(),
        kind,
    }
}

/// Libraries in a list, with how many of their jobs are open and failed.
pub(super) async fn library_rows(
    services: &Services,
    caller: &Principal,
    libraries: &[Library],
) -> ServiceResult<Vec<LibraryRow>> {
    let uids: Vec<LibraryUid> = libraries.iter().map(|library| library.uid.clone()).collect();
    let counts = services.unsettled_jobs(caller, &uids).await?;
    let models = services.models().await?;
    Ok(libraries
        .iter()
        .map(|library| row_of(&models, library, &counts))
        .collect())
}

/// One library as lists show it.
pub(super) async fn library_row(
    services: &Services,
    caller: &Principal,
    library: &Library,
) -> ServiceResult<LibraryRow> {
    let counts = services
        .unsettled_jobs(caller, std::slice::from_ref(&library.uid))
        .await?;
    Ok(row_of(&services.models().await?, library, &counts))
}

fn row_of(
    models: &[EmbeddingModel],
    library: &Library,
    counts: &[(LibraryUid, JobStatus, u64)],
) -> LibraryRow {
    let jobs = |are_failed: bool| {
        counts
            .iter()
            .filter(|(uid, status, _)| *uid == library.uid && (*status == JobStatus::Failed) == are_failed)
            .map(|(_, _, number)| number)
            .sum()
    };
    LibraryRow {
        library: library_ref(library),
        description: library.description.clone(),
        workspace: library.workspace_id.as_ref().map(ToString::to_string),
        items: library.item_count,
        passages: library.chunk_count,
        open_jobs: jobs(false),
        failed_jobs: jobs(true),
        model: library
            .embedding_model
            .as_deref()
            .map(|name| model_label(models, name)),
        created_at: library.created_at,
    }
}

/// How many jobs are in a state, in one library or in all. Asks nothing where all libraries together have none.
pub(super) async fn count_jobs(
    services: &Services,
    caller: &Principal,
    library: Option<&LibraryUid>,
    status: JobStatus,
    throughput: &Throughput,
) -> ServiceResult<u64> {
    let of_all = throughput.by_status.get(status.as_str()).copied().unwrap_or(0);
    let Some(library) = library.filter(|_| of_all > 0) else {
        return Ok(of_all);
    };
    let filter = JobFilter {
        status: Some(status),
        library_uid: Some(library.clone()),
        ..JobFilter::default()
    };
    Ok(services.jobs(caller, &filter, PageRequest::first(1)).await?.total)
}

/// Libraries that rows refer to, each asked for once.
pub(super) struct KnownLibraries<'s> {
    services: &'s Services,
    caller: &'s Principal,
    known: HashMap<LibraryUid, Option<Library>>,
}

impl<'s> KnownLibraries<'s> {
    /// Knows none yet.
    pub(super) fn new(services: &'s Services, caller: &'s Principal) -> Self {
        Self {
            services,
            caller,
            known: HashMap::new(),
        }
    }

    /// The library's name, type and address, or `None` where it is gone.
    pub(super) async fn get(&mut self, uid: &LibraryUid) -> ServiceResult<Option<LibraryRef>> {
        Ok(self.whole(uid).await?.as_ref().map(library_ref))
    }

    /// The library, or `None` where it is gone.
    pub(super) async fn whole(&mut self, uid: &LibraryUid) -> ServiceResult<Option<Library>> {
        if let Some(known) = self.known.get(uid) {
            return Ok(known.clone());
        }
        let found = match self.services.library(self.caller, uid).await {
            Ok(library) => Some(library),
            Err(ServiceError::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        self.known.insert(uid.clone(), found.clone());
        Ok(found)
    }

    /// The first libraries of a list.
    pub(super) async fn first(&mut self, filter: LibraryFilter, at_most: u32) -> ServiceResult<Vec<Library>> {
        let page = PageRequest::first(at_most);
        let found = self.services.libraries(self.caller, filter, page).await?.rows;
        for library in &found {
            self.known.insert(library.uid.clone(), Some(library.clone()));
        }
        Ok(found)
    }

    /// The use cases that are asked.
    pub(super) fn services(&self) -> &'s Services {
        self.services
    }
}

/// Questions to try, while the demo library is there.
pub(super) async fn demo_questions(
    services: &Services,
    caller: &Principal,
) -> ServiceResult<Vec<QuestionLink>> {
    let questions = services.demo_questions(caller).await?;
    Ok(questions
        .into_iter()
        .map(|question| QuestionLink { text: question.text })
        .collect())
}

/// The kind of a file as people call it.
pub(super) fn format_title(content_type: &str) -> String {
    Format::ALL
        .into_iter()
        .find(|format| format.media_type() == content_type)
        .map_or_else(|| content_type.to_owned(), |format| format.title().to_owned())
}

/// What could not be read of an item.
pub(super) fn missing(item: &Item) -> Option<String> {
    if item.extraction == "ok" {
        return None;
    }
    Some(
        item.extraction
            .strip_prefix("partial: ")
            .unwrap_or(&item.extraction)
            .to_owned(),
    )
}

/// An item in a list.
pub(super) fn item_row(item: &Item, library: Option<LibraryRef>) -> ItemRow {
    ItemRow {
        uid: item.uid.clone(),
        title: item.title.clone(),
        filename: item.filename.clone(),
        library,
        format: format_title(&item.content_type),
        bytes: item.byte_size,
        pages: item.page_count,
        page_kind: PlaceKind::of(&item.content_type),
        passages: item.chunk_count,
        missing: missing(item),
        added_at: item.updated_at,
    }
}

/// Some of the jobs that run, in one library or in all, and how many there are.
pub(super) async fn running_jobs(
    libraries: &mut KnownLibraries<'_>,
    library: Option<&LibraryUid>,
    now: DateTime<Utc>,
) -> ServiceResult<(Vec<RunningJob>, u64)> {
    let filter = JobFilter {
        status: Some(JobStatus::Processing),
        library_uid: library.cloned(),
        ..JobFilter::default()
    };
    let found = libraries
        .services
        .jobs(libraries.caller, &filter, PageRequest::first(RUNNING_SHOWN))
        .await?;
    let mut running = Vec::with_capacity(found.rows.len());
    for job in &found.rows {
        // A library that was deleted a moment ago takes its jobs with it.
        if let Some(library) = libraries.get(&job.request.library_uid).await? {
            running.push(running_job(job, library, now));
        }
    }
    Ok((running, found.total))
}

fn running_job(job: &Job, library: LibraryRef, now: DateTime<Utc>) -> RunningJob {
    // A job that was begun again has spent time that its progress does not show.
    let elapsed = job
        .started_at
        .filter(|_| job.runs() <= 1)
        .map(|start| milliseconds_between(start, now));
    RunningJob {
        id: job.id.clone(),
        filename: job.request.filename.clone(),
        library,
        stage: job.stage,
        progress: job.progress,
        passages_per_second: elapsed.and_then(|elapsed| passages_per_second(job, elapsed)),
        eta_ms: elapsed.and_then(|elapsed| remaining(job.progress, elapsed)),
        attempts: job.runs(),
        started_at: job.started_at,
    }
}

/// Time left at the pace so far; `None` while too little is done to tell.
fn remaining(progress: f32, elapsed_ms: u64) -> Option<u64> {
    if !(0.1..1.0).contains(&progress) {
        return None;
    }
    let done = f64::from(progress);
    Some((elapsed_ms as f64 * (1.0 - done) / done) as u64)
}

/// The pace of embedding, which takes the progress from 0.2 to 0.9.
fn passages_per_second(job: &Job, elapsed_ms: u64) -> Option<f32> {
    if job.stage != Stage::Embed || job.counts.chunks == 0 {
        return None;
    }
    let before: u64 = [Stage::Fetch, Stage::Parse, Stage::Chunk]
        .into_iter()
        .filter_map(|stage| job.timings_ms.get(stage.as_str()))
        .sum();
    let embedding_ms = elapsed_ms.saturating_sub(before);
    let share = ((job.progress - 0.2) / 0.7).clamp(0.0, 1.0);
    (embedding_ms > 0 && share > 0.0).then(|| share * job.counts.chunks as f32 * 1000.0 / embedding_ms as f32)
}

fn milliseconds_between(start: DateTime<Utc>, end: DateTime<Utc>) -> u64 {
    u64::try_from((end - start).num_milliseconds()).unwrap_or(0)
}

/// The jobs that are next, oldest first, and how many wait.
pub(super) async fn next_jobs(
    libraries: &mut KnownLibraries<'_>,
    waiting: u64,
    at_most: u32,
) -> ServiceResult<Vec<WaitingJob>> {
    if waiting == 0 {
        return Ok(Vec::new());
    }
    let filter = JobFilter {
        status: Some(JobStatus::Pending),
        ..JobFilter::default()
    };
    // Jobs are listed newest first; the oldest are at the end.
    let page = PageRequest::new(waiting.saturating_sub(u64::from(at_most)), at_most);
    let found = libraries.services.jobs(libraries.caller, &filter, page).await?;
    let mut next = Vec::with_capacity(found.rows.len());
    for job in found.rows.into_iter().rev() {
        if let Some(library) = libraries.get(&job.request.library_uid).await? {
            next.push(WaitingJob {
                id: job.id,
                filename: job.request.filename,
                library,
                created_at: job.created_at,
                retry: job.error.map(|failure| (job.due_at, failure)),
            });
        }
    }
    Ok(next)
}

/// Failed jobs by cause, in one library or in all, most first.
pub(super) async fn failure_groups(
    services: &Services,
    caller: &Principal,
    library: Option<&LibraryUid>,
    throughput: &Throughput,
) -> ServiceResult<Vec<FailureGroup>> {
    let mut groups = Vec::new();
    for (word, _) in &throughput.failures {
        let Some(code) = FailureCode::parse(word) else {
            continue;
        };
        let filter = JobFilter {
            status: Some(JobStatus::Failed),
            library_uid: library.cloned(),
            failure: Some(code),
            ..JobFilter::default()
        };
        let found = services.jobs(caller, &filter, PageRequest::first(1)).await?;
        if let Some(latest) = found.rows.into_iter().next() {
            groups.push(FailureGroup {
                library: library.cloned(),
                code,
                count: found.total,
                latest_message: latest.error.map(|failure| failure.message).unwrap_or_default(),
            });
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    Ok(groups)
}

/// A job in the list of jobs.
pub(super) fn job_row(job: Job, library: Option<LibraryRef>) -> JobRow {
    let attempts = job.runs();
    JobRow {
        library,
        item: (job.status == JobStatus::Completed).then_some(job.item_uid),
        status: job.status,
        stage: job.stage,
        progress: job.progress,
        attempts,
        counts: job.counts,
        created_at: job.created_at,
        took_ms: job
            .started_at
            .zip(job.finished_at)
            .map(|(start, end)| milliseconds_between(start, end)),
        error: job.error,
        filename: job.request.filename,
        id: job.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_told_only_where_it_can_be() {
        assert_eq!(remaining(0.05, 1000), None);
        assert_eq!(remaining(1.0, 1000), None);
        assert_eq!(remaining(f32::NAN, 1000), None);
        assert_eq!(remaining(0.25, 1000), Some(3000));
    }

    #[test]
    fn formats_have_names_and_strange_ones_their_type() {
        assert_eq!(format_title("application/pdf"), "PDF");
        assert_eq!(format_title("application/x-strange"), "application/x-strange");
    }
}
