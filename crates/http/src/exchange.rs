//! The plain transport, for clients that make whole requests themselves and sign them: the S3 client. A request goes out as
//! it is and its answer comes back as it is, whatever its status; redirects are not followed.

use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use reqwest::Url;
use tokio::time::{Instant, Sleep};

use crate::client::{Outbound, read_error, root_cause, shown_host};
use crate::error::HttpError;

/// What is handed to the connection at once. A large piece in memory is cut, so that the connection taking it is seen.
const SENT_BLOCK: usize = 64 * 1024;

impl Outbound {
    /// Sends one request. The time-out bounds how long nothing moves: no piece of the request's body leaves, no answer
    /// comes, no piece of the answer's body comes; it does not bound the whole. Fails with [`HttpError::Address`] where
    /// the connection would need another path or query than the request has, because a signature would not hold any more.
    pub async fn exchange<B>(
        &self,
        request: http::Request<B>,
    ) -> Result<http::Response<IncomingBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let url = same_url(&parts.uri)?;
        self.guard.check_url(&url)?;
        let host = shown_host(&url);
        let progress = Progress::new();
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;
        *outgoing.body_mut() = Some(reqwest::Body::wrap(OutgoingBody {
            body,
            rest: Bytes::new(),
            progress: progress.clone(),
        }));
        let mut sending = pin!(self.client.execute(outgoing));
        let response = loop {
            let stands_until = progress.last() + self.timeout;
            tokio::select! {
                answer = &mut sending => break answer.map_err(|error| read_error(&host, self.timeout, &error))?,
                () = tokio::time::sleep_until(stands_until) => {
                    if progress.last() + self.timeout <= Instant::now() {
                        return Err(HttpError::Timeout { host, after: self.timeout });
                    }
                }
            }
        };
        let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        let body = IncomingBody {
            host,
            body,
            idle_timeout: self.timeout,
            waiting: None,
        };
        Ok(http::Response::from_parts(parts, body))
    }
}

/// The URL of exactly this address. The URL parser resolves `..`, in its encoded spelling too, and must not here.
fn same_url(uri: &Uri) -> Result<Url, HttpError> {
    let url = Url::parse(&uri.to_string()).map_err(|error| HttpError::Address {
        reason: error.to_string(),
    })?;
    if url.path() != uri.path() || url.query() != uri.query() {
        return Err(HttpError::Address {
            reason: "its path cannot be sent unchanged".into(),
        });
    }
    Ok(url)
}

/// When something last moved.
#[derive(Clone)]
struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A body on its way out, in pieces whose leaving is noted.
struct OutgoingBody<B> {
    body: B,
    rest: Bytes,
    progress: Progress,
}

impl<B> Body for OutgoingBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Being asked for more means that what was given before is on its way.
        self.progress.moved();
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(SENT_BLOCK);
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper().and_then(|upper| upper.checked_add(rest)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// The body of an answer. It fails where it breaks off before its announced end, and where it stands still for longer than
/// the time-out of its client while somebody waits for it.
pub struct IncomingBody {
    host: String,
    body: reqwest::Body,
    idle_timeout: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| HttpError::Interrupted {
                    host: this.host.clone(),
                    reason: root_cause(&error),
                })
            }));
        }
        let idle_timeout = this.idle_timeout;
        let waiting = this
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err(HttpError::Timeout {
            host: this.host.clone(),
            after: idle_timeout,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(address: &str) -> Result<String, HttpError> {
        let uri: Uri = address.parse().expect(address);
        same_url(&uri).map(|url| url.to_string())
    }

    #[test]
    fn an_address_is_sent_as_it_is_or_not_at_all() {
        for address in [
            "http://s3.example:9000/bucket/.hidden/..name/a//b%20c%2F%C3%BC%5C%2A?list-type=2&prefix=a%2F",
            "http://s3.example/bucket/",
        ] {
            assert_eq!(judge(address).as_deref(), Ok(address));
        }
        for address in [
            "http://s3.example/bucket/../other/key",
            "http://s3.example/bucket/./key",
            "http://s3.example/bucket/%2e%2E/other",
            "http://s3.example/bucket/..",
        ] {
            assert!(
                matches!(judge(address), Err(HttpError::Address { .. })),
                "{address}"
            );
        }
    }
}
