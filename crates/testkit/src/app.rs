//! The `app` role in one process over the real embedded backends, in a folder that goes with the test. Requests are handed
//! to the router as a server would, from an address of the test's choice.

#![allow(
    clippy::unwrap_used,
    reason = "this is for tests: what fails here is to be seen at once"
)]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use mnemosyne_app::{AppSettings, AppState};
use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_blobs::folder::FolderBucket;
use mnemosyne_cache::memory::MemoryCache;
use mnemosyne_config::IpNetwork;
use mnemosyne_documents::{Document, Extractor, FileHint};
use mnemosyne_domain::ports::{
    Clock, EmbedError, EmbedText, Embedder, EmbedderRegistry, JobQueue, Lease, Mailer, Relational,
};
use mnemosyne_domain::{
    EmbeddingModel, EmbeddingPurpose, Failure, FailureCode, JobId, NewUser, Queue, StoreResult, VectorSpace,
};
use mnemosyne_graph::embedded::EmbeddedStore;
use mnemosyne_http::OutboundSettings;
use mnemosyne_inference::models::ModelStore;
use mnemosyne_inference::{Clients, LexicalEmbedder, Registry, Servers};
use mnemosyne_queue::in_process::InProcessQueue;
use mnemosyne_services::pipeline::JobEnd;
use mnemosyne_services::providers::RegisteredSource;
use mnemosyne_services::{Backends, IngestSettings, SearchSettings, SecretKey, ServiceSettings, Services};
use mnemosyne_sql::sqlite::SqliteDatabase;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The user that every test application has.
pub const USERNAME: &str = "daedalus";
/// Its password.
pub const PASSWORD: &str = "daedalus-test-password";
/// The hash of [`PASSWORD`], so that no test spends a second on making it.
const PASSWORD_HASH: &str =
    "pbkdf2_sha256$1000000$mnemosynetestkitsalt00$3Js9j0pU+k/nTGRXPg/MS4ERvyyDAT2I7QmBdj71xEY=";
/// The largest file a test application takes, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The application of one test.
pub struct TestApp {
    /// The use cases.
    pub services: Arc<Services>,
    /// The database, for what no use case does.
    pub relational: Arc<SqliteDatabase>,
    /// The knowledge store, for what no use case does.
    pub knowledge: Arc<EmbeddedStore>,
    /// The time; it passes by itself and can be moved on.
    pub clock: Arc<MovableClock>,
    /// The lexical embedder, which can be made to fail.
    pub embedder: Arc<FlakyEmbedder>,
    /// What the use cases work with: the same as `relational`, unless the test brought another.
    database: Arc<dyn Relational>,
    router: Router,
    folder: TempDir,
}

/// Reads files in this process; a reader that breaks down costs its file only.
struct InProcessExtractor;

#[async_trait::async_trait]
impl Extractor for InProcessExtractor {
    async fn extract(&self, file: &Path, hint: &FileHint) -> Result<Document, Failure> {
        let bytes = std::fs::read(file).map_err(|error| {
            Failure::new(
                FailureCode::StorageUnavailable,
                format!("The file cannot be read: {error}."),
            )
        })?;
        catch_unwind(AssertUnwindSafe(|| mnemosyne_documents::parse(&bytes, hint)))
            .unwrap_or_else(|_| Err(Failure::new(FailureCode::ParserCrashed, "The reader broke down.")))
    }
}

/// The clock of the system, moved on by as much as a test wants.
#[derive(Debug, Default)]
pub struct MovableClock(Mutex<TimeDelta>);

impl MovableClock {
    /// Moves on.
    pub fn advance(&self, time: TimeDelta) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for MovableClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + *self.0.lock().unwrap()
    }
}

/// An embedder, out of reach for as many requests as a test wants.
pub struct FlakyEmbedder {
    sound: Arc<dyn Embedder>,
    failures: Mutex<VecDeque<Option<Duration>>>,
}

impl FlakyEmbedder {
    /// Has the next requests fail, each asking to be left alone for this long.
    pub fn fail(&self, times: usize, retry_after: Option<Duration>) {
        self.failures.lock().unwrap().extend(vec![retry_after; times]);
    }
}

#[async_trait::async_trait]
impl Embedder for FlakyEmbedder {
    fn model(&self) -> &EmbeddingModel {
        self.sound.model()
    }

    fn floor(&self) -> Option<f32> {
        self.sound.floor()
    }

