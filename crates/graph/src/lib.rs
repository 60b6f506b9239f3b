//! Backends of the knowledge store: the graph of libraries, items, chunks and concepts with its text and vector
//! indexes, behind [`mnemosyne_domain::ports::KnowledgeStore`].

pub mod embedded;
