use chrono::{DateTime, Utc};

use crate::error::StoreResult;
use crate::id::{ModelUid, ProviderUid};
use crate::provider::{KeyChange, ModelDraft, ModelTarget, Provider, ProviderDraft, ProviderModel};

/// Servers of models, and their models, as they are registered.
#[async_trait::async_trait]
pub trait Providers: Send + Sync {
    /// Registers a server with its sealed key. `Conflict("name")` where the name is taken.
    async fn create_provider(
        &self,
        draft: &ProviderDraft,
        sealed_key: Option<&str>,
        now: DateTime<Utc>,
    ) -> StoreResult<Provider>;
    /// The server of this uid.
    async fn provider(&self, uid: &ProviderUid) -> StoreResult<Option<Provider>>;
    /// The server of this name.
    async fn provider_by_name(&self, name: &str) -> StoreResult<Option<Provider>>;
    /// Every server, by name.
    async fn providers(&self) -> StoreResult<Vec<Provider>>;
    /// Replaces what is said of a server, where its `updated_at` is still `seen`, and moves that on. `NotFound`,
    /// `Conflict("updated_at")` where it was changed since, or `Conflict("name")` where the name is taken. Safe against two
    /// processes at once.
    async fn update_provider(
        &self,
        uid: &ProviderUid,
        seen: DateTime<Utc>,
        draft: &ProviderDraft,
        key: &KeyChange,
        now: DateTime<Utc>,
    ) -> StoreResult<Provider>;
    /// Replaces the sealed key of a server by another seal of it; false where it is not `from` (any more).
    async fn reseal_provider_key(&self, uid: &ProviderUid, from: &str, to: &str) -> StoreResult<bool>;
    /// Removes a server with its models; false where there is none. `Conflict("is_default")` where one of its models is the
    /// system's.
    async fn delete_provider(&self, uid: &ProviderUid) -> StoreResult<bool>;

    /// Registers a model; where it is the system's, no other one of its role is any more. `NotFound` where there is no such
    /// server, `Conflict("name")` where it is registered already.
    async fn create_model(
        &self,
        provider: &ProviderUid,
        draft: &ModelDraft,
        now: DateTime<Utc>,
    ) -> StoreResult<ProviderModel>;
    /// The model of this uid.
    async fn model(&self, uid: &ModelUid) -> StoreResult<Option<ProviderModel>>;
    /// Every model, in the order in which they were registered.
    async fn models(&self) -> StoreResult<Vec<ProviderModel>>;
    /// Replaces what is said of a model, where its `updated_at` is still `seen`, and moves that on; where it is the system's,
    /// no other one of its role is any more, which changes that one. `NotFound`, `Conflict("updated_at")` where it was changed
    /// since, or `Conflict("name")` where another one of its server has this name. Safe against two processes at once.
    async fn update_model(
        &self,
        uid: &ModelUid,
        seen: DateTime<Utc>,
        draft: &ModelDraft,
        now: DateTime<Utc>,
    ) -> StoreResult<ProviderModel>;
    /// Removes a model; false where there is none. `Conflict("is_default")` where it is the system's.
    async fn delete_model(&self, uid: &ModelUid) -> StoreResult<bool>;
}

/// A registered model, ready to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredModel {
    /// The server.
    pub target: ModelTarget,
    /// The model.
    pub model: ModelDraft,
}

/// The registered models with their keys open: for those who call them.
#[async_trait::async_trait]
pub trait RegisteredModels: Send + Sync {
    /// Every registered model, in the order in which they were registered.
    async fn registered_models(&self) -> StoreResult<Vec<RegisteredModel>>;
}
