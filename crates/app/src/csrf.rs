//! Against cross-site request forgery, as Django does it: the cookie `csrftoken` holds a secret that a foreign page cannot
//! read, so a form or a script that repeats it comes from one of ours; beside that, `Origin` or `Referer` must be ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use mnemosyne_services::csrf::{mask, matches, new_secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, Audience, refuse};
use crate::middleware::request_info::{RequestInfo, Scheme};
use crate::session::{ReadableBy, set_cookie};
use crate::state::AppState;

/// The name of the cookie.
pub const COOKIE: &str = "csrftoken";
/// The field in which a form repeats the token.
pub const FORM_FIELD: &str = "csrfmiddlewaretoken";
/// The header in which a script repeats the token.
pub const HEADER: &str = "x-csrftoken";
/// Django's `CSRF_COOKIE_AGE`: 52 weeks, in seconds.
const COOKIE_AGE: i64 = 60 * 60 * 24 * 7 * 52;
/// The largest form without files, in bytes.
const MAX_FORM_BYTES: usize = 1024 * 1024;

/// Why a request is taken for forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// It comes from a page of another site.
    ForeignOrigin,
    /// It was sent over HTTPS and does not say from where.
    NoReferer,
    /// The browser brought no cookie.
    NoCookie,
    /// The token is missing or belongs to another cookie.
    WrongToken,
}

impl Forgery {
    /// Whether it may be no more than a page that is out of date: the request comes from one of ours.
    pub fn is_out_of_date(self) -> bool {
        matches!(self, Self::NoCookie | Self::WrongToken)
    }

    /// A sentence for the person who meets it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ForeignOrigin => {
                "The request comes from another site. Behind a proxy, check CSRF_TRUSTED_ORIGINS and \
                 MNEMOSYNE_TRUSTED_PROXIES."
            }
            Self::NoReferer => "The request does not say which page it comes from.",
            Self::NoCookie => {
                "The browser sent no CSRF cookie; allow cookies for this site and load the page again."
            }
            Self::WrongToken => "The CSRF token is missing or out of date; load the page again.",
        }
    }
}

impl From<Forgery> for ApiError {
    fn from(forgery: Forgery) -> Self {
        Self::new(StatusCode::FORBIDDEN, "csrf_failed", forgery.sentence())
    }
}

/// Whether a method may change something.
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// Checks where a request comes from and that it repeats the token: in its header, or as `form_token`.
pub fn check(
    headers: &HeaderMap,
    info: &RequestInfo,
    trusted_origins: &[String],
    form_token: Option<&str>,
) -> Result<(), Forgery> {
    check_origin(headers, info, trusted_origins)?;
    if info.scheme == Scheme::Https && !headers.contains_key(header::ORIGIN) {
        check_referer(headers, info, trusted_origins)?;
    }
    let jar = CookieJar::from_headers(headers);
    let secret = jar
        .get(COOKIE)
        .map(|cookie| cookie.value())
        .ok_or(Forgery::NoCookie)?;
    let sent = form_token.or_else(|| headers.get(HEADER).and_then(|value| value.to_str().ok()));
    if sent.is_some_and(|token| matches(token, secret)) {
        Ok(())
    } else {
        Err(Forgery::WrongToken)
    }
}

/// Checks the `Origin` header where there is one. Browsers send it with every request that changes something.
pub(crate) fn check_origin(
    headers: &HeaderMap,
    info: &RequestInfo,
    trusted_origins: &[String],
) -> Result<(), Forgery> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    if origin == info.origin() || is_trusted(&origin, trusted_origins) {
        Ok(())
    } else {
        Err(Forgery::ForeignOrigin)
    }
}

fn check_referer(headers: &HeaderMap, info: &RequestInfo, trusted_origins: &[String]) -> Result<(), Forgery> {
    let referer = headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok())
        .ok_or(Forgery::NoReferer)?;
    let after_scheme = referer.find("://").ok_or(Forgery::NoReferer)? + 3;
    let end = referer[after_scheme..]
        .find(['/', '?', '#'])
        .map_or(referer.len(), |at| after_scheme + at);
    let origin = referer[..end].to_ascii_lowercase();
    if origin == info.origin() || is_trusted(&origin, trusted_origins) {
        Ok(())
    } else {
        Err(Forgery::ForeignOrigin)
    }
}

