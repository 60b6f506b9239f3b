use std::collections::BTreeMap;

use mnemosyne_domain::{Dependency, Tool};
use mnemosyne_services::health::DependencyState;
use rmcp::model::Tool as ToolDefinition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::define;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Arguments {}

/// Whether Mnemosyne can answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// `ok`; `degraded`: searches answer, with less; `error`: they do not.
    status: &'static str,
    /// `ok`, or what is wrong, for each part.
    dependencies: BTreeMap<&'static str, String>,
    /// The version of Mnemosyne.
    version: &'static str,
}

pub(crate) fn definition() -> ToolDefinition {
    define::<Arguments, Answer>(
        Tool::GetHealth,
        "Check health",
        "Whether Mnemosyne and what it depends on can answer. Needs no token.",
    )
}

pub(crate) fn answer(states: Vec<DependencyState>) -> Answer {
    let down = states.iter().filter(|state| state.problem.is_some()).count();
    let status = match down {
        0 => "ok",
        _ if states
            .iter()
            .any(|state| state.dependency == Dependency::Knowledge && state.problem.is_some()) =>
        {
            "error"
        }
        _ => "degraded",
    };
    let dependencies = states
        .into_iter()
        .map(|state| {
            let word = state.problem.unwrap_or_else(|| "ok".to_owned());
            (state.dependency.as_str(), word)
        })
        .collect();
    Answer {
        status,
        dependencies,
        version: env!("CARGO_PKG_VERSION"),
    }
}
