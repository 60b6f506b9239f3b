//! A cache on Memcached servers (1.6 or newer: the meta protocol is spoken).
//!
//! Nothing waits for longer than [`DEADLINE`], and nothing fails: what goes wrong is a miss, and counted. A server that
//! failed a few times in a row is left alone for a second, in which calls miss at once; then one call tries it again.
//!
//! An entry begins with the moment at which it ends, because the servers count whole seconds only.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes, BytesMut};
use memcache::exp::{AsyncMetaClient, Error, Ttl};
use mnemosyne_domain::ports::{Cache, CacheCounters, Health};
use mnemosyne_domain::{StoreError, StoreResult};
use sha2::{Digest, Sha256};

/// The longest that any call takes.
pub const DEADLINE: Duration = Duration::from_millis(250);

/// The port of a server that is named without one.
const DEFAULT_PORT: u16 = 11_211;
/// The version in each key, as Django writes it.
const KEY_VERSION: u32 = 1;
/// The longest key that the protocol knows, in bytes.
const MAX_KEY: usize = 250;
/// The largest entry: a megabyte, which is the servers' default, without what they keep beside key and value.
const MAX_ENTRY: usize = 1024 * 1024 - 512;
/// Bytes of the moment at which an entry ends.
const MOMENT: usize = 8;
/// The longest that an entry is kept; the protocol's moments have 32 bits.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How many failures in a row open the circuit.
const FAILURES_TO_OPEN: u32 = 3;
/// How long the circuit stays open, in milliseconds.
const OPEN_FOR: u64 = 1_000;
/// How many connections to one server may be in use.
const MAX_CONNECTIONS: usize = 64;

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    skipped: AtomicU64,
}

/// A cache on one or several servers; each key belongs to one of them. Cheap to clone.
#[derive(Clone)]
pub struct MemcachedCache {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Vec<Server>,
    prefix: String,
    counters: Counters,
}

impl fmt::Debug for MemcachedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self
            .inner
            .servers
            .iter()
            .map(|server| server.address.as_str())
            .collect();
        f.debug_struct("MemcachedCache")
            .field("servers", &addresses)
            .field("prefix", &self.inner.prefix)
            .finish_non_exhaustive()
    }
}

/// One server.
struct Server {
    address: String,
    circuit: Circuit,
    /// Made at the first call, and made anew after failures: the address may belong to another machine then.
    client: Mutex<Option<AsyncMetaClient>>,
}

/// What a call came to.
enum Outcome<T> {
    Done(T),
    Failed,
    Skipped,
}

impl MemcachedCache {
    /// A cache on these servers: `host`, `host:port` or `[address]:port`, several of them separated by commas or
    /// semicolons. Connects to nothing: the servers may be away. Fails with [`StoreError::Unavailable`] where this names
    /// no server.
    pub fn open(location: &str, prefix: &str) -> StoreResult<Self> {
        let servers = addresses(location)
            .map_err(StoreError::Unavailable)?
            .into_iter()
            .map(|address| Server {
                address,
                circuit: Circuit::new(),
                client: Mutex::new(None),
            })
            .collect();
        Ok(Self {
            inner: Arc::new(Inner {
                servers,
                prefix: prefix.to_owned(),
                counters: Counters::default(),
            }),
        })
    }

    fn key(&self, key: &str) -> String {
        full_key(&self.inner.prefix, key)
    }

