//! The weights of local models: which are known, fetching them, keeping them.
//!
//! A model is fetched only when a person asks for it; nothing else here ever calls out.

mod catalogue;
mod pull;
mod store;

pub use catalogue::{KNOWN_MODELS, KnownModel, ModelFile};
pub use pull::{DEFAULT_ENDPOINT, PullError, PullProgress};
pub use store::{InstalledModel, ModelStore};
