//! Users and service accounts, and the audit, for administrators.

use axum::extract::{Path, State};
use axum::response::Redirect;
use chrono::{NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use http::StatusCode;
use mnemosyne_domain::{AuditEvent, AuditFilter, PageRequest, User, UserChange, UserId};
use mnemosyne_services::ServiceError;
use mnemosyne_services::users::UserRequest;

use super::shell::{
    Done, Fields, FormProblems, PageError, PageResult, Params, Visitor, form_problems, typed, value,
};
use super::typed::TypedForm;
use super::view::{
    AuditPage, Crumb, Field, Notice, NoticeKind, Pager, PeoplePage, PersonForm, PersonNewPage, PersonPage,
    PersonRow, Section, event_title,
};
use crate::csrf::CheckedForm;
use crate::state::AppState;

/// Users on one page of the list.
const PEOPLE_PER_PAGE: u64 = 50;
/// Entries on one page of the audit.
const ENTRIES_PER_PAGE: u32 = 50;

fn row(user: User) -> PersonRow {
    PersonRow {
        id: user.id.0,
        full_name: format!("{} {}", user.first_name, user.last_name)
            .trim()
            .to_owned(),
        username: user.username,
        email: user.email,
        is_superuser: user.is_superuser,
        is_active: user.is_active,
        is_service: user.is_service,
        last_login: user.last_login,
        date_joined: user.date_joined,
    }
}

/// The list.
pub(super) async fn list(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let wanted = params.get("q").to_lowercase();
    let mut users = state.services().users(&visitor.principal).await?;
    users.retain(|user| {
        user.username.to_lowercase().contains(&wanted) || user.email.to_lowercase().contains(&wanted)
    });
    let pager = Pager::new(
        users.len() as u64,
        params.page(),
        PEOPLE_PER_PAGE,
        "/people/",
        &[("q", params.get("q"))],
    );
    let skipped = usize::try_from(pager.offset()).unwrap_or(usize::MAX);
    let page = PeoplePage {
        frame: visitor.frame(&state, "People", Section::People).await,
        people: users
            .into_iter()
            .skip(skipped)
            .take(PEOPLE_PER_PAGE as usize)
            .map(row)
            .collect(),
        filter: params.get("q").to_owned(),
        pager,
    };
    visitor.page(StatusCode::OK, &page)
}

/// The form for a new user.
pub(super) async fn show_new(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    // Asks what only administrators may, so that nobody else sees the form.
    state.services().users(&visitor.principal).await?;
    render_new(&state, &visitor, StatusCode::OK, PersonForm::default()).await
}

async fn render_new(state: &AppState, visitor: &Visitor, status: StatusCode, form: PersonForm) -> PageResult {
    let mut frame = visitor.frame(state, "New user", Section::People).await;
    frame.crumbs = vec![Crumb::new("People", "/people/")];
    visitor.page(status, &PersonNewPage { frame, form })
}

fn is_ticked(fields: &Fields, name: &str) -> bool {
    value(fields, name) == "on"
}

fn form_of(fields: &Fields, problems: &FormProblems) -> PersonForm {
    PersonForm {
        username: typed("username", value(fields, "username"), problems),
        email: typed("email", value(fields, "email"), problems),
        first_name: typed("first_name", value(fields, "first_name"), problems),
        last_name: typed("last_name", value(fields, "last_name"), problems),
        is_superuser: is_ticked(fields, "is_superuser"),
        is_active: is_ticked(fields, "is_active"),
        is_service: is_ticked(fields, "is_service"),
        password: typed("password", "", problems),
    }
}

/// Makes a user.
pub(super) async fn create(State(state): State<AppState>, form: TypedForm) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    if !is_valid {
        state.services().users(&visitor.principal).await?;
        let form = form_of(&fields, &FormProblems::new());
        return render_new(&state, &visitor, StatusCode::FORBIDDEN, form).await;
    }
    let request = UserRequest {
        username: value(&fields, "username").to_owned(),
        password: value(&fields, "password").to_owned(),
        email: value(&fields, "email").to_owned(),
        is_superuser: is_ticked(&fields, "is_superuser"),
        is_service: is_ticked(&fields, "is_service"),
    };
    match state.services().add_user(&visitor.principal, request).await {
        Ok(user) => Ok(visitor.done(Done::UserMade, &format!("/people/{}/", user.id.0))),
        Err(error) => {
            let problems = match error {
                ServiceError::Conflict { message, .. } => {
                    FormProblems::from([("username".to_owned(), vec![message])])
                }
                other => form_problems(other)?,
            };
            let form = form_of(&fields, &problems);
            render_new(&state, &visitor, StatusCode::UNPROCESSABLE_ENTITY, form).await
        }
    }
}

fn user_id(text: &str) -> Result<UserId, PageError> {
    text.parse().map(UserId).map_err(|_| PageError::not_found("user"))
}

fn form_for(user: &User) -> PersonForm {
    PersonForm {
        username: Field::default(),
        email: Field::of(&user.email),
        first_name: Field::of(&user.first_name),
        last_name: Field::of(&user.last_name),
        is_superuser: user.is_superuser,
        is_active: user.is_active,
        is_service: user.is_service,
        password: Field::default(),
    }
}

