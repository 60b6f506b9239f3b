//! The REST calls of Daedalus, from the workspace to its deletion.

use mnemosyne_tests::{Installation, Part, Server, wait_for};
use serde_json::{Value, json};

const API: &str = "/library/api";

fn keys_are(object: &Value, expected: &[&str]) {
    for key in expected {
        assert!(object.get(key).is_some(), "{key} is missing in {object}");
    }
}

fn ingest_object(server: &Server<'_>, request: &Value) -> mnemosyne_tests::Answer {
    server.api().post(&format!("{API}/ingest/"), request)
}

#[test]
fn nobody_gets_in_without_credentials() {
    let installation = Installation::new();
    let server = installation.serve();
    let visitor = server.anonymous();
    for path in [
        "workspaces/",
        "jobs/",
        "libraries/",
        "items/",
        "collections/",
        "concepts/",
    ] {
        let answer = visitor
            .get(&format!("{API}/{path}"))
            .expect_error(401, "not_authenticated");
        assert!(
            answer.header("www-authenticate").starts_with("Basic"),
            "{path}: {:?}",
            answer.headers
        );
    }
    visitor
        .post(&format!("{API}/search/"), &json!({ "query": "x" }))
        .expect(401);
    visitor
        .post(&format!("{API}/workspaces/"), &json!({}))
        .expect(401);
    let (name, password) = server.administrator();
    visitor
        .basic(&name, "wrong")
        .get(&format!("{API}/workspaces/"))
        .expect(401);
    visitor
        .basic("nobody", &password)
        .get(&format!("{API}/workspaces/"))
        .expect(401);
    let garbage = visitor.send(
        http::Method::GET,
        &format!("{API}/workspaces/"),
        &[("Authorization", "Basic %%%")],
        None,
    );
    assert_eq!(garbage.status, 401);
    let right = visitor.basic(&name, &password);
    right.get(&format!("{API}/workspaces/")).expect(200);
    // Remembered, and still right; and a wrong one is not let in by what is remembered.
    right.get(&format!("{API}/workspaces/")).expect(200);
    visitor
        .basic(&name, "wrong")
        .get(&format!("{API}/workspaces/"))
        .expect(401);
}

#[test]
fn a_workspace_is_made_once_and_its_type_is_frozen() {
    let installation = Installation::new();
    let server = installation.serve();
    let api = server.api();
    let body =
        json!({ "workspace_id": "ws-1", "name": "First", "library_type": "technical", "description": "d" });
    let made = api.post(&format!("{API}/workspaces/"), &body).expect(201).json();
    keys_are(
        &made,
        &[
            "workspace_id",
            "library_uid",
            "name",
            "library_type",
            "description",
            "item_count",
            "chunk_count",
            "created_at",
        ],
    );
    let again = api.post(&format!("{API}/workspaces/"), &body).expect(200).json();
    assert_eq!(made["library_uid"], again["library_uid"]);
    let other_type = json!({ "workspace_id": "ws-1", "name": "First", "library_type": "fiction" });
    api.post(&format!("{API}/workspaces/"), &other_type)
        .expect_error(409, "library_type_frozen");
    let same_name = json!({ "workspace_id": "ws-2", "name": "First", "library_type": "technical" });
    api.post(&format!("{API}/workspaces/"), &same_name)
        .expect_error(409, "name_conflict");

    let one = api.get(&format!("{API}/workspaces/ws-1/")).expect(200).json();
    assert_eq!(
        (&one["library_uid"], &one["library_type"]),
        (&made["library_uid"], &json!("technical"))
    );
    assert_eq!((&one["item_count"], &one["chunk_count"]), (&json!(0), &json!(0)));
    let list = api.get(&format!("{API}/workspaces/")).expect(200).json();
    keys_are(&list, &["count", "next", "previous", "results"]);
    assert_eq!(
        (&list["count"], &list["results"][0]["workspace_id"]),
        (&json!(1), &json!("ws-1"))
    );

    api.get(&format!("{API}/workspaces/unknown/"))
        .expect_error(404, "not_found");
    api.post(
        &format!("{API}/workspaces/"),
        &json!({ "workspace_id": "x", "name": "X", "library_type": "poetry" }),
    )
    .expect_field_error("library_type");
    api.post(
        &format!("{API}/workspaces/"),
        &json!({ "name": "X", "library_type": "fiction" }),
    )
    .expect_field_error("workspace_id");
    let odd = json!({ "workspace_id": "team/Ünïcode 7", "name": "Odd", "library_type": "art" });
    api.post(&format!("{API}/workspaces/"), &odd).expect(201);
    let found = api
        .get(&format!("{API}/workspaces/team%2F%C3%9Cn%C3%AFcode%207/"))
        .expect(200)
        .json();
    assert_eq!(found["workspace_id"], "team/Ünïcode 7");
}

