//! Model files: GGUF, safetensors and the quantised checkpoint formats inside them, read into raw named tensors and
//! metadata; nothing about architectures.
//!
//! Readers take [`FileData`], usually a memory map ([`map_file`]), so that tensors are views into the
//! file; every count and extent is checked against the file before anything is allocated. Writers
//! stream: all tensors are declared first, then their data are asked for one at a time. Files reach
//! their final name only when complete ([`AtomicFile`], [`AtomicDir`]).
//!
//! ```
//! use honelm_blocks::Encoding;
//! use honelm_formats::{FormatError, TensorSource, gguf};
//!
//! let mut writer = gguf::Writer::new();
//! writer.metadata("general.architecture", "llama")?;
//! writer.tensor("output.weight", &[2, 3], Encoding::F32)?;
//! let mut file = Vec::new();
//! writer.write_to(&mut file, "model.gguf", |_tensor, sink| sink.write(&[0; 24]))?;
//!
//! let gguf = gguf::Gguf::parse(file, "model.gguf")?;
//! assert_eq!(gguf.get_str("general.architecture")?, Some("llama"));
//! assert_eq!(gguf.matrix("output.weight")?.cols, 3);
//! # Ok::<(), FormatError>(())
//! ```

mod data;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod file;
pub mod gguf;
pub mod hub_cache;
mod json;
mod names;
mod printable;
pub mod quantized;
pub mod safetensors;
mod shards;
mod sink;
mod sniff;
mod source;
mod stamp;

pub use bytes::Bytes;
pub use data::FileData;
pub use error::FormatError;
#[cfg(not(target_arch = "wasm32"))]
pub use file::{
    AtomicDir, AtomicFile, LockFile, LostPage, OutputGate, map_file, open_file, open_no_follow, publish, read_file,
    read_input, read_json, read_limited, refuse_special, remove_output, report_lost_pages, write_atomic,
};
pub use json::{parse_json, remove_field};
pub use names::is_device_name;
pub use printable::{acts_on_terminals, printable};
pub use quantized::gptq;
pub use shards::{parse_shard_name, shard_name};
pub use sink::TensorSink;
pub use sniff::{FileKind, identify};
pub use source::{ElementType, IntegerType, RawTensor, TensorInfo, TensorSource};
pub use stamp::{FileStamp, FileWatch};
