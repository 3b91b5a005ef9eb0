//! The way from the hidden states of a text to its embedding, as the files of a model define it.

use honelm_formats::gguf::{Gguf, Value};
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// The way from the hidden states of all tokens to one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all states.
    #[default]
    Mean,
    /// The state of the last token. In a causal model, only this one has seen the whole text.
    Last,
    /// The state of the first token, for models that were trained with a token for the whole text in front.
    Cls,
}

impl Pooling {
    pub(crate) const ALL: [Self; 3] = [Self::Mean, Self::Last, Self::Cls];
    /// The names, in the order of the variants.
    pub const NAMES: [&str; 3] = ["mean", "last", "cls"];

    /// Returns the pooling of a name: `mean`, `last` or `cls`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pooling| pooling.name() == name)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Returns the number in GGUF (`enum llama_pooling_type`).
    fn gguf(self) -> u32 {
        match self {
            Self::Mean => 1,
            Self::Cls => 2,
            Self::Last => 3,
        }
    }
}

/// What the files of a model say about embeddings of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingSettings {
    /// The pooling.
    pub pooling: Pooling,
    /// `true` if embeddings have length 1.
    pub normalised: bool,
}

/// Returns the settings of a GGUF file. Its readers scale embeddings to length 1.
///
/// # Errors
/// A key of the wrong type.
pub(crate) fn of_gguf(gguf: &Gguf) -> Result<Option<EmbeddingSettings>, ModelError> {
    let architecture: &str = gguf.require("general.architecture")?;
    let number = gguf.get_u32(&format!("{architecture}.pooling_type"))?;
    let pooling = Pooling::ALL.into_iter().find(|pooling| Some(pooling.gguf()) == number);
    Ok(pooling.map(|pooling| EmbeddingSettings { pooling, normalised: true }))
}

impl EmbeddingSettings {
    /// Returns the metadata of a GGUF file.
    pub(crate) fn metadata(self, architecture: &str) -> (String, Value) {
        (format!("{architecture}.pooling_type"), self.pooling.gguf().into())
    }
}
