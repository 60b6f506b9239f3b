//! Backends of the knowledge store: the graph of libraries, items, chunks and concepts with its text and vector
//! indexes, behind [`mnemosyne_domain::ports::KnowledgeStore`].

mod analysis;
pub mod embedded;
mod mentions;
pub mod neo4j;
