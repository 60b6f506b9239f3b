//! gzip for text. Streams of events must arrive one by one, and downloads keep their length, so both stay as they are.

use axum::body::HttpBody;
use http::{Response, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

/// Below this a compressed answer is hardly smaller, in bytes.
const WORTH_COMPRESSING: u64 = 512;

#[derive(Clone, Copy, Debug)]
pub(super) struct Text;

impl Predicate for Text {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let is_text = (kind.starts_with("text/") && !kind.starts_with("text/event-stream"))
            || kind.starts_with("application/json")
            || kind.starts_with("image/svg+xml");
        is_text && !response.headers().contains_key(header::CONTENT_DISPOSITION)
    }
}

type Layer = CompressionLayer<tower_http::compression::predicate::And<SizeAbove, Text>>;

pub(super) fn layer() -> Layer {
    CompressionLayer::new().compress_when(SizeAbove::new(WORTH_COMPRESSING).and(Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compresses(kind: &str, is_download: bool) -> bool {
        let mut response = Response::builder().header(header::CONTENT_TYPE, kind);
        if is_download {
            response = response.header(header::CONTENT_DISPOSITION, "attachment");
        }
        Text.should_compress(&response.body(axum::body::Body::empty()).unwrap())
    }

    #[test]
    fn text_is_compressed_streams_and_downloads_are_not() {
        assert!(compresses("text/html; charset=utf-8", false));
        assert!(compresses("application/json", false));
        assert!(!compresses("text/event-stream", false));
        assert!(!compresses("image/png", false));
        assert!(!compresses("text/plain", true));
    }
}
