//! TLS: who is trusted.

use std::path::PathBuf;
use std::sync::Arc;

use mnemosyne_http::{Headers, HttpError, OutboundSettings};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::outbound_with;

fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(name)
}

/// A server whose certificate is signed by the test authority; its address.
async fn tls_server() -> String {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate("server.pem"))
        .expect("readable")
        .collect::<Result<_, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a matching key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut buffer = [0; 4_096];
                let _ = stream.read(&mut buffer).await?;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecure")
                    .await?;
                stream.shutdown().await
            });
        }
    });
    format!("https://127.0.0.1:{port}/")
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_a_named_one_trusted() {
    let url = tls_server().await;
    let strict = outbound_with(OutboundSettings::default());
    let refused = strict.get_bounded(&url, &Headers::new(), 100).await;
    assert!(matches!(refused, Err(HttpError::Tls { .. })), "{refused:?}");

    let trusting = outbound_with(OutboundSettings {
        ca_file: Some(certificate("authority.pem")),
        ..OutboundSettings::default()
    });
    let body = trusting
        .get_bounded(&url, &Headers::new(), 100)
        .await
        .expect("trusted");
    assert_eq!(body, "secure");
}

#[tokio::test]
async fn the_check_can_be_switched_off() {
    let url = tls_server().await;
    let careless = outbound_with(OutboundSettings {
        verify_tls: false,
        ..OutboundSettings::default()
    });
    assert_eq!(
        careless
            .get_bounded(&url, &Headers::new(), 100)
            .await
            .expect("any"),
        "secure"
    );
}

#[test]
fn an_unusable_authority_file_is_named_at_once() {
    for name in ["missing.pem", "make.sh"] {
        let refused = mnemosyne_http::Outbound::new(OutboundSettings {
            ca_file: Some(certificate(name)),
            ..OutboundSettings::default()
        });
        let Err(HttpError::Setup { reason }) = refused else {
            panic!("{name}: {refused:?}");
        };
        assert!(reason.contains(name), "{reason}");
    }
}