#[test]
fn wrong_requests_get_an_answer_that_helps() {
    let installation = Installation::new();
    let server = installation.serve();
    let api = server.api();
    server.make_workspace("w", "technical");
    let json_type = [("Content-Type", "application/json")];
    let raw = |path: &str, body: &[u8]| {
        api.send(
            http::Method::POST,
            &format!("{API}/{path}"),
            &json_type,
            Some(body),
        )
    };
    for path in ["workspaces/", "ingest/", "search/"] {
        raw(path, b"{\"half\": ").expect_error(400, "parse_error");
        assert_eq!(raw(path, b"[1, 2]").status, 400);
        assert_eq!(raw(path, b"").status, 400);
    }
    assert_eq!(
        raw("search/", b"{\"query\": \"x\", \"limit\": \"many\"}").status,
        400
    );
    api.post(&format!("{API}/search/"), &json!({}))
        .expect_field_error("query");
    api.post(&format!("{API}/search/"), &json!({ "query": "  " }))
        .expect_field_error("query");
    api.post(&format!("{API}/ingest/"), &json!({ "workspace_id": "w" }))
        .expect_field_error("s3_key");
    let unknown =
        json!({ "workspace_id": "none", "source_ref": "a", "content_hash": "1", "s3_key": "a.txt" });
    api.post(&format!("{API}/ingest/"), &unknown)
        .expect_error(404, "not_found");
    for path in [
        "jobs/nothing/",
        "items/0190-unknown/",
        "chunks/unknown/",
        "libraries/unknown/",
        "no-such-route/",
    ] {
        api.get(&format!("{API}/{path}")).expect_error(404, "not_found");
    }
    api.get(&format!("{API}/jobs/..%2f..%2fetc/")).expect(404);
    api.post(&format!("{API}/jobs/unknown/retry/"), &json!({}))
        .expect(404);
    assert_eq!(api.get(&format!("{API}/jobs/?status=sleeping")).status, 400);
    assert_eq!(
        api.send(
            http::Method::PUT,
            &format!("{API}/search/"),
            &json_type,
            Some(b"{}")
        )
        .status,
        405
    );
    // Without the slash: GET is led there, a POST is served and never redirected.
    let moved = api.get(&format!("{API}/workspaces"));
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, "/library/api/workspaces/")
    );
    api.post(&format!("{API}/search"), &json!({ "query": "x" }))
        .expect(200);
}