    /// Does something on the server that a key belongs to. `what` is for the log.
    async fn on_server<T, F>(
        &self,
        key: &str,
        what: &str,
        call: impl FnOnce(AsyncMetaClient) -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = memcache::exp::Result<T>>,
    {
        let counters = &self.inner.counters;
        let Some(server) = server_of(&self.inner.servers, key) else {
            return Outcome::Skipped;
        };
        if !server.circuit.lets_through() {
            counters.skipped.fetch_add(1, Ordering::Relaxed);
            return Outcome::Skipped;
        }
        let failure = match server.within(call).await {
            Ok(value) => {
                server.circuit.succeeded();
                return Outcome::Done(value);
            }
            Err(failure) => failure,
        };
        counters.failures.fetch_add(1, Ordering::Relaxed);
        if failure.server_answered {
            server.circuit.succeeded();
        } else {
            server.failed();
        }
        tracing::debug!(
            server = server.address,
            what,
            reason = failure.reason,
            "the cache failed"
        );
        Outcome::Failed
    }
}

/// Why a call failed.
struct Failure {
    reason: String,
    /// The server is there, it only refused this.
    server_answered: bool,
}

impl Server {
    /// Does something within the deadline, the time to find and to reach the server included.
    async fn within<T, F>(&self, call: impl FnOnce(AsyncMetaClient) -> F) -> Result<T, Failure>
    where
        F: Future<Output = memcache::exp::Result<T>>,
    {
        let whole = async { call(self.client().await?).await };
        match tokio::time::timeout(DEADLINE, whole).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure {
                server_answered: matches!(error, Error::Server(_) | Error::Rejected(_) | Error::Usage(_)),
                reason: reason(&error),
            }),
            Err(_) => Err(Failure {
                reason: format!("no answer within {} ms", DEADLINE.as_millis()),
                server_answered: false,
            }),
        }
    }

    async fn client(&self) -> memcache::exp::Result<AsyncMetaClient> {
        if let Some(client) = self.held().as_ref() {
            return Ok(client.clone());
        }
        let client = AsyncMetaClient::builder()
            .connect_timeout(Some(DEADLINE))
            .io_timeout(Some(DEADLINE))
            .max_connections(Some(MAX_CONNECTIONS))
            .connect_async(self.address.clone())
            .await?;
        Ok(self.held().get_or_insert(client).clone())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<AsyncMetaClient>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) {
        if self.circuit.failed() {
            *self.held() = None;
            tracing::warn!(
                server = self.address,
                "Memcached does not answer; calls go on without it"
            );
        }
    }
}

/// The words of an error, without the key, which may tell what a person searched for.
fn reason(error: &Error) -> String {
    match error {
        Error::Timeout { .. } => "no answer in time".to_owned(),
        Error::Ambiguous { source, .. } => reason(source),
        other => other.to_string(),
    }
}

/// Lets calls through while a server answers; after failures, one call in a while.
struct Circuit {
    begun: Instant,
    failures: AtomicU32,
    /// Milliseconds after `begun` until which it is open; 0 where it is closed.
    open_until: AtomicU64,
}

impl Circuit {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lets_through(&self) -> bool {
        self.lets_through_at(self.now())
    }

    fn lets_through_at(&self, now: u64) -> bool {
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until == 0 {
            return true;
        }
        // The one that moves the moment on is the one that tries.
        now >= open_until
            && self
                .open_until
                .compare_exchange(open_until, now + OPEN_FOR, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn succeeded(&self) {
        self.failures.store(0, Ordering::Release);
        self.open_until.store(0, Ordering::Release);
    }

    /// Notes a failure; whether the circuit opened just now.
    fn failed(&self) -> bool {
        self.failed_at(self.now())
    }

    fn failed_at(&self, now: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures < FAILURES_TO_OPEN {
            return false;
        }
        self.open_until.swap(now + OPEN_FOR, Ordering::AcqRel) == 0
    }
}

/// The servers that a setting names.
fn addresses(location: &str) -> Result<Vec<String>, String> {
    let named = location
        .split([',', ';'])
        .map(str::trim)
        .filter(|address| !address.is_empty());
    let addresses = named.map(address).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err("no Memcached server is named".to_owned());
    }
    Ok(addresses)
}

fn address(text: &str) -> Result<String, String> {
    let unusable = || format!("{text} is no Memcached server; host:port is expected");
    if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{address}]:{DEFAULT_PORT}"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or_else(unusable)?;
            let inside: std::net::Ipv6Addr = inside.parse().map_err(|_| unusable())?;
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':').ok_or_else(unusable)?),
            };
            (format!("[{inside}]"), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(unusable());
    }
    let port = match port {
        Some(port) => port.parse::<u16>().map_err(|_| unusable())?,
        None => DEFAULT_PORT,
    };
    Ok(format!("{host}:{port}"))
}

