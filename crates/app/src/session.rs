//! Sessions of browsers: the cookie `sessionid`, as Django names and guards it.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use http::request::Parts;
use http::{HeaderValue, Uri};
use mnemosyne_domain::Principal;
use mnemosyne_services::accounts::{OpenedSession, SESSION_AGE};

use crate::error::{Audience, answer, describe};
use crate::middleware::request_info::Scheme;
use crate::state::AppState;

/// The name of the cookie.
pub const COOKIE: &str = "sessionid";
/// Where people sign in.
pub const SIGN_IN: &str = "/accounts/login/";

/// The session key that a browser brought.
pub fn key(jar: &CookieJar) -> Option<String> {
    let value = jar.get(COOKIE)?.value();
    (!value.is_empty() && value.len() <= 64 && value.bytes().all(|b| b.is_ascii_alphanumeric()))
        .then(|| value.to_owned())
}

/// The header that gives a browser the session that was just opened.
pub fn cookie(opened: &OpenedSession, scheme: Scheme) -> HeaderValue {
    set_cookie(
        COOKIE,
        &opened.key,
        SESSION_AGE.num_seconds(),
        ReadableBy::ServerOnly,
        scheme,
    )
}

/// The header that makes a browser forget its session.
pub fn forgetting_cookie(scheme: Scheme) -> HeaderValue {
    set_cookie(COOKIE, "", 0, ReadableBy::ServerOnly, scheme)
}

/// Who can read a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadableBy {
    /// This server: `HttpOnly`.
    ServerOnly,
    /// Also our scripts.
    Scripts,
}

/// A `Set-Cookie` header for one address of this server, which scripts cannot read. Value and path are letters, digits, `-`,
/// `_` and `/`, or the header is empty.
pub(crate) fn set_cookie_at(
    path: &str,
    name: &str,
    value: &str,
    max_age_seconds: i64,
    scheme: Scheme,
) -> HeaderValue {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b))
    };
    if !is_plain(path) || !is_plain(value) {
        return HeaderValue::from_static("");
    }
    cookie_for(path, name, value, max_age_seconds, ReadableBy::ServerOnly, scheme)
}

/// A `Set-Cookie` header. Values are letters and digits, which need no escaping.
pub(crate) fn set_cookie(
    name: &str,
    value: &str,
    max_age_seconds: i64,
    readable_by: ReadableBy,
    scheme: Scheme,
) -> HeaderValue {
    cookie_for("/", name, value, max_age_seconds, readable_by, scheme)
}

fn cookie_for(
    path: &str,
    name: &str,
    value: &str,
    max_age_seconds: i64,
    readable_by: ReadableBy,
    scheme: Scheme,
) -> HeaderValue {
    let http_only = if readable_by == ReadableBy::ServerOnly {
        "; HttpOnly"
    } else {
        ""
    };
    let secure = if scheme == Scheme::Https { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path={path}; Max-Age={max_age_seconds}; SameSite=Lax{http_only}{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Somebody who is signed in, for pages. Strangers are sent to the sign-in page, and from there back to where they were
/// going.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The user.
    pub principal: Principal,
    /// The session's key.
    pub session_key: String,
}

impl FromRequestParts<AppState> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let Some(session_key) = key(&CookieJar::from_headers(&parts.headers)) else {
            return Err(sign_in_first(&parts.uri));
        };
        match state.services.session_principal(&session_key).await {
            Ok(Some(principal)) => Ok(Self {
                principal,
                session_key,
            }),
            Ok(None) => Err(sign_in_first(&parts.uri)),
            Err(error) => {
                let audience = Audience::of(parts.uri.path(), &parts.headers);
                Err(answer(audience, describe(error)))
            }
        }
    }
}

fn sign_in_first(uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    Redirect::to(&format!("{SIGN_IN}?next={}", escape(wanted))).into_response()
}

/// Percent-encodes everything but what a path may hold as it is.
fn escape(text: &str) -> String {
    use std::fmt::Write;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                // A String takes everything that is written to it.
                let _ = write!(escaped, "%{byte:02X}");
            }
            escaped
        })
}

/// Where to go after signing in: a path of this server, never another one's address.
pub fn safe_next(next: Option<&str>) -> &str {
    next.filter(|next| {
        next.starts_with('/')
            && !next.starts_with("//")
            && !next.contains('\\')
            && !next.chars().any(char::is_control)
    })
    .unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_guarded() {
        let opened = OpenedSession {
            key: "abc".into(),
            expires_at: chrono::Utc::now(),
        };
        assert_eq!(
            cookie(&opened, Scheme::Https),
            "sessionid=abc; Path=/; Max-Age=1209600; SameSite=Lax; HttpOnly; Secure"
        );
        assert_eq!(
            forgetting_cookie(Scheme::Http),
            "sessionid=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly"
        );
    }

    #[test]
    fn a_way_back_stays_on_this_server() {
        assert_eq!(safe_next(Some("/libraries/?q=1")), "/libraries/?q=1");
        for bad in [
            "//evil.example/",
            "https://evil.example/",
            "/\\evil.example",
            "javascript:x",
            "/a\nb",
            "",
        ] {
            assert_eq!(safe_next(Some(bad)), "/", "{bad}");
        }
        assert_eq!(safe_next(None), "/");
    }

    #[test]
    fn strangers_are_sent_to_sign_in_and_back() {
        let response = sign_in_first(&Uri::from_static("/search/?q=a%20b&x=1"));
        assert_eq!(
            response.headers()["location"],
            "/accounts/login/?next=/search/%3Fq%3Da%2520b%26x%3D1"
        );
    }
}
