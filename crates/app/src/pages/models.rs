//! Models, for administrators: what is in use, servers of models and their models.

use axum::extract::{Path, State};
use axum::response::Redirect;
use chrono::{DateTime, Utc};
use http::StatusCode;
use mnemosyne_domain::{ApiKey, ModelRole, ModelUid, PageRequest, ProviderKind, ProviderLimits, ProviderUid};
use mnemosyne_services::ServiceError;
use mnemosyne_services::models::{InForce, ModelRequest, ModelView};
use mnemosyne_services::permission::{self, Action};
use mnemosyne_services::providers::{KeyRequest, KeyState, ProviderRequest, ProviderView, ServerTest};

use super::shell::{
    Done, Fields, FormProblems, PageError, PageResult, Params, Visitor, form_problems, typed, value,
};
use super::typed::TypedForm;
use super::view::{
    Crumb, DeletePage, Field, Frame, ModelFormPage, ModelLabel, ModelRow, ModelsPage, NumberField, Pager,
    ProviderFormPage, ProviderRow, RoleRow, Section, TestOutcome, WordChoice,
};
use crate::csrf::CheckedForm;
use crate::state::{AppState, to_the_end};

/// Servers on one page of the list.
const PROVIDERS_PER_PAGE: u32 = 20;
/// Where a new server is entered.
const NEW_PROVIDER: &str = "/models/providers/new/";
/// Where a new model is entered.
const NEW_MODEL: &str = "/models/new/";

fn provider_uid(text: &str) -> Result<ProviderUid, PageError> {
    ProviderUid::parse(text).ok_or_else(|| PageError::not_found("provider"))
}

fn model_uid(text: &str) -> Result<ModelUid, PageError> {
    ModelUid::parse(text).ok_or_else(|| PageError::not_found("model"))
}

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    render(&state, &visitor, params.page(), None).await
}

/// Where somebody lands who asks to read the address of one of the page's buttons.
pub(super) async fn back() -> Redirect {
    Redirect::to("/models/")
}

async fn render(state: &AppState, visitor: &Visitor, number: u64, test: Option<TestOutcome>) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let mut page = PageRequest::first(PROVIDERS_PER_PAGE);
    page.offset = (number - 1) * u64::from(PROVIDERS_PER_PAGE);
    let mut found = services.providers(caller, page).await?;
    let pager = Pager::new(
        found.total,
        number,
        u64::from(PROVIDERS_PER_PAGE),
        "/models/",
        &[],
    );
    if pager.page != number {
        page.offset = pager.offset();
        found = services.providers(caller, page).await?;
    }
    let in_force = services.models_in_force(caller).await?;
    let page = ModelsPage {
        frame: visitor.frame(state, "Models", Section::Models).await,
        roles: in_force.into_iter().map(role_row).collect(),
        providers: found.rows.into_iter().map(provider_row).collect(),
        pager,
        test,
    };
    visitor.page(StatusCode::OK, &page)
}

fn role_row(in_force: InForce) -> RoleRow {
    let (title, hint) = match in_force.role {
        ModelRole::Embedding => ("Embedding", "nothing makes vectors."),
        ModelRole::Reranker => ("Reranker", "results stay in the order in which they were found."),
        ModelRole::Chat => ("Chat", "concepts are found without a model."),
        ModelRole::Vision => ("Vision", "pictures are not described."),
    };
    let source = match (&in_force.registered, &in_force.embedding) {
        (Some(view), Some(_)) => format!("of {}", view.provider_name),
        (Some(view), None) => format!("of {}; this version does not use it yet", view.provider_name),
        (None, Some(_)) => {
            "of the environment or this machine; no registered model is the system’s".to_owned()
        }
        (None, None) => String::new(),
    };
    let model = match (in_force.embedding, in_force.registered) {
        (Some(model), _) => Some(ModelLabel {
            name: model.id,
            kind: model.kind,
        }),
        (None, Some(view)) => Some(ModelLabel {
            name: view.model.draft.name,
            kind: mnemosyne_domain::ModelKind::Neural,
        }),
        (None, None) => None,
    };
    RoleRow {
        title,
        hint,
        model,
        source,
    }
}

fn key_words(key: &KeyState) -> String {
    match key {
        KeyState::None => "no key".to_owned(),
        KeyState::Set { hint } if hint.is_empty() => "key stored".to_owned(),
        KeyState::Set { hint } => format!("key …{hint}"),
        KeyState::Unreadable => "its key cannot be opened with the configured keys".to_owned(),
    }
}

