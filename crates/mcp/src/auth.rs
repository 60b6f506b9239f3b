//! Bearers. Every call needs one but `get_health` (contract §8); the principal travels with the request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use mnemosyne_domain::{Principal, Tool};
use mnemosyne_services::{ServiceError, Services};
use serde::Deserialize;

use crate::limits::body_too_slow;

/// Who calls a tool.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Known by a token.
    Known(Principal),
    /// Nobody, where tokens are required: may call `get_health` and nothing else.
    Anonymous,
    /// Anybody, where tokens are not required: sees the global libraries, or the workspace that a call names.
    Open,
}

#[derive(Clone)]
pub(crate) struct AuthState {
    pub(crate) services: Arc<Services>,
    pub(crate) require_auth: bool,
    /// See [`crate::McpLimits::strangers_body`].
    pub(crate) strangers_body: Duration,
}

/// The most of a request without a valid token that is read: to see whether it asks for `get_health`, and because a client
/// that is answered while it still writes may see a broken connection instead of the answer.
const ANONYMOUS_BODY_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
struct Envelope {
    method: String,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<String>,
}

/// Finds out who is calling, or ends the request.
pub(crate) async fn authenticate(State(state): State<AuthState>, request: Request, next: Next) -> Response {
    let bearer = match bearer(&request) {
        Ok(bearer) => bearer,
        Err(()) => return state.refuse(request, "invalid_request").await,
    };
    let (caller, mut request) = match bearer {
        Some(token) => match state.services.authenticate_bearer(&token).await {
            Ok(principal) => (Caller::Known(principal), request),
            Err(ServiceError::Unauthenticated) => return state.refuse(request, "invalid_token").await,
            Err(error) => {
                tracing::error!(%error, "a bearer could not be checked");
                return (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Tokens cannot be checked right now.",
                )
                    .into_response();
            }
        },
        None if !state.require_auth => (Caller::Open, request),
        None => match state.only_health(request).await {
            Ok(Some(request)) => (Caller::Anonymous, request),
            Ok(None) => return unauthorized(""),
            Err(TooSlow) => return body_too_slow(),
        },
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn bearer(request: &Request) -> Result<Option<String>, ()> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(());
    }
    let text = value.to_str().map_err(|_| ())?;
    let (scheme, token) = text.split_once(' ').ok_or(())?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
        return Err(());
    }
    Ok(Some(token.to_owned()))
}

/// A stranger's body did not arrive in time.
struct TooSlow;

impl AuthState {
    /// The body of a stranger's request, as far as it is read; `None` where it cannot be read to its end.
    async fn strangers_body(&self, body: Body) -> Result<Option<Bytes>, TooSlow> {
        tokio::time::timeout(self.strangers_body, to_bytes(body, ANONYMOUS_BODY_BYTES))
            .await
            .map(Result::ok)
            .map_err(|_| TooSlow)
    }

    /// Gives the request back where it is a call of `get_health`.
    async fn only_health(&self, request: Request) -> Result<Option<Request>, TooSlow> {
        let (parts, body) = request.into_parts();
        let bytes = self.strangers_body(body).await?;
        Ok(bytes
            .filter(|bytes| is_health(bytes))
            .map(|bytes| Request::from_parts(parts, Body::from(bytes))))
    }

    async fn refuse(&self, request: Request, error: &str) -> Response {
        // What the request says does not matter any more, nor whether it could be read to its end.
        match self.strangers_body(request.into_body()).await {
            Ok(_) => unauthorized(error),
            Err(TooSlow) => body_too_slow(),
        }
    }
}

fn is_health(body: &[u8]) -> bool {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        return false;
    };
    envelope.method == "tools/call"
        && envelope.params.and_then(|params| params.name).as_deref() == Some(Tool::GetHealth.as_str())
}

