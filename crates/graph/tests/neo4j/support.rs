//! An empty database for each test, and items to put into it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Lock};

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{ChunkVector, KnowledgeStore as _, PublishOutcome};
use mnemosyne_domain::{
    ChunkUid, ConceptKind, ConceptMention, ItemUid, Library, LibraryType, NewChunk, NewItem, NewLibrary,
    VectorSpace, WorkspaceId,
};
use mnemosyne_graph::neo4j::{Neo4jSettings, Neo4jStore};
use neo4rs::{ConfigBuilder, Graph, Query};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The server's URL, with user and password.
pub(crate) fn url() -> String {
    std::env::var("MNEMOSYNE_TEST_NEO4J_URL").expect(
        "MNEMOSYNE_TEST_NEO4J_URL is missing; run this as \
         `tests/services/run neo4j-5 -- cargo test -p mnemosyne-graph --features services --test neo4j`",
    )
}

pub(crate) fn settings() -> Neo4jSettings {
    Neo4jSettings {
        system_space: Some(space("conformance", 48)),
        ..Neo4jSettings::from_url(&url()).unwrap()
    }
}

pub(crate) fn connect(settings: Neo4jSettings) -> Neo4jStore {
    Neo4jStore::connect_lazy(settings).unwrap()
}

/// The server itself, past the store.
pub(crate) fn server() -> Graph {
    let address = settings().address;
    let config = ConfigBuilder::default()
        .uri(address.url)
        .user(address.user)
        .password(address.password)
        .build()
        .unwrap();
    Graph::connect(config).unwrap()
}

pub(crate) async fn run(graph: &Graph, text: &str) {
    graph.run(Query::new(text.to_owned())).await.unwrap();
}

/// The number that a statement returns as `n`.
pub(crate) async fn number(graph: &Graph, text: &str) -> i64 {
    let mut rows = graph.execute(Query::new(text.to_owned())).await.unwrap();
    rows.next().await.unwrap().unwrap().get("n").unwrap()
}

pub(crate) async fn texts(graph: &Graph, text: &str) -> Vec<String> {
    let mut rows = graph.execute(Query::new(text.to_owned())).await.unwrap();
    let mut found = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        found.push(row.get("n").unwrap());
    }
    found
}

/// Waits for the turn of this test, and removes all nodes and the indexes over vectors. Other indexes and constraints
/// stay: an empty one is as good as a new one.
pub(crate) async fn empty() -> MutexGuard<'static, ()> {
    let turn = ONE_AT_A_TIME.lock().await;
    let graph = server();
    let some = "MATCH (n) WITH n LIMIT 5000 DETACH DELETE n RETURN count(*) AS n";
    while number(&graph, some).await > 0 {}
    for name in texts(
        &graph,
        "SHOW INDEXES YIELD name, type WHERE type = 'VECTOR' RETURN name AS n",
    )
    .await
    {
        run(&graph, &format!("DROP INDEX {name}")).await;
    }
    turn
}

/// A store over an empty database that was set up.
pub(crate) async fn fresh() -> (Neo4jStore, MutexGuard<'static, ()>) {
    let turn = empty().await;
    let store = connect(settings());
    store.setup().await.unwrap();
    (store, turn)
}

/// What clients have sent so far.
pub(crate) type Sent = Arc<Lock<Vec<u8>>>;

/// Hands every connection on to the server; returns the address, and what clients have sent so far. Once a client has sent
/// `last_words`, it hears nothing more.
pub(crate) async fn listen_in(server: String, last_words: Option<&'static [u8]>) -> (SocketAddr, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Sent::default();
    let heard = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&server).await.unwrap();
            let heard = Arc::clone(&heard);
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (near.into_split(), far.into_split());
            let is_deaf = Arc::new(AtomicBool::new(false));
            let deaf = Arc::clone(&is_deaf);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    if !deaf.load(Ordering::SeqCst) {
                        to_client.write_all(&buffer[..read]).await.unwrap();
                    }
                }
            });
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    let sent = &buffer[..read];
                    if last_words.is_some_and(|words| sent.windows(words.len()).any(|window| window == words))
                    {
                        is_deaf.store(true, Ordering::SeqCst);
                    }
                    heard.lock().unwrap().extend_from_slice(sent);
                    to_server.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    (address, sent)
}

