//! Redirects are followed a few times, and carry no secret elsewhere.

use mnemosyne_http::{Headers, HttpError};
use serde_json::json;

use crate::outbound;
use crate::server::{Answer, Server};

#[tokio::test]
async fn the_key_stays_with_its_host() {
    let elsewhere = Server::start(|_| Answer::new("200 OK", "", "found")).await;
    let to = elsewhere.url("/there");
    let first = Server::start(move |request| {
        if request.starts_with("get /start ") {
            Answer::redirect("/middle")
        } else {
            Answer::redirect(&to)
        }
    })
    .await;
    let headers = Headers::new()
        .bearer("sk-key")
        .expect("plain")
        .with("x-extra", "1")
        .expect("plain");
    let body = outbound()
        .get_bounded(&first.url("/start"), &headers, 100)
        .await
        .expect("followed");
    assert_eq!(body, "found");
    let of_first = first.requests();
    assert!(
        of_first
            .iter()
            .all(|request| request.contains("authorization: bearer sk-key"))
    );
    assert_eq!(of_first.len(), 2);
    let of_elsewhere = elsewhere.requests();
    assert_eq!(of_elsewhere.len(), 1);
    assert!(!of_elsewhere[0].contains("sk-key") && !of_elsewhere[0].contains("x-extra"));
}

#[tokio::test]
async fn a_circle_ends() {
    let server = Server::start(|_| Answer::redirect("/again")).await;
    let lost = outbound()
        .get_bounded(&server.url("/"), &Headers::new(), 100)
        .await;
    assert!(matches!(lost, Err(HttpError::Redirect { .. })), "{lost:?}");
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn posted_text_is_not_carried_to_another_host() {
    let server = Server::start(|_| {
        Answer::new(
            "307 Temporary Redirect",
            "location: http://other.example/\r\n",
            "",
        )
    })
    .await;
    let stopped = outbound()
        .post_json_bounded(&server.url("/"), &Headers::new(), &json!({"text": "mine"}), 100)
        .await;
    assert!(matches!(stopped, Err(HttpError::Redirect { .. })), "{stopped:?}");
}