/// Patterns as Django reads them: `https://name`, or `https://*.name` for all below it.
fn is_trusted(origin: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| match pattern.split_once("://*.") {
        None => origin.eq_ignore_ascii_case(pattern),
        Some((scheme, domain)) => origin
            .strip_prefix(&scheme.to_ascii_lowercase())
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|host| host.strip_suffix(&domain.to_ascii_lowercase()))
            .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
    })
}

/// The visitor's token, for forms and scripts. Asking for it makes the answer carry the cookie it belongs to.
#[derive(Clone, Debug)]
pub struct Csrf {
    secret: Arc<str>,
    was_asked_for: Arc<AtomicBool>,
}

impl Csrf {
    fn of(headers: &HeaderMap) -> Self {
        let jar = CookieJar::from_headers(headers);
        let known = jar.get(COOKIE).map(|cookie| cookie.value());
        let secret = match known.filter(|secret| matches(secret, secret)) {
            Some(secret) => secret.into(),
            None => new_secret().into(),
        };
        Self {
            secret,
            was_asked_for: Arc::default(),
        }
    }

    /// The token under a fresh mask.
    pub fn token(&self) -> String {
        self.was_asked_for.store(true, Ordering::Relaxed);
        mask(&self.secret)
    }
}

impl<S: Sync> FromRequestParts<S> for Csrf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a page asked for a CSRF token outside of the pages' router"))
    }
}

impl Csrf {
    /// A new secret, for the answer to signing in: what was known before must not go on.
    pub fn renewed() -> Self {
        Self {
            secret: new_secret().into(),
            was_asked_for: Arc::default(),
        }
    }

    /// The header that gives the browser this secret.
    pub fn cookie(&self, scheme: Scheme) -> HeaderValue {
        cookie(&self.secret, scheme)
    }
}

fn cookie(secret: &str, scheme: Scheme) -> HeaderValue {
    set_cookie(COOKIE, secret, COOKIE_AGE, ReadableBy::Scripts, scheme)
}

/// A layer for pages: gives handlers a [`Csrf`], and their answers the cookie where the token was asked for.
pub async fn provide(info: RequestInfo, mut request: Request, next: Next) -> Response {
    let csrf = Csrf::of(request.headers());
    request.extensions_mut().insert(csrf.clone());
    let mut response = next.run(request).await;
    let sets_one = response
        .headers()
        .get_all(header::SET_COOKIE)
        .iter()
        .any(|value| value.as_bytes().starts_with(b"csrftoken="));
    if csrf.was_asked_for.load(Ordering::Relaxed) && !sets_one {
        response
            .headers_mut()
            .append(header::SET_COOKIE, cookie(&csrf.secret, info.scheme));
        response
            .headers_mut()
            .append(header::VARY, HeaderValue::from_static("Cookie"));
    }
    response
}

/// A form of one of our pages, without files: its fields, after the token was checked.
#[derive(Debug)]
pub struct CheckedForm<T>(pub T);

#[derive(Deserialize)]
struct FormToken {
    csrfmiddlewaretoken: Option<String>,
}

impl<T: DeserializeOwned> FromRequest<AppState> for CheckedForm<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let audience = Audience::of(request.uri().path(), request.headers());
        let (form, verdict) = received(request, state).await?;
        match verdict {
            Ok(()) => Ok(Self(form)),
            Err(forgery) => Err(refuse(
                audience,
                StatusCode::FORBIDDEN,
                "csrf_failed",
                forgery.sentence(),
            )),
        }
    }
}

