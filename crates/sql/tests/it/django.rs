//! A database that Django made (`fixtures/make_django.py` with Django 5.2) is taken over with its users and sessions, and
//! ours has the tables that Django makes.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use mnemosyne_domain::NewUser;
use mnemosyne_domain::ports::Accounts;
use mnemosyne_sql::sqlite::SqliteDatabase;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/django.sqlite")
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

async fn connect(file: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file))
        .await
        .unwrap()
}

async fn definitions(file: &Path) -> Vec<(String, Option<String>)> {
    let mut connection = connect(file).await;
    let rows = sqlx::query_as(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name LIKE 'auth\\_%' ESCAPE '\\' OR tbl_name LIKE 'django\\_%' ESCAPE '\\' ORDER BY type, name",
    );
    rows.fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn users_and_sessions_of_django_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite3");
    std::fs::copy(fixture(), &file).unwrap();
    let database = SqliteDatabase::open(&file).await.unwrap();

    let names: Vec<String> = database
        .users()
        .await
        .unwrap()
        .into_iter()
        .map(|user| user.username)
        .collect();
    assert_eq!(names, ["ada", "bob"]);
    let ada = database.user_by_name("ada").await.unwrap().unwrap();
    assert!(
        ada.password.starts_with("pbkdf2_sha256$1000000$"),
        "{}",
        ada.password
    );
    assert_eq!(
        (
            ada.email.as_str(),
            ada.first_name.as_str(),
            ada.last_name.as_str()
        ),
        ("ada@example.org", "Ada", "Lovelace")
    );
    assert!(ada.is_superuser && ada.is_staff && ada.is_active);
    assert_eq!(ada.date_joined, utc("2025-03-04T05:06:07.000089Z"));
    assert_eq!(
        ada.last_login,
        Some(utc("2025-03-05T00:00:00Z")),
        "Django leaves out a fraction of zero"
    );
    let bob = database.user_by_name("bob").await.unwrap().unwrap();
    assert!(!bob.is_superuser && !bob.is_staff && !bob.is_active && bob.last_login.is_none());

    let session = database
        .session(&"a".repeat(32), utc("2029-12-31T23:59:59.999999Z"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (session.data.as_str(), session.expires_at),
        ("e30:fixture", utc("2030-01-01T00:00:00Z"))
    );
    assert!(
        database
            .session(&"a".repeat(32), utc("2030-01-01T00:00:00.000001Z"))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_tables_of_django_are_defined_as_django_defines_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    SqliteDatabase::open(&file).await.unwrap().close().await;
    let ours = definitions(&file).await;
    assert_eq!(ours, definitions(&fixture()).await);
    assert!(ours.len() >= 20, "{ours:?}");
    let done = async |file: &Path| -> Vec<(String, String)> {
        let rows = sqlx::query_as("SELECT app, name FROM django_migrations ORDER BY id");
        rows.fetch_all(&mut connect(file).await).await.unwrap()
    };
    assert_eq!(done(&file).await, done(&fixture()).await);
}

#[tokio::test]
async fn times_are_written_as_django_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mnemosyne.db");
    let database = SqliteDatabase::open(&file).await.unwrap();
    let new = NewUser {
        username: "eve".to_owned(),
        password: "!".to_owned(),
        email: String::new(),
        is_superuser: false,
        is_staff: false,
        is_service: false,
    };
    let eve = database
        .create_user(new, utc("2026-01-02T03:04:05.000678Z"))
        .await
        .unwrap();
    database
        .set_last_login(eve.id, utc("2026-01-02T03:04:06.5Z"))
        .await
        .unwrap();
    database.close().await;
    let row: (String, String, i64) = sqlx::query_as(
        "SELECT CAST(date_joined AS text), CAST(last_login AS text), is_active FROM auth_user",
    )
    .fetch_one(&mut connect(&file).await)
    .await
    .unwrap();
    assert_eq!(
        row,
        (
            "2026-01-02 03:04:05.000678".to_owned(),
            "2026-01-02 03:04:06.500000".to_owned(),
            1
        )
    );
}
