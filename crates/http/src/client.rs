//! The client.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::Utc;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode, Url};

use crate::error::HttpError;
use crate::guard::{AddressRefused, Guard, GuardedResolver};
use crate::headers::Headers;
use crate::redirect::{self, MAX_REDIRECTS, Payload};
use crate::retry_after;
use crate::settings::OutboundSettings;
use crate::tls;

/// How much of a failing answer is read for its excerpt.
const MAX_EXCERPT_BYTES: usize = 4_096;
/// How much of it is kept.
const MAX_EXCERPT_CHARS: usize = 300;
/// How long a name may take to be resolved where an address is only checked.
const RESOLVE: Duration = Duration::from_secs(5);

/// Makes outgoing calls. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Outbound {
    pub(crate) client: reqwest::Client,
    pub(crate) guard: Guard,
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// Sets up a client. Reads the system's certificate authorities and `ca_file`; connects to nothing.
    pub fn new(settings: OutboundSettings) -> Result<Self, HttpError> {
        let guard = Guard::new(&settings.allowed_private_hosts);
        let client = reqwest::Client::builder()
            .user_agent(concat!("mnemosyne/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::configuration(&settings)?)
            .dns_resolver(GuardedResolver::new(guard.clone()))
            // Redirects are followed below, hop by hop, because each must pass the guard and may lose the headers.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .map_err(|error| HttpError::Setup {
                reason: root_cause(&error),
            })?;
        Ok(Self {
            client,
            guard,
            timeout: settings.timeout,
        })
    }

    /// The same client, sharing its connections, with another time-out for whole calls.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// Whether calls to a server at this address would be let through, without making one. A name is resolved as a call
    /// would; one that cannot be (in a few seconds) is let through, because the call will say so. The address of a server
    /// has no user name, query or fragment.
    pub async fn check_base_url(&self, url: &str) -> Result<(), HttpError> {
        let url = parse_url(url)?;
        let has_more = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        if has_more {
            return Err(HttpError::Address {
                reason: "it must not hold a user name, a query or a fragment".into(),
            });
        }
        self.guard.check_url(&url)?;
        let host = url.host_str().unwrap_or_default();
        let is_literal = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
        if is_literal {
            return Ok(());
        }
        match tokio::time::timeout(RESOLVE, self.guard.resolve(host)).await {
            Ok(Ok(Err(refused))) => Err(HttpError::Refused {
                host: shown_host(&url),
                address: refused.address,
            }),
            _ => Ok(()),
        }
    }

    /// Gets a body of at most `max_bytes`. Any status but 2xx is an error.
    pub async fn get_bounded(
        &self,
        url: &str,
        headers: &Headers,
        max_bytes: usize,
    ) -> Result<Bytes, HttpError> {
        let call = Call {
            url: parse_url(url)?,
            headers,
            range_start: None,
            json: None,
        };
        self.bounded(call, max_bytes).await
    }

    /// Posts JSON and returns the body of the answer, at most `max_bytes`. Any status but 2xx is an error.
    pub async fn post_json_bounded(
        &self,
        url: &str,
        headers: &Headers,
        body: &serde_json::Value,
        max_bytes: usize,
    ) -> Result<Bytes, HttpError> {
        let call = Call {
            url: parse_url(url)?,
            headers,
            range_start: None,
            json: Some(Bytes::from(body.to_string())),
        };
        self.bounded(call, max_bytes).await
    }

    /// Gets a body piece by piece, from byte `offset` on where the server can do that; [`StreamedBody::start`] says
    /// whether it did. The time-out bounds the wait for the answer and for each piece, not the whole.
    pub async fn get_stream(
        &self,
        url: &str,
        headers: &Headers,
        offset: u64,
    ) -> Result<StreamedBody, HttpError> {
        let url = parse_url(url)?;
        let host = shown_host(&url);
        let call = Call {
            url,
            headers,
            range_start: (offset > 0).then_some(offset),
            json: None,
        };
        let response = self.within(&host, self.send(call)).await?;
        let (start, total) = stream_position(&host, &response, offset)?;
        Ok(StreamedBody {
            host,
            response,
            start,
            total,
            idle_timeout: self.timeout,
        })
    }

    async fn bounded(&self, call: Call<'_>, max_bytes: usize) -> Result<Bytes, HttpError> {
        let host = shown_host(&call.url);
        let whole = async {
            let response = self.send(call).await?;
            read_bounded(&host, response, max_bytes).await
        };
        self.within(&host, whole).await
    }

    async fn within<T>(
        &self,
        host: &str,
        work: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, HttpError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::Timeout {
                host: host.to_owned(),
                after: self.timeout,
            }),
        }
    }

    /// Sends a call and follows its redirects; a 2xx answer comes back with its body unread.
    async fn send(&self, call: Call<'_>) -> Result<Response, HttpError> {
        let payload = match call.json {
            Some(_) => Payload::Content,
            None => Payload::Empty,
        };
        let mut url = call.url.clone();
        let mut own_headers = true;
        for _ in 0..=MAX_REDIRECTS {
            self.guard.check_url(&url)?;
            let host = shown_host(&url);
            let response = self
                .request(&call, &url, own_headers)
                .send()
                .await
                .map_err(|error| read_error(&host, self.timeout, &error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if !redirect::is_redirect(status) {
                return Err(status_error(&host, response, call.headers).await);
            }
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let hop = redirect::next_hop(&url, status, location, payload)
                .map_err(|reason| HttpError::Redirect { host, reason })?;
            own_headers = own_headers && hop.same_origin;
            url = hop.url;
        }
        Err(HttpError::Redirect {
            host: shown_host(&call.url),
            reason: format!("there were more than {MAX_REDIRECTS} redirects"),
        })
    }

    fn request(&self, call: &Call<'_>, url: &Url, own_headers: bool) -> reqwest::RequestBuilder {
        let method = match call.json {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let mut headers = if own_headers {
            call.headers.map().clone()
        } else {
            HeaderMap::new()
        };
        let mut request = self.client.request(method, url.clone());
        if let Some(start) = call.range_start {
            request = request.header(RANGE, format!("bytes={start}-"));
            // Positions count in the file itself, not in a compressed form of it.
            headers.insert(
                ACCEPT_ENCODING,
                reqwest::header::HeaderValue::from_static("identity"),
            );
        }
        if let Some(json) = &call.json {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(json.clone());
        }
        request.headers(headers)
    }
}

/// One call, before its redirects.
struct Call<'a> {
    url: Url,
    headers: &'a Headers,
    range_start: Option<u64>,
    json: Option<Bytes>,
}

/// A body that is read piece by piece.
pub struct StreamedBody {
    host: String,
    response: Response,
    start: u64,
    total: Option<u64>,
    idle_timeout: Duration,
}

impl fmt::Debug for StreamedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBody")
            .field("host", &self.host)
            .field("start", &self.start)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl StreamedBody {
    /// The position in the file of the first byte that comes: the offset asked for, or 0 where the server began anew.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The size of the whole file in bytes, where the server says so.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next piece, `None` at the end. A connection that breaks before the announced end is an error.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        match tokio::time::timeout(self.idle_timeout, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(HttpError::Interrupted {
                host: self.host.clone(),
                reason: root_cause(&error),
            }),
            Err(_) => Err(HttpError::Timeout {
                host: self.host.clone(),
                after: self.idle_timeout,
            }),
        }
    }
}

