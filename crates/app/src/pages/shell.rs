//! What all handlers share: who visits, the frame around a page, notices that survive a redirect, parameters, failures.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use askama::Template;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use chrono::Utc;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use mnemosyne_domain::{JobStatus, Principal};
use mnemosyne_services::{ServiceError, ServiceResult};

use super::view::{
    ActivityBadge, ErrorPage, Field, Frame, Notice, NoticeKind, Section, Viewer, count, plural,
};
use crate::csrf::Csrf;
use crate::error::{ApiError, Audience, Described, describe};
use crate::middleware::request_info::RequestInfo;
use crate::session::{self, ReadableBy, SignedIn, set_cookie};
use crate::state::AppState;

/// The cookie that carries a notice over a redirect.
const NOTICE_COOKIE: &str = "notice";
/// How long it waits for the next page, in seconds.
const NOTICE_AGE: i64 = 60;
/// The highest page number that is taken from an address; far beyond any list, far below any overflow.
const MAX_PAGE: u64 = 1_000_000;

/// What was done, to be said on the page that a redirect leads to. Only a word and a number travel, so that nobody can
/// make a page say something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A library was made.
    LibraryMade,
    /// A library was changed.
    LibraryChanged,
    /// A library was deleted with this many items.
    LibraryDeleted(u64),
    /// An item was deleted.
    ItemDeleted,
    /// This many files were taken.
    Uploaded(u64),
    /// Files were taken, and this many of them take the place of earlier ones.
    Replacing(u64),
    /// A job was put back to work.
    Retried,
    /// So many jobs were put back to work.
    RetriedMany(u64),
    /// A job was stopped.
    Cancelled,
    /// A token was revoked.
    Revoked,
    /// The visitor's profile was saved.
    ProfileSaved,
    /// A password was replaced.
    PasswordChanged,
    /// A user was made.
    UserMade,
    /// A user was changed.
    UserChanged,
    /// So many sessions of a user were ended.
    SignedOutEverywhere(u64),
    /// So many documents of the demo library are new.
    DemoLoaded(u64),
    /// A server of models was registered or changed.
    ProviderSaved,
    /// A server of models was removed.
    ProviderGone,
    /// A model was registered or changed.
    ModelSaved,
    /// A model was removed.
    ModelGone,
}

impl Done {
    fn encode(self) -> String {
        let (word, number) = match self {
            Self::LibraryMade => ("made", 0),
            Self::LibraryChanged => ("changed", 0),
            Self::LibraryDeleted(items) => ("gone", items),
            Self::ItemDeleted => ("itemgone", 0),
            Self::Uploaded(files) => ("uploaded", files),
            Self::Replacing(files) => ("replacing", files),
            Self::Retried => ("retried", 0),
            Self::RetriedMany(jobs) => ("retriedmany", jobs),
            Self::Cancelled => ("cancelled", 0),
            Self::Revoked => ("revoked", 0),
            Self::ProfileSaved => ("profile", 0),
            Self::PasswordChanged => ("password", 0),
            Self::UserMade => ("usermade", 0),
            Self::UserChanged => ("userchanged", 0),
            Self::SignedOutEverywhere(sessions) => ("signedout", sessions),
            Self::DemoLoaded(documents) => ("demo", documents),
            Self::ProviderSaved => ("provider", 0),
            Self::ProviderGone => ("providergone", 0),
            Self::ModelSaved => ("model", 0),
            Self::ModelGone => ("modelgone", 0),
        };
        format!("{word}.{number}")
    }

    fn decode(text: &str) -> Option<Self> {
        let (word, number) = text.split_once('.')?;
        let number = number.parse().ok()?;
        Some(match word {
            "made" => Self::LibraryMade,
            "changed" => Self::LibraryChanged,
            "gone" => Self::LibraryDeleted(number),
            "itemgone" => Self::ItemDeleted,
            "uploaded" => Self::Uploaded(number),
            "replacing" => Self::Replacing(number),
            "retried" => Self::Retried,
            "retriedmany" => Self::RetriedMany(number),
            "cancelled" => Self::Cancelled,
            "revoked" => Self::Revoked,
            "profile" => Self::ProfileSaved,
            "password" => Self::PasswordChanged,
            "usermade" => Self::UserMade,
            "userchanged" => Self::UserChanged,
            "signedout" => Self::SignedOutEverywhere(number),
            "demo" => Self::DemoLoaded(number),
            "provider" => Self::ProviderSaved,
            "providergone" => Self::ProviderGone,
            "model" => Self::ModelSaved,
            "modelgone" => Self::ModelGone,
            _ => return None,
        })
    }

