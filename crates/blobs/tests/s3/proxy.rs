//! Stands between a client and the real server, and makes what goes wrong between them. Every connection carries one
//! request.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to a request.
pub(crate) enum Fault {
    /// It is passed on, and so is its answer.
    None,
    /// The server is said to answer with this status, code and words.
    Answer(u16, &'static str, &'static str),
    /// No answer comes.
    Silence,
    /// The connection breaks after this many bytes of the request.
    CutRequest(usize),
    /// The connection breaks after this many bytes of the answer.
    CutAnswer(usize),
}

/// A way to the real server.
pub(crate) struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Asks `fault` about the head of every request.
    pub(crate) async fn start(fault: impl Fn(&str) -> Fault + Send + Sync + 'static) -> Self {
        let server = crate::endpoint().trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let fault = Arc::new(fault);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, seen, fault) = (server.clone(), Arc::clone(&seen), Arc::clone(&fault));
                tokio::spawn(async move {
                    // A client that went away is no news.
                    let _ = carry(client, &server, &seen, fault.as_ref()).await;
                });
            }
        });
        Self { port, heads, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// How many requests of this method there were.
    pub(crate) fn count(&self, method: &str) -> usize {
        let start = format!("{method} ");
        self.heads()
            .iter()
            .filter(|head| head.starts_with(&start))
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    server: &str,
    seen: &Mutex<Vec<String>>,
    fault: &(impl Fn(&str) -> Fault + Send + Sync),
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    seen.lock().unwrap().push(head.clone());
    let mut left = content_length(&head).saturating_sub(body.len());
    match fault(&head) {
        Fault::None => {
            let mut server = pass(&head, &body, server).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
        }
        Fault::CutAnswer(count) => {
            let mut server = pass(&head, &body, server).await?;
            let mut answer = vec![0; count];
            server.read_exact(&mut answer).await?;
            client.write_all(&answer).await?;
            client.flush().await?;
        }
        Fault::Answer(status, code, words) => {
            let mut sink = vec![0; 64 * 1024];
            while left > 0 {
                left = left.saturating_sub(client.read(&mut sink).await?.max(1));
            }
            let text = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{words}</Message></Error>"
            );
            let head_only = head.starts_with("HEAD ");
            let answer = format!(
                "HTTP/1.1 {status} Fault\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{}",
                text.len(),
                if head_only { "" } else { &text }
            );
            client.write_all(answer.as_bytes()).await?;
            client.shutdown().await?;
        }
        Fault::Silence => std::future::pending().await,
        Fault::CutRequest(count) => {
            let mut sink = vec![0; count.saturating_sub(body.len())];
            client.read_exact(&mut sink).await?;
        }
    }
    Ok(())
}

/// Connects to the real server and sends it the beginning of a request.
async fn pass(head: &str, body: &[u8], server: &str) -> std::io::Result<TcpStream> {
    let mut server = TcpStream::connect(server).await?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    server.write_all(body).await?;
    Ok(server)
}

fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