fn parse_url(url: &str) -> Result<Url, HttpError> {
    // The text itself stays out of the error: it may hold credentials.
    Url::parse(url).map_err(|error| HttpError::Address {
        reason: error.to_string(),
    })
}

/// Host and port as people write them; never credentials, path or query.
pub(crate) fn shown_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

async fn read_bounded(host: &str, mut response: Response, max_bytes: usize) -> Result<Bytes, HttpError> {
    let too_large = || HttpError::TooLarge {
        host: host.to_owned(),
        limit: max_bytes,
    };
    if response
        .content_length()
        .is_some_and(|length| length > max_bytes as u64)
    {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| HttpError::Interrupted {
            host: host.to_owned(),
            reason: root_cause(&error),
        })?;
        let Some(chunk) = chunk else {
            return Ok(body.freeze());
        };
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

async fn status_error(host: &str, mut response: Response, headers: &Headers) -> HttpError {
    let code = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after::parse(value, Utc::now()));
    let mut beginning = Vec::new();
    // A body that breaks off is no news here: the status is.
    while let Ok(Some(chunk)) = response.chunk().await {
        beginning.extend_from_slice(&chunk);
        if beginning.len() >= MAX_EXCERPT_BYTES {
            beginning.truncate(MAX_EXCERPT_BYTES);
            break;
        }
    }
    HttpError::Status {
        host: host.to_owned(),
        code,
        body_excerpt: excerpt(&headers.redact(&String::from_utf8_lossy(&beginning))),
        retry_after,
    }
}

/// The first characters on one line, without control characters.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(MAX_EXCERPT_CHARS).collect()
}

/// Where the body of a streamed answer begins in the file, and how long the file is.
fn stream_position(host: &str, response: &Response, offset: u64) -> Result<(u64, Option<u64>), HttpError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok((0, response.content_length()));
    }
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(content_range);
    match range {
        Some((start, total)) if start == offset => Ok((start, total)),
        _ => Err(HttpError::Other {
            host: host.to_owned(),
            reason: "it answered with another part of the file than was asked for".into(),
        }),
    }
}

/// First position and total of `bytes FIRST-LAST/TOTAL`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

pub(crate) fn read_error(host: &str, timeout: Duration, error: &reqwest::Error) -> HttpError {
    let host = host.to_owned();
    if let Some(refused) = find_cause::<AddressRefused>(error) {
        return HttpError::Refused {
            host,
            address: refused.address,
        };
    }
    if let Some(tls) = find_cause::<rustls::Error>(error) {
        return HttpError::Tls {
            host,
            reason: tls.to_string(),
        };
    }
    if error.is_timeout() {
        return HttpError::Timeout { host, after: timeout };
    }
    let reason = root_cause(error);
    if error.is_connect() {
        return HttpError::Connect { host, reason };
    }
    if error.is_builder() {
        return HttpError::Address { reason };
    }
    if error.is_request() || error.is_body() {
        return HttpError::Interrupted { host, reason };
    }
    HttpError::Other { host, reason }
}

/// The error below this one. An `io::Error` made of another error does not name it as its source, so it is asked.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inside = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .map(|inner| inner as &(dyn Error + 'static));
    inside.or_else(|| error.source())
}

fn find_cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| below(*error)).find_map(|error| error.downcast_ref::<E>())
}

/// The innermost message: the outer ones repeat the URL, which may hold credentials.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| below(*error))
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_shown_without_credentials() {
        let url = Url::parse("https://user:secret@models.example:8443/v1?key=secret").expect("a URL");
        assert_eq!(shown_host(&url), "models.example:8443");
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("a\r\n\tb\u{1b}[31m c"), "a b [31m c");
        assert_eq!(excerpt(&"x".repeat(1_000)).len(), MAX_EXCERPT_CHARS);
    }

    #[test]
    fn a_content_range_is_read() {
        assert_eq!(content_range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(content_range("bytes 10-19/*"), Some((10, None)));
        assert_eq!(content_range("items 1-2/3"), None);
    }
}
