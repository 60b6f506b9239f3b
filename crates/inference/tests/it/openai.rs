//! The client of an embedding server, when the server behaves and when it does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mnemosyne_domain::EmbeddingPurpose::{Passage, Query};
use mnemosyne_domain::ports::{EmbedError, EmbedText, Embedder};
use mnemosyne_http::{Outbound, OutboundSettings};
use mnemosyne_inference::{Dialect, OpenAiEmbedder, OpenAiSettings, probe_dimension};
use mnemosyne_testkit::fake_embedder::{FakeAnswer, FakeEmbeddingServer, FakeLimits, fake_vector};

use crate::outbound;

/// An embedder whose waits are written down instead of waited.
struct Setup {
    server: FakeEmbeddingServer,
    embedder: OpenAiEmbedder,
    waits: Arc<Mutex<Vec<Duration>>>,
}

impl Setup {
    async fn new(limits: FakeLimits, adjust: impl FnOnce(&mut OpenAiSettings)) -> Self {
        let server = FakeEmbeddingServer::start(limits).await.expect("a free port");
        let mut settings = OpenAiSettings::new(server.base_url(), "test-model", 8);
        adjust(&mut settings);
        let waits = Arc::new(Mutex::new(Vec::new()));
        let written = waits.clone();
        let embedder = OpenAiEmbedder::with_sleep(
            settings,
            &outbound(),
            Arc::new(move |wait| {
                written.lock().expect("no panic while locked").push(wait);
                Box::pin(async {})
            }),
        )
        .expect("usable");
        Self {
            server,
            embedder,
            waits,
        }
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embedder.embed(&plain(texts), Passage).await
    }

    fn waits(&self) -> Vec<Duration> {
        self.waits.lock().expect("no panic while locked").clone()
    }

    fn batch_sizes(&self) -> Vec<usize> {
        self.server
            .requests()
            .iter()
            .map(|request| request.texts().len())
            .collect()
    }
}

fn plain<'a>(texts: &[&'a str]) -> Vec<EmbedText<'a>> {
    texts
        .iter()
        .map(|text| EmbedText {
            text,
            instruction: None,
        })
        .collect()
}

fn status(code: u16, retry_after: Option<u64>, body: &str) -> FakeAnswer {
    FakeAnswer::Status {
        code,
        retry_after,
        body: body.into(),
    }
}

fn permanent(outcome: Result<Vec<Vec<f32>>, EmbedError>) -> String {
    match outcome {
        Err(EmbedError::Permanent { message }) => message,
        other => panic!("a permanent error was expected: {other:?}"),
    }
}

#[tokio::test]
async fn texts_keep_their_order_over_several_batches() {
    let setup = Setup::new(FakeLimits::default(), |settings| {
        settings.batch_size = 2;
        settings.api_key = Some("sk-key".into());
    })
    .await;
    let texts = [
        "one",
        "a much longer text than the others",
        "three three",
        "",
        "five",
    ];
    let vectors = setup.embed(&texts).await.expect("sound");
    assert_eq!(vectors.len(), 5);
    for (text, vector) in texts.iter().zip(&vectors) {
        assert_close(vector, &fake_vector(text, 8));
    }
    assert_eq!(setup.batch_sizes(), [2, 2, 1]);
    let first = &setup.server.requests()[0];
    assert_eq!(first.authorization.as_deref(), Some("Bearer sk-key"));
    assert_eq!(first.body["model"], "test-model");
    assert_eq!(first.texts()[0], texts[1]);
    assert!(setup.embed(&[]).await.expect("nothing to do").is_empty());
    assert_eq!(setup.batch_sizes().len(), 3);
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() < 1e-5, "{a:?} {b:?}");
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_wishes() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    setup.server.next(status(429, Some(7), "slow down"));
    setup.server.next(status(500, None, "oops"));
    assert_eq!(setup.embed(&["text"]).await.expect("the third time").len(), 1);
    let waits = setup.waits();
    assert_eq!(waits.len(), 2);
    assert_eq!(waits[0], Duration::from_secs(7));
    assert!(
        (Duration::from_millis(500)..=Duration::from_secs(1)).contains(&waits[1]),
        "{waits:?}"
    );
}