    async fn embed(
        &self,
        texts: &[EmbedText<'_>],
        purpose: EmbeddingPurpose,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let failure = self.failures.lock().unwrap().pop_front();
        match failure {
            Some(retry_after) => Err(EmbedError::Transient {
                message: "The embedding server does not answer.".to_owned(),
                retry_after,
            }),
            None => self.sound.embed(texts, purpose).await,
        }
    }
}

/// One embedder and nothing else.
struct OneEmbedder(Arc<dyn Embedder>);

#[async_trait::async_trait]
impl EmbedderRegistry for OneEmbedder {
    async fn system(&self) -> StoreResult<Arc<dyn Embedder>> {
        Ok(self.0.clone())
    }

    async fn by_id(&self, model: &str) -> StoreResult<Option<Arc<dyn Embedder>>> {
        Ok((self.0.model().id == model).then(|| self.0.clone()))
    }

    async fn by_space(&self, space: &VectorSpace) -> StoreResult<Option<Arc<dyn Embedder>>> {
        Ok((self.0.model().space() == *space).then(|| self.0.clone()))
    }

    async fn available(&self) -> StoreResult<Vec<EmbeddingModel>> {
        Ok(vec![self.0.model().clone()])
    }

    fn changed(&self) {}
}

/// Settings of a test application: reached as `localhost`, behind proxies on loopback.
pub fn settings() -> AppSettings {
    AppSettings {
        allowed_hosts: vec!["localhost".to_owned()],
        csrf_trusted_origins: vec!["https://trusted.example".to_owned()],
        trusted_proxies: IpNetwork::parse("127.0.0.0/8").into_iter().collect(),
        debug: false,
        time_zone: Tz::UTC,
        language_code: "en-us".to_owned(),
        ready_requires: Vec::new(),
        mcp_url: "http://localhost:8001/mcp/".to_owned(),
        mcp_requires_token: true,
        version: "test".to_owned(),
    }
}

/// What a test may put in the place of the embedded default.
struct Parts {
    embedder: Arc<dyn Embedder>,
    queue: Arc<dyn JobQueue>,
    /// Whether registered models are used, beside nothing but the plain lexical embedder.
    uses_registry: bool,
    /// Hosts that may have a private address.
    allowed_private_hosts: Vec<String>,
    mailer: Option<Arc<dyn Mailer>>,
    database: Option<Arc<dyn Relational>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            embedder: Arc::new(LexicalEmbedder::new()),
            queue: Arc::new(InProcessQueue::default()),
            uses_registry: false,
            allowed_private_hosts: Vec::new(),
            mailer: None,
            database: None,
        }
    }
}

impl TestApp {
    /// An application with one user and nothing in it.
    pub async fn start() -> Self {
        Self::start_with(settings()).await
    }

    /// The same with other settings.
    pub async fn start_with(settings: AppSettings) -> Self {
        Self::start_as(settings, service_settings()).await
    }

    /// The same with other settings of the use cases, too.
    pub async fn start_as(settings: AppSettings, service_settings: ServiceSettings) -> Self {
        let parts = Parts::default();
        Self::start_on(settings, service_settings, parts).await
    }

    /// The same with another embedder.
    pub async fn start_with_embedder(embedder: Arc<dyn Embedder>) -> Self {
        let parts = Parts {
            embedder,
            ..Parts::default()
        };
        Self::start_on(settings(), service_settings(), parts).await
    }

    /// The same with a mail server.
    pub async fn start_with_mailer(mailer: Arc<dyn Mailer>) -> Self {
        let parts = Parts {
            mailer: Some(mailer),
            ..Parts::default()
        };
        Self::start_on(settings(), service_settings(), parts).await
    }

    /// The same over another queue.
    pub async fn start_over(settings: AppSettings, queue: Arc<dyn JobQueue>) -> Self {
        let parts = Parts {
            queue,
            ..Parts::default()
        };
        Self::start_on(settings, service_settings(), parts).await
    }

    /// The same over another database, which is migrated; [`TestApp::relational`] stays empty.
    pub async fn start_on_database(database: Arc<dyn Relational>) -> Self {
        let parts = Parts {
            database: Some(database),
            ..Parts::default()
        };
        Self::start_on(settings(), service_settings(), parts).await
    }

    /// An application that uses the models registered in it. Servers at these hosts may have a private address.
    pub async fn start_with_registry(allowed_private_hosts: &[&str]) -> Self {
        let parts = Parts {
            uses_registry: true,
            allowed_private_hosts: allowed_private_hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect(),
            ..Parts::default()
        };
        Self::start_on(settings(), service_settings(), parts).await
    }

