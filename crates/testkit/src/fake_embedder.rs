//! An embedding server on the loopback interface, well-behaved or not.
//!
//! It speaks both dialects at `/v1/embeddings`: `{model, input}` is OpenAI's, `{inputs}` is the Synesis one. Its vectors
//! depend on the text alone and are close for texts that share words, so that a search over them finds something. A test
//! can have the next requests answered in any bad way, one after the other. It also reranks (`/v1/rerank`), chats
//! (`/v1/chat/completions`) and lists its models (`/v1/models`), well or as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How one request is answered.
#[derive(Clone, Debug)]
pub enum FakeAnswer {
    /// As a sound server does.
    Normal,
    /// With this status, `Retry-After` (in seconds) and body.
    Status {
        /// The status code.
        code: u16,
        /// Seconds.
        retry_after: Option<u64>,
        /// Text of the body.
        body: String,
    },
    /// With vectors of this length.
    Dimension(usize),
    /// With `null` for one number of the first vector.
    NotANumber,
    /// With vectors of zeros.
    Zeros,
    /// With one vector too few.
    OneMissing,
    /// With this body and status 200.
    Body(String),
    /// Never.
    Silence,
    /// With a redirect (307) to this address.
    Redirect(String),
}

/// What a well-behaved request meets.
#[derive(Clone, Debug)]
pub struct FakeLimits {
    /// The length of the vectors.
    pub dimension: usize,
    /// More texts than this in one request are refused.
    pub max_texts: usize,
    /// How they are: status and body.
    pub too_many: (u16, &'static str),
    /// A longer text, in bytes, is refused with 400 and a sentence about the context length.
    pub max_text_bytes: usize,
}

impl Default for FakeLimits {
    /// 8 numbers a vector; no other limit.
    fn default() -> Self {
        Self {
            dimension: 8,
            max_texts: usize::MAX,
            too_many: (413, "too many texts"),
            max_text_bytes: usize::MAX,
        }
    }
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeRequest {
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
}

impl FakeRequest {
    /// The texts to embed, whatever the dialect.
    pub fn texts(&self) -> Vec<String> {
        let texts = match (&self.body["input"], &self.body["inputs"]) {
            (Value::Array(texts), _) => texts.iter().map(Value::as_str).collect(),
            (Value::String(text), _) => vec![Some(text.as_str())],
            (_, Value::Array(inputs)) => inputs.iter().map(|input| input["text"].as_str()).collect(),
            _ => Vec::new(),
        };
        texts
            .into_iter()
            .map(|text| text.unwrap_or_default().to_owned())
            .collect()
    }
}

struct Shared {
    limits: FakeLimits,
    scripted: Mutex<VecDeque<FakeAnswer>>,
    requests: Mutex<Vec<FakeRequest>>,
}

/// A running server; it stops when dropped.
pub struct FakeEmbeddingServer {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl FakeEmbeddingServer {
    /// Starts a server on a free port of 127.0.0.1.
    pub async fn start(limits: FakeLimits) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            limits,
            scripted: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/embeddings", post(answer))
            .route("/v1/rerank", post(rerank))
            .route("/v1/chat/completions", post(chat))
            .route("/v1/models", get(models))
            .with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                panic!("the fake embedding server stopped: {error}");
            }
        });
        Ok(Self { port, shared, task })
    }

    /// The address without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Has the next unscripted request answered like this; further ones queue up. Afterwards answers are normal again.
    pub fn next(&self, answer: FakeAnswer) {
        lock(&self.shared.scripted).push_back(answer);
    }

    /// The requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<FakeRequest> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for FakeEmbeddingServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The vector that the server gives for a text: each word adds to places that its letters choose. Of length 1, except
/// for a text without words, whose first number is 1.
pub fn fake_vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimension];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        if word.is_empty() {
            continue;
        }
        let hash = word.bytes().fold(17_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        for step in 0..4 {
            vector[hash.rotate_right(step * 7) % dimension] += 1.0;
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|value| value / length).collect()
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "the body is not JSON").into_response();
    };
    let request = FakeRequest {
        authorization: headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body,
    };
    lock(&shared.requests).push(request.clone());
    let scripted = lock(&shared.scripted).pop_front().unwrap_or(FakeAnswer::Normal);
    match scripted {
        FakeAnswer::Normal => normal(&shared.limits, &request),
        FakeAnswer::Dimension(dimension) => vectors(&request, vectors_of(&request, dimension)),
        FakeAnswer::NotANumber => {
            let mut all = vectors_of(&request, shared.limits.dimension);
            all[0][0] = Value::Null;
            vectors(&request, all)
        }
        FakeAnswer::Zeros => {
            let zeros = vec![json!(0.0); shared.limits.dimension];
            vectors(&request, vec![zeros; request.texts().len()])
        }
        FakeAnswer::OneMissing => {
            let mut all = vectors_of(&request, shared.limits.dimension);
            all.pop();
            vectors(&request, all)
        }
        FakeAnswer::Body(body) => body.into_response(),
        FakeAnswer::Silence => std::future::pending().await,
        FakeAnswer::Redirect(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        FakeAnswer::Status {
            code,
            retry_after,
            body,
        } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match retry_after {
                Some(seconds) => (status, [(header::RETRY_AFTER, seconds.to_string())], body).into_response(),
                None => (status, body).into_response(),
            }
        }
    }
}

