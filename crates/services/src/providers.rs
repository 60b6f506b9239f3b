//! Servers of models: register, change, remove, try out (contract §5, §7).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::{RegisteredModel, RegisteredModels, Relational, ServerAnswer, ServerRefusal};
use mnemosyne_domain::{
    ApiKey, AuditEvent, KeyChange, ModelTarget, Page, PageRequest, Principal, Provider, ProviderDraft,
    ProviderKey, ProviderKind, ProviderLimits, ProviderModel, ProviderUid, StoreError, StoreResult,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::secrets::Keyring;
use crate::validate::Problems;

/// Longest name of a server, in characters.
pub const MAX_NAME: usize = 100;
/// Longest address of a server, in characters.
const MAX_BASE_URL: usize = 500;
/// Longest key, in bytes.
const MAX_KEY: usize = 4_096;

/// What is asked about the key of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyRequest {
    /// Nothing: a new server has none, a known one keeps its own.
    #[default]
    Keep,
    /// It goes.
    Remove,
    /// This takes its place.
    Set(ApiKey),
}

/// What a server is to be, as the caller wrote it. What is absent is as usual for a new server, and stays for a known one.
#[derive(Clone, Debug, Default)]
pub struct ProviderRequest {
    /// When it was last changed, as the caller saw it. A known server that was changed since stays as it is.
    pub seen: Option<DateTime<Utc>>,
    /// What people call it.
    pub name: Option<String>,
    /// How it speaks.
    pub kind: Option<String>,
    /// Its address.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: KeyRequest,
    /// Whether its certificate is checked.
    pub verify_tls: Option<bool>,
    /// Whether its host may have a private address. Heeded from a command on this machine only, whose author may set the
    /// environment as well.
    pub allow_private: Option<bool>,
    /// Seconds that one request may take.
    pub timeout_seconds: Option<u64>,
    /// Texts in one request.
    pub batch_size: Option<u64>,
    /// Estimated tokens in one request.
    pub batch_tokens: Option<u64>,
    /// Estimated tokens of the longest piece of text.
    pub text_tokens: Option<u64>,
    /// Requests at the same time.
    pub max_parallel: Option<u64>,
}

/// What may be told of a server's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The server asks for none.
    None,
    /// There is one; its last characters, four at the most.
    Set {
        /// To recognise it by.
        hint: String,
    },
    /// There is one, and none of the configured encryption keys opens it.
    Unreadable,
}

/// A server as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderView {
    /// The server.
    pub provider: Provider,
    /// What may be told of its key.
    pub key: KeyState,
    /// Its models, in the order in which they were registered.
    pub models: Vec<ProviderModel>,
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTest {
    /// Whether the server did what it should.
    pub ok: bool,
    /// How long its answer took, in milliseconds; `None` where none came.
    pub latency_ms: Option<f64>,
    /// The length of the vector that came.
    pub dimension: Option<usize>,
    /// What came, or what went wrong, in a sentence or two without secrets.
    pub detail: String,
    /// The names of the server's models, where they were asked for.
    pub models: Vec<String>,
}

impl ServerTest {
    pub(crate) fn of(outcome: Result<ServerAnswer, ServerRefusal>) -> Self {
        match outcome {
            Ok(answer) => Self {
                ok: true,
                latency_ms: Some((answer.latency.as_secs_f64() * 10_000.0).round() / 10.0),
                dimension: answer.dimension,
                detail: answer.detail,
                models: answer.models,
            },
            Err(refusal) => Self::failed(refusal.0),
        }
    }

    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self {
            ok: false,
            latency_ms: None,
            dimension: None,
            detail: detail.into(),
            models: Vec::new(),
        }
    }
}

/// A part of a list that is short enough to be read as a whole.
pub(crate) fn part_of<T>(rows: Vec<T>, page: PageRequest) -> Page<T> {
    let total = rows.len() as u64;
    let skipped = usize::try_from(page.offset).unwrap_or(usize::MAX);
    Page {
        rows: rows.into_iter().skip(skipped).take(page.limit as usize).collect(),
        total,
    }
}

/// Somebody else changed it since the caller read it.
pub(crate) fn changed_meanwhile(what: &str) -> ServiceError {
    ServiceError::Conflict {
        code: "conflict",
        message: format!(
            "This {what} was changed by somebody else meanwhile; nothing was saved. Read it again, then change it."
        ),
    }
}

pub(crate) fn name_conflict(what: &str, name: &str) -> ServiceError {
    ServiceError::Conflict {
        code: "name_conflict",
        message: format!("There is {what} {name:?} already."),
    }
}

