//! The real server behind TLS: who is trusted is a matter of each client.

use std::path::PathBuf;
use std::sync::Arc;

use mnemosyne_blobs::s3::{S3Bucket, S3Settings};
use mnemosyne_domain::StoreError;
use mnemosyne_domain::ports::{BlobStore, Health};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::blobs::content;
use crate::{bucket, endpoint, open};

/// Certificates of the tests of our transport: an authority, and a server on loopback that it vouches for.
fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../http/tests/certificates")
        .join(name)
}

/// Ends TLS in front of the real server; its endpoint.
async fn behind_tls() -> String {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate("server.pem"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = endpoint().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(server).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    format!("https://127.0.0.1:{port}")
}

#[tokio::test]
async fn certificates_are_checked_for_each_client_by_its_own_settings() {
    let strict = S3Settings {
        endpoint: behind_tls().await,
        ..bucket().await
    };
    let careless = S3Settings {
        verify_tls: false,
        ..strict.clone()
    };
    let trusting = S3Settings {
        ca_file: Some(certificate("authority.pem")),
        ..strict.clone()
    };
    let spool = tempfile::tempdir().unwrap();
    // Side by side in one process: the careless first, so that nothing of it is left to the strict.
    let whole = content(6_000_000);
    let stored = open(&careless, spool.path())
        .await
        .put_bytes(whole.clone())
        .await
        .unwrap();
    let trusted = open(&trusting, spool.path()).await;
    assert!(trusted.get(&stored.digest).await.unwrap() == whole);
    S3Bucket::open(&trusting).unwrap().check().await.unwrap();
    let refused = [
        open(&strict, spool.path()).await.check().await,
        open(&strict, spool.path())
            .await
            .get(&stored.digest)
            .await
            .map(drop),
        S3Bucket::open(&strict).unwrap().check().await,
    ];
    for outcome in refused {
        match outcome {
            Err(StoreError::Unavailable(sentence)) => {
                assert!(
                    sentence.starts_with("no trusted connection to 127.0.0.1:"),
                    "{sentence}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let unusable = S3Settings {
        ca_file: Some(certificate("missing.pem")),
        ..strict
    };
    match S3Bucket::open(&unusable) {
        Err(StoreError::Unavailable(sentence)) => assert!(sentence.contains("missing.pem"), "{sentence}"),
        other => panic!("{other:?}"),
    }
}
