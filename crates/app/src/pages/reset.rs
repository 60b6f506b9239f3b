//! A new password for somebody who forgot the old one, by a link in a mail.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect};
use http::StatusCode;
use mnemosyne_services::ServiceError;
use mnemosyne_services::passwords::ResetLink;

use super::profile::repeated;
use super::shell::{Fields, FormProblems, PageResult, form_problems, plain_frame, typed, value};
use super::view::{ResetChoosePage, ResetRequestPage};
use crate::csrf::{CheckedForm, Csrf};
use crate::middleware::request_info::RequestInfo;
use crate::state::AppState;

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

/// The form that a link leads to.
pub(super) async fn show_choose(
    State(state): State<AppState>,
    csrf: Csrf,
    Path((uid, token)): Path<(String, String)>,
) -> PageResult {
    let link = ResetLink { uid, token };
    choose_page(&state, &csrf, StatusCode::OK, &link, &FormProblems::new()).await
}

async fn choose_page(
    state: &AppState,
    csrf: &Csrf,
    status: StatusCode,
    link: &ResetLink,
    problems: &FormProblems,
) -> PageResult {
    let (username, status) = match state.services().reset_target(link).await {
        Ok(username) => (Some(username), status),
        Err(ServiceError::NotFound(_)) => (None, StatusCode::NOT_FOUND),
        Err(error) => return Err(error.into()),
    };
    let page = ResetChoosePage {
        frame: plain_frame(state, "Choose a new password", csrf.token()),
        username,
        action: format!("/accounts/reset/{}/{}/", link.uid, link.token),
        new: typed("new_password1", "", problems),
        again: typed("new_password2", "", problems),
    };
    Ok((status, Html(page.render()?)).into_response())
}

/// Sets the password; the link is spent.
pub(super) async fn choose(
    State(state): State<AppState>,
    csrf: Csrf,
    Path((uid, token)): Path<(String, String)>,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let link = ResetLink { uid, token };
    let outcome = match repeated(&fields) {
        Ok(new) => state.services().reset_password(&link, new).await,
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match outcome {
        Ok(()) => Ok(Redirect::to("/accounts/login/").into_response()),
        Err(ServiceError::NotFound(_)) => {
            choose_page(&state, &csrf, StatusCode::NOT_FOUND, &link, &FormProblems::new()).await
        }
        Err(error) => {
            let problems = form_problems(error)?;
            choose_page(&state, &csrf, StatusCode::UNPROCESSABLE_ENTITY, &link, &problems).await
        }
    }
}
