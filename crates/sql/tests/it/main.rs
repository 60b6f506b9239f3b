//! The conformance of every relational database, and what SQLite promises beyond it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod django;
mod sqlite;

use std::sync::Arc;

use mnemosyne_blobs::files::FileBlobs;
use mnemosyne_domain::ports::Relational;
use mnemosyne_sql::sqlite::SqliteDatabase;
use mnemosyne_testkit::conformance::Pair;
use mnemosyne_testkit::conformance::blob_ledger::LedgerAndStore;

async fn sqlite_databases() -> Pair<dyn Relational> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let first = Arc::new(SqliteDatabase::open(&file).await.unwrap());
    let second = Arc::new(SqliteDatabase::open(&file).await.unwrap());
    Pair::new(first, second, folder)
}

async fn sqlite_and_files() -> LedgerAndStore {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    let second = Arc::new(FileBlobs::open(folder.path()).await.unwrap());
    LedgerAndStore {
        ledgers: sqlite_databases().await,
        stores: Pair::new(first, second, folder),
    }
}

mnemosyne_testkit::accounts_conformance!(crate::sqlite_databases);
mnemosyne_testkit::providers_conformance!(crate::sqlite_databases);
mnemosyne_testkit::audit_conformance!(crate::sqlite_databases);
mnemosyne_testkit::jobs_conformance!(crate::sqlite_databases);
mnemosyne_testkit::blob_ledger_conformance!(crate::sqlite_and_files);
