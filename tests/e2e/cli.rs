//! The command line: what it prints and how it ends.

use std::fs;

use mnemosyne_tests::Installation;
use mnemosyne_tests::fixtures::{broken_path, documents};

fn papers(installation: &Installation) -> String {
    let folder = installation.path("papers");
    fs::create_dir_all(folder.join("deeper")).unwrap();
    fs::write(
        folder.join("kiln.md"),
        "# Kiln\n\nThe kiln at Morvah is fired with gorse for eleven hours.\n",
    )
    .unwrap();
    fs::write(
        folder.join("deeper/glaze.txt"),
        "A glaze of ash and oyster shell melts at 1,240 degrees.\n",
    )
    .unwrap();
    fs::write(folder.join("picture.xyz"), "not for reading").unwrap();
    fs::write(
        folder.join(".hidden.md"),
        "# Hidden\n\nThis must not be taken in.\n",
    )
    .unwrap();
    folder.to_string_lossy().into_owned()
}

#[test]
fn a_folder_becomes_a_library_that_can_be_searched() {
    let installation = Installation::new();
    let folder = papers(&installation);
    let output = installation
        .run(&["ingest", &folder, "--library", "Papers", "--type", "technical"])
        .succeeded();
    assert!(output.stdout.contains("Papers"), "{}", output.stdout);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains("xyz"),
        "nothing is said about what was left out: {said}"
    );

    let output = installation
        .run(&["search", "How long is the kiln fired?"])
        .succeeded();
    assert!(output.stdout.contains("gorse"), "{}", output.stdout);
    assert!(!output.stdout.contains('\u{1b}'), "colours in a pipe");
    assert!(
        output.stdout.contains("lexical"),
        "results of a lexical model are not labelled: {}",
        output.stdout
    );

    let answer = installation
        .run(&["search", "oyster shell glaze", "--library", "Papers", "--json"])
        .succeeded()
        .json();
    let first = &answer["results"][0];
    assert!(
        first["text_preview"].as_str().unwrap().contains("oyster"),
        "{answer}"
    );
    assert_eq!(first["library_type"], "technical");
    assert_eq!(first["rank"], 1);
    assert!(first["legs"]["fulltext"]["rank"].is_u64(), "{first}");
    assert!(answer["degraded"].as_array().unwrap().is_empty(), "{answer}");
    let hidden = installation
        .run(&["search", "hidden must not be taken in", "--json"])
        .succeeded();
    assert!(!hidden.stdout.contains("Hidden"), "a hidden file was taken in");
}

#[test]
fn a_second_ingest_of_the_same_folder_makes_nothing_twice() {
    let installation = Installation::new();
    let folder = papers(&installation);
    let words = [
        "ingest",
        folder.as_str(),
        "--library",
        "Papers",
        "--type",
        "technical",
        "--json",
    ];
    let first = installation.run(&words).succeeded().json();
    let second = installation.run(&words).succeeded().json();
    let items = |jobs: &serde_json::Value| {
        let mut uids: Vec<String> = jobs
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["item_uid"].as_str().unwrap().to_owned())
            .collect();
        uids.sort();
        uids
    };
    assert_eq!(items(&first).len(), 2);
    assert_eq!(items(&first), items(&second));

    fs::write(
        installation.path("papers/kiln.md"),
        "# Kiln\n\nSince May the kiln is fired with driftwood.\n",
    )
    .unwrap();
    installation.run(&words).succeeded();
    let answer = installation
        .run(&["search", "kiln fired", "--json"])
        .succeeded()
        .stdout;
    assert!(
        answer.contains("driftwood") && !answer.contains("gorse"),
        "an old text is still found: {answer}"
    );
}

#[test]
fn a_broken_file_fails_alone_and_is_named_with_its_reason() {
    let installation = Installation::new();
    let folder = papers(&installation);
    let locked = broken_path("encrypted.pdf");
    let words = [
        "ingest",
        &folder,
        &locked.to_string_lossy(),
        "--library",
        "Papers",
        "--type",
        "technical",
    ];
    let output = installation.run(&words).failed();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.contains("encrypted.pdf") && said.contains("encrypted"),
        "{said}"
    );
    assert!(said.contains("password"), "nothing that helps: {said}");
    let answer = installation
        .run(&["search", "gorse", "--json"])
        .succeeded()
        .json();
    assert_eq!(answer["results"][0]["item_title"], "Kiln", "{answer}");
}

