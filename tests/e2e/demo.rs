//! `serve --demo`.

use mnemosyne_tests::fixtures::{demo, normalised};
use mnemosyne_tests::{Installation, Server, wait_for};
use serde_json::{Value, json};

fn libraries(server: &Server<'_>) -> Vec<Value> {
    let answer = server
        .api()
        .get("/library/api/libraries/?limit=100")
        .expect(200)
        .json();
    answer["results"].as_array().unwrap().clone()
}

#[test]
fn the_demo_library_answers_its_own_questions_and_is_loaded_once() {
    let (expected, questions) = demo();
    let installation = Installation::new();
    let server = installation.serve_with(&["--demo"]);
    let complete = |server: &Server<'_>| {
        let found = libraries(server);
        expected.iter().all(|(name, documents)| {
            found
                .iter()
                .any(|library| library["name"] == name.as_str() && library["item_count"] == *documents)
        })
    };
    wait_for("the demo libraries", || complete(&server).then_some(()));

    let mut unanswered = Vec::new();
    for question in &questions {
        let answer = server.search(&json!({ "query": question.text, "limit": 3 }));
        let found = answer["results"].as_array().unwrap().iter().any(|result| {
            let text = normalised(&server.chunk_text(&result["chunk_uid"]));
            result["item_title"] == question.title.as_str() && text.contains(&question.answer)
        });
        if !found {
            let titles: Vec<_> = answer["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| &hit["item_title"])
                .collect();
            unanswered.push(format!("{}: {titles:?}", question.text));
        }
    }
    assert!(unanswered.is_empty(), "{unanswered:#?}");
    assert!(server.stop().success());

    let server = installation.serve_with(&["--demo"]);
    let jobs = server
        .api()
        .get("/library/api/jobs/?status=pending")
        .expect(200)
        .json();
    assert_eq!(jobs["count"], 0, "the demo is loaded a second time");
    assert!(complete(&server));
    assert_eq!(libraries(&server).len(), expected.len());
}
