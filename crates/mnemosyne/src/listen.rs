//! Serves HTTP on a socket in such a way that no client can hold a connection for ever: not by saying nothing, not by
//! saying it slowly, and not by leaving its answer unread. How long a body may take is the matter of who reads it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What a server grants its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Connections at once; further ones wait in the system's queue until one ends.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and how long a connection may be idle between two.
    pub(crate) head: Duration,
    /// How long a client may leave what it was sent unread.
    pub(crate) unread: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            // Two servers in one process stay below the 1,024 open files that many systems grant.
            connections: 384,
            head: Duration::from_secs(30),
            unread: Duration::from_secs(60),
        }
    }
}

/// How long to wait where the system grants no further connection.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves until `stop`; then no connection is taken any more, idle ones are closed, and the function returns when the open
/// requests are answered. Requests carry the address of their connection, without which no proxy could be trusted.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    while let Some(Some((stream, peer, place))) = stop.run_until_cancelled(accept(&listener, &places)).await {
        while open.try_join_next().is_some() {}
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            converse(stream, peer, router, limits, stop).await;
            drop(place);
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// The next connection with its place; `None` never, as long as there are places.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer, place)),
            // The client was gone again before it was its turn.
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(Impatient::new(stream, limits.unread)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended before its time");
    }
}

/// A connection that breaks where the other side leaves what it was sent unread for too long.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
        }
    }

    /// The outcome of an attempt to write; an error where all attempts of late were in vain.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const ENDLESS: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(100);

    fn patient() -> ConnectionLimits {
        ConnectionLimits {
            connections: 8,
            head: ENDLESS,
            unread: ENDLESS,
        }
    }

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        server: JoinHandle<()>,
    }

    async fn start(router: Router, limits: ConnectionLimits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Running {
            address,
            stop,
            server,
        }
    }

    impl Running {
        async fn say(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }

        /// Everything that is answered until the server closes.
        async fn ask(&self, path: &str) -> String {
            let mut stream = self
                .say(&format!(
                    "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                ))
                .await;
            rest(&mut stream).await
        }
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        // A server that gives up may reset the connection instead of closing it.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn hello() -> Router {
        let peer = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        Router::new().route("/", get(peer))
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_head_is_let_go() {
        let limits = ConnectionLimits {
            head: SHORT,
            ..patient()
        };
        let running = start(hello(), limits).await;
        for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let mut stream = running.say(beginning).await;
            let said = rest(&mut stream).await;
            assert!(!said.contains("127.0.0.1"), "{said}");
        }
        // So is one that was answered and asks nothing more.
        let mut stream = running.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(rest(&mut stream).await.ends_with("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_client_that_leaves_its_answer_unread_is_let_go() {
        let router = hello().route("/large/", get(|| async { vec![b'x'; 64 << 20] }));
        let limits = ConnectionLimits {
            connections: 1,
            unread: SHORT,
            ..patient()
        };
        let running = start(router, limits).await;
        let stalled = running.say("GET /large/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(running.ask("/").await.ends_with("127.0.0.1"));
        drop(stalled);
        // One that reads gets all of it.
        assert!(running.ask("/large/").await.len() > 64 << 20);
    }

    #[tokio::test]
    async fn there_are_never_more_connections_than_allowed() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Semaphore::new(0));
        let (inside, highest, closed) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&gate));
        let handler = move || {
            let (now, most, gate) = (Arc::clone(&inside), Arc::clone(&highest), Arc::clone(&closed));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.acquire().await.unwrap().forget();
                now.fetch_sub(1, Ordering::SeqCst);
                "done"
            }
        };
        let limits = ConnectionLimits {
            connections: 2,
            ..patient()
        };
        let running = start(Router::new().route("/", get(handler)), limits).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(
                running
                    .say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .await,
            );
        }
        while now.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        for mut client in clients {
            gate.add_permits(1);
            assert!(rest(&mut client).await.ends_with("done"));
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_end_waits_for_answers_and_not_for_idle_clients() {
        let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, closed) = (Arc::clone(&begun), Arc::clone(&gate));
        let slow = move || {
            let (begun, gate) = (Arc::clone(&told), Arc::clone(&closed));
            async move {
                begun.notify_one();
                gate.notified().await;
                "slow"
            }
        };
        let running = start(hello().route("/slow/", get(slow)), patient()).await;
        let mut idle = running.say("").await;
        let mut busy = running.say("GET /slow/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        begun.notified().await;
        running.stop.cancel();
        assert_eq!(rest(&mut idle).await, "");
        gate.notify_one();
        assert!(rest(&mut busy).await.ends_with("slow"));
        running.server.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }
}
