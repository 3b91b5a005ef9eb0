//! safetensors: one file, or a folder as Hugging Face lays it out, with `model.safetensors` or with
//! shards and `model.safetensors.index.json`.
//!
//! Source: the format's README and its reference implementation. A file is a little-endian u64, a JSON
//! header of that many bytes, and the tensors' data without holes.

mod checkpoint;
mod header;
mod writer;

pub use checkpoint::Safetensors;
pub use writer::{Writer, index};

/// Longest header, as in the reference implementation.
const HEADER_LIMIT: u64 = 100_000_000;
/// The header's key that holds strings rather than a tensor.
const METADATA_KEY: &str = "__metadata__";
