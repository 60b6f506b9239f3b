//! What made a vector.

/// Whether a model understands meaning or only spelling. Shown wherever results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// A trained model: close vectors mean related text.
    Neural,
    /// Hashed words and character n-grams: close vectors mean shared spelling, nothing more.
    Lexical,
}

impl ModelKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Neural => "neural",
            Self::Lexical => "lexical",
        }
    }
}

/// An embedding model that can be asked for vectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmbeddingModel {
    /// The name of the model, such as `sentence-transformers/all-MiniLM-L6-v2`. Two models with one name are one.
    pub id: String,
    /// The length of its vectors.
    pub dimension: usize,
    /// Neural or lexical.
    pub kind: ModelKind,
    /// Whether the model was trained to be told its task (an *instruction*) together with the text.
    pub takes_instructions: bool,
}

/// What a text is embedded for; models that were trained with instructions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EmbeddingPurpose {
    /// A passage that is stored.
    Passage,
    /// A question that looks for passages.
    Query,
}

/// The space a vector lives in: only vectors of one space may be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VectorSpace {
    /// [`EmbeddingModel::id`].
    pub model: String,
    /// The length of the vectors.
    pub dimension: usize,
}

impl EmbeddingModel {
    /// The space of this model's vectors.
    pub fn space(&self) -> VectorSpace {
        VectorSpace {
            model: self.id.clone(),
            dimension: self.dimension,
        }
    }
}
