//! The process from outside: `cargo bench -p mnemosyne-benches --bench process -- --executable target/release/mnemosyne`.
//! Time from the start to the first answered request on a data folder that exists and is empty, and the memory of the
//! idle process and its children (PSS) ten seconds later.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mnemosyne_benches::{Runs, argument, text_argument};

const IDLE: Duration = Duration::from_secs(10);

fn main() {
    let executable = text_argument("executable").unwrap_or_else(|| "target/release/mnemosyne".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let rounds = argument("rounds", 9);
    // The first run makes keys and an administrator; it is not the one that is measured.
    let (mut first, _) = start(&executable, folder.path());
    stop(&mut first);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let (mut child, time) = start(&executable, folder.path());
        times.push(time);
        stop(&mut child);
    }
    Runs::new(times).print("start to first answer");
    let (mut child, _) = start(&executable, folder.path());
    std::thread::sleep(IDLE);
    println!(
        "{:<44} {:>8.1} MB",
        "memory of the idle process (PSS)",
        pss_kb(child.id()) as f64 / 1024.0
    );
    stop(&mut child);
}

fn start(executable: &str, folder: &std::path::Path) -> (Child, Duration) {
    let began = Instant::now();
    let mut child = Command::new(executable)
        .arg("serve")
        .env_clear()
        .env("MNEMOSYNE_DATA", folder)
        .env("MNEMOSYNE_APP_LISTEN", "127.0.0.1:0")
        .env("MNEMOSYNE_MCP_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut address = None;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("app:") {
            address = rest
                .trim()
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned()
                .into();
        }
        if line.starts_with("Press Ctrl-C") {
            break;
        }
    }
    let mut stream = TcpStream::connect(address.unwrap()).unwrap();
    stream
        .write_all(b"GET /live/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let time = began.elapsed();
    // Its further output must not meet a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, time)
}

fn stop(child: &mut Child) {
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    child.wait().unwrap();
}

fn pss_kb(pid: u32) -> u64 {
    let own = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
        .unwrap_or_default();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own + children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(pss_kb)
        .sum::<u64>()
}
