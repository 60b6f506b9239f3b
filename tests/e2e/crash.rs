//! What was acknowledged is never lost, whatever is killed when: the process is killed in the middle, again and again,
//! and afterwards everything is there, once, exactly as in an installation that nobody disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mnemosyne_tests::fixtures::generated_text;
use mnemosyne_tests::{Installation, Part, Server, wait_for};
use serde_json::{Value, json};

const FILES: usize = 60;

/// Numbers that differ from run to run; the seed is printed, so that a failure can be repeated with
/// `MNEMOSYNE_TEST_SEED`.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("MNEMOSYNE_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                since.subsec_nanos().into()
            });
        eprintln!("MNEMOSYNE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn texts() -> Vec<(String, String, String)> {
    (0..FILES)
        .map(|number| {
            let (text, marker) = generated_text(number, 600);
            (format!("file-{number:02}.md"), text, marker)
        })
        .collect()
}

/// What a library holds: source → title and number of chunks.
type Contents = BTreeMap<String, (String, u64)>;

fn contents(server: &Server<'_>, library: &str) -> Contents {
    let answer = server
        .api()
        .get(&format!("/library/api/items/?library_uid={library}&limit=500"))
        .expect(200)
        .json();
    let rows = answer["results"].as_array().unwrap();
    let found: Contents = rows
        .iter()
        .map(|item| {
            let source = item["source_ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            (
                source,
                (
                    item["title"].as_str().unwrap().to_owned(),
                    item["chunk_count"].as_u64().unwrap(),
                ),
            )
        })
        .collect();
    assert_eq!(found.len(), rows.len(), "an item is there twice");
    assert_eq!(answer["count"], rows.len());
    found
}