/// Notes the request, and answers it as a test may have asked for.
async fn noted(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> (Value, Option<Response>) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    lock(&shared.requests).push(FakeRequest {
        authorization: headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body: body.clone(),
    });
    let scripted = lock(&shared.scripted).pop_front();
    let response = match scripted {
        Some(FakeAnswer::Body(body)) => Some(body.into_response()),
        Some(FakeAnswer::Silence) => std::future::pending().await,
        Some(FakeAnswer::Redirect(to)) => {
            Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response())
        }
        Some(FakeAnswer::Status { code, body, .. }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some((status, body).into_response())
        }
        _ => None,
    };
    (body, response)
}

/// Scores documents by how many words of the query they hold; the last document first, because a client must go by the
/// index.
async fn rerank(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let (body, scripted) = noted(&shared, &headers, &body).await;
    if let Some(response) = scripted {
        return response;
    }
    let words = |text: &Value| -> Vec<String> {
        text.as_str()
            .unwrap_or_default()
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .map(str::to_owned)
            .collect()
    };
    let query = words(&body["query"]);
    let documents: &[Value] = body["documents"].as_array().map_or(&[], Vec::as_slice);
    let results: Vec<Value> = documents
        .iter()
        .enumerate()
        .rev()
        .map(|(index, document)| {
            let shared = words(document).iter().filter(|word| query.contains(word)).count();
            json!({"index": index, "relevance_score": shared as f64 / 10.0})
        })
        .collect();
    axum::Json(json!({ "results": results })).into_response()
}

/// Says "ready", or what colour it sees.
async fn chat(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let (body, scripted) = noted(&shared, &headers, &body).await;
    if let Some(response) = scripted {
        return response;
    }
    let sees = body["messages"][0]["content"].is_array();
    let words = if sees { "grey" } else { "ready" };
    axum::Json(json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": words}}]}))
        .into_response()
}

async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let (_, scripted) = noted(&shared, &headers, &Bytes::new()).await;
    scripted.unwrap_or_else(|| {
        axum::Json(json!({"object": "list", "data": [{"id": "fake-words"}, {"id": "fake-chat"}]}))
            .into_response()
    })
}

fn normal(limits: &FakeLimits, request: &FakeRequest) -> Response {
    let texts = request.texts();
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return (StatusCode::BAD_REQUEST, "the input is empty").into_response();
    }
    if texts.len() > limits.max_texts {
        let (code, body) = limits.too_many;
        return (
            StatusCode::from_u16(code).unwrap_or(StatusCode::PAYLOAD_TOO_LARGE),
            body,
        )
            .into_response();
    }
    if texts.iter().any(|text| text.len() > limits.max_text_bytes) {
        let reason = "{\"error\": {\"message\": \"This model's maximum context length is exceeded.\"}}";
        return (StatusCode::BAD_REQUEST, reason).into_response();
    }
    vectors(request, vectors_of(request, limits.dimension))
}

fn vectors_of(request: &FakeRequest, dimension: usize) -> Vec<Vec<Value>> {
    request
        .texts()
        .iter()
        .map(|text| {
            fake_vector(text, dimension)
                .into_iter()
                .map(|number| json!(number))
                .collect()
        })
        .collect()
}

fn vectors(request: &FakeRequest, all: Vec<Vec<Value>>) -> Response {
    let body = if request.body["inputs"].is_array() {
        json!({"embeddings": all})
    } else {
        // Backwards, because a client must go by the index.
        let data: Vec<Value> = all
            .into_iter()
            .enumerate()
            .rev()
            .map(|(index, embedding)| json!({"object": "embedding", "index": index, "embedding": embedding}))
            .collect();
        json!({"object": "list", "data": data, "model": request.body["model"]})
    };
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