/// A number within bounds; otherwise a problem, and what was there before.
fn number(
    problems: &mut Problems,
    field: &str,
    given: Option<u64>,
    before: u32,
    least: u32,
    most: u32,
) -> u32 {
    let Some(given) = given else { return before };
    match u32::try_from(given) {
        Ok(number) if (least..=most).contains(&number) => number,
        _ => {
            problems.add(field, format!("Choose a number from {least} to {most}."));
            before
        }
    }
}

/// What a server is to be: the request laid over what it was before.
fn draft(problems: &mut Problems, request: &ProviderRequest, before: &ProviderDraft) -> ProviderDraft {
    let name = match &request.name {
        Some(name) => problems.text("name", Some(name), MAX_NAME),
        None if before.name.is_empty() => problems.text("name", None, MAX_NAME),
        None => before.name.clone(),
    };
    let base_url = match &request.base_url {
        Some(url) => problems.text("base_url", Some(url), MAX_BASE_URL),
        None if before.base_url.is_empty() => problems.text("base_url", None, MAX_BASE_URL),
        None => before.base_url.clone(),
    };
    let kind = match request.kind.as_deref().map(str::trim) {
        None => before.kind,
        Some(word) => ProviderKind::parse(word).unwrap_or_else(|| {
            let known = ProviderKind::ALL.map(ProviderKind::as_str).join(", ");
            problems.add(
                "kind",
                format!("{word:?} is not a valid choice; choose one of {known}."),
            );
            before.kind
        }),
    };
    let limits = &before.limits;
    let timeout = u32::try_from(limits.timeout.as_secs()).unwrap_or(u32::MAX);
    let timeout = number(
        problems,
        "timeout_seconds",
        request.timeout_seconds,
        timeout,
        1,
        3_600,
    );
    ProviderDraft {
        name,
        kind,
        base_url: base_url.trim_end_matches('/').to_owned(),
        verify_tls: request.verify_tls.unwrap_or(before.verify_tls),
        allow_private: before.allow_private,
        limits: ProviderLimits {
            timeout: Duration::from_secs(u64::from(timeout)),
            batch_size: number(
                problems,
                "batch_size",
                request.batch_size,
                limits.batch_size,
                1,
                1_024,
            ),
            batch_tokens: number(
                problems,
                "batch_tokens",
                request.batch_tokens,
                limits.batch_tokens,
                16,
                1_000_000,
            ),
            text_tokens: number(
                problems,
                "text_tokens",
                request.text_tokens,
                limits.text_tokens,
                16,
                1_000_000,
            ),
            max_parallel: number(
                problems,
                "max_parallel",
                request.max_parallel,
                limits.max_parallel,
                1,
                64,
            ),
        },
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| host + at);
    &url[..end]
}

/// A key must be able to stand in a header.
fn check_key(problems: &mut Problems, request: &KeyRequest) {
    let KeyRequest::Set(key) = request else { return };
    let key = key.expose();
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.add(
            "api_key",
            format!("A key is 1 to {MAX_KEY} letters, digits and signs, without spaces and line breaks."),
        );
    }
}

impl Services {
    fn view(&self, provider: Provider, models: &[ProviderModel]) -> ProviderView {
        let key = match self.keyring.provider_key(&provider) {
            ProviderKey::None => KeyState::None,
            ProviderKey::Open(key) => KeyState::Set { hint: key.hint() },
            ProviderKey::Unreadable => KeyState::Unreadable,
        };
        let models = models
            .iter()
            .filter(|model| model.provider == provider.uid)
            .cloned()
            .collect();
        ProviderView {
            provider,
            key,
            models,
        }
    }

    /// Every registered server, by name.
    pub async fn providers(
        &self,
        caller: &Principal,
        page: PageRequest,
    ) -> ServiceResult<Page<ProviderView>> {
        permission::require(caller, Action::Administer)?;
        let models = self.relational.models().await?;
        let providers = part_of(self.relational.providers().await?, page);
        Ok(providers.map(|provider| self.view(provider, &models)))
    }

    /// One registered server.
    pub async fn provider(&self, caller: &Principal, uid: &ProviderUid) -> ServiceResult<ProviderView> {
        permission::require(caller, Action::Administer)?;
        let provider = self.find_provider(uid).await?;
        Ok(self.view(provider, &self.relational.models().await?))
    }

    /// The registered server of this name.
    pub async fn provider_by_name(&self, caller: &Principal, name: &str) -> ServiceResult<ProviderView> {
        permission::require(caller, Action::Administer)?;
        let found = self.relational.provider_by_name(name).await?;
        let provider = found.ok_or(ServiceError::NotFound("provider"))?;
        Ok(self.view(provider, &self.relational.models().await?))
    }

    pub(crate) async fn find_provider(&self, uid: &ProviderUid) -> ServiceResult<Provider> {
        self.relational
            .provider(uid)
            .await?
            .ok_or(ServiceError::NotFound("provider"))
    }

