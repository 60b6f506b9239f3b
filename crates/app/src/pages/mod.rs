//! The pages for people. Every page works without the script; what changes something is a form that posts, repeats the
//! CSRF token and is answered by a redirect, or by the same form with what was typed and what is wrong with it.
//!
//! | file | addresses |
//! |---|---|
//! | `account` | `/accounts/…` |
//! | `home` | `/`, `/demo/` |
//! | `libraries` | `/libraries/…` but for uploads |
//! | `upload` | `/libraries/{uid}/upload/` |
//! | `items` | `/items/…` |
//! | `search` | `/search/` |
//! | `activity` | `/activity/…` but for the live parts |
//! | `live` | `/activity/live/`, `/activity/stream/` |
//! | `connect` | `/connect/…` |
//! | `models` | `/models/…`, for administrators |
//! | `people` | `/people/…`, `/audit/` |
//! | `profile` | `/profile/…`, `/accounts/password_change/` |
//! | `reset` | `/accounts/password_reset/`, `/accounts/reset/…` |
//!
//! `view` holds what the pages show, `shell` what all handlers share, `rows` what several pages list, `typed` what keeps
//! that nothing typed is lost.

mod account;
mod activity;
mod connect;
mod home;
mod items;
mod libraries;
mod live;
mod models;
mod people;
mod profile;
mod reset;
mod rows;
mod search;
mod shell;
mod typed;
mod upload;
pub mod view;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use crate::csrf;
use crate::state::AppState;

/// The address that takes files.
pub(crate) const UPLOAD: &str = "/libraries/{uid}/upload/";

/// Every page. Static files, and what no route answers, are for the caller.
pub(crate) fn router(state: &AppState) -> Router<AppState> {
    Router::new()
        .route("/", get(home::show))
        .route("/demo/", get(home::back).post(home::load_demo))
        .route(
            "/accounts/login/",
            get(account::show_sign_in).post(account::sign_in),
        )
        .route("/accounts/logout/", get(home::back).post(account::sign_out))
        .route(
            "/accounts/password_change/",
            get(profile::show_password).post(profile::change_password),
        )
        .route(
            "/accounts/password_reset/",
            get(reset::show_request).post(reset::request),
        )
        .route(
            "/accounts/reset/{uid}/{token}/",
            get(reset::show_choose).post(reset::choose),
        )
        .route("/profile/", get(profile::show).post(profile::save))
        .route(
            "/profile/sign_out/",
            get(profile::back).post(profile::sign_out_everywhere),
        )
        .route("/people/", get(people::list))
        .route("/people/new/", get(people::show_new).post(people::create))
        .route("/people/{id}/", get(people::show).post(people::change))
        .route(
            "/people/{id}/password/",
            get(people::back).post(people::set_password),
        )
        .route("/people/{id}/sign_out/", get(people::back).post(people::sign_out))
        .route("/audit/", get(people::audit))
        .route("/libraries/", get(libraries::list))
        .route(
            "/libraries/new/",
            get(libraries::show_new).post(libraries::create),
        )
        .route("/libraries/{uid}/", get(libraries::show))
        .route(
            "/libraries/{uid}/edit/",
            get(libraries::show_edit).post(libraries::change),
        )
        .route(
            "/libraries/{uid}/delete/",
            get(libraries::confirm_deletion).post(libraries::delete),
        )
        .route(
            UPLOAD,
            get(upload::back)
                .post(upload::receive)
                .layer(DefaultBodyLimit::disable()),
        )
        .route("/items/{uid}/", get(items::show))
        .route("/items/{uid}/original/", get(items::original))
        .route(
            "/items/{uid}/delete/",
            get(items::confirm_deletion).post(items::delete),
        )
        .route("/search/", get(search::show))
        .route("/activity/", get(activity::show))
        .route("/activity/retry/", get(activity::back).post(activity::retry_many))
        .route("/activity/live/", get(live::fragment))
        .route("/activity/stream/", get(live::stream).layer(live::streams()))
        .route("/activity/jobs/{id}/", get(activity::show_job))
        .route(
            "/activity/jobs/{id}/cancel/",
            get(activity::back_to_job).post(activity::cancel),
        )
        .route(
            "/activity/jobs/{id}/retry/",
            get(activity::back_to_job).post(activity::retry),
        )
        .route("/connect/", get(connect::show))
        .route("/connect/test/", get(connect::back).post(connect::test))
        .route("/connect/tokens/", get(connect::back).post(connect::create_token))
        .route(
            "/connect/tokens/{id}/revoke/",
            get(connect::back).post(connect::revoke_token),
        )
        .route("/models/", get(models::show))
        .route(
            "/models/providers/new/",
            get(models::show_new_provider).post(models::create_provider),
        )
        .route(
            "/models/providers/{uid}/edit/",
            get(models::show_edit_provider).post(models::change_provider),
        )
        .route(
            "/models/providers/{uid}/delete/",
            get(models::confirm_provider_deletion).post(models::delete_provider),
        )
        .route(
            "/models/providers/{uid}/test/",
            get(models::back).post(models::test_provider),
        )
        .route(
            "/models/new/",
            get(models::show_new_model).post(models::create_model),
        )
        .route(
            "/models/{uid}/edit/",
            get(models::show_edit_model).post(models::change_model),
        )
        .route(
            "/models/{uid}/delete/",
            get(models::confirm_model_deletion).post(models::delete_model),
        )
        .route("/models/{uid}/test/", get(models::back).post(models::test_model))
        .layer(from_fn_with_state(state.clone(), shell::dress_failures))
        .layer(from_fn(csrf::provide))
}

/// An error where nothing is known of the visitor: outside of every page, or in front of them.
pub(crate) fn error_page(status: StatusCode, detail: &str) -> Response {
    shell::bare_error(status, detail)
}
