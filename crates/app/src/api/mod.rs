//! The REST API, one file for each resource.

pub(crate) mod audit;
mod body;
pub(crate) mod chunks;
pub(crate) mod collections;
pub(crate) mod concepts;
pub(crate) mod docs;
pub(crate) mod ingest;
pub(crate) mod items;
pub(crate) mod jobs;
pub(crate) mod libraries;
mod list;
pub(crate) mod models;
pub(crate) mod profile;
pub(crate) mod providers;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod users;
pub(crate) mod workspaces;

pub(crate) use body::{ApiJson, ApiPath, ApiQuery, read_json};
pub(crate) use list::{List, Paging};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use crate::state::to_the_end;

/// What went wrong.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// A sentence for a person.
    pub(crate) detail: String,
    /// The stable word.
    pub(crate) code: String,
}

/// What is wrong with each field of the request: its name, and sentences.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub(crate) struct WrongFields(std::collections::BTreeMap<String, Vec<String>>);
