//! scratch
#![allow(clippy::all, missing_docs)]
use sqlx::{Connection, sqlite::*};
use std::time::Instant;
#[tokio::main]
async fn main() {
    let o = SqliteConnectOptions::new()
        .filename("/tmp/t/g100/knowledge.db")
        .row_buffer_size(1024)
        .pragma("cache_size", "-8000");
    let pool = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new()
        .max_connections(4)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(o.clone())
        .await
        .unwrap();
    let mut c = SqliteConnection::connect_with(&o).await.unwrap();
    for _ in 0..2 {
        let b = Instant::now();
        for _ in 0..3000 {
            sqlx::query("SELECT max(sequence) FROM change")
                .fetch_one(&pool)
                .await
                .unwrap();
        }
        println!("pool {:?}", b.elapsed() / 3000);
        let b = Instant::now();
        for _ in 0..3000 {
            sqlx::query("SELECT max(sequence) FROM change")
                .fetch_one(&mut c)
                .await
                .unwrap();
        }
        println!("raw {:?}", b.elapsed() / 3000);
        let b = Instant::now();
        for i in 0..300 {
            let keys: Vec<i64> = (0..60).map(|k| (k * 1601 + i * 7) % 90000 + 1).collect();
            let r = sqlx::query("SELECT c.uid, v.vector FROM json_each(?1) j CROSS JOIN vector v ON v.key = j.value CROSS JOIN item i ON i.key=v.item CROSS JOIN chunk c ON c.key=v.chunk WHERE i.status=1").bind(serde_json::to_string(&keys).unwrap()).fetch_all(&mut c).await.unwrap();
            assert!(r.len() > 50);
        }
        println!("60 vectors {:?}", b.elapsed() / 300);
        let b = Instant::now();
        for i in 0..300 {
            let keys: Vec<i64> = (0..60).map(|k| (k * 1601 + i * 7) % 90000 + 1).collect();
            let r = sqlx::query("SELECT c.uid FROM json_each(?1) j CROSS JOIN vector v ON v.key = j.value CROSS JOIN item i ON i.key=v.item CROSS JOIN chunk c ON c.key=v.chunk WHERE i.status=1").bind(serde_json::to_string(&keys).unwrap()).fetch_all(&mut c).await.unwrap();
            assert!(r.len() > 50);
        }
        println!("60 uids {:?}", b.elapsed() / 300);
        let b = Instant::now();
        for i in 0..300 {
            let keys: Vec<i64> = (0..60).map(|k| (k * 1601 + i * 7) % 90000 + 1).collect();
            let r =
                sqlx::query("SELECT v.vector FROM json_each(?1) j CROSS JOIN vector v ON v.key = j.value")
                    .bind(serde_json::to_string(&keys).unwrap())
                    .fetch_all(&mut c)
                    .await
                    .unwrap();
            assert!(r.len() > 50);
        }
        println!("60 vectors only {:?}", b.elapsed() / 300);
        let b = Instant::now();
        for i in 0..300 {
            let keys: Vec<i64> = (0..60).map(|k| (k * 1601 + i * 7) % 90000 + 1).collect();
            let r = sqlx::query("SELECT CAST(group_concat(v.vector, '') AS BLOB) FROM json_each(?1) j CROSS JOIN vector v ON v.key = j.value").bind(serde_json::to_string(&keys).unwrap()).fetch_all(&mut c).await.unwrap();
            assert!(r.len() == 1);
        }
        println!("60 vectors concatenated {:?}", b.elapsed() / 300);
    }
}
