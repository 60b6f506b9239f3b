//! Nothing private is called unless it was named.

use mnemosyne_http::{Headers, HttpError, Outbound, OutboundSettings};

use crate::outbound;
use crate::server::{Answer, Server};

#[tokio::test]
async fn a_private_address_is_refused_by_default_as_number_and_as_name() {
    let server = Server::start(|_| Answer::new("200 OK", "", "secret")).await;
    let outbound = Outbound::new(OutboundSettings::default()).expect("usable");
    for url in [server.url("/"), format!("http://localhost:{}/", server.port)] {
        let refused = outbound.get_bounded(&url, &Headers::new(), 100).await;
        assert!(
            matches!(refused, Err(HttpError::Refused { .. })),
            "{url}: {refused:?}"
        );
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_host_in_a_setting_may_be_private() {
    let server = Server::start(|_| Answer::new("200 OK", "", "hello")).await;
    let by_name = format!("http://localhost:{}", server.port);
    let mut settings = OutboundSettings::default();
    settings.allow_host_of(&by_name);
    let outbound = Outbound::new(settings).expect("usable");
    let body = outbound
        .get_bounded(&by_name, &Headers::new(), 100)
        .await
        .expect("allowed");
    assert_eq!(body, "hello");
    let refused = outbound.get_bounded(&server.url("/"), &Headers::new(), 100).await;
    assert!(matches!(refused, Err(HttpError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let inside = Server::start(|_| Answer::new("200 OK", "", "secret")).await;
    let targets = [
        format!("http://127.0.0.2:{}/", inside.port),
        format!("http://localhost:{}/", inside.port),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::1]/".to_owned(),
    ];
    for target in targets {
        let to = target.clone();
        let outside = Server::start(move |_| Answer::redirect(&to)).await;
        let refused = outbound()
            .get_bounded(&outside.url("/"), &Headers::new(), 100)
            .await;
        assert!(
            matches!(refused, Err(HttpError::Refused { .. })),
            "{target}: {refused:?}"
        );
    }
    assert!(inside.requests().is_empty());
}

#[tokio::test]
async fn an_address_is_judged_without_a_call() {
    let server = Server::start(|_| Answer::new("200 OK", "", "secret")).await;
    let strict = Outbound::new(OutboundSettings::default()).expect("usable");
    let by_name = format!("http://localhost:{}/", server.port);
    for url in [&server.url("/"), &by_name, "http://[::1]/", "http://0x7f000001/"] {
        let refused = strict.check_base_url(url).await;
        assert!(
            matches!(refused, Err(HttpError::Refused { .. })),
            "{url}: {refused:?}"
        );
    }
    for url in [
        "ftp://example.org/",
        "nonsense",
        "http://",
        "https://user:pass@1.1.1.1/",
        "https://1.1.1.1/?key=1",
        "https://1.1.1.1/#x",
    ] {
        let wrong = strict.check_base_url(url).await;
        assert!(
            matches!(wrong, Err(HttpError::Address { .. })),
            "{url}: {wrong:?}"
        );
    }
    for url in ["https://1.1.1.1/v1", "http://no-such-host.invalid/"] {
        assert_eq!(strict.check_base_url(url).await, Ok(()), "{url}");
    }
    assert_eq!(outbound().check_base_url(&server.url("/")).await, Ok(()));
    assert!(server.requests().is_empty());
}
