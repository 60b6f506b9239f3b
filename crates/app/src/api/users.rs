//! Users and service accounts, for administrators.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use mnemosyne_domain::{Page, UserChange, UserId};
use mnemosyne_services::ServiceError;
use mnemosyne_services::users::UserRequest;
use mnemosyne_services::wire::User;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::list::PagingParameters;
use super::{ApiJson, ApiPath, List, Paging, Problem, WrongFields};
use crate::auth::ApiCaller;
use crate::error::ApiResult;
use crate::state::AppState;

/// What a new user is to be.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewUser {
    /// Unique: 1 to 150 letters, digits and `@ . + - _`.
    #[schema(value_type = String)]
    username: Option<String>,
    /// At least 8 characters, not only digits, not a common one, and not like the name or the address.
    #[schema(value_type = String)]
    password: Option<String>,
    /// Mail address.
    email: Option<String>,
    /// May do everything.
    is_superuser: Option<bool>,
    /// It belongs to a program: no link to choose a new password is mailed to it.
    is_service: Option<bool>,
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UserChanges {
    /// Mail address, may be empty.
    email: Option<String>,
    /// Given name, may be empty.
    first_name: Option<String>,
    /// Family name, may be empty.
    last_name: Option<String>,
    /// May do everything.
    is_superuser: Option<bool>,
    /// May sign in at all.
    is_active: Option<bool>,
    /// It belongs to a program.
    is_service: Option<bool>,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewPassword {
    /// The password.
    #[schema(value_type = String)]
    password: Option<String>,
}

/// What became of the sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndedSessions {
    /// How many were ended.
    pub(super) ended: u64,
}

fn user_id(text: &str) -> ApiResult<UserId> {
    Ok(text
        .parse()
        .map(UserId)
        .map_err(|_| ServiceError::NotFound("user"))?)
}

/// Users by name.
#[utoipa::path(
    get, path = "/library/api/users/", tag = "administration", operation_id = "list_users",
    params(PagingParameters),
    responses((status = 200, body = List<User>)),
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    paging: Paging,
) -> ApiResult<Json<List<User>>> {
    let users = state.services.users(&caller).await?;
    let skipped = usize::try_from(paging.request.offset).unwrap_or(usize::MAX);
    let page = Page {
        total: users.len() as u64,
        rows: users
            .into_iter()
            .skip(skipped)
            .take(paging.request.limit as usize)
            .collect(),
    };
    Ok(Json(paging.list(page)))
}

/// Makes a user or a service account.
#[utoipa::path(
    post, path = "/library/api/users/", tag = "administration", operation_id = "create_user",
    request_body = NewUser,
    responses(
        (status = 201, body = User),
        (status = 400, body = WrongFields),
        (status = 409, description = "`username_taken`", body = Problem),
    ),
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiJson(wanted): ApiJson<NewUser>,
) -> ApiResult<(StatusCode, Json<User>)> {
    let request = UserRequest {
        username: wanted.username.unwrap_or_default(),
        password: wanted.password.unwrap_or_default(),
        email: wanted.email.unwrap_or_default(),
        is_superuser: wanted.is_superuser.unwrap_or(false),
        is_service: wanted.is_service.unwrap_or(false),
    };
    let user = state.services.add_user(&caller, request).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// One user.
#[utoipa::path(
    get, path = "/library/api/users/{user_id}/", tag = "administration", operation_id = "get_user",
    params(("user_id" = i64, Path)),
    responses((status = 200, body = User), (status = 404, body = Problem)),
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
) -> ApiResult<Json<User>> {
    let user = state.services.user(&caller, user_id(&id)?).await?;
    Ok(Json(user.into()))
}

/// Changes a user. Deactivating one ends its sessions.
#[utoipa::path(
    patch, path = "/library/api/users/{user_id}/", tag = "administration", operation_id = "update_user",
    params(("user_id" = i64, Path)), request_body = UserChanges,
    responses(
        (status = 200, body = User),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`last_administrator`", body = Problem),
    ),
)]
pub(crate) async fn update(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
    ApiJson(wanted): ApiJson<UserChanges>,
) -> ApiResult<Json<User>> {
    let change = UserChange {
        email: wanted.email,
        first_name: wanted.first_name,
        last_name: wanted.last_name,
        is_superuser: wanted.is_superuser,
        is_active: wanted.is_active,
        is_service: wanted.is_service,
    };
    let user = state.services.update_user(&caller, user_id(&id)?, change).await?;
    Ok(Json(user.into()))
}

/// Gives a user a new password; its sessions end.
#[utoipa::path(
    post, path = "/library/api/users/{user_id}/password/", tag = "administration", operation_id = "set_user_password",
    params(("user_id" = i64, Path)), request_body = NewPassword,
    responses(
        (status = 204),
        (status = 400, body = WrongFields),
        (status = 404, body = Problem),
        (status = 409, description = "`conflict`: it was changed at the same moment", body = Problem),
    ),
)]
pub(crate) async fn set_password(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
    ApiJson(wanted): ApiJson<NewPassword>,
) -> ApiResult<StatusCode> {
    let password = wanted.password.unwrap_or_default();
    state
        .services
        .set_user_password(&caller, user_id(&id)?, &password)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of a user.
#[utoipa::path(
    post, path = "/library/api/users/{user_id}/sign-out/", tag = "administration", operation_id = "sign_user_out",
    params(("user_id" = i64, Path)),
    responses((status = 200, body = EndedSessions), (status = 404, body = Problem)),
)]
pub(crate) async fn sign_out(
    State(state): State<AppState>,
    ApiCaller(caller): ApiCaller,
    ApiPath(id): ApiPath,
) -> ApiResult<Json<EndedSessions>> {
    let ended = state.services.end_sessions(&caller, user_id(&id)?).await?;
    Ok(Json(EndedSessions { ended }))
}
