//! Reads an object to its end, through broken connections too.

use std::io;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::stream;
use mnemosyne_domain::ports::ByteStream;

use crate::s3::error::{self, Place};

/// How often in a row a transfer is taken up again without a byte having come.
const FRUITLESS_RESUMPTIONS: u32 = 3;

/// An object being read.
pub(super) struct Download {
    client: Client,
    place: Place,
    key: String,
    /// Which content of the key this is: what is taken up again must be the same.
    tag: Option<String>,
    size: u64,
    position: u64,
    body: aws_sdk_s3::primitives::ByteStream,
    fruitless: u32,
}

/// Why a download could not begin.
pub(super) enum Refusal {
    /// The server's answer, or none.
    Call(Box<SdkError<GetObjectError, HttpResponse>>),
    /// The server does not say how long the object is.
    UnknownSize,
}

impl Refusal {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Call(error) if error::is_no_such_key(error))
    }

    /// S3 says so of an object that does not exist, too, to credentials that may not list the bucket.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Call(error) if error::is_denied(error))
    }

    pub(super) fn sentence(&self, place: &Place) -> String {
        match self {
            Self::Call(error) => place.sentence(error),
            Self::UnknownSize => "the server does not say how large the object is".to_owned(),
        }
    }
}

impl Download {
    pub(super) async fn begin(client: &Client, place: &Place, key: &str) -> Result<Self, Refusal> {
        let answer = get(client, place, key, 0, None)
            .await
            .map_err(|error| Refusal::Call(Box::new(error)))?;
        let size = content_length(&answer).ok_or(Refusal::UnknownSize)?;
        Ok(Self {
            client: client.clone(),
            place: place.clone(),
            key: key.to_owned(),
            tag: answer.e_tag().map(str::to_owned),
            size,
            position: 0,
            body: answer.body,
            fruitless: 0,
        })
    }

    /// Size of the whole object in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The content. It ends after [`Self::size`] bytes or with an error, never early.
    pub(super) fn into_stream(self) -> ByteStream {
        Box::pin(stream::try_unfold(self, |mut download| async move {
            Ok(download.next().await?.map(|piece| (piece, download)))
        }))
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.position == self.size {
            return Ok(None);
        }
        loop {
            let reason = match self.body.try_next().await {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) if self.position + piece.len() as u64 <= self.size => {
                    self.position += piece.len() as u64;
                    self.fruitless = 0;
                    return Ok(Some(piece));
                }
                Ok(Some(_)) => return Err(io::Error::other("the object is longer than the server said")),
                Ok(None) => "it ended early".to_owned(),
                Err(failed) => match error::http_error(&failed) {
                    Some(error) => error.to_string(),
                    None => "the connection broke off".to_owned(),
                },
            };
            if self.fruitless == FRUITLESS_RESUMPTIONS {
                return Err(io::Error::other(format!(
                    "the object could not be read to its end: {reason}"
                )));
            }
            self.fruitless += 1;
            self.resume().await?;
        }
    }

    /// Asks for the rest.
    async fn resume(&mut self) -> io::Result<()> {
        let answer = get(
            &self.client,
            &self.place,
            &self.key,
            self.position,
            self.tag.as_deref(),
        )
        .await
        .map_err(|error| io::Error::other(self.place.sentence(&error)))?;
        if content_length(&answer) != Some(self.size - self.position) {
            return Err(io::Error::other(
                "the server does not give the rest of the object",
            ));
        }
        self.body = answer.body;
        Ok(())
    }
}

async fn get(
    client: &Client,
    place: &Place,
    key: &str,
    from: u64,
    tag: Option<&str>,
) -> Result<GetObjectOutput, SdkError<GetObjectError, HttpResponse>> {
    client
        .get_object()
        .bucket(place.bucket())
        .key(key)
        .set_range((from > 0).then(|| format!("bytes={from}-")))
        .set_if_match(tag.map(str::to_owned))
        .send()
        .await
}

fn content_length(answer: &GetObjectOutput) -> Option<u64> {
    answer
        .content_length()
        .and_then(|length| u64::try_from(length).ok())
}
