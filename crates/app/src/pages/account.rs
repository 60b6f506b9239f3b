//! Signing in and out.

use askama::Template;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use http::{HeaderMap, StatusCode, header};
use mnemosyne_domain::Principal;
use mnemosyne_services::ServiceError;

use super::shell::{Fields, PageResult, Params, plain_frame, value};
use super::view::SignInPage;
use crate::csrf::{self, CheckedForm, Csrf};
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
        is_first_start: is_first_start(&state).await?,
    };
    Ok(Html(page.render()?).into_response())
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
            let mut response = Redirect::to(next).into_response();
            let headers = response.headers_mut();
            headers.append(header::SET_COOKIE, session::cookie(&opened, info.scheme));
            headers.append(header::SET_COOKIE, csrf::fresh_cookie(info.scheme));
            Ok(response)
        }
        Err(ServiceError::Unauthenticated) => {
            let page = SignInPage {
                frame: plain_frame(&state, "Sign in", csrf.token()),
                username: username.chars().take(MAX_USERNAME).collect(),
                next: next.to_owned(),
                problem: Some("The user name or the password is wrong.".to_owned()),
                is_first_start: is_first_start(&state).await?,
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Html(page.render()?)).into_response())
        }
        Err(error) => Err(error.into()),
    }
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
