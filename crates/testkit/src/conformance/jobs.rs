//! What every table of jobs promises.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_domain::job::JobSource;
use mnemosyne_domain::ports::{
    JobFilter, JobOrder, JobUpdate, Lease, LeaseOutcome, LeaseRequest, Relational,
};
use mnemosyne_domain::{
    CollectionUid, Failure, FailureCode, ItemUid, Job, JobCounts, JobId, JobStatus, LibraryUid, NewJob,
    PageRequest, Queue, Stage, StoreError,
};

use super::{Pair, at};

type Databases = Pair<dyn Relational>;

const TTL: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u32 = 3;

fn library() -> LibraryUid {
    LibraryUid::from_store("library-1".to_owned())
}

fn request(source_ref: &str, content_hash: &str) -> NewJob {
    NewJob {
        library_uid: library(),
        collection_uid: None,
        source_ref: source_ref.to_owned(),
        content_hash: content_hash.to_owned(),
        filename: "report.pdf".to_owned(),
        content_type: None,
        title: None,
        metadata: serde_json::Map::new(),
        source: JobSource::BucketObject {
            key: format!("incoming/{source_ref}"),
        },
        queue: Queue::Embedding,
    }
}

async fn enqueue(jobs: &dyn Relational, source_ref: &str, content_hash: &str, now: DateTime<Utc>) -> Job {
    let enqueued = jobs
        .enqueue(request(source_ref, content_hash), None, now)
        .await
        .unwrap();
    assert!(
        !enqueued.deduplicated,
        "{source_ref} {content_hash} was there already"
    );
    enqueued.job
}

async fn try_lease(jobs: &dyn Relational, now: DateTime<Utc>) -> Option<Lease> {
    let request = LeaseRequest {
        holder: "worker-1",
        queues: &Queue::ALL,
        job: None,
        ttl: TTL,
        max_attempts: MAX_ATTEMPTS,
        now,
    };
    jobs.lease(request).await.unwrap()
}

async fn lease(jobs: &dyn Relational, now: DateTime<Utc>) -> Lease {
    try_lease(jobs, now).await.expect("a job is due")
}

async fn job(jobs: &dyn Relational, id: &JobId) -> Job {
    jobs.job(id).await.unwrap().expect("the job is there")
}

async fn status(jobs: &dyn Relational, id: &JobId) -> JobStatus {
    job(jobs, id).await.status
}

async fn finish(jobs: &dyn Relational, lease: &Lease, end: JobStatus, now: DateTime<Utc>) -> LeaseOutcome {
    jobs.finish(&lease.job.id, &lease.token, end, now)
        .await
        .unwrap()
        .outcome
}

async fn beat(jobs: &dyn Relational, lease: &Lease, now: DateTime<Utc>) -> LeaseOutcome {
    jobs.heartbeat(&lease.job.id, &lease.token, JobUpdate::default(), TTL, now)
        .await
        .unwrap()
}

async fn fail(jobs: &dyn Relational, lease: &Lease, code: FailureCode, now: DateTime<Utc>) {
    let failure = Failure::new(code, "It did not work.");
    let outcome = jobs
        .fail(&lease.job.id, &lease.token, &failure, None, now)
        .await
        .unwrap();
    assert_eq!(outcome, LeaseOutcome::Held);
}

/// Many jobs are read with one question, each as it is read alone; what is not there is left out.
pub async fn many_jobs_are_read_at_once(databases: Databases) {
    let mut wanted = Vec::new();
    for number in 0..20 {
        wanted.push(enqueue(databases.first.as_ref(), &number.to_string(), "1", at(number)).await);
    }
    enqueue(databases.first.as_ref(), "another", "1", at(20)).await;
    lease(databases.second.as_ref(), at(30)).await;
    wanted[0] = job(databases.first.as_ref(), &wanted[0].id).await;
    assert_eq!(wanted[0].status, JobStatus::Processing);
    let mut ids: Vec<JobId> = wanted.iter().map(|job| job.id.clone()).collect();
    ids.push(JobId::generate());
    // More names than SQL takes as parameters one by one.
    ids.extend((0..70_000).map(|number| JobId::parse(&format!("none-{number}")).unwrap()));
    let mut read = databases.second.jobs_by_id(&ids).await.unwrap();
    read.sort_by_key(|job| job.sequence);
    assert_eq!(read, wanted);
    assert_eq!(databases.first.jobs_by_id(&[]).await.unwrap(), []);
}

/// A job is read back as it was asked for, by every process, and waits from the beginning.
pub async fn a_job_is_kept_as_it_was_asked_for(databases: Databases) {
    let mut wanted = request("źródło/1", "sha256:00ff");
    wanted.collection_uid = Some(CollectionUid::from_store("collection-1".to_owned()));
    wanted.content_type = Some("application/pdf".to_owned());
    wanted.title = Some("It's \"quoted\"; 100 % — ß".to_owned());
    wanted.metadata.insert(
        "tags".to_owned(),
        serde_json::json!(["a", {"b": null}, 1.5, 12345678901_u64]),
    );
    wanted.queue = Queue::Batch;
    let from_bucket = databases
        .first
        .enqueue(wanted.clone(), None, at(0))
        .await
        .unwrap()
        .job;
    assert_eq!(from_bucket.request, wanted);
    assert_eq!(
        (from_bucket.status, from_bucket.stage),
        (JobStatus::Pending, Stage::Queued)
    );
    assert_eq!((from_bucket.attempts, from_bucket.progress), (0, 0.0));
    assert_eq!((from_bucket.created_at, from_bucket.due_at), (at(0), at(0)));
    assert_eq!(
        (
            from_bucket.started_at,
            from_bucket.finished_at,
            &from_bucket.error
        ),
        (None, None, &None)
    );

    let mut wanted = request("upload", "h");
    wanted.source = JobSource::Blob {
        digest: "ab".repeat(32),
        size: 5_000_000_000,
    };
    let uploaded = databases
        .first
        .enqueue(wanted.clone(), None, at(1))
        .await
        .unwrap()
        .job;
    assert_eq!(uploaded.request, wanted);
    assert_ne!(uploaded.item_uid, from_bucket.item_uid);

    let other = &databases.second;
    for expected in [from_bucket, uploaded] {
        assert_eq!(other.job(&expected.id).await.unwrap().as_ref(), Some(&expected));
        assert_eq!(
            other.job_of_item(&expected.item_uid).await.unwrap(),
            Some(expected)
        );
    }
    assert_eq!(other.job(&JobId::generate()).await.unwrap(), None);
    assert_eq!(other.job_of_item(&ItemUid::generate()).await.unwrap(), None);
}

