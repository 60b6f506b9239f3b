//! A server that is away, comes back, or refuses the login.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mnemosyne_domain::ports::{Health as _, KnowledgeStore as _, LibraryFilter, LibraryUpdate};
use mnemosyne_domain::{PageRequest, Refusal, StoreError};
use mnemosyne_testkit::tls::in_front_of;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::support::{connect, fresh, listen_in, new_library, now, settings, space};

/// Hands every connection on to the server, until it is aborted; then all of them are cut.
fn forward(listener: TcpListener, server: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let Ok((mut near, _)) = listener.accept().await else {
                return;
            };
            let server = server.clone();
            open.spawn(async move {
                if let Ok(mut far) = TcpStream::connect(server).await {
                    let _cut = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    })
}

/// How often the message RESET of Bolt is among these bytes.
fn resets(sent: &Mutex<Vec<u8>>) -> usize {
    let message = [0, 2, 0xb0, 0x0f, 0, 0];
    let sent = sent.lock().unwrap();
    sent.windows(message.len())
        .filter(|window| *window == message)
        .count()
}

async fn listen(address: SocketAddr) -> TcpListener {
    // A port that was just given up may be refused for a moment.
    loop {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_said_to_be_and_found_again() {
    let (_store, _turn) = fresh().await;
    let mut settings = settings();
    let place = settings.address.url.split_once("://").unwrap().1.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    settings.address.url = format!("bolt://{address}");
    let store = connect(settings);
    let begun = Instant::now();
    for _ in 0..3 {
        let away = store.check().await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
        let away = store.create_library(new_library("L", None), now()).await;
        assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "refused connections are no time-outs"
    );

    let proxy = forward(listen(address).await, place.clone());
    store.check().await.unwrap();
    let made = store.create_library(new_library("L", None), now()).await.unwrap();

    proxy.abort();
    assert!(proxy.await.unwrap_err().is_cancelled());
    let away = store.library(&made.uid).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    let away = store.create_library(new_library("M", None), now()).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");

    let proxy = forward(listen(address).await, place);
    assert!(store.library(&made.uid).await.unwrap().is_some());
    store.create_library(new_library("M", None), now()).await.unwrap();
    proxy.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_reset_only_where_something_of_the_last_call_may_be_left() {
    let (_store, _turn) = fresh().await;
    let mut settings = settings();
    let place = settings.address.url.split_once("://").unwrap().1.to_owned();
    let (address, sent) = listen_in(place, None).await;
    settings.address.url = format!("bolt://{address}");
    settings.max_connections = 1;
    let store = connect(settings);
    let made = store.create_library(new_library("L", None), now()).await.unwrap();
    for _ in 0..20 {
        assert!(store.library(&made.uid).await.unwrap().is_some());
    }
    let taken = store.create_library(new_library("L", None), now()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("name"))), "{taken:?}");
    store.create_library(new_library("M", None), now()).await.unwrap();
    assert_eq!(resets(&sent), 0, "every call has come to its end");

    // Callers that go away in the middle: whoever comes next on the same connection gets its own answer.
    let filter = LibraryFilter::default();
    let mut abandoned = 0;
    for polls in 1..=60 {
        let mut reading = Box::pin(store.libraries(&filter, PageRequest::first(10)));
        let mut is_done = false;
        for _ in 0..polls {
            is_done = is_done || futures::poll!(&mut reading).is_ready();
            if !is_done {
                tokio::task::yield_now().await;
            }
        }
        drop(reading);
        abandoned += usize::from(!is_done);
        let found = store.library(&made.uid).await.unwrap().unwrap();
        assert_eq!((found.uid, found.name.as_str()), (made.uid.clone(), "L"));
    }
    assert!(abandoned > 0);
    assert_eq!(
        store
            .libraries(&filter, PageRequest::first(10))
            .await
            .unwrap()
            .total,
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_answer_never_comes_holds_up_nobody_else() {
    let (store, _turn) = fresh().await;
    let made = store.create_library(new_library("L", None), now()).await.unwrap();
    let mut settings = settings();
    let place = settings.address.url.split_once("://").unwrap().1.to_owned();
    let (address, sent) = listen_in(place, Some(b"SET l.changes")).await;
    settings.address.url = format!("bolt://{address}");
    settings.message_patience = Duration::from_secs(1);
    let cut_off = connect(settings);
    let unheard = cut_off.adopt_model(&made.uid, &space("conformance", 48)).await;
    assert!(matches!(unheard, Err(StoreError::Unavailable(_))), "{unheard:?}");
    assert!(!sent.lock().unwrap().is_empty());

    // It holds the lock on the library no longer, though its process has its connections still.
    let description = Some("ours".to_owned());
    let update = LibraryUpdate {
        description,
        ..LibraryUpdate::default()
    };
    let change = store.update_library(&made.uid, update);
    let changed = tokio::time::timeout(Duration::from_secs(20), change)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(changed.description, "ours");
    drop(cut_off);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_hints_at_the_url_and_shows_no_password() {
    let mut settings = settings();
    settings.address.password = "geheimnis%2F".to_owned();
    let store = connect(settings);
    let refused = store.check().await;
    let Err(StoreError::Refused(Refusal::Login, said)) = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        said.contains("NEOMODEL_NEO4J_BOLT_URL") && said.contains("percent-encoded"),
        "{said}"
    );
    assert!(!said.contains("geheimnis"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_scheme_trusts_as_it_says() {
    let (_store, _turn) = fresh().await;
    let plain = settings();
    let server = plain.address.url.split_once("://").unwrap().1.to_owned();
    let encrypted = in_front_of(&server).await;
    let at = |scheme: &str, place: &str| {
        let mut settings = settings();
        settings.address.url = format!("{scheme}://{place}");
        connect(settings)
    };
    for (scheme, place) in [
        ("bolt", server.clone()),
        ("neo4j", server.clone()),
        ("bolt+ssc", encrypted.to_string()),
        ("neo4j+ssc", encrypted.to_string()),
    ] {
        at(scheme, &place)
            .check()
            .await
            .unwrap_or_else(|error| panic!("{scheme}: {error}"));
    }
    // Nobody here vouches for the certificate, and the plain server speaks no TLS.
    for (scheme, place) in [
        ("bolt+s", encrypted.to_string()),
        ("neo4j+s", encrypted.to_string()),
        ("bolt+ssc", server),
    ] {
        let refused = at(scheme, &place).check().await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_))),
            "{scheme}: {refused:?}"
        );
    }
}