/// The fields of a form, and what its check found. A form that was refused must change nothing; where its page was only out
/// of date it may be shown again.
pub(crate) async fn received<T: DeserializeOwned>(
    request: Request,
    state: &AppState,
) -> Result<(T, Result<(), Forgery>), Response> {
    let (parts, body) = request.into_parts();
    let audience = Audience::of(parts.uri.path(), &parts.headers);
    let refused = |status, code, detail: &str| refuse(audience, status, code, detail);
    let malformed = || {
        refused(
            StatusCode::BAD_REQUEST,
            "invalid_form",
            "The form could not be read.",
        )
    };
    let Ok(body) = to_bytes(body, MAX_FORM_BYTES).await else {
        return Err(refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The form is too long.",
        ));
    };
    let again = || Request::from_parts(parts.clone(), Body::from(body.clone()));
    let token: Form<FormToken> = Form::from_request(again(), state)
        .await
        .map_err(|_| malformed())?;
    let info = parts.extensions.get::<RequestInfo>().ok_or_else(malformed)?;
    let verdict = check(
        &parts.headers,
        info,
        &state.settings.csrf_trusted_origins,
        token.0.csrfmiddlewaretoken.as_deref(),
    );
    match Form::from_request(again(), state).await {
        Ok(form) => Ok((form.0, verdict)),
        // Whoever forges a form hears of that first.
        Err(_) => match verdict {
            Ok(()) => Err(malformed()),
            Err(forgery) => Err(refused(StatusCode::FORBIDDEN, "csrf_failed", forgery.sentence())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "abcdefghijklmnopqrstuvwxyz012345";

    fn info(scheme: Scheme) -> RequestInfo {
        RequestInfo {
            id: "1".into(),
            client: None,
            scheme,
            host: "own.example".into(),
            via_proxy: false,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn judge(scheme: Scheme, pairs: &[(&'static str, &str)], token: Option<&str>) -> Result<(), Forgery> {
        let trusted = [
            "https://other.example".to_owned(),
            "https://*.wild.example".to_owned(),
        ];
        check(&headers(pairs), &info(scheme), &trusted, token)
    }

    #[test]
    fn the_token_must_belong_to_the_cookie() {
        let cookie = format!("csrftoken={SECRET}");
        let cookie = ("cookie", cookie.as_str());
        let token = mask(SECRET);
        assert_eq!(judge(Scheme::Http, &[cookie], Some(&token)), Ok(()));
        assert_eq!(judge(Scheme::Http, &[cookie, (HEADER, &token)], None), Ok(()));
        assert_eq!(judge(Scheme::Http, &[cookie], None), Err(Forgery::WrongToken));
        assert_eq!(
            judge(Scheme::Http, &[cookie], Some(&mask(&new_secret()))),
            Err(Forgery::WrongToken)
        );
        assert_eq!(judge(Scheme::Http, &[], Some(&token)), Err(Forgery::NoCookie));
        assert_eq!(
            judge(Scheme::Http, &[("cookie", "csrftoken=")], Some("")),
            Err(Forgery::WrongToken)
        );
    }

    #[test]
    fn the_origin_must_be_ours_or_trusted() {
        let cookie = format!("csrftoken={SECRET}");
        let token = mask(SECRET);
        let with_origin = |origin: &str| {
            judge(
                Scheme::Https,
                &[("cookie", &cookie), ("origin", origin)],
                Some(&token),
            )
        };
        for good in [
            "https://own.example",
            "https://other.example",
            "https://a.b.wild.example",
        ] {
            assert_eq!(with_origin(good), Ok(()), "{good}");
        }
        for bad in [
            "http://own.example",
            "https://own.example:444",
            "https://evil.example",
            "https://wild.example",
            "https://evilwild.example",
            "null",
        ] {
            assert_eq!(with_origin(bad), Err(Forgery::ForeignOrigin), "{bad}");
        }
    }

    #[test]
    fn over_https_a_referer_stands_in_for_the_origin() {
        let cookie = format!("csrftoken={SECRET}");
        let token = mask(SECRET);
        let with = |referer: &str| {
            judge(
                Scheme::Https,
                &[("cookie", &cookie), ("referer", referer)],
                Some(&token),
            )
        };
        assert_eq!(with("https://own.example/x?y"), Ok(()));
        assert_eq!(
            with("https://own.example.evil.example/"),
            Err(Forgery::ForeignOrigin)
        );
        assert_eq!(with("nonsense"), Err(Forgery::NoReferer));
        assert_eq!(
            judge(Scheme::Https, &[("cookie", &cookie)], Some(&token)),
            Err(Forgery::NoReferer)
        );
    }
}
