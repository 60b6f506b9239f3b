//! Buckets of S3 and of servers that speak like it (MinIO and VersityGW are tested).
//!
//! Nothing here connects before it is used: a server that is away, slow or refusing is an error of each call, in a sentence
//! that names the server and the bucket and never a credential. What a call may take is bounded by [`S3Settings`].

mod blobs;
mod bucket;
mod download;
mod error;
mod payload;
mod server_time;
mod spool;
mod transport;

pub use blobs::{S3Blobs, UploadSettings};
pub use bucket::S3Bucket;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedAsyncSleep, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use mnemosyne_domain::{StoreError, StoreResult};
use mnemosyne_http::{Outbound, OutboundSettings};
use url::Url;

use crate::s3::transport::Transport;

/// What one operation may take beside the time for its bytes: all its attempts together.
const OPERATION_TIME: Duration = Duration::from_secs(60);
/// The slowest transfer that is waited for, in bytes a second.
const SLOWEST_TRANSFER: u64 = 32 * 1024;
/// Connections are looked after by the project's own transport: the library would log each failure for not finding them.
const CONNECTIONS: ReconnectMode = ReconnectMode::ReuseAllConnections;
/// The waits between attempts begin here and double, with chance in them.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// One bucket and how it is reached. `Debug` does not show the secret.
#[derive(Clone)]
pub struct S3Settings {
    /// URL of the server, with `http` or `https`.
    pub endpoint: String,
    /// Region; servers of one's own take any.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Whether the bucket stands in the path of a URL (`https://host/bucket/key`) and not in its host name. Servers of one's
    /// own need it.
    pub path_style: bool,
    /// Whether the server's certificate is checked.
    pub verify_tls: bool,
    /// Certificates (PEM) of authorities that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long nothing may move, in a request, before its answer or in that answer.
    pub idle_timeout: Duration,
    /// How often an operation is tried where the server is overloaded, fails, or the connection breaks. At least once.
    pub attempts: u32,
}

impl S3Settings {
    /// A bucket with the usual ways: path style, certificates checked against the system's authorities, 5 s to connect,
    /// 20 s without anything moving, three attempts. An operation without content ends within 60 s, one with content within
    /// that and a second for each 32 KiB.
    pub fn new(
        endpoint: impl Into<String>,
        region: impl Into<String>,
        bucket: impl Into<String>,
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            region: region.into(),
            bucket: bucket.into(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            path_style: true,
            verify_tls: true,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            attempts: 3,
        }
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("verify_tls", &self.verify_tls)
            .finish_non_exhaustive()
    }
}

/// A client of the SDK with these settings, for what no port offers, such as making the bucket. Connects to nothing; fails
/// with [`StoreError::Unavailable`] where the settings cannot be used.
pub fn connect(settings: &S3Settings) -> StoreResult<Client> {
    let endpoint = endpoint(settings)?;
    let mut outbound = OutboundSettings {
        timeout: settings.idle_timeout,
        connect_timeout: settings.connect_timeout,
        allowed_private_hosts: Vec::new(),
        verify_tls: settings.verify_tls,
        ca_file: settings.ca_file.clone(),
    };
    outbound.allow_host_of(&settings.endpoint);
    if !settings.path_style
        && let Some(host) = endpoint.host_str()
    {
        outbound
            .allowed_private_hosts
            .push(format!("{}.{host}", settings.bucket));
    }
    let outbound = Outbound::new(outbound).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.idle_timeout)
        .operation_timeout(OPERATION_TIME)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(settings.attempts.max(1))
        .with_initial_backoff(FIRST_WAIT)
        .with_max_backoff(LONGEST_WAIT)
        .with_reconnect_mode(CONNECTIONS);
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint.as_str())
        .region(Region::new(settings.region.clone()))
        .force_path_style(settings.path_style)
        .credentials_provider(Credentials::new(
            &settings.access_key,
            &settings.secret_key,
            None,
            None,
            "settings",
        ))
        .http_client(Transport::new(outbound))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .timeout_config(timeouts)
        .retry_config(retries)
        // The transport watches over what stands still.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Checksums in trailers are not known to every server; what we send is covered by its signature.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Ok(Client::from_conf(config))
}

fn endpoint(settings: &S3Settings) -> StoreResult<Url> {
    // The text itself stays out of the sentence: it may hold credentials.
    let url = Url::parse(&settings.endpoint)
        .map_err(|error| StoreError::Unavailable(format!("the S3 endpoint is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(StoreError::Unavailable(
            "the S3 endpoint is no URL of http or https with a host".to_owned(),
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(StoreError::Unavailable(
            "the S3 endpoint holds credentials, which belong in settings of their own".to_owned(),
        ));
    }
    Ok(url)
}

/// The time for an operation that moves this many bytes.
fn transfer_time(bytes: u64) -> Duration {
    OPERATION_TIME + Duration::from_secs(bytes / SLOWEST_TRANSFER)
}

/// The settings of one operation that moves this many bytes.
fn transfer(bytes: u64) -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(transfer_time(bytes))
        .build();
    aws_sdk_s3::Config::builder().timeout_config(timeouts)
}

/// Asks for an object that does not exist. Unlike a `HEAD` of the bucket, the answer has words to tell what is wrong, and
/// it needs no right to list. One attempt, within `within`.
async fn probe(
    client: &Client,
    bucket: &str,
    key: &str,
    within: Duration,
) -> Result<(), SdkError<GetObjectError, HttpResponse>> {
    let once = aws_sdk_s3::Config::builder()
        .retry_config(RetryConfig::disabled().with_reconnect_mode(CONNECTIONS))
        .timeout_config(TimeoutConfig::builder().operation_timeout(within).build());
    let asked = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .range("bytes=0-0")
        .customize()
        .config_override(once)
        .send()
        .await;
    match asked {
        Err(error) if !error::is_no_such_key(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str) -> S3Settings {
        S3Settings::new(endpoint, "us-east-1", "bucket", "key", "hunter2")
    }

    #[test]
    fn an_unusable_endpoint_is_said_without_its_text() {
        for endpoint in [
            "",
            "s3.example:9000",
            "ftp://s3.example",
            "https://key:hunter2@s3.example",
        ] {
            match connect(&settings(endpoint)) {
                Err(StoreError::Unavailable(sentence)) => {
                    assert!(sentence.starts_with("the S3 endpoint"), "{sentence}");
                    assert!(!sentence.contains("hunter2"), "{sentence}");
                }
                other => panic!("{endpoint}: {:?}", other.map(drop)),
            }
        }
        connect(&settings("https://s3.example:9000")).unwrap();
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", settings("http://s3.example")).contains("hunter2"));
    }
}
