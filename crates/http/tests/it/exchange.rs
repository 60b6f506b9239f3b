//! Whole requests, sent and answered as they are.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::Request;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use mnemosyne_http::{HttpError, OutboundSettings};

use crate::server::{Answer, Server};
use crate::{outbound, outbound_with};

fn get(url: &str) -> Request<Empty<Bytes>> {
    Request::get(url).body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn any_answer_comes_back_as_it_is() {
    let server = Server::start(|request| {
        if request.starts_with("get /moved") {
            return Answer::redirect("/elsewhere");
        }
        Answer::new("503 Slow Down", "x-reason: load\r\n", "<Error/>")
    })
    .await;
    let moved = outbound()
        .exchange(get(&server.url("/moved")))
        .await
        .expect("an answer");
    assert_eq!(moved.status(), 302);
    let answer = outbound()
        .exchange(get(&server.url("/a//b%2Fc?x=1")))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["x-reason"], "load");
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, "<Error/>");
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "a redirect is not followed");
    assert!(
        requests[1].starts_with("get /a//b%2fc?x=1 http/1.1"),
        "{}",
        requests[1]
    );
}

#[tokio::test]
async fn a_body_is_sent_whole_from_memory_and_in_pieces() {
    let server = Server::start(|_| Answer::new("200 OK", "", "")).await;
    let content = "0123456789abcdef".repeat(20_000);
    let whole = Request::put(server.url("/whole"))
        .header("content-length", content.len())
        .body(Full::new(Bytes::from(content.clone())))
        .expect("a request");
    outbound().exchange(whole).await.expect("an answer");
    let pieces: Vec<_> = content
        .as_bytes()
        .chunks(100_000)
        .map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let streamed = Request::put(server.url("/streamed"))
        .header("content-length", content.len())
        .body(StreamBody::new(stream::iter(pieces)))
        .expect("a request");
    outbound().exchange(streamed).await.expect("an answer");
    for request in server.requests() {
        let (head, body) = request.split_once("\r\n\r\n").expect("a body");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(body == content, "{} bytes", body.len());
    }
}

#[tokio::test]
async fn what_stands_still_ends() {
    let impatient = outbound_with(OutboundSettings {
        timeout: Duration::from_millis(500),
        ..OutboundSettings::default()
    });
    let silent = Server::start(|_| Answer::Silence).await;
    let ended = impatient.exchange(get(&silent.url("/"))).await;
    assert!(matches!(ended, Err(HttpError::Timeout { .. })), "{ended:?}");

    let body = StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
    let request = Request::put(silent.url("/")).body(body).expect("a request");
    let ended = impatient.exchange(request).await;
    assert!(matches!(ended, Err(HttpError::Timeout { .. })), "{ended:?}");

    let stuck =
        Server::start(|_| Answer::Stuck(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec())).await;
    let answer = impatient.exchange(get(&stuck.url("/"))).await.expect("an answer");
    let ended = answer.into_body().collect().await;
    assert!(matches!(ended, Err(HttpError::Timeout { .. })));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_body() {
    let server = Server::start(|_| Answer::text("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")).await;
    let answer = outbound()
        .exchange(get(&server.url("/")))
        .await
        .expect("an answer");
    let ended = answer.into_body().collect().await;
    assert!(matches!(ended, Err(HttpError::Interrupted { .. })));
}

#[tokio::test]
async fn the_guard_holds() {
    let server = Server::start(|_| Answer::new("200 OK", "", "")).await;
    let guarded = mnemosyne_http::Outbound::new(OutboundSettings::default()).expect("usable");
    let refused = guarded.exchange(get(&server.url("/"))).await;
    assert!(matches!(refused, Err(HttpError::Refused { .. })), "{refused:?}");
    assert!(server.requests().is_empty());
}
