//! A mirror of the hub on the loopback interface: files of one folder, ranges, and accidents.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accident {
    /// The connection of this answer, counted from 0, breaks after this many bytes of its body.
    CutOff { answer: usize, after: usize },
    /// Ranges are ignored.
    NoRanges,
    /// Every answer is this status.
    Status(u16),
}

#[derive(Default)]
struct Log {
    paths: Vec<String>,
    ranges: Vec<Option<u64>>,
}

pub(crate) struct Mirror {
    port: u16,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Serves `folder/FILE` for every path that ends in `/FILE`.
    pub(crate) async fn start(folder: PathBuf, accidents: Vec<Accident>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let log = Arc::new(Mutex::new(Log::default()));
        let written = log.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away in the middle is its test's business.
                let _ = serve(stream, &folder, &accidents, &written).await;
            }
        });
        Self { port, log, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.log.lock().expect("no panic while locked").paths.clone()
    }

    pub(crate) fn ranges(&self) -> Vec<Option<u64>> {
        self.log.lock().expect("no panic while locked").ranges.clone()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    folder: &std::path::Path,
    accidents: &[Accident],
    log: &Mutex<Log>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut buffer = [0; 2_048];
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..count]);
    }
    let request = String::from_utf8_lossy(&request).to_string();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = request
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("range: bytes=")
                .map(str::to_owned)
        })
        .and_then(|range| range.trim_end_matches('-').parse::<u64>().ok());
    let number = {
        let mut log = log.lock().expect("no panic while locked");
        log.paths.push(path.clone());
        log.ranges.push(range);
        log.paths.len() - 1
    };
    for accident in accidents {
        if let Accident::Status(code) = accident {
            let answer = format!("HTTP/1.1 {code} Sorry\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            return stream.shutdown().await;
        }
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let Ok(content) = std::fs::read(folder.join(name)) else {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await?;
        return stream.shutdown().await;
    };
    let start = range
        .filter(|_| !accidents.contains(&Accident::NoRanges))
        .unwrap_or(0) as usize;
    let body = &content[start.min(content.len())..];
    let head = if start > 0 {
        let last = content.len().saturating_sub(1);
        format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{last}/{}\r\n",
            content.len()
        )
    } else {
        "HTTP/1.1 200 OK\r\n".to_owned()
    };
    let head = format!(
        "{head}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let cut = accidents.iter().find_map(|accident| match accident {
        Accident::CutOff { answer, after } if *answer == number => Some(*after),
        _ => None,
    });
    stream
        .write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])
        .await?;
    stream.shutdown().await
}