/// Whether the server makes indexes of vectors that narrow a search to a library.
pub(crate) async fn narrows(graph: &Graph) -> bool {
    let versions =
        "CALL dbms.components() YIELD name, versions WHERE name = 'Neo4j Kernel' RETURN versions[0] AS n";
    let year: u32 = texts(graph, versions).await[0]
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    year >= 2026
}

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(crate) fn space(model: &str, dimension: usize) -> VectorSpace {
    VectorSpace {
        model: model.to_owned(),
        dimension,
    }
}

pub(crate) fn new_library(name: &str, workspace: Option<&str>) -> NewLibrary {
    NewLibrary {
        name: name.to_owned(),
        workspace_id: workspace.map(|workspace| WorkspaceId::parse(workspace).unwrap()),
        library_type: LibraryType::Journal,
        description: String::new(),
    }
}

/// A library whose vectors are of the space.
pub(crate) async fn library(
    store: &Neo4jStore,
    name: &str,
    workspace: Option<&str>,
    space: &VectorSpace,
) -> Library {
    let made = store
        .create_library(new_library(name, workspace), now())
        .await
        .unwrap();
    store.adopt_model(&made.uid, space).await.unwrap();
    made
}

/// Numbers that look random and repeat.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From -1 to 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// A vector of length 1 near to `centre`, the nearer the smaller `spread` is.
    pub(crate) fn near(&mut self, centre: &[f32], spread: f32) -> Vec<f32> {
        let mut vector: Vec<f32> = centre.iter().map(|value| value + spread * self.float()).collect();
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        vector
    }
}

/// Stages an item with its chunks and vectors, and one concept that all its chunks mention.
pub(crate) async fn stage(
    store: &Neo4jStore,
    library: &Library,
    space: &VectorSpace,
    source: (&str, i64),
    chunks: &[(String, Vec<f32>)],
) -> ItemUid {
    let uid = ItemUid::generate();
    let (source_ref, revision) = source;
    let collection = store.default_collection(&library.uid).await.unwrap().uid;
    let item = NewItem {
        uid: uid.clone(),
        library_uid: library.uid.clone(),
        collection_uid: collection,
        title: source_ref.to_owned(),
        source_ref: source_ref.to_owned(),
        content_hash: String::new(),
        revision,
        filename: format!("{source_ref}.txt"),
        content_type: "text/plain".to_owned(),
        byte_size: 1,
        original_digest: String::new(),
        text_digest: String::new(),
        authors: Vec::new(),
        language: None,
        page_count: None,
        extraction: "ok".to_owned(),
        metadata: serde_json::Map::new(),
        created_at: now(),
    };
    store.stage_item(item).await.unwrap();
    let new: Vec<NewChunk> = chunks
        .iter()
        .zip(0..)
        .map(|((text, _), position)| NewChunk {
            uid: ChunkUid::derive(&uid, position),
            position,
            text: text.clone(),
            heading_path: Vec::new(),
            page: None,
            byte_start: 0,
            byte_end: text.len() as u64,
        })
        .collect();
    store.stage_chunks(&uid, &new).await.unwrap();
    let vectors: Vec<ChunkVector> = chunks
        .iter()
        .zip(&new)
        .map(|((_, vector), chunk)| ChunkVector {
            chunk_uid: chunk.uid.clone(),
            vector: vector.clone(),
        })
        .collect();
    store.put_vectors(space, &vectors).await.unwrap();
    let concept = |name: &str| ConceptMention {
        name: name.to_owned(),
        kind: ConceptKind::Topic,
        extracted_by: "local".to_owned(),
        chunk_positions: (0..new.len() as u32).collect(),
        weight: 0.5,
    };
    let concepts = [concept("Shared concept"), concept("Another one")];
    store.stage_concepts(&uid, &concepts).await.unwrap();
    uid
}

pub(crate) async fn publish(
    store: &Neo4jStore,
    library: &Library,
    space: &VectorSpace,
    source: (&str, i64),
    chunks: &[(String, Vec<f32>)],
) -> ItemUid {
    let uid = stage(store, library, space, source, chunks).await;
    let outcome = store
        .publish_item(&uid, chunks.len() as u64, now())
        .await
        .unwrap();
    assert!(matches!(outcome, PublishOutcome::Published { .. }));
    uid
}