    /// Registers a server.
    pub async fn create_provider(
        &self,
        caller: &Principal,
        request: ProviderRequest,
    ) -> ServiceResult<ProviderView> {
        permission::require(caller, Action::Administer)?;
        let draft = self.checked(caller, &request, None).await?;
        let now = self.clock.now();
        let sealed = match &request.api_key {
            KeyRequest::Set(key) => Some(self.keyring.seal_provider_key(key, now)),
            KeyRequest::Keep | KeyRequest::Remove => None,
        };
        let made = self
            .relational
            .create_provider(&draft, sealed.as_deref(), now)
            .await;
        self.embedders.changed();
        let made = match made {
            Err(StoreError::Conflict(_)) => return Err(name_conflict("a provider", &draft.name)),
            other => other?,
        };
        self.audited(
            caller,
            AuditEvent::ModelsChanged,
            &draft.name,
            "provider registered",
        )
        .await;
        Ok(self.view(made, &[]))
    }

    /// Changes a server.
    pub async fn update_provider(
        &self,
        caller: &Principal,
        uid: &ProviderUid,
        request: ProviderRequest,
    ) -> ServiceResult<ProviderView> {
        permission::require(caller, Action::Administer)?;
        let before = self.find_provider(uid).await?;
        let draft = self.checked(caller, &request, Some(&before)).await?;
        let now = self.clock.now();
        let key = match &request.api_key {
            KeyRequest::Keep => KeyChange::Keep,
            KeyRequest::Remove => KeyChange::Remove,
            KeyRequest::Set(key) => KeyChange::Replace(self.keyring.seal_provider_key(key, now)),
        };
        // The checks above hold for what was read: a new key must not go to a host that somebody else just left.
        let seen = request.seen.unwrap_or(before.updated_at);
        let changed = self
            .relational
            .update_provider(uid, seen, &draft, &key, now)
            .await;
        self.embedders.changed();
        let changed = match changed {
            Err(StoreError::Conflict("updated_at")) => return Err(changed_meanwhile("provider")),
            Err(StoreError::Conflict(_)) => return Err(name_conflict("a provider", &draft.name)),
            Err(StoreError::NotFound) => return Err(ServiceError::NotFound("provider")),
            other => other?,
        };
        let what = match key {
            KeyChange::Keep => "provider changed",
            KeyChange::Remove => "provider changed, its key removed",
            KeyChange::Replace(_) => "provider changed, its key replaced",
        };
        self.audited(caller, AuditEvent::ModelsChanged, &draft.name, what)
            .await;
        Ok(self.view(changed, &self.relational.models().await?))
    }

    /// What a server is to be, after every check.
    async fn checked(
        &self,
        caller: &Principal,
        request: &ProviderRequest,
        known: Option<&Provider>,
    ) -> ServiceResult<ProviderDraft> {
        let new = ProviderDraft {
            name: String::new(),
            kind: ProviderKind::default(),
            base_url: String::new(),
            verify_tls: true,
            allow_private: false,
            limits: ProviderLimits::default(),
        };
        let before = known.map_or(&new, |known| &known.draft);
        let mut problems = Problems::default();
        let mut draft = draft(&mut problems, request, before);
        check_key(&mut problems, &request.api_key);
        if origin(&draft.base_url) != origin(&before.base_url) {
            draft.allow_private = false;
            let has_key = known.is_some_and(|known| known.sealed_key.is_some());
            if has_key && request.api_key == KeyRequest::Keep && *caller != Principal::Local {
                problems.add(
                    "api_key",
                    "The key must not go to another server unseen: enter it again, or remove it.",
                );
            }
        }
        if *caller == Principal::Local
            && let Some(allowed) = request.allow_private
        {
            draft.allow_private = allowed;
        }
        let is_to_be_judged =
            (&draft.base_url, draft.allow_private) != (&before.base_url, before.allow_private);
        if is_to_be_judged
            && !draft.base_url.is_empty()
            && let Err(refusal) = self.model_servers.admit(&draft).await
        {
            problems.add("base_url", refusal.0);
        }
        problems.check()?;
        Ok(draft)
    }