#[test]
fn an_object_of_the_bucket_is_ingested_once_and_superseded_by_a_new_content() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    installation.put_object(
        "daedalus/7/pump.md",
        b"# Pump\n\nThe magenta pump delivers nine litres a minute.\n",
    );
    let request = json!({
        "workspace_id": "w", "source_ref": "file:7", "content_hash": "sha-1", "s3_key": "daedalus/7/pump.md",
        "filename": "pump.md", "content_type": "text/markdown", "title": "The Pump", "collection": "Machines",
        "metadata": { "author_id": 12 },
    });
    let first = ingest_object(&server, &request).expect(202).json();
    keys_are(
        &first,
        &["job_id", "item_uid", "library_uid", "status", "deduplicated"],
    );
    assert_eq!(first["deduplicated"], false);
    let job = server.ended(first["job_id"].as_str().unwrap());
    keys_are(
        &job,
        &[
            "job_id",
            "item_uid",
            "library_uid",
            "source_ref",
            "filename",
            "status",
            "stage",
            "progress",
            "attempts",
            "counts",
            "created_at",
            "started_at",
            "finished_at",
            "timings_ms",
            "error",
        ],
    );
    assert_eq!(
        (&job["status"], &job["error"], &job["source_ref"]),
        (&json!("completed"), &Value::Null, &json!("file:7"))
    );
    assert_eq!(job["progress"].as_f64(), Some(1.0));
    assert!(job["counts"]["chunks"].as_u64().unwrap() >= 1);
    keys_are(&job["counts"], &["chunks", "images", "concepts"]);

    let again = ingest_object(&server, &request).expect(200).json();
    assert_eq!(
        (&again["job_id"], &again["deduplicated"]),
        (&first["job_id"], &json!(true))
    );
    let item = server
        .api()
        .get(&format!("{API}/items/{}/", first["item_uid"].as_str().unwrap()))
        .expect(200)
        .json();
    assert_eq!(
        (&item["title"], &item["metadata"]["author_id"]),
        (&json!("The Pump"), &json!(12))
    );
    let collections = server
        .api()
        .get(&format!(
            "{API}/collections/?library_uid={}",
            first["library_uid"].as_str().unwrap()
        ))
        .expect(200)
        .json();
    assert!(
        collections["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "Machines"),
        "{collections}"
    );

    installation.put_object(
        "daedalus/7/pump-2.md",
        b"# Pump\n\nThe chartreuse pump delivers eleven litres.\n",
    );
    let mut newer = request.clone();
    newer["content_hash"] = json!("sha-2");
    newer["s3_key"] = json!("daedalus/7/pump-2.md");
    let second = ingest_object(&server, &newer).expect(202).json();
    assert_ne!(second["job_id"], first["job_id"]);
    server.ended(second["job_id"].as_str().unwrap());
    let found = server.search(&json!({ "query": "pump litres", "workspace_id": "w" }));
    let previews: Vec<&str> = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["text_preview"].as_str().unwrap())
        .collect();
    assert!(
        previews.iter().any(|text| text.contains("chartreuse")),
        "{previews:?}"
    );
    assert!(
        !previews.iter().any(|text| text.contains("magenta")),
        "the old item is still found: {previews:?}"
    );
    let workspace = server
        .api()
        .get(&format!("{API}/workspaces/w/"))
        .expect(200)
        .json();
    assert_eq!(workspace["item_count"], 1);
}

#[test]
fn an_object_that_is_missing_fails_by_name_and_can_be_retried() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    let request = json!({
        "workspace_id": "w", "source_ref": "late", "content_hash": "1", "s3_key": "late.md", "filename": "late.md"
    });
    let answer = ingest_object(&server, &request).expect(202).json();
    let job_id = answer["job_id"].as_str().unwrap();
    let job = server.ended(job_id);
    assert_eq!(
        (&job["status"], &job["error"]["code"]),
        (&json!("failed"), &json!("source_not_found"))
    );
    installation.put_object("late.md", b"# Late\n\nThe ochre oar came after all.\n");
    server
        .api()
        .post_empty(&format!("{API}/jobs/{job_id}/retry/"))
        .expect(202);
    assert_eq!(server.ended(job_id)["status"], "completed");
    server
        .api()
        .post_empty(&format!("{API}/jobs/{job_id}/retry/"))
        .expect(409);
    server
        .api()
        .post_empty(&format!("{API}/jobs/{job_id}/cancel/"))
        .expect(409);
    let found = server.search(&json!({ "query": "ochre oar", "workspace_id": "w" }));
    assert_eq!(found["results"][0]["item_title"], "Late");
}

#[test]
fn a_key_never_leads_out_of_the_bucket() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    std::fs::write(
        installation.path("secret.txt"),
        "The indigo password of the house is 4711.",
    )
    .unwrap();
    std::os::unix::fs::symlink(
        installation.path("secret.txt"),
        installation.bucket().join("link.txt"),
    )
    .unwrap();
    let absolute = installation.path("secret.txt").to_string_lossy().into_owned();
    for (number, key) in [
        "../secret.txt",
        "a/../../secret.txt",
        absolute.as_str(),
        "link.txt",
        "",
    ]
    .iter()
    .enumerate()
    {
        let request = json!({
            "workspace_id": "w", "source_ref": format!("s{number}"), "content_hash": "1", "s3_key": key, "filename": "f.txt"
        });
        let answer = ingest_object(&server, &request);
        if answer.status == 202 {
            let job = server.ended(answer.json()["job_id"].as_str().unwrap());
            assert_eq!(job["status"], "failed", "{key:?} was read: {job}");
        } else {
            assert_eq!(answer.status, 400, "{key:?}: {}", answer.text());
        }
    }
    let found = server.search(&json!({ "query": "indigo password", "workspace_id": "w" }));
    assert!(found["results"].as_array().unwrap().is_empty());
}

