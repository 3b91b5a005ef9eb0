//! The request for embeddings.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::json::Count;
use crate::openai::Prompts;

/// A request for embeddings (`POST /v1/embeddings`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateEmbeddings {
    /// The name of the model.
    pub model: Option<String>,
    /// A text, the tokens of one, or several of either. Required.
    pub input: Option<Prompts>,
    /// `float`, the default, or `base64` for 32-bit floats, lowest byte first.
    pub encoding_format: Option<String>,
    /// The number of values of each embedding: the first ones, scaled to length 1 again.
    pub dimensions: Option<Count>,
    /// Accepted, without effect.
    pub user: Option<String>,
    /// The fields that are not known here.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}

impl Fields for CreateEmbeddings {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
