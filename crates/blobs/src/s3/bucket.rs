//! The bucket of Daedalus, read with credentials of its own.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use mnemosyne_domain::StoreResult;
use mnemosyne_domain::ports::{Health, SourceBucket, SourceError, SourceObject};

use crate::s3::download::{Download, Refusal};
use crate::s3::error::{Place, is_denied};
use crate::s3::{S3Settings, connect, probe};

/// How long the bucket may take to show its health.
const CHECK_TIME: Duration = Duration::from_secs(5);
/// The longest key there is, in bytes.
const MAX_KEY: usize = 1_024;
/// An object that nobody is likely to have.
const PROBE_KEY: &str = "mnemosyne-probe";

/// A bucket that is only read. Keys are used as they are.
#[derive(Clone)]
pub struct S3Bucket {
    client: Client,
    place: Place,
}

impl std::fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Bucket")
            .field("bucket", &self.place.bucket())
            .finish_non_exhaustive()
    }
}

impl S3Bucket {
    /// Sets up the client. Connects to nothing: the server may be away. Fails with
    /// [`mnemosyne_domain::StoreError::Unavailable`] where the settings cannot be used.
    pub fn open(settings: &S3Settings) -> StoreResult<Self> {
        Ok(Self {
            client: connect(settings)?,
            place: Place::new(settings),
        })
    }
}

/// Whether an object can have this key. Segments of one or two dots would lead elsewhere on the way; servers refuse them
/// too.
fn can_be_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_KEY
        && !key.contains('\0')
        && !key.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Whether the server says that no object can have this key.
fn names_nothing(refusal: &Refusal) -> bool {
    let Refusal::Call(error) = refusal else {
        return false;
    };
    matches!(
        error.as_service_error().and_then(ProvideErrorMetadata::code),
        Some("KeyTooLongError" | "XMinioInvalidObjectName" | "InvalidObjectName")
    )
}

#[async_trait::async_trait]
impl Health for S3Bucket {
    async fn check(&self) -> StoreResult<()> {
        match probe(&self.client, self.place.bucket(), PROBE_KEY, CHECK_TIME).await {
            // Who may read objects but not list them is told this of every object that does not exist. The credentials
            // were right at least.
            Err(error) if is_denied(&error) => Ok(()),
            checked => checked.map_err(|error| self.place.unavailable(&error)),
        }
    }
}

#[async_trait::async_trait]
impl SourceBucket for S3Bucket {
    async fn open(&self, key: &str) -> Result<SourceObject, SourceError> {
        if !can_be_key(key) {
            return Err(SourceError::NotFound);
        }
        match Download::begin(&self.client, &self.place, key).await {
            Ok(download) => Ok(SourceObject {
                size: download.size(),
                content: download.into_stream(),
            }),
            Err(refusal) if refusal.is_missing() || names_nothing(&refusal) => Err(SourceError::NotFound),
            Err(refusal) if refusal.is_denied() => Err(SourceError::Denied),
            Err(refusal) => Err(SourceError::Unavailable(refusal.sentence(&self.place))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_leads_out_of_the_bucket() {
        for key in [
            ".hidden",
            "..name",
            "a//b",
            "/a",
            "a/",
            "ü b/c\\d",
            "a/...",
            &"k".repeat(1_024),
        ] {
            assert!(can_be_key(key), "{key:?}");
        }
        for key in [
            "",
            ".",
            "..",
            "a/../b",
            "../x",
            "a/.",
            "a\0b",
            &"k".repeat(1_025),
            &"ü".repeat(513),
        ] {
            assert!(!can_be_key(key), "{key:?}");
        }
    }
}
