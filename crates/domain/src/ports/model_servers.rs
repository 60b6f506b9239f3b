use std::time::Duration;

use crate::provider::{ModelDraft, ModelTarget, ProviderDraft};

/// What a server answered to a test.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAnswer {
    /// How long the answer took.
    pub latency: Duration,
    /// The length of the vector that came, where one was asked for.
    pub dimension: Option<usize>,
    /// What came, in one sentence.
    pub detail: String,
    /// The names of the server's models, where they were asked for.
    pub models: Vec<String>,
}

/// Why a test failed: one or two sentences for a person, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServerRefusal(pub String);

/// Calls to servers of models, one at a time, for those who register them. Every call is bounded in time and size and keeps
/// to the rule of private addresses.
#[async_trait::async_trait]
pub trait ModelServers: Send + Sync {
    /// Whether calls to the server's address are made at all: it is a URL of http or https, and its host has no private
    /// address, or may have one. A name that nobody knows is admitted; the call will say so.
    async fn admit(&self, server: &ProviderDraft) -> Result<(), ServerRefusal>;
    /// Asks a server which models it has.
    async fn ask_for_models(&self, target: &ModelTarget) -> Result<ServerAnswer, ServerRefusal>;
    /// Makes one small real call to a model, by its role.
    async fn try_model(
        &self,
        target: &ModelTarget,
        model: &ModelDraft,
    ) -> Result<ServerAnswer, ServerRefusal>;
}
