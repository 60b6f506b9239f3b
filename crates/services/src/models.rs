//! Models of registered servers: register, change, remove, try out (contract §5, §7).

use chrono::{DateTime, Utc};
use mnemosyne_domain::ports::LibraryFilter;
use mnemosyne_domain::{
    AuditEvent, EmbeddingModel, ModelDraft, ModelRole, ModelUid, Page, PageRequest, Principal, Provider,
    ProviderModel, ProviderUid, StoreError, VectorSpace,
};

use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::permission::{self, Action};
use crate::providers::{ServerTest, changed_meanwhile, name_conflict, part_of};
use crate::validate::Problems;

/// Longest name of a model, in characters.
pub const MAX_NAME: usize = 200;
/// The longest vectors.
const MAX_DIMENSION: u64 = 16_384;
/// Libraries that are named where a model cannot go.
const NAMED_LIBRARIES: usize = 3;

/// What a model is to be, as the caller wrote it. What is absent is as usual for a new model, and stays for a known one.
#[derive(Clone, Debug, Default)]
pub struct ModelRequest {
    /// When it was last changed, as the caller saw it. A known model that was changed since stays as it is.
    pub seen: Option<DateTime<Utc>>,
    /// Its name on the wire.
    pub name: Option<String>,
    /// What it is for; stays.
    pub role: Option<String>,
    /// The length of its vectors. For a new embedding model of which it is not said, the server is asked.
    pub dimension: Option<u64>,
    /// Whether it was trained to be told its task; `Some(None)`: if its name says so.
    pub takes_instructions: Option<Option<bool>>,
    /// Whether it is the system's for its role.
    pub is_default: Option<bool>,
}

/// A model as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelView {
    /// The model.
    pub model: ProviderModel,
    /// The name of its server.
    pub provider_name: String,
}

/// The model that does what a role asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The role.
    pub role: ModelRole,
    /// The registered model, where there is one.
    pub registered: Option<ModelView>,
    /// For embeddings, the model in use: the registered one, or what stands in for it.
    pub embedding: Option<EmbeddingModel>,
}

fn view(model: ProviderModel, providers: &[Provider]) -> ModelView {
    let provider = providers.iter().find(|provider| provider.uid == model.provider);
    ModelView {
        provider_name: provider.map_or_else(String::new, |provider| provider.draft.name.clone()),
        model,
    }
}

/// The field of a dimension, where it is good for the role.
fn dimension(problems: &mut Problems, role: ModelRole, given: Option<u64>) -> Option<usize> {
    let given = given?;
    if role != ModelRole::Embedding {
        problems.add("dimension", "Only embedding models have a dimension.");
        return None;
    }
    if !(1..=MAX_DIMENSION).contains(&given) {
        problems.add("dimension", format!("Choose a number from 1 to {MAX_DIMENSION}."));
        return None;
    }
    usize::try_from(given).ok()
}

impl Services {
    /// Every registered model, by role and in the order in which they were registered; narrowed to a server or a role.
    pub async fn registered_models(
        &self,
        caller: &Principal,
        provider: Option<&ProviderUid>,
        role: Option<ModelRole>,
        page: PageRequest,
    ) -> ServiceResult<Page<ModelView>> {
        permission::require(caller, Action::Administer)?;
        let providers = self.relational.providers().await?;
        let mut models = self.relational.models().await?;
        models.retain(|model| {
            provider.is_none_or(|uid| model.provider == *uid)
                && role.is_none_or(|role| model.draft.role == role)
        });
        models.sort_by_key(|model| model.draft.role);
        Ok(part_of(models, page).map(|model| view(model, &providers)))
    }

    /// One registered model.
    pub async fn registered_model(&self, caller: &Principal, uid: &ModelUid) -> ServiceResult<ModelView> {
        permission::require(caller, Action::Administer)?;
        let model = self.find_model(uid).await?;
        Ok(view(model, &self.relational.providers().await?))
    }

    async fn find_model(&self, uid: &ModelUid) -> ServiceResult<ProviderModel> {
        self.relational
            .model(uid)
            .await?
            .ok_or(ServiceError::NotFound("model"))
    }