    async fn start_on(settings: AppSettings, service_settings: ServiceSettings, parts: Parts) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let bucket = data.join("bucket");
        std::fs::create_dir(&bucket).unwrap();
        let relational = Arc::new(SqliteDatabase::open(&data.join("mnemosyne.db")).await.unwrap());
        let database: Arc<dyn Relational> = parts.database.unwrap_or_else(|| relational.clone());
        let knowledge = Arc::new(EmbeddedStore::open(data).await.unwrap());
        let clock = Arc::new(MovableClock::default());
        let embedder = Arc::new(FlakyEmbedder {
            sound: parts.embedder,
            failures: Mutex::default(),
        });
        let secret_key = || SecretKey::new("a secret key of a test application, long enough");
        let clients = Clients::new(OutboundSettings {
            allowed_private_hosts: parts.allowed_private_hosts,
            ..OutboundSettings::default()
        })
        .unwrap();
        let embedders: Arc<dyn EmbedderRegistry> = if parts.uses_registry {
            let source = RegisteredSource::new(database.clone(), secret_key().into());
            let store = ModelStore::new(data.join("models"));
            let registry = Registry::with_store(None, store, clients.shared()).unwrap();
            Arc::new(registry.with_registered(Arc::new(source), clients.clone()))
        } else {
            Arc::new(OneEmbedder(embedder.clone()))
        };
        let backends = Backends {
            knowledge: knowledge.clone(),
            relational: database.clone(),
            blobs: Arc::new(FileBlobs::open(&data.join("blobs")).await.unwrap()),
            cache: Arc::new(MemoryCache::default()),
            queue: parts.queue,
            bucket: Arc::new(FolderBucket::new(Some(bucket))),
            embedders,
            model_servers: Arc::new(Servers::new(clients)),
            extractor: Arc::new(InProcessExtractor),
            clock: clock.clone(),
        };
        let mut services = Services::new(backends, secret_key(), service_settings);
        if let Some(mailer) = parts.mailer {
            services = services.with_mailer(mailer);
        }
        let services = Arc::new(services);
        let app = Self {
            router: mnemosyne_app::router(AppState::new(
                Arc::clone(&services),
                settings,
                CancellationToken::new(),
            )),
            services,
            relational,
            database,
            knowledge,
            clock,
            embedder,
            folder,
        };
        app.add_user(USERNAME, false).await;
        app
    }

    /// Makes a user whose password is [`PASSWORD`].
    pub async fn add_user(&self, username: &str, is_superuser: bool) {
        let user = NewUser {
            username: username.to_owned(),
            password: PASSWORD_HASH.to_owned(),
            email: String::new(),
            is_superuser,
            is_staff: is_superuser,
            is_service: false,
        };
        self.database.create_user(user, chrono::Utc::now()).await.unwrap();
    }

    /// The folder that all data is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves an object in the bucket.
    pub fn put_into_bucket(&self, key: &str, content: &[u8]) {
        let file = self.folder().join("bucket").join(key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// The service account, by HTTP Basic.
    pub fn daedalus(&self) -> Client<'_> {
        self.stranger().basic(USERNAME, PASSWORD)
    }

    /// Asks over REST for the ingest of a text into a workspace of its own; the job.
    pub async fn ingest(&self, name: &str, text: &str) -> JobId {
        let client = self.daedalus();
        let workspace = json!({"workspace_id": "w", "name": "W", "library_type": "technical"});
        client.post("/library/api/workspaces/", &workspace).await;
        self.put_into_bucket(name, text.as_bytes());
        let request = json!({"workspace_id": "w", "source_ref": name, "content_hash": "1", "s3_key": name, "filename": name});
        let answer = client.post("/library/api/ingest/", &request).await.expect(202);
        JobId::parse(answer.json()["job_id"].as_str().unwrap()).unwrap()
    }

    /// Takes a waiting job as another worker would, so that it cannot end by itself.
    pub async fn leased_elsewhere(&self, job: &JobId) -> Lease {
        let leased = self.services.lease_job("another", &Queue::ALL, Some(job)).await;
        leased.unwrap().unwrap()
    }

    /// Somebody without credentials, on this machine.
    pub fn stranger(&self) -> Client<'_> {
        Client {
            app: self,
            headers: HeaderMap::new(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
        .with(header::HOST, "localhost")
    }

    /// A browser in which somebody signed in, without a CSRF cookie.
    pub async fn browser(&self, username: &str) -> Client<'_> {
        let opened = self.services.sign_in(username, PASSWORD).await.unwrap();
        self.stranger()
            .with(header::COOKIE, &format!("sessionid={}", opened.key))
    }

    /// Runs every job that waits, one after the other, and says how each ended.
    pub async fn run_jobs(&self) -> Vec<JobEnd> {
        let mut ends = Vec::new();
        while let Some(lease) = self.services.lease_job("test", &Queue::ALL, None).await.unwrap() {
            ends.push(
                self.services
                    .run_job(lease, &CancellationToken::new())
                    .await
                    .unwrap(),
            );
        }
        ends
    }

    /// Hands a request to the router, from the address of a connection.
    pub async fn send(&self, peer: IpAddr, mut request: Request<Body>) -> Answer {
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(peer, 40_000)));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 * 1024 * 1024).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

