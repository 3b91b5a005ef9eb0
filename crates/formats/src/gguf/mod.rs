//! GGUF, the file format of ggml: metadata and tensors, little-endian, version 2 or 3, in one file or in parts
//! named `NAME-00001-of-00003.gguf`.
//!
//! Source: ggml's `docs/gguf.md` and `gguf.cpp`.

pub(crate) mod cursor;
mod metadata;
mod reader;
mod split;
mod types;
mod value;
mod writer;

pub use metadata::{FromValue, Metadata};
pub use reader::Gguf;
pub use value::{Array, Value};
pub use writer::Writer;

/// The alignment of tensor data if the file does not set it.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that sets the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";
/// The keys in each part of a split model: the number of the part (from 0), the number of parts, and the number of
/// tensors in all parts.
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";
/// The largest number of dimensions in ggml.
const MAX_DIMENSIONS: usize = 4;

/// Returns the alignment that `metadata` sets.
fn alignment(file: &str, metadata: &Metadata) -> Result<u64, crate::FormatError> {
    let found = u64::from(metadata.get::<u32>(file, ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT as u32));
    if found.is_power_of_two() {
        Ok(found)
    } else {
        Err(crate::FormatError::InvalidAlignment { file: file.to_owned(), found })
    }
}