    /// For every role, the model that does its work.
    pub async fn models_in_force(&self, caller: &Principal) -> ServiceResult<Vec<InForce>> {
        permission::require(caller, Action::Administer)?;
        let providers = self.relational.providers().await?;
        let models = self.relational.models().await?;
        let system = self.embedders.system().await?.model().clone();
        let in_force = ModelRole::ALL.map(|role| InForce {
            role,
            registered: models
                .iter()
                .find(|model| model.draft.role == role && model.draft.is_default)
                .map(|model| view(model.clone(), &providers)),
            embedding: (role == ModelRole::Embedding).then(|| system.clone()),
        });
        Ok(in_force.into())
    }

    /// Registers a model of a server.
    pub async fn create_model(
        &self,
        caller: &Principal,
        provider: Option<&ProviderUid>,
        request: ModelRequest,
    ) -> ServiceResult<ModelView> {
        permission::require(caller, Action::Administer)?;
        let Some(provider) = provider else {
            return Err(ServiceError::field("provider_uid", "This field is required."));
        };
        let provider = self.find_provider(provider).await?;
        let mut problems = Problems::default();
        let name = problems.text("name", request.name.as_deref(), MAX_NAME);
        let word = problems.text("role", request.role.as_deref(), 100);
        let Some(role) = ModelRole::parse(&word) else {
            if !word.is_empty() {
                let known = ModelRole::ALL.map(ModelRole::as_str).join(", ");
                problems.add(
                    "role",
                    format!("{word:?} is not a valid choice; choose one of {known}."),
                );
            }
            problems.check()?;
            return Err(ServiceError::field("role", "This field is required."));
        };
        let mut draft = ModelDraft {
            name,
            role,
            dimension: dimension(&mut problems, role, request.dimension),
            takes_instructions: request.takes_instructions.flatten(),
            is_default: request.is_default.unwrap_or_default(),
        };
        problems.check()?;
        if role == ModelRole::Embedding && draft.dimension.is_none() {
            let target = self.model_target(provider.clone());
            let asked = self.model_servers.try_model(&target, &draft).await;
            draft.dimension = asked.map(|answer| answer.dimension).map_err(|refusal| {
                ServiceError::field(
                    "dimension",
                    format!(
                        "It was not said, and the server could not be asked for it. {}",
                        refusal.0
                    ),
                )
            })?;
        }
        let made = self
            .relational
            .create_model(&provider.uid, &draft, self.clock.now())
            .await;
        self.embedders.changed();
        let model = made.map_err(|error| model_error(error, &draft))?;
        self.audited(caller, AuditEvent::ModelsChanged, &draft.name, "model registered")
            .await;
        Ok(view(model, &[provider]))
    }

    /// Changes a model. What makes its vectors its own stays while a library has such vectors.
    pub async fn update_model(
        &self,
        caller: &Principal,
        uid: &ModelUid,
        request: ModelRequest,
    ) -> ServiceResult<ModelView> {
        permission::require(caller, Action::Administer)?;
        let before = self.find_model(uid).await?;
        let role = before.draft.role;
        let mut problems = Problems::default();
        let name = match &request.name {
            Some(name) => problems.text("name", Some(name), MAX_NAME),
            None => before.draft.name.clone(),
        };
        if request
            .role
            .as_deref()
            .is_some_and(|word| word.trim() != role.as_str())
        {
            problems.add(
                "role",
                format!(
                    "It stays {}; register the model once more for another role.",
                    role.as_str()
                ),
            );
        }
        let given = dimension(&mut problems, role, request.dimension);
        problems.check()?;
        let draft = ModelDraft {
            name,
            role,
            dimension: given.or(before.draft.dimension),
            takes_instructions: request
                .takes_instructions
                .unwrap_or(before.draft.takes_instructions),
            is_default: request.is_default.unwrap_or(before.draft.is_default),
        };
        if (&draft.name, draft.dimension) != (&before.draft.name, before.draft.dimension) {
            self.require_unneeded(&before, "keeps its name and dimension")
                .await?;
        }
        let seen = request.seen.unwrap_or(before.updated_at);
        let changed = self
            .relational
            .update_model(uid, seen, &draft, self.clock.now())
            .await;
        self.embedders.changed();
        let model = changed.map_err(|error| model_error(error, &draft))?;
        self.audited(caller, AuditEvent::ModelsChanged, &draft.name, "model changed")
            .await;
        Ok(view(model, &self.relational.providers().await?))
    }