/// One user.
pub(super) async fn show(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> PageResult {
    let user = state.services().user(&visitor.principal, user_id(&id)?).await?;
    let form = form_for(&user);
    render(&state, &visitor, StatusCode::OK, user, form, None).await
}

async fn render(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    user: User,
    form: PersonForm,
    refusal: Option<String>,
) -> PageResult {
    let mut frame = visitor.frame(state, user.username.clone(), Section::People).await;
    frame.crumbs = vec![Crumb::new("People", "/people/")];
    frame
        .notices
        .extend(refusal.map(|text| Notice::new(NoticeKind::Bad, text)));
    let page = PersonPage {
        frame,
        person: row(user),
        form,
    };
    visitor.page(status, &page)
}

/// Changes a user.
pub(super) async fn change(
    State(state): State<AppState>,
    Path(id): Path<String>,
    form: TypedForm,
) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    let id = user_id(&id)?;
    let services = state.services();
    let user = services.user(&visitor.principal, id).await?;
    if !is_valid {
        let form = form_of(&fields, &FormProblems::new());
        return render(&state, &visitor, StatusCode::FORBIDDEN, user, form, None).await;
    }
    let text = |name: &str| Some(value(&fields, name).to_owned());
    let change = UserChange {
        email: text("email"),
        first_name: text("first_name"),
        last_name: text("last_name"),
        is_superuser: Some(is_ticked(&fields, "is_superuser")),
        is_active: Some(is_ticked(&fields, "is_active")),
        is_service: Some(is_ticked(&fields, "is_service")),
    };
    match services.update_user(&visitor.principal, id, change).await {
        Ok(_) => Ok(visitor.done(Done::UserChanged, &format!("/people/{}/", id.0))),
        Err(ServiceError::Conflict { message, .. }) => {
            let form = form_of(&fields, &FormProblems::new());
            render(&state, &visitor, StatusCode::CONFLICT, user, form, Some(message)).await
        }
        Err(error) => {
            let problems = form_problems(error)?;
            let form = form_of(&fields, &problems);
            render(
                &state,
                &visitor,
                StatusCode::UNPROCESSABLE_ENTITY,
                user,
                form,
                None,
            )
            .await
        }
    }
}

/// Where somebody lands who asks to read the address of one of the page's forms.
pub(super) async fn back(Path(id): Path<String>) -> Result<Redirect, PageError> {
    Ok(Redirect::to(&format!("/people/{}/", user_id(&id)?.0)))
}

/// Gives a user a new password.
pub(super) async fn set_password(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    CheckedForm(fields): CheckedForm<Fields>,
) -> PageResult {
    let id = user_id(&id)?;
    let services = state.services();
    match services
        .set_user_password(&visitor.principal, id, value(&fields, "password"))
        .await
    {
        Ok(()) => Ok(visitor.done(Done::PasswordChanged, &format!("/people/{}/", id.0))),
        Err(error) => {
            let problems = match error {
                ServiceError::Conflict { message, .. } => {
                    FormProblems::from([("password".to_owned(), vec![message])])
                }
                other => form_problems(other)?,
            };
            let user = services.user(&visitor.principal, id).await?;
            let form = PersonForm {
                password: typed("password", "", &problems),
                ..form_for(&user)
            };
            render(
                &state,
                &visitor,
                StatusCode::UNPROCESSABLE_ENTITY,
                user,
                form,
                None,
            )
            .await
        }
    }
}

/// Ends all sessions of a user.
pub(super) async fn sign_out(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(id): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let id = user_id(&id)?;
    let ended = state.services().end_sessions(&visitor.principal, id).await?;
    Ok(visitor.done(Done::SignedOutEverywhere(ended), &format!("/people/{}/", id.0)))
}

/// What was written down.
pub(super) async fn audit(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let frame = visitor.frame(&state, "Audit", Section::Audit).await;
    let event = AuditEvent::parse(params.get("event"));
    let (since, day) = match day_start(params.get("since"), frame.time_zone) {
        Some(at) => (Some(at), Field::of(params.get("since"))),
        None if params.get("since").is_empty() => (None, Field::default()),
        None => (
            None,
            Field {
                value: params.get("since").to_owned(),
                errors: vec!["Write the day as 2026-11-26.".to_owned()],
            },
        ),
    };
    let user = params.get("user");
    let filter = AuditFilter {
        since,
        user: (!user.is_empty()).then(|| user.to_owned()),
        event,
    };
    let offset = (params.page() - 1) * u64::from(ENTRIES_PER_PAGE);
    let found = state
        .services()
        .audit(
            &visitor.principal,
            &filter,
            PageRequest::new(offset, ENTRIES_PER_PAGE),
        )
        .await?;
    let chosen = event.map(AuditEvent::as_str).unwrap_or_default();
    let mut events = vec![(String::new(), "everything".to_owned(), chosen.is_empty())];
    events.extend(AuditEvent::ALL.iter().map(|event| {
        (
            event.as_str().to_owned(),
            event_title(event).to_owned(),
            event.as_str() == chosen,
        )
    }));
    let others = [("event", chosen), ("user", user), ("since", params.get("since"))];
    let page = AuditPage {
        frame,
        entries: found.rows,
        events,
        user: user.to_owned(),
        since: day,
        is_filtered: filter != AuditFilter::default(),
        pager: Pager::new(
            found.total,
            params.page(),
            u64::from(ENTRIES_PER_PAGE),
            "/audit/",
            &others,
        ),
    };
    visitor.page(StatusCode::OK, &page)
}

/// The moment that a day begins at.
fn day_start(day: &str, zone: Tz) -> Option<chrono::DateTime<Utc>> {
    let midnight = day.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?;
    let local = zone.from_local_datetime(&midnight).earliest();
    Some(local.map_or_else(|| midnight.and_utc(), |at| at.with_timezone(&Utc)))
}