fn provider_row(view: ProviderView) -> ProviderRow {
    let draft = view.provider.draft;
    ProviderRow {
        uid: view.provider.uid.to_string(),
        name: draft.name,
        kind: draft.kind.as_str(),
        base_url: draft.base_url,
        key: key_words(&view.key),
        key_is_unreadable: view.key == KeyState::Unreadable,
        verify_tls: draft.verify_tls,
        allow_private: draft.allow_private,
        models: view
            .models
            .into_iter()
            .map(|model| ModelRow {
                uid: model.uid.to_string(),
                role: model.draft.role.as_str(),
                dimension: model.draft.dimension.map(|dimension| dimension as u64),
                is_default: model.draft.is_default,
                name: model.draft.name,
            })
            .collect(),
    }
}

fn outcome(subject: String, test: ServerTest) -> TestOutcome {
    TestOutcome {
        subject,
        is_good: test.ok,
        message: test.detail,
        took_ms: test.latency_ms,
        models: test.models,
    }
}

/// Asks a server which models it has.
pub(super) async fn test_provider(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let uid = provider_uid(&uid)?;
    let services = state.services();
    let view = services.provider(&visitor.principal, &uid).await?;
    let test = services.test_provider(&visitor.principal, &uid).await?;
    let outcome = outcome(view.provider.draft.name, test);
    render(&state, &visitor, 1, Some(outcome)).await
}

/// Makes one small call to a model.
pub(super) async fn test_model(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let uid = model_uid(&uid)?;
    let services = state.services();
    let view = services.registered_model(&visitor.principal, &uid).await?;
    let test = services.test_model(&visitor.principal, &uid).await?;
    let outcome = outcome(view.model.draft.name, test);
    render(&state, &visitor, 1, Some(outcome)).await
}

// -- the form of a server --

/// The limits: form field, label, hint.
const NUMBERS: [(&str, &str, &str); 5] = [
    ("timeout_seconds", "Time of one request", "In seconds, 1 to 3600."),
    ("batch_size", "Texts in one request", "1 to 1024."),
    (
        "batch_tokens",
        "Tokens in one request",
        "Estimated, one for every three bytes; 16 to 1000000.",
    ),
    (
        "text_tokens",
        "Tokens of one text",
        "A longer text is sent in pieces; 16 to 1000000.",
    ),
    (
        "max_parallel",
        "Requests at the same time",
        "Of each process, 1 to 64.",
    ),
];

/// The hidden field of a form that says which version of the thing it was filled with.
const SEEN: &str = "seen";

/// The version of what was changed at this moment.
fn version(changed_at: DateTime<Utc>) -> String {
    changed_at.timestamp_micros().to_string()
}

/// The version that a form was filled with; one that cannot be read is no thing's.
fn seen(fields: &Fields) -> Option<DateTime<Utc>> {
    let text = value(fields, SEEN);
    let micros = || text.parse().ok().and_then(DateTime::from_timestamp_micros);
    (!text.is_empty()).then(|| micros().unwrap_or_default())
}

/// What is wrong with a form; that somebody else was faster is told at its first field.
fn problems_of(error: ServiceError) -> Result<FormProblems, ServiceError> {
    match error {
        ServiceError::Conflict {
            code: "conflict",
            message,
        } => Ok(FormProblems::from([("name".to_owned(), vec![message])])),
        other => form_problems(other),
    }
}

/// A form with what a server is.
fn provider_fields(view: Option<&ProviderView>) -> Fields {
    let usual = ProviderLimits::default();
    let draft = view.map(|view| &view.provider.draft);
    let limits = draft.map_or(usual, |draft| draft.limits);
    let mut fields = vec![
        (
            "name".to_owned(),
            draft.map_or_else(String::new, |draft| draft.name.clone()),
        ),
        (
            "kind".to_owned(),
            draft
                .map_or(ProviderKind::default(), |draft| draft.kind)
                .as_str()
                .to_owned(),
        ),
        (
            "base_url".to_owned(),
            draft.map_or_else(String::new, |draft| draft.base_url.clone()),
        ),
    ];
    let numbers = [
        limits.timeout.as_secs(),
        u64::from(limits.batch_size),
        u64::from(limits.batch_tokens),
        u64::from(limits.text_tokens),
        u64::from(limits.max_parallel),
    ];
    for ((name, _, _), number) in NUMBERS.iter().zip(numbers) {
        fields.push(((*name).to_owned(), number.to_string()));
    }
    if let Some(view) = view {
        fields.push((SEEN.to_owned(), version(view.provider.updated_at)));
    }
    if draft.is_none_or(|draft| draft.verify_tls) {
        fields.push(("verify_tls".to_owned(), "on".to_owned()));
    }
    fields
}

