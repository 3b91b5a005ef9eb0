//! Writing models: one tensor in memory at a time, names and shapes from the module tree.

mod gguf;
mod huggingface;

#[cfg(not(target_arch = "wasm32"))]
pub use gguf::{gguf, gguf_parts};
pub use gguf::{sampling_metadata, write_gguf};
#[cfg(not(target_arch = "wasm32"))]
pub use huggingface::{HuggingFace, huggingface};

use crate::ModelError;

pub(crate) fn refused(what: impl Into<String>, container: &'static str, problem: impl Into<String>) -> ModelError {
    ModelError::NotExportable { what: what.into(), container, problem: problem.into() }
}
