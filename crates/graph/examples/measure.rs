//! scratch
#![allow(clippy::all, missing_docs, clippy::unwrap_used, clippy::print_stdout)]
use chrono::Utc;
use mnemosyne_domain::ports::*;
use mnemosyne_domain::*;
use mnemosyne_graph::embedded::EmbeddedStore;
use std::time::{Duration, Instant};

struct R(u64);
impl R {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn f(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    fn word(&mut self) -> String {
        // Zipf-like over 60k words
        let u = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let n = (60000f64.powf(u)) as u64;
        format!("w{}x", n)
    }
    fn text(&mut self, n: usize) -> String {
        (0..n).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
    fn vec(&mut self, c: &[Vec<f32>]) -> Vec<f32> {
        let k = (self.next() % c.len() as u64) as usize;
        let v: Vec<f32> = c[k].iter().map(|x| x + 0.5 * self.f()).collect();
        let l = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.into_iter().map(|x| x / l).collect()
    }
}
fn pct(mut v: Vec<Duration>) -> String {
    v.sort();
    format!("p50 {:?} p95 {:?}", v[v.len() / 2], v[v.len() * 95 / 100])
}
async fn timed<T>(w: impl Future<Output = T>) -> (T, Duration) {
    let b = Instant::now();
    (w.await, b.elapsed())
}
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default(); let _ = s; let t = std::fs::read_dir("/proc/self/task").unwrap().map(|t| std::fs::read_to_string(t.unwrap().path().join("schedstat")).unwrap_or_default().split(' ').next().unwrap_or("0").parse::<f64>().unwrap_or(0.0)).sum::<f64>(); t / 1e6 }
fn rss() -> String {
    std::fs::read_to_string("/proc/self/smaps_rollup")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("Pss:") || l.starts_with("Pss_Anon"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(args.next().unwrap());
    let n: usize = args.next().unwrap().parse().unwrap();
    let dim = 1024;
    let mut r = R(88172645463325252);
    let centres: Vec<Vec<f32>> = (0..500).map(|_| (0..dim).map(|_| r.f()).collect()).collect();
    let space = VectorSpace {
        model: "m".into(),
        dimension: dim,
    };
    let store = EmbeddedStore::open(&folder).await.unwrap();
    let mut libs: Vec<Library> = store
        .libraries(&LibraryFilter::default(), PageRequest::first(200))
        .await
        .unwrap()
        .rows;
    if libs.is_empty() {
        for i in 0..100 {
            let l = store
                .create_library(
                    NewLibrary {
                        name: format!("l{i}"),
                        workspace_id: None,
                        library_type: LibraryType::Technical,
                        description: String::new(),
                    },
                    Utc::now(),
                )
                .await
                .unwrap();
            store.adopt_model(&l.uid, &space).await.unwrap();
            libs.push(l);
        }
        let mut t = [Duration::ZERO; 5];
        let b = Instant::now();
        for i in 0..n / 10 {
            let lib = &libs[i % 100];
            let uid = ItemUid::generate();
            let col = store.default_collection(&lib.uid).await.unwrap().uid;
            let item = NewItem {
                uid: uid.clone(),
                library_uid: lib.uid.clone(),
                collection_uid: col,
                title: r.text(5),
                source_ref: format!("s{i}"),
                content_hash: "h".into(),
                revision: 1,
                filename: "f".into(),
                content_type: "t".into(),
                byte_size: 1,
                original_digest: "d".into(),
                text_digest: "d".into(),
                authors: vec![],
                language: None,
                page_count: None,
                extraction: "ok".into(),
                metadata: Default::default(),
                created_at: Utc::now(),
            };
            let chunks: Vec<NewChunk> = (0..10)
                .map(|p| NewChunk {
                    uid: ChunkUid::derive(&uid, p),
                    position: p,
                    text: r.text(190),
                    heading_path: vec![r.text(3)],
                    page: None,
                    byte_start: 0,
                    byte_end: 1,
                })
                .collect();
            let vecs: Vec<ChunkVector> = chunks
                .iter()
                .map(|c| ChunkVector {
                    chunk_uid: c.uid.clone(),
                    vector: r.vec(&centres),
                })
                .collect();
            let cons: Vec<ConceptMention> = (0..12)
                .map(|k| ConceptMention {
                    name: format!("{} {}", r.word(), r.word()),
                    kind: ConceptKind::Topic,
                    extracted_by: "local".into(),
                    chunk_positions: vec![k % 10, (k + 3) % 10],
                    weight: 0.3 + 0.05 * k as f32,
                })
                .collect();
            for (k, d) in [
                timed(store.stage_item(item)).await.1,
                timed(store.stage_chunks(&uid, &chunks)).await.1,
                timed(store.put_vectors(&space, &vecs)).await.1,
                timed(store.stage_concepts(&uid, &cons)).await.1,
                timed(store.publish_item(&uid, Utc::now())).await.1,
            ]
            .into_iter()
            .enumerate()
            {
                t[k] += d;
            }
        }
        let store_time: Duration = t.iter().sum();
        println!(
            "fill {:?}; in the store {:?} = {:.0} chunks/s; steps {:?}",
            b.elapsed(),
            store_time,
            n as f64 / store_time.as_secs_f64(),
            t
        );
    }
    let b = Instant::now();
    let store = EmbeddedStore::open(&folder).await.unwrap();
    println!("open {:?} {}", b.elapsed(), rss());
    let (_, t) = timed(store.fulltext_leg("w1x", &SearchFilter::within(Scope::global()), 1)).await;
    println!("first text {t:?}");
    let b = Instant::now();
    store.warm().await.unwrap();
    println!("warm {:?} {}", b.elapsed(), rss());
    let all = SearchFilter::within(Scope::global());
    let mut one = all.clone();
    one.library_uid = Some(libs[7].uid.clone());
    let mut r = R(1234567);
    for alone in [true, false] {
        for (name, filter) in [("all", &all), ("1%", &one)] {
            let mut ts = [const { Vec::new() }; 5];
            for i in 0..220 {
                let v = r.vec(&centres);
                let text = format!("{} {} {}", r.word(), r.word(), r.word());
                let q = VectorQuery {
                    space: &space,
                    vector: &v,
                };
                let w = Instant::now();
                let (a, b, c) = if alone {
                    (
                        timed(store.vector_leg(q, filter, 50)).await,
                        timed(store.fulltext_leg(&text, filter, 30)).await,
                        timed(store.graph_leg(&text, filter, 2, 30)).await,
                    )
                } else {
                    tokio::join!(
                        timed(store.vector_leg(q, filter, 50)),
                        timed(store.fulltext_leg(&text, filter, 30)),
                        timed(store.graph_leg(&text, filter, 2, 30))
                    )
                };
                let uids: Vec<ChunkUid> = a.0.unwrap().into_iter().take(20).map(|h| h.chunk_uid).collect();
                b.0.unwrap();
                c.0.unwrap();
                let h = timed(store.chunk_hits(&uids, filter)).await;
                h.0.unwrap();
                if i >= 20 {
                    for (t, d) in ts.iter_mut().zip([w.elapsed(), a.1, b.1, c.1, h.1]) {
                        t.push(d);
                    }
                }
            }
            let [w, a, b, c, h] = ts;
            println!(
                "{name} alone={alone}: whole {} | vector {} | text {} | graph {} | hits {}",
                pct(w),
                pct(a),
                pct(b),
                pct(c),
                pct(h)
            );
        }
    }
    if std::env::var_os("SHORT").is_some() { return; }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut ts = Vec::new();
    for i in 0..30 {
        let lib = &libs[0];
        let uid = ItemUid::generate();
        let col = store.default_collection(&lib.uid).await.unwrap().uid;
        let item = NewItem {
            uid: uid.clone(),
            library_uid: lib.uid.clone(),
            collection_uid: col,
            title: "t".into(),
            source_ref: format!("x{i}"),
            content_hash: "h".into(),
            revision: 1,
            filename: "f".into(),
            content_type: "t".into(),
            byte_size: 1,
            original_digest: "d".into(),
            text_digest: "d".into(),
            authors: vec![],
            language: None,
            page_count: None,
            extraction: "ok".into(),
            metadata: Default::default(),
            created_at: Utc::now(),
        };
        store.stage_item(item).await.unwrap();
        let chunks: Vec<NewChunk> = (0..10)
            .map(|p| NewChunk {
                uid: ChunkUid::derive(&uid, p),
                position: p,
                text: r.text(190),
                heading_path: vec![],
                page: None,
                byte_start: 0,
                byte_end: 1,
            })
            .collect();
        store.stage_chunks(&uid, &chunks).await.unwrap();
        store
            .put_vectors(
                &space,
                &chunks
                    .iter()
                    .map(|c| ChunkVector {
                        chunk_uid: c.uid.clone(),
                        vector: r.vec(&centres),
                    })
                    .collect::<Vec<_>>(),
            )
            .await
            .unwrap();
        store.publish_item(&uid, Utc::now()).await.unwrap();
        let (x, d) = timed(store.fulltext_leg("w3x", &all, 30)).await;
        x.unwrap();
        ts.push(d);
        store.delete_item(&uid).await.unwrap();
    }
    println!("text leg after a publish: {}", pct(ts));
    println!("report {:?} {:?}", timed(store.report()).await.1, rss());
    store.close().await;
}
