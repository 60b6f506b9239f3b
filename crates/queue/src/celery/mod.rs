//! Celery's messages: tasks, results, remote control and events, as data. Nothing here talks to a broker.
//!
//! The formats are those of Celery 5 (protocol version 2) and of kombu's mailbox, read from what these programs put on the
//! wire; a task in the older protocol version 1 is understood too.

mod clock;
pub mod control;
pub mod event;
pub mod message;
pub mod node;
pub mod result;
mod tasks;

pub use clock::LogicalClock;
pub use tasks::TaskNames;

/// The one task of Mnemosyne, by the name that it has in the system being replaced.
pub const INGEST_TASK: &str = mnemosyne_domain::INGEST_TASK;

/// A list of texts as Python shows it. For people only.
pub(crate) fn python_list(texts: &[&str]) -> String {
    let shown: Vec<String> = texts.iter().map(|text| python_text(text)).collect();
    format!("[{}]", shown.join(", "))
}

/// A text as Python shows it. For people only.
pub(crate) fn python_text(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('\'', "\\'")
        .replace('\n', "\\n");
    format!("'{escaped}'")
}
