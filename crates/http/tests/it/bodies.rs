//! Bodies, statuses and time-outs.

use std::time::Duration;

use mnemosyne_http::{Headers, HttpError, OutboundSettings};
use serde_json::json;

use crate::server::{Answer, Server};
use crate::{outbound, outbound_with};

#[tokio::test]
async fn a_body_arrives_and_a_larger_one_than_asked_for_is_refused() {
    let server = Server::start(|_| Answer::new("200 OK", "", "0123456789")).await;
    let outbound = outbound();
    let body = outbound
        .get_bounded(&server.url("/"), &Headers::new(), 10)
        .await
        .expect("fits");
    assert_eq!(body, "0123456789");
    let refused = outbound.get_bounded(&server.url("/"), &Headers::new(), 9).await;
    assert!(
        matches!(refused, Err(HttpError::TooLarge { limit: 9, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let server = Server::start(|_| {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        Answer::text(&format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk.repeat(8)
        ))
    })
    .await;
    let refused = outbound()
        .get_bounded(&server.url("/"), &Headers::new(), 20_000)
        .await;
    assert!(matches!(refused, Err(HttpError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test]
async fn json_is_posted_with_its_key_and_the_key_never_comes_back() {
    let server = Server::start(|request| {
        if request.contains("\"question\":1") && request.contains("authorization: bearer sk-secret-key") {
            Answer::new(
                "401 Unauthorized",
                "",
                "{\"error\": \"Incorrect API key: sk-secret-key\"}",
            )
        } else {
            Answer::new("500 Internal Server Error", "", "the request was incomplete")
        }
    })
    .await;
    let headers = Headers::new().bearer("sk-secret-key").expect("a plain key");
    let refused = outbound()
        .post_json_bounded(&server.url("/v1"), &headers, &json!({"question": 1}), 1_000)
        .await
        .expect_err("401");
    let HttpError::Status {
        code, body_excerpt, ..
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(*code, 401);
    assert_eq!(body_excerpt, "{\"error\": \"Incorrect API key: [redacted]\"}");
    assert!(!format!("{refused:?} {refused}").contains("sk-secret"));
    assert!(!refused.is_transient());
}

#[tokio::test]
async fn a_busy_server_says_how_long_to_wait() {
    let server =
        Server::start(|_| Answer::new("429 Too Many Requests", "retry-after: 7\r\n", "slow down")).await;
    let busy = outbound()
        .get_bounded(&server.url("/"), &Headers::new(), 100)
        .await
        .expect_err("429");
    assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
    assert!(busy.is_transient());
}

#[tokio::test]
async fn a_server_that_never_answers_is_left() {
    let server = Server::start(|_| Answer::Silence).await;
    let impatient = outbound().with_timeout(Duration::from_millis(50));
    let left = impatient
        .get_bounded(&server.url("/"), &Headers::new(), 100)
        .await;
    assert!(matches!(left, Err(HttpError::Timeout { .. })), "{left:?}");
    let left = impatient.get_stream(&server.url("/"), &Headers::new(), 0).await;
    assert!(matches!(left, Err(HttpError::Timeout { .. })), "{left:?}");
}

#[tokio::test]
async fn nobody_at_home_is_told_apart_from_a_broken_line() {
    let free_port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound").port()
    };
    let nobody = outbound()
        .get_bounded(&format!("http://127.0.0.1:{free_port}/"), &Headers::new(), 100)
        .await;
    assert!(matches!(nobody, Err(HttpError::Connect { .. })), "{nobody:?}");

    let server =
        Server::start(|_| Answer::text("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")).await;
    let cut = outbound()
        .get_bounded(&server.url("/"), &Headers::new(), 1_000)
        .await;
    assert!(matches!(cut, Err(HttpError::Interrupted { .. })), "{cut:?}");
}

#[tokio::test]
async fn a_download_goes_on_where_it_stopped() {
    let server = Server::start(|request| {
        if request.contains("range: bytes=4-") {
            Answer::new("206 Partial Content", "content-range: bytes 4-9/10\r\n", "456789")
        } else {
            Answer::text("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123")
        }
    })
    .await;
    let outbound = outbound();
    let mut first = outbound
        .get_stream(&server.url("/f"), &Headers::new(), 0)
        .await
        .expect("it begins");
    assert_eq!((first.start(), first.total()), (0, Some(10)));
    assert_eq!(
        first.next_chunk().await.expect("four bytes").expect("four bytes"),
        "0123"
    );
    assert!(matches!(
        first.next_chunk().await,
        Err(HttpError::Interrupted { .. })
    ));

    let mut second = outbound
        .get_stream(&server.url("/f"), &Headers::new(), 4)
        .await
        .expect("it goes on");
    assert_eq!((second.start(), second.total()), (4, Some(10)));
    assert_eq!(
        second.next_chunk().await.expect("the rest").expect("the rest"),
        "456789"
    );
    assert_eq!(second.next_chunk().await, Ok(None));
}

#[tokio::test]
async fn a_server_that_cannot_resume_begins_anew_and_one_that_lies_is_refused() {
    let whole = Server::start(|_| Answer::new("200 OK", "", "0123456789")).await;
    let body = outbound()
        .get_stream(&whole.url("/f"), &Headers::new(), 4)
        .await
        .expect("whole");
    assert_eq!(body.start(), 0);

    let other = Server::start(|_| {
        Answer::new(
            "206 Partial Content",
            "content-range: bytes 2-9/10\r\n",
            "23456789",
        )
    })
    .await;
    let refused = outbound().get_stream(&other.url("/f"), &Headers::new(), 4).await;
    assert!(matches!(refused, Err(HttpError::Other { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_unusable_address_is_named_without_its_credentials() {
    let refused = outbound_with(OutboundSettings::default())
        .get_bounded("http://user:secret@:80", &Headers::new(), 10)
        .await
        .expect_err("no host");
    assert!(matches!(refused, HttpError::Address { .. }));
    assert!(!format!("{refused:?}{refused}").contains("secret"));
}