/// The key on the server: prefix, version and key as Django joins them. A key that the protocol does not take, for its
/// length or its bytes, is replaced by its digest; so is one that looks like such a digest.
fn full_key(prefix: &str, key: &str) -> String {
    let full = format!("{prefix}:{KEY_VERSION}:{key}");
    let is_plain = full.len() <= MAX_KEY && full.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && !key.starts_with('#') {
        return full;
    }
    let digest = hex::encode(Sha256::digest(&full));
    let hashed = format!("{prefix}:{KEY_VERSION}:#{digest}");
    if hashed.len() <= MAX_KEY && hashed.bytes().all(|byte| byte.is_ascii_graphic()) {
        hashed
    } else {
        format!("#{digest}")
    }
}

/// The server that a key belongs to. Each server has a rank for each key, so that one server more or less moves its own
/// keys only.
fn server_of<'a>(servers: &'a [Server], key: &str) -> Option<&'a Server> {
    servers.iter().max_by_key(|server| {
        let mut hasher = DefaultHasher::new();
        (&server.address, key).hash(&mut hasher);
        hasher.finish()
    })
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The value of an entry, unless its time is over.
fn value_of(entry: Vec<u8>, now: u64) -> Option<Bytes> {
    let mut entry = Bytes::from(entry);
    let ends = entry.try_get_u64().ok()?;
    (now < ends).then_some(entry)
}