async fn provider_form(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    view: Option<&ProviderView>,
    fields: &Fields,
    problems: &FormProblems,
) -> PageResult {
    let (title, action, button) = match view {
        None => (
            "New provider".to_owned(),
            NEW_PROVIDER.to_owned(),
            "Add the provider",
        ),
        Some(view) => (
            format!("Edit {}", view.provider.draft.name),
            format!("/models/providers/{}/edit/", view.provider.uid),
            "Save",
        ),
    };
    let field = |name: &str| typed(name, value(fields, name), problems);
    let page = ProviderFormPage {
        frame: frame(state, visitor, title).await,
        action,
        button,
        seen: value(fields, SEEN).to_owned(),
        name: field("name"),
        kind: field("kind"),
        kinds: vec![
            WordChoice {
                value: ProviderKind::OpenAi.as_str(),
                label: "OpenAI’s way, as most servers do",
            },
            WordChoice {
                value: ProviderKind::Synesis.as_str(),
                label: "Synesis",
            },
        ],
        base_url: field("base_url"),
        api_key: Field {
            value: String::new(),
            ..field("api_key")
        },
        stored_key: view.and_then(|view| match &view.key {
            KeyState::None => None,
            KeyState::Set { hint } if hint.is_empty() => Some("A key is stored.".to_owned()),
            KeyState::Set { hint } => Some(format!("A key is stored; it ends in {hint}.")),
            KeyState::Unreadable => Some(
                "A key is stored that cannot be opened with the configured encryption keys; enter it again."
                    .to_owned(),
            ),
        }),
        remove_key: value(fields, "remove_key") == "on",
        verify_tls: value(fields, "verify_tls") == "on",
        numbers_are_wrong: NUMBERS.iter().any(|(name, _, _)| problems.contains_key(*name)),
        numbers: NUMBERS
            .iter()
            .map(|(name, label, hint)| NumberField {
                name,
                label,
                hint,
                field: field(name),
            })
            .collect(),
    };
    visitor.page(status, &page)
}

async fn frame(state: &AppState, visitor: &Visitor, title: String) -> Frame {
    let mut frame = visitor.frame(state, title, Section::Models).await;
    frame.crumbs = vec![Crumb::new("Models", "/models/")];
    frame
}

/// A number that was typed; `None` where nothing was, a problem where it is none.
fn number(fields: &Fields, name: &str, problems: &mut FormProblems) -> Option<u64> {
    let text = value(fields, name).trim();
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok();
    if number.is_none() {
        problems.insert(name.to_owned(), vec!["Type a whole number.".to_owned()]);
    }
    number
}

/// What a form asks for.
fn provider_request(fields: &Fields) -> Result<ProviderRequest, FormProblems> {
    let mut problems = FormProblems::new();
    let [
        timeout_seconds,
        batch_size,
        batch_tokens,
        text_tokens,
        max_parallel,
    ] = NUMBERS.map(|(name, _, _)| number(fields, name, &mut problems));
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = value(fields, "api_key").trim();
    let api_key = if !key.is_empty() {
        KeyRequest::Set(ApiKey::new(key))
    } else if value(fields, "remove_key") == "on" {
        KeyRequest::Remove
    } else {
        KeyRequest::Keep
    };
    let text = |name: &str| Some(value(fields, name).to_owned());
    Ok(ProviderRequest {
        seen: seen(fields),
        name: text("name"),
        kind: text("kind"),
        base_url: text("base_url"),
        api_key,
        verify_tls: Some(value(fields, "verify_tls") == "on"),
        allow_private: None,
        timeout_seconds,
        batch_size,
        batch_tokens,
        text_tokens,
        max_parallel,
    })
}

/// The form of a new server.
pub(super) async fn show_new_provider(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    permission::require(&visitor.principal, Action::Administer)?;
    let fields = provider_fields(None);
    provider_form(
        &state,
        &visitor,
        StatusCode::OK,
        None,
        &fields,
        &FormProblems::new(),
    )
    .await
}