    fn notice(self) -> Notice {
        let activity = || Some(("Activity".to_owned(), "/activity/".to_owned()));
        match self {
            Self::LibraryMade => Notice::new(NoticeKind::Good, "The library is ready. Put files in below."),
            Self::LibraryChanged => Notice::new(NoticeKind::Good, "The library was changed."),
            Self::LibraryDeleted(items) => Notice::new(
                NoticeKind::Good,
                format!("The library was deleted with {}.", plural(items, "item", "items")),
            ),
            Self::ItemDeleted => Notice::new(NoticeKind::Good, "The item was deleted."),
            Self::Uploaded(files) => Notice {
                link: activity(),
                ..Notice::new(
                    NoticeKind::Good,
                    format!(
                        "{} taken; each shows up here once it is read.",
                        plural(files, "file was", "files were")
                    ),
                )
            },
            Self::Replacing(files) => Notice {
                link: activity(),
                ..Notice::new(
                    NoticeKind::Good,
                    format!(
                        "The files were taken; {} of the same name as soon as it is read.",
                        plural(
                            files,
                            "of them replaces an earlier one",
                            "of them replace earlier ones"
                        )
                    ),
                )
            },
            Self::Retried => Notice::new(NoticeKind::Good, "The job is back at work."),
            Self::RetriedMany(0) => Notice::new(NoticeKind::Info, "No failed job was left to retry."),
            Self::RetriedMany(jobs) => Notice::new(
                NoticeKind::Good,
                format!("{} back at work.", plural(jobs, "job is", "jobs are")),
            ),
            Self::Cancelled => Notice::new(NoticeKind::Good, "The job was cancelled."),
            Self::Revoked => Notice::new(
                NoticeKind::Good,
                "The token was revoked; it is refused from now on.",
            ),
            Self::ProviderSaved => Notice::new(
                NoticeKind::Good,
                "The provider was saved. Test it, and add the models that are to be used.",
            ),
            Self::ProviderGone => Notice::new(NoticeKind::Good, "The provider was removed."),
            Self::ModelSaved => Notice::new(NoticeKind::Good, "The model was saved. Test it once."),
            Self::ModelGone => Notice::new(NoticeKind::Good, "The model was removed."),
            Self::ProfileSaved => Notice::new(NoticeKind::Good, "Your profile was saved."),
            Self::PasswordChanged => Notice::new(
                NoticeKind::Good,
                "The password was changed; other sessions are over.",
            ),
            Self::UserMade => Notice::new(NoticeKind::Good, "The user was made."),
            Self::UserChanged => Notice::new(NoticeKind::Good, "The user was changed."),
            Self::SignedOutEverywhere(sessions) => Notice::new(
                NoticeKind::Good,
                format!("{} ended.", plural(sessions, "session was", "sessions were")),
            ),
            Self::DemoLoaded(0) => Notice::new(NoticeKind::Info, "The demo library is here already."),
            Self::DemoLoaded(documents) => Notice {
                link: activity(),
                ..Notice::new(
                    NoticeKind::Good,
                    format!(
                        "The demo library is on its way: {}.",
                        plural(documents, "document", "documents")
                    ),
                )
            },
        }
    }
}

/// Somebody who is signed in and looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The user.
    pub(super) principal: Principal,
    /// The key of the session.
    pub(super) session_key: String,
    /// The source of the forms' tokens.
    pub(super) csrf: Csrf,
    /// How the page was asked for.
    pub(super) info: RequestInfo,
    done: Option<Done>,
    /// What came between a form and its sending.
    pub(super) interruption: Option<Interruption>,
}

/// What came between a form and its sending, so that it is shown again and nothing was done yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The page it was sent from does not fit the browser's secret any more.
    PageOutOfDate,
    /// The session had ended; the visitor signed in again.
    SessionEnded,
}

impl Interruption {
    fn notice(self) -> Notice {
        let text = match self {
            Self::PageOutOfDate => {
                "The page was out of date, so nothing was done yet. What you typed is still here; send it again."
            }
            Self::SessionEnded => {
                "Your session had ended, so nothing was done yet. What you typed is still here; send it again."
            }
        };
        Notice::new(NoticeKind::Warning, text)
    }
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Response;

