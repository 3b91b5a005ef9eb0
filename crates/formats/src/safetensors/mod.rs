//! safetensors: one file, or a folder in the layout of Hugging Face with `model.safetensors`, or with shards and
//! `model.safetensors.index.json`.
//!
//! Source: the README and the reference implementation of the format. A file consists of a little-endian u64, a
//! JSON header of that many bytes, and the data of the tensors without gaps.

mod checkpoint;
mod header;
mod writer;

pub use checkpoint::Safetensors;
pub use writer::{Writer, index};

/// The longest header, as in the reference implementation.
const HEADER_LIMIT: u64 = 100_000_000;
/// The key of the header that holds strings instead of a tensor.
const METADATA_KEY: &str = "__metadata__";
