//! Real documents of every format, made by other people's programs (`fixtures/documents/MANIFEST.toml`).

use mnemosyne_tests::Installation;
use mnemosyne_tests::fixtures::{Document, documents, normalised};
use serde_json::{Value, json};

/// Looks at every document, and complains of all of them at once.
#[track_caller]
fn each(check: impl Fn(&Document) -> Vec<String>) {
    let documents = documents();
    assert!(documents.len() >= 35);
    for format in ["txt", "md", "html", "pdf", "docx", "epub"] {
        assert!(
            documents.iter().any(|document| document.format == format),
            "no {format}"
        );
    }
    let mut problems = Vec::new();
    for document in &documents {
        for problem in check(document) {
            problems.push(format!("{} ({}): {problem}", document.file, document.program));
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// What is wrong with the page or section of what holds the document's phrase.
fn wrong_place(document: &Document, answer: &Value) -> Option<String> {
    let place = json!(document.page.or(document.section));
    let kind = match (document.page, document.section) {
        (Some(_), _) => json!("page"),
        (None, Some(_)) => json!("section"),
        (None, None) => Value::Null,
    };
    (answer["page"] != place || answer["page_kind"] != kind).then(|| {
        format!(
            "{:?} stands on {kind} {place}, not on {} {}",
            document.phrase, answer["page_kind"], answer["page"]
        )
    })
}

#[test]
fn text_title_and_pages_are_read_from_every_document() {
    let installation = Installation::new();
    each(|document| {
        let mut problems = Vec::new();
        let output = installation.run(&["extract", &document.path().to_string_lossy(), "--json"]);
        if output.code != Some(0) {
            return vec![format!("extract failed: {}", output.stderr)];
        }
        let answer = output.json();
        let text = answer["text"].as_str().unwrap_or_default();
        // The lines of a table are no words.
        let words = text
            .split_whitespace()
            .filter(|word| word.contains(char::is_alphanumeric))
            .count();
        // Programs differ in what they take for title or boilerplate.
        let slack = (document.words * 3 / 20).max(20);
        if words.abs_diff(document.words) > slack {
            problems.push(format!("{words} words instead of about {}", document.words));
        }
        if let Some(title) = &document.title
            && answer["title"] != title.as_str()
        {
            problems.push(format!("title {} instead of {title:?}", answer["title"]));
        }
        if let Some(pages) = document.pages
            && answer["page_count"] != pages
        {
            problems.push(format!("{} pages instead of {pages}", answer["page_count"]));
        }
        let text = normalised(text);
        let mut from = 0;
        for passage in &document.passages {
            match text[from..].find(&normalised(passage)) {
                Some(at) => from += at,
                None if text.contains(&normalised(passage)) => {
                    problems.push(format!("{passage:?} out of order"))
                }
                None => problems.push(format!("{passage:?} is missing")),
            }
        }
        problems
    });
}

#[test]
fn headings_lead_to_their_passages_in_every_document() {
    let installation = Installation::new();
    each(|document| {
        let path = document.path();
        let output = installation.run(&[
            "chunk",
            &path.to_string_lossy(),
            "--type",
            &document.library_type,
            "--json",
        ]);
        if output.code != Some(0) {
            return vec![format!("chunk failed: {}", output.stderr)];
        }
        let answer = output.json();
        let chunks = answer.as_array().unwrap();
        let mut problems = Vec::new();
        for heading in &document.headings {
            let wanted = normalised(heading).to_lowercase();
            let stands = |chunk: &Value| {
                let path = chunk["heading_path"].as_array().unwrap();
                path.iter().any(|part| {
                    normalised(part.as_str().unwrap())
                        .to_lowercase()
                        .contains(&wanted)
                })
            };
            if !chunks.iter().any(stands) {
                problems.push(format!("no chunk stands under {heading:?}"));
            }
        }
        let has_places = document.page.is_some() || document.section.is_some();
        if has_places && chunks.iter().any(|chunk| chunk["page"].is_null()) {
            problems.push("a chunk without its page".to_owned());
        }
        let phrase = normalised(&document.phrase);
        let holder = chunks
            .iter()
            .find(|chunk| normalised(chunk["text"].as_str().unwrap_or_default()).contains(&phrase));
        problems.extend(match holder {
            Some(chunk) => wrong_place(document, chunk),
            None => Some(format!("no chunk holds {phrase:?}")),
        });
        problems
    });
}

#[test]
fn every_document_answers_its_question() {
    let installation = Installation::new();
    let server = installation.serve();
    let jobs: Vec<(String, String)> = documents()
        .iter()
        .map(|document| {
            let workspace = document.file.clone();
            server.make_workspace(&workspace, &document.library_type);
            let answer = server.upload(&workspace, &document.file, &document.bytes());
            (workspace, answer["job_id"].as_str().unwrap().to_owned())
        })
        .collect();
    each(|document| {
        let (_, job_id) = jobs
            .iter()
            .find(|(workspace, _)| *workspace == document.file)
            .unwrap();
        let job = server.ended(job_id);
        if job["status"] != "completed" {
            return vec![format!("{}", job["error"])];
        }
        let mut problems = Vec::new();
        let answer = server.search(&json!({ "query": document.query, "workspace_id": document.file }));
        match answer["results"].get(0) {
            None => problems.push(format!("nothing is found for {:?}", document.query)),
            Some(hit) => {
                let text = normalised(&server.chunk_text(&hit["chunk_uid"]));
                if !text.contains(&normalised(&document.phrase)) {
                    problems.push(format!("the first hit of {:?} is {text:?}", document.query));
                }
                problems.extend(wrong_place(document, hit));
                if let Some(title) = &document.title
                    && hit["item_title"] != title.as_str()
                {
                    problems.push(format!("the hit's title is {}", hit["item_title"]));
                }
            }
        }
        if document.source == "museum-page.html" {
            let script = "zebra-tracker-should-never-be-indexed";
            let answer = server.search(&json!({ "query": script, "workspace_id": document.file }));
            let hits = answer["results"].as_array().unwrap();
            if hits
                .iter()
                .any(|hit| server.chunk_text(&hit["chunk_uid"]).contains(script))
            {
                problems.push("a script is part of the text".to_owned());
            }
        }
        problems
    });
}
