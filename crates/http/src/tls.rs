//! TLS with the `ring` provider, chosen here and not through the process-wide default, so that it works wherever this
//! crate is used.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::HttpError;
use crate::settings::OutboundSettings;

/// The TLS setup of one client. A system without certificate authorities is no error here: an installation that only
/// calls plain HTTP works, and the first call over TLS says what is missing.
pub(crate) fn configuration(settings: &OutboundSettings) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(error.to_string()))?;
    if !settings.verify_tls {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate { provider }))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    if let Some(ca_file) = &settings.ca_file {
        add_authorities(&mut roots, ca_file)?;
    }
    let of_system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_system.certs);
    if roots.is_empty() {
        tracing::warn!("no certificate authorities found on this system; calls over https will fail");
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add_authorities(roots: &mut RootCertStore, ca_file: &Path) -> Result<(), HttpError> {
    let shown = ca_file.display();
    let pem = std::fs::read(ca_file).map_err(|error| setup(format!("{shown} cannot be read: {error}")))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| setup(format!("{shown} is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| setup(format!("{shown} holds an unusable certificate: {error}")))?;
        count += 1;
    }
    if count == 0 {
        return Err(setup(format!("{shown} holds no certificate (PEM is expected)")));
    }
    Ok(())
}

fn setup(reason: String) -> HttpError {
    HttpError::Setup { reason }
}

/// For operators who switched the check off: any certificate will do; signatures are still checked, so that the
/// connection is at least to whoever showed the certificate.
#[derive(Debug)]
struct AcceptAnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
