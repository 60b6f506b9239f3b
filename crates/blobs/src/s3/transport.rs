//! The SDK's idea of an HTTP client, over our own transport.

use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use mnemosyne_http::{HttpError, Outbound};

/// Carries the SDK's requests. Certificates and the time to connect are those of the [`Outbound`] it is made of; how long
/// nothing may move is the SDK's read time-out.
#[derive(Clone)]
pub(super) struct Transport {
    outbound: Outbound,
}

impl Transport {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl HttpClient for Transport {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let outbound = match settings.read_timeout() {
            Some(timeout) => self.outbound.with_timeout(timeout),
            None => self.outbound.clone(),
        };
        SharedHttpConnector::new(Self { outbound })
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let outbound = self.outbound.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let response = outbound.exchange(request).await.map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What is worth another attempt is told by the kind: time-outs and broken connections are, wrong settings are not.
fn connector_error(error: HttpError) -> ConnectorError {
    match error {
        HttpError::Timeout { .. } => ConnectorError::timeout(error.into()),
        HttpError::Connect { .. } | HttpError::Interrupted { .. } => ConnectorError::io(error.into()),
        _ => ConnectorError::user(error.into()),
    }
}