fn unauthorized(error: &str) -> Response {
    let challenge = match error {
        "" => "Bearer realm=\"mnemosyne\"".to_owned(),
        error => format!("Bearer realm=\"mnemosyne\", error=\"{error}\""),
    };
    let mut response = (
        StatusCode::UNAUTHORIZED,
        axum::Json(serde_json::json!({
            "detail": "A valid bearer token is required. Make one under Connect, or with `mnemosyne create_mcp_token`.",
            "code": "not_authenticated",
        })),
    )
        .into_response();
    if let Ok(value) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use mnemosyne_testkit::mutate::{mutated, mutations};
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[HeaderValue]) -> Result<Option<String>, ()> {
        let mut request = Request::new(Body::empty());
        for value in values {
            request.headers_mut().append(header::AUTHORIZATION, value.clone());
        }
        bearer(&request)
    }

    proptest! {
        /// Whatever stands in the header, it is one token without white space, or refused; never nobody.
        #[test]
        fn arbitrary_headers_are_a_token_or_refused(
            value in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "(?i:basic|bearer|token)?[ \t,]{0,3}[A-Za-z0-9._~+/=-]{0,60}[ \t]{0,2}[a-z.]{0,4}".prop_map(String::into_bytes),
            ]
        ) {
            let Ok(value) = HeaderValue::from_bytes(&value) else {
                return Ok(());
            };
            match of(std::slice::from_ref(&value)) {
                Ok(Some(token)) => {
                    let text = value.to_str().unwrap();
                    prop_assert!(text.len() > 7 && text[..7].eq_ignore_ascii_case("bearer "));
                    prop_assert!(!token.is_empty() && !token.contains(' '));
                    prop_assert_eq!(text[7..].trim(), token);
                }
                Ok(None) => prop_assert!(false, "a header is there"),
                Err(()) => {}
            }
            prop_assert_eq!(of(&[value.clone(), value]), Err(()), "two of them");
        }

        /// A header with something done to it names the same token only where that is still there, byte for byte and alone.
        #[test]
        fn nearly_right_headers_name_another_token(mutations in mutations()) {
            let valid = "Bearer mnm_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
            let donors: [&[u8]; 3] = [b"Bearer aaa.bbb.ccc", b"Basic YTpi", b"bearer mnm_other"];
            let Ok(value) = HeaderValue::from_bytes(&mutated(valid.as_bytes(), &donors, &mutations)) else {
                return Ok(());
            };
            let found = of(std::slice::from_ref(&value));
            prop_assert_ne!(&found, &Ok(None), "a header is there");
            let is_same = value.to_str().ok().and_then(|text| text.split_once(' ')).is_some_and(|(scheme, rest)| {
                scheme.eq_ignore_ascii_case("bearer") && rest.trim() == &valid[7..]
            });
            prop_assert_eq!(found == Ok(Some(valid[7..].to_owned())), is_same, "{:?}", value);
        }

        /// A body with something done to it is a call of `get_health` only where it says so.
        #[test]
        fn nearly_right_bodies_are_calls_of_health_only_where_they_say_so(mutations in mutations()) {
            let valid = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_health","arguments":{}}}"#;
            let other = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"query":"x"}}}"#;
            let body = mutated(valid, &[other], &mutations);
            // What is passed over here, such as a number too large, is refused as no JSON by what reads all of it.
            let read = serde_json::from_slice::<serde_json::Value>(&body);
            if is_health(&body) && let Ok(value) = read {
                prop_assert_eq!((&value["method"], &value["params"]["name"]), (&"tools/call".into(), &"get_health".into()));
            }
        }

        /// What is no call of `get_health` is never taken for one, and nothing breaks what reads it.
        #[test]
        fn arbitrary_bodies_are_no_call_of_health(
            body in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[\\[\\]{}\",:a-z/_0-9]{0,120}".prop_map(String::into_bytes)]
        ) {
            let text = String::from_utf8_lossy(&body);
            prop_assert!(!is_health(&body) || (text.contains("tools/call") && text.contains("get_health")));
        }
    }
}