/// Registers a server.
pub(super) async fn create_provider(State(state): State<AppState>, form: TypedForm) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    permission::require(&visitor.principal, Action::Administer)?;
    if !is_valid {
        let nothing = FormProblems::new();
        return provider_form(&state, &visitor, StatusCode::FORBIDDEN, None, &fields, &nothing).await;
    }
    let made = match provider_request(&fields) {
        Ok(request) => {
            state
                .services()
                .create_provider(&visitor.principal, request)
                .await
        }
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match made {
        Ok(_) => Ok(visitor.done(Done::ProviderSaved, "/models/")),
        Err(error) => {
            let problems = form_problems(error)?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            provider_form(&state, &visitor, status, None, &fields, &problems).await
        }
    }
}

/// The form of a known server.
pub(super) async fn show_edit_provider(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let view = state
        .services()
        .provider(&visitor.principal, &provider_uid(&uid)?)
        .await?;
    let fields = provider_fields(Some(&view));
    let nothing = FormProblems::new();
    provider_form(&state, &visitor, StatusCode::OK, Some(&view), &fields, &nothing).await
}

/// Changes a server.
pub(super) async fn change_provider(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    form: TypedForm,
) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    let uid = provider_uid(&uid)?;
    let services = state.services();
    let view = services.provider(&visitor.principal, &uid).await?;
    if !is_valid {
        let (status, nothing) = (StatusCode::FORBIDDEN, FormProblems::new());
        return provider_form(&state, &visitor, status, Some(&view), &fields, &nothing).await;
    }
    let changed = match provider_request(&fields) {
        Ok(request) => services.update_provider(&visitor.principal, &uid, request).await,
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match changed {
        Ok(_) => Ok(visitor.done(Done::ProviderSaved, "/models/")),
        Err(error) => {
            let problems = problems_of(error)?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            provider_form(&state, &visitor, status, Some(&view), &fields, &problems).await
        }
    }
}

/// Asks before a server goes.
pub(super) async fn confirm_provider_deletion(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let view = state
        .services()
        .provider(&visitor.principal, &provider_uid(&uid)?)
        .await?;
    let name = &view.provider.draft.name;
    let mut what_goes = vec![format!("the provider “{name}” with its key")];
    what_goes.extend(
        view.models
            .iter()
            .map(|model| format!("its {} model “{}”", model.draft.role.as_str(), model.draft.name)),
    );
    let page = DeletePage {
        frame: frame(&state, &visitor, format!("Delete “{name}”?")).await,
        what_goes,
        remarks: vec![
            "A model that made a library’s vectors, or that is the system’s, keeps it from going.".to_owned(),
        ],
        button: "Delete the provider".to_owned(),
        back: "/models/".to_owned(),
    };
    visitor.page(StatusCode::OK, &page)
}

/// Removes a server.
pub(super) async fn delete_provider(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let (caller, uid) = (visitor.principal.clone(), provider_uid(&uid)?);
    to_the_end(&state, |services| async move {
        services.delete_provider(&caller, &uid).await
    })
    .await?;
    Ok(visitor.done(Done::ProviderGone, "/models/"))
}

// -- the form of a model --

