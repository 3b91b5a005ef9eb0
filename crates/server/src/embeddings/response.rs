//! The response with embeddings.

use schemars::JsonSchema;
use serde::Serialize;

/// Embeddings.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Embeddings {
    /// `list`.
    pub object: &'static str,
    /// An embedding for each text.
    pub data: Vec<EmbeddingObject>,
    /// The name of the model.
    pub model: String,
    /// The numbers of tokens.
    pub usage: EmbeddingUsage,
}

/// An embedding.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EmbeddingObject {
    /// `embedding`.
    pub object: &'static str,
    /// The index of the text.
    pub index: usize,
    /// The values.
    pub embedding: Values,
}

/// The values of an embedding.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<f32>),
    /// 32-bit floats, lowest byte first, in base64.
    Base64(String),
}

/// The numbers of tokens.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EmbeddingUsage {
    /// The tokens of all texts.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}
