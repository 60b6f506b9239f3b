//! Signing in and out.

use askama::Template;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use http::{HeaderMap, StatusCode, header};
use mnemosyne_domain::Principal;
use mnemosyne_services::ServiceError;

use super::shell::{Fields, PageError, PageResult, Params, Visitor, plain_frame, value};
use super::typed::{kept, kept_name, show_again};
use super::view::{Notice, NoticeKind, SignInPage, duration};
use crate::csrf::{CheckedForm, Csrf};
use crate::middleware::request_info::RequestInfo;
use crate::session::{self, SIGN_IN, safe_next};
use crate::state::AppState;

/// The longest name that is compared at all; Django allows 150.
const MAX_USERNAME: usize = 150;
/// The longest password that is compared at all.
const MAX_PASSWORD: usize = 4096;

/// The form; whoever is signed in already is sent on.
pub(super) async fn show_sign_in(
    State(state): State<AppState>,
    csrf: Csrf,
    params: Params,
    headers: HeaderMap,
) -> PageResult {
    let next = safe_next(Some(params.get("next")));
    if let Some(key) = session::key(&CookieJar::from_headers(&headers))
        && state.services().session_principal(&key).await?.is_some()
    {
        return Ok(Redirect::to(next).into_response());
    }
    let page = SignInPage {
        frame: plain_frame(&state, "Sign in", csrf.token()),
        username: String::new(),
        next: next.to_owned(),
        problem: None,
        kept: Fields::new(),
        is_first_start: is_first_start(&state).await?,
    };
    Ok(Html(page.render()?).into_response())
}

/// The form for somebody whose session ended before a form was sent; it takes that form's fields along.
pub(super) async fn sign_in_again(state: &AppState, csrf: &Csrf, next: String, kept: Fields) -> PageResult {
    let mut frame = plain_frame(state, "Sign in", csrf.token());
    frame.notices.push(Notice::new(
        NoticeKind::Warning,
        "Your session has ended. Sign in again; what you typed comes along.",
    ));
    let page = SignInPage {
        frame,
        username: String::new(),
        next,
        problem: None,
        kept: kept_fields(kept),
        is_first_start: is_first_start(state).await?,
    };
    Ok((StatusCode::FORBIDDEN, Html(page.render()?)).into_response())
}

/// Fields under the names that they are taken along by.
fn kept_fields(fields: Fields) -> Fields {
    fields
        .into_iter()
        .map(|(name, value)| (kept_name(&name), value))
        .collect()
}

/// Opens a session under a key of its own, and changes the CSRF secret, so that nothing known before goes on.
pub(super) async fn sign_in(
    State(state): State<AppState>,
    csrf: Csrf,
    info: RequestInfo,
    headers: HeaderMap,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let next = safe_next(Some(value(&fields, "next")));
    let (username, password) = (value(&fields, "username").trim(), value(&fields, "password"));
    let fits = username.chars().count() <= MAX_USERNAME && password.len() <= MAX_PASSWORD;
    let outcome = if fits {
        state.services().sign_in(username, password).await
    } else {
        Err(ServiceError::Unauthenticated)
    };
    match outcome {
        Ok(opened) => {
            // Nobody can leave the former session by signing out any more, so it ends here.
            if let Some(former) = session::key(&CookieJar::from_headers(&headers)) {
                state.services().sign_out(&former).await?;
            }
            let fresh = Csrf::renewed();
            let interrupted = interrupted(&state, &opened.key, &fresh, &info, next, &kept(&fields)).await?;
            let mut response = interrupted.unwrap_or_else(|| Redirect::to(next).into_response());
            let headers = response.headers_mut();
            headers.append(header::SET_COOKIE, session::cookie(&opened, info.scheme));
            headers.append(header::SET_COOKIE, fresh.cookie(info.scheme));
            Ok(response)
        }
        Err(error @ (ServiceError::Unauthenticated | ServiceError::Throttled(_))) => {
            let (status, problem, pause) = refusal(&error);
            let page = SignInPage {
                frame: plain_frame(&state, "Sign in", csrf.token()),
                username: username.chars().take(MAX_USERNAME).collect(),
                next: next.to_owned(),
                problem: Some(problem),
                kept: kept_fields(kept(&fields)),
                is_first_start: is_first_start(&state).await?,
            };
            let mut response = (status, Html(page.render()?)).into_response();
            if let Some(seconds) = pause {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Why nobody was let in, the same whether there is such a user or not: status, sentence, seconds to wait.
fn refusal(error: &ServiceError) -> (StatusCode, String, Option<u64>) {
    let ServiceError::Throttled(pause) = error else {
        let sentence = "The user name or the password is wrong.".to_owned();
        return (StatusCode::UNPROCESSABLE_ENTITY, sentence, None);
    };
    let seconds = pause.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    let sentence = format!(
        "Too many attempts failed. Try again in {}.",
        duration(seconds.saturating_mul(1000))
    );
    (StatusCode::TOO_MANY_REQUESTS, sentence, Some(seconds))
}

/// The form that the end of the session interrupted, as it was sent; `None` where there was none.
async fn interrupted(
    state: &AppState,
    session_key: &str,
    csrf: &Csrf,
    info: &RequestInfo,
    path: &str,
    fields: &Fields,
) -> Result<Option<Response>, PageError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let Some(principal) = state.services().session_principal(session_key).await? else {
        return Ok(None);
    };
    let visitor = Visitor::returned(principal, session_key.to_owned(), csrf.clone(), info.clone());
    show_again(state, &visitor, path, fields).await
}

/// Ends the session, here and in the browser.
pub(super) async fn sign_out(
    State(state): State<AppState>,
    info: RequestInfo,
    headers: HeaderMap,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    if let Some(key) = session::key(&CookieJar::from_headers(&headers)) {
        state.services().sign_out(&key).await?;
    }
    let mut response: Response = Redirect::to(SIGN_IN).into_response();
    response
        .headers_mut()
        .append(header::SET_COOKIE, session::forgetting_cookie(info.scheme));
    Ok(response)
}

/// Whether nobody has ever signed in, so that the page says where the first password is.
async fn is_first_start(state: &AppState) -> Result<bool, ServiceError> {
    let users = state.services().users(&Principal::Local).await?;
    Ok(users.iter().all(|user| user.last_login.is_none()))
}