    /// Strangers are sent to the sign-in page; a script of ours that asks for JSON hears 401 instead of a page, without
    /// the challenge that would make the browser open a dialog of its own.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Response> {
        let csrf = Csrf::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let info = RequestInfo::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let signed_in = match SignedIn::from_request_parts(parts, state).await {
            Ok(signed_in) => signed_in,
            Err(response)
                if response.status().is_redirection()
                    && Audience::of(parts.uri.path(), &parts.headers) == Audience::Program =>
            {
                let mut refusal = ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "not_authenticated",
                    "The session is over; sign in again.",
                )
                .into_response();
                refusal.headers_mut().remove(header::WWW_AUTHENTICATE);
                return Err(refusal);
            }
            Err(response) => return Err(response),
        };
        let jar = CookieJar::from_headers(&parts.headers);
        Ok(Self {
            principal: signed_in.principal,
            session_key: signed_in.session_key,
            csrf,
            info,
            interruption: None,
            done: jar
                .get(NOTICE_COOKIE)
                .and_then(|cookie| Done::decode(cookie.value())),
        })
    }
}

impl Visitor {
    /// Somebody who signed in a moment ago, before whom a form is that the end of the session interrupted.
    pub(super) fn returned(principal: Principal, session_key: String, csrf: Csrf, info: RequestInfo) -> Self {
        Self {
            principal,
            session_key,
            csrf,
            info,
            done: None,
            interruption: Some(Interruption::SessionEnded),
        }
    }

    /// The user's name.
    pub(super) fn username(&self) -> &str {
        match &self.principal {
            Principal::User { username, .. } => username,
            Principal::Bearer(_) | Principal::Local => "",
        }
    }

    /// The frame of a page, with the notice of what was done before and the badge of what is going on.
    pub(super) async fn frame(
        &self,
        state: &AppState,
        title: impl Into<String>,
        section: impl Into<Option<Section>>,
    ) -> Frame {
        let mut frame = plain_frame(state, title, self.csrf.token());
        frame.section = section.into();
        frame.viewer = viewer(&self.principal);
        dress(state, &self.principal, &mut frame).await;
        frame.notices = self.done.map(Done::notice).into_iter().collect();
        frame.notices.extend(self.interruption.map(Interruption::notice));
        frame.badge = badge(state, &self.principal).await;
        frame
    }

    /// A page as an answer.
    pub(super) fn page(&self, status: StatusCode, page: &impl Template) -> PageResult {
        let mut response = (status, Html(page.render()?)).into_response();
        if self.done.is_some() {
            let forgotten = set_cookie(NOTICE_COOKIE, "", 0, ReadableBy::ServerOnly, self.info.scheme);
            response.headers_mut().append(header::SET_COOKIE, forgotten);
        }
        Ok(response)
    }

    /// Sends on to a page that says what was done.
    pub(super) fn done(&self, done: Done, path: &str) -> Response {
        let mut response = Redirect::to(path).into_response();
        let cookie = set_cookie(
            NOTICE_COOKIE,
            &done.encode(),
            NOTICE_AGE,
            ReadableBy::ServerOnly,
            self.info.scheme,
        );
        response.headers_mut().append(header::SET_COOKIE, cookie);
        response
    }
}

fn viewer(principal: &Principal) -> Option<Viewer> {
    match principal {
        Principal::User {
            username,
            is_superuser,
            ..
        } => Some(Viewer {
            username: username.clone(),
            is_superuser: *is_superuser,
        }),
        Principal::Bearer(_) | Principal::Local => None,
    }
}

/// Makes a frame look as its visitor likes it. A page that could be shown is not lost because the profile could not be read.
async fn dress(state: &AppState, principal: &Principal, frame: &mut Frame) {
    let profile = match state.services().profile(principal).await {
        Ok(profile) => profile,
        Err(error) => {
            tracing::warn!(%error, "a profile could not be read");
            return;
        }
    };
    if let Some(zone) = profile.time_zone.and_then(|name| name.parse().ok()) {
        frame.time_zone = zone;
    }
    frame.date_format = profile.date_format;
    frame.theme = profile.theme;
}

/// What the rail shows. A page that could be shown is not lost because its jobs could not be counted.
pub(super) async fn badge(state: &AppState, principal: &Principal) -> ActivityBadge {
    match state.services().throughput(principal).await {
        Ok(throughput) => badge_of(&throughput.by_status),
        Err(error) => {
            tracing::warn!(%error, "jobs could not be counted");
            ActivityBadge::default()
        }
    }
}

