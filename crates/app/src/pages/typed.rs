//! Forms in which somebody typed something. Neither a session that ended meanwhile nor a page that is out of date loses it:
//! the sign-in page takes the fields along and leads back to the form, and a form whose token is wrong is shown again as it
//! was sent. Nothing is done with it before it was sent again.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::account;
use super::shell::{Fields, Interruption, PageError, PageResult, Visitor};
use super::{connect, libraries, models};
use crate::csrf;
use crate::error::{Audience, refuse};
use crate::middleware::request_info::RequestInfo;
use crate::session::safe_next;
use crate::state::AppState;

/// Stands before the names of fields that the sign-in page takes along.
const PREFIX: &str = "kept.";
/// The most that it takes along, in bytes of names and values.
const MAX_KEPT_BYTES: usize = 192 * 1024;

/// A form that a visitor filled in.
pub(super) struct TypedForm {
    /// Who sent it.
    pub(super) visitor: Visitor,
    /// What was typed.
    pub(super) fields: Fields,
    /// Whether it may be acted on. Otherwise it is to be shown again; the visitor's frame says why.
    pub(super) is_valid: bool,
}

impl FromRequest<AppState> for TypedForm {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let audience = Audience::of(parts.uri.path(), &parts.headers);
        let mut visitor = match Visitor::from_request_parts(&mut parts, state).await {
            Ok(visitor) => visitor,
            Err(sign_in_first) if sign_in_first.status().is_redirection() => {
                let request = Request::from_parts(parts, body);
                return Err(take_along(request, state).await.unwrap_or(sign_in_first));
            }
            Err(refusal) => return Err(refusal),
        };
        let (fields, verdict) = csrf::received(Request::from_parts(parts, body), state).await?;
        match verdict {
            Ok(()) => Ok(Self {
                visitor,
                fields,
                is_valid: true,
            }),
            Err(forgery) if forgery.is_out_of_date() => {
                visitor.interruption = Some(Interruption::PageOutOfDate);
                Ok(Self {
                    visitor,
                    fields,
                    is_valid: false,
                })
            }
            Err(forgery) => Err(refuse(
                audience,
                StatusCode::FORBIDDEN,
                "csrf_failed",
                forgery.sentence(),
            )),
        }
    }
}

/// The sign-in page with a stranger's form in it; `None` where there is nothing to take along, or no page of ours sent it.
async fn take_along(request: Request, state: &AppState) -> Option<Response> {
    let info = request.extensions().get::<RequestInfo>().cloned()?;
    let csrf = request.extensions().get::<csrf::Csrf>().cloned()?;
    let trusted = &state.settings().csrf_trusted_origins;
    csrf::check_origin(request.headers(), &info, trusted).ok()?;
    let next = safe_next(Some(request.uri().path())).to_owned();
    let (fields, _) = csrf::received::<Fields>(request, state).await.ok()?;
    let kept = keepable(fields)?;
    match account::sign_in_again(state, &csrf, next, kept).await {
        Ok(page) => Some(page),
        Err(error) => Some(error.into_response()),
    }
}

/// What may be taken along: no secrets, and not without bounds.
fn keepable(mut fields: Fields) -> Option<Fields> {
    fields.retain(|(name, _)| {
        name != csrf::FORM_FIELD && !name.contains("password") && !name.contains("api_key")
    });
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    (!fields.is_empty() && bytes <= MAX_KEPT_BYTES).then_some(fields)
}

/// The name under which the sign-in page takes a field along.
pub(super) fn kept_name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// What a sign-in form took along.
pub(super) fn kept(fields: &Fields) -> Fields {
    let along = fields
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.clone())));
    keepable(along.collect()).unwrap_or_default()
}

/// The form at an address as it was sent before the session ended; `None` where no form with anything to type is there.
pub(super) async fn show_again(
    state: &AppState,
    visitor: &Visitor,
    path: &str,
    fields: &Fields,
) -> Result<Option<Response>, PageError> {
    let uid = path
        .strip_prefix("/libraries/")
        .and_then(|rest| rest.strip_suffix("/edit/"));
    let shown: PageResult = match (path, uid) {
        ("/libraries/new/", _) => libraries::show_new_again(state, visitor, StatusCode::OK, fields).await,
        ("/connect/tokens/", _) => connect::show_again(state, visitor, StatusCode::OK, fields).await,
        (_, Some(uid)) => libraries::show_edit_again(state, visitor, StatusCode::OK, uid, fields).await,
        (path, _) if path.starts_with("/models/") => {
            return models::show_again(state, visitor, path, fields).await;
        }
        _ => return Ok(None),
    };
    shown.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn secrets_and_what_is_too_much_are_not_taken_along() {
        let sent = fields(&[
            ("csrfmiddlewaretoken", "t"),
            ("name", "x"),
            ("new_password", "p"),
            ("api_key", "k"),
        ]);
        assert_eq!(keepable(sent), Some(fields(&[("name", "x")])));
        assert_eq!(keepable(fields(&[("password", "p")])), None);
        let long = "x".repeat(MAX_KEPT_BYTES);
        assert_eq!(keepable(fields(&[("description", &long)])), None);
    }

    #[test]
    fn fields_come_back_under_their_own_names() {
        let sent = fields(&[
            ("username", "u"),
            ("password", "p"),
            (&kept_name("tool"), "search"),
        ]);
        assert_eq!(kept(&sent), fields(&[("tool", "search")]));
        assert_eq!(kept(&fields(&[(&kept_name("password"), "p")])), fields(&[]));
    }
}