    /// Removes a model: refused while it is the system's, or made a library's vectors.
    pub async fn delete_model(&self, caller: &Principal, uid: &ModelUid) -> ServiceResult<()> {
        permission::require(caller, Action::Administer)?;
        let model = self.find_model(uid).await?;
        self.require_unused(&model).await?;
        let removed = self.relational.delete_model(uid).await;
        self.embedders.changed();
        match removed {
            Ok(true) => {
                let name = &model.draft.name;
                self.audited(caller, AuditEvent::ModelsChanged, name, "model removed")
                    .await;
                Ok(())
            }
            Ok(false) => Err(ServiceError::NotFound("model")),
            Err(StoreError::Conflict(_)) => Err(is_the_systems(&model)),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes one small real call to a model, by its role.
    pub async fn test_model(&self, caller: &Principal, uid: &ModelUid) -> ServiceResult<ServerTest> {
        permission::require(caller, Action::Administer)?;
        let model = self.find_model(uid).await?;
        let target = self.model_target(self.find_provider(&model.provider).await?);
        let outcome = self.model_servers.try_model(&target, &model.draft).await;
        let mut test = ServerTest::of(outcome);
        if let (Some(found), Some(registered)) = (test.dimension, model.draft.dimension)
            && found != registered
        {
            test.ok = false;
            test.detail = format!(
                "The model gave a vector of {found} numbers, and is registered with a dimension of {registered}."
            );
        }
        Ok(test)
    }

    /// Refuses where a model is the system's, or some library needs it.
    pub(crate) async fn require_unused(&self, model: &ProviderModel) -> ServiceResult<()> {
        if model.draft.is_default {
            return Err(is_the_systems(model));
        }
        self.require_unneeded(model, "cannot be removed").await
    }

    /// Refuses where a model made a library's vectors and no other server offers the same; `therefore` says what follows.
    async fn require_unneeded(&self, model: &ProviderModel, therefore: &str) -> ServiceResult<()> {
        let Some(dimension) = model.draft.dimension else {
            return Ok(());
        };
        let space = VectorSpace {
            model: model.draft.name.clone(),
            dimension,
        };
        let available = self.embedders.available().await?;
        if available.iter().filter(|other| other.space() == space).count() > 1 {
            return Ok(());
        }
        let libraries = self.libraries_made_by(&space.model).await?;
        if libraries.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = libraries
            .iter()
            .take(NAMED_LIBRARIES)
            .map(|name| format!("“{name}”"))
            .collect();
        let others = libraries.len() - named.len();
        let and_others = if others > 0 {
            format!(" and {others} more")
        } else {
            String::new()
        };
        Err(ServiceError::Conflict {
            code: "model_in_use",
            message: format!(
                "The model {:?} made the vectors of {}{and_others} and {therefore}; move them to another model with \
                 `mnemosyne reembed` first.",
                space.model,
                named.join(", "),
            ),
        })
    }

    /// The names of the libraries whose vectors a model made.
    async fn libraries_made_by(&self, model: &str) -> ServiceResult<Vec<String>> {
        let mut names = Vec::new();
        let mut page = PageRequest::first(PageRequest::MAX_LIMIT);
        loop {
            let libraries = self.knowledge.libraries(&LibraryFilter::default(), page).await?;
            page.offset += libraries.rows.len() as u64;
            let is_last = libraries.rows.is_empty() || page.offset >= libraries.total;
            let made = libraries
                .rows
                .into_iter()
                .filter(|library| library.embedding_model.as_deref() == Some(model));
            names.extend(made.map(|library| library.name));
            if is_last {
                return Ok(names);
            }
        }
    }
}

fn is_the_systems(model: &ProviderModel) -> ServiceError {
    let role = model.draft.role.as_str();
    ServiceError::Conflict {
        code: "default_model",
        message: format!(
            "The model {:?} is the system's {role} model and cannot be removed; choose another one, or none, for that first.",
            model.draft.name
        ),
    }
}

fn model_error(error: StoreError, draft: &ModelDraft) -> ServiceError {
    match error {
        StoreError::Conflict("updated_at") => changed_meanwhile("model"),
        StoreError::Conflict("is_default") => ServiceError::Conflict {
            code: "conflict",
            message: "Somebody chose another system model at the same moment; try again.".to_owned(),
        },
        StoreError::Conflict(_) => {
            let what = format!("a {} model of this provider", draft.role.as_str());
            name_conflict(&what, &draft.name)
        }
        StoreError::NotFound => ServiceError::NotFound("model"),
        other => other.into(),
    }
}