    /// Removes a server with its models: refused while one of them is the system's, or made a library's vectors.
    pub async fn delete_provider(&self, caller: &Principal, uid: &ProviderUid) -> ServiceResult<()> {
        permission::require(caller, Action::Administer)?;
        let provider = self.find_provider(uid).await?;
        for model in self.relational.models().await? {
            if model.provider == provider.uid {
                self.require_unused(&model).await?;
            }
        }
        let removed = self.relational.delete_provider(uid).await;
        self.embedders.changed();
        match removed {
            Ok(true) => {
                let name = &provider.draft.name;
                self.audited(caller, AuditEvent::ModelsChanged, name, "provider removed")
                    .await;
                Ok(())
            }
            Ok(false) => Err(ServiceError::NotFound("provider")),
            Err(StoreError::Conflict(_)) => Err(ServiceError::Conflict {
                code: "default_model",
                message: "One of its models is the system's; choose another one for that role first."
                    .to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a server which models it has.
    pub async fn test_provider(&self, caller: &Principal, uid: &ProviderUid) -> ServiceResult<ServerTest> {
        permission::require(caller, Action::Administer)?;
        let target = self.model_target(self.find_provider(uid).await?);
        Ok(ServerTest::of(self.model_servers.ask_for_models(&target).await))
    }

    pub(crate) fn model_target(&self, provider: Provider) -> ModelTarget {
        model_target(&self.keyring, provider)
    }
}

fn model_target(keyring: &Keyring, provider: Provider) -> ModelTarget {
    ModelTarget {
        key: keyring.provider_key(&provider),
        provider: provider.uid,
        server: provider.draft,
    }
}

/// The registered models for those who call them: as the database has them, their keys open.
pub struct RegisteredSource {
    relational: Arc<dyn Relational>,
    keyring: Keyring,
}

impl RegisteredSource {
    /// Reads from this database, and opens with these keys.
    pub fn new(relational: Arc<dyn Relational>, keyring: Keyring) -> Self {
        Self { relational, keyring }
    }
}

#[async_trait::async_trait]
impl RegisteredModels for RegisteredSource {
    async fn registered_models(&self) -> StoreResult<Vec<RegisteredModel>> {
        let models = self.relational.models().await?;
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let providers = self.relational.providers().await?;
        // A model whose server was removed between the two questions is gone as well.
        let registered = models.into_iter().filter_map(|model| {
            let provider = providers.iter().find(|provider| provider.uid == model.provider)?;
            Some(RegisteredModel {
                target: model_target(&self.keyring, provider.clone()),
                model: model.draft,
            })
        });
        Ok(registered.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> ProviderDraft {
        ProviderDraft {
            name: "known".into(),
            kind: ProviderKind::Synesis,
            base_url: "https://models.example.org".into(),
            verify_tls: false,
            allow_private: true,
            limits: ProviderLimits::default(),
        }
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut problems = Problems::default();
        assert_eq!(
            draft(&mut problems, &ProviderRequest::default(), &known()),
            known()
        );
        let request = ProviderRequest {
            name: Some(" other ".into()),
            base_url: Some("https://models.example.org/v1/".into()),
            timeout_seconds: Some(5),
            max_parallel: Some(64),
            ..ProviderRequest::default()
        };
        let changed = draft(&mut problems, &request, &known());
        assert_eq!(
            (changed.name.as_str(), changed.kind),
            ("other", ProviderKind::Synesis)
        );
        assert_eq!(changed.base_url, "https://models.example.org/v1");
        assert_eq!(
            (changed.limits.timeout, changed.limits.max_parallel),
            (Duration::from_secs(5), 64)
        );
        assert!(problems.check().is_ok());
    }

    #[test]
    fn every_wrong_field_is_named() {
        let request = ProviderRequest {
            name: Some(" ".into()),
            kind: Some("morse".into()),
            base_url: Some(String::new()),
            api_key: KeyRequest::Set(ApiKey::new("with space")),
            timeout_seconds: Some(0),
            batch_size: Some(1_025),
            batch_tokens: Some(u64::MAX),
            text_tokens: Some(1),
            max_parallel: Some(65),
            ..ProviderRequest::default()
        };
        let mut problems = Problems::default();
        draft(&mut problems, &request, &known());
        check_key(&mut problems, &request.api_key);
        let Err(ServiceError::Invalid(fields)) = problems.check() else {
            panic!("all is well?")
        };
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "api_key",
                "base_url",
                "batch_size",
                "batch_tokens",
                "kind",
                "max_parallel",
                "name",
                "text_tokens",
                "timeout_seconds"
            ]
        );
        assert!(!format!("{fields:?} {request:?}").contains("with space"));
    }

    #[test]
    fn an_origin_is_what_comes_before_the_path() {
        for (url, expected) in [
            ("https://h.example:8443/v1?x", "https://h.example:8443"),
            ("http://[::1]", "http://[::1]"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn lists_are_cut() {
        let page = part_of(vec![1, 2, 3, 4, 5], PageRequest::new(3, 10));
        assert_eq!((page.rows, page.total), (vec![4, 5], 5));
        let beyond = part_of(vec![1], PageRequest::new(u64::MAX, 10));
        assert_eq!((beyond.rows, beyond.total), (vec![], 1));
    }
}
