//! What the benchmark of the fleet (`benches/fleet.py`) asks with and is answered by, cheap enough not to be measured itself:
//!
//! - `load embedder --dimension D`: an embedding server that answers with vectors made beforehand, one batch after the other as a
//!   GPU does. `GET /pause/N` makes each batch take N milliseconds and begins to count anew; `GET /stats` tells how long it was busy.
//! - `load reads --rate R --seconds S --connections C URL…`: so many GET requests a second, spread evenly over the URLs. A request
//!   that begins late because others took long counts from the moment it was due.
//! - `load posts --connections C URL`: one POST for each line of standard input, as fast as they are answered.
//!
//! The header `Authorization` is taken from the environment variable `LOAD_AUTHORIZATION`. Figures are printed as JSON.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mnemosyne_benches::{Clusters, Runs, argument};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("embedder") => embedder().await,
        Some("reads") => reads().await,
        Some("posts") => posts().await,
        other => panic!("load embedder, reads or posts, not {other:?}"),
    }
}

// --- HTTP/1.1, as little as both sides need --------------------------------------------------------------------------

/// The first line and the body of a request or an answer. `None` where the other side has ended.
async fn receive(stream: &mut BufStream<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
    }
    let mut body = Vec::new();
    if !chunked {
        body.resize(length, 0);
        stream.read_exact(&mut body).await.ok()?;
        return Some((first, body));
    }
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let begin = body.len();
        body.resize(begin + size + 2, 0);
        stream.read_exact(&mut body[begin..]).await.ok()?;
        body.truncate(begin + size);
        if size == 0 {
            return Some((first, body));
        }
    }
}

/// A connection to the host of a URL, opened again where the server has closed it.
struct Client {
    host: String,
    stream: Option<BufStream<TcpStream>>,
}

/// The host with its port, and the path.
fn parts(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (host.to_owned(), format!("/{path}"))
}

impl Client {
    fn new(host: String) -> Self {
        Self { host, stream: None }
    }

    /// The status of the answer; 0 where there was none.
    async fn send(&mut self, head: &str, body: &[u8]) -> u16 {
        if self.stream.is_none() {
            let Ok(stream) = TcpStream::connect(&self.host).await else {
                return 0;
            };
            stream.set_nodelay(true).unwrap();
            self.stream = Some(BufStream::new(stream));
        }
        let stream = self.stream.as_mut().unwrap();
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            stream.flush().await
        };
        let status = match sent.await {
            Ok(()) => receive(stream)
                .await
                .and_then(|(first, _)| first.split(' ').nth(1)?.parse().ok()),
            Err(_) => None,
        };
        if status.is_none() {
            self.stream = None;
        }
        status.unwrap_or(0)
    }
}