/// The badge of these numbers of jobs.
pub(super) fn badge_of(by_status: &BTreeMap<String, u64>) -> ActivityBadge {
    let number = |status: JobStatus| by_status.get(status.as_str()).copied().unwrap_or(0);
    ActivityBadge {
        open: number(JobStatus::Pending) + number(JobStatus::Processing),
        failed: number(JobStatus::Failed),
    }
}

/// The parameters of an address. What is malformed counts as absent: a reader's address is no form.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(HashMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        Ok(Self(
            pairs
                .map(|Query(pairs)| pairs.into_iter().collect())
                .unwrap_or_default(),
        ))
    }
}

impl Params {
    /// The parameters of these names and values.
    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self(owned.collect())
    }

    /// A parameter without surrounding white space; empty where it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map(|value| value.trim()).unwrap_or_default()
    }

    /// The number of the page, from 1.
    pub(super) fn page(&self) -> u64 {
        self.get("page").parse().unwrap_or(1).clamp(1, MAX_PAGE)
    }
}

/// The fields of a form in their order.
pub(super) type Fields = Vec<(String, String)>;

/// The first value of a field; empty where it is absent.
pub(super) fn value<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields
        .iter()
        .find(|(field, _)| field == name)
        .map(|(_, value)| value.as_str())
        .unwrap_or_default()
}

/// Every value of a field.
pub(super) fn values<'f>(fields: &'f Fields, name: &'f str) -> impl Iterator<Item = &'f str> {
    fields
        .iter()
        .filter(move |(field, _)| field == name)
        .map(|(_, value)| value.as_str())
}

/// What is wrong with a form, by field.
pub(super) type FormProblems = BTreeMap<String, Vec<String>>;

/// Tells problems with a form from failures that no form can show: a name that is taken is a problem with the name.
pub(super) fn form_problems(error: ServiceError) -> Result<FormProblems, ServiceError> {
    match error {
        ServiceError::Invalid(problems) => Ok(problems),
        ServiceError::Conflict {
            code: "name_conflict",
            message,
        } => Ok(FormProblems::from([("name".to_owned(), vec![message])])),
        other => Err(other),
    }
}

/// A field as it was typed, with its problems.
pub(super) fn typed(name: &str, value: impl Into<String>, problems: &FormProblems) -> Field {
    Field {
        value: value.into(),
        errors: problems.get(name).cloned().unwrap_or_default(),
    }
}

/// Why there is no page. [`dress_failures`] makes one of it.
#[derive(Debug)]
pub(super) struct PageError(Described);

/// What a handler of a page answers.
pub(super) type PageResult = Result<Response, PageError>;

impl PageError {
    /// There is no such thing.
    pub(super) fn not_found(what: &'static str) -> Self {
        ServiceError::NotFound(what).into()
    }
}

impl From<ServiceError> for PageError {
    fn from(error: ServiceError) -> Self {
        Self(describe(error))
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self(error.0)
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        ServiceError::Internal(format!("a page could not be rendered: {error}")).into()
    }
}

#[derive(Clone)]
struct Failed(Described);

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(Failed(self.0));
        response
    }
}

/// Makes pages of failures, in the frame that the visitor is used to, or JSON where a script asked.
pub(super) async fn dress_failures(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let audience = Audience::of(request.uri().path(), request.headers());
    let session_key = session::key(&CookieJar::from_headers(request.headers()));
    let csrf = request.extensions().get::<Csrf>().cloned();
    let info = request.extensions().get::<RequestInfo>().cloned();
    let mut response = next.run(request).await;
    let Some(Failed(failure)) = response.extensions_mut().remove::<Failed>() else {
        return response;
    };
    if audience == Audience::Program {
        return ApiError(failure).into_response();
    }
    let principal = match session_key {
        // Where the sessions cannot be read either, the page has no rail.
        Some(key) => state.services().session_principal(&key).await.ok().flatten(),
        None => None,
    };
    let failure = if state.settings.debug {
        failure.with_details()
    } else {
        failure
    };
    let mut frame = plain_frame(
        &state,
        title(failure.status),
        csrf.map(|csrf| csrf.token()).unwrap_or_default(),
    );
    if let Some(principal) = principal {
        frame.viewer = viewer(&principal);
        frame.badge = badge(&state, &principal).await;
    }
    let fields = failure
        .fields
        .values()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    let message = if fields.is_empty() {
        failure.detail
    } else {
        format!("{} {fields}", failure.detail)
    };
    let page = ErrorPage {
        frame,
        status: failure.status.as_u16(),
        message,
        code: Some(failure.code.to_owned()),
        request_id: info.map(|info| info.id),
    };
    let mut response = error_response(failure.status, &page);
    if let Some(pause) = failure.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
    }
    response
}