/// A request that was taken is not taken again, whatever became of it short of being superseded or cancelled.
pub async fn the_same_request_is_taken_once(databases: Databases) {
    let jobs = databases.first.as_ref();
    let again = async |now, known: &Job, expected| {
        let enqueued = databases
            .second
            .enqueue(request("a", "1"), None, at(now))
            .await
            .unwrap();
        assert!(enqueued.deduplicated);
        assert_eq!((&enqueued.job.id, enqueued.job.status), (&known.id, expected));
    };
    let first = enqueue(jobs, "a", "1", at(0)).await;
    again(1, &first, JobStatus::Pending).await;
    let held = lease(jobs, at(2)).await;
    again(3, &first, JobStatus::Processing).await;
    fail(jobs, &held, FailureCode::Damaged, at(4)).await;
    again(5, &first, JobStatus::Failed).await;
    jobs.retry(&first.id, None, at(6)).await.unwrap();
    let held = lease(jobs, at(7)).await;
    finish(jobs, &held, JobStatus::Completed, at(8)).await;
    again(9, &first, JobStatus::Completed).await;

    let mut elsewhere = request("a", "1");
    elsewhere.library_uid = LibraryUid::from_store("library-2".to_owned());
    assert!(
        !jobs.enqueue(elsewhere, None, at(10)).await.unwrap().deduplicated,
        "another library is another request"
    );
    enqueue(jobs, "b", "1", at(11)).await;
}

/// A request that was cancelled, or whose place was taken, can be made anew.
pub async fn what_was_cancelled_or_superseded_can_be_asked_for_again(databases: Databases) {
    let jobs = databases.first.as_ref();
    let cancelled = enqueue(jobs, "a", "1", at(0)).await;
    jobs.cancel(&cancelled.id, at(1)).await.unwrap();
    let superseded = enqueue(jobs, "a", "1", at(2)).await;
    let other = enqueue(jobs, "a", "2", at(3)).await;
    assert_eq!(status(jobs, &superseded.id).await, JobStatus::Superseded);
    let back = enqueue(jobs, "a", "1", at(4)).await;
    assert_eq!(status(jobs, &other.id).await, JobStatus::Superseded);
    assert_eq!(status(jobs, &back.id).await, JobStatus::Pending);
}

/// The same request through two processes at the same moment makes one job.
pub async fn two_processes_that_ask_at_once_make_one_job(databases: Databases) {
    for round in 0..5 {
        let tasks = (0..8).map(|turn| {
            let jobs = databases.handle(turn);
            tokio::spawn(async move {
                jobs.enqueue(request("a", &format!("{round}")), None, at(round))
                    .await
                    .unwrap()
            })
        });
        let mut ids = BTreeSet::new();
        let mut made = 0;
        for task in tasks.collect::<Vec<_>>() {
            let enqueued = task.await.unwrap();
            made += usize::from(!enqueued.deduplicated);
            ids.insert(enqueued.job.id);
        }
        assert_eq!((ids.len(), made), (1, 1));
    }
}

/// New content takes the place of older content of the same source that waits; what runs goes on, and other sources and
/// libraries are not touched.
pub async fn new_content_takes_the_place_of_what_waits(databases: Databases) {
    let jobs = databases.first.as_ref();
    let running = enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    assert_eq!(held.job.id, running.id);
    let waiting = enqueue(jobs, "a", "2", at(1)).await;
    let other_source = enqueue(jobs, "b", "2", at(1)).await;
    let mut elsewhere = request("a", "2");
    elsewhere.library_uid = LibraryUid::from_store("library-2".to_owned());
    let elsewhere = jobs.enqueue(elsewhere, None, at(1)).await.unwrap().job;

    let newest = jobs.enqueue(request("a", "3"), None, at(2)).await.unwrap();
    let taken: Vec<&JobId> = newest.superseded.iter().map(|job| &job.id).collect();
    assert_eq!(taken, [&waiting.id]);
    assert_eq!(newest.superseded[0].status, JobStatus::Superseded);
    let newest = newest.job;
    let replaced = job(jobs, &waiting.id).await;
    assert_eq!(
        (replaced.status, replaced.finished_at),
        (JobStatus::Superseded, Some(at(2)))
    );
    assert_eq!(status(jobs, &running.id).await, JobStatus::Processing);
    assert_eq!(beat(jobs, &held, at(3)).await, LeaseOutcome::Held);
    for kept in [&other_source, &elsewhere, &newest] {
        assert_eq!(status(jobs, &kept.id).await, JobStatus::Pending);
    }
}

/// Sequences grow, and that of a job which was removed never comes back.
pub async fn sequences_grow_and_never_come_back(databases: Databases) {
    let mut last = 0;
    for turn in 0..6_usize {
        let jobs = databases.handle(turn);
        let made = enqueue(jobs.as_ref(), &format!("{turn}"), "1", at(0)).await;
        assert!(made.sequence > last);
        last = made.sequence;
        jobs.delete_jobs_of_items(&[made.item_uid]).await.unwrap();
    }
}

/// Of the jobs that are due in the queues asked for, the oldest comes first.
pub async fn the_oldest_due_job_comes_first(databases: Databases) {
    let jobs = databases.first.as_ref();
    let first = enqueue(jobs, "a", "1", at(0)).await;
    let second = enqueue(jobs, "b", "1", at(0)).await;
    let mut bulk = request("c", "1");
    bulk.queue = Queue::Batch;
    let bulk = jobs.enqueue(bulk, None, at(0)).await.unwrap().job;
    let of = async |queues: &[Queue], now| {
        let request = LeaseRequest {
            holder: "w",
            queues,
            job: None,
            ttl: TTL,
            max_attempts: MAX_ATTEMPTS,
            now,
        };
        databases
            .second
            .lease(request)
            .await
            .unwrap()
            .map(|lease| lease.job.id)
    };
    assert_eq!(of(&[Queue::Default], at(0)).await, None);
    assert_eq!(of(&[], at(0)).await, None);
    assert_eq!(
        of(&[Queue::Embedding], at(-1)).await,
        None,
        "none is due before it was asked for"
    );
    assert_eq!(
        of(&[Queue::Embedding, Queue::Default], at(0)).await,
        Some(first.id)
    );
    assert_eq!(of(&[Queue::Batch], at(1)).await, Some(bulk.id));
    assert_eq!(of(&Queue::ALL, at(1)).await, Some(second.id));
    assert_eq!(of(&Queue::ALL, at(1)).await, None);
}

/// The job that is asked for is taken whatever its place, unless it is not due or held; and no other in its stead.
pub async fn a_job_can_be_asked_for(databases: Databases) {
    let older = enqueue(databases.first.as_ref(), "a", "1", at(0)).await;
    let wanted = enqueue(databases.first.as_ref(), "b", "1", at(1)).await;
    let ask = |id: JobId, now: DateTime<Utc>| {
        let jobs = Arc::clone(&databases.second);
        async move {
            let request = LeaseRequest {
                holder: "worker-1",
                queues: &[Queue::Batch],
                job: Some(&id),
                ttl: TTL,
                max_attempts: MAX_ATTEMPTS,
                now,
            };
            jobs.lease(request).await.unwrap()
        }
    };
    assert_eq!(ask(wanted.id.clone(), at(0)).await, None, "not due yet");
    let taken = ask(wanted.id.clone(), at(2)).await.expect("it waits");
    assert_eq!(taken.job.id, wanted.id);
    assert_eq!(ask(wanted.id.clone(), at(3)).await, None, "held");
    let again = ask(wanted.id.clone(), at(2 + 61))
        .await
        .expect("its lease ran out");
    assert_ne!(again.token, taken.token);
    assert_eq!(ask(JobId::generate(), at(3)).await, None, "unknown");
    assert_eq!(
        status(databases.first.as_ref(), &older.id).await,
        JobStatus::Pending
    );
}

