//! What a user keeps of its own: how pages look, the password, the sessions.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use chrono_tz::{TZ_VARIANTS, Tz};
use http::{StatusCode, header};
use mnemosyne_domain::{DateFormat, Profile, Theme};
use mnemosyne_services::ServiceError;

use super::shell::{Done, Fields, FormProblems, PageResult, Visitor, form_problems, typed, value};
use super::view::{Field, PasswordChangePage, ProfilePage};
use crate::csrf::{CheckedForm, Csrf};
use crate::session;
use crate::state::AppState;

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let profile = state.services().profile(&visitor.principal).await?;
    render(&state, &visitor, StatusCode::OK, &profile, FormProblems::new()).await
}

async fn render(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    profile: &Profile,
    problems: FormProblems,
) -> PageResult {
    let user = state.services().own_user(&visitor.principal).await?;
    let chosen = profile.time_zone.as_deref().unwrap_or_default();
    let usual = format!(
        "As the installation has it ({})",
        state.settings().time_zone.name()
    );
    let mut zones = vec![(String::new(), usual, chosen.is_empty())];
    zones.extend(TZ_VARIANTS.iter().map(|zone| {
        let name = zone.name();
        (name.to_owned(), name.replace('_', " "), name == chosen)
    }));
    let page = ProfilePage {
        frame: visitor.frame(state, "Profile", None).await,
        username: user.username,
        email: user.email,
        zones,
        zone: typed("time_zone", chosen, &problems),
        formats: DateFormat::ALL
            .map(|format| {
                (
                    format.as_str().to_owned(),
                    example(format).to_owned(),
                    format == profile.date_format,
                )
            })
            .to_vec(),
        themes: Theme::ALL
            .map(|theme| {
                (
                    theme.as_str().to_owned(),
                    theme_title(theme).to_owned(),
                    theme == profile.theme,
                )
            })
            .to_vec(),
    };
    visitor.page(status, &page)
}

fn example(format: DateFormat) -> &'static str {
    match format {
        DateFormat::Words => "26 November 2026, 21:05",
        DateFormat::Iso => "2026-11-26 21:05",
        DateFormat::DayFirst => "26.11.2026 21:05",
        DateFormat::MonthFirst => "11/26/2026 9:05 PM",
    }
}

fn theme_title(theme: Theme) -> &'static str {
    match theme {
        Theme::System => "As the system has it",
        Theme::Light => "Light",
        Theme::Dark => "Dark",
    }
}

/// Saves the profile.
pub(super) async fn save(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let zone = value(&fields, "time_zone").trim();
    let profile = Profile {
        time_zone: (!zone.is_empty()).then(|| zone.to_owned()),
        date_format: DateFormat::parse(value(&fields, "date_format")).unwrap_or_default(),
        theme: Theme::parse(value(&fields, "theme")).unwrap_or_default(),
    };
    if !zone.is_empty() && zone.parse::<Tz>().is_err() {
        let problems = FormProblems::from([(
            "time_zone".to_owned(),
            vec!["Choose one of the time zones.".to_owned()],
        )]);
        return render(
            &state,
            &visitor,
            StatusCode::UNPROCESSABLE_ENTITY,
            &profile,
            problems,
        )
        .await;
    }
    state
        .services()
        .save_profile(&visitor.principal, &profile)
        .await?;
    Ok(visitor.done(Done::ProfileSaved, "/profile/"))
}

/// Where somebody lands who asks to read the address of the form that signs out everywhere.
pub(super) async fn back() -> Redirect {
    Redirect::to("/profile/")
}

/// Ends every session of the visitor, this one as well.
pub(super) async fn sign_out_everywhere(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let user = state.services().own_user(&visitor.principal).await?;
    state.services().end_sessions(&visitor.principal, user.id).await?;
    let mut response = Redirect::to(session::SIGN_IN).into_response();
    response.headers_mut().append(
        header::SET_COOKIE,
        session::forgetting_cookie(visitor.info.scheme),
    );
    Ok(response)
}

/// The form for another password.
pub(super) async fn show_password(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    render_password(&state, &visitor, StatusCode::OK, &FormProblems::new()).await
}

async fn render_password(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    problems: &FormProblems,
) -> PageResult {
    let field = |name: &str| -> Field { typed(name, "", problems) };
    let page = PasswordChangePage {
        frame: visitor.frame(state, "Change the password", None).await,
        old: field("old_password"),
        new: field("new_password1"),
        again: field("new_password2"),
    };
    visitor.page(status, &page)
}

/// What both forms for a new password check before anything else.
pub(super) fn repeated(fields: &Fields) -> Result<&str, FormProblems> {
    let (new, again) = (value(fields, "new_password1"), value(fields, "new_password2"));
    if new == again {
        return Ok(new);
    }
    let problem = "The two password fields didn’t match.".to_owned();
    Err(FormProblems::from([("new_password2".to_owned(), vec![problem])]))
}

/// Changes the visitor's password. This session goes on under a new key, all others end.
pub(super) async fn change_password(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let outcome = match repeated(&fields) {
        Ok(new) => {
            let old = value(&fields, "old_password");
            state
                .services()
                .change_own_password(&visitor.principal, &visitor.session_key, old, new)
                .await
        }
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match outcome {
        Ok(opened) => {
            let mut response = visitor.done(Done::PasswordChanged, "/profile/");
            let headers = response.headers_mut();
            headers.append(header::SET_COOKIE, session::cookie(&opened, visitor.info.scheme));
            headers.append(header::SET_COOKIE, Csrf::renewed().cookie(visitor.info.scheme));
            Ok(response)
        }
        Err(error) => {
            let problems = match error {
                ServiceError::Conflict { message, .. } => {
                    FormProblems::from([("old_password".to_owned(), vec![message])])
                }
                other => form_problems(other)?,
            };
            render_password(&state, &visitor, StatusCode::UNPROCESSABLE_ENTITY, &problems).await
        }
    }
}
