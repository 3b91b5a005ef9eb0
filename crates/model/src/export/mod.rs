//! Writing models: one tensor in memory at a time, with the names and shapes of the module tree.
//!
//! [`CONTAINERS`] lists what can be written. A GGUF file is written by [`gguf`], a Hugging Face folder by
//! [`huggingface`] with the [`Container::format`] of the folder's container.

mod container;
mod gguf;
mod huggingface;

pub use container::{CONTAINERS, Container, GroupForm, GroupSizes, Groups};
pub use gguf::{FILE_TYPE, embedding_metadata, gguf_size, sampling_metadata, write_gguf};
#[cfg(not(target_arch = "wasm32"))]
pub use gguf::{gguf, gguf_parts};
#[cfg(not(target_arch = "wasm32"))]
pub use huggingface::{HuggingFace, huggingface};

use crate::error::refused;
