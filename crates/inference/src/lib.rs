//! Embedding models, each behind the domain's [`Embedder`](mnemosyne_domain::ports::Embedder) port:
//!
//! - [`openai`]: a server that speaks OpenAI's `/v1/embeddings` (or the Synesis dialect of it);
//! - [`local`]: BERT-family weights from a folder, on this machine's processors;
//! - [`lexical`]: hashed words, when there is no model at all;
//!
//! and [`models`], which fetches and keeps the weights, [`registry`], which chooses, and [`servers`], which tries out what
//! administrators register.
//!
//! The only user of candle.

pub mod clients;
pub mod lexical;
pub mod local;
pub mod models;
pub mod openai;
pub mod registry;
pub mod servers;
mod vector;

pub use clients::Clients;
pub use lexical::LexicalEmbedder;
pub use local::LocalEmbedder;
pub use models::{KNOWN_MODELS, KnownModel, ModelFile, ModelStore, PullError, PullProgress};
pub use openai::{Dialect, OpenAiEmbedder, OpenAiSettings, probe_dimension};
pub use registry::Registry;
pub use servers::Servers;
