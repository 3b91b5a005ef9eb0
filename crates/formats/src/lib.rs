#![doc = include_str!("../README.md")]

mod data;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod file;
pub mod gguf;
mod heap;
pub mod hub_cache;
pub mod imatrix;
mod json;
mod names;
pub mod parquet;
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
    AtomicDir, AtomicFile, LockFile, LostPage, OutputGate, drop_cached, map_file, open_file, open_no_follow, publish,
    read_file, read_input, read_json, read_limited, refuse_special, remove_output, report_lost_pages, write_atomic,
};
pub use heap::release_freed_memory;
pub use json::{parse_json, remove_field};
pub use names::is_device_name;
pub use printable::{acts_on_terminals, printable};
pub use quantized::gptq;
pub use shards::{parse_shard_name, shard_name};
pub use sink::TensorSink;
pub use sniff::{FileKind, identify};
pub use source::{ElementType, IntegerType, RawTensor, TensorInfo, TensorSource};
pub use stamp::{FileStamp, FileWatch};
