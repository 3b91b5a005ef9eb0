//! GGUF, ggml's file format: metadata and tensors, little-endian, version 2 or 3, in one file or in parts
//! `NAME-00001-of-00003.gguf`.
//!
//! Source: ggml's `docs/gguf.md` and `gguf.cpp`.

mod cursor;
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

/// Alignment of tensor data where the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Keys of a part of a split model: its number from 0, how many there are, and the tensors of all of them.
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";
/// Most dimensions that ggml has.
const MAX_DIMENSIONS: usize = 4;

/// The alignment that `metadata` asks for.
fn alignment(file: &str, metadata: &Metadata) -> Result<u64, crate::FormatError> {
    let found = u64::from(metadata.get::<u32>(file, ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT as u32));
    if found.is_power_of_two() {
        Ok(found)
    } else {
        Err(crate::FormatError::InvalidAlignment { file: file.to_owned(), found })
    }
}