/// A frame in the language and the time zone of this installation, with a title and nothing else.
pub(super) fn plain_frame(state: &AppState, title: impl Into<String>, csrf: impl Into<String>) -> Frame {
    Frame {
        time_zone: state.settings.time_zone,
        language: state.settings.language_code.clone(),
        ..Frame::new(title, csrf, Utc::now())
    }
}

/// An error page without a visitor.
pub(super) fn bare_error(status: StatusCode, detail: &str) -> Response {
    let page = ErrorPage {
        frame: Frame::new(title(status), "", Utc::now()),
        status: status.as_u16(),
        message: detail.to_owned(),
        code: None,
        request_id: None,
    };
    error_response(status, &page)
}

fn error_response(status: StatusCode, page: &ErrorPage) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the error page could not be rendered");
            (status, page.message.clone()).into_response()
        }
    }
}

fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => "This request cannot be answered",
        StatusCode::UNAUTHORIZED => "Sign in first",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Nothing here",
        StatusCode::METHOD_NOT_ALLOWED => "Not done this way",
        StatusCode::CONFLICT => "This does not fit any more",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "Not available right now",
        _ => "Something went wrong",
    }
}

/// Runs work of more than half a millisecond beside the executor.
pub(super) async fn off_executor<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> ServiceResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ServiceError::Internal(format!("a page broke its maker: {error}")))
}

/// A number of things with its thousands apart, and nothing where there are none.
pub(super) fn some_of(number: u64, one: &str, many: &str) -> Option<String> {
    match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{} {many}", count(number))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_travels_as_a_word_and_a_number_and_nothing_else() {
        for done in [
            Done::LibraryMade,
            Done::LibraryChanged,
            Done::LibraryDeleted(7),
            Done::ItemDeleted,
            Done::Uploaded(3),
            Done::Replacing(2),
            Done::Retried,
            Done::RetriedMany(0),
            Done::Cancelled,
            Done::Revoked,
            Done::DemoLoaded(12),
            Done::ProviderSaved,
            Done::ProviderGone,
            Done::ModelSaved,
            Done::ModelGone,
            Done::ProfileSaved,
            Done::PasswordChanged,
            Done::UserMade,
            Done::UserChanged,
            Done::SignedOutEverywhere(2),
        ] {
            let text = done.encode();
            assert!(
                text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'),
                "{text}"
            );
            assert_eq!(Done::decode(&text), Some(done));
            assert!(!done.notice().text.is_empty());
        }
        for bad in ["", "made", "made.", "made.x", "<b>.1", "unknown.1"] {
            assert_eq!(Done::decode(bad), None, "{bad}");
        }
    }

    async fn params(uri: &str) -> Params {
        let (mut parts, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        match Params::from_request_parts(&mut parts, &()).await {
            Ok(params) => params,
            Err(never) => match never {},
        }
    }

    #[tokio::test]
    async fn parameters_that_make_no_sense_count_as_absent() {
        assert_eq!(params("/?q=%20a+b%20").await.get("q"), "a b");
        assert_eq!(params("/").await.get("q"), "");
        for (uri, page) in [
            ("/?page=3", 3),
            ("/?page=0", 1),
            ("/?page=-1", 1),
            ("/?page=x", 1),
            ("/?page=99999999999999999999999", 1),
            ("/?page=9999999999", MAX_PAGE),
            ("/?page=%ff%fe", 1),
        ] {
            assert_eq!(params(uri).await.page(), page, "{uri}");
        }
    }

    #[test]
    fn a_taken_name_is_a_problem_with_the_name() {
        let conflict = ServiceError::Conflict {
            code: "name_conflict",
            message: "Taken.".into(),
        };
        assert_eq!(form_problems(conflict).unwrap()["name"], ["Taken."]);
        assert!(form_problems(ServiceError::NotFound("library")).is_err());
    }
}