#[async_trait::async_trait]
impl Health for MemcachedCache {
    /// Every server must answer, whatever the circuit says.
    async fn check(&self) -> StoreResult<()> {
        for server in &self.inner.servers {
            let asked = server.within(|client| async move { client.noop().await });
            if let Err(failure) = asked.await {
                server.failed();
                return Err(StoreError::Unavailable(format!(
                    "Memcached at {} does not answer: {}",
                    server.address, failure.reason
                )));
            }
            server.circuit.succeeded();
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Cache for MemcachedCache {
    async fn get(&self, key: &str) -> Option<Bytes> {
        let key = self.key(key);
        let asked = self.on_server(&key, "get", |client| {
            let request = key.clone();
            async move { client.get(request).send().await }
        });
        let found = match asked.await {
            Outcome::Done(found) => found.value.and_then(|entry| value_of(entry, unix_millis())),
            Outcome::Failed | Outcome::Skipped => None,
        };
        let counters = &self.inner.counters;
        let counter = match found {
            Some(_) => &counters.hits,
            None => &counters.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    async fn put(&self, key: &str, value: Bytes, keep: Duration) {
        let full = self.key(key);
        if keep.is_zero() || full.len() + MOMENT + value.len() > MAX_ENTRY {
            // What was there before must not come back in its place.
            self.forget(key).await;
            return;
        }
        let keep = keep.min(LONGEST);
        let ends = unix_millis().saturating_add(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let mut entry = BytesMut::with_capacity(MOMENT + value.len());
        entry.extend_from_slice(&ends.to_be_bytes());
        entry.extend_from_slice(&value);
        let stored = self.on_server(&full, "set", |client| {
            let request = full.clone();
            async move { client.set(request, entry).ttl(Ttl::from(keep)).send().await }
        });
        stored.await;
    }

    async fn forget(&self, key: &str) {
        let key = self.key(key);
        let forgotten = self.on_server(&key, "delete", |client| {
            let request = key.clone();
            async move { client.delete(request).send().await }
        });
        forgotten.await;
    }

    fn counters(&self) -> Option<CacheCounters> {
        let counters = &self.inner.counters;
        Some(CacheCounters {
            hits: counters.hits.load(Ordering::Relaxed),
            misses: counters.misses.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            skipped: counters.skipped.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_as_django_names_them() {
        let read = |location: &str| addresses(location).map(|addresses| addresses.join(" "));
        for (location, expected) in [
            ("oberon.incus:11211", "oberon.incus:11211"),
            ("oberon", "oberon:11211"),
            ("a:1,b;c:3", "a:1 b:11211 c:3"),
            (" a:1 ; , b:2 ;", "a:1 b:2"),
            ("10.0.0.1", "10.0.0.1:11211"),
            ("[::1]:7, ::1; [fd00::2]", "[::1]:7 [::1]:11211 [fd00::2]:11211"),
        ] {
            assert_eq!(read(location).as_deref(), Ok(expected));
        }
        for bad in [
            "",
            " ; ",
            "a:",
            "a:b",
            "a:99999",
            ":11211",
            "unix:/run/memcached.sock",
            "/run/memcached.sock",
            "[::1",
            "[::1]x",
            "[a]:1",
            "a b:1",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_have_prefix_and_version_and_fit_the_protocol() {
        assert_eq!(full_key("mnemosyne", "a:b"), "mnemosyne:1:a:b");
        assert_eq!(full_key("", "a"), ":1:a");
        let longest = "k".repeat(MAX_KEY - "mnemosyne:1:".len());
        assert_eq!(full_key("mnemosyne", &longest).len(), MAX_KEY);
        let odd = ["with space", "line\r\nbreak", "schlüssel", "\u{7f}"];
        let long = format!("{longest}k");
        let mut seen = std::collections::BTreeSet::new();
        for (prefix, key) in odd.map(|key| ("mnemosyne", key)).into_iter().chain([
            ("mnemosyne", long.as_str()),
            ("pre fix", "k"),
            (long.as_str(), "k"),
        ]) {
            let full = full_key(prefix, key);
            assert!(
                full.len() <= MAX_KEY && full.bytes().all(|byte| byte.is_ascii_graphic()),
                "{full}"
            );
            assert!(seen.insert(full.clone()), "{full}");
            if prefix == "mnemosyne" {
                assert!(full.starts_with("mnemosyne:1:#"), "{full}");
                let forged = full.trim_start_matches("mnemosyne:1:");
                assert_ne!(
                    full_key("mnemosyne", forged),
                    full,
                    "a key that looks like a digest is another key"
                );
            }
        }
    }

    #[test]
    fn an_entry_ends_at_its_moment() {
        let entry = || [&1_000_u64.to_be_bytes()[..], b"value"].concat();
        assert_eq!(value_of(entry(), 999).as_deref(), Some(&b"value"[..]));
        assert_eq!(value_of(entry(), 1_000), None);
        assert_eq!(value_of(entry()[..8].to_vec(), 0).as_deref(), Some(&b""[..]));
        assert_eq!(value_of(b"foreign".to_vec(), 0), None);
    }

    #[test]
    fn a_circuit_opens_after_failures_and_lets_one_call_try() {
        let circuit = Circuit::new();
        assert!(!circuit.failed_at(0));
        assert!(!circuit.failed_at(0));
        circuit.succeeded();
        for now in 0..2 {
            assert!(!circuit.failed_at(now));
            assert!(circuit.lets_through_at(now), "failures in a row count");
        }
        assert!(circuit.failed_at(10), "it opens");
        assert!(!circuit.failed_at(10), "it is open already");
        assert!(!circuit.lets_through_at(10 + OPEN_FOR - 1));
        assert!(circuit.lets_through_at(10 + OPEN_FOR));
        assert!(!circuit.lets_through_at(10 + OPEN_FOR), "one call tries");
        circuit.failed_at(20 + OPEN_FOR);
        assert!(!circuit.lets_through_at(20 + OPEN_FOR));
        circuit.succeeded();
        assert!(circuit.lets_through_at(20 + OPEN_FOR));
    }

    #[test]
    fn one_server_less_moves_its_own_keys_only() {
        let server = |address: &str| Server {
            address: address.to_owned(),
            circuit: Circuit::new(),
            client: Mutex::new(None),
        };
        let three = [server("a:1"), server("b:1"), server("c:1")];
        let two = [server("a:1"), server("c:1")];
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..3_000 {
            let key = format!("m:1:{number}");
            let before = server_of(&three, &key).unwrap().address.clone();
            if before != "b:1" {
                assert_eq!(server_of(&two, &key).unwrap().address, before);
            }
            *counts.entry(before).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| *count > 800), "{counts:?}");
    }
}