/// What must be announced is known from the moment it is recorded until somebody announced or took it, and again each
/// time the job becomes pending.
pub async fn what_waits_must_be_announced(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    let waiting = |before: i64| async move {
        let found = other.unannounced(at(before), 10).await.unwrap();
        found.into_iter().map(|one| one.job).collect::<Vec<_>>()
    };
    let first = enqueue(jobs, "a", "1", at(0)).await;
    let second = enqueue(jobs, "b", "1", at(5)).await;
    let found = other.unannounced(at(9), 10).await.unwrap();
    assert_eq!(found[0].queue, Queue::Embedding);
    assert_eq!(waiting(9).await, [first.id.clone(), second.id.clone()]);
    assert_eq!(waiting(4).await, slice::from_ref(&first.id), "recorded later");
    assert_eq!(other.unannounced(at(9), 1).await.unwrap().len(), 1);
    jobs.announced(&[first.id.clone(), JobId::generate()])
        .await
        .unwrap();
    assert_eq!(waiting(9).await, slice::from_ref(&second.id));
    jobs.announced(&[]).await.unwrap();
    jobs.cancel(&second.id, at(10)).await.unwrap();
    assert_eq!(waiting(20).await, [], "what is cancelled waits no more");

    let taken = lease(jobs, at(20)).await;
    assert_eq!(taken.job.id, first.id);
    let failure = Failure::new(FailureCode::EmbedderUnavailable, "It is away.");
    jobs.fail(&first.id, &taken.token, &failure, Some(at(40)), at(21))
        .await
        .unwrap();
    assert_eq!(waiting(39).await, [], "not due yet");
    assert_eq!(waiting(41).await, slice::from_ref(&first.id));
    let taken = lease(jobs, at(41)).await;
    assert_eq!(waiting(50).await, [], "what was taken needs no message");
    jobs.release(&first.id, &taken.token, at(51)).await.unwrap();
    assert_eq!(waiting(52).await, slice::from_ref(&first.id));
    let taken = lease(jobs, at(53)).await;
    fail(jobs, &taken, FailureCode::Damaged, at(54)).await;
    assert_eq!(waiting(60).await, []);
    jobs.retry(&first.id, None, at(61)).await.unwrap();
    assert_eq!(waiting(62).await, slice::from_ref(&first.id));
    let taken = lease(jobs, at(63)).await;
    fail(jobs, &taken, FailureCode::Damaged, at(64)).await;
    jobs.retry_failed(None, None, at(65)).await.unwrap();
    assert_eq!(waiting(66).await, [first.id]);
}

/// A lease says what was begun, when, and how often.
pub async fn a_lease_begins_the_job(databases: Databases) {
    let jobs = databases.first.as_ref();
    let asked = enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(5)).await;
    assert_eq!(
        (&held.job.id, held.job.status, held.job.attempts),
        (&asked.id, JobStatus::Processing, 1)
    );
    assert_eq!(held.job.started_at, Some(at(5)));
    assert!(!held.token.is_empty());
    assert_eq!(job(databases.second.as_ref(), &asked.id).await, held.job);
}

/// Workers of several processes at once take every job once.
pub async fn workers_at_once_take_every_job_once(databases: Databases) {
    for turn in 0..24 {
        enqueue(databases.first.as_ref(), &format!("{turn}"), "1", at(0)).await;
    }
    let workers = (0..6).map(|turn| {
        let jobs = databases.handle(turn);
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(held) = try_lease(jobs.as_ref(), at(1)).await {
                assert_eq!(held.job.attempts, 1);
                taken.push((held.job.id, held.token));
            }
            taken
        })
    });
    let mut ids = BTreeSet::new();
    let mut tokens = BTreeSet::new();
    let mut count = 0;
    for worker in workers.collect::<Vec<_>>() {
        for (id, token) in worker.await.unwrap() {
            ids.insert(id);
            tokens.insert(token);
            count += 1;
        }
    }
    assert_eq!((count, ids.len(), tokens.len()), (24, 24, 24));
}

/// A lease that ran out goes to the next worker, and the first can do nothing any more.
pub async fn a_lease_that_ran_out_is_taken_over(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    enqueue(jobs, "a", "1", at(0)).await;
    let lost = lease(jobs, at(0)).await;
    assert_eq!(try_lease(other, at(59)).await, None);
    let held = lease(other, at(60)).await;
    assert_eq!((&held.job.id, held.job.attempts), (&lost.job.id, 2));
    assert_eq!(held.job.started_at, Some(at(0)), "when it was first begun");
    assert_ne!(held.token, lost.token);

    let (id, token) = (&lost.job.id, lost.token.as_str());
    let update = JobUpdate {
        progress: Some(0.9),
        checkpoints: BTreeMap::from([("text".to_owned(), "stale".to_owned())]),
        ..JobUpdate::default()
    };
    assert_eq!(
        jobs.heartbeat(id, token, update, TTL, at(61)).await.unwrap(),
        LeaseOutcome::Lost
    );
    assert_eq!(
        finish(jobs, &lost, JobStatus::Completed, at(61)).await,
        LeaseOutcome::Lost
    );
    let failure = Failure::new(FailureCode::Damaged, "Broken.");
    assert_eq!(
        jobs.fail(id, token, &failure, None, at(61)).await.unwrap(),
        LeaseOutcome::Lost
    );
    assert_eq!(jobs.release(id, token, at(61)).await.unwrap(), LeaseOutcome::Lost);
    assert_eq!(job(jobs, id).await, held.job, "nothing of that was written");
    assert_eq!(jobs.checkpoints(id).await.unwrap(), BTreeMap::new());
    assert_eq!(beat(other, &held, at(62)).await, LeaseOutcome::Held);
}

/// A heartbeat after the lease ran out still counts while nobody took the job over.
pub async fn a_late_heartbeat_keeps_what_nobody_took(databases: Databases) {
    let jobs = databases.first.as_ref();
    enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    assert_eq!(beat(jobs, &held, at(500)).await, LeaseOutcome::Held);
    assert_eq!(try_lease(jobs, at(559)).await, None);
    assert_eq!(lease(jobs, at(560)).await.job.id, held.job.id);
}