#[tokio::test]
async fn a_server_that_stays_broken_is_reported_as_such() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    for _ in 0..5 {
        setup.server.next(status(503, Some(3), "no model loaded"));
    }
    match setup.embed(&["text"]).await {
        Err(EmbedError::Transient { message, retry_after }) => {
            assert!(
                message.contains("503") && message.contains("no model loaded"),
                "{message}"
            );
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(setup.server.requests().len(), 5);
}

#[tokio::test]
async fn a_question_is_asked_only_twice_and_a_long_wait_is_left_to_the_caller() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    for _ in 0..2 {
        setup.server.next(status(502, None, ""));
    }
    let outcome = setup.embedder.embed(&plain(&["q"]), Query).await;
    assert!(
        matches!(outcome, Err(EmbedError::Transient { .. })),
        "{outcome:?}"
    );
    assert_eq!(setup.server.requests().len(), 2);

    setup.server.next(status(429, Some(3_600), ""));
    match setup.embed(&["text"]).await {
        Err(EmbedError::Transient { retry_after, .. }) => {
            assert_eq!(retry_after, Some(Duration::from_secs(3_600)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(setup.server.requests().len(), 3);
}

#[tokio::test]
async fn nobody_there_is_transient() {
    let setup = Setup::new(FakeLimits::default(), |settings| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        settings.base_url = format!("http://{}", listener.local_addr().expect("bound"));
    })
    .await;
    let outcome = setup.embed(&["text"]).await;
    assert!(
        matches!(outcome, Err(EmbedError::Transient { .. })),
        "{outcome:?}"
    );
    assert_eq!(setup.waits().len(), 4);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left() {
    let setup = Setup::new(FakeLimits::default(), |settings| {
        settings.timeout = Duration::from_millis(50)
    })
    .await;
    setup.server.next(FakeAnswer::Silence);
    setup.server.next(FakeAnswer::Silence);
    let outcome = setup.embed(&["text"]).await;
    assert!(
        matches!(outcome, Err(EmbedError::Transient { .. })),
        "{outcome:?}"
    );
    assert_eq!(setup.server.requests().len(), 2);
}

#[tokio::test]
async fn wrong_answers_are_refused_in_words() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    let cases = [
        (FakeAnswer::Dimension(5), "5 numbers where 8 are configured"),
        (FakeAnswer::NotANumber, "not finite"),
        (FakeAnswer::Zeros, "only zeros"),
        (FakeAnswer::OneMissing, "1 vectors for 2 texts"),
        (
            FakeAnswer::Body("<html>a proxy's page</html>".into()),
            "not the expected JSON",
        ),
        (
            FakeAnswer::Body("{\"data\":[{\"index\":0,\"embedding\":[NaN]}]}".into()),
            "not the expected JSON",
        ),
        (FakeAnswer::Body("[".repeat(100_000)), "not the expected JSON"),
    ];
    for (answer, words) in cases {
        setup.server.next(answer);
        let message = permanent(setup.embed(&["one", "two"]).await);
        assert!(message.contains(words), "{message}");
    }
    assert!(setup.waits().is_empty());
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    setup.server.next(FakeAnswer::Body(" ".repeat(4_000_000)));
    let message = permanent(setup.embed(&["text"]).await);
    assert!(message.contains("larger than"), "{message}");
}

#[tokio::test]
async fn a_wrong_key_is_final_and_not_repeated() {
    let setup = Setup::new(FakeLimits::default(), |settings| {
        settings.api_key = Some("sk-secret-key".into())
    })
    .await;
    setup
        .server
        .next(status(401, None, "Incorrect API key provided: sk-secret-key"));
    let message = permanent(setup.embed(&["text"]).await);
    assert!(
        message.contains("401") && message.contains("[redacted]"),
        "{message}"
    );
    assert!(!format!("{message}{:?}", setup.embedder).contains("sk-secret"));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_whatever_the_server_calls_it() {
    for too_many in [
        (413, "too many texts"),
        (400, r#"{"error":"no"}"#),
        (422, r#"{"error":"batch size 5 > 2"}"#),
    ] {
        let limits = FakeLimits {
            max_texts: 2,
            too_many,
            ..FakeLimits::default()
        };
        let setup = Setup::new(limits, |_| {}).await;
        let texts = ["alpha", "beta", "gamma", "delta", "epsilon"];
        let vectors = setup.embed(&texts).await.expect("in halves");
        for (text, vector) in texts.iter().zip(&vectors) {
            assert_close(vector, &fake_vector(text, 8));
        }
        assert_eq!(setup.batch_sizes(), [5, 2, 3, 1, 2], "{too_many:?}");
        assert!(setup.waits().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_of_every_text_is_final_after_a_few_requests() {
    let limits = FakeLimits {
        max_texts: 0,
        too_many: (400, "unknown model"),
        ..FakeLimits::default()
    };
    let setup = Setup::new(limits, |_| {}).await;
    let message = permanent(setup.embed(&["alpha", "beta", "gamma", "delta"]).await);
    assert!(message.contains("400"), "{message}");
    assert_eq!(setup.batch_sizes(), [4, 2, 1]);
}

#[tokio::test]
async fn a_text_that_is_too_long_is_embedded_in_parts() {
    let limits = FakeLimits {
        max_text_bytes: 1_000,
        ..FakeLimits::default()
    };
    let setup = Setup::new(limits, |_| {}).await;
    let long = "alpha beta gamma ".repeat(150);
    let vectors = setup.embed(&["short", &long]).await.expect("in parts");
    assert_close(&vectors[0], &fake_vector("short", 8));
    let sent: String = setup
        .server
        .requests()
        .iter()
        .filter(|request| request.texts().len() == 1)
        .flat_map(|request| request.texts())
        .filter(|text| text.len() <= 1_000 && text != "short")
        .collect();
    assert_eq!(sent, long);
    let similarity: f32 = vectors[1]
        .iter()
        .zip(fake_vector(&long, 8))
        .map(|(x, y)| x * y)
        .sum();
    assert!(similarity > 0.99, "{similarity}");
}

#[tokio::test]
async fn a_long_text_is_cut_before_a_server_could_drop_its_end() {
    let setup = Setup::new(FakeLimits::default(), |settings| settings.text_tokens = 100).await;
    let long = "one two three four ".repeat(40);
    let vectors = setup.embed(&[&long]).await.expect("in parts");
    assert_eq!(vectors.len(), 1);
    let texts: Vec<String> = setup
        .server
        .requests()
        .iter()
        .flat_map(|request| request.texts())
        .collect();
    assert!(
        texts.len() > 1 && texts.iter().all(|text| text.len() <= 300),
        "{}",
        texts.len()
    );
}

#[tokio::test]
async fn a_tiny_text_that_is_too_long_is_a_refusal() {
    let limits = FakeLimits {
        max_texts: 0,
        ..FakeLimits::default()
    };
    let setup = Setup::new(limits, |_| {}).await;
    let message = permanent(setup.embed(&["tiny"]).await);
    assert!(message.contains("413"), "{message}");
}

#[tokio::test]
async fn instructions_go_with_questions_to_models_that_take_them() {
    let text = EmbedText {
        text: "What is it?",
        instruction: Some("Find passages."),
    };
    for (model, dialect, question, passage) in [
        ("plain-model", Dialect::OpenAi, "What is it?", "What is it?"),
        (
            "Qwen3-Embedding",
            Dialect::OpenAi,
            "Instruct: Find passages.\nQuery: What is it?",
            "What is it?",
        ),
        ("Qwen3-Embedding", Dialect::Synesis, "What is it?", "What is it?"),
    ] {
        let setup = Setup::new(FakeLimits::default(), |settings| {
            settings.model = model.into();
            settings.dialect = dialect;
        })
        .await;
        setup
            .embedder
            .embed(std::slice::from_ref(&text), Query)
            .await
            .expect("sound");
        setup
            .embedder
            .embed(std::slice::from_ref(&text), Passage)
            .await
            .expect("sound");
        let requests = setup.server.requests();
        assert_eq!(requests[0].texts(), [question], "{model} {dialect:?}");
        assert_eq!(requests[1].texts(), [passage], "{model} {dialect:?}");
        if dialect == Dialect::Synesis {
            assert_eq!(requests[0].body["inputs"][0]["instruction"], "Find passages.");
            assert_eq!(requests[0].body["dimension"], 8);
        }
    }
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let setup = Setup::new(FakeLimits::default(), |_| {}).await;
    setup.server.next(FakeAnswer::Redirect(
        "http://169.254.169.254/v1/embeddings".into(),
    ));
    permanent(setup.embed(&["text"]).await);
    assert_eq!(setup.server.requests().len(), 1);

    let server = FakeEmbeddingServer::start(FakeLimits::default())
        .await
        .expect("a free port");
    let strict = Outbound::new(OutboundSettings::default()).expect("usable");
    let settings = OpenAiSettings::new(server.base_url(), "model", 8);
    let embedder = OpenAiEmbedder::new(settings, &strict).expect("usable");
    let message = permanent(embedder.embed(&plain(&["text"]), Query).await);
    assert!(message.contains("MNEMOSYNE_ALLOWED_PRIVATE_HOSTS"), "{message}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_dimension_can_be_asked_for() {
    let limits = FakeLimits {
        dimension: 24,
        ..FakeLimits::default()
    };
    let server = FakeEmbeddingServer::start(limits).await.expect("a free port");
    let settings = OpenAiSettings::new(format!("{}/v1/", server.base_url()), "model", 0);
    assert_eq!(probe_dimension(&settings, &outbound()).await, Ok(24));
    server.next(status(404, None, "no such model"));
    let refused = probe_dimension(&settings, &outbound()).await;
    assert!(
        matches!(refused, Err(EmbedError::Permanent { .. })),
        "{refused:?}"
    );
}