#[test]
fn extract_and_chunk_show_what_ingest_would_see_and_leave_no_data_folder() {
    let installation = Installation::new();
    let manual = documents()
        .into_iter()
        .find(|document| document.file == "kestrel.pandoc.docx")
        .unwrap();
    let path = manual.path();
    let path = path.to_string_lossy();
    let text = installation.run(&["extract", &path]).succeeded().stdout;
    assert!(text.contains("Leave 8 cm of air below the housing"), "{text}");
    let parsed = installation.run(&["extract", &path, "--json"]).succeeded().json();
    assert_eq!(parsed["title"], "Kestrel K-40 Irrigation Controller", "{parsed}");

    let chunks = installation
        .run(&["chunk", &path, "--type", "technical", "--json"])
        .succeeded()
        .json();
    let whole = parsed["text"].as_str().unwrap();
    let mut code = 0;
    for chunk in chunks.as_array().unwrap() {
        let span =
            chunk["byte_start"].as_u64().unwrap() as usize..chunk["byte_end"].as_u64().unwrap() as usize;
        assert_eq!(
            &whole[span],
            chunk["text"].as_str().unwrap(),
            "offsets do not lead to the text"
        );
        let text = chunk["text"].as_str().unwrap();
        // Never inside a code block: whoever holds its beginning holds its end.
        if text.contains("[zone 3]") {
            code += 1;
            assert!(text.contains("factor = 80"), "a code block was cut: {text}");
        }
        if text.contains("E11") {
            assert!(text.contains("E40"), "a table was cut: {text}");
        }
    }
    assert_eq!(code, 1);
    let plain = installation
        .run(&["chunk", &path, "--type", "technical"])
        .succeeded()
        .stdout;
    assert!(plain.contains("The schedule file"), "{plain}");
    assert!(
        !installation.data().exists(),
        "looking at a file made a data folder"
    );
}