/// A heartbeat extends the lease, writes what it is given and leaves the rest.
pub async fn a_heartbeat_writes_what_it_is_given(databases: Databases) {
    let jobs = databases.first.as_ref();
    enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    let counts = JobCounts {
        chunks: 12,
        images: 3,
        concepts: 40,
    };
    let timings = BTreeMap::from([("fetch".to_owned(), 7_u64), ("parse".to_owned(), 1_250)]);
    let update = JobUpdate {
        stage: Some(Stage::Parse),
        progress: Some(0.25),
        counts: Some(counts),
        timings_ms: Some(timings.clone()),
        checkpoints: BTreeMap::from([
            ("text".to_owned(), "d1".to_owned()),
            ("original".to_owned(), "d0".to_owned()),
        ]),
    };
    let told = |update| jobs.heartbeat(&held.job.id, &held.token, update, TTL, at(30));
    assert_eq!(told(update).await.unwrap(), LeaseOutcome::Held);
    let second = JobUpdate {
        checkpoints: BTreeMap::from([
            ("text".to_owned(), "d2".to_owned()),
            ("chunks".to_owned(), "d3".to_owned()),
        ]),
        ..JobUpdate::default()
    };
    assert_eq!(told(second).await.unwrap(), LeaseOutcome::Held);

    let seen = job(databases.second.as_ref(), &held.job.id).await;
    assert_eq!(
        (seen.stage, seen.progress, seen.counts),
        (Stage::Parse, 0.25, counts)
    );
    assert_eq!(seen.timings_ms, timings);
    let named = |pairs: [(&str, &str); 3]| {
        BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    let expected = named([("text", "d2"), ("original", "d0"), ("chunks", "d3")]);
    assert_eq!(
        databases.second.checkpoints(&held.job.id).await.unwrap(),
        expected
    );
    assert_eq!(
        try_lease(jobs, at(89)).await,
        None,
        "the lease holds for its time from the last heartbeat"
    );
    let next = lease(jobs, at(90)).await;
    assert_eq!(
        jobs.checkpoints(&next.job.id).await.unwrap(),
        expected,
        "the next run resumes from there"
    );
}

/// A job whose worker is lost too often fails with its own code, and the next one is taken.
pub async fn a_job_that_never_ends_is_given_up(databases: Databases) {
    let jobs = databases.first.as_ref();
    let deadly = enqueue(jobs, "deadly", "1", at(0)).await;
    let mut now = 0;
    for attempt in 1..=MAX_ATTEMPTS {
        let held = lease(jobs, at(now)).await;
        assert_eq!((&held.job.id, held.job.attempts), (&deadly.id, attempt));
        now += 60;
    }
    let harmless = enqueue(jobs, "harmless", "1", at(now)).await;
    assert_eq!(lease(jobs, at(now)).await.job.id, harmless.id);
    let given_up = job(jobs, &deadly.id).await;
    assert_eq!(
        (given_up.status, given_up.finished_at),
        (JobStatus::Failed, Some(at(now)))
    );
    let error = given_up.error.unwrap();
    assert_eq!(error.code, FailureCode::TooManyAttempts);
    assert!(error.message.contains('3'), "{}", error.message);
}

/// A failed attempt waits for its moment, with its reason to be seen; one without a moment is the end.
pub async fn a_failed_attempt_waits_for_its_moment(databases: Databases) {
    let jobs = databases.first.as_ref();
    let asked = enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    let failure = Failure::new(
        FailureCode::EmbedderUnavailable,
        "The embedding server does not answer.",
    );
    let outcome = jobs
        .fail(&asked.id, &held.token, &failure, Some(at(100)), at(10))
        .await
        .unwrap();
    assert_eq!(outcome, LeaseOutcome::Held);
    let waiting = job(jobs, &asked.id).await;
    assert_eq!(
        (waiting.status, waiting.due_at, waiting.finished_at),
        (JobStatus::Pending, at(100), None)
    );
    assert_eq!(waiting.error, Some(failure.clone()));
    assert_eq!(
        (waiting.attempts, waiting.failures),
        (0, 1),
        "an attempt that came to an end is not one that never did"
    );
    let younger = enqueue(jobs, "b", "1", at(20)).await;
    assert_eq!(
        lease(jobs, at(99)).await.job.id,
        younger.id,
        "what waits for later holds nobody up"
    );
    assert_eq!(try_lease(jobs, at(99)).await, None);

    let held = lease(jobs, at(100)).await;
    assert_eq!(
        (&held.job.id, held.job.attempts, held.job.failures),
        (&asked.id, 1, 1)
    );
    assert_eq!(held.job.started_at, Some(at(0)), "when it was first begun");
    let outcome = jobs
        .fail(&asked.id, &held.token, &failure, None, at(101))
        .await
        .unwrap();
    assert_eq!(outcome, LeaseOutcome::Held);
    let failed = job(jobs, &asked.id).await;
    assert_eq!(
        (failed.status, failed.finished_at),
        (JobStatus::Failed, Some(at(101)))
    );
    assert_eq!(failed.error, Some(failure));
    assert_eq!((failed.attempts, failed.failures), (0, 2));
    assert_eq!(
        beat(jobs, &held, at(102)).await,
        LeaseOutcome::Lost,
        "what ended is nobody's"
    );
}

/// A job that its worker gives back is due at once, and the attempt does not count.
pub async fn a_job_given_back_does_not_count(databases: Databases) {
    let jobs = databases.first.as_ref();
    enqueue(jobs, "a", "1", at(0)).await;
    for now in 0..10 {
        let held = lease(jobs, at(now)).await;
        assert_eq!(held.job.attempts, 1);
        let outcome = jobs.release(&held.job.id, &held.token, at(now)).await.unwrap();
        assert_eq!(outcome, LeaseOutcome::Held);
        let back = job(jobs, &held.job.id).await;
        assert_eq!((back.status, back.attempts), (JobStatus::Pending, 0));
        assert!(back.due_at <= at(now));
        assert_eq!(beat(jobs, &held, at(now)).await, LeaseOutcome::Lost);
    }
}

/// Whatever waits or runs can be cancelled; the worker hears of it; what ended stays as it ended.
pub async fn a_cancelled_job_is_left_by_its_worker(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    let waiting = enqueue(jobs, "a", "1", at(0)).await;
    let cancelled = other.cancel(&waiting.id, at(1)).await.unwrap().unwrap();
    assert_eq!(
        (cancelled.status, cancelled.finished_at),
        (JobStatus::Cancelled, Some(at(1)))
    );
    assert_eq!(try_lease(jobs, at(2)).await, None);

    enqueue(jobs, "b", "1", at(3)).await;
    let held = lease(jobs, at(3)).await;
    assert_eq!(
        other.cancel(&held.job.id, at(4)).await.unwrap().unwrap().status,
        JobStatus::Cancelled
    );
    assert_eq!(beat(jobs, &held, at(5)).await, LeaseOutcome::Cancelled);
    let failure = Failure::new(FailureCode::Damaged, "Broken.");
    let outcome = jobs
        .fail(&held.job.id, &held.token, &failure, None, at(6))
        .await
        .unwrap();
    assert_eq!(outcome, LeaseOutcome::Cancelled);
    assert_eq!(
        jobs.release(&held.job.id, &held.token, at(6)).await.unwrap(),
        LeaseOutcome::Cancelled
    );
    let after = job(jobs, &held.job.id).await;
    assert_eq!((after.status, after.error), (JobStatus::Cancelled, None));
    assert_eq!(
        try_lease(jobs, at(1_000)).await,
        None,
        "it is not taken over either"
    );

    enqueue(jobs, "c", "1", at(1_000)).await;
    let held = lease(jobs, at(1_000)).await;
    finish(jobs, &held, JobStatus::Completed, at(1_001)).await;
    let done = other.cancel(&held.job.id, at(1_002)).await.unwrap().unwrap();
    assert_eq!(
        (done.status, done.finished_at),
        (JobStatus::Completed, Some(at(1_001)))
    );
    assert_eq!(other.cancel(&JobId::generate(), at(1_003)).await.unwrap(), None);
}

/// A job that ends well is complete, and earlier ones of its source are superseded by it.
pub async fn a_completed_job_supersedes_those_before_it(databases: Databases) {
    let jobs = databases.first.as_ref();
    let complete = async |source_ref: &str, content_hash: &str, now| {
        let made = enqueue(jobs, source_ref, content_hash, at(now)).await;
        let held = lease(jobs, at(now)).await;
        assert_eq!(held.job.id, made.id);
        let failure = Failure::new(FailureCode::StorageUnavailable, "Full.");
        jobs.fail(&made.id, &held.token, &failure, Some(at(now)), at(now))
            .await
            .unwrap();
        let held = lease(jobs, at(now)).await;
        let ended = jobs
            .finish(&held.job.id, &held.token, JobStatus::Completed, at(now))
            .await
            .unwrap();
        assert_eq!(ended.outcome, LeaseOutcome::Held);
        assert_eq!(
            finish(jobs, &held, JobStatus::Completed, at(now)).await,
            LeaseOutcome::Lost,
            "it ends once"
        );
        (made, ended.superseded)
    };
    let (first, taken) = complete("a", "1", 0).await;
    assert_eq!(taken, []);
    let done = job(jobs, &first.id).await;
    assert_eq!(
        (done.status, done.stage, done.progress),
        (JobStatus::Completed, Stage::Complete, 1.0)
    );
    assert_eq!((done.finished_at, done.error), (Some(at(0)), None));

    assert_eq!((done.attempts, done.failures), (1, 1));

    let (other, _) = complete("b", "1", 10).await;
    let (second, taken) = complete("a", "2", 20).await;
    assert_eq!(taken, [first.item_uid]);
    let replaced = job(jobs, &first.id).await;
    assert_eq!(
        (replaced.status, replaced.finished_at),
        (JobStatus::Superseded, Some(at(0)))
    );
    assert_eq!(status(jobs, &other.id).await, JobStatus::Completed);
    assert_eq!(status(jobs, &second.id).await, JobStatus::Completed);

    // An older job that ends after a newer one takes nothing away from it.
    enqueue(jobs, "c", "1", at(30)).await;
    let older = lease(jobs, at(30)).await;
    let (newer, _) = complete("c", "2", 31).await;
    let ended = jobs
        .finish(&older.job.id, &older.token, JobStatus::Superseded, at(32))
        .await
        .unwrap();
    assert_eq!(ended.outcome, LeaseOutcome::Held);
    assert_eq!(ended.superseded, [older.job.item_uid]);
    assert_eq!(status(jobs, &newer.id).await, JobStatus::Completed);
    let ended = job(jobs, &older.job.id).await;
    assert_eq!(
        (ended.status, ended.finished_at),
        (JobStatus::Superseded, Some(at(32)))
    );
}

/// A lease ends as completed or superseded, and in no other way.
pub async fn a_lease_ends_in_two_ways_only(databases: Databases) {
    let jobs = databases.first.as_ref();
    enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    for end in [
        JobStatus::Pending,
        JobStatus::Processing,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ] {
        let refused = jobs.finish(&held.job.id, &held.token, end, at(1)).await;
        assert!(matches!(refused, Err(StoreError::Conflict("status"))), "{end:?}");
    }
    assert_eq!(beat(jobs, &held, at(2)).await, LeaseOutcome::Held);
}

/// A job that ends when a later one of its source is completed already has no place any more, however it ends.
pub async fn what_ends_after_a_later_one_is_superseded(databases: Databases) {
    let jobs = databases.first.as_ref();
    let failure = Failure::new(FailureCode::EmbedderUnavailable, "It is away.");
    for (source_ref, begin) in [("a", 0), ("b", 100), ("c", 200), ("d", 300)] {
        enqueue(jobs, source_ref, "1", at(begin)).await;
        let older = lease(jobs, at(begin)).await;
        let newer = enqueue(jobs, source_ref, "2", at(begin + 1)).await;
        let held = lease(jobs, at(begin + 1)).await;
        assert_eq!(held.job.id, newer.id);
        let mut ended = jobs
            .finish(&newer.id, &held.token, JobStatus::Completed, at(begin + 2))
            .await
            .unwrap();
        assert_eq!(ended.superseded, [], "what runs ends by itself");
        let (id, token, now) = (&older.job.id, older.token.as_str(), at(begin + 3));
        match source_ref {
            "a" => {
                ended = jobs.finish(id, token, JobStatus::Completed, now).await.unwrap();
                assert_eq!(ended.outcome, LeaseOutcome::Held);
                assert_eq!(ended.superseded, slice::from_ref(&older.job.item_uid));
            }
            "b" | "c" => {
                let retry_at = (source_ref == "c").then(|| at(begin + 50));
                let outcome = jobs.fail(id, token, &failure, retry_at, now).await.unwrap();
                assert_eq!(outcome, LeaseOutcome::Superseded);
            }
            _ => {
                let mut now = begin;
                for _ in 1..MAX_ATTEMPTS {
                    now += 60;
                    assert_eq!(lease(jobs, at(now)).await.job.id, older.job.id);
                }
                assert_eq!(try_lease(jobs, at(now + 60)).await, None);
            }
        }
        let after = job(jobs, id).await;
        assert_eq!(after.status, JobStatus::Superseded, "{source_ref}");
        assert!(after.finished_at.is_some());
        assert_eq!(status(jobs, &newer.id).await, JobStatus::Completed);
    }
}

/// Content that comes back while other content is under way is the last word all the same.
pub async fn the_last_request_for_a_source_decides(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    let again = async |source_ref: &str, now| {
        let enqueued = other
            .enqueue(request(source_ref, "A"), None, at(now))
            .await
            .unwrap();
        let taken: Vec<JobId> = enqueued.superseded.iter().map(|job| job.id.clone()).collect();
        (enqueued.job, enqueued.deduplicated, taken)
    };
    let complete = async |source_ref: &str, now| {
        let made = enqueue(jobs, source_ref, "A", at(now)).await;
        let held = lease(jobs, at(now)).await;
        finish(jobs, &held, JobStatus::Completed, at(now)).await;
        made
    };

    // What waits is not made, and what is made already is made anew: it would be older than what it replaces.
    let done = complete("waits", 0).await;
    let waits = enqueue(jobs, "waits", "B", at(1)).await;
    let (made, deduplicated, taken) = again("waits", 2).await;
    assert!(!deduplicated && made.sequence > waits.sequence);
    assert_eq!(
        BTreeSet::from_iter(taken),
        BTreeSet::from([done.id.clone(), waits.id.clone()])
    );
    for id in [&done.id, &waits.id] {
        assert_eq!(status(jobs, id).await, JobStatus::Superseded);
    }
    assert_eq!(
        job(jobs, &done.id).await.finished_at,
        Some(at(0)),
        "when it was done"
    );
    let held = lease(jobs, at(3)).await;
    assert_eq!(held.job.id, made.id);
    assert_eq!(again("waits", 4).await, (held.job.clone(), true, vec![]));
    finish(jobs, &held, JobStatus::Completed, at(5)).await;

    let done = complete("runs", 10).await;
    let runs = enqueue(jobs, "runs", "B", at(11)).await;
    let held = lease(jobs, at(11)).await;
    let (made, deduplicated, taken) = again("runs", 12).await;
    assert!(!deduplicated && made.sequence > runs.sequence);
    assert_eq!(taken, [done.id]);
    finish(jobs, &held, JobStatus::Completed, at(13)).await;
    assert_eq!(status(jobs, &made.id).await, JobStatus::Pending);
    let held = lease(jobs, at(14)).await;
    let ended = jobs
        .finish(&made.id, &held.token, JobStatus::Completed, at(15))
        .await
        .unwrap();
    assert_eq!(ended.superseded, [runs.item_uid]);

    // Where the first still runs, what waits behind it gives way.
    enqueue(jobs, "first runs", "A", at(20)).await;
    let held = lease(jobs, at(20)).await;
    let waits = enqueue(jobs, "first runs", "B", at(21)).await;
    let (known, deduplicated, taken) = again("first runs", 22).await;
    assert_eq!(
        (known.id, deduplicated, taken),
        (held.job.id.clone(), true, vec![waits.id])
    );
    assert_eq!(beat(jobs, &held, at(23)).await, LeaseOutcome::Held);
    finish(jobs, &held, JobStatus::Completed, at(24)).await;

    // Where both run, the older one could never win.
    enqueue(jobs, "both run", "A", at(30)).await;
    let held = lease(jobs, at(30)).await;
    enqueue(jobs, "both run", "B", at(31)).await;
    lease(jobs, at(31)).await;
    let (made, deduplicated, taken) = again("both run", 32).await;
    assert_eq!((deduplicated, taken), (false, vec![held.job.id.clone()]));
    assert_eq!(made.status, JobStatus::Pending);
    assert_eq!(beat(jobs, &held, at(33)).await, LeaseOutcome::Superseded);
}

/// Once an item may be visible at any moment its job cannot be cancelled any more; before that its worker can make
/// nothing visible without hearing of it.
pub async fn a_job_in_its_last_stage_is_not_cancelled(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    let enter = async |held: &Lease, stage, now| {
        let update = JobUpdate {
            stage: Some(stage),
            ..JobUpdate::default()
        };
        jobs.heartbeat(&held.job.id, &held.token, update, TTL, at(now))
            .await
            .unwrap()
    };
    enqueue(jobs, "a", "1", at(0)).await;
    let held = lease(jobs, at(0)).await;
    assert_eq!(enter(&held, Stage::Publish, 1).await, LeaseOutcome::Held);
    let kept = other.cancel(&held.job.id, at(2)).await.unwrap().unwrap();
    assert_eq!((kept.status, kept.finished_at), (JobStatus::Processing, None));
    assert_eq!(enter(&held, Stage::Complete, 3).await, LeaseOutcome::Held);
    let kept = other.cancel(&held.job.id, at(3)).await.unwrap().unwrap();
    assert_eq!(kept.status, JobStatus::Processing);
    assert_eq!(
        finish(jobs, &held, JobStatus::Completed, at(3)).await,
        LeaseOutcome::Held
    );
    assert_eq!(status(jobs, &held.job.id).await, JobStatus::Completed);

    enqueue(jobs, "b", "1", at(4)).await;
    let held = lease(jobs, at(4)).await;
    assert_eq!(enter(&held, Stage::Concepts, 5).await, LeaseOutcome::Held);
    other.cancel(&held.job.id, at(6)).await.unwrap();
    assert_eq!(enter(&held, Stage::Publish, 7).await, LeaseOutcome::Cancelled);
    assert_eq!(
        finish(jobs, &held, JobStatus::Completed, at(8)).await,
        LeaseOutcome::Cancelled
    );
    assert_eq!(status(jobs, &held.job.id).await, JobStatus::Cancelled);

    // One that waits for another attempt at its last stage may have come to its end unheard.
    enqueue(jobs, "c", "1", at(9)).await;
    let held = lease(jobs, at(9)).await;
    enter(&held, Stage::Publish, 10).await;
    let failure = Failure::new(FailureCode::StorageUnavailable, "No answer came.");
    jobs.fail(&held.job.id, &held.token, &failure, Some(at(20)), at(11))
        .await
        .unwrap();
    let kept = other.cancel(&held.job.id, at(12)).await.unwrap().unwrap();
    assert_eq!(kept.status, JobStatus::Pending);

    // One that is given back before it waits like any other.
    enqueue(jobs, "d", "1", at(12)).await;
    let held = lease(jobs, at(12)).await;
    enter(&held, Stage::Concepts, 13).await;
    jobs.release(&held.job.id, &held.token, at(14)).await.unwrap();
    let cancelled = other.cancel(&held.job.id, at(15)).await.unwrap().unwrap();
    assert_eq!(cancelled.status, JobStatus::Cancelled);
}

/// Bulk work comes when no single document is due, however long it has waited.
pub async fn bulk_work_yields_to_single_documents(databases: Databases) {
    let jobs = databases.first.as_ref();
    let queued = async |source_ref: &str, queue, now| {
        let mut wanted = request(source_ref, "1");
        wanted.queue = queue;
        jobs.enqueue(wanted, None, at(now)).await.unwrap().job.id
    };
    let bulk = [
        queued("a", Queue::Batch, 0).await,
        queued("b", Queue::Batch, 1).await,
    ];
    let single = queued("c", Queue::Embedding, 2).await;
    let default = queued("d", Queue::Default, 3).await;
    let later = queued("e", Queue::Embedding, 100).await;
    let mut taken = Vec::new();
    while let Some(held) = try_lease(databases.second.as_ref(), at(10)).await {
        taken.push(held.job.id);
    }
    assert_eq!(taken, [single, default, bulk[0].clone(), bulk[1].clone()]);
    // Also where its lease ran out.
    assert_eq!(lease(jobs, at(100)).await.job.request.queue, Queue::Embedding);
    assert_eq!(lease(jobs, at(100)).await.job.request.queue, Queue::Default);
    assert_eq!(lease(jobs, at(100)).await.job.id, later);
    assert_eq!(lease(jobs, at(100)).await.job.id, bulk[0]);
}

/// A failed job can be put back to work, alone or with its like, with all its attempts before it.
pub async fn failed_jobs_can_be_retried(databases: Databases) {
    let jobs = databases.first.as_ref();
    let mut failed = Vec::new();
    for (source_ref, code) in [
        ("a", FailureCode::Damaged),
        ("b", FailureCode::TooLarge),
        ("c", FailureCode::TooLarge),
        ("d", FailureCode::Encrypted),
    ] {
        failed.push(enqueue(jobs, source_ref, "1", at(0)).await.id);
        let held = lease(jobs, at(0)).await;
        fail(jobs, &held, code, at(1)).await;
    }
    let back = jobs.retry(&failed[0], None, at(10)).await.unwrap().unwrap();
    assert_eq!(
        (back.status, back.attempts, back.failures, back.due_at),
        (JobStatus::Pending, 0, 0, at(10))
    );
    assert_eq!(
        (back.error, back.started_at, back.finished_at),
        (None, None, None)
    );
    assert_eq!(back.request.queue, Queue::Embedding);
    assert!(matches!(
        jobs.retry(&failed[0], None, at(11)).await,
        Err(StoreError::Conflict("status"))
    ));
    assert_eq!(jobs.retry(&JobId::generate(), None, at(11)).await.unwrap(), None);
    let too_large = Some("too_large");
    assert_eq!(jobs.retry_failed(too_large, None, at(12)).await.unwrap(), 2);
    assert_eq!(jobs.retry_failed(too_large, None, at(12)).await.unwrap(), 0);
    assert_eq!(status(jobs, &failed[3]).await, JobStatus::Failed);
    let (own, other) = (
        LibraryUid::from_store("library-1".to_owned()),
        LibraryUid::from_store("library-2".to_owned()),
    );
    assert_eq!(jobs.retry_failed(None, Some(&other), at(13)).await.unwrap(), 0);
    let encrypted = Some("encrypted");
    assert_eq!(
        jobs.retry_failed(encrypted, Some(&other), at(13)).await.unwrap(),
        0
    );
    assert_eq!(status(jobs, &failed[3]).await, JobStatus::Failed);
    assert_eq!(jobs.retry_failed(None, Some(&own), at(13)).await.unwrap(), 1);
    for id in &failed {
        assert_eq!(status(jobs, id).await, JobStatus::Pending);
    }
    let held = lease(jobs, at(14)).await;
    fail(jobs, &held, FailureCode::Damaged, at(15)).await;
    let moved = jobs
        .retry(&held.job.id, Some(Queue::Batch), at(16))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(moved.request.queue, Queue::Batch, "where it is wanted now");
}

/// Jobs go with their library or their item, and a worker that ran one finds it lost.
pub async fn jobs_go_with_their_library_or_item(databases: Databases) {
    let (jobs, other) = (databases.first.as_ref(), databases.second.as_ref());
    let kept = {
        let mut kept = request("a", "1");
        kept.library_uid = LibraryUid::from_store("library-2".to_owned());
        jobs.enqueue(kept, None, at(0)).await.unwrap().job
    };
    let single = enqueue(jobs, "a", "1", at(0)).await;
    let second = enqueue(jobs, "b", "1", at(0)).await;
    let third = enqueue(jobs, "c", "1", at(0)).await;
    let items = [single.item_uid, ItemUid::generate(), third.item_uid];
    for _ in 0..2 {
        other.delete_jobs_of_items(&items).await.unwrap();
        other.delete_jobs_of_items(&[]).await.unwrap();
    }
    for gone in [&single.id, &third.id] {
        assert_eq!(jobs.job(gone).await.unwrap(), None);
    }
    other.delete_jobs_of_items(&[second.item_uid]).await.unwrap();
    assert_eq!(jobs.job(&second.id).await.unwrap(), None);

    lease(jobs, at(1)).await;
    enqueue(jobs, "b", "1", at(1)).await;
    enqueue(jobs, "c", "1", at(1)).await;
    let held = lease(jobs, at(1)).await;
    let update = JobUpdate {
        checkpoints: BTreeMap::from([("text".to_owned(), "d".to_owned())]),
        ..JobUpdate::default()
    };
    jobs.heartbeat(&held.job.id, &held.token, update.clone(), TTL, at(2))
        .await
        .unwrap();
    assert_eq!(other.delete_jobs_of_library(&library()).await.unwrap(), 2);
    assert_eq!(other.delete_jobs_of_library(&library()).await.unwrap(), 0);
    let outcome = jobs
        .heartbeat(&held.job.id, &held.token, update, TTL, at(3))
        .await
        .unwrap();
    assert_eq!(outcome, LeaseOutcome::Lost);
    assert_eq!(
        finish(jobs, &held, JobStatus::Completed, at(3)).await,
        LeaseOutcome::Lost
    );
    assert_eq!(jobs.checkpoints(&held.job.id).await.unwrap(), BTreeMap::new());
    assert!(jobs.job(&kept.id).await.unwrap().is_some());
}

/// Lists come newest first, filtered by state, library and failure, page by page, with the length of the whole.
pub async fn jobs_are_listed_newest_first(databases: Databases) {
    let jobs = databases.first.as_ref();
    let mut made = Vec::new();
    for number in 0..9 {
        let mut wanted = request(&format!("{number}"), "1");
        if number % 3 == 0 {
            wanted.library_uid = LibraryUid::from_store("library-2".to_owned());
        }
        made.push(jobs.enqueue(wanted, None, at(0)).await.unwrap().job.id);
    }
    // 0 and 1 fail, 2 and 3 are completed, 4 is running.
    for code in [FailureCode::Damaged, FailureCode::TooLarge] {
        let held = lease(jobs, at(1)).await;
        fail(jobs, &held, code, at(2)).await;
    }
    for _ in 0..2 {
        let held = lease(jobs, at(3)).await;
        finish(jobs, &held, JobStatus::Completed, at(4)).await;
    }
    lease(jobs, at(5)).await;
    let list = async |status, library: Option<&str>, failure, offset, limit| {
        let library_uid = library.map(|uid| LibraryUid::from_store(uid.to_owned()));
        let filter = JobFilter {
            status,
            library_uid,
            failure,
            ..JobFilter::default()
        };
        let page = databases
            .second
            .jobs(&filter, PageRequest::new(offset, limit))
            .await
            .unwrap();
        let places = page
            .rows
            .iter()
            .map(|row| made.iter().position(|id| *id == row.id).unwrap());
        (places.collect::<Vec<_>>(), page.total)
    };
    let (failed, one, two) = (Some(JobStatus::Failed), Some("library-1"), Some("library-2"));
    let (damaged, large) = (Some(FailureCode::Damaged), Some(FailureCode::TooLarge));
    assert_eq!(list(None, None, None, 0, 100).await, ((0..9).rev().collect(), 9));
    assert_eq!(list(None, None, None, 2, 3).await, (vec![6, 5, 4], 9));
    assert_eq!(list(None, None, None, 50, 3).await, (vec![], 9));
    assert_eq!(
        list(Some(JobStatus::Pending), None, None, 0, 2).await,
        (vec![8, 7], 4)
    );
    assert_eq!(list(failed, None, None, 0, 9).await, (vec![1, 0], 2));
    assert_eq!(list(None, two, None, 0, 9).await, (vec![6, 3, 0], 3));
    assert_eq!(
        list(Some(JobStatus::Completed), one, None, 0, 9).await,
        (vec![2], 1)
    );
    assert_eq!(
        list(Some(JobStatus::Cancelled), one, None, 0, 9).await,
        (vec![], 0)
    );
    assert_eq!(list(None, None, damaged, 0, 9).await, (vec![0], 1));
    assert_eq!(list(failed, None, large, 0, 9).await, (vec![1], 1));
    assert_eq!(list(None, one, damaged, 0, 9).await, (vec![], 0));
    assert_eq!(list(failed, two, damaged, 0, 9).await, (vec![0], 1));
    assert_eq!(
        list(Some(JobStatus::Pending), None, damaged, 0, 9).await,
        (vec![], 0)
    );
}

/// Lists come in the order that is asked for, and can be narrowed to names that contain a text.
pub async fn jobs_are_listed_by_name_and_age(databases: Databases) {
    let jobs = databases.first.as_ref();
    let mut made = Vec::new();
    for (number, name) in ["b.md", "Aa.pdf", "Ärger.pdf", "c.PDF"].into_iter().enumerate() {
        let mut wanted = request(&format!("{number}"), "1");
        wanted.filename = name.to_owned();
        made.push(jobs.enqueue(wanted, None, at(0)).await.unwrap().job.id);
    }
    let held = lease(jobs, at(1)).await;
    fail(jobs, &held, FailureCode::Damaged, at(2)).await;
    let list = async |order, name: Option<&str>, status| {
        let filter = JobFilter {
            status,
            name_contains: name.map(str::to_owned),
            order,
            ..JobFilter::default()
        };
        let page = databases
            .second
            .jobs(&filter, PageRequest::first(9))
            .await
            .unwrap();
        assert_eq!(page.total, page.rows.len() as u64);
        let names: Vec<String> = page.rows.into_iter().map(|row| row.request.filename).collect();
        names
    };
    let newest = JobOrder::NewestFirst;
    assert_eq!(list(JobOrder::OldestFirst, None, None).await[0], "b.md");
    assert_eq!(
        list(JobOrder::ByName, None, None).await[..3],
        ["Aa.pdf", "b.md", "c.PDF"]
    );
    assert_eq!(
        list(newest, Some("pdf"), None).await,
        ["c.PDF", "Ärger.pdf", "Aa.pdf"]
    );
    assert_eq!(list(newest, Some("Är"), None).await, ["Ärger.pdf"]);
    assert_eq!(list(newest, Some("%"), None).await, [""; 0]);
    assert_eq!(list(newest, Some("md"), Some(JobStatus::Failed)).await, ["b.md"]);
    assert_eq!(list(newest, Some("pdf"), Some(JobStatus::Failed)).await, [""; 0]);
}

/// What waits, runs and failed is counted for several libraries at once.
pub async fn unsettled_jobs_are_counted_by_library(databases: Databases) {
    let jobs = databases.first.as_ref();
    let library = |number: u8| LibraryUid::from_store(format!("library-{number}"));
    for (number, of) in [1, 1, 1, 1, 2].into_iter().enumerate() {
        let mut wanted = request(&format!("{number}"), "1");
        wanted.library_uid = library(of);
        jobs.enqueue(wanted, None, at(0)).await.unwrap();
    }
    let held = lease(jobs, at(1)).await;
    fail(jobs, &held, FailureCode::Damaged, at(2)).await;
    let held = lease(jobs, at(3)).await;
    finish(jobs, &held, JobStatus::Completed, at(4)).await;
    lease(jobs, at(5)).await;
    let counts = async |libraries: &[LibraryUid]| {
        let mut counts = databases.second.unsettled_jobs(libraries).await.unwrap();
        counts.sort_by_key(|(library, status, _)| (library.clone(), status.as_str()));
        counts
    };
    assert_eq!(
        counts(&[library(1), library(3)]).await,
        [
            (library(1), JobStatus::Failed, 1),
            (library(1), JobStatus::Pending, 1),
            (library(1), JobStatus::Processing, 1),
        ]
    );
    assert_eq!(counts(&[library(2)]).await, [(library(2), JobStatus::Pending, 1)]);
    assert_eq!(counts(&[]).await, []);
}

/// Throughput counts every state, the last sixty minutes, and failures by code, most first.
pub async fn throughput_says_what_was_done_lately(databases: Databases) {
    let jobs = databases.first.as_ref();
    let empty = jobs.throughput(at(0)).await.unwrap();
    assert_eq!(empty.completed_per_minute, vec![0; 60]);
    assert_eq!(empty.by_status.len(), JobStatus::ALL.len());
    assert!(empty.by_status.values().all(|count| *count == 0) && empty.failures.is_empty());

    let now = 7_200;
    // The last is of the same source as the one before it, which it supersedes; both were done.
    for (number, (source_ref, ended)) in [
        ("a", now - 3_600),
        ("b", now - 3_599),
        ("c", now - 90),
        ("d", now - 30),
        ("e", now - 20),
        ("e", now),
    ]
    .into_iter()
    .enumerate()
    {
        enqueue(jobs, source_ref, &format!("{number}"), at(0)).await;
        let held = lease(jobs, at(ended)).await;
        finish(jobs, &held, JobStatus::Completed, at(ended)).await;
    }
    for (source_ref, code) in [
        ("f", FailureCode::Encrypted),
        ("g", FailureCode::TooLarge),
        ("h", FailureCode::TooLarge),
    ] {
        enqueue(jobs, source_ref, "1", at(now)).await;
        let held = lease(jobs, at(now)).await;
        fail(jobs, &held, code, at(now)).await;
    }
    enqueue(jobs, "i", "1", at(now)).await;
    let cancelled = enqueue(jobs, "j", "1", at(now)).await;
    jobs.cancel(&cancelled.id, at(now)).await.unwrap();

    let seen = databases.second.throughput(at(now)).await.unwrap();
    let counts: Vec<u64> = JobStatus::ALL
        .iter()
        .map(|status| seen.by_status[status.as_str()])
        .collect();
    assert_eq!(counts, [1, 0, 5, 3, 1, 1]);
    assert_eq!(
        seen.failures,
        [("too_large".to_owned(), 2), ("encrypted".to_owned(), 1)]
    );
    let mut minutes = vec![0; 60];
    (minutes[0], minutes[58], minutes[59]) = (1, 1, 3);
    assert_eq!(seen.completed_per_minute, minutes);
}

/// Runs the suite over a backend: a function that makes two handles on one empty database,
/// `async fn() -> Pair<dyn Relational>`.
#[macro_export]
macro_rules! jobs_conformance {
    ($make:path) => {
        $crate::conformance_suite!(
            jobs,
            $make,
            [
                a_job_is_kept_as_it_was_asked_for,
                many_jobs_are_read_at_once,
                the_same_request_is_taken_once,
                what_was_cancelled_or_superseded_can_be_asked_for_again,
                two_processes_that_ask_at_once_make_one_job,
                new_content_takes_the_place_of_what_waits,
                sequences_grow_and_never_come_back,
                the_oldest_due_job_comes_first,
                a_job_can_be_asked_for,
                what_waits_must_be_announced,
                a_lease_begins_the_job,
                workers_at_once_take_every_job_once,
                a_lease_that_ran_out_is_taken_over,
                a_late_heartbeat_keeps_what_nobody_took,
                a_heartbeat_writes_what_it_is_given,
                a_job_that_never_ends_is_given_up,
                a_failed_attempt_waits_for_its_moment,
                a_job_given_back_does_not_count,
                a_cancelled_job_is_left_by_its_worker,
                a_completed_job_supersedes_those_before_it,
                a_lease_ends_in_two_ways_only,
                what_ends_after_a_later_one_is_superseded,
                the_last_request_for_a_source_decides,
                a_job_in_its_last_stage_is_not_cancelled,
                bulk_work_yields_to_single_documents,
                failed_jobs_can_be_retried,
                jobs_go_with_their_library_or_item,
                jobs_are_listed_newest_first,
                jobs_are_listed_by_name_and_age,
                unsettled_jobs_are_counted_by_library,
                throughput_says_what_was_done_lately,
            ]
        );
    };
}
