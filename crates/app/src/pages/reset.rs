//! A new password for somebody who forgot the old one, by a link in a mail.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect};
use axum_extra::extract::CookieJar;
use http::{HeaderValue, StatusCode, header};
use mnemosyne_services::ServiceError;
use mnemosyne_services::passwords::ResetLink;

use super::profile::repeated;
use super::shell::{Fields, FormProblems, PageResult, form_problems, plain_frame, typed, value};
use super::view::{ResetChoosePage, ResetRequestPage};
use crate::csrf::{CheckedForm, Csrf};
use crate::middleware::request_info::RequestInfo;
use crate::session::{SIGN_IN, set_cookie_at};
use crate::state::AppState;

/// What stands in an address in place of the token, as in Django's.
const IN_COOKIE: &str = "set-password";
/// The cookie that holds the token meanwhile.
const COOKIE: &str = "resettoken";
/// How long it is kept, in seconds. The link in the mail sets it again.
const COOKIE_AGE: i64 = 60 * 60;

/// The form that asks for a link.
pub(super) async fn show_request(State(state): State<AppState>, csrf: Csrf) -> PageResult {
    request_page(&state, &csrf, false)
}

fn request_page(state: &AppState, csrf: &Csrf, is_sent: bool) -> PageResult {
    let page = ResetRequestPage {
        frame: plain_frame(state, "A new password", csrf.token()),
        can_mail: state.services().can_mail(),
        is_sent,
    };
    Ok(Html(page.render()?).into_response())
}

/// Asks for a link. The answer is the same whether there is such an account or not, and does not wait for the mail.
pub(super) async fn request(
    State(state): State<AppState>,
    csrf: Csrf,
    info: RequestInfo,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    if state.services().can_mail() {
        state
            .services()
            .request_reset(value(&fields, "email"), &info.origin());
    }
    request_page(&state, &csrf, true)
}

/// What a link leads to: the form, at an address without the token, which goes into a cookie that is sent to that address
/// only, as Django keeps it in the session. So the token is in no history, no `Referer` and no picture of the screen.
pub(super) async fn show_choose(
    State(state): State<AppState>,
    csrf: Csrf,
    info: RequestInfo,
    jar: CookieJar,
    Path((uid, token)): Path<(String, String)>,
) -> PageResult {
    let nothing = FormProblems::new();
    if token != IN_COOKIE {
        return keep_token(&state, &csrf, &info, ResetLink { uid, token }).await;
    }
    let Some(token) = kept_token(&jar) else {
        return page_for(&state, &csrf, StatusCode::NOT_FOUND, Target::NotKept, &nothing);
    };
    let link = ResetLink { uid, token };
    choose_page(&state, &csrf, StatusCode::OK, &link, &nothing).await
}

/// Takes the token of a link that holds out of the address.
async fn keep_token(state: &AppState, csrf: &Csrf, info: &RequestInfo, link: ResetLink) -> PageResult {
    match state.services().reset_target(&link).await {
        Ok(_) => {}
        Err(ServiceError::NotFound(_)) => {
            let nothing = FormProblems::new();
            return page_for(state, csrf, StatusCode::NOT_FOUND, Target::Spent, &nothing);
        }
        Err(error) => return Err(error.into()),
    }
    let path = form_path(&link.uid);
    let mut response = Redirect::to(&path).into_response();
    let headers = response.headers_mut();
    headers.append(
        header::SET_COOKIE,
        set_cookie_at(&path, COOKIE, &link.token, COOKIE_AGE, info.scheme),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// The address of the form.
fn form_path(uid: &str) -> String {
    format!("/accounts/reset/{uid}/{IN_COOKIE}/")
}

fn kept_token(jar: &CookieJar) -> Option<String> {
    let token = jar.get(COOKIE)?.value();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Whom the form is for.
enum Target {
    /// This user.
    User(String),
    /// Nobody: the link is spent, too old or none.
    Spent,
    /// Nobody known: the browser did not come from a link, or that was too long ago.
    NotKept,
}

async fn choose_page(
    state: &AppState,
    csrf: &Csrf,
    status: StatusCode,
    link: &ResetLink,
    problems: &FormProblems,
) -> PageResult {
    match state.services().reset_target(link).await {
        Ok(username) => page_for(state, csrf, status, Target::User(username), problems),
        Err(ServiceError::NotFound(_)) => {
            page_for(state, csrf, StatusCode::NOT_FOUND, Target::Spent, problems)
        }
        Err(error) => Err(error.into()),
    }
}

fn page_for(
    state: &AppState,
    csrf: &Csrf,
    status: StatusCode,
    target: Target,
    problems: &FormProblems,
) -> PageResult {
    let is_kept = !matches!(target, Target::NotKept);
    let page = ResetChoosePage {
        frame: plain_frame(state, "Choose a new password", csrf.token()),
        username: match target {
            Target::User(username) => Some(username),
            Target::Spent | Target::NotKept => None,
        },
        is_kept,
        new: typed("new_password1", "", problems),
        again: typed("new_password2", "", problems),
    };
    Ok((status, Html(page.render()?)).into_response())
}

/// Sets the password; the link is spent. A form that is sent to the address of a link is treated as the link.
pub(super) async fn choose(
    State(state): State<AppState>,
    csrf: Csrf,
    info: RequestInfo,
    jar: CookieJar,
    Path((uid, token)): Path<(String, String)>,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let nothing = FormProblems::new();
    if token != IN_COOKIE {
        return keep_token(&state, &csrf, &info, ResetLink { uid, token }).await;
    }
    let Some(token) = kept_token(&jar) else {
        return page_for(&state, &csrf, StatusCode::NOT_FOUND, Target::NotKept, &nothing);
    };
    let link = ResetLink { uid, token };
    let outcome = match repeated(&fields) {
        Ok(new) => state.services().reset_password(&link, new).await,
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match outcome {
        Ok(()) => {
            let mut response = Redirect::to(SIGN_IN).into_response();
            let path = form_path(&link.uid);
            response.headers_mut().append(
                header::SET_COOKIE,
                set_cookie_at(&path, COOKIE, "", 0, info.scheme),
            );
            Ok(response)
        }
        Err(ServiceError::NotFound(_)) => {
            page_for(&state, &csrf, StatusCode::NOT_FOUND, Target::Spent, &nothing)
        }
        Err(error) => {
            let problems = form_problems(error)?;
            choose_page(&state, &csrf, StatusCode::UNPROCESSABLE_ENTITY, &link, &problems).await
        }
    }
}
