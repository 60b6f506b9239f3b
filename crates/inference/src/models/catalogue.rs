//! The models that can be fetched by name.

/// One file of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name, in the model's folder and in the hub's repository.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 digest, 64 lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// A model whose every byte is pinned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownModel {
    /// The short name, which is also that of its folder.
    pub name: &'static str,
    /// Its repository on the hub; also the name of its vector space.
    pub repository: &'static str,
    /// The commit of that repository.
    pub revision: &'static str,
    /// One sentence about it.
    pub description: &'static str,
    /// The licence of the weights.
    pub licence: &'static str,
    /// The cosine below which a passage has nothing to do with a question, measured with the real weights: above what
    /// words without sense reach, below what answers in other words do.
    pub floor: f32,
    /// What is fetched.
    pub files: &'static [ModelFile],
}

impl KnownModel {
    /// The size of all files in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Every model that can be fetched by name; the first is the default.
///
/// Sizes and digests were computed from a copy of the files, and agree with the SHA-256 digests and Git object names
/// that independent public projects pin for this repository at this revision.
pub const KNOWN_MODELS: &[KnownModel] = &[KnownModel {
    name: "all-MiniLM-L6-v2",
    repository: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    description: "English; 384 dimensions; fast on any processor.",
    licence: "Apache-2.0",
    // Nonsense reaches 0.19 at the most, answers 0.28 at the least (tests/it/local.rs).
    floor: 0.2,
    files: &[
        ModelFile {
            name: "config.json",
            size: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        ModelFile {
            name: "sentence_bert_config.json",
            size: 53,
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        ModelFile {
            name: "tokenizer.json",
            size: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        ModelFile {
            name: "model.safetensors",
            size: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
    ],
}];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_well_formed() {
        for model in KNOWN_MODELS {
            assert!(model.repository.ends_with(model.name));
            assert_eq!(model.revision.len(), 40);
            for file in model.files {
                let digest_is_hex = file
                    .sha256
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                assert!(file.sha256.len() == 64 && digest_is_hex, "{}", file.name);
                assert!(!file.name.contains(".."), "{}", file.name);
            }
        }
    }
}
