//! What the caller keeps of its own: how pages look, the password, the sessions.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use http::{StatusCode, header};
use mnemosyne_domain::{DateFormat, Principal, Profile as StoredProfile, Theme};
use mnemosyne_services::ServiceError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::providers::present;
use super::users::EndedSessions;
use super::{ApiJson, Problem, WrongFields};
use crate::auth::{ApiCaller, ApiSession};
use crate::csrf::Csrf;
use crate::error::ApiResult;
use crate::middleware::request_info::RequestInfo;
use crate::session;
use crate::state::AppState;

/// What the caller keeps of its own.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// The caller's key.
    user_id: i64,
    /// The caller's name.
    username: String,
    /// Its mail address, which an administrator keeps; may be empty.
    email: String,
    /// IANA name of the time zone that pages show times in; null: the installation's.
    #[schema(example = "Europe/Vienna")]
    time_zone: Option<String>,
    /// How pages write dates: `words`, `iso`, `day_first` or `month_first`.
    #[schema(example = "iso")]
    date_format: &'static str,
    /// Colours of pages: `system`, `light` or `dark`.
    #[schema(example = "dark")]
    theme: &'static str,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProfileChanges {
    /// IANA name of a time zone; null or an empty text: the installation's.
    #[serde(default, deserialize_with = "present")]
    time_zone: Option<Option<String>>,
    /// How pages write dates: `words`, `iso`, `day_first` or `month_first`.
    date_format: Option<String>,
    /// Colours of pages: `system`, `light` or `dark`.
    theme: Option<String>,
}

/// Another password for the caller.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OwnPassword {
    /// The password that holds now.
    #[schema(value_type = String)]
    old_password: Option<String>,
    /// The one that is to take its place: at least 8 characters, not only digits, not a common one, and not like the name or
    /// the address.
    #[schema(value_type = String)]
    new_password: Option<String>,
}

async fn shown(state: &AppState, caller: &Principal) -> ApiResult<Json<Profile>> {
    let user = state.services.own_user(caller).await?;
    let profile = state.services.profile(caller).await?;
    Ok(Json(Profile {
        user_id: user.id.0,
        username: user.username,
        email: user.email,
        time_zone: profile.time_zone,
        date_format: profile.date_format.as_str(),
        theme: profile.theme.as_str(),
    }))
}

/// The caller's profile.
#[utoipa::path(
    get, path = "/library/api/profile/", tag = "profile", operation_id = "get_profile",
    responses((status = 200, body = Profile)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
) -> ApiResult<Json<Profile>> {
    shown(&state, &caller).await
}

/// A word of a list, or what is wrong with it.
fn chosen<T>(
    problems: &mut BTreeMap<String, Vec<String>>,
    field: &str,
    word: &str,
    found: Option<T>,
    known: &[&str],
) -> Option<T> {
    if found.is_none() {
        let problem = format!(
            "{word:?} is not a valid choice; choose one of {}.",
            known.join(", ")
        );
        problems.insert(field.to_owned(), vec![problem]);
    }
    found
}

/// Changes the caller's profile.
#[utoipa::path(
    patch, path = "/library/api/profile/", tag = "profile", operation_id = "update_profile",
    request_body = ProfileChanges,
    responses((status = 200, body = Profile), (status = 400, body = WrongFields)),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<ProfileChanges>,
) -> ApiResult<Json<Profile>> {
    let before = state.services.profile(&caller).await?;
    let mut problems = BTreeMap::new();
    let time_zone = match wanted.time_zone {
        None => before.time_zone,
        Some(zone) => zone
            .map(|zone| zone.trim().to_owned())
            .filter(|zone| !zone.is_empty()),
    };
    if time_zone
        .as_deref()
        .is_some_and(|zone| zone.parse::<Tz>().is_err())
    {
        let problem = "Choose the IANA name of a time zone, as Europe/Vienna.".to_owned();
        problems.insert("time_zone".to_owned(), vec![problem]);
    }
    let date_format = match wanted.date_format.as_deref() {
        None => Some(before.date_format),
        Some(word) => {
            let known = DateFormat::ALL.map(DateFormat::as_str);
            chosen(
                &mut problems,
                "date_format",
                word,
                DateFormat::parse(word),
                &known,
            )
        }
    };
    let theme = match wanted.theme.as_deref() {
        None => Some(before.theme),
        Some(word) => {
            let known = Theme::ALL.map(Theme::as_str);
            chosen(&mut problems, "theme", word, Theme::parse(word), &known)
        }
    };
    if !problems.is_empty() {
        return Err(ServiceError::Invalid(problems).into());
    }
    let profile = StoredProfile {
        time_zone,
        date_format: date_format.unwrap_or_default(),
        theme: theme.unwrap_or_default(),
    };
    state.services.save_profile(&caller, &profile).await?;
    shown(&state, &caller).await
}

/// Changes the caller's own password. All sessions of the caller end but the one that this request belongs to, which goes on
/// under new cookies.
#[utoipa::path(
    post, path = "/library/api/profile/password/", tag = "profile", operation_id = "change_own_password",
    request_body = OwnPassword,
    responses(
        (status = 204),
        (status = 400, body = WrongFields),
        (status = 409, description = "`conflict`: it was changed at the same moment", body = Problem),
        (status = 429, description = "`throttled`: the old password was wrong too often", body = Problem),
    ),
)]
pub(crate) async fn change_password(
    State(state): State<AppState>,
    ApiSession { principal, key }: ApiSession,
    info: RequestInfo,
    ApiJson(wanted): ApiJson<OwnPassword>,
) -> ApiResult<Response> {
    let old = wanted.old_password.unwrap_or_default();
    let new = wanted.new_password.unwrap_or_default();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let Some(key) = key else {
        state
            .services
            .change_own_password_everywhere(&principal, &old, &new)
            .await
            .map_err(in_our_words)?;
        return Ok(response);
    };
    let opened = state
        .services
        .change_own_password(&principal, &key, &old, &new)
        .await
        .map_err(in_our_words)?;
    let headers = response.headers_mut();
    headers.append(header::SET_COOKIE, session::cookie(&opened, info.scheme));
    headers.append(header::SET_COOKIE, Csrf::renewed().cookie(info.scheme));
    Ok(response)
}

/// The form of the page asks for the new password twice; here it is one field.
fn in_our_words(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Invalid(mut fields) => {
            if let Some(problems) = fields.remove("new_password1") {
                fields.insert("new_password".to_owned(), problems);
            }
            ServiceError::Invalid(fields)
        }
        other => other,
    }
}

/// Ends all sessions of the caller, this one as well.
#[utoipa::path(
    post, path = "/library/api/profile/sign-out/", tag = "profile", operation_id = "sign_out_everywhere",
    responses((status = 200, body = EndedSessions)),
)]
pub(crate) async fn sign_out(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
) -> ApiResult<Json<EndedSessions>> {
    let user = state.services.own_user(&caller).await?;
    let ended = state.services.end_sessions(&caller, user.id).await?;
    Ok(Json(EndedSessions { ended }))
}
