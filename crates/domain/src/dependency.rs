//! What an installation stands on, as probes name it.

/// A backend that can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// Users, tokens, jobs.
    Database,
    /// What is remembered for a while.
    Cache,
    /// The knowledge graph.
    Knowledge,
    /// The queue that tells workers of jobs.
    Broker,
    /// The files.
    Storage,
    /// The bucket that clients leave files in.
    Bucket,
}

impl Dependency {
    /// Every dependency, in the order they are reported.
    pub const ALL: [Self; 6] = [
        Self::Database,
        Self::Cache,
        Self::Knowledge,
        Self::Broker,
        Self::Storage,
        Self::Bucket,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Cache => "cache",
            Self::Knowledge => "knowledge",
            Self::Broker => "broker",
            Self::Storage => "storage",
            Self::Bucket => "bucket",
        }
    }

    /// The dependency of this word, where it is one that `MNEMOSYNE_READY_REQUIRES` may name: those that an installation
    /// cannot be ready without, and the bucket, which is not ours, are not.
    pub fn parse_optional(word: &str) -> Option<Self> {
        [Self::Knowledge, Self::Broker, Self::Storage]
            .into_iter()
            .find(|dependency| dependency.as_str() == word)
    }

    /// Whether no installation is ready without it.
    pub fn is_always_required(self) -> bool {
        matches!(self, Self::Database | Self::Cache)
    }
}