/// A form with what a model is.
fn model_fields(view: &ModelView) -> Fields {
    let draft = &view.model.draft;
    let takes_instructions = match draft.takes_instructions {
        None => "",
        Some(true) => "yes",
        Some(false) => "no",
    };
    let mut fields: Fields = [
        ("provider", view.model.provider.to_string()),
        ("name", draft.name.clone()),
        ("role", draft.role.as_str().to_owned()),
        (
            "dimension",
            draft
                .dimension
                .map(|dimension| dimension.to_string())
                .unwrap_or_default(),
        ),
        ("takes_instructions", takes_instructions.to_owned()),
        (SEEN, version(view.model.updated_at)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if draft.is_default {
        fields.push(("is_default".to_owned(), "on".to_owned()));
    }
    fields
}

/// Which model a form is about.
enum Subject<'v> {
    /// A new one of this server.
    New(&'v ProviderView),
    /// A known one.
    Known(&'v ModelView),
}

async fn model_form(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    subject: Subject<'_>,
    fields: &Fields,
    problems: &FormProblems,
) -> PageResult {
    let title_of = |role: ModelRole| match role {
        ModelRole::Embedding => "Embedding: makes vectors",
        ModelRole::Reranker => "Reranker: puts results in order",
        ModelRole::Chat => "Chat: answers in words",
        ModelRole::Vision => "Vision: answers about pictures",
    };
    let (title, action, button, provider, provider_name, roles) = match subject {
        Subject::New(view) => (
            "New model".to_owned(),
            NEW_MODEL.to_owned(),
            "Add the model",
            view.provider.uid.to_string(),
            view.provider.draft.name.clone(),
            ModelRole::ALL
                .map(|role| WordChoice {
                    value: role.as_str(),
                    label: title_of(role),
                })
                .into(),
        ),
        Subject::Known(view) => (
            format!("Edit {}", view.model.draft.name),
            format!("/models/{}/edit/", view.model.uid),
            "Save",
            view.model.provider.to_string(),
            view.provider_name.clone(),
            Vec::new(),
        ),
    };
    let field = |name: &str| typed(name, value(fields, name), problems);
    let page = ModelFormPage {
        frame: frame(state, visitor, title).await,
        action,
        button,
        provider,
        provider_name,
        seen: value(fields, SEEN).to_owned(),
        name: field("name"),
        role: field("role"),
        roles,
        dimension: field("dimension"),
        takes_instructions: field("takes_instructions"),
        is_default: value(fields, "is_default") == "on",
    };
    visitor.page(status, &page)
}

/// What a form asks for.
fn model_request(fields: &Fields) -> Result<ModelRequest, FormProblems> {
    let mut problems = FormProblems::new();
    let dimension = number(fields, "dimension", &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let takes_instructions = match value(fields, "takes_instructions") {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    };
    Ok(ModelRequest {
        seen: seen(fields),
        name: Some(value(fields, "name").to_owned()),
        role: Some(value(fields, "role").to_owned()),
        dimension,
        takes_instructions: Some(takes_instructions),
        is_default: Some(value(fields, "is_default") == "on"),
    })
}

/// The form of a new model of the server that the address names.
pub(super) async fn show_new_model(
    State(state): State<AppState>,
    visitor: Visitor,
    params: Params,
) -> PageResult {
    permission::require(&visitor.principal, Action::Administer)?;
    let uid = provider_uid(params.get("provider"))?;
    let view = state.services().provider(&visitor.principal, &uid).await?;
    let nothing = FormProblems::new();
    model_form(
        &state,
        &visitor,
        StatusCode::OK,
        Subject::New(&view),
        &Fields::new(),
        &nothing,
    )
    .await
}

/// Registers a model.
pub(super) async fn create_model(State(state): State<AppState>, form: TypedForm) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    permission::require(&visitor.principal, Action::Administer)?;
    let uid = provider_uid(value(&fields, "provider"))?;
    let services = state.services();
    let view = services.provider(&visitor.principal, &uid).await?;
    let subject = Subject::New(&view);
    if !is_valid {
        let (status, nothing) = (StatusCode::FORBIDDEN, FormProblems::new());
        return model_form(&state, &visitor, status, subject, &fields, &nothing).await;
    }
    let made = match model_request(&fields) {
        Ok(request) => {
            services
                .create_model(&visitor.principal, Some(&uid), request)
                .await
        }
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match made {
        Ok(_) => Ok(visitor.done(Done::ModelSaved, "/models/")),
        Err(error) => {
            let problems = form_problems(error)?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            model_form(&state, &visitor, status, subject, &fields, &problems).await
        }
    }
}

/// The form of a known model.
pub(super) async fn show_edit_model(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let view = state
        .services()
        .registered_model(&visitor.principal, &model_uid(&uid)?)
        .await?;
    let fields = model_fields(&view);
    let nothing = FormProblems::new();
    model_form(
        &state,
        &visitor,
        StatusCode::OK,
        Subject::Known(&view),
        &fields,
        &nothing,
    )
    .await
}

/// Changes a model.
pub(super) async fn change_model(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    form: TypedForm,
) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    let uid = model_uid(&uid)?;
    let services = state.services();
    let view = services.registered_model(&visitor.principal, &uid).await?;
    let subject = Subject::Known(&view);
    if !is_valid {
        let (status, nothing) = (StatusCode::FORBIDDEN, FormProblems::new());
        return model_form(&state, &visitor, status, subject, &fields, &nothing).await;
    }
    let changed = match model_request(&fields) {
        Ok(request) => services.update_model(&visitor.principal, &uid, request).await,
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match changed {
        Ok(_) => Ok(visitor.done(Done::ModelSaved, "/models/")),
        Err(error) => {
            let problems = match error {
                // What keeps the model as it is, beside the field that would change it.
                ServiceError::Conflict {
                    code: "model_in_use",
                    message,
                } => FormProblems::from([("name".to_owned(), vec![message])]),
                other => problems_of(other)?,
            };
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            model_form(&state, &visitor, status, subject, &fields, &problems).await
        }
    }
}

/// Asks before a model goes.
pub(super) async fn confirm_model_deletion(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let view = state
        .services()
        .registered_model(&visitor.principal, &model_uid(&uid)?)
        .await?;
    let name = &view.model.draft.name;
    let page = DeletePage {
        frame: frame(&state, &visitor, format!("Delete “{name}”?")).await,
        what_goes: vec![format!(
            "the {} model “{name}” of {}",
            view.model.draft.role.as_str(),
            view.provider_name
        )],
        remarks: vec!["A model that made a library’s vectors, or that is the system’s, stays.".to_owned()],
        button: "Delete the model".to_owned(),
        back: "/models/".to_owned(),
    };
    visitor.page(StatusCode::OK, &page)
}

/// Removes a model.
pub(super) async fn delete_model(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let (caller, uid) = (visitor.principal.clone(), model_uid(&uid)?);
    to_the_end(&state, |services| async move {
        services.delete_model(&caller, &uid).await
    })
    .await?;
    Ok(visitor.done(Done::ModelGone, "/models/"))
}

/// A form as it was sent before the session ended; `None` where no such form is at this address.
pub(super) async fn show_again(
    state: &AppState,
    visitor: &Visitor,
    path: &str,
    fields: &Fields,
) -> Result<Option<axum::response::Response>, PageError> {
    let nothing = FormProblems::new();
    let status = StatusCode::OK;
    let caller = &visitor.principal;
    let edited = path
        .strip_prefix("/models/")
        .and_then(|rest| rest.strip_suffix("/edit/"));
    let shown = match (path, edited) {
        (NEW_PROVIDER, _) => {
            permission::require(caller, Action::Administer)?;
            provider_form(state, visitor, status, None, fields, &nothing).await
        }
        (NEW_MODEL, _) => {
            let uid = provider_uid(value(fields, "provider"))?;
            let view = state.services().provider(caller, &uid).await?;
            model_form(state, visitor, status, Subject::New(&view), fields, &nothing).await
        }
        (_, Some(rest)) => match rest.strip_prefix("providers/") {
            Some(uid) => {
                let view = state.services().provider(caller, &provider_uid(uid)?).await?;
                provider_form(state, visitor, status, Some(&view), fields, &nothing).await
            }
            None => {
                let view = state
                    .services()
                    .registered_model(caller, &model_uid(rest)?)
                    .await?;
                model_form(state, visitor, status, Subject::Known(&view), fields, &nothing).await
            }
        },
        _ => return Ok(None),
    };
    shown.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_key_is_kept_removed_or_replaced() {
        for (pairs, expected) in [
            (vec![], KeyRequest::Keep),
            (vec![("api_key", " ")], KeyRequest::Keep),
            (vec![("remove_key", "on")], KeyRequest::Remove),
            (
                vec![("remove_key", "on"), ("api_key", " k ")],
                KeyRequest::Set(ApiKey::new("k")),
            ),
        ] {
            assert_eq!(provider_request(&form(&pairs)).unwrap().api_key, expected);
        }
    }

    #[test]
    fn every_number_that_is_none_is_named() {
        let wrong = provider_request(&form(&[("batch_size", "x"), ("max_parallel", "-1")])).unwrap_err();
        let names: Vec<&str> = wrong.keys().map(String::as_str).collect();
        assert_eq!(names, ["batch_size", "max_parallel"]);
        assert!(model_request(&form(&[("dimension", "many")])).is_err());
    }

    #[test]
    fn a_form_says_again_what_a_new_server_is() {
        let request = provider_request(&provider_fields(None)).unwrap();
        assert_eq!(
            (request.verify_tls, request.timeout_seconds),
            (Some(true), Some(120))
        );
        assert_eq!(request.kind.as_deref(), Some("openai"));
    }
}