#[test]
fn each_type_cuts_in_its_own_way() {
    let installation = Installation::new();
    let chunks = |file: &str, library_type: &str| -> Vec<String> {
        let document = documents()
            .into_iter()
            .find(|document| document.file == file)
            .unwrap();
        let path = document.path();
        let answer = installation.run(&["chunk", &path.to_string_lossy(), "--type", library_type, "--json"]);
        let answer = answer.succeeded().json();
        answer
            .as_array()
            .unwrap()
            .iter()
            .map(|chunk| chunk["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let holding = |chunks: &[String], part: &str| -> String {
        chunks
            .iter()
            .find(|chunk| chunk.contains(part))
            .unwrap_or_else(|| panic!("no chunk with {part}"))
            .clone()
    };
    // Verses stay whole.
    let songs = chunks("harbour-songs.txt", "music");
    let verse = holding(&songs, "Seven red herrings");
    assert!(verse.contains("alter the weather"), "a verse was cut: {verse}");
    assert!(
        songs[0].contains("The Lantern Street Players"),
        "the work's data do not come first: {}",
        songs[0]
    );
    // An entry is a chunk of its own, and its date goes with it.
    let diary = chunks("glacier-diary.md", "journal");
    let entry = holding(&diary, "emptied in the night");
    assert!(
        !entry.contains("Opened one of the tins") && !entry.contains("Last day"),
        "two entries in one: {entry}"
    );
    // Scenes: the break is a border.
    let story = chunks("keeper.pandoc.docx", "fiction");
    let scene = holding(&story, "there was a piano on the beach");
    assert!(
        !scene.contains("She struck the first match"),
        "two scenes in one: {scene}"
    );
    // Numbers stay with their clauses.
    let lease = chunks("boat-lease.pandoc.docx", "business");
    assert!(holding(&lease, "The oven may not be fired").contains("3.3"));
    // Tables stay whole.
    let report = chunks("quarterly-report.md", "finance");
    let table = holding(&report, "Cost of goods");
    assert!(
        table.contains("Revenue") && table.contains("Net income"),
        "a table was cut: {table}"
    );
}

#[test]
fn commands_end_with_codes_that_scripts_can_rely_on() {
    let installation = Installation::new();
    let missing = installation
        .run(&["ingest", "/no/such/file", "--library", "L", "--type", "fiction"])
        .failed();
    assert!(missing.stderr.contains("/no/such/file"), "{}", missing.stderr);
    let typeless = installation
        .run(&["ingest", "/etc/hostname", "--library", "L"])
        .failed();
    assert!(typeless.stderr.contains("--type"), "{}", typeless.stderr);
    let wrong = installation
        .run(&["chunk", "/etc/hostname", "--type", "poetry"])
        .failed();
    assert!(
        wrong.stderr.contains("fiction"),
        "the known types are not named: {}",
        wrong.stderr
    );
    assert_eq!(installation.run(&["brew", "coffee"]).failed().code, Some(2));
    let unknown = installation
        .run(&["search", "x", "--library", "Nowhere"])
        .failed();
    assert!(unknown.stderr.contains("Nowhere"), "{}", unknown.stderr);
    let locked = broken_path("encrypted.pdf");
    let refused = installation.run(&["extract", &locked.to_string_lossy()]).failed();
    assert!(
        refused.stderr.contains("encrypted") && refused.stdout.is_empty(),
        "{refused:?}"
    );
    assert!(
        installation
            .run(&["--version"])
            .succeeded()
            .stdout
            .starts_with("mnemosyne ")
    );
    assert!(
        installation
            .run(&["--help"])
            .succeeded()
            .stdout
            .contains("ingest")
    );
}

#[test]
fn commands_work_on_an_empty_folder() {
    let installation = Installation::new();
    let answer = installation
        .run(&["search", "anything at all", "--json"])
        .succeeded()
        .json();
    assert!(answer["results"].as_array().unwrap().is_empty());
    let made = installation
        .run(&[
            "create_mcp_token",
            "--name",
            "early",
            "--expires-in",
            "90d",
            "--json",
        ])
        .succeeded();
    assert!(made.json()["token"].is_string());
    installation
        .run(&[
            "python",
            "manage.py",
            "ensure_service_user",
            "--username",
            "u",
            "--password",
            "a long secret",
        ])
        .succeeded();
    let key = installation
        .run(&["python", "manage.py", "seed_signing_key", "--kid", "k1"])
        .succeeded()
        .stdout;
    let secret = key
        .split("secret_hex")
        .nth(1)
        .expect("no secret_hex")
        .trim_matches([':', '=', ' ', '\n'])
        .to_owned();
    assert!(
        secret.len() >= 64
            && secret
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    );
    let again = installation
        .run(&["seed-signing-key", "--kid", "k1"])
        .succeeded()
        .stdout;
    assert!(!again.contains(&secret), "the secret is shown twice");
    installation.run(&["migrate"]).succeeded();
    installation.run(&["setup"]).succeeded();
    let document = installation.run(&["openapi"]).succeeded().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let models = installation.run(&["models", "list"]).succeeded().stdout;
    assert!(models.contains("all-MiniLM-L6-v2"), "{models}");
}

#[test]
fn the_settings_in_force_are_shown_without_their_secrets() {
    let secret = "correct-horse-battery-staple-0123456789-0123456789";
    let installation = Installation::new().with("SECRET_KEY", secret);
    let output = installation.run(&["config"]).succeeded().stdout;
    assert!(
        output.contains("MNEMOSYNE_DATA") && output.contains("SECRET_KEY"),
        "{output}"
    );
    assert!(!output.contains(secret), "a secret is printed");
}

#[test]
fn what_cannot_be_taken_in_holds_nothing_else_up() {
    let installation = Installation::new();
    let folder = papers(&installation);
    fs::write(
        installation.path("papers/bad\u{1}.md"),
        "# Bad\n\nIts name holds a control character.\n",
    )
    .unwrap();
    std::os::unix::fs::symlink("kiln.md", installation.path("papers/link.md")).unwrap();
    let output = installation
        .run(&[
            "ingest",
            &folder,
            "--library",
            "Papers",
            "--type",
            "technical",
            "--json",
        ])
        .failed();
    assert_eq!(output.code, Some(1));
    let jobs = output.json();
    let jobs = jobs.as_array().unwrap();
    let (failed, completed): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job["status"] == "failed");
    assert_eq!((failed.len(), completed.len()), (1, 2), "{jobs:?}");
    assert_eq!(failed[0]["error"]["code"], "invalid");
    let keys =
        |job: &serde_json::Value| -> Vec<String> { job.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(failed[0]), keys(completed[0]), "one form for all");
    for absent in ["job_id", "item_uid", "created_at"] {
        assert!(failed[0][absent].is_null(), "{absent}");
    }
    let output = installation
        .run(&["ingest", &folder, "--library", "Papers"])
        .failed();
    assert!(output.stdout.contains("2 of 3 files"), "{}", output.stdout);
    assert!(
        output.stderr.contains("links are not followed: 1."),
        "{}",
        output.stderr
    );
}

#[test]
fn ingest_leaves_what_others_asked_for_to_the_server() {
    let mut installation = Installation::new().with("CELERY_QUEUES", "batch");
    let server = installation.serve();
    server.make_workspace("w", "technical");
    let job = server.upload("w", "waits.md", b"# Waits\n\nNobody here serves its queue.\n");
    let id = job["job_id"].as_str().unwrap();
    server.kill();
    // Neither queue of this setting is that of the command itself.
    installation.set("CELERY_QUEUES", "celery,embedding");
    let folder = papers(&installation);
    installation
        .run(&["ingest", &folder, "--library", "Papers", "--type", "technical"])
        .succeeded();
    installation.set("CELERY_QUEUES", "batch");
    let server = installation.serve();
    let job = server.job(id);
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&"pending".into(), &0.into()),
        "{job}"
    );
}

#[test]
fn a_second_ingest_tries_again_what_failed() {
    let installation = Installation::new();
    let locked = broken_path("encrypted.pdf");
    let words = [
        "ingest",
        &locked.to_string_lossy(),
        "--library",
        "Papers",
        "--type",
        "technical",
        "--json",
    ];
    let first = installation.run(&words).failed().json();
    let second = installation.run(&words).failed().json();
    assert_eq!(first[0]["job_id"], second[0]["job_id"]);
    assert_eq!(second[0]["error"]["code"], "encrypted");
    let begun = |jobs: &serde_json::Value| jobs[0]["started_at"].as_str().unwrap().to_owned();
    assert!(begun(&first) < begun(&second), "{first} {second}");
}