/// What an undisturbed installation makes of the same files, and which blobs it keeps.
fn undisturbed() -> (Contents, BTreeSet<String>) {
    let installation = Installation::new();
    let server = installation.serve();
    let library = server.make_workspace("w", "technical");
    let jobs: Vec<String> = texts()
        .iter()
        .map(|(name, text, _)| {
            server.upload("w", name, text.as_bytes())["job_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for job in &jobs {
        assert_eq!(server.ended(job)["status"], "completed");
    }
    (contents(&server, &library), installation.blobs())
}

fn everything_is_there(
    installation: &Installation,
    server: &Server<'_>,
    library: &str,
    workspace: Option<&str>,
) {
    let (expected, blobs) = undisturbed();
    assert_eq!(expected.len(), FILES);
    assert_eq!(contents(server, library), expected);
    let chunks: u64 = expected.values().map(|(_, chunks)| chunks).sum();
    let row = server
        .api()
        .get(&format!("/library/api/libraries/{library}/"))
        .expect(200)
        .json();
    assert_eq!(
        (&row["item_count"], &row["chunk_count"]),
        (&json!(FILES), &json!(chunks))
    );
    for (name, _, marker) in texts() {
        let found = server.search(&json!({ "query": marker, "workspace_id": workspace, "limit": 5 }));
        let first = &found["results"][0];
        assert!(
            first["text_preview"]
                .as_str()
                .unwrap_or_default()
                .contains(&marker),
            "{name} is not found: {found}"
        );
        let by_word: Vec<&Value> = found["results"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|hit| hit["legs"]["fulltext"].is_object())
            .collect();
        assert_eq!(
            by_word.len(),
            1,
            "{name} is found {} times by its own word",
            by_word.len()
        );
        let vector = first["legs"]["vector"]["rank"].as_u64();
        assert!(vector.is_some(), "{name} has no vector: {first}");
    }
    // The ledger: every blob that should be there is, and none that nobody needs. Leftovers of a killed run may go a
    // moment later.
    wait_for("the blob store to hold exactly what it should", || {
        (installation.blobs() == blobs).then_some(())
    });
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing() {
    let mut dice = Dice::new();
    let installation = Installation::new();
    let mut server = Some(installation.serve());
    let library = server.as_ref().unwrap().make_workspace("w", "technical");
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    let texts = texts();
    let mut kills = 0;
    for (number, (name, text, _)) in texts.iter().enumerate() {
        let running = server.get_or_insert_with(|| installation.serve());
        let parts = [
            Part::Field("workspace_id", "w"),
            Part::Field("source_ref", name),
            Part::File("file", name, text.as_bytes()),
        ];
        let answer = running
            .api()
            .post_multipart("/library/api/ingest/", &parts)
            .expect(202)
            .json();
        acknowledged.insert(name.clone(), answer["job_id"].as_str().unwrap().to_owned());
        // Every so often, at any point of whatever is going on.
        if number % 8 == 7 {
            std::thread::sleep(Duration::from_millis(dice.below(250)));
            if let Some(running) = server.take() {
                running.kill();
                kills += 1;
            }
        }
    }
    // And while the rest is worked off.
    for _ in 0..4 {
        let running = server.take().unwrap_or_else(|| installation.serve());
        std::thread::sleep(Duration::from_millis(20 + dice.below(400)));
        running.kill();
        kills += 1;
    }
    assert!(kills >= 10);
    let server = installation.serve();
    for (name, job_id) in &acknowledged {
        let job = server.ended(job_id);
        assert_eq!(job["status"], "completed", "{name}: {job}");
    }
    let jobs = server
        .api()
        .get("/library/api/jobs/?limit=500")
        .expect(200)
        .json();
    assert_eq!(jobs["count"], FILES, "a job was made or lost");
    everything_is_there(&installation, &server, &library, Some("w"));
}

#[test]
fn a_request_that_is_cut_off_by_a_kill_is_taken_wholly_or_not_at_all() {
    let mut dice = Dice::new();
    let installation = Installation::new();
    let server = installation.serve();
    let library = server.make_workspace("w", "technical");
    let api = server.api();
    let texts = texts();
    let acknowledged = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut acknowledged = Vec::new();
            for (name, text, _) in &texts {
                let parts = [
                    Part::Field("workspace_id", "w"),
                    Part::Field("source_ref", name),
                    Part::File("file", name, text.as_bytes()),
                ];
                match api.try_post_multipart("/library/api/ingest/", &parts) {
                    Some(answer) if answer.status == 202 => {
                        acknowledged.push(answer.json()["job_id"].as_str().unwrap().to_owned());
                    }
                    _ => break,
                }
            }
            acknowledged
        });
        std::thread::sleep(Duration::from_millis(50 + dice.below(600)));
        server.kill();
        sender.join().unwrap()
    });
    let server = installation.serve();
    for job_id in &acknowledged {
        assert_eq!(
            server.ended(job_id)["status"],
            "completed",
            "an acknowledged job was lost"
        );
    }
    // What was not acknowledged is sent again, as every client does, and nothing is there twice.
    let jobs: Vec<String> = texts
        .iter()
        .map(|(name, text, _)| {
            server.upload("w", name, text.as_bytes())["job_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for job_id in &jobs {
        assert_eq!(server.ended(job_id)["status"], "completed");
    }
    everything_is_there(&installation, &server, &library, Some("w"));
}

#[test]
fn an_ingest_command_that_is_killed_can_be_run_again() {
    let mut dice = Dice::new();
    let installation = Installation::new();
    let folder = installation.path("files");
    fs::create_dir(&folder).unwrap();
    for (name, text, _) in texts() {
        fs::write(folder.join(name), text).unwrap();
    }
    let folder = folder.to_string_lossy().into_owned();
    let words = [
        "ingest",
        folder.as_str(),
        "--library",
        "Killed",
        "--type",
        "technical",
        "--json",
    ];
    for _ in 0..4 {
        let mut child = installation
            .command(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100 + dice.below(700)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let jobs = installation.run(&words).succeeded().json();
    let jobs = jobs.as_array().unwrap();
    assert_eq!(jobs.len(), FILES);
    assert!(jobs.iter().all(|job| job["status"] == "completed"), "{jobs:?}");
    let library = jobs[0]["library_uid"].as_str().unwrap().to_owned();
    installation
        .run(&[
            "createsuperuser",
            "--username",
            "looker",
            "--password",
            "a long enough secret",
        ])
        .succeeded();
    let server = installation.serve_as("looker", "a long enough secret");
    everything_is_there(&installation, &server, &library, None);
}

#[test]
fn a_deletion_that_is_killed_is_finished_by_the_next_start() {
    let mut dice = Dice::new();
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("goes", "technical");
    let jobs: Vec<String> = texts()
        .iter()
        .take(30)
        .map(|(name, text, _)| {
            server.upload("goes", name, text.as_bytes())["job_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for job in &jobs {
        server.ended(job);
    }
    let api = server.api();
    std::thread::scope(|scope| {
        scope.spawn(|| api.try_send(http::Method::DELETE, "/library/api/workspaces/goes/", &[], None));
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        server.kill();
    });
    let server = installation.serve();
    // The client does not know whether it worked, so it asks again: 204 or 404, and both mean gone.
    let again = server.api().delete("/library/api/workspaces/goes/");
    assert!(
        matches!(again.status, 204 | 404),
        "{} {}",
        again.status,
        again.text()
    );
    server.api().get("/library/api/workspaces/goes/").expect(404);
    wait_for("an empty blob store", || {
        installation.blobs().is_empty().then_some(())
    });
    let jobs = server.api().get("/library/api/jobs/").expect(200).json();
    assert_eq!(jobs["count"], 0);
    let items = server.api().get("/library/api/items/").expect(200).json();
    assert_eq!(items["count"], 0);
}
