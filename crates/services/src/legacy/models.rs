//! Servers of models and their models, taken into the registry.

use std::collections::HashMap;

use mnemosyne_domain::{ApiKey, ModelRole, Principal, ProviderUid};
use serde_json::Value;

use super::recognise::{ModelColumns, ProviderColumns};
use super::values::{self, Row};
use super::{Import, Outcome, one_line};
use crate::context::Services;
use crate::error::{ServiceError, ServiceResult};
use crate::models::ModelRequest;
use crate::providers::{KeyRequest, ProviderRequest};

/// The servers that are here, by their primary keys there; `None` for one that a dry run would take.
pub(super) type Servers = HashMap<String, Option<ProviderUid>>;

impl Services {
    /// Takes a server. Its host may have a private address: the former system called it (contract §5).
    pub(super) async fn import_provider(
        &self,
        caller: &Principal,
        import: &Import<'_>,
        columns: &ProviderColumns,
        (row, row_name): (&Row, &str),
        servers: &mut Servers,
    ) -> ServiceResult<Outcome> {
        let Some(base_url) = values::text(row, Some(&columns.base_url)) else {
            return Ok(Outcome::left("it has no address"));
        };
        let name = one_line(values::text(row, columns.name.as_ref()), 100)
            .unwrap_or_else(|| format!("imported {row_name}"));
        if let Some(known) = self.relational.provider_by_name(&name).await? {
            if known.draft.base_url.trim_end_matches('/') != base_url.trim_end_matches('/') {
                return Ok(Outcome::left(format!(
                    "a server {name:?} at another address is here already"
                )));
            }
            servers.insert(row_name.to_owned(), Some(known.uid));
            return Ok(Outcome::Known);
        }
        let api_key = match values::text(row, Some(&columns.api_key)) {
            None => KeyRequest::Keep,
            Some(_) => match values::secret(row, &columns.api_key, &import.keys) {
                Ok(key) => match String::from_utf8(key) {
                    Ok(key) => KeyRequest::Set(ApiKey::new(key)),
                    Err(_) => return Ok(Outcome::left("its key is no text")),
                },
                Err(why) => return Ok(Outcome::left(format!("its key: {why}"))),
            },
        };
        if import.options.dry_run {
            servers.insert(row_name.to_owned(), None);
            return Ok(Outcome::Taken);
        }
        let request = ProviderRequest {
            name: Some(name),
            base_url: Some(base_url.to_owned()),
            api_key,
            verify_tls: columns
                .verify_tls
                .as_ref()
                .and_then(|column| row.get(column))
                .and_then(Value::as_bool),
            allow_private: Some(true),
            ..ProviderRequest::default()
        };
        match self.create_provider(caller, request).await {
            Ok(made) => {
                servers.insert(row_name.to_owned(), Some(made.provider.uid));
                Ok(Outcome::Taken)
            }
            Err(error) => refused(error),
        }
    }

    /// Takes a model of a server that was taken. None becomes the system's: that is chosen by a person.
    pub(super) async fn import_model(
        &self,
        caller: &Principal,
        columns: &ModelColumns,
        row: &Row,
        servers: &Servers,
    ) -> ServiceResult<Outcome> {
        let server = match row.get(&columns.provider) {
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
            None => String::new(),
        };
        let Some(provider) = servers.get(&server) else {
            return Ok(Outcome::left(format!("its server {server} was not taken")));
        };
        let Some(name) = values::text(row, Some(&columns.name)) else {
            return Ok(Outcome::left("it has no name"));
        };
        let dimension = values::number(row, columns.dimension.as_ref()).and_then(|n| u64::try_from(n).ok());
        let word = values::text(row, columns.role.as_ref());
        let role = match word.map(role_of) {
            Some(Some(role)) => role,
            None if dimension.is_some() => ModelRole::Embedding,
            Some(None) | None => {
                return Ok(Outcome::left(format!(
                    "what it is for is not known: {:?}",
                    word.unwrap_or_default()
                )));
            }
        };
        if role == ModelRole::Embedding && dimension.is_none() {
            return Ok(Outcome::left("the length of its vectors is not known"));
        }
        let Some(provider) = provider else {
            return Ok(Outcome::Taken);
        };
        let is_known = self.relational.models().await?.iter().any(|model| {
            model.provider == *provider
                && model.draft.name == name
                && model.draft.role == role
                && (role != ModelRole::Embedding
                    || model.draft.dimension.map(|known| known as u64) == dimension)
        });
        if is_known {
            return Ok(Outcome::Known);
        }
        let request = ModelRequest {
            name: Some(name.to_owned()),
            role: Some(role.as_str().to_owned()),
            dimension: dimension.filter(|_| role == ModelRole::Embedding),
            ..ModelRequest::default()
        };
        match self.create_model(caller, Some(provider), request).await {
            Ok(_) => Ok(Outcome::Taken),
            Err(error) => refused(error),
        }
    }
}

/// What the registry refuses is left with its reason; what is broken ends the import.
fn refused(error: ServiceError) -> ServiceResult<Outcome> {
    match error {
        ServiceError::Invalid(fields) => {
            let reasons: Vec<String> = fields
                .iter()
                .map(|(field, reasons)| format!("{field}: {}", reasons.join(" ")))
                .collect();
            Ok(Outcome::Left(reasons.join("; ")))
        }
        ServiceError::Conflict { message, .. } => Ok(Outcome::Left(message)),
        other => Err(other),
    }
}

fn role_of(word: &str) -> Option<ModelRole> {
    let word = word.to_lowercase();
    let has = |part: &str| word.contains(part);
    if has("embed") {
        return Some(ModelRole::Embedding);
    }
    if has("rerank") {
        return Some(ModelRole::Reranker);
    }
    if has("vision") || has("vlm") || has("multimodal") {
        return Some(ModelRole::Vision);
    }
    (has("chat") || has("llm") || has("completion") || has("text")).then_some(ModelRole::Chat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_for_what_a_model_is_for() {
        for (word, role) in [
            ("embedding", Some(ModelRole::Embedding)),
            ("TEXT_EMBEDDING", Some(ModelRole::Embedding)),
            ("reranker", Some(ModelRole::Reranker)),
            ("Vision", Some(ModelRole::Vision)),
            ("chat", Some(ModelRole::Chat)),
            ("audio", None),
        ] {
            assert_eq!(role_of(word), role, "{word}");
        }
    }
}