fn head(method: &str, host: &str, path: &str, length: usize) -> String {
    let authorization = std::env::var("LOAD_AUTHORIZATION").unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

fn urls() -> Vec<String> {
    std::env::args()
        .filter(|argument| argument.starts_with("http://"))
        .collect()
}

// --- the embedder ----------------------------------------------------------------------------------------------------

#[derive(Default)]
struct Stats {
    pause: Duration,
    requests: usize,
    texts: usize,
    busy: Duration,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Written as JSON once, so that answering costs nothing.
const VECTORS: usize = 1_000;

async fn embedder() {
    let mut rng = StdRng::seed_from_u64(1);
    let clusters = Clusters::new(50, argument("dimension", 1_024), &mut rng);
    let vectors: Arc<Vec<String>> = Arc::new(
        (0..VECTORS)
            .map(|_| serde_json::to_string(&clusters.vector(&mut rng)).unwrap())
            .collect(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let stats = Arc::new(Mutex::new(Stats::default()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (stats, vectors) = (Arc::clone(&stats), Arc::clone(&vectors));
        tokio::spawn(async move {
            let mut stream = BufStream::new(stream);
            while let Some((first, body)) = receive(&mut stream).await {
                let answer = if first.starts_with("GET /stats") {
                    told(&*stats.lock().await)
                } else if let Some(rest) = first.strip_prefix("GET /pause/") {
                    let pause = rest.split(' ').next().unwrap().parse().unwrap();
                    let pause = Duration::from_millis(pause);
                    *stats.lock().await = Stats {
                        pause,
                        ..Stats::default()
                    };
                    "{}".to_owned()
                } else {
                    embed(&body, &vectors, &stats).await
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    answer.len()
                );
                let sent = async {
                    stream.write_all(head.as_bytes()).await?;
                    stream.write_all(answer.as_bytes()).await?;
                    stream.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
            }
        });
    }
}

/// One batch at a time: who holds the lock is computed, the others wait.
async fn embed(body: &[u8], vectors: &[String], stats: &Mutex<Stats>) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    let texts = body["input"].as_array().map_or(1, Vec::len);
    let mut stats = stats.lock().await;
    let began = Instant::now();
    stats.first.get_or_insert(began);
    if !stats.pause.is_zero() {
        tokio::time::sleep(stats.pause).await;
    }
    let data: Vec<String> = (0..texts)
        .map(|index| {
            let vector = &vectors[(stats.texts + index) % vectors.len()];
            format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
        })
        .collect();
    let ended = Instant::now();
    stats.requests += 1;
    stats.texts += texts;
    stats.busy += ended - began;
    stats.last = Some(ended);
    format!(
        r#"{{"object":"list","data":[{}],"model":"bench"}}"#,
        data.join(",")
    )
}

fn told(stats: &Stats) -> String {
    let span = stats
        .first
        .zip(stats.last)
        .map_or(Duration::ZERO, |(first, last)| last - first);
    json!({
        "requests": stats.requests,
        "texts": stats.texts,
        "busy_ms": stats.busy.as_secs_f64() * 1e3,
        "span_ms": span.as_secs_f64() * 1e3,
    })
    .to_string()
}

// --- requests --------------------------------------------------------------------------------------------------------

async fn reads() {
    let rate = argument("rate", 1_000);
    let total = rate * argument("seconds", 20);
    let targets: Arc<Vec<(String, String)>> = Arc::new(
        urls()
            .iter()
            .map(|url| {
                let (host, path) = parts(url);
                (host.clone(), head("GET", &host, &path, 0))
            })
            .collect(),
    );
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now() + Duration::from_millis(200);
    let clients: Vec<_> = (0..argument("connections", 32))
        .map(|_| {
            let (targets, next) = (Arc::clone(&targets), Arc::clone(&next));
            tokio::spawn(async move {
                let mut client = Client::new(targets[0].0.clone());
                let (mut times, mut failed) = (Vec::new(), 0_usize);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return (times, failed);
                    }
                    let due = began + Duration::from_secs_f64(number as f64 / rate as f64);
                    tokio::time::sleep_until(due.into()).await;
                    let status = client.send(&targets[number % targets.len()].1, b"").await;
                    times.push((number % targets.len(), due.elapsed()));
                    failed += usize::from(status != 200);
                }
            })
        })
        .collect();
    let (mut times, mut failed) = (Vec::new(), 0);
    for client in clients {
        let (some, bad) = client.await.unwrap();
        times.extend(some);
        failed += bad;
    }
    let took = began.elapsed().as_secs_f64();
    let figures = |of: Option<usize>| {
        let runs = Runs::new(
            times
                .iter()
                .filter(|(target, _)| of.is_none_or(|of| of == *target))
                .map(|(_, time)| *time)
                .collect(),
        );
        let ms = |share| runs.quantile(share).as_secs_f64() * 1e3;
        json!({ "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0) })
    };
    let each: Vec<Value> = (0..targets.len()).map(|target| figures(Some(target))).collect();
    println!(
        "{}",
        json!({ "requests": total, "failed": failed, "per_second": total as f64 / took, "all": figures(None), "each": each })
    );
}

async fn posts() {
    let url = urls().remove(0);
    let bodies: Arc<Vec<String>> = Arc::new(std::io::stdin().lines().map(Result::unwrap).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let clients: Vec<_> = (0..argument("connections", 4))
        .map(|_| {
            let (bodies, next, (host, path)) = (Arc::clone(&bodies), Arc::clone(&next), parts(&url));
            tokio::spawn(async move {
                let mut client = Client::new(host.clone());
                let mut failed = 0_usize;
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let status = client
                        .send(&head("POST", &host, &path, body.len()), body.as_bytes())
                        .await;
                    failed += usize::from(!(200..300).contains(&status));
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for client in clients {
        failed += client.await.unwrap();
    }
    println!(
        "{}",
        json!({ "requests": bodies.len(), "failed": failed, "seconds": began.elapsed().as_secs_f64() })
    );
}
