//! The test program is also the child process: started with `parse-child`, it reads files in a way that depends on what is
//! in them, so that every kind of breakdown can be had on demand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod hostile;
mod pool;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use mnemosyne_documents::{Block, BlockKind, Coverage, Document, FileHint, Format};
use mnemosyne_domain::Failure;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("parse-child") {
        return mnemosyne_sandbox::run_child_with(act);
    }
    let mut trials: Vec<Trial> = Vec::new();
    for (name, test) in pool::TESTS.iter().chain(hostile::TESTS) {
        trials.push(Trial::test(*name, move || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?
                .block_on(test());
            Ok(())
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What the child does with a file.
fn act(bytes: &[u8], hint: &FileHint) -> Result<Document, Failure> {
    match bytes {
        b"who" => Ok(document(std::process::id().to_string())),
        b"environment" => {
            let names: Vec<String> = std::env::vars_os()
                .map(|(name, _)| name.to_string_lossy().into_owned())
                .collect();
            Ok(document(names.join(",")))
        }
        b"group" => Ok(document(
            (rustix::process::getpgrp() == rustix::process::getpid()).to_string(),
        )),
        b"stopped" => stop_this_process(),
        b"stopped once" => match std::fs::File::create_new(&hint.filename) {
            Ok(_) => stop_this_process(),
            Err(_) => Ok(document("read by another child".to_owned())),
        },
        b"panic" => panic!("as asked"),
        b"abort" => std::process::abort(),
        b"exit" => std::process::exit(0),
        b"sleep" => loop {
            std::thread::park();
        },
        b"spin" => loop {
            std::hint::black_box(0);
        },
        b"memory" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 16 * 1024 * 1024]);
            }
        }
        b"recurse" => Ok(document(descend(1).to_string())),
        b"output" => Ok(document("x".repeat(40 * 1024 * 1024))),
        b"print" => {
            print!("words on standard output that no parent may take for a reply");
            Ok(document("printed".to_owned()))
        }
        b"write" => {
            let path = std::path::Path::new(&hint.filename);
            Ok(document(format!(
                "{:?}",
                std::fs::write(path, "text").map_err(|error| error.kind())
            )))
        }
        _ => mnemosyne_documents::parse(bytes, hint),
    }
}

/// As if somebody else had sent the signal.
fn stop_this_process() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    loop {
        std::thread::park();
    }
}

#[expect(unconditional_recursion, reason = "the point of it")]
fn descend(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    descend(here[7] + 1) + here[3]
}

fn document(text: String) -> Document {
    Document {
        format: Format::Text,
        title: None,
        authors: Vec::new(),
        language: None,
        page_count: None,
        blocks: vec![Block {
            kind: BlockKind::Paragraph,
            span: 0..text.len(),
            page: None,
            page_turns: Vec::new(),
        }],
        text,
        coverage: Coverage::Full,
    }
}