/// Settings of the use cases of a test application.
pub fn service_settings() -> ServiceSettings {
    ServiceSettings {
        search: SearchSettings {
            vector_top_k: 50,
            fulltext_top_k: 30,
            graph_max_depth: 2,
            rrf_k: 60.0,
            default_limit: 20,
            weight_vector: 1.0,
            weight_lexical: 0.3,
            weight_fulltext: 1.0,
            weight_graph: 0.3,
        },
        ingest: IngestSettings {
            max_file_bytes: MAX_FILE_BYTES,
            embed_step: 32,
            max_attempts: 3,
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            always_eager: false,
            reads_bucket: true,
        },
        turn_token_max_lifetime: Duration::from_secs(900),
        audit_days: 365,
    }
}

/// Somebody who sends requests: headers that go with each, and an address.
#[derive(Clone)]
pub struct Client<'a> {
    app: &'a TestApp,
    headers: HeaderMap,
    peer: IpAddr,
}

impl Client<'_> {
    /// The same with a header, replacing what was said before.
    pub fn with(mut self, name: impl TryInto<HeaderName>, value: &str) -> Self {
        let name = name.try_into().ok().unwrap();
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// The same without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// The same with HTTP Basic.
    pub fn basic(self, username: &str, password: &str) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{username}:{password}"));
        self.with(header::AUTHORIZATION, &format!("Basic {encoded}"))
    }

    /// The same from another address.
    pub fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
        self
    }

    /// The same with one more cookie.
    pub fn cookie(self, name: &str, value: &str) -> Self {
        let known = self
            .headers
            .get(header::COOKIE)
            .map(|known| known.to_str().unwrap().to_owned());
        let cookies = known
            .into_iter()
            .chain([format!("{name}={value}")])
            .collect::<Vec<_>>()
            .join("; ");
        self.with(header::COOKIE, &cookies)
    }

    /// Sends a request with a body of some type.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(body.into())
            .unwrap();
        request.headers_mut().extend(self.headers.clone());
        if let Some(kind) = kind {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        self.app.send(self.peer, request).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Body::empty()).await
    }

    /// POST with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some("application/json"), body.to_string())
            .await
    }

    /// PATCH with JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some("application/json"), body.to_string())
            .await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, Body::empty()).await
    }

    /// POST of a browser's form.
    pub async fn post_form(&self, path: &str, form: &Form) -> Answer {
        let kind = format!("multipart/form-data; boundary={}", Form::BOUNDARY);
        self.send(Method::POST, path, Some(&kind), form.encode()).await
    }
}

/// A multipart form whose parts go out in the order they were added.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<u8>);

impl Form {
    const BOUNDARY: &str = "----testboundary7MA4YWxkTrZu0gW";

    /// An empty form.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a text field.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.part(
            &format!("Content-Disposition: form-data; name=\"{name}\""),
            value.as_bytes(),
        )
    }

    /// The same with a file.
    pub fn file(self, name: &str, filename: &str, kind: &str, content: &[u8]) -> Self {
        self.part(
            &format!(
                "Content-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: {kind}"
            ),
            content,
        )
    }

    fn part(mut self, head: &str, content: &[u8]) -> Self {
        self.0
            .extend(format!("--{}\r\n{head}\r\n\r\n", Self::BOUNDARY).as_bytes());
        self.0.extend(content);
        self.0.extend(b"\r\n");
        self
    }

    /// The body, ready to be sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.0.clone();
        body.extend(format!("--{}--\r\n", Self::BOUNDARY).as_bytes());
        body
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The status as a number.
    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }

    /// A header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The answer, after a look at its status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.code(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}
