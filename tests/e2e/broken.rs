//! Files that cannot be read: each fails alone, with its code and a sentence (`fixtures/broken/BROKEN.toml`).

use mnemosyne_tests::Installation;
use mnemosyne_tests::fixtures::{
    attribute_bomb_html, broken_bytes, broken_files, nested_html, normalised, readable_files, zip_bomb_docx,
};
use serde_json::{Value, json};

const GOOD: &[u8] = b"# Good\n\nThe ultramarine umbrella stays dry among all of them.\n";

fn says_why(job: &Value) -> Option<String> {
    let message = job["error"]["message"].as_str().unwrap_or_default();
    if message.len() < 15 || !message.ends_with('.') {
        return Some(format!("{message:?} is no sentence"));
    }
    ["/tmp/", "panicked", "unwrap", "Os {"]
        .iter()
        .find(|inside| message.contains(**inside))
        .map(|inside| format!("{message:?} shows its insides ({inside})"))
}

#[test]
fn every_broken_file_fails_alone_with_its_code() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("mixed", "nonfiction");
    let mut uploads = Vec::new();
    for broken in broken_files() {
        let answer = server.upload("mixed", &broken.file, &broken_bytes(&broken.file));
        uploads.push((broken, answer["job_id"].as_str().unwrap().to_owned()));
    }
    server.ingest("mixed", "good.md", GOOD);
    let mut problems = Vec::new();
    for (broken, job_id) in &uploads {
        let job = server.ended(job_id);
        let code = job["error"]["code"].as_str().unwrap_or_default();
        if job["status"] != "failed" || !broken.codes.iter().any(|known| known == code) {
            problems.push(format!(
                "{} ({}): {} {}",
                broken.file, broken.what, job["status"], job["error"]
            ));
        } else if let Some(problem) = says_why(&job) {
            problems.push(format!("{}: {problem}", broken.file));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    let workspace = server
        .api()
        .get("/library/api/workspaces/mixed/")
        .expect(200)
        .json();
    assert_eq!(
        workspace["item_count"], 1,
        "a failed file counts as an item: {workspace}"
    );
    let answer = server.search(&json!({ "query": "ultramarine umbrella", "workspace_id": "mixed" }));
    assert_eq!(answer["results"][0]["item_title"], "Good");
    // What failed can be listed.
    let failed = server
        .api()
        .get("/library/api/jobs/?status=failed")
        .expect(200)
        .json();
    assert_eq!(failed["count"], uploads.len());
}

#[test]
fn odd_but_readable_files_are_read() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("odd", "nonfiction");
    for readable in readable_files() {
        let answer = server.upload("odd", &readable.file, &broken_bytes(&readable.file));
        let job = server.ended(answer["job_id"].as_str().unwrap());
        if job["status"] == "failed" {
            let code = job["error"]["code"].as_str().unwrap();
            assert!(
                readable.or_codes.iter().any(|known| known == code),
                "{}: {}",
                readable.file,
                job["error"]
            );
            continue;
        }
        assert_eq!(job["status"], "completed", "{}: {job}", readable.file);
        let answer = server.search(&json!({ "query": readable.passage, "workspace_id": "odd" }));
        let text = normalised(&server.chunk_text(&answer["results"][0]["chunk_uid"]));
        assert!(
            text.contains(&normalised(&readable.passage)),
            "{} ({}): {text}",
            readable.file,
            readable.what
        );
    }
}

#[test]
fn a_hostile_file_is_stopped_and_takes_nobody_with_it() {
    let installation = Installation::new()
        .with("MNEMOSYNE_PARSER_SECONDS", "10")
        .with("MNEMOSYNE_PARSER_MEMORY_BYTES", "536870912");
    let server = installation.serve();
    server.make_workspace("hostile", "nonfiction");
    let bombs: [(&str, Vec<u8>, bool); 3] = [
        ("zip-bomb.docx", zip_bomb_docx(700), false),
        // These two may be read, where the reader is up to it; what counts is that they end.
        ("attributes.html", attribute_bomb_html(), true),
        ("nested.html", nested_html(), true),
    ];
    let mut jobs = Vec::new();
    for (name, content, may_succeed) in &bombs {
        let answer = server.upload("hostile", name, content);
        jobs.push((*name, answer["job_id"].as_str().unwrap().to_owned(), *may_succeed));
    }
    server.ingest("hostile", "good.md", GOOD);
    for (name, job_id, may_succeed) in jobs {
        let job = server.ended(&job_id);
        if job["status"] == "completed" && may_succeed {
            continue;
        }
        assert_eq!(job["status"], "failed", "{name}: {job}");
        let code = job["error"]["code"].as_str().unwrap();
        assert!(
            ["parser_limit", "parser_crashed", "too_large"].contains(&code),
            "{name}: {}",
            job["error"]
        );
        assert_eq!(says_why(&job), None);
    }
    let answer = server.search(&json!({ "query": "ultramarine umbrella", "workspace_id": "hostile" }));
    assert_eq!(answer["results"][0]["item_title"], "Good");
    server.anonymous().get("/live/").expect(200);
}

#[test]
fn a_file_above_the_limit_is_refused_by_upload_and_by_bucket_alike() {
    let installation = Installation::new().with("MNEMOSYNE_MAX_FILE_BYTES", "100000");
    let server = installation.serve();
    server.make_workspace("big", "nonfiction");
    let content = "many words ".repeat(20_000);
    let parts = [
        mnemosyne_tests::Part::Field("workspace_id", "big"),
        mnemosyne_tests::Part::File("file", "big.txt", content.as_bytes()),
    ];
    server
        .api()
        .post_multipart("/library/api/ingest/", &parts)
        .expect_error(413, "too_large");
    installation.put_object("big.txt", content.as_bytes());
    let request = json!({
        "workspace_id": "big", "source_ref": "big", "content_hash": "1", "s3_key": "big.txt", "filename": "big.txt"
    });
    let answer = server
        .api()
        .post("/library/api/ingest/", &request)
        .expect(202)
        .json();
    let job = server.ended(answer["job_id"].as_str().unwrap());
    assert_eq!(job["error"]["code"], "too_large", "{job}");
    assert!(
        installation.blobs().is_empty(),
        "what was refused is still stored"
    );
}
