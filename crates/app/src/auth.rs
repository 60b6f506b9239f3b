//! Who calls the API: HTTP Basic, or a browser that is signed in. Handlers get a [`Principal`] only through the extractors
//! here and in [`crate::session`], so none can forget to ask.

use axum::extract::FromRequestParts;
use axum_extra::extract::CookieJar;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderMap, header};
use mnemosyne_domain::Principal;
use mnemosyne_services::ServiceError;

use crate::csrf;
use crate::error::{ApiError, ApiResult};
use crate::middleware::request_info::RequestInfo;
use crate::session;
use crate::state::AppState;

/// The caller of an API route.
#[derive(Clone, Debug)]
pub struct ApiCaller(pub Principal);

impl FromRequestParts<AppState> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let session = ApiSession::from_request_parts(parts, state).await?;
        Ok(Self(session.principal))
    }
}

/// The caller of an API route, and the session that it brought.
#[derive(Clone, Debug)]
pub struct ApiSession {
    /// The caller.
    pub principal: Principal,
    /// The session's key; `None` where the caller sent its credentials.
    pub key: Option<String>,
}

impl FromRequestParts<AppState> for ApiSession {
    type Rejection = ApiError;

    /// Credentials in the request count before a session. A browser sends both by itself, to whichever page asks it to,
    /// so a request that changes something must also show that it does not come from a foreign page.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> ApiResult<Self> {
        let info = RequestInfo::from_request_parts(parts, state).await?;
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let (username, password) = basic_credentials(&parts.headers).ok_or_else(not_basic)?;
            if csrf::is_unsafe(&parts.method) {
                csrf::check_origin(&parts.headers, &info, &state.settings.csrf_trusted_origins)?;
            }
            let principal = state.services.authenticate_basic(&username, &password).await?;
            return Ok(Self { principal, key: None });
        }
        let jar = CookieJar::from_headers(&parts.headers);
        let Some(key) = session::key(&jar) else {
            return Err(ApiError::not_authenticated());
        };
        let Some(principal) = state.services.session_principal(&key).await? else {
            return Err(ApiError::not_authenticated());
        };
        if csrf::is_unsafe(&parts.method) {
            csrf::check(&parts.headers, &info, &state.settings.csrf_trusted_origins, None)?;
        }
        Ok(Self {
            principal,
            key: Some(key),
        })
    }
}

fn not_basic() -> ApiError {
    ApiError::from(ServiceError::Unauthenticated)
}

/// Name and password of an `Authorization: Basic` header; `None` where there is another scheme, more than one header, or
/// something malformed.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use mnemosyne_testkit::mutate::{mutated, mutations};
    use proptest::prelude::*;

    use super::*;

    fn credentials(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        basic_credentials(&headers)
    }

    #[test]
    fn a_password_may_hold_colons_and_any_letters() {
        let encoded = BASE64_STANDARD.encode("daedalus:a:b ü");
        assert_eq!(
            credentials(&format!("basic {encoded}")),
            Some(("daedalus".to_owned(), "a:b ü".to_owned()))
        );
    }

    proptest! {
        /// Whatever stands in the header, it is credentials that were encoded, or nothing.
        #[test]
        fn arbitrary_headers_are_credentials_or_nothing(
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "(?i:basic|bearer|digest)?[ \t]{0,3}[A-Za-z0-9+/=:!]{0,80}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..120)
                    .prop_map(|bytes| format!("Basic {}", BASE64_STANDARD.encode(bytes)).into_bytes()),
            ]
        ) {
            let mut headers = HeaderMap::new();
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                return Ok(());
            };
            headers.insert(header::AUTHORIZATION, value.clone());
            if let Some((username, password)) = basic_credentials(&headers) {
                prop_assert!(!username.contains(':'));
                let again = BASE64_STANDARD.encode(format!("{username}:{password}"));
                let (scheme, encoded) = value.to_str().unwrap().split_once(' ').unwrap();
                prop_assert!(scheme.eq_ignore_ascii_case("basic"));
                prop_assert_eq!(encoded.trim(), again);
            }
        }

        /// What a client encodes is what arrives.
        #[test]
        fn credentials_arrive_as_they_were_sent(username in "[^:]{0,40}", password in ".{0,80}") {
            let encoded = BASE64_STANDARD.encode(format!("{username}:{password}"));
            prop_assert_eq!(credentials(&format!("Basic {encoded}")), Some((username, password)));
        }
    }

    proptest! {
        /// Credentials with something done to them are the same ones only where the same text was encoded.
        #[test]
        fn nearly_right_headers_are_somebody_elses_credentials(mutations in mutations()) {
            let encoded = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
            let (valid, other) = (encoded("daedalus:a pässword:with signs?>"), encoded("ada:x"));
            let donors: [&[u8]; 2] = [other.as_bytes(), b"Bearer abc"];
            let Ok(value) = HeaderValue::from_bytes(&mutated(valid.as_bytes(), &donors, &mutations)) else {
                return Ok(());
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.clone());
            let found = basic_credentials(&headers);
            let is_same = value.to_str().ok().and_then(|text| text.split_once(' ')).is_some_and(|(scheme, rest)| {
                scheme.eq_ignore_ascii_case("basic") && rest.trim() == &valid[6..]
            });
            let ours = ("daedalus".to_owned(), "a pässword:with signs?>".to_owned());
            prop_assert_eq!(found == Some(ours), is_same, "{:?}", value);
            if let Some((username, password)) = found {
                let again = encoded(&format!("{username}:{password}"));
                prop_assert_eq!(value.to_str().unwrap().split_once(' ').unwrap().1.trim(), &again[6..]);
            }
        }
    }

    #[test]
    fn what_is_not_basic_is_nothing() {
        for bad in ["Basic", "Basic ", "Basic !!!", "Bearer abc", "Basic bm9jb2xvbg=="] {
            assert_eq!(credentials(bad), None, "{bad}");
        }
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(header::AUTHORIZATION, "Basic YTpi".parse().unwrap());
        }
        assert_eq!(basic_credentials(&headers), None);
    }
}