#[test]
fn a_file_can_be_sent_with_the_request() {
    let installation = Installation::new();
    let server = installation.serve();
    let library = server.make_workspace("w", "fiction");
    let parts = [
        Part::Field("library_uid", &library),
        Part::Field("source_ref", "upload:1"),
        Part::Field("title", "Sent"),
        Part::Field("metadata", "{\"k\": [1, 2]}"),
        Part::File(
            "file",
            "grüße.txt",
            "Das Märchen vom zinnoberroten Zaun.".as_bytes(),
        ),
    ];
    let url = format!("{API}/ingest/");
    let answer = server.api().post_multipart(&url, &parts).expect(202).json();
    let job = server.ended(answer["job_id"].as_str().unwrap());
    assert_eq!(
        (&job["status"], &job["filename"]),
        (&json!("completed"), &json!("grüße.txt"))
    );
    let again = server.api().post_multipart(&url, &parts).expect(200).json();
    assert_eq!(again["job_id"], answer["job_id"]);
    let item = server
        .api()
        .get(&format!("{API}/items/{}/", answer["item_uid"].as_str().unwrap()))
        .expect(200)
        .json();
    assert_eq!(
        (&item["title"], &item["metadata"]["k"]),
        (&json!("Sent"), &json!([1, 2]))
    );
    let both = [
        Part::Field("library_uid", &library),
        Part::Field("s3_key", "a.txt"),
        Part::File("file", "a.txt", b"text"),
    ];
    server
        .api()
        .post_multipart(&url, &both)
        .expect_field_error("s3_key");
    server
        .api()
        .post_multipart(&url, &[Part::File("file", "a.txt", b"text")])
        .expect_field_error("workspace_id");
    assert_eq!(
        server
            .api()
            .post_multipart(&url, &[Part::Field("library_uid", &library)])
            .status,
        400
    );
}

#[test]
fn a_job_that_waits_or_runs_is_really_stopped() {
    let installation = Installation::new().with("CELERY_CONCURRENCY", "1");
    let server = installation.serve();
    server.make_workspace("w", "technical");
    let mut ids = Vec::new();
    for number in 0..12 {
        let (text, _) = mnemosyne_tests::fixtures::generated_text(number, 4_000);
        let answer = server.upload("w", &format!("{number}.md"), text.as_bytes());
        ids.push(answer["job_id"].as_str().unwrap().to_owned());
    }
    let last = ids.last().unwrap();
    let answer = server.api().post_empty(&format!("{API}/jobs/{last}/cancel/"));
    assert!(
        (200..300).contains(&answer.status),
        "{} {}",
        answer.status,
        answer.text()
    );
    let job = server.ended(last);
    assert_eq!(job["status"], "cancelled");
    for id in &ids[..ids.len() - 1] {
        assert_eq!(server.ended(id)["status"], "completed");
    }
    assert_eq!(
        server.job(last)["status"],
        "cancelled",
        "a cancelled job came back"
    );
    let workspace = server
        .api()
        .get(&format!("{API}/workspaces/w/"))
        .expect(200)
        .json();
    assert_eq!(workspace["item_count"], ids.len() - 1);
    server
        .api()
        .post_empty(&format!("{API}/jobs/{last}/retry/"))
        .expect(409);
}

