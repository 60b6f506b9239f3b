//! Identifiers. Each is a short opaque string on every wire and in every store; types keep them apart.

use std::fmt;

/// The longest identifier that is accepted from outside, in bytes.
pub const MAX_ID_LENGTH: usize = 64;

fn is_uid(value: &str) -> bool {
    (1..=MAX_ID_LENGTH).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! uid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A fresh identifier. UUIDv7, so that identifiers sort by their time of creation.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().to_string())
            }

            /// Takes an identifier from outside: 1 to 64 of `A-Z a-z 0-9 - _`, otherwise `None`. What cannot be an
            /// identifier names nothing, so callers answer as for an unknown one.
            pub fn parse(value: &str) -> Option<Self> {
                is_uid(value).then(|| Self(value.to_owned()))
            }

            /// Takes an identifier that a store of ours returned.
            pub fn from_store(value: String) -> Self {
                Self(value)
            }

            /// The identifier as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

uid!(
    /// A library, the unit of ownership, of type and of embedding model.
    LibraryUid
);
uid!(
    /// A collection inside a library.
    CollectionUid
);
uid!(
    /// A document or other work inside a collection.
    ItemUid
);
uid!(
    /// A passage of an item; the unit of search.
    ChunkUid
);
uid!(
    /// A person, place, topic, technique or theme.
    ConceptUid
);
uid!(
    /// One request to ingest one file.
    JobId
);
uid!(
    /// A server of models that an administrator registered.
    ProviderUid
);
uid!(
    /// A model of such a server.
    ModelUid
);

/// The name a client gives to its own workspace. It is the client's, so any text of 1 to 200 characters without
/// control characters is kept as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct WorkspaceId(String);

impl WorkspaceId {
    /// The longest workspace identifier, in characters.
    pub const MAX_CHARS: usize = 200;

    /// `None` where the text is empty (an empty workspace means a global library), too long, or holds control
    /// characters.
    pub fn parse(value: &str) -> Option<Self> {
        let fits = !value.is_empty() && value.chars().count() <= Self::MAX_CHARS;
        (fits && !value.chars().any(char::is_control)).then(|| Self(value.to_owned()))
    }

    /// Takes an identifier that a store of ours returned.
    pub fn from_store(value: String) -> Self {
        Self(value)
    }

    /// The identifier as the client gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ChunkUid {
    /// The identifier of the chunk at `position` of an item. Derived, so that a resumed run writes the same chunk
    /// again instead of a second one.
    pub fn derive(item: &ItemUid, position: u32) -> Self {
        let name = format!("chunk:{item}:{position}");
        Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string())
    }
}

impl ConceptUid {
    /// The identifier of the concept with this normalised name. Derived, so that two documents that name the same
    /// concept at the same moment meet in one node.
    pub fn derive(normal_name: &str) -> Self {
        let name = format!("concept:{normal_name}");
        Self(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_from_outside_is_bounded_and_plain() {
        assert!(ItemUid::parse("0190-a_B").is_some());
        for bad in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(ItemUid::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_workspace_keeps_its_clients_spelling() {
        assert_eq!(
            WorkspaceId::parse("team/Ünïcode 7").map(|w| w.to_string()),
            Some("team/Ünïcode 7".into())
        );
        assert!(WorkspaceId::parse("").is_none());
        assert!(WorkspaceId::parse("a\nb").is_none());
    }

    #[test]
    fn derived_identifiers_repeat() {
        let item = ItemUid::generate();
        assert_eq!(ChunkUid::derive(&item, 3), ChunkUid::derive(&item, 3));
        assert_ne!(ChunkUid::derive(&item, 3), ChunkUid::derive(&item, 4));
    }
}