#[test]
fn lists_of_jobs_are_newest_first_paged_and_filtered() {
    let installation = Installation::new();
    let server = installation.serve();
    let library = server.make_workspace("a", "technical");
    server.make_workspace("b", "technical");
    for number in 0..5 {
        server.ingest(
            "a",
            &format!("{number}.txt"),
            format!("Text number {number} has some words.").as_bytes(),
        );
    }
    server.ingest("b", "b.txt", b"Another text.");
    let empty = server.upload("b", "empty.txt", b"");
    server.ended(empty["job_id"].as_str().unwrap());
    let api = server.api();
    let list = api
        .get(&format!("{API}/jobs/?library_uid={library}"))
        .expect(200)
        .json();
    assert_eq!(list["count"], 5);
    let moments: Vec<&str> = list["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["created_at"].as_str().unwrap())
        .collect();
    assert!(
        moments.is_sorted_by(|earlier, later| earlier >= later),
        "{moments:?}"
    );
    assert_eq!(list["results"][0]["source_ref"], "4.txt");
    let failed = api.get(&format!("{API}/jobs/?status=failed")).expect(200).json();
    assert_eq!(
        (&failed["count"], &failed["results"][0]["filename"]),
        (&json!(1), &json!("empty.txt"))
    );

    let mut seen = Vec::new();
    let mut next = format!("{API}/jobs/?limit=2");
    loop {
        let page = api.get(&next).expect(200).json();
        for job in page["results"].as_array().unwrap() {
            seen.push(job["job_id"].as_str().unwrap().to_owned());
        }
        let Some(url) = page["next"].as_str() else { break };
        next = url.strip_prefix(api.base()).unwrap_or(url).to_owned();
        assert!(seen.len() < 20, "paging does not end");
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
}

#[test]
fn a_search_sees_one_workspace_or_the_global_libraries_never_both() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("a", "technical");
    server.make_workspace("b", "fiction");
    let global = json!({ "name": "Everybody's", "library_type": "nonfiction" });
    let global = server
        .api()
        .post(&format!("{API}/libraries/"), &global)
        .expect(201)
        .json();
    let uid = global["library_uid"].as_str().unwrap();
    let words = |whose: &str| format!("The lavender lighthouse of {whose} burns whale oil.");
    server.ingest("a", "a.txt", words("Anna").as_bytes());
    server.ingest("b", "b.txt", words("Boris").as_bytes());
    let own = words("everybody");
    let parts = [
        Part::Field("library_uid", uid),
        Part::File("file", "c.txt", own.as_bytes()),
    ];
    let answer = server
        .api()
        .post_multipart(&format!("{API}/ingest/"), &parts)
        .expect(202)
        .json();
    assert_eq!(
        server.ended(answer["job_id"].as_str().unwrap())["status"],
        "completed"
    );

    let seen = |request: Value| -> Vec<String> {
        let found = server.search(&request);
        found["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["text_preview"].as_str().unwrap().to_owned())
            .collect()
    };
    let query = "lavender lighthouse whale oil";
    for (request, whose) in [
        (json!({ "query": query, "workspace_id": "a" }), "Anna"),
        (json!({ "query": query, "workspace_id": "b" }), "Boris"),
        (json!({ "query": query }), "everybody"),
        (json!({ "query": query, "workspace_id": "" }), "everybody"),
        (json!({ "query": query, "workspace_id": null }), "everybody"),
        (
            json!({ "query": query, "library_type": "nonfiction" }),
            "everybody",
        ),
        (json!({ "query": query, "library_uid": uid }), "everybody"),
    ] {
        let texts = seen(request.clone());
        assert_eq!(texts.len(), 1, "{request}: {texts:?}");
        assert!(texts[0].contains(whose), "{request}: {texts:?}");
    }
    assert!(seen(json!({ "query": query, "library_type": "music" })).is_empty());
    // A library of another scope is not told apart from one that does not exist.
    let foreign = json!({ "query": query, "workspace_id": "a", "library_uid": uid });
    let answer = server.api().post(&format!("{API}/search/"), &foreign);
    let nothing = answer.status == 404 || (answer.status == 200 && answer.json()["results"] == json!([]));
    assert!(nothing, "{} {}", answer.status, answer.text());
    let unknown = server.api().post(
        &format!("{API}/search/"),
        &json!({ "query": query, "workspace_id": "zzz" }),
    );
    assert!(
        unknown.status == 404 || unknown.json()["results"] == json!([]),
        "{}",
        unknown.text()
    );
}

#[test]
fn a_search_answers_as_the_contract_has_it_whatever_is_typed() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    let text = b"# Gauges\n\n## Barometer\n\nThe barometer of Elias Thorn hangs in Kirkwall and reads 1,013 hectopascals.\n\n\
        ## Hygrometer\n\nThe hygrometer uses a hair of a horse.\n";
    server.ingest("w", "gauges.md", text);
    let answer = server.search(
        &json!({ "query": "barometers in Kirkwall", "workspace_id": "w", "limit": 1, "rerank": false }),
    );
    keys_are(
        &answer,
        &[
            "results",
            "image_results",
            "rerank_status",
            "degraded",
            "timings_ms",
        ],
    );
    assert_eq!(
        (&answer["rerank_status"], &answer["degraded"]),
        (&json!("skipped"), &json!([]))
    );
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    let hit = &answer["results"][0];
    keys_are(
        hit,
        &[
            "chunk_uid",
            "item_uid",
            "item_title",
            "library_uid",
            "library_type",
            "text_preview",
            "heading_path",
            "page",
            "page_kind",
            "rank",
            "score",
            "legs",
            "rerank_score",
        ],
    );
    assert_eq!((&hit["item_title"], &hit["rank"]), (&json!("Gauges"), &json!(1)));
    assert!(hit["text_preview"].as_str().unwrap().contains("Elias Thorn"));
    assert!(
        hit["legs"]["vector"]["score"].is_number() && hit["legs"]["fulltext"]["rank"].is_u64(),
        "{hit}"
    );
    let chunk = server
        .api()
        .get(&format!("{API}/chunks/{}/", hit["chunk_uid"].as_str().unwrap()))
        .expect(200)
        .json();
    keys_are(
        &chunk,
        &[
            "chunk_uid",
            "item_uid",
            "item_title",
            "text",
            "heading_path",
            "page",
            "page_kind",
            "position",
            "previous_chunk_uid",
            "next_chunk_uid",
        ],
    );

    for odd in [
        "\"",
        "*",
        "AND",
        "NEAR(",
        "barometer AND (",
        "a:b",
        "^^",
        "-barometer",
        "' OR 1=1 --",
        "\u{0}",
        "💡",
        "%_",
        "{}",
        "chunk_fts MATCH 'x'",
        "الباروميتر",
        "[[[",
        "\\",
        ")",
    ] {
        let answer = server.api().post(
            &format!("{API}/search/"),
            &json!({ "query": odd, "workspace_id": "w" }),
        );
        assert!(
            matches!(answer.status, 200 | 400),
            "{odd:?}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.status == 200 {
            assert_eq!(answer.json()["degraded"], json!([]), "{odd:?} broke a leg");
        }
    }
    let long = "barometer ".repeat(500);
    assert_eq!(
        server
            .api()
            .post(
                &format!("{API}/search/"),
                &json!({ "query": long, "workspace_id": "w" })
            )
            .status,
        200
    );
}

#[test]
fn a_deleted_workspace_leaves_nothing_behind() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("stays", "technical");
    let shared = b"# Shared\n\nBoth workspaces know Ottoline Crabb of Penzance.\n";
    server.ingest("stays", "shared.md", shared);
    let before = installation.blobs();
    let library = server.make_workspace("goes", "technical");
    server.ingest("goes", "shared.md", shared);
    let own = server.ingest(
        "goes",
        "own.md",
        b"# Own\n\nOnly here: the peppermint periscope of Zebulon Quist.\n",
    );
    let item = own["item_uid"].as_str().unwrap();
    assert!(installation.blobs().len() > before.len());

    let api = server.api();
    api.delete(&format!("{API}/workspaces/goes/")).expect(204);
    api.delete(&format!("{API}/workspaces/goes/"))
        .expect_error(404, "not_found");
    api.get(&format!("{API}/workspaces/goes/")).expect(404);
    api.get(&format!("{API}/items/{item}/")).expect(404);
    api.get(&format!("{API}/libraries/{library}/")).expect(404);
    api.get(&format!("{API}/jobs/{}/", own["job_id"].as_str().unwrap()))
        .expect(404);
    wait_for("the blobs of the deleted workspace to go", || {
        (installation.blobs() == before).then_some(())
    });
    let jobs = api.get(&format!("{API}/jobs/")).expect(200).json();
    assert_eq!(jobs["count"], 1, "{jobs}");
    let concepts = || api.get(&format!("{API}/concepts/?limit=500")).expect(200).text();
    wait_for("orphaned concepts to go", || {
        (!concepts().contains("Zebulon")).then_some(())
    });

    // The other one is whole, and the name and the id are free again.
    let found = server.search(&json!({ "query": "Ottoline Crabb", "workspace_id": "stays" }));
    assert_eq!(found["results"][0]["item_title"], "Shared");
    server.make_workspace("goes", "fiction");
    let found = server.api().post(
        &format!("{API}/search/"),
        &json!({ "query": "peppermint", "workspace_id": "goes" }),
    );
    assert_eq!(found.expect(200).json()["results"], json!([]));
}

#[test]
fn a_workspace_can_be_deleted_while_its_files_are_being_ingested() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("busy", "technical");
    for number in 0..20 {
        let (text, _) = mnemosyne_tests::fixtures::generated_text(number, 1_500);
        server.upload("busy", &format!("{number}.md"), text.as_bytes());
    }
    server
        .api()
        .delete(&format!("{API}/workspaces/busy/"))
        .expect(204);
    server.make_workspace("after", "technical");
    server.ingest("after", "after.md", b"# After\n\nLife goes on.\n");
    wait_for("nothing but the new item's blobs", || {
        // Its original, its structure and its text.
        (installation.blobs().len() <= 3).then_some(())
    });
    let jobs = server.api().get(&format!("{API}/jobs/")).expect(200).json();
    assert_eq!(jobs["count"], 1, "{jobs}");
    let items = server.api().get(&format!("{API}/items/")).expect(200).json();
    assert!(items["count"].as_u64().unwrap() <= 1, "{items}");
}

#[test]
fn an_item_can_be_looked_into_downloaded_and_deleted() {
    let installation = Installation::new();
    let server = installation.serve();
    server.make_workspace("w", "technical");
    let content = b"# Download\n\nThe original comes back byte for byte.\n";
    let job = server.ingest("w", "d.md", content);
    let item = job["item_uid"].as_str().unwrap();
    let api = server.api();
    let chunks = api
        .get(&format!("{API}/chunks/?item_uid={item}"))
        .expect(200)
        .json();
    assert_eq!(chunks["count"], job["counts"]["chunks"]);
    let document = installation.run(&["openapi"]).succeeded().json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let download = paths
        .iter()
        .find(|path| {
            path.starts_with("/library/api/items/{")
                && (path.contains("download") || path.contains("original"))
        })
        .unwrap_or_else(|| panic!("no route to download an item: {paths:?}"));
    let open = download.find('{').unwrap();
    let close = download.find('}').unwrap();
    let path = format!("{}{item}{}", &download[..open], &download[close + 1..]);
    let answer = api.get(&path).expect(200);
    assert_eq!(answer.body, content);
    assert!(
        answer.header("content-disposition").contains("attachment"),
        "{:?}",
        answer.headers
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    api.delete(&format!("{API}/items/{item}/")).expect(204);
    api.get(&format!("{API}/items/{item}/")).expect(404);
    let found = server.search(&json!({ "query": "original byte", "workspace_id": "w" }));
    assert_eq!(found["results"], json!([]));
}

#[test]
fn the_openapi_document_is_served_and_every_list_in_it_answers() {
    let installation = Installation::new();
    let server = installation.serve();
    let api = server.api();
    let document = api.get(&format!("{API}/schema/")).expect(200).json();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/library/api/workspaces/",
        "/library/api/workspaces/{workspace_id}/",
        "/library/api/ingest/",
        "/library/api/jobs/{job_id}/",
        "/library/api/jobs/{job_id}/retry/",
        "/library/api/jobs/{job_id}/cancel/",
        "/library/api/jobs/",
        "/library/api/search/",
    ] {
        assert!(paths.contains_key(path), "{path} is not in the document");
    }
    for (path, methods) in paths {
        if methods.get("get").is_some() && !path.contains('{') {
            let answer = api.get(path);
            assert!(
                answer.status < 500 && answer.status != 404,
                "{path}: {}",
                answer.status
            );
        }
    }
    assert_eq!(
        installation.run(&["openapi"]).succeeded().json()["paths"],
        document["paths"]
    );
    let page = api.get(&format!("{API}/docs/")).expect(200).text();
    for foreign in ["src=\"http", "href=\"http", "src=\"//", "url(http"] {
        assert!(
            !page.contains(foreign),
            "the page loads from another host: {foreign}"
        );
    }
}
